"""One recording as an explorer reads it: every kind of picture with the same axes.

Letters: N images (of a kernel: its input channels), C channels, H height, W width, E epochs, K classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.visualisers.explorer.errors import ExplorerError, check
from fmnist_lib.visualisers.recording import KINDS, NOT_FINITE, Recording, RecordingError, Tiles, sample

KERNEL_KINDS = ("kernels", "gradients")
SIGNED_KINDS = ("kernels", "gradients", "map_gradients", "signed_values")  # coloured symmetrically about zero
PHOTO_KINDS = ("cams",)  # one map for each image, which is laid over it
# What is shown unless somebody says otherwise. The size of gradients differs so much from epoch to epoch that on one
# scale for all epochs many of them are blank.
DEFAULT_SCALES = {
    "kernels": "shared",
    "gradients": "epoch",
    "maps": "shared",
    "map_gradients": "epoch",
    "cams": "shared",
    "values": "shared",
    "signed_values": "shared",
}
ROOMY = 14_000_000  # bytes of compressed pictures, which base64 and the player bring to about the page's limit of 20 MB
FEWEST_EPOCHS = 50  # what a page shows of a long training, at least
COMFORTABLE = 1_300_000  # bytes of compressed maps, which base64 and the player around them bring below 2 MB
LABELS = {
    "kernels": "kernels",
    "gradients": "weight gradients",
    "maps": "feature maps",
    "map_gradients": "gradients of the feature maps",
    "cams": "Grad-CAM",
    "values": "values",
    "signed_values": "values",
}

RECORDING = "recording.npz"  # in a run's folder

RecordingLike = Recording | Path | str
Guess = tuple[str, float] | None  # a class and its probability; None where the scores are not finite


class Panel:
    """The part of a recording that is shown: some kinds, some layers, some images.

    `layers[kind]` lists names in the order of the network. Raises ExplorerError for what the recording lacks.
    """

    names: Mapping[str, str] = {}  # of the sliders, where they are called otherwise; "" of one that is not shown
    state = 0  # of what is shown: pictures of two states do not belong beside each other
    _column_of: tuple[str, str, int] | None = None  # what `_column` holds
    _column: Tiles

    def __init__(
        self,
        recording: Recording,
        *,
        kinds: Sequence[str],
        layers: Sequence[str] | None = None,
        images: Sequence[int] | None = None,
        epochs: Sequence[float] | None = None,
        epoch: float | None = None,
        room: float = 1.0,
    ) -> None:
        if not recording.epochs:
            raise ExplorerError("the recording has no epochs: take at least one snapshot")
        check_kinds(kinds, recording)
        self.recording = recording
        self.kinds = list(kinds)
        self.epochs = recording.epochs
        self.about = recording.about
        self.title = str(self.about.get("model", ""))
        self.layers = {kind: choose_layers(recording, kind, layers) for kind in kinds}
        check_layers(layers, recording, kinds)
        self.layers = {kind: names for kind, names in self.layers.items() if names}
        self.kinds = list(self.layers)
        self.shown = self._choose_images(images)
        self.epochs = self._choose_epochs(epochs, epoch, room)
        self.ready = list(range(len(self.shown)))  # the places whose pictures are at hand
        self._dead = {(row["layer"], row["epoch"]): row["dead"] for row in recording.stats if "dead" in row}

    def refresh(self) -> None:
        """Called before pictures are read; a recording does not change."""

    @property
    def inputs(self) -> NDArray[np.float32]:
        """All images of the recording as the model saw them, float32 (N, C, H, W)."""
        return self.recording.inputs

    def _choose_images(self, wanted: Sequence[int] | None) -> list[int]:
        """The wanted images, or the first ones, as many as make a page of moderate size and at least one."""
        recorded = len(self.inputs)
        for image in wanted or ():
            check("image", image, range(recorded))
        if wanted is not None:
            if not wanted:
                raise ExplorerError(f"no image chosen: choose from 0 to {recorded - 1}")
            return list(wanted)
        kinds = [kind for kind in self.kinds if kind not in KERNEL_KINDS]
        stored = sum(self.recording.stored_bytes(kind, layer) for kind in kinds for layer in self.layers[kind])
        return list(range(min(recorded, max(1, int(recorded * COMFORTABLE / max(stored, 1))))))

    def _choose_epochs(self, wanted: Sequence[float] | None, first: float | None, room: float) -> list[float]:
        """The wanted epochs; else all, or of a long training as many as fit into a page's part, the first seen too."""
        recorded = self.recording.epochs
        if wanted is not None:
            for epoch in wanted:
                check("epoch", epoch, recorded)
            if not wanted:
                raise ExplorerError(f"no epoch chosen: choose from {recorded[0]} to {recorded[-1]}")
            return sorted(epoch for epoch in recorded if epoch in set(wanted))  # as it is stored: 1, not 1.0
        stored = sum(self.stored_bytes(kind, layer) for kind in self.kinds for layer in self.layers[kind])
        fitting = int(len(recorded) * room * ROOMY / max(stored, 1))
        if not FEWEST_EPOCHS <= fitting < len(recorded):
            return recorded
        spread = {recorded[place] for place in sample(len(recorded), fitting)}
        return [epoch for epoch in recorded if epoch in spread or epoch == first]

    def channels(self, kind: str, layer: str) -> list[int]:
        """The numbers, in the network, of the channels that were kept."""
        return self.recording.layers[kind][layer]["channels"]

    def images(self, kind: str, layer: str) -> list[int]:
        """The shown images, or the kept input channels of a kernel."""
        return self.recording.layers[kind][layer]["inputs"] if kind in KERNEL_KINDS else self.shown

    def shape(self, kind: str, layer: str) -> tuple[int, ...]:
        """The whole shape in the network; the leading number of images is left out."""
        shape = self.recording.layers[kind][layer]["shape"]
        return tuple(shape if kind in KERNEL_KINDS else shape[1:])

    def tiles(self, kind: str, layer: str, epoch: float) -> Tiles:
        """The pictures of one epoch, codes uint8 (N, C, H, W). Raises ExplorerError if they are damaged.

        Where the layer was not recorded at that epoch there is no value: better no picture than that of another epoch.
        """
        is_recorded = self.is_recorded(kind, layer, epoch)
        readable = epoch if is_recorded else next(iter(self.recording.recorded_epochs(kind, layer)), epoch)
        try:
            tiles = self.recording.tiles(kind, layer, readable)
        except RecordingError as error:
            raise ExplorerError(str(error)) from error
        if not is_recorded:
            tiles = Tiles(np.full_like(tiles.codes, NOT_FINITE), np.zeros_like(tiles.ranges))
        if kind in KERNEL_KINDS:  # stored as (output, input, H, W)
            return Tiles(tiles.codes.swapaxes(0, 1), tiles.ranges.swapaxes(0, 1))
        return Tiles(tiles.codes[self.shown], tiles.ranges[self.shown])

    def is_recorded(self, kind: str, layer: str, epoch: float) -> bool:
        """Whether a layer was recorded at an epoch; one that first ran later was not at the first ones."""
        return self.recording.has(kind, layer, epoch)

    def all_tiles(self, kind: str, layer: str) -> Tiles:
        """The pictures of all epochs, codes uint8 (E, N, C, H, W)."""
        tiles = [self.tiles(kind, layer, epoch) for epoch in self.epochs]
        return Tiles(np.stack([t.codes for t in tiles]), np.stack([t.ranges for t in tiles]))

    def column(self, kind: str, layer: str, image: int) -> Tiles:
        """The pictures of one shown image (of a kernel: input channel) in all epochs, codes uint8 (E, C, H, W).

        The latest is kept: an animation asks for the same one at each of its frames.
        """
        if self._column_of != (kind, layer, image):
            tiles = [self.tiles(kind, layer, epoch) for epoch in self.epochs]
            codes, ranges = [t.codes[image] for t in tiles], [t.ranges[image] for t in tiles]
            self._column, self._column_of = Tiles(np.stack(codes), np.stack(ranges)), (kind, layer, image)
        return self._column

    def stored_bytes(self, kind: str, layer: str) -> float:
        """About how much the shown pictures of a layer take, compressed."""
        shown = 1.0 if kind in KERNEL_KINDS else len(self.shown) / max(1, len(self.inputs))
        return self.recording.stored_bytes(kind, layer) * shown * len(self.epochs) / len(self.recording.epochs)

    def dead(self, kind: str, layer: str, epoch: float) -> list[int]:
        """Positions, among the kept channels, of those whose map is zero for every image that was looked at."""
        if kind != "maps" or not self.is_recorded(kind, layer, epoch):
            return []
        numbers = self._dead.get((layer, epoch))
        if numbers is None:
            silent = ~self.tiles(kind, layer, epoch).ranges.any(axis=(0, 2))
            return np.flatnonzero(silent).tolist()
        return [position for position, number in enumerate(self.channels(kind, layer)) if number in numbers]

    def pictures(self, places: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """The shown images, or those at some places, as grey or RGB bytes, (N, H, W, 1 or 3)."""
        chosen = self.ready if places is None else places
        inputs = np.nan_to_num(self.inputs[[self.shown[place] for place in chosen]])
        inputs = inputs if inputs.shape[1] == 3 else inputs[:, :1]
        low = inputs.min(axis=(1, 2, 3), keepdims=True)
        span = np.maximum(inputs.max(axis=(1, 2, 3), keepdims=True) - low, 1e-12)
        return np.rint((inputs - low) / span * 255).astype(np.uint8).transpose(0, 2, 3, 1)

    def class_name(self, number: int) -> str:
        """A class by its name, where the recording has names."""
        classes = self.about.get("classes")
        if isinstance(classes, list) and isinstance(number, int) and 0 <= number < len(classes):
            return str(classes[number])
        return f"class {number}"

    def at(self, axis: str, number: float, *, kind: str = "") -> str:
        """Where an axis stands, such as "epoch 3"; nothing of one that is not shown."""
        usual = "input channel" if axis == "image" and kind in KERNEL_KINDS else axis
        name = self.names.get(axis, usual)
        return f"{name} {number}" if name else ""

    def image_names(self) -> list[str]:
        """What each shown image is, or an empty string where nobody said."""
        labels = self.about.get("labels")
        labels = labels if isinstance(labels, list) else []  # whatever a file says
        return [self.class_name(labels[image]) if image < len(labels) else "" for image in self.shown]

    def guesses(self) -> list[list[Guess]]:
        """Per epoch and shown image, what the model believes in; empty where nobody recorded it."""
        try:
            scores = [self.recording.scores(epoch)[self.shown] for epoch in self.epochs]
        except RecordingError:
            return []  # a recording made without a classifier's scores is a good recording
        return [[self.believe(row) for row in rows] for rows in scores]

    def believe(self, chances: NDArray[np.float32]) -> Guess:
        """The likeliest class and its probability, out of the probabilities of all (K,)."""
        if not np.isfinite(chances).all():
            return None
        return self.class_name(int(chances.argmax())), round(float(chances.max()), 4)


def choose_layers(recording: Recording, kind: str, wanted: Sequence[str] | None) -> list[str]:
    """The layers of a kind that are wanted, in the recording's order."""
    return [layer for layer in recording.layers[kind] if wanted is None or layer in wanted]


def check_kinds(wanted: Sequence[str], recording: Recording) -> None:
    """Raise ExplorerError for a kind that there is not, or that was not recorded, with the recorder's reasons."""
    if not wanted:
        raise ExplorerError(f"no kind chosen: choose from {', '.join(recording.kinds)}")
    for kind in wanted:
        check("kind", kind, KINDS)
        if kind not in recording.kinds:
            reasons = "; ".join(f"{layer}: {reason}" for layer, reason in list(recording.skipped.items())[:3])
            have = ", ".join(recording.kinds) or "nothing"
            raise ExplorerError(f"no {kind} were recorded here, but {have}" + (f" ({reasons})" if reasons else ""))


def check_layers(wanted: Sequence[str] | None, recording: Recording, kinds: Sequence[str]) -> None:
    """Raise ExplorerError for a wanted layer that none of the kinds has, and say what else there is of it."""
    known = list(dict.fromkeys(layer for kind in kinds for layer in recording.layers[kind]))
    for layer in wanted or ():
        elsewhere = [kind for kind in recording.kinds if layer in recording.layers[kind]]
        if layer not in known and elsewhere:
            raise ExplorerError(
                f"no {' or '.join(kinds)} of {layer!r} were recorded, but {', '.join(elsewhere)}: choose another kind, "
                f"or one of {', '.join(known)}"
            )
        check("layer", layer, known)
    if wanted is not None and not wanted:
        raise ExplorerError(f"no layer chosen: choose from {', '.join(known)}")


def open_recording(source: RecordingLike) -> Recording:
    """A recording as it is, or from its file or its run's folder. Raises ExplorerError if it is missing or damaged."""
    if isinstance(source, Recording):
        return source
    if not isinstance(source, (str, Path)):
        raise ExplorerError(f"an explorer needs a Recording or the path of one, not {type(source).__name__}")
    path = Path(source)
    if not path.exists():
        beside = sorted(each.parent.name for each in path.parent.glob(f"*/{RECORDING}"))
        raise ExplorerError(f"no recording at {path}" + (f": {path.parent} has {', '.join(beside)}" if beside else ""))
    if path.is_dir():
        path /= RECORDING
    try:
        return Recording.load(path)
    except RecordingError as error:
        raise ExplorerError(str(error)) from error


def name_sources(sources: Sequence[object]) -> list[str] | None:
    """How code names recordings by their paths; None if one of them is an object, whose name nobody here knows."""
    paths = [repr(str(source)) for source in sources if isinstance(source, (str, Path))]
    return paths if len(paths) == len(sources) else None
