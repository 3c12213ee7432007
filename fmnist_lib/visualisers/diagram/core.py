"""The diagram: a network as it was seen to work, for a notebook, a page and paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fmnist_lib.errors import LabError
from fmnist_lib.files import write_atomically
from fmnist_lib.visualisers.diagram.page import draw_html, whole_page
from fmnist_lib.visualisers.diagram.picture import draw_picture
from fmnist_lib.visualisers.diagram.rows import choose_depth, describe_error, summarise
from fmnist_lib.visualisers.diagram.trace import trace


class DiagramError(LabError):
    """A diagram that cannot be saved as asked; the message says what can be done."""


class Diagram:
    """A network's layers, functions and shortcuts, with shapes and parameters. Return it from a cell to see it.

    The model is called once, in evaluation mode, with `inputs` (one tensor or array; a tuple of several, or a
    dictionary by keyword), and left as it was found: what is drawn is what happened in that call. Where it fails, it is
    drawn up to there, and `error` says why. `depth` is how many levels of modules are unfolded at first; by default as
    many as fit a sheet of paper. A layer that is clicked opens in the explorers of the same page that show it.

    Raises NotRecordable for a model that cannot be looked into.
    """

    def __init__(self, model: nn.Module, inputs: Any, *, depth: int | None = None) -> None:
        several = isinstance(inputs, (tuple, Mapping))
        self.root = trace(model, inputs if several else (inputs,))
        self.error = describe_error(self.root)
        self.depth = choose_depth(self.root) if depth is None else depth

    def svg(self) -> str:
        """A picture for print, whole whatever its size, as it is unfolded at first."""
        return draw_picture(self.root, depth=self.depth)

    def html(self) -> str:
        """The diagram that unfolds, as an HTML fragment that needs nothing beside it; printed it is the picture."""
        return draw_html(self.root, depth=self.depth)

    def save(self, path: Path | str) -> Path:
        """Write a page (.html) or a picture (.svg); gives back the path. Raises DiagramError for another suffix."""
        path = Path(path)
        makers = {".html": lambda: whole_page(self.root, depth=self.depth), ".svg": self.svg}
        if path.suffix.lower() not in makers:
            raise DiagramError(
                f"cannot write {path}: name it {path.with_suffix('.html')} or {path.with_suffix('.svg')}"
            )
        content = makers[path.suffix.lower()]()
        write_atomically(path, lambda file: file.write(content.encode()))
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def __str__(self) -> str:
        return f"Diagram of {summarise(self.root)}" + (f"; {self.error}" if self.error else "")

    __repr__ = __str__
