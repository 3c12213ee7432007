"""The drawings of the report's second section, as SVG: the program's frame, a hook, a block, pooling.

Lengths are the SVG's own units; x goes to the right and y down.
"""

import json
from collections.abc import Callable
from html import escape
from itertools import pairwise
from pathlib import Path

INK, PALE, BLUE, ORANGE = "#333333", "#eef3f8", "#0072B2", "#D55E00"
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    "font-family=\"'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', Helvetica, Arial, sans-serif\">"
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker></defs>'
    '<rect width="{width}" height="{height}" fill="white"/>'
)


class Drawing:
    """An SVG that grows by boxes, arrows and words; these are told in the language given."""

    def __init__(self, width: int, height: int, *, language: str = "en") -> None:
        path = Path(__file__).parent / "templates" / f"drawings.{language}.json"
        self.words: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        self.parts = [HEAD.format(width=width, height=height)]

    def write(self, x: float, y: float, text: str, *, size: int = 13, color: str = INK, anchor: str = "middle") -> None:
        """Words on a line whose middle is at y."""
        said = escape(self.words.get(text, text))
        style = f'font-size="{size}" fill="{color}" text-anchor="{anchor}" dominant-baseline="central"'
        self.parts.append(f'<text x="{x}" y="{y}" {style}>{said}</text>')

    def box(self, x: float, y: float, width: float, height: float, *lines: str, color: str = BLUE) -> None:
        """A box with lines of words; further ones are smaller."""
        place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
        self.parts.append(f'<rect {place} rx="5" fill="{PALE}" stroke="{color}"/>')
        for number, line in enumerate(lines):
            middle = y + height / 2 + 18 * (number - (len(lines) - 1) / 2)
            self.write(x + width / 2, middle, line, size=13 if number == 0 else 11)

    def arrow(self, *points: tuple[float, float], color: str = INK, is_dashed: bool = False) -> None:
        """A line through points, with its tip at the last."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if is_dashed else ""
        look = f'fill="none" stroke="{color}" stroke-width="1.4"{dashes}'
        self.parts.append(f'<polyline points="{path}" {look} marker-end="url(#tip)"/>')

    def svg(self) -> str:
        """The file's text."""
        return "\n".join([*self.parts, "</svg>\n"])


def draw_frame(language: str) -> str:
    """From the data to the report."""
    drawing = Drawing(760, 190, language=language)
    drawing.box(10, 20, 165, 56, "Fashion-MNIST", "training, validation, test")
    drawing.box(10, 104, 165, 56, "network and recipe", "seed")
    drawing.box(215, 20, 180, 56, "training loop", "forward, loss, backward, step")
    drawing.box(215, 104, 180, 66, "recorder with hooks", "a fixed validation batch,", "every epoch", color=ORANGE)
    drawing.box(435, 20, 150, 150, "the run's folder", "run.json", "weights.safetensors", "recording.npz", "epochs/")
    drawing.box(625, 58, 125, 74, "figures", "explorer", "report")
    drawing.arrow((175, 48), (213, 48))
    drawing.arrow((175, 132), (195, 132), (195, 62), (213, 62))
    drawing.arrow((305, 76), (305, 102), color=ORANGE)
    drawing.arrow((395, 48), (433, 48))
    drawing.arrow((395, 137), (433, 137), color=ORANGE)
    drawing.arrow((585, 95), (623, 95))
    return drawing.svg()


def draw_hook(language: str) -> str:
    """Where kernels, gradients and feature maps are caught."""
    drawing = Drawing(760, 210, language=language)
    steps = ((10, "input x"), (160, "convolution"), (310, "ReLU"), (460, "next layers"), (620, "loss L"))
    for x, text in steps:
        drawing.box(x, 50, 110, 40, text)
    for (left, _), (right, _) in pairwise(steps):
        drawing.arrow((left + 110, 64), (right - 2, 64))
    drawing.write(560, 22, "backward", size=12, color=ORANGE)
    drawing.arrow((675, 48), (675, 34), (215, 34), (215, 48), color=ORANGE, is_dashed=True)
    drawing.arrow((215, 90), (215, 122), color=BLUE)
    drawing.arrow((365, 90), (365, 182), (402, 182), color=BLUE)
    drawing.write(60, 134, "kernels: the weights W themselves", color=BLUE, anchor="start")
    drawing.write(60, 156, "gradients: ∂L/∂W after backward", color=ORANGE, anchor="start")
    drawing.write(408, 182, "feature maps: a forward hook copies the output", color=BLUE, anchor="start")
    return drawing.svg()


def draw_block(language: str) -> str:
    """A plain block and a residual one."""
    drawing = Drawing(760, 210, language=language)
    for top, is_residual in ((30, False), (130, True)):
        formula = "residual block: y = ReLU(F(x) + x)" if is_residual else "plain block: y = ReLU(F(x))"
        drawing.write(10, top - 16, formula, anchor="start")
        drawing.write(18, top + 32, "x", size=15)
        steps = ("3x3 convolution", "batch norm", "ReLU", "3x3 convolution", "batch norm")
        x = 50
        for text in steps:
            drawing.arrow((x - 18, top + 32), (x - 2, top + 32))
            drawing.box(x, top + 14, 100, 36, text)
            x += 118
        drawing.arrow((x - 18, top + 32), (x - 2 if is_residual else x + 34, top + 32))
        if is_residual:
            drawing.arrow((28, top + 32), (28, top + 68), (x + 10, top + 68), (x + 10, top + 44), color=ORANGE)
            drawing.write(340, top + 59, "shortcut x", size=12, color=ORANGE)
            drawing.write(x + 10, top + 32, "⊕", size=22)
            drawing.arrow((x + 20, top + 32), (x + 34, top + 32))
        drawing.write(x + 66, top + 32, "ReLU → y")
    return drawing.svg()


def draw_pooling(language: str) -> str:
    """Windows of pooling over a line of pixels, with overlap and without."""
    drawing = Drawing(760, 130, language=language)
    for left, width, text in ((40, 3, "overlapping: 3 wide, stride 2"), (430, 2, "not overlapping: 2 wide, stride 2")):
        drawing.write(left + 126, 14, text)
        for pixel in range(7):
            drawing.box(left + 36 * pixel, 32, 36, 30, f"x{pixel + 1}")
        for number in range(3):
            start, end = left + 72 * number + 3, left + 72 * number + 36 * width - 3
            y, color = 74 + 14 * (number % 2), (BLUE, ORANGE, BLUE)[number]
            drawing.parts.append(f'<path d="M{start} {y}H{end}" stroke="{color}" stroke-width="5"/>')
            drawing.write((start + end) / 2, 114, f"max{number + 1}", color=color)
    return drawing.svg()


DRAWINGS: dict[str, Callable[[str], str]] = {
    "frame": draw_frame,
    "hook": draw_hook,
    "block": draw_block,
    "pooling": draw_pooling,
}
