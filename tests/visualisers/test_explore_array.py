"""Any array with sliders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sketches import bundle_of

import fmnist_lib
from fmnist_lib.visualisers.explorer import ExplorerError, explore
from fmnist_lib.visualisers.explorer.palette import BEYOND, PALETTES


@pytest.mark.parametrize("axes", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [np.asarray, torch.tensor, np.ndarray.tolist])
def test_each_axis_before_the_picture_has_a_slider(axes: int, make: object, tmp_path: Path) -> None:
    shape = (2, 3, 4, 5, 6)[5 - axes :]
    values = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    explorer = explore(make(values))  # type: ignore[operator]
    for name, count in zip(("image", "epoch", "channel")[5 - axes :], shape, strict=False):
        explorer.move(**{name: count - 1})
        with pytest.raises(ExplorerError, match=name):
            explorer.move(**{name: count})
    shown = explorer.pixels(view="single", scale="channel")
    zoom = shown.shape[0] // 5
    table = PALETTES["sequential"]
    last = values.reshape(-1, 5, 6)[-1].astype(float)
    levels = np.floor(last / last.max() * 254 + 0.5).astype(int)
    assert np.abs(shown[::zoom, ::zoom, :3].astype(int) - table[levels].astype(int)).max() <= 3  # a level of the 8 bits
    assert explorer.save_png(tmp_path / "a.png").exists() and explorer.save_html(tmp_path / "a.html").exists()
    assert fmnist_lib.explore is explore


def test_sliders_have_the_names_that_were_given() -> None:
    explorer = explore(np.zeros((7, 3, 4, 4)), sliders=("time", "filter"), filter=2, time=5)
    assert explorer.position["channel"] == 2 and explorer.position["epoch"] == 5
    assert bundle_of(explorer)["names"] == {"image": "", "epoch": "time", "channel": "filter"}
    assert ": 1 layer, 7 times; at layer array, time 5, filter 2: " in str(explorer)
    assert "image" not in str(explorer) and "epoch" not in str(explorer)
    assert "all values are zero" in str(explorer)


def test_signs_outliers_and_holes_are_seen() -> None:
    values = np.random.default_rng(0).standard_normal((4, 9, 9))
    assert explore(values).position["kind"] == "signed_values"
    assert explore(np.abs(values)).position["kind"] == "values"
    values[1, 2, 3], values[2, 0, 0] = 1e9, np.nan
    explorer = explore(values)
    assert "1 of them far beyond the colour scale" in str(explorer) and "1 values not finite" in str(explorer)
    pixels = explorer.pixels(channel=1, view="single")
    zoom = pixels.shape[0] // 9
    assert (pixels[2 * zoom, 3 * zoom, :3] == PALETTES["diverging"][BEYOND]).all()


@pytest.mark.parametrize(
    ("array", "sliders", "reason"),
    [
        (np.zeros(3), None, "2 to 5 axes"),
        (np.zeros((1,) * 6), None, "2 to 5 axes"),
        (np.zeros((0, 3)), None, "not empty"),
        ("text", None, "numbers"),
        ([[1, 2], [3]], None, "numbers"),
        (np.zeros((2, 2), complex), None, "complex"),
        (np.zeros((2, 3, 3)), ("a", "b"), "1 axis stands"),
        (np.zeros((3, 3)), "a", "no axes stand"),
        (np.zeros((2, 2, 3, 3)), ("a", "a"), "a name of its own"),
        (np.zeros((2, 3, 3)), 5, "sliders=5"),
        (np.zeros((600, 3, 3)), None, "too many"),
    ],
)
def test_what_is_no_such_array_is_refused(array: object, sliders: object, reason: str) -> None:
    with pytest.raises(ExplorerError, match=reason):
        explore(array, sliders=sliders)  # type: ignore[arg-type]


def test_of_a_picture_alone_nothing_is_numbered(tmp_path: Path) -> None:
    explorer = explore(np.ones((4, 5)), name="mine")
    assert ": 1 layer; at layer mine: values from 1 to 1" in str(explorer)
    assert explorer.save_png(tmp_path / "mine.png").stat().st_size > 0
