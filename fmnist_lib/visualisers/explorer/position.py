"""Where the sliders stand, and what that means in each panel.

Panels of different networks share their sliders: layers and channels meet by relative position, epochs by value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from fmnist_lib.visualisers.explorer.errors import ExplorerError, check, to_python
from fmnist_lib.visualisers.explorer.panel import DEFAULT_SCALES, KERNEL_KINDS, Panel

SCALES = ("shared", "epoch", "channel")
VIEWS = ("sheet", "single")


@dataclass(frozen=True)
class Place:
    """A shared position in one panel: a layer's name, and places in its lists of epochs, channels and images."""

    layer: str
    epochs: list[int]
    channels: list[int]
    images: list[int]


@dataclass(frozen=True)
class Step:
    """One position of the layer slider: what the other sliders run over, and the place in each panel."""

    layer: str
    channels: list[int]
    images: list[int]
    places: list[Place]


@dataclass(frozen=True)
class Position:
    """Where the sliders stand, in the words of a user: names and numbers as in the network."""

    kind: str
    layer: str
    epoch: float
    channel: int
    image: int
    scale: str
    view: str

    @property
    def frame(self) -> str:
        """What `data-frame` of the page's root tells."""
        parts = (self.layer, self.epoch, self.channel, self.image, self.kind, self.scale, self.view)
        return "/".join(map(str, parts))


SLIDERS = tuple(field.name for field in fields(Position))


class Axes:
    """What the sliders run over, for every kind that all panels have. Raises ExplorerError if there is none."""

    def __init__(self, panels: Sequence[Panel]) -> None:
        self.panels = list(panels)
        self.kinds = [kind for kind in panels[0].kinds if all(kind in panel.kinds for panel in panels)]
        if not self.kinds:
            have = "; ".join(f"{panel.title or 'one'} has {', '.join(panel.kinds)}" for panel in panels)
            raise ExplorerError(f"nothing in common to compare: {have}")
        self.epochs = sorted({epoch for panel in panels for epoch in panel.epochs})
        self.steps = {kind: make_steps(self.panels, kind, self.epochs) for kind in self.kinds}

    def step(self, kind: str, layer: str) -> Step:
        """The layer slider's position by name."""
        return self.steps[kind][self.layers(kind).index(layer)]

    def layers(self, kind: str) -> list[str]:
        """The names along the layer slider: those of the deepest panel."""
        return [step.layer for step in self.steps[kind]]

    def position(self, wanted: dict[str, Any]) -> Position:
        """Check what a user asks for and fill in the rest. Raises ExplorerError, which lists what there is."""
        given = {name: to_python(value) for name, value in wanted.items() if value is not None}
        for name in given:
            check("slider", name, SLIDERS)
        kind = given.setdefault("kind", self.kinds[0])
        check("kind", kind, self.kinds)
        layer = given.setdefault("layer", self.layers(kind)[0])
        check("layer", layer, self.layers(kind))
        step = self.step(kind, layer)
        images = "input channel" if kind in KERNEL_KINDS else "image"
        is_sample = len(step.channels) <= max(step.channels)
        hint = ". No more were kept: `channels` of Recorder or Explorer.live chooses others" if is_sample else ""
        check("channel", given.setdefault("channel", step.channels[0]), step.channels, hint=hint)
        check(images, given.setdefault("image", step.images[0]), step.images)
        check("epoch", given.setdefault("epoch", self.epochs[-1]), self.epochs)
        check("scale", given.setdefault("scale", DEFAULT_SCALES[kind]), SCALES)
        check("view", given.setdefault("view", "sheet"), VIEWS)
        return Position(**given)

    def move(self, position: Position, changes: dict[str, Any]) -> Position:
        """Change some of a position as the page's `move` does; None is no change. Raises ExplorerError.

        The other sliders keep their places, counted from 0, or stand at the last one. Another kind shows the same
        layer, else the one of the same depth, on its own default scale; between kernels and maps the image starts anew.
        """
        given = {name: to_python(value) for name, value in changes.items() if value is not None}
        kind, before = given.get("kind", position.kind), self.indices(position)
        check("kind", kind, self.kinds)
        layer = given.get("layer", self._layer_in(kind, position))
        check("layer", layer, self.layers(kind))
        step = self.step(kind, layer)
        image = before["image"] if (kind in KERNEL_KINDS) == (position.kind in KERNEL_KINDS) else 0
        kept = {
            "layer": layer,
            "channel": step.channels[min(before["channel"], len(step.channels) - 1)],
            "image": step.images[min(image, len(step.images) - 1)],
            "scale": position.scale if kind == position.kind else DEFAULT_SCALES[kind],
        }
        return self.position({**vars(position), **kept, **given})

    def _layer_in(self, kind: str, position: Position) -> str:
        """The position's layer if another kind has it too, else the one of the same depth."""
        was, now = self.layers(position.kind), self.layers(kind)
        return position.layer if position.layer in now else now[relative(was.index(position.layer), len(was), len(now))]

    def indices(self, position: Position) -> dict[str, int]:
        """The same position as numbers counted from 0, as the page's sliders have them."""
        step = self.step(position.kind, position.layer)
        return {
            "layer": self.layers(position.kind).index(position.layer),
            "epoch": self.epochs.index(position.epoch),
            "channel": step.channels.index(position.channel),
            "image": step.images.index(position.image),
        }


def make_steps(panels: Sequence[Panel], kind: str, epochs: list[float]) -> list[Step]:
    """One step for each layer of the deepest panel."""
    names = [panel.layers[kind] for panel in panels]
    deepest = max(names, key=len)
    steps = []
    for index, layer in enumerate(deepest):
        here = [own[relative(index, len(deepest), len(own))] for own in names]
        channels = [panel.channels(kind, own) for panel, own in zip(panels, here, strict=True)]
        images = [panel.images(kind, own) for panel, own in zip(panels, here, strict=True)]
        shared_channels = max(channels, key=len)
        shared_images = max(images, key=len) if kind in KERNEL_KINDS else min(images, key=len)
        places = [
            Place(
                own,
                [nearest(epoch, panel.epochs) for epoch in epochs],
                relative_places(len(shared_channels), len(own_channels)),
                # Images are the same ones, or at least of the same kind; input channels meet like channels.
                relative_places(len(shared_images), len(own_images) if kind in KERNEL_KINDS else len(shared_images)),
            )
            for panel, own, own_channels, own_images in zip(panels, here, channels, images, strict=True)
        ]
        steps.append(Step(layer, shared_channels, shared_images, places))
    return steps


def relative(index: int, count: int, other: int) -> int:
    """The place among `other` that lies as far along as `index` among `count`, rounded to the nearest."""
    return (2 * index * (other - 1) + count - 1) // (2 * (count - 1)) if count > 1 else 0


def relative_places(count: int, other: int) -> list[int]:
    """`relative` for every index."""
    return [relative(index, count, other) for index in range(count)]


def nearest(epoch: float, epochs: list[float]) -> int:
    """The place of the recorded epoch that is closest by value; of two equally close, the earlier."""
    return min(range(len(epochs)), key=lambda index: abs(epochs[index] - epoch))
