"""The pictures that the report draws itself, in the report's language: before and after, side by side, confusion.

They lie in figures/report/LANGUAGE/ and carry the digest of what they show, so that only what changed is drawn anew.

Letters: n tiles, H height, W width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_lib import data
from fmnist_lib.errors import LabError
from fmnist_lib.files import write_atomically
from fmnist_lib.report.measured import matching_layers
from fmnist_lib.runs.checkpoint import RECORDING, Run
from fmnist_lib.visualisers import figures, plots
from fmnist_lib.visualisers.recording import Recording, sample

STYLE = 1  # of the drawings: raise it when one comes to look otherwise, and all are drawn anew
LAYERS = {"kernels": 3, "gradients": 2, "maps": 3}  # on a sheet of before and after
TILES = 16
KINDS = ("kernels", "gradients", "maps")
MODEL_NAMES = {
    "resnet18": "ResNet-18",
    "alexnet": "AlexNet",
    "resnet34": "ResNet-34",
    "plain18": "plain-18",
    "plain34": "plain-34",
}
TITLES = {"kernels": "Convolution kernels", "gradients": "Gradient of the loss, by kernel", "maps": "Feature maps"}
SHARED = {
    "kernels": "Red above zero, blue below; the two rows of a layer share one scale.",
    "gradients": "Red above zero, blue below; the two rows of a layer share one scale.",
    "maps": "After the activation, from zero up; the two rows of a layer share one scale.",
}
OWN = "Red above zero, blue below; each row has a scale of its own."


class PictureGap(LabError):
    """A picture that could not be drawn; the message says why and what to do."""


@dataclass(frozen=True)
class Band:
    """A row of a sheet: one layer of one recording at one epoch, (n, H, W) tiles under a label."""

    label: str
    tiles: NDArray[np.floating]


def before_and_after(recording: Recording, kind: str, *, name: str) -> plots.Figure:
    """Some layers, first and last among them, before training and after it. Raises RecordingError."""
    layers = figures.spatial_layers(recording, kind) if kind != "maps" else list(recording.layers["maps"])
    groups = []
    for layer in [layers[place] for place in sample(len(layers), LAYERS[kind])]:
        epochs = recording.recorded_epochs(kind, layer)
        whens = {epochs[0]: "before training", epochs[-1]: f"after epoch {epochs[-1]}"}
        bands = [band(recording, kind, layer, epoch, f"{layer}, {when}") for epoch, when in whens.items()]
        groups += [[each] for each in bands] if kind == "gradients" else [bands]
    title = f"{TITLES[kind]} before and after training: {name}"
    return sheet(recording, kind, groups, title=title, note=OWN if kind == "gradients" else SHARED[kind])


def side_by_side(recordings: Mapping[str, Recording], kind: str, *, layers: int = 3) -> plots.Figure:
    """Two networks' last layers of the same stages after training, on shared colours. Raises RecordingError."""
    pairs = matching_layers(*recordings.values(), kind=kind)
    groups = []
    for pair in [pairs[place] for place in sample(len(pairs), layers)]:
        rows = zip(recordings.items(), pair, strict=True)
        groups.append([band(of, kind, layer, of.epochs[-1], f"{name} {layer}") for (name, of), layer in rows])
    title = f"{TITLES[kind]} side by side: {' and '.join(recordings)}"
    return sheet(next(iter(recordings.values())), kind, groups, title=title, note=SHARED[kind])


def band(recording: Recording, kind: str, layer: str, epoch: float, label: str) -> Band:
    """What a layer shows at an epoch: kernels on their first live input, or the maps of the last shown image."""
    values = recording.values(kind, layer, epoch)
    about = recording.layers[kind][layer]
    if kind == "maps":
        height, width = values.shape[-2:]
        tiles = values[-1][:TILES]
        return Band(f"{label}: {len(tiles)} of {about['shape'][1]}, {height}x{width}", tiles)
    _, tiles = figures.pick_input(about, values[:TILES])
    return Band(f"{label}: {len(tiles)} of {about['shape'][0]}, {about['shape'][2]}x{about['shape'][3]}", tiles)


def sheet(recording: Recording, kind: str, groups: Sequence[Sequence[Band]], *, title: str, note: str) -> plots.Figure:
    """Groups of rows, each group in colours of its own; over maps the image that they are of."""
    rows = [plots.grey_row("input", recording.inputs[-1, :1])] if kind == "maps" else []
    for group in groups:
        colours = figures.find_scale([each.tiles for each in group])
        make_row = plots.signed_row if kind != "maps" or colours.has_negative else plots.unsigned_row
        rows += [make_row(each.label, each.tiles, limit=colours.limit) for each in group]
    return plots.tile_sheet(rows, title=title, note=note)


@dataclass(frozen=True)
class Picture:
    """A picture of the report: the file's name, the files that it shows, and what draws it."""

    name: str
    sources: tuple[Path, ...]
    draw: Callable[[], plots.Figure]

    def digest(self, language: str) -> str:
        """SHA-256 of what is shown, and in which words. Raises OSError."""
        said = json.dumps([STYLE, words(language)]).encode()
        return sha256(b"".join([said, *(source.read_bytes() for source in self.sources)])).hexdigest()


def picture_run(run: Run, recording: Recording | None, *, name: str, language: str) -> list[Picture]:
    """Curves, confusion, and, from its recording, kernels, gradients and maps before and after."""
    stem, told = run.path.name, (run.path / "run.json",)
    found = [Picture(f"{stem}-curves", told, partial(plots.curves, run.history.epochs, run.history.steps, title=name))]
    if "test" in run.evaluation:
        title = f"Confusion matrix, test images: {name}"
        matrix = run.evaluation["test"]["confusion"]
        classes = [words(language).get(each, each) for each in data.CLASSES]
        found.append(Picture(f"{stem}-confusion", told, partial(plots.confusion, matrix, classes, title=title)))
    if recording is not None:
        path = (run.path / RECORDING,)
        draws = {kind: partial(before_and_after, recording, kind, name=name) for kind in KINDS}
        found += [Picture(f"{stem}-{kind}", path, draw) for kind, draw in draws.items()]
    return found


def picture_pair(runs: Mapping[str, Run], recordings: Mapping[str, Recording]) -> list[Picture]:
    """Kernels, gradients and maps of two runs side by side."""
    paths = tuple(run.path / RECORDING for run in runs.values())
    stem = "-and-".join(run.path.name for run in runs.values())
    return [Picture(f"{stem}-{kind}", paths, partial(side_by_side, recordings, kind)) for kind in KINDS]


def find(picture: Picture, folder: Path, *, language: str) -> Path | None:
    """The picture's file, if it shows what there is now."""
    path = folder / f"{picture.name}.png"
    return path if path.is_file() and picture.digest(language).encode() in path.read_bytes() else None


def draw(picture: Picture, folder: Path, *, language: str) -> Path:
    """The picture's file, drawn if what it shows has changed. Raises PictureGap, RecordingError."""
    if (path := find(picture, folder, language=language)) is not None:
        return path
    path = folder / f"{picture.name}.png"
    font = plots.find_chinese_font() if language == "zh" else "DejaVu Sans"
    if font is None:
        raise PictureGap(
            f"{path.name} was not drawn: no font on this machine has Chinese letters. Install one (Debian and Ubuntu: "
            "apt install fonts-noto-cjk) and make the report again"
        )
    about = {"Software": None, "Source": picture.digest(language)}
    try:
        with plots.letters_of(font):
            figure = plots.translate(picture.draw(), words(language))
            write_atomically(path, lambda file: figure.savefig(file, format="png", metadata=about))
    except OSError as error:
        raise PictureGap(f"{path.name} was not drawn: {error}") from error
    return path


@cache
def words(language: str) -> dict[str, str]:
    """What figures say in English -> the same in another language."""
    path = Path(__file__).parent / "templates" / f"figures.{language}.json"
    return json.loads(path.read_text()) if path.exists() else {}
