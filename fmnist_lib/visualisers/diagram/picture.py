"""A traced network as a picture for print, which is whole whatever its size.

Its letters are all equally wide, so that it is known how long a text is, and nothing is cut.
"""

from collections.abc import Iterator
from html import escape

from fmnist_lib.visualisers.diagram.rows import (
    Lines,
    Row,
    describe_error,
    find_lines,
    list_rows,
    measure_row,
    name_row,
    summarise,
)
from fmnist_lib.visualisers.diagram.trace import Part

LETTER, LINE, ROW, GAP, INDENT, LANE = 6.7, 16, 20, 8, 10, 7  # in the picture's own units

STYLE = """
.fmd-picture { max-width: 100%; height: auto; }
.fmd-picture text { font: 11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }
.fmd-picture text { fill: #222; }
.fmd-picture rect { fill: #fff; stroke: #667; }
.fmd-picture path { fill: none; stroke: #3b82c4; stroke-width: 1.2; }
.fmd-picture .frame { fill: none; stroke: #aab; }
.fmd-picture .head { stroke: none; }
.fmd-picture rect.failed { stroke: #d6404a; stroke-width: 2; }
.fmd-picture text.failed { fill: #d6404a; }
@media screen and (prefers-color-scheme: dark) {
  .fmd-picture { background: #111; }
  .fmd-picture text { fill: #ddd; }
  .fmd-picture rect { fill: #111; }
}
"""


def draw_picture(root: Part, *, depth: int) -> str:
    """The network with so many levels unfolded, as SVG."""
    rows = list(list_rows(root, depth))
    lines = find_lines(rows)
    right = round(max(map(width_of, rows)))
    words = [summarise(root), *wrap(describe_error(root), int(right / LETTER))]
    right = max(right, round(LETTER * len(words[0])))
    tops, bottoms = place_rows(rows, top=LINE * len(words) + GAP)
    drawn = [write(0, LINE * n + 12, line, kind="failed" if n else "") for n, line in enumerate(words)]
    for number, bottom in bottoms.items():
        side = INDENT * rows[number].depth
        drawn.append(draw_box(side, tops[number], right - side, bottom, kind="frame"))
    drawn += draw_lines(rows, lines, tops, right)
    for row, top in zip(rows, tops, strict=True):
        drawn += draw_row(row, top, right)
    width, height = (
        right + 16 + LANE * (max(lines.lanes.values(), default=0) + 1),
        max(tops[-1] + ROW, *bottoms.values(), 0),
    )
    size = f'viewBox="-1 -1 {width + 2} {height + 2}" width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fmd-picture" {size} role="img" '
        f'aria-label="Diagram of {escape(words[0])}"><style>{STYLE}</style>{"".join(drawn)}</svg>'
    )


def width_of(row: Row) -> float:
    """What a row needs for what is written in it."""
    return 2 * INDENT * row.depth + LETTER * (len(name_row(row.part)) + len(measure_row(row.part)) + 4)


def place_rows(rows: list[Row], *, top: int) -> tuple[list[int], dict[int, int]]:
    """The top of each row, and the bottom of the frame of each unfolded module."""
    tops: list[int] = []
    bottoms: dict[int, int] = {}
    unfolded: list[int] = []
    for number, depth in enumerate([*(row.depth for row in rows), 0]):
        while len(unfolded) > depth:
            bottoms[unfolded.pop()] = top
            top += GAP
        if number < len(rows):
            tops.append(top)
            top += ROW + GAP
            unfolded += [number] * rows[number].is_head
    return tops, bottoms


def draw_row(row: Row, top: int, right: int) -> Iterator[str]:
    """A box, or the head of a frame, which hides the line behind it."""
    side, failed = INDENT * row.depth, "failed" * bool(row.part.error)
    inset = int(row.is_head)
    yield draw_box(side + inset, top + inset, right - side - inset, top + ROW, kind="head" if row.is_head else failed)
    yield write(side + 7, top + 14, name_row(row.part), kind=failed)
    yield write(right - side - 7, top + 14, measure_row(row.part), anchor="end")


def draw_lines(rows: list[Row], lines: Lines, tops: list[int], right: int) -> Iterator[str]:
    """An arrow down to the box that follows, a line at the right-hand side to every other."""
    for start, end in ((start, end) for start, targets in lines.edges.items() for end in targets):
        sides = [INDENT * rows[number].depth for number in (start, end)]
        if end == lines.follows[start]:
            yield f'<path d="M{max(sides) + 30} {tops[start] + ROW}V{tops[end]}m-3 -4l3 4l3 -4"/>'
            continue
        lane, out, back = right + 10 + LANE * lines.lanes[start], tops[start] + 13, tops[end] + 7
        yield f'<path d="M{right - sides[0]} {out}H{lane}V{back}H{right - sides[1]}m4 -3l-4 3l4 3"/>'


def draw_box(left: int, top: int, right: int, bottom: int, *, kind: str) -> str:
    """A rectangle."""
    mark = f' class="{kind}"' if kind else ""
    return f'<rect{mark} x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" rx="4"/>'


def write(x: int, y: int, text: str, *, kind: str = "", anchor: str = "start") -> str:
    """A line of text that starts, or ends, at x."""
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>' if text else ""


def wrap(text: str, width: int) -> list[str]:
    """A text in lines of at most so many letters, but for longer words."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < max(width, 40):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
