"""Feature maps computed on demand: any image of a set, or one's own picture, through a model.

Letters: N images, C channels, H height, W width, L length of a signal, K classes.
"""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmnist_lib.errors import LabError
from fmnist_lib.visualisers.borrow import leave_as_found, refuse_what_cannot_run
from fmnist_lib.visualisers.channels import ChannelAxes, picture_axes
from fmnist_lib.visualisers.explorer.bundle import pack, pack_tiles
from fmnist_lib.visualisers.explorer.errors import ExplorerError
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
)
from fmnist_lib.visualisers.recording import Tiles, choose_channels

Normalise = Callable[[Tensor], Tensor]
Images = Tensor | NDArray[Any] | Sequence[Any]
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
        self.batch = as_batch(images, normalise)
        self.title = type(model).__name__
        self.about = {"labels": [] if labels is None else [int(label) for label in labels], "classes": classes}
        with blaming(model):
            self._kept = check_channels(channels)
        self._num_classes = len(classes) if classes else None
        self.kinds, self.epochs = ["maps"], [0]
        self.shown = list(range(len(self.batch)))
        self.ready = list(range(min(READY, len(self.batch))))
        self._latest: OrderedDict[int, tuple[dict[str, Tiles], Guess]] = OrderedDict()
        self._shapes: dict[str, tuple[int, ...]] = {}
        with blaming(model):
            refuse_what_cannot_run(unwrap(model))
            self._names = list(layers or default_layers(model))
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
        """The images as the model sees them, float32 (N, C, H, W)."""
        return self.batch.numpy()

    def channels(self, kind: str, layer: str) -> list[int]:
        return choose_channels(self._shapes[layer][0], self._kept)

    def shape(self, kind: str, layer: str) -> tuple[int, ...]:
        return self._shapes[layer]

    def images(self, kind: str, layer: str) -> list[int]:
        return self.shown

    def column(self, kind: str, layer: str, image: int) -> Tiles:
        tiles = self._compute(image)[0][layer]
        return Tiles(tiles.codes[None], tiles.ranges[None])

    def tiles(self, kind: str, layer: str, epoch: int) -> Tiles:
        tiles = [self._compute(image)[0][layer] for image in self.ready]
        return Tiles(np.stack([t.codes for t in tiles]), np.stack([t.ranges for t in tiles]))

    def is_recorded(self, kind: str, layer: str, epoch: int) -> bool:
        return True

    def stored_bytes(self, kind: str, layer: str) -> float:
        return float(len(self.ready) * self.column(kind, layer, 0).codes.size)

    def dead(self, kind: str, layer: str, epoch: int) -> list[int]:
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
        chances = scores[0].float().softmax(0).cpu().numpy() if scores.ndim == 2 else np.full(1, np.nan)
        return tiles, self.believe(chances)

    def _look(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, str], Tensor]:
        """The pictures of one image by layer, float32 (C, H, W), why other layers have none, and the scores (1, K)."""
        with blaming(self.model, batch), leave_as_found(self.model) as bare, torch.no_grad():
            bare.eval()
            with capture(bare, self._names) as seen, ChannelAxes():
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


def as_batch(images: Images, normalise: Normalise | None) -> Tensor:
    """One picture or many, bytes or floats -> float32 (N, C, H, W); bytes are normalised. Raises ExplorerError."""
    batch = to_tensor(images).detach().cpu()
    batch = batch.reshape((1,) * (4 - batch.ndim) + tuple(batch.shape))
    if batch.is_floating_point() or batch.dtype == torch.bool:
        return batch.float()
    if batch.min() < 0 or batch.max() > 255:
        raise ExplorerError("images are whole numbers beyond 0 to 255: pass bytes, or floats as the model takes them")
    if normalise is None:
        raise ExplorerError(
            "images are bytes, and a model takes floats: pass normalise=, which makes of bytes what this model takes "
            "(fmnist_lib.data.normalise for Fashion-MNIST), or the floats themselves"
        )
    return normalise(batch.byte()).float()


def to_tensor(images: Images) -> Tensor:
    """Any images as one tensor of 2 to 4 axes. Raises ExplorerError."""
    wanted = "images must be a tensor, an array or a list of them, (N, C, H, W), (C, H, W) or (H, W), not empty"
    try:
        tensor = as_tensor(np.ascontiguousarray(images) if isinstance(images, np.ndarray) else images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ExplorerError(f"{wanted}, not {type(images).__name__}: {error}") from error
    if tensor.ndim not in (2, 3, 4) or not tensor.numel() or tensor.is_complex():
        raise ExplorerError(f"{wanted}, not {tuple(tensor.shape)} {tensor.dtype}")
    # A list of (H, W) is images; a tensor (N, H, W) could as well be the channels of one.
    is_list = isinstance(images, (list, tuple)) and isinstance(images[0], (Tensor, np.ndarray))
    return tensor[:, None] if is_list and tensor.ndim == 3 else tensor


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
