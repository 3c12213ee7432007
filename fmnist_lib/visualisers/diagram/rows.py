"""The boxes of a traced network in the order of the calls, the lines between them, and what is written in them.

Data flows downwards. From a box to the next one goes an arrow; to a later one, such as over a residual connection, a
line at the right-hand side.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from fmnist_lib.visualisers.diagram.trace import FUNCTION, Part

MOST_ROWS = 40  # of a diagram as it opens, which a sheet of paper holds


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


class Lines(NamedTuple):
    """The lines between rows: `edges` leads from a box to those that take what it gave out, as places among the rows.

    `follows` leads from a box to the next one. A line to another runs in a lane, counted from 0.
    """

    edges: dict[int, list[int]]
    follows: dict[int, int]
    lanes: dict[int, int]


def find_lines(rows: list[Row]) -> Lines:
    """All lines, no two of which overlap; several from one box are one that branches."""
    boxes = [number for number, row in enumerate(rows) if not row.is_head]
    place = {leaf: number for number in boxes for leaf in rows[number].part.leaves()}
    pairs = {(place[source], number) for leaf, number in place.items() for source in leaf.sources}
    edges: dict[int, list[int]] = {}
    for start, end in sorted(pairs):
        if start != end:
            edges.setdefault(start, []).append(end)
    follows = dict(itertools.pairwise(boxes))
    lanes: dict[int, int] = {}
    ends: list[int] = []  # of the last line in each lane
    for start, targets in edges.items():
        if targets != [follows[start]]:
            lanes[start] = next((lane for lane, end in enumerate(ends) if end <= start), len(ends))
            ends[lanes[start] : lanes[start] + 1] = [targets[-1]]
    return Lines(edges, follows, lanes)


def name_row(part: Part) -> str:
    """What a box is: its name and its kind."""
    kind = "()" if part.kind == FUNCTION else f"  {part.kind}" if part.kind else ""
    return f"{part.label}{kind}"


def measure_row(part: Part) -> str:
    """What a box gives out and holds."""
    return " | ".join(filter(None, [part.shape, count_words(part)]))


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
