"""The two colour scales, as tables of 257 RGB colours: 255 levels, what is not finite, what lies beyond the scale."""

import numpy as np
from numpy.typing import NDArray

LEVELS = 255  # codes 0 to 254; the recording's code 255 stands for a value that is not finite
NOT_FINITE_COLOUR = (255, 0, 255)
BEYOND = LEVELS + 1  # the place in the table
BEYOND_COLOUR = (0, 255, 255)

# Nine colours of matplotlib's viridis, even in lightness and told apart with any colour vision.
SEQUENTIAL_ANCHORS = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)
# ColorBrewer's RdBu turned round: blue below zero, near white at zero, red above.
DIVERGING_ANCHORS = (
    (5, 48, 97),
    (33, 102, 172),
    (67, 147, 195),
    (146, 197, 222),
    (209, 229, 240),
    (247, 247, 247),
    (253, 219, 199),
    (244, 165, 130),
    (214, 96, 77),
    (178, 24, 43),
    (103, 0, 31),
)


def make_table(anchors: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    """Colours between evenly spaced anchors, uint8 (257, 3); the last two are no levels."""
    positions = np.linspace(0, len(anchors) - 1, LEVELS)
    channels = [np.interp(positions, range(len(anchors)), channel) for channel in zip(*anchors, strict=True)]
    return np.vstack([np.rint(np.stack(channels, axis=1)), NOT_FINITE_COLOUR, BEYOND_COLOUR]).astype(np.uint8)


PALETTES = {"sequential": make_table(SEQUENTIAL_ANCHORS), "diverging": make_table(DIVERGING_ANCHORS)}
