"""The wire between a page's player and Python: what makes the display in a running notebook a live widget."""

import weakref
from typing import Any, Protocol

import anywidget
import ipywidgets  # type: ignore[import-untyped]  # it has no types
import traitlets

from fmnist_lib.visualisers.explorer.page import script


class Listener(Protocol):
    """What a wire tells about."""

    def _hear(self, position: dict[str, Any]) -> None: ...

    def _answer(self, image: int) -> dict[str, Any] | None: ...


class Wire(anywidget.AnyWidget):
    """A widget model without pictures of its own: the player in the cell's HTML finds it by `key`.

    It lives as long as its explorer and keeps that alive, so that a box of ipywidgets need hold nothing else; when
    nobody holds either, both go, and the wire's other end on the page is closed. Kept small, since a notebook may store
    its state; `page` is filled for a view inside ipywidgets' own boxes alone.
    """

    key = traitlets.Unicode().tag(sync=True)
    position = traitlets.Dict().tag(sync=True)
    page = traitlets.Unicode().tag(sync=True)

    def __init__(self, listener: Listener, *, key: str, position: dict[str, Any]) -> None:
        super().__init__(key=key, position=position, _esm=script())
        self.listener = listener
        self.observe(lambda change: listener._hear(change["new"]), "position")
        self.on_msg(lambda wire, content, _buffers: answer(wire, listener, content))
        keep_weakly(self)


def keep_weakly(wire: Wire) -> None:
    """Let a widget end when nobody has it: ipywidgets' registry and its comm's would keep it until the kernel ends.

    A page that is opened again finds it in the registry as before; ipywidgets' own `__del__` takes it out.
    """
    weak = weakref.proxy(wire)
    ipywidgets.widgets.widget._instances[wire.model_id] = weak
    wire.comm.on_msg(lambda message: weak._handle_msg(message))
    weakref.finalize(wire, wire.layout.close).atexit = False  # a widget of its own, made for this one


def answer(wire: Wire, listener: Listener, content: dict[str, Any]) -> None:
    """Send what the player asked for: the pictures of an image that was not computed before."""
    reply = listener._answer(content["image"]) if "image" in content else None
    if reply is not None:
        wire.send(reply)
