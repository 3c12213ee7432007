"""Which numbers of a recording stand on which figure, how often they are unpacked, and what is left in a folder."""

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from fmnist_lib.visualisers import figures, plots
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import MAX_INPUTS, Recording, RecordingBuilder, RecordingError, sample

LAYERS = ["conv1", "conv2", "conv3"]
HISTOGRAM = [1, 2, 3]
SHAPES = {"kernels": (4, 1, 3, 3), "gradients": (4, 1, 3, 3), "maps": (2, 2, 3, 3)}
SHEETS = {"kernels": figures.kernels, "gradients": figures.gradients, "maps": figures.feature_maps}


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
            assert title.startswith(f"{layer}: 20 kernels, 3x3, input channel 0 of 3")
            tiles = recording.values(kind, layer, epoch)[:, 0]
            tiles = tiles if layer == "conv1" else tiles[:16]
            assert np.array_equal(picture, plots.mosaic(tiles, columns=16), equal_nan=True)
            epochs = recording.epochs if kind == "kernels" else [epoch]
            every = np.abs([recording.values(kind, layer, each) for each in epochs])
            assert ends == pytest.approx((-np.percentile(every, 99.5), np.percentile(every, 99.5)))


@pytest.mark.parametrize(("image", "name"), [(0, "coat"), (1, "bag"), (-1, "bag")])
def test_a_sheet_of_maps_shows_the_image_and_what_became_of_it(image: int, name: str) -> None:
    recording = record(2)
    figure = figures.feature_maps(recording, 2, image=image)
    assert figure.get_suptitle() == f"Feature maps, net, epoch 2: {name}"
    (_, picture, _), *bands = shown(figure)
    assert np.array_equal(picture[:8, :8], recording.inputs[image, 0])
    for layer, (title, band, _) in zip(LAYERS, bands, strict=True):
        assert title.startswith(f"{layer}: 16 of 20 channels, 4x4")
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
    ((title, _, ends),) = shown(figures.kernels(Recording(made.pack()), 0))
    assert ends[1] < 1.1
    assert title.endswith("(values from -1e+06 to 1)")


def keep(kind: str, pictures: dict[str, dict[int, np.ndarray]], *, epochs: list[int], **about: Any) -> Recording:
    """A recording of layer -> epoch -> pictures of one kind, and of two images."""
    made = RecordingBuilder(about=about, epochs=epochs)
    made.store("inputs", np.linspace(0, 1, 8).reshape(2, 1, 2, 2))
    for layer, by_epoch in pictures.items():
        for epoch, values in by_epoch.items():
            made.keep(kind, layer, epoch, values)
            row = {"layer": layer, "epoch": epoch, "low": 0.0, "high": 3.0, "histogram": HISTOGRAM}
            made.stats += [row] if kind == "maps" else []
    return Recording(made.pack())


@pytest.mark.parametrize(
    ("activation", "is_signed"),
    [
        (np.tanh, True),
        (lambda x: x, True),
        (lambda x: np.where(x > 0, x, 0.01 * x), True),  # leaky ReLU
        (lambda x: x / (1 + np.exp(-x)), True),  # SiLU
        (lambda x: np.maximum(x, 0), False),
        (lambda x: 1 / (1 + np.exp(-x)), False),
    ],
)
def test_maps_with_values_below_zero_are_red_and_blue(activation: Any, is_signed: bool) -> None:
    values = activation(np.linspace(-3, 3, 2 * 4 * 9).reshape(2, 4, 3, 3))
    recording = keep("maps", {"act": {0: values}}, epochs=[0])
    limit = np.percentile(np.abs(values[values != 0]), 99.5)
    for image in (0, 1):
        figure = figures.feature_maps(recording, 0, image=image)
        _, (_, _, ends) = shown(figure)
        assert ends == pytest.approx((-limit if is_signed else 0, limit), rel=0.01)
        colours = [axes.images[0].get_cmap().name for axes in figure.axes if axes.images]
        assert colours == ["gray", plots.SIGNED if is_signed else plots.UNSIGNED]


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 19), (2, 0, 17)])
def test_one_value_below_zero_anywhere_decides_for_all_sheets_of_its_layer(place: tuple[int, int, int]) -> None:
    """At some epoch, of some image, also in a channel that is not shown; another layer keeps its own colours."""
    values = np.random.default_rng(0).random((2, 3, 2, 20, 3, 3))  # layer, epoch, image, channel, H, W
    values[0][(*place, 1, 1)] = -0.5
    layers = {layer: dict(enumerate(of_layer)) for layer, of_layer in zip("ab", values, strict=True)}
    recording = keep("maps", layers, epochs=[0, 1, 2])
    for epoch in recording.epochs:
        for image in (0, 1):
            _, (_, _, a), (_, _, b) = shown(figures.feature_maps(recording, epoch, image=image))
            assert a[0] == -a[1] and b[0] == 0


@pytest.mark.parametrize("factor", [1e-6, 0.1, 10.0, 1e6])
def test_gradients_have_the_colours_of_their_epoch_and_kernels_those_of_all(factor: float) -> None:
    values = np.random.default_rng(0).standard_normal((20, 1, 3, 3))
    layers = {"conv": {0: values, 1: values * factor}}
    kernels, gradients = (
        [shown(getattr(figures, kind)(keep(kind, layers, epochs=[0, 1]), epoch))[0][2] for epoch in (0, 1)]
        for kind in ("kernels", "gradients")
    )
    assert gradients[1] == pytest.approx(np.multiply(gradients[0], factor), rel=1e-3)
    assert kernels[0] == kernels[1]


def test_notes_say_what_the_colours_are() -> None:
    recording = record(2)
    notes = {kind: draw(recording, 0).get_supxlabel() for kind, (_, draw) in figures.PICTURES.items()}
    assert "at each epoch; compare epochs by the numbers at the colour bars" in notes["gradients"]
    assert "the same for every epoch" not in notes["gradients"]
    assert all("the same for every epoch" in notes[kind] for kind in ("kernels", "feature_maps"))
    assert "from zero, or, where it has negative values, red above zero" in notes["feature_maps"]


@pytest.mark.parametrize("kind", ["kernels", "gradients"])
@pytest.mark.parametrize("inputs", [1, 3, 64])
def test_the_first_input_channel_that_lives_is_shown_and_named(kind: str, inputs: int) -> None:
    kept = sample(inputs, MAX_INPUTS)
    for dead in range(len(kept) + 1):  # so many of the kept ones, from the first
        values = np.random.default_rng(0).standard_normal((4, inputs, 3, 3))
        values[:, kept[:dead]] = 0
        recording = keep(kind, {"conv": {0: values}}, epochs=[0])
        live = dead if dead < len(kept) else 0
        ((title, picture, _),) = shown(getattr(figures, kind)(recording, 0))
        named = f", input channel {kept[live]} of {inputs}" if inputs > 1 else ""
        assert title.split(" (")[0] == f"conv: 4 kernels, 3x3{named}"
        assert title.endswith(" (all zero)") == (dead == len(kept))
        expected = plots.mosaic(recording.values(kind, "conv", 0)[:, live], columns=4)
        assert np.array_equal(picture, expected, equal_nan=True)


@pytest.mark.parametrize("kind", ["kernels", "gradients"])
def test_each_epoch_and_layer_chooses_its_input_channel(kind: str) -> None:
    ones = np.random.default_rng(0).standard_normal((20, 3, 3, 3))
    second, third, few = ones.copy(), ones.copy(), ones.copy()
    second[:, 0], third[:, :2] = 0, 0
    few[:16, 0] = 0  # what lives in the first channel is not among the 16 shown
    recording = keep(kind, {"a": {0: ones, 1: third}, "b": {0: second, 1: few}}, epochs=[0, 1])
    draw = getattr(figures, kind)
    named = [[title.split(" (")[0][-6:] for title, *_ in shown(draw(recording, epoch))] for epoch in (0, 1)]
    assert named == [["0 of 3", "1 of 3"], ["2 of 3", "1 of 3"]]


@pytest.mark.parametrize("kind", ["kernels", "gradients", "maps"])
@pytest.mark.parametrize("missing", [1, 5, 18, 36])
def test_values_that_are_not_finite_are_counted(kind: str, missing: int) -> None:
    values = np.linspace(0.5, 1, 36).reshape(SHAPES[kind])
    values.flat[-missing:] = [np.nan, np.inf, -np.inf] * 12 if missing == 36 else np.inf
    title = shown(SHEETS[kind](keep(kind, {"layer": {0: values}}, epochs=[0]), 0))[-1][0]
    count = min(missing, 18) if kind == "maps" else missing  # the last image has half of them
    assert f"{count} value{'s' if count > 1 else ''} not finite" in title


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("epochs_of", [{"a": [0, 1, 2], "b": [1, 2]}, {"b": [1]}, {"a": [0], "b": [2], "c": [0, 2]}])
def test_a_sheet_shows_the_layers_that_were_recorded_at_its_epoch(kind: str, epochs_of: dict[str, list[int]]) -> None:
    values = np.linspace(0.5, 1, 36).reshape(SHAPES[kind])
    layers = {layer: {epoch: values * (epoch + 1) for epoch in epochs} for layer, epochs in epochs_of.items()}
    recording = keep(kind, layers, epochs=[0, 1, 2])
    for epoch in recording.epochs:
        expected = [layer for layer, epochs in epochs_of.items() if epoch in epochs]
        if not expected:
            there = sorted({each for epochs in epochs_of.values() for each in epochs})
            with pytest.raises(RecordingError, match=rf"no {kind} were recorded at epoch {epoch}.*\[{there[0]}"):
                SHEETS[kind](recording, epoch)
            continue
        bands = [(title, ends) for title, _, ends in shown(SHEETS[kind](recording, epoch)) if title != "input"]
        assert [title.split(":")[0] for title, _ in bands] == expected
        for layer, (_, ends) in zip(expected, bands, strict=True):
            largest = (epoch if kind == "gradients" else max(epochs_of[layer])) + 1
            assert 0.9 * largest < ends[1] <= largest


@pytest.mark.parametrize("kind", SHAPES)
def test_layers_are_chosen_among_those_of_the_epoch(kind: str) -> None:
    """Of ten layers six are shown; two that alone were recorded at first are there whatever their places."""
    values = np.linspace(0.5, 1, 36).reshape(SHAPES[kind])
    layers = {str(place): dict.fromkeys([0, 1] if place in (3, 6) else [1], values) for place in range(10)}
    titles = [title.split(":")[0] for title, *_ in shown(SHEETS[kind](keep(kind, layers, epochs=[0, 1]), 0))]
    assert titles[-2:] == ["3", "6"]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_kind_or_an_epoch_that_was_never_recorded_is_named(kind: str) -> None:
    recording = keep(kind, {"layer": {0: np.ones(SHAPES[kind])}}, epochs=[0])
    with pytest.raises(RecordingError, match=rf"no {kind} were recorded at epoch 7: choose one of \[0\]"):
        SHEETS[kind](recording, 7)
    for other in SHAPES.keys() - {kind}:
        with pytest.raises(RecordingError, match=f"no {other}"):
            SHEETS[other](recording, 0)


@pytest.mark.parametrize("kind", SHAPES)
def test_damage_does_not_pass_for_what_was_not_recorded(kind: str) -> None:
    made = RecordingBuilder(epochs=[0])
    made.store("inputs", np.ones((2, 1, 2, 2)))
    for layer in ("sound", "torn"):
        made.keep(kind, layer, 0, np.ones(SHAPES[kind]))
    sound, torn = zipfile.ZipFile(io.BytesIO(made.pack())), io.BytesIO()
    with zipfile.ZipFile(torn, "w") as archive:
        for name in sound.namelist():
            archive.writestr(name, b"torn" if "/torn/" in name else sound.read(name))
    with pytest.raises(RecordingError, match="is damaged"):
        SHEETS[kind](Recording(torn.getvalue()), 0)


def test_filters_before_and_after_are_those_of_the_first_and_last_epoch_that_has_them() -> None:
    layers = {"late": {epoch: np.full((4, 1, 3, 3), epoch / 4) for epoch in (1, 2, 3)}}
    bands = shown(figures.filters_before_and_after(keep("kernels", layers, epochs=[0, 1, 2, 3, 4])))
    assert [(title.split(":")[0], picture[0, 0]) for title, picture, _ in bands] == [
        ("late, epoch 1", 0.25),
        ("late, epoch 3", 0.75),
    ]


def test_histograms_leave_the_epochs_empty_at_which_a_layer_was_not_seen() -> None:
    values = np.ones((2, 4, 3, 3))
    epochs_of = {"first": [0, 1, 2], "late": [1, 2], "once": [1]}
    layers = {layer: dict.fromkeys(epochs, values) for layer, epochs in epochs_of.items()}
    panels = figures.activation_histograms(keep("maps", layers, epochs=[0, 1, 2])).axes
    assert [axes.get_title() for axes in panels] == list(epochs_of)
    for axes, epochs in zip(panels, epochs_of.values(), strict=True):
        counts = np.expm1(np.ma.filled(axes.collections[0].get_array(), np.nan))
        assert [epoch for epoch in range(3) if np.nansum(counts[:, epoch]) == sum(HISTOGRAM)] == epochs
        assert [epoch for epoch in range(3) if not np.isnan(counts[:, epoch]).all()] == epochs


@pytest.mark.parametrize(
    ("about", "tails"),
    [
        ({}, ["", ""]),
        ({"labels": [1, 0]}, ["", ""]),
        ({"classes": ["bag", "coat"]}, ["", ""]),
        ({"labels": None, "classes": None}, ["", ""]),
        ({"labels": [1, 0], "classes": 10}, ["", ""]),
        ({"labels": {"0": 1}, "classes": ["bag", "coat"]}, ["", ""]),
        ({"labels": [1, 0], "classes": ["bag", "coat"]}, [": coat", ": bag"]),
        ({"labels": [1, 0, 1], "classes": ["bag", "coat"]}, [": coat", ": bag"]),
        ({"labels": [1], "classes": ["bag", "coat"]}, [": coat", ""]),
        ({"labels": [], "classes": ["bag", "coat"]}, ["", ""]),
        ({"labels": [0, 1], "classes": ["bag"]}, [": bag", ""]),
        ({"labels": [-1, None], "classes": ["bag", "coat"]}, ["", ""]),
        ({"labels": [[1], {"a": 0}], "classes": ["bag", "coat"]}, ["", ""]),
        ({"labels": [1, 0], "classes": {0: "bag", 1: "coat"}}, [": coat", ": bag"]),
        ({"labels": [7, 0], "classes": {"0": "bag", "1": "coat"}}, ["", ": bag"]),
        ({"labels": ["b", "c"], "classes": {"b": "bag"}}, [": bag", ""]),
    ],
)
def test_an_image_is_named_where_its_class_is_known(about: dict[str, Any], tails: list[str]) -> None:
    recording = keep("maps", {"act": {0: np.ones((2, 4, 3, 3))}}, epochs=[0], **about)
    for image in (0, 1, -2, -1):
        title = figures.feature_maps(recording, 0, image=image).get_suptitle()
        assert title == f"Feature maps, model, epoch 0{tails[image]}"


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({}, "model"),
        ({"model": None, "recipe": None}, "model"),
        ({"model": "net"}, "net"),
        ({"recipe": "fast"}, "model (fast)"),
        ({"model": "net", "recipe": "fast"}, "net (fast)"),
    ],
)
def test_a_title_names_the_run_as_far_as_it_is_known(about: dict[str, Any], name: str) -> None:
    kernels = keep("kernels", {"conv": {0: np.ones((4, 1, 3, 3))}}, epochs=[0], **about)
    assert figures.kernels(kernels, 0).get_suptitle() == f"Convolution kernels, {name}, epoch 0"
    maps = keep("maps", {"act": {0: np.ones((2, 4, 3, 3))}}, epochs=[0], **about)
    assert figures.activation_histograms(maps).get_suptitle() == f"Outputs by layer, {name}"


@pytest.mark.parametrize(("kind", "shape"), [("kernels", (4, 1, 5)), ("gradients", (4, 1, 5)), ("maps", (2, 4, 5))])
def test_a_signal_is_one_line_high(kind: str, shape: tuple[int, ...]) -> None:
    recording = keep(kind, {"layer": {0: np.linspace(0.5, 1, np.prod(shape)).reshape(shape)}}, epochs=[0])
    assert ", 1x5" in shown(SHEETS[kind](recording, 0))[-1][0]


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
def test_all_figures_unpack_each_picture_a_fixed_number_of_times(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to be drawn, and once for the colours if all epochs share them, which anew for a sheet would be `epochs`."""
    recording = record(epochs)
    reads = count_reads(recording, monkeypatch)
    monkeypatch.setattr(figures, "save", lambda _, path: path)
    figures.save_run_figures(recording, Figure(), tmp_path)
    once = len(LAYERS) * epochs
    assert reads == {"kernels": 2 * once, "gradients": once, "maps": 2 * once}


@pytest.mark.parametrize("epochs", [2, 12])
def test_an_animation_unpacks_each_picture_a_fixed_number_of_times(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record(epochs)
    explorer = Explorer(recording)
    reads = count_reads(recording, monkeypatch)
    explorer.save_animation(tmp_path / "film.gif")
    assert sum(reads.values()) <= 2 * epochs


def test_how_many_of_the_kernels_shown_are_zero_is_said() -> None:
    values = np.random.default_rng(0).standard_normal((20, 3, 3, 3))
    values[:15, 0], values[3:6, 1:] = 0, 0
    recording = keep("gradients", {"a": {0: values}, "b": {0: values}}, epochs=[0])
    (first, picture, _), (second, _, _) = shown(figures.gradients(recording, 0))
    assert first.startswith("a: 20 kernels, 3x3, input channel 1 of 3, 3 of these 20 zero")  # the one of the fewest
    assert second.startswith("b: 20 kernels, 3x3, input channel 1 of 3, 3 of these 16 zero")
    assert np.array_equal(
        picture, plots.mosaic(recording.values("gradients", "a", 0)[:, 1], columns=16), equal_nan=True
    )


@pytest.mark.parametrize("broken", [0, 1])
def test_the_input_is_shown_in_its_colours(broken: int) -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 6)).astype(np.float32)
    image[0, 0, 0, :broken] = np.nan
    made = RecordingBuilder(epochs=[0])
    made.store("inputs", image)
    made.keep("maps", "act", 0, np.ones((2, 4, 8, 6)))
    recording = Recording(made.pack())
    (title, picture, _), _ = shown(figures.feature_maps(recording, 0, image=0))
    seen = recording.inputs[0].transpose(1, 2, 0)
    low, high = np.nanmin(seen), np.nanmax(seen)
    assert title == "input" + " (1 value not finite, magenta)" * broken
    assert np.allclose(picture[:8, :6], np.nan_to_num((seen - low) / (high - low), nan=1.0))
    assert (picture[:8, 6] == 1).all()  # beside it is the paper


@pytest.mark.parametrize(
    ("channels", "label"), [(1, "input"), (2, "input: channel 0 of 2"), (5, "input: channel 0 of 5")]
)
def test_an_input_without_colours_is_grey_and_says_what_is_shown(channels: int, label: str) -> None:
    made = RecordingBuilder(epochs=[0])
    made.store("inputs", np.random.default_rng(0).normal(size=(2, channels, 8, 6)))
    made.keep("maps", "act", 0, np.ones((2, 4, 8, 6)))
    recording = Recording(made.pack())
    (title, picture, _), _ = shown(figures.feature_maps(recording, 0, image=1))
    assert title == label and np.array_equal(picture[:8, :6], recording.inputs[1, 0])


@pytest.mark.parametrize("kinds", [[], ["kernels"], ["maps"], ["kernels", "gradients"]])
def test_a_recording_that_lacks_some_kinds_has_the_figures_that_there_are(kinds: list[str], tmp_path: Path) -> None:
    made = RecordingBuilder(epochs=[0, 1])
    made.store("inputs", np.ones((2, 1, 8, 8)))
    for kind in kinds:
        made.keep(kind, "late", 1, np.ones(SHAPES[kind]))
        if kind != "maps":
            made.keep(kind, "point", 0, np.ones((4, 1, 1, 1)))  # a number is no picture
    saved = figures.save_run_figures(Recording(made.pack()), plots.curves([], []), tmp_path)
    names = {"kernels": "kernels", "gradients": "gradients", "maps": "feature_maps"}
    assert {path.name for path in saved} == {"curves.png", *(f"{names[kind]}_epoch_1.png" for kind in kinds)}


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
