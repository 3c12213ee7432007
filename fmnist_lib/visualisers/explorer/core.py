"""The explorer: sliders over a recording, in a running notebook, in an exported page and on paper."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmnist_lib.visualisers.explorer import sheet
from fmnist_lib.visualisers.explorer.bundle import check_size, make_bundle, to_json
from fmnist_lib.visualisers.explorer.frames import Pixels
from fmnist_lib.visualisers.explorer.live import LivePanel, Normalise, reply
from fmnist_lib.visualisers.explorer.page import make_page
from fmnist_lib.visualisers.explorer.panel import (
    KERNEL_KINDS,
    LABELS,
    Panel,
    RecordingLike,
    name_source,
    open_recording,
)
from fmnist_lib.visualisers.explorer.position import Axes
from fmnist_lib.visualisers.explorer.wire import Wire

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Explorer:
    """Pictures of a recording with sliders for epoch, channel, layer and image. Return it from a cell to see it.

    `kind` is one of recording.KINDS or a list of them; `layer`, `epoch`, `channel`, `image` (of a kernel: the input
    channel), `scale` ("shared" over the epochs, "epoch", "channel") and `view` ("sheet", "single") say where the
    sliders stand at first; `layers` and `images` (places among the recorded ones) what is included, by default
    everything. Raises ExplorerError for what the recording lacks, or for more than 20 MB.
    """

    def __init__(
        self,
        recording: RecordingLike,
        *,
        kind: str | Sequence[str] = "maps",
        layer: str | None = None,
        epoch: int | None = None,
        channel: int | None = None,
        image: int | None = None,
        scale: str = "shared",
        view: str = "sheet",
        layers: Sequence[str] | None = None,
        images: Sequence[int] | None = None,
        caption: str = "",
    ) -> None:
        kinds = [kind] if isinstance(kind, str) else list(kind)
        panel = Panel(open_recording(recording), kinds=kinds, layers=layers, images=images)
        wanted = {"layer": layer, "epoch": epoch, "channel": channel, "image": image, "scale": scale, "view": view}
        options = {"layers": layers and list(layers), "images": images and list(images)}
        self._set_up([panel], wanted, call=f"Explorer({name_source(recording)}", options=options, caption=caption)

    def _set_up(
        self, panels: Sequence[Panel], wanted: dict[str, Any], *, call: str, options: dict[str, Any], caption: str
    ) -> None:
        self._axes = Axes(panels)
        self._position = self._axes.position(wanted)
        check_size(panels)
        kept = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
        self._code = (call, f"{kept})")
        self.caption = caption
        self._key = uuid.uuid4().hex
        self._wire: Wire | None = None

    @classmethod
    def _of(
        cls, panels: Sequence[Panel], wanted: dict[str, Any], *, call: str, options: dict[str, Any], caption: str
    ) -> "Explorer":
        """An explorer of panels that are there already."""
        explorer = cls.__new__(cls)
        explorer._set_up(panels, wanted, call=call, options=options, caption=caption)
        return explorer

    @classmethod
    def live(
        cls,
        model: nn.Module,
        images: Tensor,
        *,
        layer: str | None = None,
        layers: Sequence[str] | None = None,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        normalise: Normalise | None = None,
        caption: str = "",
        **position: Any,
    ) -> "Explorer":
        """Feature maps of any images, run through the model as the image slider asks for them.

        `images` is a tensor (N, C, H, W), (C, H, W) or (H, W): floats as the model takes them, or bytes, of
        which `normalise` makes such floats (fmnist_lib.data.normalise for Fashion-MNIST). `layers` is what to look at
        (default: `layer`, else what the model lists as viewable); `labels` and `classes` name the images; `position` is
        as in Explorer: channel, image, scale, view. An exported page keeps the first eight images.
        Raises ExplorerError.
        """
        looked_at = layers or (layer and [layer])
        panel = LivePanel(model, images, layers=looked_at, labels=labels, classes=classes, normalise=normalise)
        options = {"layers": layers and list(layers)}
        return cls._of(
            [panel], {"layer": layer, **position}, call="Explorer.live(model, images", options=options, caption=caption
        )

    @property
    def panels(self) -> list[Panel]:
        """What is shown side by side; one, unless it is a comparison."""
        return self._axes.panels

    @property
    def position(self) -> dict[str, Any]:
        """Where the sliders stand; in a running notebook this follows the display."""
        return dict(vars(self._position))

    def move(self, **changes: Any) -> "Explorer":
        """Set sliders from Python, by the names of `position`; displays follow. Raises ExplorerError."""
        self._position = self._axes.move(self._position, changes)
        if self._wire is not None:
            self._wire.position = self._indexed()
        return self

    def code(self) -> str:
        """The line of Python that brings the present state back."""
        call, rest = self._code
        named = self.position
        others = [kind for kind in self._axes.kinds if kind != named["kind"]]
        if others:
            named["kind"] = [named["kind"], *others]
        return call + "".join(f", {name}={value!r}" for name, value in named.items()) + rest

    def pixels(self, *, panel: int = 0, **changes: Any) -> Pixels:
        """What the canvas shows, uint8 RGBA (height, width, 4), at the present position or a changed one."""
        return sheet.paint(self._axes, self._axes.move(self._position, changes), panel)

    def save_png(self, path: Path | str) -> Path:
        """Write what the display shows now as a PNG; gives back the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sheet.as_png(sheet.frame_image(self._axes, self._position)))
        return path

    def save_animation(self, path: Path | str, *, seconds: float = 0.5) -> Path:
        """Write one frame per epoch, `seconds` each, as GIF or WebP by the suffix. Raises ExplorerError."""
        sheet.save_animation(self._axes, self._position, Path(path), seconds=seconds)
        return Path(path)

    @property
    def widget(self) -> Wire:
        """The live widget with a view of its own, for ipywidgets' boxes; at the top of a cell, show the explorer."""
        wire = self._connect()
        if not wire.page:
            wire.page = self._page(self._contact())
        return wire

    def _connect(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(self, key=self._key, position=self._indexed())
        return self._wire

    def _hear(self, position: dict[str, Any]) -> None:
        """A slider was moved on a page; the page counts from 0."""
        step = self._axes.steps[position["kind"]][position["layer"]]
        named = {"layer": step.layer, "epoch": self._axes.epochs[position["epoch"]]}
        named |= {"channel": step.channels[position["channel"]], "image": step.images[position["image"]]}
        self._position = self._axes.position({**position, **named})

    def _answer(self, image: int) -> dict[str, Any] | None:
        """A page asks for an image that it does not hold; a recording has none beside those on the page."""
        panels = [panel for panel in self.panels if isinstance(panel, LivePanel) and image in panel.shown]
        if len(panels) < len(self.panels):
            return None
        return {"image": image, "panels": [reply(panel, image) for panel in panels]}

    def _indexed(self) -> dict[str, Any]:
        return {**vars(self._position), **self._axes.indices(self._position)}

    def _page(self, contact: bytes) -> str:
        bundle = make_bundle(self._axes, self._position, code=self._code, key=self._key)
        return make_page(
            to_json(bundle),
            sheet=contact,
            label=f"Explorer: {', '.join(LABELS[kind] for kind in self._axes.kinds)}",
            frame=self._position.frame,
            caption=self.caption,
            alt=str(self),
        )

    def _contact(self) -> bytes:
        return sheet.as_png(sheet.contact_sheet(self._axes, self._position))

    def html(self) -> str:
        """The library-free player as an HTML fragment that needs nothing beside it."""
        return self._page(self._contact())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {WIDGET_VIEW: view, **self._stored_bundle()}

    def _stored_bundle(self) -> dict[str, Any]:
        contact = self._contact()
        return {"text/html": self._page(contact), "image/png": contact, "text/plain": str(self)}

    def _ipython_display_(self) -> None:
        """Show the player, wired to Python, without the widget's own view.

        JupyterLab stores what a cell showed, prefers a widget's view to anything beside it, and has nothing but
        "model not found" to show for it when the notebook is opened again. So the view is not what is shown: the
        player is, and a wire, which is a widget model without a view, finds it on the page. Opened again without a
        kernel the same output is the same player, with nobody at the other end.
        """
        from IPython.display import display

        self._connect()
        display(self._stored_bundle(), raw=True)

    def __str__(self) -> str:
        place, axes = self._position, self._axes
        picture = "input channel" if place.kind in KERNEL_KINDS else "image"
        titles = [panel.title for panel in self.panels if panel.title]
        return (
            f"Explorer of {', '.join(LABELS[kind] for kind in axes.kinds)}{' of ' if titles else ''}"
            f"{' and '.join(titles)}: {count(axes.layers(place.kind), 'layer')}, {count(axes.epochs, 'epoch')}; "
            f"at layer {place.layer}, epoch {place.epoch}, channel {place.channel}, {picture} {place.image}: "
            f"{sheet.describe(axes, place)}"
        )

    __repr__ = __str__


def count(things: Sequence[Any], word: str) -> str:
    """1 layer, 2 layers."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
