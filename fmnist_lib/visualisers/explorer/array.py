"""Any array with sliders: two of its axes are a picture, the others are what the sliders run over.

Letters: N images, E epochs, C channels, H height, W width, as in a recording; here they are only places.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.visualisers.explorer.core import Explorer
from fmnist_lib.visualisers.explorer.errors import ExplorerError, as_list
from fmnist_lib.visualisers.explorer.panel import Guess, Panel
from fmnist_lib.visualisers.recording import Tiles

NAMES = ("image", "epoch", "channel")  # of the sliders, and what they are called unless somebody says otherwise
MOST_TILES = 512  # side by side in a sheet


class ArrayPanel(Panel):
    """An array (N, E, C, H, W) in the place of a recording, with names of one's own for the sliders."""

    layers: dict[str, list[str]]

    def __init__(self, values: NDArray[np.float32], *, names: dict[str, str], title: str) -> None:
        self.kind = "signed_values" if np.nanmin(values, initial=0) < 0 else "values"
        self.kinds, self.layers = [self.kind], {self.kind: [title]}
        self.title, self.names, self.about = "", dict.fromkeys(NAMES, "") | names, {}
        self.encoded = Tiles.encode(values)
        images, epochs, self.count, *self.size = values.shape
        self.epochs, self.shown, self.ready = list(range(epochs)), list(range(images)), list(range(images))

    @property
    def inputs(self) -> NDArray[np.float32]:
        """There are none: an array is not what a model made of an image."""
        return np.zeros((len(self.shown), 1, 0, 0), np.float32)

    def pictures(self, places: Sequence[int] | None = None) -> NDArray[np.uint8]:
        return np.zeros((len(self.shown), 0, 0, 1), np.uint8)

    def channels(self, kind: str, layer: str) -> list[int]:
        return list(range(self.count))

    def images(self, kind: str, layer: str) -> list[int]:
        return self.shown

    def shape(self, kind: str, layer: str) -> tuple[int, ...]:
        return (self.count, *self.size)

    def tiles(self, kind: str, layer: str, epoch: float) -> Tiles:
        place = self.epochs.index(int(epoch))
        return Tiles(self.encoded.codes[:, place], self.encoded.ranges[:, place])

    def is_recorded(self, kind: str, layer: str, epoch: float) -> bool:
        return True

    def stored_bytes(self, kind: str, layer: str) -> float:
        return float(self.encoded.codes.size)

    def dead(self, kind: str, layer: str, epoch: float) -> list[int]:
        """What is zero in an array is zero, and not dead."""
        return []

    def guesses(self) -> list[list[Guess]]:
        return []


def explore(
    array: Any, *, sliders: str | Sequence[str] | None = None, name: str = "array", caption: str = "", **position: Any
) -> Explorer:
    """Look at any array of 2 to 5 axes: the last two are the picture, `sliders` names the ones before them.

    `array` is an array, a tensor or nested lists of numbers. Without `sliders` the axes before the picture are called
    image, epoch and channel, or the last of these. The last slider's places stand side by side; `position` says where
    the sliders stand at first, by the names given: `explore(kernels, sliders=("epoch", "filter"), filter=3)`.
    Raises ExplorerError.
    """
    values = as_values(array)
    given = name_sliders(values.ndim - 2, sliders)
    names = dict(zip(NAMES[len(NAMES) - len(given) :], given, strict=True))
    values = values[(None,) * (5 - values.ndim)]
    count = values.shape[2]
    if count > MOST_TILES:
        raise ExplorerError(f"{count} pictures side by side are too many: choose at most {MOST_TILES} of them")
    own = {called: place for place, called in names.items()}
    wanted = {own.get(called, called): value for called, value in position.items()}
    return Explorer._of([ArrayPanel(values, names=names, title=name)], wanted, call=None, options={}, caption=caption)


def as_values(array: Any) -> NDArray[np.float32]:
    """Anything that holds numbers, as float32. Raises ExplorerError."""
    wanted = "explore takes an array, a tensor or nested lists of numbers, of 2 to 5 axes and not empty"
    try:
        values = np.asarray(array.detach().cpu().float() if hasattr(array, "detach") else array)
        if np.iscomplexobj(values):
            raise TypeError("complex numbers have no order: give .real, .imag or abs()")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ExplorerError(f"{wanted}, not {type(array).__name__}: {error}") from error
    if not 2 <= values.ndim <= 5 or not values.size:
        raise ExplorerError(f"{wanted}; this has the shape {values.shape}")
    return values


def name_sliders(count: int, wanted: str | Sequence[str] | None) -> list[str]:
    """A name for every axis before the picture. Raises ExplorerError."""
    if wanted is None:
        return list(NAMES[len(NAMES) - count :])
    names = as_list("sliders", wanted)
    if len(names) != count or len(set(names)) < count or not all(isinstance(name, str) and name for name in names):
        raise ExplorerError(
            f"sliders={wanted!r}: the last two axes are the picture, and {count or 'no'} "
            f"{'axis stands' if count == 1 else 'axes stand'} before them, each of which needs a name of its own"
        )
    return names
