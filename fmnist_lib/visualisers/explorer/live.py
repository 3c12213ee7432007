"""Feature maps computed on demand: any image of a set, or one's own picture, through a model.

Letters: N images, C channels, H height, W width, K classes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmnist_lib.visualisers.borrow import find_device, leave_as_found
from fmnist_lib.visualisers.explorer.bundle import pack
from fmnist_lib.visualisers.explorer.errors import ExplorerError
from fmnist_lib.visualisers.explorer.panel import Guess, Panel
from fmnist_lib.visualisers.hooks import UnknownLayer, capture
from fmnist_lib.visualisers.measures import channels_first, first_tensor
from fmnist_lib.visualisers.recorder import as_model_takes, default_layers
from fmnist_lib.visualisers.recording import MAX_CHANNELS, Tiles, sample

Normalise = Callable[[Tensor], Tensor]
READY = 8  # images computed before the first display, and kept in an exported page
KEPT = 64  # further images kept in memory, the latest ones


class LivePanel(Panel):
    """A panel without a recording: `tiles` runs the model, in evaluation mode, and leaves it as it was."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        *,
        layers: Sequence[str] | None,
        labels: Sequence[int] | None,
        classes: Sequence[str] | None,
        normalise: Normalise | None,
    ) -> None:
        self.model = model
        self.batch = as_batch(images, normalise)
        self.title = type(model).__name__
        self.about = {"labels": [] if labels is None else [int(label) for label in labels], "classes": classes}
        self.kinds, self.epochs = ["maps"], [0]
        self.shown = list(range(len(self.batch)))
        self.ready = list(range(min(READY, len(self.batch))))
        self._latest: OrderedDict[int, tuple[dict[str, Tiles], Guess]] = OrderedDict()
        self._names = list(layers or default_layers(model))
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.layers = {"maps": list(self._compute(0)[0])}

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The images as the model sees them, float32 (N, C, H, W)."""
        return self.batch.numpy()

    def channels(self, kind: str, layer: str) -> list[int]:
        return sample(self._shapes[layer][0], MAX_CHANNELS)

    def shape(self, kind: str, layer: str) -> tuple[int, ...]:
        return self._shapes[layer]

    def images(self, kind: str, layer: str) -> list[int]:
        return self.shown

    def column(self, kind: str, layer: str, image: int) -> Tiles:
        tiles = self._compute(image)[0][layer]
        return Tiles(tiles.codes[None], tiles.ranges[None])

    def all_tiles(self, kind: str, layer: str) -> Tiles:
        columns = [self.column(kind, layer, image) for image in self.ready]
        return Tiles(np.stack([c.codes for c in columns], 1), np.stack([c.ranges for c in columns], 1))

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
        with leave_as_found(self.model) as bare, torch.no_grad():
            bare.eval()
            images = as_model_takes(bare, batch.to(find_device(bare)))
            try:
                with capture(bare, self._names) as seen:
                    scores = first_tensor(bare(images))
            except UnknownLayer as error:
                raise ExplorerError(str(error)) from error
        maps = {layer: as_picture(layer, channels_first(output, images)) for layer, output in seen.items()}
        self._shapes.update({layer: tuple(output.shape) for layer, output in maps.items()})
        kept = {layer: output[sample(len(output), MAX_CHANNELS)] for layer, output in maps.items()}
        tiles = {layer: Tiles.encode(output.numpy()) for layer, output in kept.items()}
        chances = scores[0].float().softmax(0).cpu().numpy() if scores.ndim == 2 else np.full(1, np.nan)
        return tiles, self.believe(chances)


def as_batch(images: Tensor, normalise: Normalise | None) -> Tensor:
    """One picture or many, bytes or floats -> float32 (N, C, H, W); bytes are normalised. Raises ExplorerError."""
    if not isinstance(images, Tensor) or images.ndim not in (2, 3, 4) or not images.numel():
        shape = tuple(getattr(images, "shape", ()))
        raise ExplorerError(f"images must be a tensor (N, C, H, W), (C, H, W) or (H, W), not empty, not {shape}")
    batch = images.detach().cpu().reshape((1,) * (4 - images.ndim) + tuple(images.shape))
    if batch.dtype != torch.uint8:
        return batch.float()
    if normalise is None:
        raise ExplorerError(
            "images are bytes, and a model takes floats: pass normalise=, which makes of bytes what this model takes "
            "(fmnist_lib.data.normalise for Fashion-MNIST), or the floats themselves"
        )
    return normalise(batch).float()


def as_picture(layer: str, output: Tensor) -> Tensor:
    """What a layer gave for one image, float32 (C, H, W). Raises ExplorerError if that is no picture."""
    if output.ndim not in (3, 4) or not output.is_floating_point():
        raise ExplorerError(f"the output of {layer}, {tuple(output.shape)}, is no picture: choose another layer")
    picture = output[0].float().cpu()
    return picture if picture.ndim == 3 else picture[:, None, :]  # 1-D: one row


def reply(panel: LivePanel, image: int) -> dict[str, Any]:
    """What the page asked for: the pictures of one image."""
    columns = {layer: panel.column("maps", layer, image) for layer in panel.layers["maps"]}
    return {
        "layers": {layer: pack(c.ranges.astype("<f4"), c.codes) for layer, c in columns.items()},
        "input": pack(panel.pictures([image])),
        "guess": panel.guess(image),
    }
