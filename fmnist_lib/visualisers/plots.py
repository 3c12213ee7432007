"""Figures: arrays and rows in, a matplotlib Figure out; nothing is shown and nothing is read.

Letters: n tiles of a row, H height, W width, K classes. Colours: Okabe and Ito's set for lines, red and blue about
zero for signed values, viridis from zero for the others; all of them can be told apart by the colour-blind. What is
not finite is magenta on a sheet, and counted in words.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import seaborn  # type: ignore[import-untyped]
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import findSystemFonts, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import Formatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from fmnist_lib.visualisers.recording import sample

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>p"
SIGNED, UNSIGNED = "RdBu_r", "viridis"
RGB = "rgb"
NOT_FINITE = "magenta"
FAINT = 0.05  # of the colours' limit: a row whose values all stay below it looks blank
MOST_TICKS = 25  # epochs that are named along an axis
GAP = 1  # pixels between two tiles
# Best first: what Linux, macOS and Windows come with, or can be given.
CHINESE_FONTS = """Noto Sans CJK SC, Noto Sans SC, Source Han Sans SC, PingFang SC, Hiragino Sans GB, Microsoft YaHei,
WenQuanYi Micro Hei, WenQuanYi Zen Hei, SimHei, Heiti TC, SimSun, Noto Serif CJK SC, Noto Sans CJK JP, Arial Unicode MS,
Droid Sans Fallback"""
Histogram = tuple[float, float, Sequence[int]]  # lowest value, highest value, counts of equal bins between them
STYLE = {
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.sans-serif": ["DejaVu Sans"],  # as in the figures that seaborn has no part in
}
WIDTH, NARROW = 10.5, 7.0  # inches: a figure as wide as the page, and one that need not be
TITLE: dict[str, Any] = {"fontsize": 12, "fontweight": "bold", "x": 0.01, "ha": "left"}


@dataclass(frozen=True)
class TileRow:
    """A row of small pictures of one layer: (n, H, W), the range of its colours, and matplotlib's name for them.

    Pictures (n, H, W, 3) have colours of their own, `RGB`.
    """

    label: str
    tiles: NDArray[np.floating]
    low: float
    high: float
    colors: str


def signed_row(label: str, tiles: NDArray[np.floating], *, limit: float) -> TileRow:
    """A row coloured from -limit to limit, with zero in the middle."""
    return TileRow(label, tiles, -limit, limit, SIGNED)


def unsigned_row(label: str, tiles: NDArray[np.floating], *, limit: float) -> TileRow:
    """A row coloured from zero to limit."""
    return TileRow(label, tiles, 0.0, limit, UNSIGNED)


def grey_row(label: str, tiles: NDArray[np.floating]) -> TileRow:
    """A row from black at the lowest finite value to white at the highest."""
    return TileRow(label, tiles, *finite_range(tiles), "gray")


def colour_row(label: str, tiles: NDArray[np.floating]) -> TileRow:
    """A row of pictures (n, H, W, 3) as red, green and blue, each from its lowest finite value to its highest."""
    return TileRow(label, tiles, *finite_range(tiles), RGB)


def finite_range(values: NDArray[np.floating]) -> tuple[float, float]:
    """The lowest and the highest finite value, zeros where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def make_axes(
    columns: int = 1, *, title: str = "", width: float = WIDTH, height: float = 3.7, sharey: bool = False
) -> tuple[Figure, Any]:
    """A figure in the lab's style, its title at the left, and its axes: one, or an array of `columns` side by side.

    `width` and `height` are inches. Lines and dots take the lab's colours in turn.
    """
    with seaborn.axes_style("ticks", STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
        axes = figure.subplots(1, columns, sharey=sharey)
    for each in figure.axes:
        each.set_prop_cycle(color=PALETTE)
    figure.suptitle(title, **TITLE)
    return figure, axes


class Percent(Formatter):
    """Shares, 0 to 1, in percent, all ticks of an axis with as many digits: 84 % and 85 %, or 84.5 % and 85.0 %."""

    def __call__(self, value: float, position: int | None = None) -> str:
        return f"{100 * value:.4g} %"

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        percents = [100 * value for value in values]
        digits = next((n for n in range(4) if all(abs(each - round(each, n)) < 1e-6 for each in percents)), 4)
        return [f"{each:.{digits}f} %" for each in percents]


def show_percent(axis: Axis) -> None:
    """Name the ticks of an axis of shares, 0 to 1, in percent."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(Percent())


def tile_sheet(rows: Sequence[TileRow], *, title: str, note: str = "") -> Figure:
    """A sheet of tiles, one band and one colour bar per layer; a row's label is followed by its `remark`."""
    columns = max(len(row.tiles) for row in rows)
    columns = min(columns, 16)
    heights = [math.ceil(len(row.tiles) / columns) for row in rows]
    inches = (WIDTH - 1.9) / columns
    figure = Figure(figsize=(WIDTH, sum(heights) * inches + 0.28 * len(rows) + 0.9), layout="constrained", dpi=100)
    grid = figure.add_gridspec(len(rows), 1, height_ratios=[height + 0.28 / inches for height in heights])
    figure.suptitle(title, **TITLE)
    if note:
        figure.supxlabel(note, fontsize=8.5, color="#444444")
    for index, row in enumerate(rows):
        axes = figure.add_subplot(grid[index])
        show_mosaic(axes, row, columns=columns)
    return figure


def show_mosaic(axes: Axes, row: TileRow, *, columns: int) -> None:
    """One layer's tiles as a single picture with thin gaps, and its colour bar."""
    picture, high = mosaic(row.tiles, columns=columns), row.high if row.high > row.low else row.low + 1
    if row.colors == RGB:
        picture = np.nan_to_num((picture - row.low) / (high - row.low), nan=1.0)
    cmap = "gray" if row.colors == RGB else row.colors
    image = axes.imshow(picture, cmap=cmap, vmin=row.low, vmax=high, interpolation="nearest")
    show_not_finite(axes, row, columns=columns)
    axes.set_title(row.label + remark(row), fontsize=9, loc="left", pad=3)
    axes.set_axis_off()
    axes.set_anchor("W")
    bar = axes.figure.colorbar(
        image, ax=axes, fraction=0.012, pad=0.008, aspect=12, extend=pointed_ends(row), extendfrac=0.1
    )
    ends = sorted({row.low, 0.0, row.high}) if row.low < 0 < row.high else [row.low, row.high]
    bar.set_ticks(ends, labels=[f"{end:.3g}" for end in ends])
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_visible(row.colors != RGB)


def show_not_finite(axes: Axes, row: TileRow, *, columns: int) -> None:
    """Lay a colour of its own over what is not finite, which would else look like a gap."""
    is_finite = np.isfinite(row.tiles)
    if not is_finite.all():
        is_finite = is_finite.all(axis=-1) if row.colors == RGB else is_finite
        marks = mosaic(np.where(is_finite, np.nan, 1.0), columns=columns)
        axes.imshow(marks, cmap=ListedColormap([NOT_FINITE]), interpolation="nearest")


def pointed_ends(row: TileRow) -> str:
    """Where values lie beyond the colours of a row, in matplotlib's words for the points of a colour bar."""
    low, high = finite_range(row.tiles)
    return ("neither", "min", "max", "both")[(low < row.low) + 2 * (high > row.high)]


def remark(row: TileRow) -> str:
    """What the colours of a row cannot say, in brackets: values beyond them, too faint, all the same or not finite."""
    low, high = finite_range(row.tiles)
    missing = np.count_nonzero(~np.isfinite(row.tiles))
    remarks = [f"{missing} value{'s' if missing > 1 else ''} not finite, {NOT_FINITE}"] if missing else []
    is_faint = max(-low, high) < FAINT * max(-row.low, row.high)
    if low == high and missing < row.tiles.size:
        remarks.append(f"{'all others' if missing else 'all'} {f'{low:.3g}' if low else 'zero'}")
    elif low < high and (is_faint or pointed_ends(row) != "neither"):
        remarks.append(f"values from {low:.3g} to {high:.3g}")
    return f" ({'; '.join(remarks)})" if remarks else ""


def mosaic(tiles: NDArray[np.floating], *, columns: int) -> NDArray[np.floating]:
    """Tiles (n, H, W), or in colour (n, H, W, 3), side by side, `columns` in a line, with NaN in the gaps."""
    count, height, width, *colours = tiles.shape
    lines = math.ceil(count / columns)
    sheet = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, *colours), np.nan)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def image_grid(images: ArrayLike, titles: Sequence[str], *, columns: int = 10, title: str = "") -> Figure:
    """Grey pictures (N, H, W), bytes, each under its title; dark is 0, as the set is."""
    pictures = np.asarray(images)
    lines = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(1.05 * columns, 1.28 * lines + (0.4 if title else 0)), layout="constrained", dpi=100)
    figure.suptitle(title, **TITLE)
    for axes, picture, text in zip(figure.subplots(lines, columns, squeeze=False).flat, pictures, titles, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(text, fontsize=8, pad=2)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def curves(
    epochs: Sequence[Mapping[str, float]],
    steps: Sequence[Mapping[str, float]],
    *,
    title: str = "",
    steps_per_epoch: int | None = None,
) -> Figure:
    """Loss and accuracy over epochs, from rows of `epoch`, `train_loss`, ... and of `step`, `loss` and `accuracy`.

    `steps_per_epoch` places the steps, also in the middle of an epoch; without it the last step ends the last epoch.
    """
    figure, (loss, accuracy) = make_axes(2, title=title)
    numbers = [row["epoch"] for row in epochs]
    per_epoch = steps_per_epoch or (steps[-1]["step"] / max(len(epochs), 1) if steps else 1)
    positions = [row["step"] / per_epoch for row in steps]
    blue, orange = PALETTE[:2]
    for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(positions, [row[what] for row in steps], color=blue, alpha=0.35, lw=1, label="training, batches")
        axes.plot(numbers, [row[f"train_{what}"] for row in epochs], "o-", color=blue, label="training, epoch")
        axes.plot(numbers, [row[f"val_{what}"] for row in epochs], "s--", color=orange, label="validation")
        finish_epoch_axes(axes, ylabel={"loss": "cross-entropy loss (nats)", "accuracy": "accuracy"}[what])
        axes.set_xlim(0, 1.03 * max([1, *positions, *numbers]))
    show_percent(accuracy.yaxis)
    return figure


def compare_curves(rows: Mapping[str, Sequence[Mapping[str, float]]], *, title: str = "") -> Figure:
    """Validation loss and accuracy of several runs, name -> epoch rows, on one pair of axes."""
    figure, pair = make_axes(2, title=title)
    for axes, what in zip(pair, ("loss", "accuracy"), strict=True):
        for (name, epochs), look in zip(rows.items(), looks(len(rows)), strict=True):
            numbers = [row["epoch"] for row in epochs]
            axes.plot(numbers, [row[f"val_{what}"] for row in epochs], linestyle="-", label=name, **look)
        finish_epoch_axes(axes, ylabel=f"validation {what}" + (" (nats)" if what == "loss" else ""))
    show_percent(pair[1].yaxis)
    return figure


def looks(count: int) -> list[dict[str, Any]]:
    """Colour and marker for each of so many lines: 7 and 8 of them, so that 56 pairs differ before they come round."""
    pairs = islice(zip(cycle(PALETTE), cycle(MARKERS), strict=False), count)
    return [{"color": color, "marker": marker} for color, marker in pairs]


def finish_epoch_axes(axes: Axes, *, ylabel: str) -> None:
    """Labels, whole epochs and a legend."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9)


def confusion(matrix: ArrayLike, classes: Sequence[str], *, title: str = "") -> Figure:
    """A confusion matrix (K, K), rows true, each row in percent of its images."""
    counts = np.asarray(matrix, dtype=float)
    percent = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(NARROW, 5.8), layout="constrained", dpi=100)
    figure.suptitle(title, **TITLE)
    axes = figure.subplots()
    labels = np.where(percent >= 0.05, np.char.mod("%.1f", percent), "")
    seaborn.heatmap(
        percent, annot=labels, fmt="", cmap="Blues", ax=axes, vmin=0, vmax=100, square=True,
        xticklabels=classes, yticklabels=classes, annot_kws={"fontsize": 8}, cbar_kws={"label": "% of the true class"},
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(axis="x", rotation=45)
    axes.tick_params(axis="y", rotation=0)
    return figure


def class_accuracy(per_class: Mapping[str, Mapping[str, float]], *, title: str = "") -> Figure:
    """Accuracy per class (0 to 1) of several runs, name -> class -> accuracy, as dots on one line per class."""
    figure, axes = make_axes(title=title, height=4.4)
    for (name, row), look in zip(per_class.items(), looks(len(per_class)), strict=True):
        axes.plot(list(row.values()), list(row), linestyle="", label=name, ms=7, alpha=0.85, **look)
    axes.invert_yaxis()
    show_percent(axes.xaxis)
    axes.set_xlabel("images of the class that were recognised")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def layer_lines(series: Mapping[str, Mapping[str, float]], *, title: str, ylabel: str, is_log: bool = False) -> Figure:
    """One line per name over layers in order of depth: name -> layer -> number, such as a gradient's norm."""
    figure, axes = make_axes(title=title, height=4.2)
    for (name, row), look in zip(series.items(), looks(len(series)), strict=True):
        share = np.linspace(0, 1, len(row)) if len(row) > 1 else [0.0]
        axes.plot(share, list(row.values()), linestyle="-", label=f"{name} ({len(row)} layers)", ms=4, **look)
    axes.set_yscale("log" if is_log else "linear")
    axes.set_xlabel("depth of the layer: 0 the first convolution, 1 the last")
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False, fontsize=9)
    return figure


def layers_over_epochs(
    values: ArrayLike, layers: Sequence[str], epochs: Sequence[float], *, title: str, label: str, is_log: bool = False
) -> Figure:
    """A chart (layers, epochs) of one number each, such as a gradient's norm; NaN, where there is none, stays grey."""
    numbers = np.asarray(values, dtype=float)
    size = (min(max(NARROW, 3.6 + 0.55 * len(epochs)), WIDTH), max(2.8, 1.2 + 0.24 * len(layers)))
    figure = Figure(figsize=size, layout="constrained", dpi=100)
    figure.suptitle(title, **TITLE)
    axes = figure.subplots()
    axes.set_facecolor("#bbbbbb")
    is_log = is_log and bool((numbers > 0).any())
    # One picture, whatever its size: seaborn's heatmap lays out a label for every epoch, in memory as their square.
    image = axes.imshow(
        np.ma.masked_where(~np.isfinite(numbers) | (is_log & (numbers <= 0)), numbers),
        aspect="auto",
        interpolation="nearest",
        cmap=UNSIGNED,
        norm=LogNorm() if is_log else Normalize(vmin=0),
    )
    figure.colorbar(image, ax=axes, label=label)
    axes.set_yticks(range(len(layers)), layers)
    name_epochs(axes, epochs, most=MOST_TICKS)
    axes.tick_params(labelsize=8, length=0)
    return figure


def histograms_over_epochs(
    histograms: Mapping[str, Sequence[Histogram | None]], epochs: Sequence[float], *, title: str
) -> Figure:
    """How a layer's outputs are spread, epoch by epoch: layer -> a histogram per epoch, a panel per layer.

    None, where a layer has no histogram, leaves an empty column; each layer needs one at least.

    Source: fast.ai's colourful dimension; brightness is the logarithm of the count.
    """
    figure = Figure(figsize=(min(2.6 * len(histograms), WIDTH), 3.0), layout="constrained", dpi=100)
    figure.suptitle(title, **TITLE)
    panels = figure.subplots(1, len(histograms), squeeze=False)[0]
    for axes, (layer, rows) in zip(panels, histograms.items(), strict=True):
        known = [row for row in rows if row is not None]
        bottom, top = min(low for low, _, _ in known), max(high for _, high, _ in known)
        edges = np.linspace(bottom, top if top > bottom else bottom + 1, 41)
        empty = np.full(len(edges) - 1, np.nan)
        columns = [empty if row is None else rebin(*row, edges) for row in rows]
        axes.pcolormesh(np.arange(len(epochs) + 1) - 0.5, edges, np.log1p(columns).T, cmap=UNSIGNED)
        name_epochs(axes, epochs, most=MOST_TICKS // 2)
        axes.set_title(layer, fontsize=9)
    panels[0].set_ylabel("output (brighter: more often)")
    return figure


def name_epochs(axes: Axes, epochs: Sequence[float], *, most: int) -> None:
    """Name some of the epochs that lie side by side at 0, 1, 2, ..., first and last among them."""
    shown = sample(len(epochs), most)
    axes.set_xticks(shown, [str(epochs[place]) for place in shown])
    axes.set_xlabel("epoch")


def rebin(low: float, high: float, counts: Sequence[int], edges: NDArray[np.floating]) -> NDArray[np.floating]:
    """Counts of equal bins between low and high, put into other bins by their middles."""
    width = (high - low) / len(counts)
    middles = low + width * (np.arange(len(counts)) + 0.5)
    return np.histogram(middles, bins=edges, weights=counts)[0]


def find_chinese_font() -> str | None:
    """The name of a font on this machine that has Chinese letters, None where there is none."""
    found = known_chinese_font()
    if found is None:  # matplotlib remembers a machine's fonts, also when more have been installed since
        known = {entry.fname for entry in fontManager.ttflist}
        for path in set(findSystemFonts()) - known:
            with suppress(Exception):  # a file that is no font, or one that matplotlib cannot read
                fontManager.addfont(path)
        found = known_chinese_font()
    return found


def known_chinese_font() -> str | None:
    """The same among the fonts that matplotlib knows."""
    files = {entry.name: entry.fname for entry in fontManager.ttflist}
    names = [name.strip() for name in CHINESE_FONTS.split(",")]
    return next((name for name in names if name in files and get_font(files[name]).get_char_index(ord("核"))), None)


def letters_of(font: str) -> AbstractContextManager[None]:
    """Within it figures are drawn in a font, and in the usual one what it lacks."""
    return rc_context({"font.family": [font, "DejaVu Sans"]})


def translate(figure: Figure, words: Mapping[str, str]) -> Figure:
    """The figure with words of its texts replaced, the longest first; what names ticks stays as it was given."""
    order = sorted(words, key=len, reverse=True)
    for text in figure.findobj(Text):
        said = text.get_text()
        for word in order:
            said = said.replace(word, words[word])
        text.set_text(said)
        text.set_fontfamily(rcParams["font.family"])  # seaborn's styles have set another one
    return figure
