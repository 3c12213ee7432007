"""Pictures of many makings of one known object, and of nothing, against the set's own images."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fmnist_lib.data import load, pictures
from fmnist_lib.data.pictures import PictureError, read_picture

BLOCKS, SMOOTH = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load("test", dataset="tiny")[0]


def photograph(image: Tensor, *, by: int = 10, how: Image.Resampling = BLOCKS) -> Image.Image:
    """A test image as its product photo may have been: dark on white, large, and not in the middle."""
    object_ = ImageOps.invert(Image.fromarray(image[0].numpy())).resize((28 * by, 28 * by), how)
    canvas = Image.new("L", (28 * by + 143, 28 * by + 127), 255)
    canvas.paste(object_, (60, 95))
    return canvas


def differences(images: Tensor, tmp_path: Path, *, suffix: str, how: Image.Resampling) -> Tensor:
    """Mean absolute difference of each image from what its photograph is read as, in grey levels."""
    path, found = tmp_path / f"picture{suffix}", []
    for image in images:
        photograph(image, how=how).save(path)
        found.append(read_picture(path))
    return (torch.stack(found).int() - images.int()).abs().double().mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("suffix", "how", "typical", "mean"),
    [(".png", BLOCKS, 3, 5), (".jpg", BLOCKS, 5, 7), (".png", SMOOTH, 14, 14), (".jpg", SMOOTH, 14, 14)],
)
def test_an_enlarged_image_is_read_as_itself(
    images: Tensor, tmp_path: Path, suffix: str, how: Image.Resampling, typical: float, mean: float
) -> None:
    found = differences(images, tmp_path, suffix=suffix, how=how)
    shuffled = (images.roll(1, dims=0).int() - images.int()).abs().double().mean()
    assert found.median() < typical and found.mean() < mean and shuffled > 50


def test_an_image_of_the_set_is_passed_through(images: Tensor, tmp_path: Path) -> None:
    for image in images:
        Image.fromarray(image[0].numpy()).save(tmp_path / "grey.png")
        Image.fromarray(image[0].numpy()).convert("RGB").save(tmp_path / "colour.png")
        assert torch.equal(read_picture(tmp_path / "grey.png"), image)
        assert torch.equal(read_picture(str(tmp_path / "colour.png")), image)


def boot(image: Tensor) -> Image.Image:
    return photograph(image).convert("RGB")


def cut_out(image: Tensor) -> Image.Image:
    """The object on a transparent background whose hidden colour is misleading."""
    picture = boot(image)
    mask = ImageOps.invert(photograph(image)).point(lambda level: 255 if level else 0)
    picture.paste("black", mask=ImageOps.invert(mask))
    picture.putalpha(mask)
    return picture


def transparent_palette(image: Tensor) -> Image.Image:
    """Grey levels as a palette, in which white is shown as black but is transparent."""
    picture = photograph(image).convert("P")
    picture.putpalette([level for grey in [*range(255), 0] for level in (grey, grey, grey)])
    picture.info["transparency"] = 255
    return picture


def deep(dtype: str, factor: float) -> Callable[[Tensor], Image.Image]:
    return lambda image: Image.fromarray((np.asarray(photograph(image)) * np.float64(factor)).astype(dtype))


def sideways(image: Tensor) -> Image.Image:
    picture = boot(image).transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6  # "turn me 90 degrees clockwise to see me"
    return picture


MAKINGS: dict[str, tuple[str, Callable[[Tensor], Image.Image]]] = {
    "colour": (".png", boot),
    "light on dark": (".png", lambda image: ImageOps.invert(photograph(image))),
    "on transparency": (".png", cut_out),
    "grey and alpha": (".png", lambda image: cut_out(image).convert("LA")),
    "palette": (".gif", lambda image: photograph(image).convert("P")),
    "transparent palette": (".png", transparent_palette),
    "CMYK": (".tiff", lambda image: boot(image).convert("CMYK")),
    "YCbCr": (".tiff", lambda image: boot(image).convert("YCbCr")),
    "16 bits": (".png", deep("uint16", 257)),
    "16 bits of TIFF": (".tiff", deep("uint16", 257)),
    "32 bits": (".tiff", deep("int32", 1)),
    "floats to 1": (".tiff", deep("float32", 1 / 255)),
    "WebP": (".webp", boot),
    "BMP": (".bmp", boot),
}


@pytest.mark.parametrize("making", MAKINGS)
def test_every_making_of_a_picture_reads_alike(images: Tensor, tmp_path: Path, making: str) -> None:
    suffix, make = MAKINGS[making]
    photograph(images[7]).save(tmp_path / "plain.png")
    make(images[7]).save(tmp_path / f"other{suffix}", lossless=True)  # a word that WebP alone knows
    try:
        with Image.open(tmp_path / f"other{suffix}") as picture:
            picture.load()
    except OSError as error:  # Pillow 12.3 and its own TIFF of YCbCr
        pytest.skip(f"Pillow {PIL.__version__} cannot read what it writes itself: {error}")
    difference = read_picture(tmp_path / "plain.png").int() - read_picture(tmp_path / f"other{suffix}").int()
    assert difference.abs().max() <= 2


def test_the_orientation_a_camera_notes_is_followed(images: Tensor, tmp_path: Path) -> None:
    boot(images[7]).save(tmp_path / "upright.jpg", quality=95)
    picture = sideways(images[7])
    picture.save(tmp_path / "sideways.jpg", quality=95, exif=picture.getexif())
    upright, turned = read_picture(tmp_path / "upright.jpg").int(), read_picture(tmp_path / "sideways.jpg").int()
    assert (upright - turned).abs().double().mean() < 3 < (upright.rot90(dims=(1, 2)) - turned).abs().double().mean()


def test_the_first_frame_of_an_animation_counts(images: Tensor, tmp_path: Path) -> None:
    frames = [photograph(image) for image in images[:3]]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    assert torch.equal(read_picture(tmp_path / "moving.gif"), read_picture(tmp_path / "still.png"))


def test_the_first_of_two_views_in_one_photo_counts(images: Tensor, tmp_path: Path) -> None:
    views = [photograph(image) for image in images[:2]]
    views[0].save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=views[1:], quality=95)
    views[0].save(tmp_path / "one.jpg", quality=95)
    assert torch.equal(read_picture(tmp_path / "two.jpg"), read_picture(tmp_path / "one.jpg"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="a pipe or a device"):
        read_picture(tmp_path / "pipe.png")


@pytest.mark.parametrize(("object_", "background"), [(40, 200), (230, 128), (128, 230), (90, 10), (235, 200)])
def test_an_object_is_told_by_its_contrast_and_fills_the_picture(tmp_path: Path, object_: int, background: int) -> None:
    canvas = Image.new("L", (300, 200), background)
    expected = torch.zeros(1, 28, 28, dtype=torch.uint8)
    expected[:, 7:21] = 255
    for left, top in ((200, 20), (0, 0)):  # in the open, and over one corner
        picture = canvas.copy()
        picture.paste(object_, (left, top, left + 80, top + 40))  # 28 by 14 when read
        picture.save(tmp_path / "block.png")
        assert torch.equal(read_picture(tmp_path / "block.png"), expected)


def test_an_odd_margin_is_larger_at_the_top_or_left_as_in_the_set(tmp_path: Path) -> None:
    canvas = Image.new("L", (600, 600), 255)
    canvas.paste(0, (100, 100, 380, 290))  # 28 by 19: nine rows to share out
    canvas.save(tmp_path / "wide.png")
    canvas.transpose(Image.Transpose.TRANSPOSE).save(tmp_path / "tall.png")
    wide = read_picture(tmp_path / "wide.png")
    assert torch.nonzero(wide[0].any(dim=1)).flatten().tolist() == list(range(5, 24))
    assert torch.equal(read_picture(tmp_path / "tall.png"), wide.mT)


def test_a_line_does_not_vanish(tmp_path: Path) -> None:
    canvas = Image.new("L", (900, 900), 255)
    canvas.paste(0, (10, 450, 890, 452))
    canvas.save(tmp_path / "line.png")
    assert read_picture(tmp_path / "line.png").count_nonzero() == 28


@pytest.mark.parametrize(
    ("suffix", "mode", "height"),
    [(".jpg", "RGB", 9_800), (".png", "L", 9_800), (".png", "RGBA", 2_000), (".png", "I;16", 2_000)],
)
def test_ten_thousand_pixels_are_quick_and_quiet(
    images: Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, mode: str, height: int
) -> None:
    canvas = Image.new("L", (10_000, height), 255)  # 98 million pixels: Pillow would warn
    canvas.paste(photograph(images[7], by=50), (5_000, 300))
    picture = canvas.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(canvas).astype(np.uint16) * 257)
    picture.save(tmp_path / f"large{suffix}")
    start = time.process_time()
    found = read_picture(tmp_path / f"large{suffix}")
    assert time.process_time() - start < 5
    assert max(pictures._to_grey(picture).size) < 2 * pictures.WORKING_SIDE  # or the rest would take gigabytes
    assert (found.int() - images[7].int()).abs().double().mean() < 14
    assert capfd.readouterr() == ("", "")


def png(size: tuple[int, int] = (60, 60), colour: int = 255) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def noise(suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("L", (200, 200), np.random.RandomState(0).bytes(40_000)).save(buffer, suffix)
    return buffer.getvalue()


BROKEN, STRANGE = "cannot be read: .* again", "not a picture, or .*: use a PNG"
BLANK = "shows nothing.* another picture"
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", STRANGE),
    "text": (b"a boot, ankle high", STRANGE),
    "truncated PNG": (noise("PNG")[:20_000], BROKEN),
    "truncated JPEG": (noise("JPEG")[:10_000], BROKEN),
    "header alone": (noise("PNG")[:40], STRANGE),
    "white": (png(), BLANK),
    "black, 28 by 28": (png((28, 28), 0), BLANK),
    "one pixel": (png((1, 1), 7), BLANK),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_an_error_that_says_what_to_do(tmp_path: Path, kind: str) -> None:
    content, message = BAD_FILES[kind]
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(PictureError, match=rf"bad\.png.*{message}"):
        read_picture(tmp_path / "bad.png")


def test_faint_noise_is_nothing_to_see(tmp_path: Path) -> None:
    Image.fromarray(250 + np.random.RandomState(0).randint(0, 6, (90, 90)).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match="shows nothing"):
        read_picture(tmp_path / "a.png")


def test_no_file_a_folder_and_a_picture_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match="does not exist"):
        read_picture(tmp_path / "nowhere.png")
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)
    (tmp_path / "huge.png").write_bytes(png())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 60 // 2 - 1)  # twice this is an error, once a warning
    with pytest.raises(PictureError, match="too many pixels"):
        read_picture(tmp_path / "huge.png")
