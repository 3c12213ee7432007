"""Everything the page needs, as one JSON value: pictures as compressed 8-bit codes, and where each slider leads.

Letters: N images, C channels, H height, W width, E epochs. The codes travel as raw deflate in base64, which every
browser since 2023 can unpack by itself: unlike pixels read back from a PNG on a canvas, they cannot be altered by
colour management or by a browser that guards against fingerprinting.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.visualisers.explorer.errors import ExplorerError
from fmnist_lib.visualisers.explorer.frames import (
    DEAD,
    DEAD_STEP,
    FRAME,
    GAP,
    OPACITY,
    SELECTED,
    SINGLE_SIDE,
    make_grid,
    zoom_to,
)
from fmnist_lib.visualisers.explorer.palette import PALETTES
from fmnist_lib.visualisers.explorer.panel import DEFAULT_SCALES, KERNEL_KINDS, LABELS, PHOTO_KINDS, SIGNED_KINDS, Panel
from fmnist_lib.visualisers.explorer.position import Axes, Position, Step
from fmnist_lib.visualisers.explorer.sheet import ZERO
from fmnist_lib.visualisers.recording import Tiles


class Code(TypedDict):
    """What stands before and after the position in the code that brings it back, and whether that makes all anew."""

    before: str
    after: str
    remakes: bool


SIZE_LIMIT = 20_000_000  # bytes of a page; a notebook with more is slow to open and refused by some hosts
BASE64 = 4 / 3


def pack(*arrays: NDArray[Any]) -> str:
    """Arrays one after the other, little-endian, as base64 of raw deflate."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    parts = [deflate.compress(np.ascontiguousarray(array).tobytes()) for array in arrays]
    return base64.b64encode(b"".join([*parts, deflate.flush()])).decode("ascii")


def pack_tiles(tiles: Tiles) -> str:
    """Ranges float32 (..., 2), how far outliers lie beyond them (..., 2), nearly always zeros, then the codes."""
    ranges = tiles.ranges.astype("<f4")
    return pack(ranges[..., :2], ranges[..., 2:] - ranges[..., :2], tiles.codes)


def check_size(panels: Sequence[Panel], *, limit: int = SIZE_LIMIT) -> None:
    """Raise ExplorerError, saying what to drop, if the pictures would not fit into a page."""
    sizes = [
        (panel.stored_bytes(kind, layer) * BASE64, f"{kind} of {layer}")
        for panel in panels
        for kind in panel.kinds
        for layer in panel.layers[kind]
    ]
    total = sum(size for size, _ in sizes)
    if total <= limit:
        return
    largest = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for size, name in sorted(sizes, reverse=True)[:6])
    raise ExplorerError(
        f"{total / 1e6:.0f} MB of pictures, and a page holds {limit / 1e6:.0f} MB: name fewer `layers`, "
        f"`images`, such as images=[0, 1], or `epochs`, such as epochs=range(0, 100, 10), or record fewer `channels`. "
        f"The largest are {largest}"
    )


def make_bundle(axes: Axes, position: Position, *, code: Code, key: str) -> dict[str, Any]:
    """The JSON value for the page."""
    return {
        "key": key,
        "code": code,
        "palettes": {name: base64.b64encode(table.tobytes()).decode() for name, table in PALETTES.items()},
        "look": {"gap": GAP, "frame": FRAME, "selected": SELECTED, "dead": DEAD, "deadStep": DEAD_STEP},
        "opacity": OPACITY,
        "names": dict(axes.panels[0].names),
        "position": {**vars(position), **axes.indices(position)},
        "epochs": axes.epochs,
        "kinds": {kind: describe_kind(axes, kind) for kind in axes.kinds},
        "panels": [describe_panel(panel, axes.kinds) for panel in axes.panels],
    }


def describe_kind(axes: Axes, kind: str) -> dict[str, Any]:
    """What the sliders run over for one kind."""
    return {
        "label": LABELS[kind],
        "signed": kind in SIGNED_KINDS,
        "kernel": kind in KERNEL_KINDS,
        "photo": kind in PHOTO_KINDS,
        "zero": ZERO.get(kind, ""),
        "scale": DEFAULT_SCALES[kind],
        "steps": [describe_step(step) for step in axes.steps[kind]],
    }


def describe_step(step: Step) -> dict[str, Any]:
    """One position of the layer slider."""
    places = [vars(place) for place in step.places]
    return {"layer": step.layer, "channels": step.channels, "images": step.images, "places": places}


def describe_panel(panel: Panel, kinds: Sequence[str]) -> dict[str, Any]:
    """One recording: its images, what the model made of them, and its pictures."""
    pictures = panel.pictures()
    return {
        "title": panel.title,
        "state": panel.state,
        "ready": len(panel.ready),
        "recorded": len(panel.inputs),
        "names": panel.image_names(),
        "guesses": panel.guesses(),
        "inputs": {"size": pictures.shape, "data": pack(pictures), "zoom": zoom_to(SINGLE_SIDE, *pictures.shape[1:3])},
        "layers": {kind: {layer: describe_layer(panel, kind, layer) for layer in panel.layers[kind]} for kind in kinds},
    }


def describe_layer(panel: Panel, kind: str, layer: str) -> dict[str, Any]:
    """One layer's pictures, all that `pack_tiles` packs, and what is said of them."""
    tiles = panel.all_tiles(kind, layer)
    tiles = Tiles(tiles.codes.swapaxes(0, 1), tiles.ranges.swapaxes(0, 1))
    count, height, width = tiles.codes.shape[2:]
    return {
        "shape": panel.shape(kind, layer),
        "size": tiles.codes.shape,
        "epochs": panel.epochs,
        "recorded": [panel.is_recorded(kind, layer, epoch) for epoch in panel.epochs],
        "numbers": panel.channels(kind, layer),
        "dead": [panel.dead(kind, layer, epoch) for epoch in panel.epochs],
        "grid": vars(make_grid(count, height, width)),
        "data": pack_tiles(tiles),
    }


def to_json(bundle: dict[str, Any]) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(bundle, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
