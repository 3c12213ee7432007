"""Feature maps computed on demand: any image of a set, or one's own picture, through a model.

Letters: N images, C channels, H height, W width, L length of a signal, K classes.
"""

import operator
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fmnist_lib.errors import LabError
from fmnist_lib.visualisers.borrow import leave_as_found, refuse_what_cannot_run
from fmnist_lib.visualisers.channels import ChannelAxes, picture_axes
from fmnist_lib.visualisers.explorer.bundle import pack, pack_tiles
from fmnist_lib.visualisers.explorer.errors import ExplorerError, to_python
from fmnist_lib.visualisers.explorer.panel import Guess, Panel
from fmnist_lib.visualisers.hooks import capture, unwrap
from fmnist_lib.visualisers.measures import Choice, choose_output
from fmnist_lib.visualisers.recorder import (
    as_tensor,
    call_model,
    check_channels,
    check_layout,
    default_layers,
    has_signals,
    list_classes,
)
from fmnist_lib.visualisers.recording import Tiles, choose_channels

Normalise = Callable[[Tensor], Tensor]
Images = Tensor | NDArray[Any] | Image.Image | Sequence[Any]
READY = 8  # images computed before the first display, and kept in an exported page
KEPT = 64  # further images kept in memory, the latest ones


class LivePanel(Panel):
    """A panel without a recording: it runs the model, in evaluation mode, and leaves it as it was.

    What it computed it keeps until `refresh` finds other weights. `skipped` names the layers that are not shown,
    each with the reason. Raises ExplorerError.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        *,
        layers: Sequence[str] | None,
        layout: str | Mapping[str, str] | None,
        output: Choice | None,
        labels: Sequence[int] | None,
        classes: Sequence[str] | None,
        normalise: Normalise | None,
        channels: int | Sequence[int],
    ) -> None:
        self.model, self.output = model, output
        with blaming(model):
            refuse_what_cannot_run(unwrap(model))
            self.batch = as_batch(unwrap(model), images, normalise)
            classes = None if classes is None else list_classes(classes)
        self.title = type(model).__name__
        self.about = {"labels": check_labels(labels, classes, len(self.batch)), "classes": classes}
        with blaming(model):
            self._kept = check_channels(channels)
        self._num_classes = len(classes) if classes else None
        self.kinds, self.epochs, self.names = ["maps"], [0], {"epoch": ""}  # a model as it is now
        self.shown = list(range(len(self.batch)))
        self.ready = list(range(min(READY, len(self.batch))))
        self._latest: OrderedDict[int, tuple[dict[str, Tiles], Guess]] = OrderedDict()
        self._shapes: dict[str, tuple[int, ...]] = {}
        with blaming(model):
            self._names = list(layers or default_layers(model, [self.batch[:1]]))
            self._layout = check_layout(layout, self._names)
        self.refresh()
        maps, self.skipped, _ = self._look(self.batch[:1])
        refuse_what_is_not_shown(maps, self.skipped, named=layers or ())
        self._shapes = shapes_of(maps)
        self.layers = {"maps": list(maps)}

    def refresh(self) -> None:
        """Forget what was computed, if any parameter or buffer has changed since."""
        with blaming(self.model):
            state = checksum(unwrap(self.model))
        if state != self.state:
            # Not cleared: the copy of this panel in a comparison may still hold what the old dictionary has.
            self.state, self._latest = state, OrderedDict()

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The inputs as the model sees them, float32 (N, C, H, W); a signal's H is 1, and so is the C of words."""
        *others, width = self.batch.shape
        return self.batch.float().reshape(*others, *[1] * (4 - self.batch.ndim), width).numpy()

    def channels(self, kind: str, layer: str) -> list[int]:
        return choose_channels(self._shapes[layer][0], self._kept)

    def shape(self, kind: str, layer: str) -> tuple[int, ...]:
        return self._shapes[layer]

    def images(self, kind: str, layer: str) -> list[int]:
        return self.shown

    def column(self, kind: str, layer: str, image: int) -> Tiles:
        tiles = self._compute(image)[0][layer]
        return Tiles(tiles.codes[None], tiles.ranges[None])

    def tiles(self, kind: str, layer: str, epoch: float) -> Tiles:
        tiles = [self._compute(image)[0][layer] for image in self.ready]
        return Tiles(np.stack([t.codes for t in tiles]), np.stack([t.ranges for t in tiles]))

    def is_recorded(self, kind: str, layer: str, epoch: float) -> bool:
        return True

    def stored_bytes(self, kind: str, layer: str) -> float:
        return float(len(self.ready) * self.column(kind, layer, 0).codes.size)

    def dead(self, kind: str, layer: str, epoch: float) -> list[int]:
        """Nothing is dead for all one knows: only the images that were asked for were run."""
        return []

    def guesses(self) -> list[list[Guess]]:
        return [[self.guess(image) for image in self.ready]]

    def guess(self, image: int) -> Guess:
        """The class that the model believes in, and its probability."""
        return self._compute(image)[1]

    def _compute(self, image: int) -> tuple[dict[str, Tiles], Guess]:
        """Run one image, or take it from the latest ones. Raises ExplorerError."""
        if image not in self._latest:
            self._latest[image] = self._run(self.batch[image : image + 1])
        self._latest.move_to_end(image)
        while len(self._latest) > KEPT + READY:
            self._latest.popitem(last=False)
        return self._latest[image]

    def _run(self, batch: Tensor) -> tuple[dict[str, Tiles], Guess]:
        maps, _, scores = self._look(batch)
        if shapes_of(maps) != self._shapes:
            raise ExplorerError("the model gives out other shapes than it did: make a new explorer of it")
        kept = {layer: picture[choose_channels(len(picture), self._kept)] for layer, picture in maps.items()}
        tiles = {layer: Tiles.encode(picture.numpy()) for layer, picture in kept.items()}
        are_classes = scores.ndim == 2 and scores.shape[1] > 1  # one number is no certainty
        chances = scores[0].float().softmax(0).cpu().numpy() if are_classes else np.full(1, np.nan)
        return tiles, self.believe(chances)

    def _look(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, str], Tensor]:
        """The pictures of one image by layer, float32 (C, H, W), why other layers have none, and the scores (1, K)."""
        with blaming(self.model, batch), leave_as_found(self.model) as bare, torch.no_grad():
            bare.eval()
            with ChannelAxes(), capture(bare, self._names) as seen:
                given = call_model(bare, [batch])
                scores = choose_output(given, self.output, labels=torch.zeros(1).long(), num_classes=self._num_classes)
            said = {key: self._layout[layer] for key, layer in seen.layers.items() if layer in self._layout}
            axes, reasons = picture_axes(seen, count=1, signals=has_signals(bare), said=said)
        missing = {layer: "not called, or gave out no tensor" for layer in self._names if layer not in seen}
        maps = {layer: as_picture(seen[layer].movedim(axis, 1)) for layer, axis in axes.items()}
        return maps, missing | reasons, scores


@contextmanager
def blaming(model: object, batch: Tensor | None = None) -> Iterator[None]:
    """Turn what goes wrong in a model, whose code may raise anything, into ExplorerError."""
    try:
        yield
    except LabError as error:
        raise ExplorerError(str(error)) from error
    except Exception as error:
        images = "" if batch is None else f" on an image {tuple(batch.shape)}"
        reason = (str(error).splitlines() or [""])[0]
        raise ExplorerError(f"{type(model).__name__} failed{images}: {type(error).__name__}: {reason}") from error


def checksum(model: nn.Module) -> int:
    """CRC-32 of all that training or loading can change: names, shapes and bits of the parameters and buffers.

    The bits are read, since tensors' own counters of changes (`_version`) miss what is written through `.data`, through
    a numpy view and by fused optimisers. It takes less than running the model once: 7 ms for 12 million on a CPU.
    """
    total = 0
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        total = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), total)
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total = zlib.crc32(flat.view(torch.uint8).numpy().data, total)
    return total


def refuse_what_is_not_shown(shown: Mapping[str, Tensor], skipped: Mapping[str, str], *, named: Sequence[str]) -> None:
    """Raise ExplorerError, with the reasons, for a named layer that has no picture, or if none has one."""
    refused = [layer for layer in skipped if layer in named] if shown else list(skipped)
    if refused:
        reasons = "; ".join(f"{layer}: {skipped[layer]}" for layer in refused[:6])
        more = f"; and {len(refused) - 6} more" if len(refused) > 6 else ""
        raise ExplorerError(f"no picture to show of {reasons}{more}. Choose another layer")
    if not shown:
        raise ExplorerError("the model has no activation and no convolution to show: say what to look at with layers=")


def as_batch(model: nn.Module, images: Images, normalise: Normalise | None) -> Tensor:
    """One input or many as a batch that the model takes, on the CPU. Raises ExplorerError."""
    takes = what_it_takes(model)
    batch = to_tensor(images, channels=takes.channels).detach().cpu()
    if takes.is_words and not batch.is_floating_point():
        return batch.long().reshape(-1, batch.shape[-1])
    # A list of (H, W) is images; a tensor (N, H, W) could as well be the channels of one.
    is_list = isinstance(images, (list, tuple)) and not isinstance(images[0], (list, tuple))
    batch = shape_batch(batch, takes, is_list=is_list)
    if batch.is_floating_point() or batch.dtype == torch.bool:
        return batch.float()
    if batch.min() < 0 or batch.max() > 255:
        raise ExplorerError("images are whole numbers beyond 0 to 255: pass bytes, or floats as the model takes them")
    if not callable(normalise):
        raise ExplorerError(
            "images are bytes, and a model takes floats: pass normalise=, which makes of bytes what this model takes "
            "(fmnist_lib.data.normalise for Fashion-MNIST), or the floats themselves"
        )
    return as_tensor(normalise(batch.byte())).float()


def check_labels(labels: Any, classes: Sequence[str] | None, count: int) -> list[int]:
    """The classes of the images, as plain numbers; those of the first images will do. Raises ExplorerError."""
    try:
        numbers = [operator.index(to_python(label)) for label in np.asarray(() if labels is None else labels)]
    except TypeError:
        raise ExplorerError(f"labels must be whole numbers, one for each image, not {labels!r:.60}") from None
    if len(numbers) > count:
        raise ExplorerError(f"{len(numbers)} labels for {count} image{'s' * (count > 1)}: give one for each")
    if classes and numbers and not 0 <= min(numbers) <= max(numbers) < len(classes):
        raise ExplorerError(f"labels from {min(numbers)} to {max(numbers)}, and {len(classes)} classes: name them all")
    return numbers


class Takes(NamedTuple):
    """What a model takes: the channels of its first convolution, if it has one, and the axes of one input."""

    channels: int | None
    axes: int  # 3 of an image (C, H, W), 2 of a signal (C, L)
    is_words: bool  # it embeds whole numbers


def what_it_takes(model: nn.Module) -> Takes:
    """As its first layers tell, in the order in which it has them."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Embedding)
    first = next((module for module in model.modules() if isinstance(module, kinds)), None)
    channels = getattr(first, "in_channels", None)
    return Takes(channels, 2 if isinstance(first, nn.Conv1d) else 3, isinstance(first, nn.Embedding))


def shape_batch(batch: Tensor, takes: Takes, *, is_list: bool) -> Tensor:
    """The images as (N, C, H, W), or the signals as (N, C, L), from what may lack axes or have the channels last."""
    channels, axes = takes.channels, takes.axes
    if not axes - 1 <= batch.ndim <= axes + 1:
        raise ExplorerError(f"{WANTED}, not {tuple(batch.shape)} {batch.dtype}")
    if batch.ndim == axes and (is_list or (channels == 1 and 1 not in (batch.shape[0], batch.shape[-1]))):
        batch = batch[:, None]  # several without their one channel
    batch = batch.reshape((1,) * (axes + 1 - batch.ndim) + tuple(batch.shape))
    is_last = channels == batch.shape[-1] and channels != batch.shape[1]
    return batch.movedim(-1, 1).contiguous() if is_last else batch


WANTED = (
    "images must be a tensor, an array or a list of them or of PIL's images, (N, C, H, W), (N, H, W, C), (C, H, W) or "
    "(H, W), or signals (N, C, L), not empty"
)


def to_tensor(images: Any, *, channels: int | None) -> Tensor:
    """Any images as one tensor of 1 to 4 axes; PIL's become grey where the model takes one channel, else RGB.

    Raises ExplorerError.
    """
    several = isinstance(images, (list, tuple))
    if several and not len({size_of(image) for image in images}) <= 1:
        sizes = ", ".join(sorted({str(size_of(image)) for image in images})[:4])
        raise ExplorerError(f"images must be of one size, not {sizes}: bring them to one first")
    if several:
        images = [as_array(image, channels) for image in images]
    try:
        tensor = as_tensor(as_array(images, channels))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExplorerError(f"{WANTED}, not {type(images).__name__}: {error}") from error
    if tensor.ndim not in (1, 2, 3, 4) or not tensor.numel() or tensor.is_complex():
        raise ExplorerError(f"{WANTED}, not {tuple(tensor.shape)} {tensor.dtype}")
    return tensor


def as_array(image: Any, channels: int | None) -> Any:
    """PIL's picture and an array as an array that torch can read; anything else as it is."""
    if isinstance(image, Image.Image):
        return np.array(image.convert("L" if channels == 1 else "RGB"))
    return np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image


def size_of(image: Any) -> tuple[int, ...]:
    """What must be the same of all images of a list."""
    return tuple(getattr(image, "size" if isinstance(image, Image.Image) else "shape", ()))


def as_picture(output: Tensor) -> Tensor:
    """What a layer gave for one image, (1, C, H, W) or (1, C, L) -> float32 (C, H, W); a signal is one row."""
    picture = output[0].float().cpu()
    return picture if picture.ndim == 3 else picture[:, None, :]


def shapes_of(maps: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's picture."""
    return {layer: tuple(picture.shape) for layer, picture in maps.items()}


def reply(panel: LivePanel, image: int) -> dict[str, Any]:
    """What the page asked for: the pictures of one image."""
    columns = {layer: panel.column("maps", layer, image) for layer in panel.layers["maps"]}
    return {
        "layers": {layer: pack_tiles(tiles) for layer, tiles in columns.items()},
        "input": pack(panel.pictures([image])),
        "guess": panel.guess(image),
        "state": panel.state,
    }
