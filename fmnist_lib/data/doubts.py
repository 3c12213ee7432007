"""What may be wrong with a picture of one object on a plain background, by its corners and by the object's outline.

Rules of thumb, each with what to do about it. That they are silent where nothing is wrong, tests measure on pictures
of the set. H and W are a picture's.
"""

import numpy as np

CORNERS_APART = 26  # grey levels, twice what counts as the background: some corner then counts as the object
CUT = 0.1  # of an edge of the picture, where the object reaches it
FILLED = 0.9  # of each side of the object's box, where the object is a rectangle
GAP, PART = 0.03, 0.15  # of the object's box between two parts, and of the whole object for a part to count as one


def find_doubts(mask: np.ndarray, corners: list[float]) -> list[str]:
    """Sentences, most often none, on where the object is, bool (H, W), and on how bright the four corners are.

    Where the corners differ nothing more is said: what was taken for the object then has an outline of its own.
    """
    if max(corners) - min(corners) > CORNERS_APART:
        told = ", ".join(f"{corner:.0f}" for corner in corners)
        return [
            f"the corners differ in brightness ({told}), so background may count as the object: use a plain background "
            "in even light, with some of it all around"
        ]
    doubts = []
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if is_rectangle(box):
        doubts.append("what is seen is a rectangle, as of a frame or a box: cut the picture inside the frame")
    elif cut := cut_edges(mask):
        doubts.append(
            f"it reaches the edge of the picture ({', '.join(cut)}), so a part of it may be missing: leave background "
            "all around"
        )
    if (count := max(count_parts(box), count_parts(box.T))) > 1:
        doubts.append(f"{count} things lie apart from each other, and the network answers for one: show one alone")
    return doubts


def sides(mask: np.ndarray) -> dict[str, np.ndarray]:
    """The outermost pixels at each side."""
    return {"top": mask[0], "bottom": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}


def cut_edges(mask: np.ndarray) -> list[str]:
    """The edges of the picture that the object reaches with more than a tip."""
    return [name for name, line in sides(mask).items() if line.mean() > CUT]


def is_rectangle(box: np.ndarray) -> bool:
    """Whether the object fills its box along all four sides; a line between them leaves the edge's own blur out."""
    depth = 1 + min(box.shape) // 100
    inner = [*np.split(box, [depth, -depth])[::2], *np.split(box.T, [depth, -depth])[::2]]
    return min(box.shape) > 2 * depth and all(side.any(axis=0).mean() > FILLED for side in inner)


def count_parts(box: np.ndarray) -> int:
    """How many parts of a size worth counting lie one below the other, with an empty band between them."""
    filled = np.flatnonzero(box.any(axis=1))
    breaks = np.flatnonzero(np.diff(filled) > 1 + GAP * len(box)) + 1
    parts = [box[rows].sum() for rows in np.split(filled, breaks)]
    return sum(part > PART * box.sum() for part in parts)
