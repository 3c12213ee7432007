"""The wire between a page's player and Python: what makes the display in a running notebook a live widget."""

import weakref
from typing import Any, Protocol

import anywidget
import traitlets

from fmnist_lib.visualisers.explorer.page import script


class Listener(Protocol):
    """What a wire tells about."""

    def _hear(self, position: dict[str, Any]) -> None: ...

    def _answer(self, image: int) -> dict[str, Any] | None: ...


class Wire(anywidget.AnyWidget):
    """A widget model without pictures of its own: the player in the cell's HTML finds it by `key`.

    Kept small, since ipywidgets keeps every widget until the kernel ends, and since a notebook may store its
    state; it knows its explorer only weakly for the same reason. `page` is filled for a view inside ipywidgets'
    own boxes alone.
    """

    key = traitlets.Unicode().tag(sync=True)
    position = traitlets.Dict().tag(sync=True)
    page = traitlets.Unicode().tag(sync=True)

    def __init__(self, listener: Listener, *, key: str, position: dict[str, Any]) -> None:
        super().__init__(key=key, position=position, _esm=script())
        heard = weakref.ref(listener)
        self.observe(lambda change: tell(heard, change["new"]), "position")
        self.on_msg(lambda _widget, content, _buffers: answer(self, heard, content))


def tell(listener: "weakref.ref[Listener]", position: dict[str, Any]) -> None:
    """Pass on where the sliders stand."""
    explorer = listener()
    if explorer is not None:
        explorer._hear(position)


def answer(wire: Wire, listener: "weakref.ref[Listener]", content: dict[str, Any]) -> None:
    """Send what the player asked for: the pictures of an image that was not computed before."""
    explorer = listener()
    reply = explorer._answer(content["image"]) if explorer is not None and "image" in content else None
    if reply is not None:
        wire.send(reply)
