"""What is drawn is what was given: the numbers in the artists against the numbers put in."""

import math
import tracemalloc
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from fmnist_lib.visualisers import plots

EPOCHS = [
    {"epoch": 1, "train_loss": 0.9, "train_accuracy": 0.70, "val_loss": 0.8, "val_accuracy": 0.72},
    {"epoch": 2, "train_loss": 0.5, "train_accuracy": 0.82, "val_loss": 0.6, "val_accuracy": 0.79},
]
STEPS = [{"step": step, "loss": 2.0 / step, "accuracy": 0.1 * step} for step in (1, 3, 5, 6)]


@pytest.mark.parametrize(
    ("shares", "names"),
    [
        ([0.84, 0.85, 1.0], ["84 %", "85 %", "100 %"]),
        ([0.845, 0.85, 0.855], ["84.5 %", "85.0 %", "85.5 %"]),
        ([0.0, 0.07, 0.1 + 0.2], ["0 %", "7 %", "30 %"]),
        ([0.9021, 0.9022], ["90.21 %", "90.22 %"]),
        ([1 / 3], ["33.3333 %"]),
        ([], []),
    ],
)
def test_percents_of_an_axis_have_as_many_digits(shares: list[float], names: list[str]) -> None:
    assert plots.Percent().format_ticks(shares) == names


def test_an_axis_in_percent_names_what_lies_there() -> None:
    figure, axes = plots.make_axes()
    axes.plot([0, 1], [0.838, 0.921])
    plots.show_percent(axes.yaxis)
    figure.canvas.draw()
    named = {label.get_text(): tick for label, tick in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert all(name == f"{round(100 * tick)} %" for name, tick in named.items()) and "84 %" in named


def test_all_figures_have_one_style() -> None:
    """Titles of one size at the left, and no figure wider than the page."""
    row = plots.grey_row("one", np.zeros((1, 2, 2)))
    many, few = {str(at): [(0.0, 1.0, [1])] for at in range(9)}, {"a": [(0.0, 1.0, [1])]}
    drawn = [
        plots.make_axes(2, title="T", height=9)[0],
        plots.tile_sheet([row], title="T"),
        plots.image_grid(np.zeros((10, 2, 2)), [""] * 10, title="T"),
        plots.curves(EPOCHS, STEPS, title="T"),
        plots.compare_curves({"a": EPOCHS}, title="T"),
        plots.confusion([[1]], ["a"], title="T"),
        plots.class_accuracy({"a": {"Bag": 0.5}}, title="T"),
        plots.layer_lines({"a": {"conv": 1.0}}, title="T", ylabel=""),
        plots.layers_over_epochs(np.ones((1, 1)), ["a"], [0], title="T", label=""),
        plots.layers_over_epochs(np.ones((1, 90)), ["a"], range(90), title="T", label=""),
        plots.histograms_over_epochs(many, [0], title="T"),
        plots.histograms_over_epochs(few, [0], title="T"),
    ]
    for figure in drawn:
        [title] = [text for text in figure.findobj(Text) if text.get_text() == "T"]
        assert (title.get_fontsize(), title.get_fontweight(), title.get_ha(), title.get_position()[0]) == (
            12,
            "bold",
            "left",
            0.01,
        )
        assert figure.get_figwidth() <= plots.WIDTH


def test_axes_have_no_box_and_the_colours_of_the_lab() -> None:
    figure, (left, right) = plots.make_axes(2, width=plots.NARROW, height=3, sharey=True)
    assert figure.get_size_inches().tolist() == [plots.NARROW, 3]
    left.plot([0, 1], [5, 6])
    assert right.get_ylim() == left.get_ylim()
    for axes in (left, right):
        assert not axes.spines["top"].get_visible() and not axes.spines["right"].get_visible()
        drawn = [axes.scatter([0], [0]).get_facecolor()[0] for _ in range(2)]
        assert [to_hex(color).upper() for color in drawn][-1] in plots.PALETTE


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Label -> the line's x and y."""
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def drawn_names(figure: Figure) -> list[str]:
    """What all the legends of a figure say."""
    legends = [axes.get_legend() for axes in figure.axes] + list(figure.legends)
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def test_curves_show_epochs_and_steps_where_they_were() -> None:
    loss, accuracy = plots.curves(EPOCHS, STEPS).axes
    for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
        found = lines(axes)
        assert found["training, epoch"] == ([1, 2], [row[f"train_{what}"] for row in EPOCHS])
        assert found["validation"] == ([1, 2], [row[f"val_{what}"] for row in EPOCHS])
        assert found["training, batches"] == (pytest.approx([1 / 3, 1, 5 / 3, 2]), [row[what] for row in STEPS])
        assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize("epochs", [[], EPOCHS[:1]])
def test_in_mid_epoch_a_step_lies_where_it_was_taken(epochs: list[dict[str, float]]) -> None:
    figure = plots.curves(epochs, STEPS, steps_per_epoch=4)
    assert lines(figure.axes[0])["training, batches"][0] == pytest.approx([0.25, 0.75, 1.25, 1.5])


def test_curves_of_nothing_are_empty_and_no_error() -> None:
    assert all(line == ([], []) for line in lines(plots.curves([], []).axes[0]).values())


@pytest.mark.parametrize("count", [1, 7, 8, 20, 56])
def test_every_run_is_drawn_and_looks_like_no_other(count: int) -> None:
    names = [f"run {number}" for number in range(count)]
    runs = {name: [{"epoch": 1, "val_loss": at, "val_accuracy": at / 100}] for at, name in enumerate(names)}
    for axes, what in zip(plots.compare_curves(runs).axes, ("val_loss", "val_accuracy"), strict=True):
        assert lines(axes) == {name: ([1], [rows[0][what]]) for name, rows in runs.items()}
        assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == count
    classes = {name: {"Bag": 0.5, "Coat": at / 100} for at, name in enumerate(names)}
    dots = plots.class_accuracy(classes)
    assert lines(dots.axes[0]) == {name: ([0.5, row["Coat"]], ["Bag", "Coat"]) for name, row in classes.items()}
    layers = {name: {"first": 1.0, "last": 2.0 + at} for at, name in enumerate(names)}
    norms = plots.layer_lines(layers, title="", ylabel="")
    assert list(lines(norms.axes[0]).values()) == [([0, 1], list(row.values())) for row in layers.values()]
    for figure in (dots, norms):
        assert len(drawn_names(figure)) == count


def test_a_line_of_one_layer_lies_at_the_first_depth() -> None:
    figure = plots.layer_lines({"one": {"conv": 3.0}}, title="", ylabel="", is_log=True)
    assert list(lines(figure.axes[0]).values()) == [([0.0], [3.0])]
    assert figure.axes[0].get_yscale() == "log"


def test_confusion_is_percent_of_the_true_class() -> None:
    counts = [[8, 2, 0], [1, 1, 2], [0, 0, 0]]  # of the last class there is no image
    figure = plots.confusion(counts, ["a", "b", "c"])
    mesh = figure.axes[0].collections[0]
    assert isinstance(mesh, QuadMesh)
    assert np.asarray(mesh.get_array()).tolist() == [[80, 20, 0], [25, 25, 50], [0, 0, 0]]
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["80.0", "20.0", "", "25.0", "25.0", "50.0", "", "", ""]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_a_chart_of_layers_holds_every_number_and_masks_what_is_none() -> None:
    values = [[1.0, 10.0, np.nan], [0.0, 2.0, np.inf]]
    plain, logarithmic = (
        plots.layers_over_epochs(values, ["a", "b"], [0, 1, 5], title="", label="", is_log=is_log)
        for is_log in (False, True)
    )
    for figure, masked in ((plain, [[0, 0, 1], [0, 0, 1]]), (logarithmic, [[0, 0, 1], [1, 0, 1]])):
        array = np.ma.asarray(figure.axes[0].images[0].get_array())
        assert np.ma.getmaskarray(array).tolist() == np.array(masked, bool).tolist()
        assert array.compressed().tolist() == np.array(values)[~np.array(masked, bool)].tolist()
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "5"]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert plain.axes[0].images[0].norm.vmin == 0


@pytest.mark.parametrize("is_log", [False, True])
def test_a_chart_of_zeros_alone_can_be_drawn(is_log: bool) -> None:
    figure = plots.layers_over_epochs(np.zeros((1, 2)), ["a"], [0, 1], title="", label="", is_log=is_log)
    figure.canvas.draw()


def test_a_thousand_epochs_are_named_at_25_places_in_little_memory() -> None:
    """A label for each took 22 GB."""
    tracemalloc.start()
    figure = plots.layers_over_epochs(np.ones((20, 1000)), [str(i) for i in range(20)], range(1000), title="", label="")
    figure.canvas.draw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(names) == plots.MOST_TICKS and (names[0], names[-1]) == ("0", "999")


def test_histograms_keep_every_count_between_the_lowest_and_the_highest() -> None:
    rows = [(0.0, 4.0, [1, 2, 3, 4]), (-4.0, 0.0, [10, 0, 0, 5])]
    mesh = plots.histograms_over_epochs({"a": rows}, [0, 1], title="").axes[0].collections[0]
    assert isinstance(mesh, QuadMesh)
    counts = np.expm1(np.asarray(mesh.get_array()))
    assert counts.sum(0) == pytest.approx([10, 15])
    edges = np.asarray(mesh.get_coordinates())[:, 0, 1]
    assert (edges[0], edges[-1]) == (-4, 4)
    middles = (edges[1:] + edges[:-1]) / 2
    for column, (low, high, given) in zip(counts.T, rows, strict=True):
        width = (high - low) / len(given)
        for at, count in enumerate(given):
            inside = (middles > low + at * width) & (middles < low + (at + 1) * width)
            assert column[inside].sum() == pytest.approx(count)


def test_histograms_of_a_constant_output_can_be_drawn() -> None:
    plots.histograms_over_epochs({"a": [(2.0, 2.0, [7, 0])]}, [3], title="").canvas.draw()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 3), (6, 3), (16, 16)])
def test_a_mosaic_holds_each_tile_with_gaps_between(count: int, columns: int) -> None:
    tiles = np.arange(count * 6, dtype=float).reshape(count, 2, 3)
    sheet = plots.mosaic(tiles, columns=columns)
    assert sheet.shape == (math.ceil(count / columns) * 3 - 1, columns * 4 - 1)
    for index, tile in enumerate(tiles):
        top, left = index // columns * 3, index % columns * 4
        assert np.array_equal(sheet[top : top + 2, left : left + 3], tile)
    assert np.isfinite(sheet).sum() == tiles.size


def test_a_sheet_has_a_band_and_a_scale_for_each_row() -> None:
    tiles = np.linspace(-1, 1, 18 * 4).reshape(18, 2, 2)
    rows = [plots.signed_row("weights", tiles, limit=0.5), plots.unsigned_row("maps", tiles[:3], limit=2.0)]
    figure = plots.tile_sheet(rows, title="sheet", note="a note")
    bands = [axes for axes in figure.axes if axes.images]
    for axes, row in zip(bands, rows, strict=True):
        picture = axes.images[0]
        shown = np.ma.asarray(picture.get_array()).filled(np.nan)
        assert np.array_equal(shown, plots.mosaic(row.tiles, columns=16), equal_nan=True)
        assert (picture.norm.vmin, picture.norm.vmax) == (row.low, row.high)
        assert axes.get_title(loc="left").startswith(row.label)
    scales = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes if not axes.images]
    assert ["-0.5", "0", "0.5"] in scales and ["0", "2"] in scales


def draw_row(row: plots.TileRow) -> tuple[Axes, Any]:
    """The band of a sheet of one row, and its colour bar."""
    figure = plots.tile_sheet([row], title="")
    FigureCanvasAgg(figure).draw()
    (band,) = [axes for axes in figure.axes if axes.images]
    return band, band.images[0].colorbar


@pytest.mark.parametrize("make_row", [plots.signed_row, plots.unsigned_row])
@pytest.mark.parametrize(
    ("values", "ends", "label"),
    [
        ([0.0, 1.0], "neither", "conv"),
        ([0.0, 0.5], "neither", "conv"),
        ([0.5, 1e6], "max", "conv (values from 0.5 to 1e+06)"),
        ([-2.85, 0.5], "min", "conv (values from -2.85 to 0.5)"),
        ([-2.85, 1e6], "both", "conv (values from -2.85 to 1e+06)"),
        ([0.0, 1e-6], "neither", "conv (values from 0 to 1e-06)"),
        ([0.0, 0.0], "neither", "conv (all zero)"),
        ([0.5, 0.5], "neither", "conv (all 0.5)"),
        ([3.0, 3.0], "max", "conv (all 3)"),
        ([0.0, 1.0, np.nan], "neither", "conv (1 value not finite, magenta)"),
        ([0.5, 2.0, np.nan, np.inf], "max", "conv (2 values not finite, magenta; values from 0.5 to 2)"),
        ([0.0, -np.inf, np.nan], "neither", "conv (2 values not finite, magenta; all others zero)"),
        ([np.nan, np.nan, np.nan], "neither", "conv (3 values not finite, magenta)"),
    ],
)
def test_what_colours_cannot_show_is_said(make_row: Any, values: list[float], ends: str, label: str) -> None:
    band, bar = draw_row(make_row("conv", np.reshape(values, (-1, 1, 1)), limit=1.0))
    assert bar.extend == ends
    assert band.get_title(loc="left") == label


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_what_is_not_finite_has_a_colour_and_gaps_have_none(count: int) -> None:
    """Against the pixels that are drawn: magenta where a value is not finite, white in the gaps."""
    tiles = np.linspace(0.1, 1, 20).reshape(5, 2, 2)
    tiles.flat[:count] = [np.nan, np.inf, -np.inf, np.nan] * 5 if count == 20 else np.nan
    band, _ = draw_row(plots.unsigned_row("maps", tiles, limit=1.0))
    canvas = np.asarray(cast(FigureCanvasAgg, band.figure.canvas).buffer_rgba())
    sheet = plots.mosaic(np.arange(20.0).reshape(5, 2, 2), columns=5)  # a value's number, NaN in the gaps
    for (y, x), number in np.ndenumerate(sheet):
        column, line = band.transData.transform((x, y))
        drawn = tuple(canvas[len(canvas) - 1 - int(line), int(column), :3])
        expected = "gap" if np.isnan(number) else "not finite" if number < count else "value"
        assert {(255, 255, 255): "gap", (255, 0, 255): "not finite"}.get(drawn, "value") == expected


@pytest.mark.parametrize("values", [[0.0, 2.0, 1.0], [np.nan, -1.0, 1.0], [3.0, 3.0, 3.0], [np.nan] * 3])
def test_a_grey_row_spans_what_is_finite(values: list[float]) -> None:
    row = plots.grey_row("input", np.reshape(values, (1, 1, 3)))
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    assert (row.low, row.high) == (min(finite), max(finite))
    assert draw_row(row)[1].extend == "neither"


def test_an_epoch_without_a_histogram_is_an_empty_column() -> None:
    rows = [None, (0.0, 4.0, [1, 2]), None, (0.0, 8.0, [3, 4])]
    figure = plots.histograms_over_epochs({"late": rows}, [0, 1, 2, 3], title="")
    figure.canvas.draw()
    mesh = figure.axes[0].collections[0]
    assert isinstance(mesh, QuadMesh)
    counts = np.ma.masked_invalid(np.asarray(mesh.get_array()))
    assert np.ma.getmaskarray(counts).all(0).tolist() == [True, False, True, False]
    assert np.expm1(counts).sum(0).compressed() == pytest.approx([3, 7])


def test_a_grid_shows_each_image_under_its_title() -> None:
    images = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2)
    figure = plots.image_grid(images, ["x", "y", "z"], columns=2)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["x", "y", "z"]
    for axes, image in zip(shown, images, strict=True):
        assert np.array_equal(np.asarray(axes.images[0].get_array()), image)


def test_a_grid_of_one_image() -> None:
    figure = plots.image_grid(np.zeros((1, 2, 2), np.uint8), ["x"], columns=1)
    assert [axes.get_title() for axes in figure.axes] == ["x"]


def test_a_font_that_was_installed_since_matplotlib_looked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    if (font := plots.find_chinese_font()) is None:
        pytest.skip("no Chinese font on this machine")
    stale = [entry for entry in plots.fontManager.ttflist if "CJK" not in entry.name and entry.name != font]
    monkeypatch.setattr(plots.fontManager, "ttflist", stale)
    assert plots.known_chinese_font() is None
    assert plots.find_chinese_font() is not None
