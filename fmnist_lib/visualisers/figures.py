"""The figures of a run: which part of a recording goes on which picture, and the files they are saved in.

Letters: N images, C channels, O output channels, I input channels, H height, W width.
"""

from collections.abc import Collection
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from fmnist_lib.files import write_atomically
from fmnist_lib.visualisers import plots
from fmnist_lib.visualisers.plots import Figure
from fmnist_lib.visualisers.recording import Recording, RecordingError, sample

MOST_LAYERS = 6  # on one sheet
MOST_TILES = 16  # of a layer, but for the first one's kernels, which are all shown
PERCENTILE = 99.5  # of all epochs' values, where a sheet's colours end: an outlier must not turn the rest pale


def kernels(recording: Recording, epoch: int) -> Figure:
    """The kernels of the first convolution, all of them, and of some deeper ones, at an epoch."""
    return weight_sheet(recording, "kernels", epoch)


def gradients(recording: Recording, epoch: int) -> Figure:
    """The gradient of the loss with respect to the kernels that `kernels` shows."""
    return weight_sheet(recording, "gradients", epoch)


def weight_sheet(recording: Recording, kind: str, epoch: int) -> Figure:
    """A sheet of kernels or of their gradients; colours are symmetric about zero and the same for every epoch."""
    layers = choose(spatial_layers(recording, kind))
    rows = []
    for layer in layers:
        tiles = recording.values(kind, layer, epoch)[:, 0]
        outputs, inputs, *size = recording.layers[kind][layer]["shape"]
        label = f"{layer}: {outputs} kernels, {size[0]}x{size[-1]}" + (f", input 1 of {inputs}" if inputs > 1 else "")
        shown = tiles if layer == layers[0] else tiles[:MOST_TILES]
        rows.append(plots.signed_row(label, shown, limit=limit(recording, kind, layer)))
    what = {"kernels": "Convolution kernels", "gradients": "Gradient of the loss, by kernel"}[kind]
    return plots.tile_sheet(rows, title=f"{what}, {name(recording)}, epoch {epoch}", note=NOTES[kind])


def feature_maps(recording: Recording, epoch: int, *, image: int = -1) -> Figure:
    """The feature maps of one shown image in layers from first to last; colours are the same for every epoch."""
    picture = recording.inputs[image, :1]
    rows = [plots.TileRow("input", picture, float(picture.min()), float(picture.max()), "gray")]
    for layer in choose(list(recording.layers.get("maps", {}))):
        tiles = recording.values("maps", layer, epoch)[image]
        count, *size = recording.layers["maps"][layer]["shape"][1:]
        label = f"{layer}: {min(len(tiles), MOST_TILES)} of {count} channels, {size[0]}x{size[-1]}"
        rows.append(plots.unsigned_row(label, tiles[:MOST_TILES], limit=limit(recording, "maps", layer)))
    title = f"Feature maps, {name(recording)}, epoch {epoch}{image_name(recording, image)}"
    return plots.tile_sheet(rows, title=title, note=NOTES["maps"])


NOTES = {
    "kernels": "Each layer has its own colours, red above zero and blue below, the same for every epoch.",
    "gradients": "On a fixed validation batch, so that epochs can be compared. Each layer has its own colours, red "
    "above zero and blue below, the same for every epoch.",
    "maps": "After the activation. Each layer has its own colours, from zero, the same for every epoch.",
}


LIMITS: WeakKeyDictionary[Recording, dict[tuple[str, str], float]] = WeakKeyDictionary()


def limit(recording: Recording, kind: str, layer: str) -> float:
    """Where the colours of a layer end; every epoch is decoded for it, so it is found once for all sheets."""
    known = LIMITS.setdefault(recording, {})
    if (kind, layer) not in known:
        known[kind, layer] = find_limit(recording, kind, layer)
    return known[kind, layer]


def find_limit(recording: Recording, kind: str, layer: str) -> float:
    """A high percentile of a layer's absolute values over all epochs."""
    values = np.concatenate([np.abs(recording.values(kind, layer, epoch)).ravel() for epoch in recording.epochs])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.percentile(values, PERCENTILE)) if len(values) else 1.0


def spatial_layers(recording: Recording, kind: str) -> list[str]:
    """The layers whose kernels have more than one pixel: a 1x1 kernel is a number and no picture."""
    layers = recording.layers.get(kind, {})
    spatial = [layer for layer, about in layers.items() if max(about["shape"][2:]) > 1]
    if not spatial:
        raise RecordingError(f"no {kind} of more than one pixel in this recording")
    return spatial


def choose(layers: list[str]) -> list[str]:
    """At most `MOST_LAYERS` of the layers, first and last among them, evenly spread."""
    return [layers[row] for row in sample(len(layers), MOST_LAYERS)]


def name(recording: Recording) -> str:
    """The run's name as a title has it."""
    about = recording.about
    return f"{about.get('model', 'model')} ({about['recipe']})" if "recipe" in about else about.get("model", "model")


def image_name(recording: Recording, image: int) -> str:
    """What a shown image is, as a title's tail."""
    about = recording.about
    return f": {about['classes'][about['labels'][image]]}" if "labels" in about and "classes" in about else ""


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
    rows = [row for row in recording.stats if column in row]
    if not rows:
        raise RecordingError(f"this recording has no {column!r} of any layer")
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    values = np.full((len(layers), len(recording.epochs)), np.nan)
    for row in rows:
        number = row[column]
        place = layers.index(row["layer"]), recording.epochs.index(row["epoch"])
        values[place] = np.nan if number is None else len(number) if isinstance(number, list) else number
    return plots.layers_over_epochs(values, layers, recording.epochs, title=title, label=label, is_log=is_log)


def activation_histograms(recording: Recording) -> Figure:
    """How the outputs of some layers, first and last among them, are spread at each epoch."""
    found = {(row["layer"], row["epoch"]): row for row in recording.stats if "histogram" in row}
    histograms = {}
    for layer in choose(list(recording.layers.get("maps", {}))):
        rows = [found[layer, epoch] for epoch in recording.epochs]
        histograms[layer] = [(row["low"], row["high"], row["histogram"]) for row in rows]
    return plots.histograms_over_epochs(histograms, recording.epochs, title=f"Outputs by layer, {name(recording)}")


def filters_before_and_after(recording: Recording) -> Figure:
    """The first convolution's kernels at the first recorded epoch and at the last."""
    layer = spatial_layers(recording, "kernels")[0]
    rows = []
    for epoch in (recording.epochs[0], recording.epochs[-1]):
        tiles = recording.values("kernels", layer, epoch)[:, 0]
        rows.append(plots.signed_row(f"{layer}, epoch {epoch}", tiles, limit=limit(recording, "kernels", layer)))
    return plots.tile_sheet(rows, title=f"Kernels before and after training, {name(recording)}", note=NOTES["kernels"])


def save_run_figures(recording: Recording, curves: Figure, folder: Path) -> list[Path]:
    """Write kernels, gradients and feature maps of every epoch and the curves as PNG; returns the files.

    Pictures of epochs that are not in the recording, which an earlier one left, are deleted after that.
    """
    saved = []
    for what, draw in PICTURES.items():
        for epoch in recording.epochs:
            saved.append(save(draw(recording, epoch), folder / f"{what}_epoch_{epoch}.png"))
    saved.append(save(curves, folder / CURVES))
    remove_pictures(folder, keep=saved)
    return saved


PICTURES = {"kernels": kernels, "gradients": gradients, "feature_maps": feature_maps}
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
