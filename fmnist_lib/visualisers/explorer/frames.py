"""From 8-bit codes to the pixels on the screen: the reference that the page's JavaScript must match exactly.

Letters: C channels, H height, W width, E epochs. Only +, -, *, / and floor on doubles are used, so that Python
and JavaScript round alike.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.visualisers.explorer.palette import BEYOND, LEVELS, PALETTES
from fmnist_lib.visualisers.explorer.panel import SIGNED_KINDS
from fmnist_lib.visualisers.recording import Tiles

GAP = 4  # pixels around every tile of a sheet
FRAME = 3  # pixels of it that the frame of the selected tile takes
SHEET_SIDE = 400
LARGEST_TILE = 200
SINGLE_SIDE = 392
LOWEST_ROW = 24  # a 1-D map is one row; it is drawn at least this high
SELECTED = (255, 127, 14, 255)
DEAD = (128, 128, 128, 255)
DEAD_STEP = 8  # pixels between the diagonal lines over a dead channel
OPACITY = 0.6  # of a map that lies over its photo

Pixels = NDArray[np.uint8]
Limits = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """How the tiles of a layer lie: columns, and how often each pixel is repeated down and across."""

    columns: int
    zoom: tuple[int, int]
    large: tuple[int, int]


def make_grid(count: int, height: int, width: int) -> Grid:
    """At most 8 columns; tiles as large as fit, by whole pixels."""
    columns = min(8, int(np.ceil(np.sqrt(count))))
    side = min(LARGEST_TILE, SHEET_SIDE // columns - GAP)
    return Grid(columns, zoom_to(side, height, width), zoom_to(SINGLE_SIDE, height, width))


def zoom_to(side: int, height: int, width: int) -> tuple[int, int]:
    """The whole factors, down and across, that bring a tile to about `side` pixels."""
    factor = max(1, side // max(height, width, 1))
    return (max(factor, min(side, LOWEST_ROW)), factor) if height == 1 < width else (factor, factor)


def limits(kind: str, scale: str, ranges: NDArray[np.float32], epoch: int, channel: int) -> Limits:
    """What the ends of the colour scale stand for.

    `ranges` (E, C, 4) are those of one layer and image. "shared" takes all of them, "epoch" those of one epoch,
    "channel" that tile's own. Kinds with a sign are symmetric about zero; the others start at zero or below.
    """
    chosen = {"shared": ranges, "epoch": ranges[epoch], "channel": ranges[epoch, channel]}[scale]
    low, high = float(chosen[..., 0].min()), float(chosen[..., 1].max())
    if kind in SIGNED_KINDS:
        return -max(-low, high, 0.0), max(-low, high, 0.0)
    return min(0.0, low), high


def lookup(tile_range: Sequence[float], ends: Limits, *, signed: bool) -> NDArray[np.int64]:
    """Code -> place in the palette, (256,), for a tile with its own range on a scale with these ends.

    A scale without extent is all zeros: the middle of a symmetric scale, the foot of another. In a tile with outliers
    the first and the last code stand for these.
    """
    (low, high, least, most), (bottom, top) = map(float, tile_range), ends
    codes = np.arange(LEVELS, dtype=np.float64)
    if top > bottom:
        values = low + (high - low) * codes / (LEVELS - 1)
        places = np.floor((values - bottom) / (top - bottom) * (LEVELS - 1) + 0.5)
    else:
        places = np.full(LEVELS, (LEVELS - 1) // 2 if signed else 0)
    places = np.append(np.clip(places, 0, LEVELS - 1), LEVELS).astype(np.int64)
    places[0] = BEYOND if least < low else places[0]
    places[LEVELS - 1] = BEYOND if most > high else places[LEVELS - 1]
    return places


def paint_tile(codes: Pixels, places: NDArray[np.int64], *, kind: str, zoom: tuple[int, int], dead: bool) -> Pixels:
    """One tile (H, W) as RGBA (H * zoom, W * zoom, 4)."""
    table = PALETTES["diverging" if kind in SIGNED_KINDS else "sequential"]
    colours = table[places[codes]].repeat(zoom[0], axis=0).repeat(zoom[1], axis=1)
    pixels = np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
    if dead:
        rows, columns = np.indices(pixels.shape[:2])
        pixels[(rows + columns) % DEAD_STEP == 0] = DEAD
    return pixels


def paint_sheet(
    tiles: Tiles,
    epoch: int,
    *,
    kind: str,
    scale: str,
    grid: Grid,
    dead: Collection[int] = (),
    selected: int | None = None,
) -> Pixels:
    """All channels of one layer, image and epoch: `tiles` codes (E, C, H, W) -> RGBA, clear between the tiles."""
    _, count, height, width = tiles.codes.shape
    signed = kind in SIGNED_KINDS
    step_y, step_x = height * grid.zoom[0] + GAP, width * grid.zoom[1] + GAP
    sheet = np.zeros((-(-count // grid.columns) * step_y + GAP, min(count, grid.columns) * step_x + GAP, 4), np.uint8)
    common = None if scale == "channel" else limits(kind, scale, tiles.ranges, epoch, 0)
    for channel in range(count):
        top, left = channel // grid.columns * step_y, channel % grid.columns * step_x
        if channel == selected:
            outside = GAP - FRAME
            sheet[top + outside : top + step_y + FRAME, left + outside : left + step_x + FRAME] = SELECTED
        ends = common or limits(kind, scale, tiles.ranges, epoch, channel)
        places = lookup(tiles.ranges[epoch, channel], ends, signed=signed)
        tile = paint_tile(tiles.codes[epoch, channel], places, kind=kind, zoom=grid.zoom, dead=channel in dead)
        sheet[top + GAP : top + step_y, left + GAP : left + step_x] = tile
    return sheet


def paint_single(
    tiles: Tiles, epoch: int, channel: int, *, kind: str, scale: str, grid: Grid, dead: Collection[int] = ()
) -> Pixels:
    """One channel, large, as RGBA."""
    ends = limits(kind, scale, tiles.ranges, epoch, channel)
    places = lookup(tiles.ranges[epoch, channel], ends, signed=kind in SIGNED_KINDS)
    return paint_tile(tiles.codes[epoch, channel], places, kind=kind, zoom=grid.large, dead=channel in dead)


def paint_over(
    photo: Pixels, tiles: Tiles, epoch: int, *, kind: str, scale: str, zoom: tuple[int, int], opacity: float = OPACITY
) -> Pixels:
    """The one map of an epoch laid over its photo (H, W, 1 or 3), at the photo's resolution, as RGBA.

    Between the middles of a map's pixels its values are interpolated linearly. What is not finite covers the photo.
    """
    ends = limits(kind, scale, tiles.ranges, epoch, 0)
    values, holes = stretch(tiles.codes[epoch, 0], tiles.ranges[epoch, 0], photo.shape[:2])
    bottom, top = ends
    span = top - bottom if top > bottom else math.inf
    places = np.floor((values - bottom) / span * (LEVELS - 1) + 0.5)
    table = PALETTES["diverging" if kind in SIGNED_KINDS else "sequential"].astype(np.float64)
    colours = table[np.clip(places, 0, LEVELS - 1).astype(np.int64)]
    mixed = np.floor(photo * (1 - opacity) + colours * opacity + 0.5)
    mixed[holes] = table[LEVELS]
    pixels = np.dstack([mixed.astype(np.uint8), np.full(holes.shape, 255, np.uint8)])
    return pixels.repeat(zoom[0], axis=0).repeat(zoom[1], axis=1)


def stretch(
    codes: Pixels, tile_range: Sequence[float], size: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A map's values (H, W) at another size, and where one that is not finite takes part."""
    low, high = float(tile_range[0]), float(tile_range[1])
    values = low + (high - low) * codes.astype(np.float64) / (LEVELS - 1)
    down, across = (between(own, there) for own, there in zip(codes.shape, size, strict=True))
    broken = codes == LEVELS

    def mix(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        left, right, part = across
        mixed = values[rows][:, left] * (1 - part) + values[rows][:, right] * part
        return mixed, (broken[rows][:, left] & (part < 1)) | (broken[rows][:, right] & (part > 0))

    (above, holes), (below, more) = mix(down[0]), mix(down[1])
    part = down[2][:, None]
    return above * (1 - part) + below * part, (holes & (part < 1)) | (more & (part > 0))


def between(own: int, there: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each of `there` places along a side, the two of `own` that it lies between, its share of the second."""
    places = np.clip((np.arange(there) + 0.5) * own / there - 0.5, 0, own - 1)
    first = np.floor(places).astype(np.int64)
    return first, np.minimum(first + 1, own - 1), places - first
