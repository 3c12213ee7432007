"""The box for a picture of one's own, and the confusion matrix that opens its pictures, in a real JupyterLab."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Lab
from PIL import Image, ImageDraw

from notebooks import Opened, open_notebook, write_notebook

RUN = Path(__file__).parents[2] / "checkpoints" / "resnet18-original"
CELLS = (
    "from fmnist_lib import Run\nfrom fmnist_lib.course.own_picture import OwnPicture\n"
    f"OwnPicture(Run.load({str(RUN)!r}))",
    "import numpy as np\nfrom fmnist_lib.visualisers.confusions import Confusions\n"
    "Confusions(np.full((5, 28, 28), 90, np.uint8), [0, 0, 1, 1, 2], [0, 1, 1, 2, 2], ['a', '<b>', 'c'])",
)
BYTES = "Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))"
DROP = f"""(data) => {{
  const transfer = new DataTransfer();
  transfer.items.add(new File([{BYTES}], "mine.png", {{ type: "image/png" }}));
  const event = new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true }});
  document.querySelector(".own-picture").dispatchEvent(event);
}}"""
COPY = f"""(data) => navigator.clipboard.write([
  new ClipboardItem({{ "image/png": new Blob([{BYTES}], {{ type: "image/png" }}) }})])"""


@pytest.fixture(scope="module")
def opened(browser: Any, lab: Lab) -> Iterator[Opened]:
    write_notebook(lab.folder / "own.ipynb", *CELLS)
    page, errors = open_notebook(browser, lab, "own.ipynb")
    notebook = Opened(page, errors, lab, None, None)  # type: ignore[arg-type]
    notebook.run_all()
    page.wait_for_selector(".own-picture canvas")
    yield notebook
    assert errors == []
    page.context.close()


def shirt(*, framed: bool = False) -> bytes:
    """A filled outline, dark on white."""
    picture = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(picture)
    pen.polygon([90, 60, 210, 60, 270, 120, 235, 150, 210, 130, 210, 260, 90, 260, 90, 130, 65, 150, 30, 120], fill=40)
    if framed:
        pen.rectangle((8, 8, 291, 291), outline=60, width=4)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def answer(page: Any) -> str:
    """What Python replied, once it has."""
    page.wait_for_function(
        "(() => { const said = document.querySelector('.own-picture-reply'); "
        "return said.innerText && !said.innerText.includes('Looking'); })()"
    )
    return page.locator(".own-picture-reply").inner_text()


def forget(page: Any) -> None:
    """Clear the canvas and the reply."""
    page.locator(".own-picture").get_by_role("button", name="Clear").click()


def draw(page: Any) -> None:
    """Draw something filled with the mouse."""
    canvas = page.locator(".own-picture canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 140, box["y"] + 60)
    page.mouse.down()
    for x, y in ((140, 220), (110, 220), (110, 60), (170, 60), (170, 220)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
    page.mouse.up()


def test_a_picture_is_drawn_with_the_mouse_and_answered(opened: Opened) -> None:
    page = opened.page
    draw(page)
    assert "%" in answer(page)
    picture = page.locator(".own-picture-reply img")
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 500


@pytest.mark.parametrize("what", ["drop", "paste", "choose"])
def test_a_picture_is_dropped_pasted_or_chosen(opened: Opened, what: str) -> None:
    page = opened.page
    forget(page)
    if what == "choose":
        file = {"name": "mine.png", "mimeType": "image/png", "buffer": shirt()}
        page.locator(".own-picture input[type=file]").set_input_files(file)
    elif what == "drop":
        page.evaluate(DROP, base64.b64encode(shirt()).decode())
    else:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.evaluate(COPY, base64.b64encode(shirt()).decode())
        page.locator(".own-picture").focus()
        page.keyboard.press("Control+v")
    assert "T-shirt/top" in answer(page)


def test_doubts_and_what_is_no_picture_are_told(opened: Opened) -> None:
    page = opened.page
    for content, told in (
        (shirt(framed=True), "in doubt: what is seen is a rectangle"),
        (b"words", "is not a picture"),
    ):
        forget(page)
        page.evaluate(DROP, base64.b64encode(content).decode())
        assert told in answer(page)


def test_a_cell_of_the_confusion_matrix_opens_its_pictures(opened: Opened) -> None:
    page = opened.page
    table = page.locator(".jp-CodeCell").nth(1).locator("table")
    assert table.locator("th").all_inner_texts()[1:4] == ["a", "<b>", "c"]
    pictures = table.locator("img")
    assert pictures.count() == 2 and not pictures.first.is_visible()
    table.locator("summary").first.click()
    assert pictures.first.is_visible() and pictures.first.evaluate("image => image.naturalWidth") == 28


def test_nothing_of_it_is_stored(opened: Opened) -> None:
    opened.save()
    stored = (opened.lab.folder / "own.ipynb").read_text()
    assert "A box for a picture of your own" in stored
