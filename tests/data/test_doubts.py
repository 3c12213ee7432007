"""Pictures with which something is wrong, drawn from the set's own images, and as many with which nothing is."""

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from fmnist_lib.data import CLASSES, load, look_at_picture

SHOE, BAG, SHIRT = (CLASSES.index(name) for name in ("Ankle boot", "Bag", "Pullover"))


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return load("test", dataset="tiny")


def of_class(images: tuple[Tensor, Tensor], label: int) -> list[Image.Image]:
    """Dark on white, enlarged ten times, without a margin."""
    chosen = images[0][images[1] == label, 0].numpy()
    return [ImageOps.invert(Image.fromarray(each)).resize((280, 280), Image.Resampling.BICUBIC) for each in chosen]


def on_white(object_: Image.Image, *, margin: int = 60) -> Image.Image:
    return ImageOps.expand(object_, border=margin, fill=255)


def as_file(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def doubts(picture: Image.Image, kind: str = "PNG") -> str:
    return "\n".join(look_at_picture(as_file(picture, kind)).doubts)


def cut(object_: Image.Image) -> Image.Image:
    return on_white(object_).crop((0, 0, 400, 200))


def on_gradient(object_: Image.Image) -> Image.Image:
    """The light comes from the left."""
    picture = np.asarray(on_white(object_)).astype(float)
    return Image.fromarray((picture * np.linspace(0.9, 0.4, picture.shape[1])).astype(np.uint8))


def in_a_frame(object_: Image.Image) -> Image.Image:
    return ImageOps.expand(on_white(object_), border=40, fill=20)


def in_a_thin_frame(object_: Image.Image) -> Image.Image:
    picture = on_white(object_)
    ImageDraw.Draw(picture).rectangle((20, 20, picture.width - 21, picture.height - 21), outline=90, width=3)
    return picture


def two_abreast(object_: Image.Image) -> Image.Image:
    picture = Image.new("L", (2 * 280 + 200, 400), 255)
    for left in (60, 420):
        picture.paste(object_, (left, 60))
    return picture


def two_in_a_column(object_: Image.Image) -> Image.Image:
    return two_abreast(object_.transpose(Image.Transpose.ROTATE_90)).transpose(Image.Transpose.ROTATE_270)


CASES: dict[str, tuple[Callable[[Image.Image], Image.Image], int, str]] = {
    "cut": (cut, SHIRT, r"^it reaches the edge of the picture \(bottom\), .*leave background"),
    "gradient": (on_gradient, SHOE, "^the corners differ in brightness .*use a plain background"),
    "frame": (in_a_frame, BAG, "^what is seen is a rectangle.*cut the picture inside the frame$"),
    "thin frame": (in_a_thin_frame, BAG, "^what is seen is a rectangle"),
    "two abreast": (two_abreast, SHIRT, "^2 things lie apart from each other.*show one alone$"),
    "two in a column": (two_in_a_column, SHIRT, "^2 things lie apart"),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_and_nothing_else(images: tuple[Tensor, Tensor], case: str, kind: str) -> None:
    make, label, expected = CASES[case]
    for object_ in of_class(images, label):
        said = doubts(make(object_), kind)
        assert re.search(expected, said) and "\n" not in said, said


def test_nothing_is_said_where_nothing_is_wrong(images: tuple[Tensor, Tensor]) -> None:
    for label in range(10):
        for object_ in of_class(images, label):
            for picture in (on_white(object_), ImageOps.invert(on_white(object_))):
                assert doubts(picture) == "", CLASSES[label]


def test_an_image_of_the_set_raises_no_doubts(images: tuple[Tensor, Tensor]) -> None:
    for image in images[0]:
        picture = look_at_picture(as_file(Image.fromarray(image[0].numpy())))
        assert picture.doubts == [] and torch.equal(picture.image, image)
