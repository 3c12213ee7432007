"""Which numbers of a recording stand on which figure, how often they are unpacked, and what is left in a folder."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from fmnist_lib.visualisers import figures, plots
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder, RecordingError

LAYERS = ["conv1", "conv2", "conv3"]
HISTOGRAM = [1, 2, 3]


def record(epochs: int, *, stats: bool = True) -> Recording:
    """Three layers of 20 kernels on 2 images; every number differs from every other one."""
    made = RecordingBuilder(about={"model": "net", "classes": ["bag", "coat"], "labels": [1, 0]})
    made.epochs = list(range(0, 2 * epochs, 2))
    generator = np.random.default_rng(0)
    made.store("inputs", generator.random((2, 1, 8, 8)))
    for epoch in made.epochs:
        made.members[f"scores/{epoch}"] = np.full((2, 2), 0.5, np.float32)
        for place, layer in enumerate(LAYERS):
            for kind in ("kernels", "gradients"):
                made.keep(kind, layer, epoch, generator.standard_normal((20, 3, 3, 3)))
            made.keep("maps", layer, epoch, generator.random((2, 20, 4, 4)))
            row = {"layer": layer, "epoch": epoch, "gradient_norm": 1.0 + place + epoch, "movement": epoch / 10}
            row |= {"zeros": 0.1 * place, "dead": [0] * place, "low": 0.0, "high": 3.0, "histogram": HISTOGRAM}
            made.stats += [row] if stats else []
    return Recording(made.pack())


def shown(figure: Figure) -> list[tuple[str, np.ndarray, tuple[float, float]]]:
    """Title, picture and colour range of each band of a sheet."""
    bands = [axes for axes in figure.axes if axes.images]
    pictures = [axes.images[0] for axes in bands]
    arrays = [np.ma.asarray(picture.get_array()).filled(np.nan) for picture in pictures]
    ranges = [(picture.norm.vmin, picture.norm.vmax) for picture in pictures]
    return [(axes.get_title(loc="left"), *rest) for axes, *rest in zip(bands, arrays, ranges, strict=True)]


@pytest.mark.parametrize("kind", ["kernels", "gradients"])
def test_a_sheet_of_kernels_shows_an_epoch_of_the_recording(kind: str) -> None:
    recording = record(3)
    for epoch in recording.epochs:
        figure = getattr(figures, kind)(recording, epoch)
        assert figure.get_suptitle().endswith(f"net, epoch {epoch}")
        for layer, (title, picture, ends) in zip(LAYERS, shown(figure), strict=True):
            assert title == f"{layer}: 20 kernels, 3x3, input 1 of 3"
            tiles = recording.values(kind, layer, epoch)[:, 0]
            tiles = tiles if layer == "conv1" else tiles[:16]
            assert np.array_equal(picture, plots.mosaic(tiles, columns=16), equal_nan=True)
            every = np.abs([recording.values(kind, layer, each) for each in recording.epochs])
            assert ends == pytest.approx((-np.percentile(every, 99.5), np.percentile(every, 99.5)))


@pytest.mark.parametrize(("image", "name"), [(0, "coat"), (1, "bag"), (-1, "bag")])
def test_a_sheet_of_maps_shows_the_image_and_what_became_of_it(image: int, name: str) -> None:
    recording = record(2)
    figure = figures.feature_maps(recording, 2, image=image)
    assert figure.get_suptitle() == f"Feature maps, net, epoch 2: {name}"
    (_, picture, _), *bands = shown(figure)
    assert np.array_equal(picture[:8, :8], recording.inputs[image, 0])
    for layer, (title, band, _) in zip(LAYERS, bands, strict=True):
        assert title == f"{layer}: 16 of 20 channels, 4x4"
        expected = plots.mosaic(recording.values("maps", layer, 2)[image][:16], columns=16)
        assert np.array_equal(band, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("draw", "numbers"),
    [
        (figures.gradient_flow, [[1, 3, 5], [2, 4, 6], [3, 5, 7]]),
        (figures.weight_movement, [[0, 0.2, 0.4]] * 3),
        (figures.sparsity, [[0] * 3, [0.1] * 3, [0.2] * 3]),
        (figures.dead_channels, [[0] * 3, [1] * 3, [2] * 3]),
    ],
)
def test_a_chart_holds_the_recorded_numbers(draw: Any, numbers: list[list[float]]) -> None:
    (_, picture, _) = shown(draw(record(3)))[0]
    assert picture == pytest.approx(np.array(numbers))


def test_histograms_are_the_recorded_ones() -> None:
    panels = figures.activation_histograms(record(2)).axes
    assert [axes.get_title() for axes in panels] == LAYERS
    counts = np.expm1(np.asarray(panels[0].collections[0].get_array()))
    assert counts[counts > 0].tolist() == pytest.approx([1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize(
    "draw", [figures.gradient_flow, figures.weight_movement, figures.sparsity, figures.dead_channels]
)
def test_numbers_that_were_not_recorded_are_named(draw: Any) -> None:
    with pytest.raises(RecordingError, match=r"no '.*' of any layer"):
        draw(record(1, stats=False))


def test_kernels_of_one_pixel_are_no_picture() -> None:
    made = RecordingBuilder(epochs=[0])
    made.keep("kernels", "pointwise", 0, np.ones((4, 4, 1, 1)))
    with pytest.raises(RecordingError, match="no kernels of more than one pixel"):
        figures.kernels(Recording(made.pack()), 0)


def test_one_outlier_does_not_turn_a_sheet_pale() -> None:
    made = RecordingBuilder(epochs=[0])
    values = np.linspace(-1, 1, 1000).reshape(10, 1, 10, 10)
    values[0, 0, 0, 0] = -1e6
    made.keep("kernels", "conv", 0, values)
    assert figures.limit(Recording(made.pack()), "kernels", "conv") < 1.1


def count_reads(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kind's pictures are unpacked from now on."""
    reads: Counter[str] = Counter()
    read = recording.tiles

    def counted(kind: str, layer: str, epoch: int) -> Any:
        reads[kind] += 1
        return read(kind, layer, epoch)

    monkeypatch.setattr(recording, "tiles", counted)
    return reads


@pytest.mark.parametrize("epochs", [1, 4])
def test_all_figures_unpack_each_picture_twice(epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the colours that all epochs share, once to be drawn; anew for every sheet it would be `epochs` times."""
    recording = record(epochs)
    reads = count_reads(recording, monkeypatch)
    monkeypatch.setattr(figures, "save", lambda _, path: path)
    figures.save_run_figures(recording, Figure(), tmp_path)
    assert reads == dict.fromkeys(("kernels", "gradients", "maps"), 2 * len(LAYERS) * epochs)


@pytest.mark.parametrize("epochs", [2, 12])
def test_an_animation_unpacks_each_picture_a_fixed_number_of_times(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record(epochs)
    explorer = Explorer(recording)
    reads = count_reads(recording, monkeypatch)
    explorer.save_animation(tmp_path / "film.gif")
    assert sum(reads.values()) <= 2 * epochs


def test_pictures_of_other_epochs_go_and_nothing_else_does(tmp_path: Path) -> None:
    curves = plots.curves([], [])
    names = {path.name for path in figures.save_run_figures(record(2), curves, tmp_path)}
    expected = {f"{what}_epoch_{epoch}.png" for what in ("kernels", "gradients", "feature_maps") for epoch in (0, 2)}
    assert names == expected | {"curves.png"}
    (tmp_path / "mine.png").write_bytes(b"mine")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    figures.save_run_figures(record(1), curves, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {n for n in names if not n.endswith("_2.png")} | {"mine.png"}
    figures.save_run_figures(record(2), curves, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == before  # equal pictures, equal bytes
    figures.remove_pictures(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
