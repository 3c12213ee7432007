"""The confusion matrix that opens its pictures: each cell has its own, the surest first, and names are text."""

import base64
import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fmnist_lib.visualisers.confusions import GAP, MOST, Confusions


def made(count: int = 60) -> tuple[Confusions, NDArray[np.int64], NDArray[np.int64]]:
    """Pictures of which each has a grey of its own."""
    generator = np.random.default_rng(0)
    labels, answers = generator.integers(0, 3, (2, count))
    images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28).reshape(count, 28, 28)
    sure = generator.random(count)
    return Confusions(images, labels, answers, ["a", "<b>", "c"], certainties=sure), labels, answers


def shown(table: str) -> dict[int, list[int]]:
    """The greys of the pictures in each opening cell, in their order, by the number of the cell."""
    found = {}
    for place, cell in enumerate(re.findall(r"<td.*?</td>", table)):
        if source := re.search(r"base64,([^\"]+)", cell):
            sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(source[1]))))
            corners = sheet[:: 28 + GAP, :: 28 + GAP].ravel()
            found[place] = [int(grey) for grey in corners if grey != 128]
    return found


def test_each_cell_opens_its_pictures_the_surest_first() -> None:
    confusions, labels, answers = made()
    table = confusions._repr_html_()
    counts = [int(re.sub(r"<[^>]*>", "", cell) or 0) for cell in re.findall(r"<td.*?</td>", table)]
    cells = [(true, said) for true in range(3) for said in range(3)]
    assert counts == [int(((labels == true) & (answers == said)).sum()) for true, said in cells]
    opened = shown(table)
    assert set(opened) == {place for place, (true, said) in enumerate(cells) if true != said and counts[place]}
    for place, greys in opened.items():
        assert greys == confusions.find(*cells[place]).tolist() and len(greys) == counts[place]


def test_the_order_is_that_of_the_certainties() -> None:
    labels, answers, sure = [0, 0, 0, 1], [1, 1, 1, 1], [0.2, 0.9, 0.5, 1.0]
    found = Confusions(np.zeros((4, 28, 28), np.uint8), labels, answers, ["a", "b"], certainties=sure)
    assert found.find(0, 1).tolist() == [1, 2, 0]
    assert Confusions(np.zeros((4, 28, 28), np.uint8), labels, answers, ["a", "b"]).find(0, 1).tolist() == [0, 1, 2]


def test_a_large_cell_shows_some_and_counts_all() -> None:
    many = np.zeros(MOST + 5, np.int64)
    images = np.full((len(many), 28, 28), 7, np.uint8)
    table = Confusions(images, many, many + 1, ["a", "b"])._repr_html_()
    assert f"<summary>{MOST + 5}</summary>" in table
    assert len(shown(table)[1]) == MOST


def test_names_are_text_and_nothing_runs() -> None:
    table = made()[0]._repr_html_()
    assert "&lt;b&gt;" in table and "<b>" not in table and "<script" not in table
    assert repr(made()[0]).startswith("Confusion matrix of 60 images, ")
