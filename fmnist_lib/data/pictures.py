"""Any picture file, made the way the images of Fashion-MNIST were made.

The set's own recipe is in section 2 of arXiv:1708.07747: trim what is close to the colour of the corners, resize the
longest edge to 28, sharpen with a Gaussian of radius 1, centre on 28x28, negate, 8-bit grey. H and W are a picture's.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError
from torch import Tensor

from fmnist_lib.data.doubts import find_doubts
from fmnist_lib.errors import LabError
from fmnist_lib.files import read_file

SIDE = 28
CLOSENESS = 13  # grey levels: 5 % of 255, the set's own measure of "close to the background"
SHARPENING = ImageFilter.UnsharpMask(radius=1, percent=25, threshold=0)
LARGEST = 2**27  # bytes of a file
MOST_MEMORY = 2**29  # bytes, for a picture that is decoded as a whole; a JPEG is decoded at a fraction of its size
# What cameras, scanners and browsers write. Others that Pillow knows start programs (EPS) or are formats of one maker.
FORMATS = {"PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "TGA", "AVIF", "JPEG2000", "DIB", "PCX"}
WORKING_SIDE = 1024  # pixels: far more than 28 needs, few enough to be quick


class PictureError(LabError):
    """A file that cannot be read as a picture of one object; the message says why and what to do."""


class Picture(NamedTuple):
    """What a network is shown of a picture, uint8 (1, 28, 28), and in sentences why it may not be what was meant."""

    image: Tensor
    doubts: list[str]


def read_picture(path: Path | str) -> Tensor:
    """What `look_at_picture` makes of a file, uint8 (1, 28, 28), without its doubts."""
    return look_at_picture(path).image


def look_at_picture(source: Path | str | bytes, *, name: str = "the picture") -> Picture:
    """A picture of one object on a plain background as the set would show it, and what is doubtful about it.

    `source` is a file, or what is in one, which messages then call by `name`. The object may be darker or lighter than
    its background, which becomes 0. A picture of 28x28 on a dark background is taken for one of the set and passed
    unchanged, without doubts. Raises PictureError: no such file, not a picture, truncated, larger than Pillow allows,
    or nothing to see.
    """
    if isinstance(source, bytes):
        file: Path | BytesIO = BytesIO(source)
    else:
        file, name = Path(source), str(source)
        if file.is_dir():
            raise PictureError(f"{name} is a folder: name one picture file in it")
    grey = np.asarray(_to_grey(_open(file, name)))
    background = _background(grey)
    if np.abs(grey - background).max() <= CLOSENESS:
        raise PictureError(f"{name} shows nothing: all of it is as bright as its corners. Choose another picture")
    if grey.shape == (SIDE, SIDE) and background < 128:
        return Picture(torch.from_numpy(grey.copy()).unsqueeze(0), [])
    signal = _signal(grey, background)
    image = torch.from_numpy(_fit(_object(signal))).unsqueeze(0)
    return Picture(image, find_doubts(signal > CLOSENESS, [float(np.median(each)) for each in _corners(grey)]))


def _open(file: Path | BytesIO, name: str) -> Image.Image:
    """Decode the first frame, upright. A large JPEG is decoded at a fraction of its size, which is quick."""
    try:
        content = file.getvalue() if isinstance(file, BytesIO) else read_file(file, most=LARGEST)
        Image.init()  # Pillow's formats depend on its version
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, of broken metadata
            with Image.open(BytesIO(content), formats=sorted(FORMATS & set(Image.OPEN))) as image:
                image.draft(None, (WORKING_SIDE, WORKING_SIDE))
                if image.width * image.height * _pixel_bytes(image.mode) > MOST_MEMORY:
                    raise Image.DecompressionBombError
                image.load()
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise PictureError(f"{name} does not exist: check the name and the folder") from None
    except MemoryError:
        raise PictureError(f"{name} needs more memory than there is: make it smaller first") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has too many pixels to open safely: make it smaller first") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a picture, or little is left of it: use a PNG or JPEG file") from None
    except Exception as problem:  # on broken files Pillow's decoders raise whatever their formats suggest
        raise PictureError(f"{name} cannot be read: {problem}. Save or download it again") from None


def _pixel_bytes(mode: str) -> int:
    """The memory that a pixel takes on its way to 8-bit grey, copies included."""
    if mode.startswith(("I", "F")):
        return 16
    return 1 if mode == "L" else 8


def _to_grey(image: Image.Image) -> Image.Image:
    """8-bit grey of whatever mode, transparent parts on white, the longest edge below twice WORKING_SIDE."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode != "L":
        image = image.convert("RGB")
    image = image.reduce(max(1, max(image.size) // WORKING_SIDE))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys; how much is white is not in the file, so it is the least likely limit above."""
    values = np.nan_to_num(np.array(image, dtype=np.float32), copy=False)
    limits = (65_535,) if image.mode.startswith("I;16") else (1, 255, 65_535)
    white = next((limit for limit in limits if values.max() <= limit), values.max())
    return Image.fromarray((values.clip(0, white) * (255 / white)).astype(np.uint8))


def _background(grey: np.ndarray) -> float:
    """The median of the four corners: an object often touches the middle of an edge, seldom the corners."""
    return float(np.median(_corners(grey)))


def _corners(grey: np.ndarray) -> list[np.ndarray]:
    """The four corners, each an eighth of the shorter edge wide: top left, top right, bottom left, bottom right."""
    side = max(1, min(grey.shape) // 8)
    return [grey[rows, columns] for rows in (np.s_[:side], np.s_[-side:]) for columns in (np.s_[:side], np.s_[-side:])]


def _signal(grey: np.ndarray, background: float) -> np.ndarray:
    """The object alone, (H, W): about 0 where it is as the background, and above where it differs.

    On a white background this negates, as the set did. A pale object on a darker background is left as it is.
    """
    difference = grey - background
    visible = np.abs(difference) > CLOSENESS
    return difference if difference[visible].sum() > 0 else -difference


def _object(signal: np.ndarray) -> np.ndarray:
    """The object, cropped, uint8 (H, W): 255 where it differs most from its background."""
    rows, columns = (np.flatnonzero((signal > CLOSENESS).any(axis=axis)) for axis in (1, 0))
    return _stretch(signal[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _fit(cropped: np.ndarray) -> np.ndarray:
    """Resize the longest edge to 28, sharpen, and centre on black: uint8 (28, 28).

    Lanczos and 25 % of sharpening came closest on test images that were enlarged ten times, as blocks and smoothly.
    Of an odd margin the set puts the larger part at the top or left, in 49 of 50 images.
    """
    scale = SIDE / max(cropped.shape)
    height, width = (max(1, round(edge * scale)) for edge in cropped.shape)
    small = Image.fromarray(cropped).resize((width, height), Image.Resampling.LANCZOS).filter(SHARPENING)
    top, left = (SIDE - height + 1) // 2, (SIDE - width + 1) // 2
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[top : top + height, left : left + width] = _stretch(np.asarray(small))
    return canvas


def _stretch(values: np.ndarray) -> np.ndarray:
    """Scale to the full range, as every image of the set is: each of the 70,000 reaches 254 or 255."""
    return (values.clip(0) * (255 / max(values.max(), 1))).round().astype(np.uint8)
