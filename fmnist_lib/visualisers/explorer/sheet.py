"""Pictures for paper: the contact sheet, one frame as PNG, and an animation over the epochs."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fmnist_lib.visualisers.explorer.errors import ExplorerError
from fmnist_lib.visualisers.explorer.frames import (
    GAP,
    SINGLE_SIDE,
    Pixels,
    limits,
    make_grid,
    paint_over,
    paint_sheet,
    paint_single,
    zoom_to,
)
from fmnist_lib.visualisers.explorer.palette import LEVELS, PALETTES
from fmnist_lib.visualisers.explorer.panel import KERNEL_KINDS, LABELS, PHOTO_KINDS, SIGNED_KINDS, Panel
from fmnist_lib.visualisers.explorer.position import Axes, Position
from fmnist_lib.visualisers.recording import NOT_FINITE, Tiles, sample

SHEET_ROWS = 5  # epochs on a contact sheet
SHEET_COLUMNS = 12  # channels on a contact sheet
SHEET_TILE = 56
TEXT_HEIGHT = 16
MARGIN = 68  # for the words at the left of a row
NARROWEST = 420  # what the line above needs
INPUT_SIDE = 112
INK = (60, 60, 60)
ABSENT = "not recorded at this epoch"
# A sum of maps, of which only what is positive is shown: what speaks for the class.
ZERO = {"cams": "zero everywhere, since nothing in this layer speaks for the class"}
ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}


def paint(axes: Axes, position: Position, panel: int = 0) -> Pixels:
    """What the canvas of one panel shows, as RGBA (height, width, 4): the reference for the page's pixels."""
    tiles, epoch, channel, dead = look(axes, position, panel)
    if position.kind in PHOTO_KINDS:
        photo = photo_of(axes, position, panel)
        zoom = zoom_to(SINGLE_SIDE, *photo.shape[:2])
        return paint_over(photo, tiles, epoch, kind=position.kind, scale=position.scale, zoom=zoom)
    grid = make_grid(*tiles.codes.shape[1:])
    if position.view == "single":
        return paint_single(tiles, epoch, channel, kind=position.kind, scale=position.scale, grid=grid, dead=dead)
    return paint_sheet(tiles, epoch, kind=position.kind, scale=position.scale, grid=grid, dead=dead, selected=channel)


def look(axes: Axes, position: Position, panel: int) -> tuple[Tiles, int, int, list[int]]:
    """The tiles (E, C, H, W) of the layer and image, the places of epoch and channel, and the dead channels."""
    place = axes.step(position.kind, position.layer).places[panel]
    index, source = axes.indices(position), axes.panels[panel]
    tiles = source.column(position.kind, place.layer, place.images[index["image"]])
    epoch = place.epochs[index["epoch"]]
    return tiles, epoch, place.channels[index["channel"]], source.dead(position.kind, place.layer, source.epochs[epoch])


def photo_of(axes: Axes, position: Position, panel: int) -> Pixels:
    """The input image at the position, grey or RGB bytes (H, W, 1 or 3)."""
    place = axes.step(position.kind, position.layer).places[panel]
    return axes.panels[panel].pictures([place.images[axes.indices(position)["image"]]])[0]


def describe(axes: Axes, position: Position) -> str:
    """Range, dead channels and what is not finite, of all that is in sight, in words."""
    sentences = []
    for panel, source in enumerate(axes.panels):
        tiles, epoch, _, dead = look(axes, position, panel)
        layer = axes.step(position.kind, position.layer).places[panel].layer
        is_recorded = source.is_recorded(position.kind, layer, source.epochs[epoch])
        words = describe_tiles(tiles, epoch, dead, kind=position.kind) if is_recorded else ABSENT
        sentences.append(f"{source.title + ': ' if len(axes.panels) > 1 else ''}{words}")
    return "; ".join(sentences)


def describe_tiles(tiles: Tiles, epoch: int, dead: Sequence[int], *, kind: str) -> str:
    """The same of one panel's tiles (E, C, H, W)."""
    codes, ranges = tiles.codes[epoch], tiles.ranges[epoch]
    low, high = ranges[:, 2].min(), ranges[:, 3].max()
    broken = int((codes == NOT_FINITE).sum())
    if broken == codes.size:
        return "no value is finite"
    words = [f"values from {low:.3g} to {high:.3g}" if low or high else ZERO.get(kind, "all values are zero")]
    beyond = sum(int((codes == code).sum(where=far[:, None, None])) for code, far in outliers(ranges))
    words += [f"{beyond} of them far beyond the colour scale"] if beyond else []
    words += [f"{len(dead)} of {tiles.codes.shape[1]} channels dead"] if dead else []
    words += [f"{broken} values not finite"] if broken else []
    return ", ".join(words)


def outliers(ranges: NDArray[np.float32]) -> list[tuple[int, NDArray[np.bool_]]]:
    """The two codes that may stand for outliers, and for which of the tiles, whose ranges are (C, 4), they do."""
    return [(0, ranges[:, 2] < ranges[:, 0]), (NOT_FINITE - 1, ranges[:, 3] > ranges[:, 1])]


def contact_sheet(axes: Axes, position: Position) -> Image.Image:
    """Epochs down, channels across, at the present layer, image and scale; one block for each panel."""
    blocks = [contact_block(axes, position, panel) for panel in range(len(axes.panels))]
    width, height = max(block.width for block in blocks), sum(block.height for block in blocks)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet


def contact_block(axes: Axes, position: Position, panel: int) -> Image.Image:
    """One panel's rows, with a line of text above and the epoch at the left of each row."""
    tiles, _, _, _ = look(axes, position, panel)
    source, place = axes.panels[panel], axes.step(position.kind, position.layer).places[panel]
    layer = place.layer
    rows = sample(len(source.epochs), SHEET_ROWS)
    columns = sample(tiles.codes.shape[1], SHEET_COLUMNS)
    photo = photo_of(axes, position, panel) if position.kind in PHOTO_KINDS else None
    strips = [paint_strip(tiles, row, columns, source, position, layer, photo) for row in rows]
    height, width = strips[0].shape[:2]
    top = 2 * TEXT_HEIGHT
    block = Image.new("RGB", (max(MARGIN + width, NARROWEST), top + len(rows) * height + GAP), "white")
    draw = ImageDraw.Draw(block)
    write(draw, (GAP, 1), title(source, position.kind, layer, place.images[axes.indices(position)["image"]]))
    write(draw, (GAP, TEXT_HEIGHT), "" if photo is not None else source.names.get("channel", "channel"))
    for number, column in enumerate([] if photo is not None else columns):
        at = (MARGIN + GAP + number * width // len(columns), TEXT_HEIGHT)
        write(draw, at, str(source.channels(position.kind, layer)[column]))
    for row, strip in zip(rows, strips, strict=True):
        epoch = source.at("epoch", source.epochs[row]) if len(source.epochs) > 1 else ""
        write(draw, (GAP, top + height // 2 - 6), epoch)
        picture = Image.fromarray(strip)
        block.paste(picture, (MARGIN, top), picture)
        top += height
    return block


def paint_strip(
    tiles: Tiles,
    row: int,
    columns: Sequence[int],
    source: Panel,
    position: Position,
    layer: str,
    photo: Pixels | None,
) -> Pixels:
    """Some channels of one epoch side by side, on the scale of the whole; or the one map over its photo."""
    if photo is not None:
        zoom = zoom_to(2 * SHEET_TILE, *photo.shape[:2])
        over = paint_over(photo, tiles, row, kind=position.kind, scale=position.scale, zoom=zoom)
        return np.pad(over, ((GAP, 0), (GAP, 0), (0, 0)))
    dead = set(source.dead(position.kind, layer, source.epochs[row]))
    height, width = tiles.codes.shape[2:]
    grid = replace(make_grid(len(columns), height, width), large=zoom_to(SHEET_TILE, height, width))
    painted = [
        paint_single(tiles, row, column, kind=position.kind, scale=position.scale, grid=grid, dead=dead)
        for column in columns
    ]
    return np.concatenate([np.pad(tile, ((GAP, 0), (GAP, 0), (0, 0))) for tile in painted], axis=1)


def title(source: Panel, kind: str, layer: str, image: int) -> str:
    """The line above a block."""
    shape = " x ".join(map(str, source.shape(kind, layer)))
    number = source.at("image", source.images(kind, layer)[image], kind=kind)
    named = "" if kind in KERNEL_KINDS else source.image_names()[image]
    what = [f"{source.title}  {layer} ({shape})", LABELS[kind], f"{number} {named}".strip()]
    return ", ".join(filter(None, what)).strip()


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """Small ASCII text: whatever needs another alphabet belongs into the caption, which is HTML."""
    draw.text(at, text.encode("ascii", "replace").decode(), fill=INK, font=ImageFont.load_default(12))


def as_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def labelled(axes: Axes, position: Position) -> Image.Image:
    """The present frame of every panel, each under what it shows, over its colour scale, and beside its input."""
    blocks = [labelled_frame(axes, position, panel) for panel in range(len(axes.panels))]
    image = Image.new("RGB", (sum(b.width for b in blocks), max(b.height for b in blocks)), "white")
    left = 0
    for block in blocks:
        image.paste(block, (left, 0))
        left += block.width
    return image


def labelled_frame(axes: Axes, position: Position, panel: int) -> Image.Image:
    """The same of one panel."""
    tiles, epoch, channel, _ = look(axes, position, panel)
    source, place = axes.panels[panel], axes.step(position.kind, position.layer).places[panel]
    frame = Image.fromarray(paint(axes, position, panel))
    here = [source.at("epoch", source.epochs[epoch]), f"scale: {position.scale}"]
    if position.kind not in PHOTO_KINDS:
        marked = source.at("channel", source.channels(position.kind, place.layer)[channel])
        here.append(f"{marked} marked" if marked and position.view == "sheet" else marked)
    told = ", ".join(filter(None, here))
    lines = [title(source, position.kind, place.layer, place.images[axes.indices(position)["image"]]), told]
    photo = None if position.kind in KERNEL_KINDS or not source.inputs.size else photo_of(axes, position, panel)
    side = 0 if photo is None else INPUT_SIDE + 2 * GAP
    top, bottom = len(lines) * TEXT_HEIGHT + GAP, 2 * TEXT_HEIGHT
    image = Image.new("RGB", (max(frame.width + side + 2 * GAP, NARROWEST), top + frame.height + bottom), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        write(draw, (GAP, number * TEXT_HEIGHT + 1), line)
    image.paste(frame, (GAP, top), frame)
    if photo is not None:
        shown = Image.fromarray(photo.squeeze(2) if photo.shape[2] == 1 else photo)
        image.paste(shown.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.NEAREST), (frame.width + 2 * GAP, top))
    paste_scale(image, limits(position.kind, position.scale, tiles.ranges, epoch, channel), position, frame.width, top)
    return image


def paste_scale(image: Image.Image, ends: tuple[float, float], position: Position, width: int, top: int) -> None:
    """The colours and the two numbers at their ends, at the picture's foot."""
    table = PALETTES["diverging" if position.kind in SIGNED_KINDS else "sequential"][:LEVELS]
    foot, length = image.height - TEXT_HEIGHT - GAP, max(width // 2, 80)
    image.paste(Image.fromarray(table[None].repeat(8, axis=0)).resize((length, 8)), (MARGIN, foot + 4))
    draw = ImageDraw.Draw(image)
    low, high = (f"{end:.3g}" for end in ends)
    draw.text((MARGIN - GAP, foot), low, fill=INK, font=ImageFont.load_default(12), anchor="ra")
    write(draw, (MARGIN + length + GAP, foot), high)


def frame_image(axes: Axes, position: Position) -> Image.Image:
    """The present frame of every panel side by side, on white."""
    frames = [Image.fromarray(paint(axes, position, panel)) for panel in range(len(axes.panels))]
    space = 8 * GAP
    width = sum(frame.width for frame in frames) + space * (len(frames) - 1)
    image = Image.new("RGB", (width, max(frame.height for frame in frames)), "white")
    left = 0
    for frame in frames:
        image.paste(frame, (left, 0), frame)
        left += frame.width + space
    return image


def save_animation(axes: Axes, position: Position, path: Path, *, seconds: float) -> None:
    """One frame for each epoch, as GIF or WebP by the suffix. Raises ExplorerError for another suffix."""
    kind = ANIMATIONS.get(path.suffix.lower())
    if kind is None:
        raise ExplorerError(f"cannot animate as {path.suffix or path.name!r}: choose one of {', '.join(ANIMATIONS)}")
    # One after the other: a thousand of them take more memory than all else.
    finish = with_palette if kind == "GIF" else Image.Image.copy
    frames = (finish(film_frame(axes, replace(position, epoch=epoch))) for epoch in axes.epochs)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if kind == "WEBP" else {"optimize": False}
    first = next(frames)
    first.save(path, kind, save_all=True, append_images=frames, duration=round(seconds * 1000), loop=0, **options)


def film_frame(axes: Axes, position: Position) -> Image.Image:
    """The frame under its epoch's number, which also keeps Pillow from merging epochs that look alike."""
    frame = frame_image(axes, position)
    film = Image.new("RGB", (max(frame.width, MARGIN), frame.height + TEXT_HEIGHT), "white")
    film.paste(frame, (0, TEXT_HEIGHT))
    draw = ImageDraw.Draw(film)
    draw.fontmode = "1"  # no greys along the letters' edges: they would take a GIF's 256 colours from the picture
    write(draw, (GAP, 1), f"epoch {position.epoch}")
    return film


def with_palette(film: Image.Image) -> Image.Image:
    """The frame in its own colours, where they are no more than 256; Pillow searches longer, and for like ones."""
    counted: list[tuple[int, Any]] | None = film.getcolors(256)
    if not counted:
        return film
    pixels = np.asarray(film.convert("RGBA")).view("<u4")[..., 0]  # red in the lowest byte
    colours = np.sort(np.array([[*colour, 255] for _, colour in counted], dtype=np.uint8).view("<u4")[:, 0])
    indexed = Image.fromarray(np.searchsorted(colours, pixels).astype(np.uint8))
    indexed.putpalette(colours.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return indexed
