"""Every row of the table "one output, every place" in a real JupyterLab, run, saved, opened again and exported."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import CAPTION, Lab, checksum, frame, read_canvas, slide_to, wait_until_live

from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import Recording
from notebooks import Opened, export, open_notebook, write_notebook

CELLS = (
    "from fmnist_lib.visualisers.explorer import Explorer\nfrom fmnist_lib.visualisers.recording import Recording\n"
    "recording = Recording.load('recording.npz')",
    f"first = Explorer(recording, caption='{CAPTION}')\nfirst",
    "second = Explorer(recording, kind=['kernels', 'maps'])\nsecond",
    "import torch\nmodel = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), "
    "torch.nn.Linear(2704, 3))\nlive = Explorer.live(model, torch.rand(20, 1, 28, 28), layer='1')\nlive",
    "print(first.code())",
    "first.move(epoch=1, channel=3);",
)

NAME = "林小雨 <b>&"
WORDS = "# A title\n\nWhat I saw: the first layer looks at edges."


@pytest.fixture(scope="module")
def opened(browser: Any, lab: Lab, recording: Recording) -> Iterator[Opened]:
    """A notebook with all cells run, kept open."""
    write_notebook(lab.folder / "notebook.ipynb", *CELLS, text=WORDS)
    (lab.folder / "report.toml").write_text(f'name = "{NAME}"\n')
    page, errors = open_notebook(browser, lab, "notebook.ipynb")
    notebook = Opened(page, errors, lab, Explorer(recording), Explorer(recording, kind=["kernels", "maps"]))
    notebook.run_all()
    wait_until_live(page, 3)
    page.wait_for_function("[...globalThis.fmnistExplorerWires.values()].filter(wire => wire.model).length === 3")
    page.wait_for_function("document.querySelectorAll('.jp-CodeCell')[5].innerText.includes('[6]')")
    yield notebook
    assert errors == []
    page.context.close()


def test_running_it_is_live_and_keys_work(opened: Opened) -> None:
    page = opened.page
    explorer = opened.first.move(epoch=1, channel=3)  # by the last cell
    assert frame(page) == explorer._position.frame
    assert read_canvas(page) == checksum(explorer)
    slider = page.locator(".fmx").first.get_by_role("slider", name="epoch", exact=True)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    explorer.move(epoch=4)
    assert frame(page) == explorer._position.frame
    assert read_canvas(page) == checksum(explorer)
    assert opened.run_cell(4) == explorer.code(), "Python does not know where the slider stands"


def test_running_the_mouse_drags(opened: Opened) -> None:
    page = opened.page
    slider = page.locator(".fmx").first.get_by_role("slider", name="epoch", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2, steps=15)
    page.mouse.up()
    assert frame(page).split("/")[1] == "0"
    assert read_canvas(page) == checksum(opened.first.move(epoch=0))


def test_running_python_moves_only_its_own(opened: Opened) -> None:
    page = opened.page
    others = [frame(page, root) for root in (1, 2)]
    opened.run_cell(5)
    page.wait_for_function("document.querySelector('.fmx').dataset.frame.startsWith('stem.act/1/3/')")
    assert [frame(page, root) for root in (1, 2)] == others


def test_running_many_positions(opened: Opened) -> None:
    for layer, epoch, view in (("stage2.act", 3, "single"), ("top.act", 2, "sheet"), ("stem.act", 2, "single")):
        opened.second.move(kind="maps", layer=layer, epoch=epoch, view=view, image=1, channel=1)
        slide_to(opened.page, opened.second, root=1)
        assert read_canvas(opened.page, 1) == checksum(opened.second)


def test_running_live_computes_what_is_asked_for(opened: Opened) -> None:
    page = opened.page
    slider = page.locator(".fmx").nth(2).get_by_role("slider", name="image", exact=True)
    assert slider.get_attribute("max") == "19"
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_function("document.querySelectorAll('.fmx')[2].dataset.frame.split('/')[3] === '19'")


def test_dark_theme_is_legible(opened: Opened) -> None:
    page = opened.page
    opened.menu("Settings", "^Theme$", "^JupyterLab Dark$")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    contrast = page.evaluate("""() => {
      const light = (colour) => { const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((c) => {
        c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const back = getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor;
      return ['.fmx-value', '.fmx-facts', '.fmx button', '.fmx select'].map((what) => {
        const [a, b] = [getComputedStyle(document.querySelector(what)).color, back].map(light).sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05); });
    }""")
    opened.menu("Settings", "^Theme$", "^JupyterLab Light$")
    assert min(contrast) > 4.5, contrast


def works_offline(open_page: Any, path: Path, explorer: Explorer) -> None:
    """An exported page with the network off shows a player that answers."""
    page = open_page().page
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    wait_until_live(page, 3)
    slide_to(page, explorer)
    assert read_canvas(page) == checksum(explorer)
    page.locator(".fmx").first.get_by_role("slider", name="epoch", exact=True).focus()
    page.keyboard.press("Home")
    assert read_canvas(page) == checksum(explorer.move(epoch=0))
    assert page.get_by_text(CAPTION, exact=True).is_visible()


def test_export_from_the_menu(opened: Opened, open_page: Any, tmp_path: Path, recording: Recording) -> None:
    opened.save()
    export(opened, tmp_path / "menu.html", sanitised=False)
    works_offline(open_page, tmp_path / "menu.html", Explorer(recording, layer="stage2.act", epoch=3))


def test_a_sanitised_export_shows_the_contact_sheets(opened: Opened, open_page: Any, tmp_path: Path) -> None:
    """It may hold no script, nor a picture of HTML; it must not show the text of them either."""
    opened.save()
    export(opened, tmp_path / "sanitised.html", sanitised=True)
    page = open_page().page
    page.goto((tmp_path / "sanitised.html").as_uri(), wait_until="domcontentloaded")
    note = page.locator(".fmx-note").first
    assert note.is_visible()
    assert "Explorer of feature maps of net12" in note.inner_text() and "unticked" in note.inner_text()
    assert page.locator(".fmx-caption").get_by_text(CAPTION).is_visible()
    pictures = page.locator(".jp-RenderedImage img")
    assert pictures.count() == 3
    for picture in pictures.all():
        assert picture.is_visible()
        assert page.evaluate("image => image.naturalWidth", picture.element_handle()) > 400
    assert page.get_by_text("What I saw", exact=False).inner_text() == WORDS.splitlines()[2], "no <p> in sight"
    outputs = "".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    assert len(outputs) < 3000, outputs[:3000]


def test_the_lab_report_from_the_menu(opened: Opened, open_page: Any, tmp_path: Path, recording: Recording) -> None:
    opened.save()
    export(opened, tmp_path / "lab.html", entry="Lab report (HTML)")
    explorer = Explorer(recording, layer="stage2.act", epoch=3)
    works_offline(open_page, tmp_path / "lab.html", explorer)
    watched = open_page()
    watched.page.goto((tmp_path / "lab.html").as_uri())
    wait_until_live(watched.page, 3)
    assert watched.requests == [(tmp_path / "lab.html").as_uri()]
    assert watched.page.locator(".title dd").first.inner_text() == NAME
    assert watched.page.get_by_text(WORDS.splitlines()[2], exact=True).is_visible()
    assert watched.page.locator("nav a[aria-current]").count() == 1
    assert watched.page.locator("details.code .highlight").first.is_hidden()
    watched.page.get_by_label("show code").check()
    assert watched.page.locator("details.code .highlight").first.is_visible()
    assert all(image.get_attribute("alt") for image in watched.page.locator("img").all())
    assert [it.is_visible() for it in watched.page.locator(".output_png img").all()] == [False] * 3, "the players are"


def test_the_lab_report_on_paper_from_the_menu(opened: Opened, tmp_path: Path) -> None:
    opened.save()
    export(opened, tmp_path / "lab.pdf", entry="Lab report (PDF)")
    content = (tmp_path / "lab.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Subtype /Image") >= 3, "the contact sheets"


def test_export_by_plain_nbconvert(opened: Opened, open_page: Any, tmp_path: Path, recording: Recording) -> None:
    opened.save()
    command = [sys.executable, "-m", "nbconvert", "--to", "html", opened.lab.folder / "notebook.ipynb"]
    subprocess.run([*command, "--output", tmp_path / "plain.html"], check=True, capture_output=True)
    works_offline(open_page, tmp_path / "plain.html", Explorer(recording, epoch=2, channel=5, view="single"))


def test_stored_outputs_hold_no_widget(opened: Opened) -> None:
    opened.save()
    notebook = json.loads((opened.lab.folder / "notebook.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", []) if "data" in output]
    assert len(outputs) == 6
    for sheet, player in zip(outputs[::2], outputs[1::2], strict=True):
        assert set(sheet["data"]) == {"image/png", "text/plain"} and sheet["metadata"]["image/png"]["alt"]
        assert set(player["data"]) == {"text/html", "text/plain"}
    assert "Error" not in json.dumps([output["data"]["text/plain"] for output in outputs])


def test_opened_again_with_its_kernel_it_is_live(opened: Opened, browser: Any) -> None:
    opened.save()
    page, errors = open_notebook(browser, opened.lab, "notebook.ipynb")
    wait_until_live(page, 2)
    page.wait_for_function("[...globalThis.fmnistExplorerWires.values()].filter(wire => wire.model).length === 3")
    opened.first.move(layer="stage2.act", epoch=2, channel=4, image=1)
    slide_to(page, opened.first)
    page.locator(".fmx").first.get_by_role("slider", name="channel", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    assert opened.run_cell(4) == opened.first.move(channel=5).code()
    assert errors == []
    page.context.close()


def test_in_a_box_of_ipywidgets_and_twice_in_a_notebook(opened: Opened, browser: Any, lab: Lab) -> None:
    text = CELLS[0] + "\nimport ipywidgets\nboxed = Explorer(recording)\nipywidgets.VBox([boxed.widget])"
    write_notebook(lab.folder / "box.ipynb", text, "boxed", "print(boxed.code())")
    page, errors = open_notebook(browser, lab, "box.ipynb")
    notebook = Opened(page, errors, lab, opened.first, opened.second)
    notebook.run_all()
    wait_until_live(page, 2)
    before = frame(page, 1), read_canvas(page, 1)
    page.locator(".fmx").first.get_by_role("slider", name="epoch", exact=True).focus()
    page.keyboard.press("Home")
    assert frame(page).split("/")[1] == "0"
    assert "epoch=0" in notebook.run_cell(2)
    assert (frame(page, 1), read_canvas(page, 1)) == before
    assert errors == []
    page.context.close()


def test_opened_again_trusted_without_a_kernel(opened: Opened, browser: Any, recording: Recording) -> None:
    opened.save()
    opened.lab.stop_kernels()
    page, errors = open_notebook(browser, opened.lab, "notebook.ipynb")
    wait_until_live(page, 2)  # JupyterLab draws the cells in sight
    explorer = Explorer(recording, epoch=3, layer="stage2.act")
    slide_to(page, explorer)
    assert read_canvas(page) == checksum(explorer)
    page.locator(".fmx").first.get_by_role("slider", name="epoch", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert read_canvas(page) == checksum(explorer.move(epoch=2))
    assert "not found" not in page.locator(".jp-Notebook").inner_text()
    assert errors == []
    page.context.close()


def test_opened_untrusted_shows_the_contact_sheet(opened: Opened, browser: Any) -> None:
    notebook = json.loads((opened.lab.folder / "notebook.ipynb").read_text())
    notebook["metadata"]["title"] = "from somebody else"  # JupyterLab signs what it ran; this is something else
    (opened.lab.folder / "foreign.ipynb").write_text(json.dumps(notebook))
    page, errors = open_notebook(browser, opened.lab, "foreign.ipynb")
    picture = page.locator(".jp-RenderedImage img").first
    picture.wait_for()
    assert picture.is_visible()
    assert page.evaluate("image => image.naturalWidth", picture.element_handle()) > 400
    assert page.get_by_text(CAPTION, exact=True).is_visible()
    assert page.locator(".fmx-app, .jp-OutputArea input, .jp-OutputArea canvas").count() == 0
    assert "not found" not in page.locator(".jp-Notebook").inner_text()
    assert errors == []
    page.context.close()
