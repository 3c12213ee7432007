"""A traced network as boxes in the order of the calls: a page whose boxes unfold, and a picture for print.

Data flows downwards. From a box to the next one goes an arrow; to a later one, such as a residual connection, a line at
the right-hand side. What takes lines from several boxes also says so in words, for readers that see no lines.
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

from fmnist_lib.visualisers.diagram.trace import FUNCTION, Part

MOST_ROWS = 40  # of a diagram as it opens, which a sheet of paper holds
HERE = Path(__file__).parent
# Of the picture, in its own units; its letters are all equally wide, so that it is known how long a text is.
LETTER, ROW, GAP, INDENT, LANE = 6.7, 20, 8, 10, 7


class Row(NamedTuple):
    """A line of the diagram: a box, or the head of an unfolded module, `depth` modules inside the network."""

    part: Part
    depth: int
    is_head: bool


def list_rows(root: Part, depth: int, level: int = 0) -> Iterator[Row]:
    """The lines of a diagram with so many levels unfolded, and whatever a failure lies in."""
    for part in root.parts:
        is_head = is_open(part, level < depth)
        yield Row(part, level, is_head)
        if is_head:
            yield from list_rows(part, depth, level + 1)


def is_open(part: Part, is_shallow: bool) -> bool:
    """Whether a module is unfolded at first."""
    return bool(part.parts) and (is_shallow or any(leaf.error for leaf in part.leaves()))


def choose_depth(root: Part) -> int:
    """As many levels as make no more than `MOST_ROWS` lines."""
    depth = 0
    while (more := len(list(list_rows(root, depth + 1)))) <= MOST_ROWS and more > len(list(list_rows(root, depth))):
        depth += 1
    return depth


def find_edges(rows: list[Row]) -> dict[int, list[int]]:
    """Box -> the boxes that take what it gave out, as places among `rows`, in order."""
    place = {leaf: number for number, row in enumerate(rows) if not row.is_head for leaf in row.part.leaves()}
    pairs = {(place[source], number) for leaf, number in place.items() for source in leaf.sources}
    edges: dict[int, list[int]] = {}
    for start, end in sorted(pairs):
        if start != end:
            edges.setdefault(start, []).append(end)
    return edges


def find_lanes(edges: Mapping[int, list[int]], follows: Mapping[int, int]) -> dict[int, int]:
    """Box -> the lane, counted from 0, of the line to the boxes that do not follow it; no two lines overlap."""
    lanes: dict[int, int] = {}
    ends: list[int] = []  # of the last line in each lane
    for start, targets in edges.items():
        if targets != [follows.get(start)]:
            lane = next((lane for lane, end in enumerate(ends) if end <= start), len(ends))
            ends[lane : lane + 1] = [targets[-1]]
            lanes[start] = lane
    return lanes


def draw_svg(root: Part, *, depth: int) -> str:
    """The picture: what it is drawn in grows with what is written, so that nothing is cut."""
    rows = list(list_rows(root, depth))
    boxes = [number for number, row in enumerate(rows) if not row.is_head]
    follows = dict(itertools.pairwise(boxes))
    edges = find_edges(rows)
    lanes = find_lanes(edges, follows)
    tops, frames, bottom = place_rows(rows)
    texts = [(name_row(row.part), measure_row(row.part)) for row in rows]
    needed = [2 * INDENT * row.depth + LETTER * (len(a) + len(b) + 4) for row, (a, b) in zip(rows, texts, strict=True)]
    title, error = summarise(root), describe_error(root)
    lines = [title, *wrap(error, int(max(needed) / LETTER))]
    right = max(*needed, LETTER * len(title))
    width = right + 16 + LANE * (max(lanes.values(), default=-1) + 1)
    head = 16 * len(lines) + 8
    drawn = [
        f'<text x="0" y="{12 + 16 * n}"{" class=e" if n else ""}>{escape(line)}</text>' for n, line in enumerate(lines)
    ]
    drawn.append(f'<g transform="translate(0 {head})">')
    for number, end in frames.items():
        side, top = INDENT * rows[number].depth, tops[number]
        box = f'x="{side}" y="{top}" width="{right - 2 * side:.0f}" height="{end - top}"'
        drawn.append(f'<rect class="f" {box} rx="4"/>')
    drawn += draw_lines(rows, edges, lanes, follows, tops, right)
    for row, top, (name, measures) in zip(rows, tops, texts, strict=True):
        x, end = INDENT * row.depth, right - INDENT * row.depth
        mark = ' class="e"' if row.part.error else ""
        if not row.is_head:
            drawn.append(f'<rect{mark} x="{x}" y="{top}" width="{end - x:.0f}" height="{ROW}" rx="4"/>')
        drawn.append(f'<text x="{x + LETTER:.0f}" y="{top + 14}"{mark}>{escape(name)}</text>')
        drawn.append(f'<text x="{end - LETTER:.0f}" y="{top + 14}" text-anchor="end">{escape(measures)}</text>')
    drawn.append("</g>")
    height = head + bottom + 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width + 2:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="{escape(title)}"><style>{SVG_STYLE}</style>{"".join(drawn)}</svg>'
    )


SVG_STYLE = (
    "svg{max-width:100%;height:auto}text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#222;"
    "white-space:pre}rect{fill:#fff;stroke:#667}.f{fill:none;stroke:#aab}path{fill:none;stroke:#2166ac;stroke-width:1.2}"
    "rect.e{stroke:#b2182b;stroke-width:2}text.e{fill:#b2182b}@media (prefers-color-scheme:dark) and (not print){"
    "svg{background:#111}text{fill:#ddd}rect{fill:#111;stroke:#99a}.f{fill:none;stroke:#556}path{stroke:#92c5de}"
    "rect.e{stroke:#f4a582}text.e{fill:#f4a582}}"
)


def place_rows(rows: list[Row]) -> tuple[list[int], dict[int, int], int]:
    """The top of each row, the bottom of each unfolded module's frame, and that of all."""
    tops, frames, y = list[int](), dict[int, int](), 0
    open_heads: list[int] = []
    for number, row in enumerate([*rows, Row(Part("", "", ""), 0, False)]):
        while len(open_heads) > row.depth:
            frames[open_heads.pop()] = y
            y += GAP
        if number < len(rows):
            tops.append(y)
            y += ROW + GAP
        if row.is_head:
            open_heads.append(number)
    return tops, frames, max([tops[-1] + ROW, *frames.values()])


def draw_lines(
    rows: list[Row],
    edges: Mapping[int, list[int]],
    lanes: Mapping[int, int],
    follows: Mapping[int, int],
    tops: list[int],
    right: float,
) -> Iterator[str]:
    """An arrow down to the box that follows, a line at the right-hand side to every other."""
    for start, targets in edges.items():
        for end in targets:
            if end == follows[start]:
                x = INDENT * max(rows[start].depth, rows[end].depth) + 3 * INDENT
                yield f'<path d="M{x} {tops[start] + ROW}V{tops[end]}m-3 -4l3 4l3 -4"/>'
                continue
            here, there = (right - INDENT * rows[number].depth for number in (start, end))
            lane = right + 10 + LANE * lanes[start]
            out, back = tops[start] + ROW // 2 + 3, tops[end] + ROW // 2 - 3
            yield f'<path d="M{here:.0f} {out}H{lane:.0f}V{back}H{there:.0f}m4 -3l-4 3l4 3"/>'


def name_row(part: Part) -> str:
    """What a box is: its name and its kind."""
    kind = "()" if part.kind == FUNCTION else f"  {part.kind}" if part.kind else ""
    return f"{part.label}{kind}"


def measure_row(part: Part) -> str:
    """What a box gives out and holds."""
    return "  ".join(filter(None, [part.shape, count_words(part)]))


def count_words(part: Part) -> str:
    """The number of parameters; what is called again has them where it was called first."""
    if not part.parameters:
        return ""
    return "same weights" if part.is_again else f"{part.parameters:,}"


def summarise(root: Part) -> str:
    """The network in one line."""
    called = [leaf for leaf in root.leaves() if leaf.kind not in ("", FUNCTION)]
    functions = sum(leaf.kind == FUNCTION for leaf in root.leaves())
    words = f"{root.label}: {root.parameters:,} parameters, {len(called)} calls of layers"
    return words + (f" and {functions} of functions" if functions else "")


def describe_error(root: Part) -> str:
    """Where and why the forward pass failed, or an empty string."""
    return next((f"{leaf.name or leaf.label} {leaf.error}" for leaf in root.leaves() if leaf.error), "")


def wrap(text: str, width: int) -> list[str]:
    """A text in lines of at most so many letters, but for longer words."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < max(width, 40):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@lru_cache
def read(name: str) -> str:
    """A file beside this one."""
    return (HERE / name).read_text(encoding="utf-8").strip()


def draw_html(root: Part, *, depth: int) -> str:
    """A part of a page: boxes in `details`, which fold without a script; the script draws lines and tells of clicks."""
    numbers = {leaf: number for number, leaf in enumerate(root.leaves())}
    body = "".join(draw_part(part, numbers, is_shallow=depth > 0, depth=depth - 1) for part in root.parts)
    error = describe_error(root)
    failed = f'<p class="fmd-error">{escape(error)}</p>' if error else ""
    return (
        f'<div class="fmd" role="group" aria-label="Diagram of {escape(summarise(root))}">'
        f'<style>{read("diagram.css")}</style><p class="fmd-head">{escape(summarise(root))}</p>{failed}'
        f'<div class="fmd-rows"><svg aria-hidden="true"></svg>{body}</div>'
        f'<p class="fmd-note">Click a box to show its layer in an explorer on this page.</p>'
        f'<script>{read("diagram.js")}</script><div class="fmd-print">{draw_svg(root, depth=depth)}</div></div>'
    )


def draw_part(part: Part, numbers: Mapping[Part, int], *, is_shallow: bool, depth: int) -> str:
    """A box as HTML; a module with those inside."""
    mark = ' class="fmd-failed"' if part.error else ""
    layer = f' data-layer="{escape(part.name)}"' if part.name else ""
    title = f' title="{escape(part.detail)}"' if part.detail else ""
    text = f"<b>{escape(part.label)}</b><span>{escape('function' if part.kind == FUNCTION else part.kind)}</span>"
    text += f"<span>{escape(part.shape)}</span><span>{escape(count_words(part))}</span>"
    if not part.parts:
        sources = [numbers[source] for source in part.sources]
        is_plain = sources == [numbers[part] - 1] or not sources
        told = "" if is_plain else f"<em>from {escape(', '.join(s.name or s.label for s in part.sources))}</em>"
        failed = f"<em>{escape(part.error)}</em>" if part.error else ""
        return f'<button{mark}{layer}{title} data-from="{" ".join(map(str, sources))}">{text}{told}{failed}</button>'
    inside = "".join(draw_part(each, numbers, is_shallow=depth > 0, depth=depth - 1) for each in part.parts)
    opened = " open" if is_open(part, is_shallow) else ""
    return f"<details{opened}><summary{layer}{title}>{text}</summary>{inside}</details>"


def whole_page(root: Part, *, depth: int) -> str:
    """A page of its own."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(root.label)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root{color-scheme:light dark}'
        f"body{{margin:16px}}</style></head><body>{draw_html(root, depth=depth)}</body></html>\n"
    )
