"""The diagram in a real browser: it unfolds by keyboard, draws its lines, tells of clicks, and is whole on paper."""

import re
from typing import Any

import pytest
import torch
import torchvision
from pages import Lab

from fmnist_lib import Diagram
from notebooks import open_notebook, write_notebook

PRINTED = "[...document.querySelectorAll('.fmd-print, .fmd-rows')].map(e => getComputedStyle(e).display)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    diagram = Diagram(torchvision.models.resnet34(), torch.randn(1, 3, 64, 64))
    return diagram.save(tmp_path_factory.mktemp("diagram") / "resnet34.html").as_uri()


def test_it_unfolds_by_keyboard_and_draws_what_is_in_sight(open_page: Any, address: str) -> None:
    watched = open_page()
    page = watched.page
    page.goto(address)
    lines = page.locator(".fmd-rows > svg > path")
    assert lines.count() == 24  # between 25 boxes in a row: no shortcut is in sight
    page.locator("[data-layer='layer2.0']").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.fmd-rows > svg > path').length > 24")
    # 32 boxes, of which the downsampling takes nothing from the one above it, but the shortcut; and bn2 is added below.
    assert lines.count() == 31 - 1 + 2
    assert page.get_by_text("from layer2.0.bn2, layer2.0.downsample.1").is_visible()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.fmd-rows > svg > path').length == 24")
    assert [re.sub(r"^file://.*/", "", url) for url in watched.requests] == ["resnet34.html"]


def test_a_click_tells_the_page_which_layer(open_page: Any, address: str) -> None:
    page = open_page().page
    page.goto(address)
    page.evaluate("document.addEventListener('fmnist-layer', (event) => { window.layer = event.detail.layer; })")
    page.locator("[data-layer='maxpool']").click()
    assert page.evaluate("window.layer") == "maxpool"
    page.locator("[data-layer='layer1.1']").press("Enter")
    assert page.evaluate("window.layer") == "layer1.1"
    page.locator("[data-layer='layer1.1.relu#2']").press(" ")
    assert page.evaluate("window.layer") == "layer1.1.relu#2"
    assert page.locator("[aria-current]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_on_a_phone(open_page: Any, address: str, scheme: str) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme).page
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_function("document.querySelectorAll('.fmd-rows > svg > path').length > 130")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    cut = (
        "[...document.querySelectorAll('.fmd button, .fmd summary')].filter(e => e.scrollWidth > e.clientWidth).length"
    )
    assert page.evaluate(cut) == 0
    assert page.evaluate("document.querySelector('.fmd-rows > svg').getBBox().width") < 390 - 2 * 16


def test_it_is_whole_on_one_sheet_of_paper(open_page: Any, address: str) -> None:
    page = open_page().page
    page.goto(address)
    page.emulate_media(media="print")
    assert page.evaluate(PRINTED) == ["none", "block"]
    content = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 1
    page.emulate_media(media="screen")
    assert page.evaluate(PRINTED) == ["block", "none"]


def test_without_a_script_it_still_unfolds(open_page: Any, address: str) -> None:
    page = open_page(java_script_enabled=False).page
    page.goto(address)
    page.locator("[data-layer='layer1.0']").click()
    assert page.locator("[data-layer='layer1.0.conv1']").is_visible()


NETWORK = """import torch
from fmnist_lib import Diagram, Explorer, build
model, x = build("alexnet"), torch.randn(2, 1, 28, 28)
Diagram(model, x)"""
TAB = "import ipywidgets\nlive = Explorer.live(model, x)\nipywidgets.Tab([live.widget], titles=['maps'])"


def test_in_jupyterlab_beside_an_explorer_in_a_tab(browser: Any, lab: Lab) -> None:
    write_notebook(lab.folder / "diagram.ipynb", NETWORK, TAB)
    page, errors = open_notebook(browser, lab, "diagram.ipynb")
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
    page.evaluate("document.addEventListener('fmnist-layer', (event) => { window.layer = event.detail.layer; })")
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.locator(".lm-Menu-item").filter(has_text=re.compile("^Run All Cells$")).first.click()
    page.locator(".fmd-rows > svg > path").first.wait_for(state="attached")
    page.locator("[data-layer='features.act1']").click()
    assert page.evaluate("window.layer") == "features.act1"
    page.locator(".jp-OutputArea .fmx canvas").first.wait_for()  # the player, in the tab
    assert errors == []
    page.context.close()
