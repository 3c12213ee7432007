"""A confusion matrix whose cells open their pictures: plain HTML, so it does the same in a page without a kernel.

Letters: N images, K classes, H height, W width.
"""

import base64
import html
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

MOST = 48  # pictures of a cell
GAP = 1  # pixels between two pictures
SCALE = 2  # screen pixels for one of a picture


class Confusions:
    """What was taken for what: bytes (N, H, W), true classes (N,), answers (N,), and the names of the classes.

    Shown by Jupyter as a table, rows true, columns answered; a click on a number opens the pictures behind it, at most
    `MOST`, those first whose answer has the highest of the `certainties` (N,), if these are given.
    """

    def __init__(
        self,
        images: ArrayLike,
        labels: ArrayLike,
        answers: ArrayLike,
        classes: Sequence[str],
        *,
        certainties: ArrayLike | None = None,
    ) -> None:
        self.images, self.labels, self.answers = np.asarray(images), np.asarray(labels), np.asarray(answers)
        self.classes = classes
        self.order = np.argsort(-np.asarray(self.labels * 0 if certainties is None else certainties), kind="stable")

    def __repr__(self) -> str:
        wrong = int((self.labels != self.answers).sum())
        return f"Confusion matrix of {len(self.labels):,} images, {wrong:,} of them mistaken"

    def find(self, true: int, answered: int) -> NDArray[np.int64]:
        """The numbers of the images of a cell, the most certain answers first."""
        return self.order[(self.labels[self.order] == true) & (self.answers[self.order] == answered)]

    def _repr_html_(self) -> str:
        names = [html.escape(name) for name in self.classes]
        head = "".join(f"<th>{name}</th>" for name in ["true \\ answered", *names])
        rows = [
            f"<tr><th>{name}</th>{''.join(self._cell(true, answered) for answered in range(len(names)))}</tr>"
            for true, name in enumerate(names)
        ]
        return f"<table><tr>{head}</tr>{''.join(rows)}</table>"

    def _cell(self, true: int, answered: int) -> str:
        """The count, darker where it is a larger share of the true class, and the pictures of a confusion."""
        found = self.find(true, answered)
        share = len(found) / max(1, int((self.labels == true).sum()))
        style = f"background-color: rgba(86, 180, 233, {min(1.0, share * 4):.2f}); vertical-align: top"
        if true == answered or not len(found):
            return f'<td style="{style}">{len(found) or ""}</td>'
        picture = mosaic(self.images[found[:MOST]])
        source = f"data:image/png;base64,{as_png(picture)}"
        sized = f'<img width="{picture.shape[1] * SCALE}" alt="{len(found)} pictures" src="{source}">'
        return f'<td style="{style}"><details><summary>{len(found)}</summary>{sized}</details></td>'


def mosaic(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (N, H, W) side by side on grey, about as many in a line as there are lines."""
    count, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    lines = math.ceil(count / columns)
    sheet = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP), 128, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def as_png(picture: NDArray[np.uint8]) -> str:
    """A grey picture (H, W) as a PNG, in base64."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
