"""The figures of a run: which part of a recording goes on which picture, and the files they are saved in.

Letters: N images, C channels, O output channels, I input channels, H height, W width.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.files import write_atomically
from fmnist_lib.interrupts import held_back
from fmnist_lib.visualisers import plots
from fmnist_lib.visualisers.plots import Figure
from fmnist_lib.visualisers.recording import Recording, RecordingError, sample

MOST_LAYERS = 6  # on one sheet
MOST_TILES = 16  # of a layer, but for the first one's kernels, which are all shown
PERCENTILE = 99.5  # of a layer's values, where its colours end: an outlier must not turn the rest pale


def kernels(recording: Recording, epoch: float) -> Figure:
    """The kernels of the first convolution, all of them, and of some deeper ones, at an epoch; see `weight_sheet`."""
    return weight_sheet(recording, "kernels", epoch)


def gradients(recording: Recording, epoch: float) -> Figure:
    """The gradient of the loss with respect to the kernels that `kernels` shows; see `weight_sheet`."""
    return weight_sheet(recording, "gradients", epoch)


def weight_sheet(recording: Recording, kind: str, epoch: float) -> Figure:
    """A sheet of kernels or of their gradients, in colours that are symmetric about zero.

    Kernels have the same colours at every epoch. Gradients differ so much in size from epoch to epoch that the smaller
    ones would be white: their colours are each epoch's own. Raises RecordingError if none were recorded at the epoch.
    """
    rows: list[plots.TileRow] = []
    for layer in layers_at(recording, kind, epoch, layers=spatial_layers(recording, kind)):
        values = recording.values(kind, layer, epoch)
        colours = find_scale([values]) if kind == "gradients" else scale(recording, kind, layer)
        shown = values[:MOST_TILES] if rows else values
        label, pictures = pick_input(recording.layers[kind][layer], shown)
        rows.append(plots.signed_row(f"{as_title(layer)}: {label}", pictures, limit=colours.limit))
    what = {"kernels": "Convolution kernels", "gradients": "Gradient of the loss, by kernel"}[kind]
    return plots.tile_sheet(rows, title=f"{what}, {name(recording)}, epoch {epoch}", note=NOTES[kind])


def pick_input(about: dict[str, Any], values: NDArray[np.floating]) -> tuple[str, NDArray[np.floating]]:
    """Of kernels (O, I, H, W) the input channel of the fewest that are zero, (O, H, W), and a label that says which.

    `about` is what the recording says of the layer. A dead channel gives no gradient, and a blank row would teach
    nothing. How many of the kernels are zero nevertheless, the label says too. Channels are counted from 0.
    """
    outputs, inputs = about["shape"][:2]
    height, width = values.shape[-2:]
    is_living = (values != 0).any(axis=(2, 3))
    place = int(is_living.sum(axis=0).argmax())
    zeros = len(values) - int(is_living[:, place].sum())
    label = f"{outputs} kernels, {height}x{width}"
    label += f", input channel {about['inputs'][place]} of {inputs}" if inputs > 1 else ""
    return label + (f", {zeros} of these {len(values)} zero" if 0 < zeros < len(values) else ""), values[:, place]


def feature_maps(recording: Recording, epoch: float, *, image: int = -1) -> Figure:
    """The feature maps of one shown image in layers from first to last; colours are the same for every epoch.

    Raises RecordingError if no maps were recorded at the epoch, or for an image that is not there.
    """
    inputs = recording.inputs
    if not -len(inputs) <= image < len(inputs):
        raise RecordingError(f"no image {image} in the recording: choose one of 0 to {len(inputs) - 1}")
    image = range(len(inputs))[image]  # from the front: there may be more labels than images, or fewer
    rows = [input_row(inputs[image])]
    for layer in layers_at(recording, "maps", epoch, layers=list(recording.layers.get("maps", {}))):
        values = recording.values("maps", layer, epoch)[image]
        count = recording.layers["maps"][layer]["shape"][1]
        height, width = values.shape[-2:]
        label = f"{as_title(layer)}: {min(len(values), MOST_TILES)} of {count} channels, {height}x{width}"
        colours = scale(recording, "maps", layer)
        make_row = plots.signed_row if colours.has_negative else plots.unsigned_row
        rows.append(make_row(label, values[:MOST_TILES], limit=colours.limit))
    title = f"Feature maps, {name(recording)}, epoch {epoch}{image_name(recording, image)}"
    return plots.tile_sheet(rows, title=title, note=NOTES["maps"])


def input_row(picture: NDArray[np.floating]) -> plots.TileRow:
    """An input (C, H, W) as the model saw it: in colour if it has three channels, else its first channel in grey."""
    if len(picture) == 3:
        return plots.colour_row("input", picture.transpose(1, 2, 0)[None])
    return plots.grey_row("input" if len(picture) == 1 else f"input: channel 0 of {len(picture)}", picture[:1])


NOTES = {
    "kernels": "Each layer has its own colours, red above zero and blue below, the same for every epoch.",
    "gradients": "On a fixed validation batch; red above zero and blue below. Each layer has its own colours at each "
    "epoch; compare epochs by the numbers at the colour bars.",
    "maps": "After the activation. Each layer has its own colours, the same for every epoch: from zero, or, where it "
    "has negative values, red above zero and blue below.",
}


def layers_at(recording: Recording, kind: str, epoch: float, *, layers: list[str]) -> list[str]:
    """At most `MOST_LAYERS` of those of the layers that were recorded at an epoch, evenly spread.

    Raises RecordingError if there is none.
    """
    found = [layer for layer in layers if recording.has(kind, layer, epoch)]
    if not found:
        epochs = sorted({each for layer in layers for each in recording.recorded_epochs(kind, layer)})
        raise RecordingError(f"no {kind} were recorded at epoch {epoch}: choose one of {epochs}")
    return choose(found)


class Scale(NamedTuple):
    """Where the colours of a layer end, and whether it needs some for values below zero."""

    limit: float
    has_negative: bool


SCALES: WeakKeyDictionary[Recording, dict[tuple[str, str], Scale]] = WeakKeyDictionary()


def scale(recording: Recording, kind: str, layer: str) -> Scale:
    """The scale that a layer has at all epochs; each is decoded for it, so it is found once for all sheets."""
    known = SCALES.setdefault(recording, {})
    if (kind, layer) not in known:
        epochs = recording.recorded_epochs(kind, layer)
        known[kind, layer] = find_scale([recording.values(kind, layer, epoch) for epoch in epochs])
    return known[kind, layer]


def find_scale(pictures: Sequence[NDArray[np.floating]]) -> Scale:
    """The scale of some pictures, which ends at a high percentile of the absolute values that are not zero."""
    values = np.concatenate([each[np.isfinite(each) & (each != 0)] for each in pictures])
    limit = float(np.percentile(np.abs(values), PERCENTILE)) if len(values) else 1.0
    return Scale(limit, has_negative=bool((values < 0).any()))


def spatial_layers(recording: Recording, kind: str) -> list[str]:
    """The layers whose kernels have more than one pixel. Raises RecordingError if there is none."""
    spatial = drawn_layers(recording, kind)
    if not spatial:
        raise RecordingError(f"no {kind} of more than one pixel in this recording")
    return spatial


def drawn_layers(recording: Recording, kind: str) -> list[str]:
    """The layers of which a sheet shows something: a 1x1 kernel is a number and no picture."""
    layers = recording.layers.get(kind, {})
    return [layer for layer, about in layers.items() if kind == "maps" or max(about["shape"][2:]) > 1]


def choose(layers: list[str]) -> list[str]:
    """At most `MOST_LAYERS` of the layers, first and last among them, evenly spread."""
    return [layers[row] for row in sample(len(layers), MOST_LAYERS)]


def name(recording: Recording) -> str:
    """The run's name as a title has it."""
    model, recipe = recording.about.get("model") or "model", recording.about.get("recipe")
    return as_title(f"{model} ({recipe})" if recipe else str(model))


def as_title(text: str) -> str:
    """A name of moderate length in which matplotlib looks for no formula."""
    return (text if len(text) <= 80 else f"{text[:77]}...").replace("\\", "/").replace("$", r"\$")


def image_name(recording: Recording, image: int) -> str:
    """What a shown image, counted from 0, is, as a title's tail; empty where the recording does not say.

    `about` is whatever somebody gave to the recorder; its classes may be a list or, by number, a dictionary.
    """
    labels, classes = recording.about.get("labels"), recording.about.get("classes")
    if isinstance(classes, list):
        classes = {str(number): class_name for number, class_name in enumerate(classes)}
    if not isinstance(labels, list) or not isinstance(classes, dict) or not 0 <= image < len(labels):
        return ""
    label = str(labels[image])  # as JSON, which the recording is stored as, has the keys of a dictionary
    return as_title(f": {classes[label]}") if label in classes else ""


def gradient_flow(recording: Recording) -> Figure:
    """The norm of the loss's gradient by each convolution's weights, over the epochs."""
    title = f"Gradient by layer, {name(recording)}"
    return stat_chart(recording, "gradient_norm", title=title, label="norm of the gradient", is_log=True)


def weight_movement(recording: Recording) -> Figure:
    """How far each convolution's weights have moved from where they started, relative to their norm there."""
    title = f"Weight movement, {name(recording)}"
    return stat_chart(recording, "movement", title=title, label="distance / norm at the start")


def sparsity(recording: Recording) -> Figure:
    """The share of zeros in each recorded layer's output, over the epochs."""
    return stat_chart(recording, "zeros", title=f"Zeros in the output, {name(recording)}", label="share of zeros")


def dead_channels(recording: Recording) -> Figure:
    """How many channels of each recorded layer are zero for every image of the probe, over the epochs."""
    return stat_chart(recording, "dead", title=f"Dead channels, {name(recording)}", label="channels always zero")


def stat_chart(recording: Recording, column: str, *, title: str, label: str, is_log: bool = False) -> Figure:
    """One column of the recording's statistics as a chart (layers, epochs)."""
    rows = recorded_stats(recording, column)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    values = np.full((len(layers), len(recording.epochs)), np.nan)
    for row in rows:
        number = row[column]
        place = layers.index(row["layer"]), recording.epochs.index(row["epoch"])
        values[place] = np.nan if number is None else len(number) if isinstance(number, list) else number
    return plots.layers_over_epochs(
        values, [as_title(layer) for layer in layers], recording.epochs, title=title, label=label, is_log=is_log
    )


def recorded_stats(recording: Recording, column: str) -> list[dict[str, Any]]:
    """The rows of the recording's statistics that have a column. Raises RecordingError if there is none."""
    rows = [row for row in recording.stats if column in row]
    if not rows:
        raise RecordingError(f"this recording has no {column!r} of any layer")
    return rows


def activation_histograms(recording: Recording) -> Figure:
    """How the outputs of some layers, first and last among them, are spread at each epoch that they were seen at."""
    found: dict[str, dict[float, plots.Histogram]] = {}
    for row in recorded_stats(recording, "histogram"):
        found.setdefault(row["layer"], {})[row["epoch"]] = row["low"], row["high"], row["histogram"]
    histograms = {
        as_title(layer): [found[layer].get(epoch) for epoch in recording.epochs] for layer in choose(list(found))
    }
    return plots.histograms_over_epochs(histograms, recording.epochs, title=f"Outputs by layer, {name(recording)}")


def filters_before_and_after(recording: Recording) -> Figure:
    """The first convolution's kernels at the first epoch that they were recorded at and at the last."""
    layer = spatial_layers(recording, "kernels")[0]
    epochs = recording.recorded_epochs("kernels", layer)
    rows = []
    for epoch in (epochs[0], epochs[-1]):
        label, shown = pick_input(recording.layers["kernels"][layer], recording.values("kernels", layer, epoch))
        limit = scale(recording, "kernels", layer).limit
        rows.append(plots.signed_row(f"{as_title(layer)}, epoch {epoch}: {label}", shown, limit=limit))
    return plots.tile_sheet(rows, title=f"Kernels before and after training, {name(recording)}", note=NOTES["kernels"])


def save_run_figures(recording: Recording, curves: Figure, folder: Path) -> list[Path]:
    """Write kernels, gradients and feature maps of every epoch that has some and the curves as PNG; returns the files.

    Pictures of epochs that are not in the recording, which an earlier one left, are deleted after that.
    """
    saved = []
    for what, epoch in pictures_of(recording):
        with held_back():
            saved.append(save(PICTURES[what][1](recording, epoch), folder / picture_name(what, epoch)))
    with held_back():
        saved.append(save(curves, folder / CURVES))
    remove_pictures(folder, keep=saved)
    return saved


def picture_name(what: str, epoch: float) -> str:
    """A picture's file."""
    return f"{what}_epoch_{epoch}.png"


def pictures_of(recording: Recording) -> list[tuple[str, float]]:
    """What there is to draw: a key of PICTURES, and an epoch that has something of that kind."""
    return [
        (what, epoch)
        for what, (kind, _) in PICTURES.items()
        for epoch in recording.epochs
        if any(recording.has(kind, layer, epoch) for layer in drawn_layers(recording, kind))
    ]


def picture_names(recording: Recording) -> list[str]:
    """The files that `save_run_figures` makes."""
    return [*(picture_name(what, epoch) for what, epoch in pictures_of(recording)), CURVES]


PICTURES = {
    "kernels": ("kernels", kernels),
    "gradients": ("gradients", gradients),
    "feature_maps": ("maps", feature_maps),
}
CURVES = "curves.png"


def remove_pictures(folder: Path, *, keep: Collection[Path] = ()) -> None:
    """Delete what `save_run_figures` wrote into a folder, and nothing else, but for those to keep."""
    ours = [path for what in PICTURES for path in folder.glob(f"{what}_epoch_*.png")]
    for path in {*ours, *folder.glob(CURVES)} - set(keep):
        path.unlink(missing_ok=True)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically and without a date, so that the same picture is the same file."""
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
    return path
