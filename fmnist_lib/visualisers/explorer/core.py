"""The explorer: sliders over a recording, in a running notebook, in an exported page and on paper."""

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fmnist_lib.files import write_atomically
from fmnist_lib.visualisers.explorer import sheet
from fmnist_lib.visualisers.explorer.bundle import Code, check_size, make_bundle, to_json
from fmnist_lib.visualisers.explorer.errors import as_list, as_list_or_none, check_suffix, to_python
from fmnist_lib.visualisers.explorer.frames import Pixels
from fmnist_lib.visualisers.explorer.live import Images, LivePanel, Normalise, reply
from fmnist_lib.visualisers.explorer.page import make_page, whole_page
from fmnist_lib.visualisers.explorer.panel import (
    LABELS,
    Panel,
    RecordingLike,
    name_sources,
    open_recording,
)
from fmnist_lib.visualisers.explorer.position import Axes
from fmnist_lib.visualisers.explorer.wire import Wire
from fmnist_lib.visualisers.measures import Choice
from fmnist_lib.visualisers.recording import MAX_CHANNELS

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# The latest that a cell showed and perhaps nobody holds, as by `display(Explorer.live(...))`: they go on answering.
SHOWN: deque["Explorer"] = deque(maxlen=16)
MOVE = "# explorer is the one you made in the cell\nexplorer.move"


class Explorer:
    """Pictures of a recording with sliders for epoch, channel, layer and image. Return it from a cell to see it.

    `kind` is one of recording.KINDS or a list of them; `layer`, `epoch`, `channel`, `image` (of a kernel: the input
    channel), `scale` ("shared" over the epochs, "epoch", "channel"; by default each epoch of gradients has its own,
    and the other kinds share theirs) and `view` ("sheet", "single") say where the sliders stand at first; `layers`
    `images` (places among the recorded ones) and `epochs` what is included, by default everything that fits into a
    page: of a long training some epochs, evenly spread. Raises ExplorerError for what the recording lacks, or for more
    than 20 MB.
    """

    def __init__(
        self,
        recording: RecordingLike,
        *,
        kind: str | Sequence[str] = "maps",
        layer: str | None = None,
        epoch: float | None = None,
        channel: int | None = None,
        image: int | None = None,
        scale: str | None = None,
        view: str = "sheet",
        layers: str | Sequence[str] | None = None,
        images: Sequence[int] | None = None,
        epochs: Sequence[float] | None = None,
        caption: str = "",
    ) -> None:
        kinds = as_list("kind", kind)
        options = {"layers": as_list_or_none("layers", layers), "images": as_list_or_none("images", images)}
        options["epochs"] = as_list_or_none("epochs", epochs)
        panel = Panel(open_recording(recording), kinds=kinds, epoch=to_python(epoch), room=1.0, **options)
        wanted = {"layer": layer, "epoch": epoch, "channel": channel, "image": image, "scale": scale, "view": view}
        paths = name_sources([recording])
        call = f"Explorer({paths[0]}" if paths else None
        self._set_up([panel], wanted, call=call, options=options, caption=caption)

    def _set_up(
        self,
        panels: Sequence[Panel],
        wanted: dict[str, Any],
        *,
        call: str | None,
        options: dict[str, Any],
        caption: str,
    ) -> None:
        self._axes = Axes(panels)
        self._position = self._axes.position(wanted)
        check_size(panels)
        self._code = write_call(call, options)
        self.caption = caption
        self._key = uuid.uuid4().hex
        self._wire: Wire | None = None

    @classmethod
    def _of(
        cls,
        panels: Sequence[Panel],
        wanted: dict[str, Any],
        *,
        call: str | None,
        options: dict[str, Any],
        caption: str,
    ) -> "Explorer":
        """An explorer of panels that are there already; `call` begins the code that makes it, where that is known."""
        explorer = cls.__new__(cls)
        explorer._set_up(panels, wanted, call=call, options=options, caption=caption)
        return explorer

    @classmethod
    def live(
        cls,
        model: nn.Module,
        images: Images,
        *,
        layer: str | None = None,
        layers: str | Sequence[str] | None = None,
        layout: str | Mapping[str, str] | None = None,
        output: Choice | None = None,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        normalise: Normalise | None = None,
        channels: int | Sequence[int] = MAX_CHANNELS,
        caption: str = "",
        **position: Any,
    ) -> "Explorer":
        """Feature maps of any images, run through the model as the image slider asks for them.

        `images` is a tensor or an array, or a list of them or of PIL's images: (N, C, H, W), (N, H, W, C), (C, H, W),
        (H, W, C), (H, W) or, where that is one channel, (N, H, W), told apart by the channels of the first convolution;
        signals (N, C, L) or (C, L) for a model of 1-D convolutions; numbers of words (N, T) for one that embeds them.
        They are floats as the model takes them, or bytes, of which `normalise` makes such floats
        (fmnist_lib.data.normalise for Fashion-MNIST). `layers`
        is what to look at; by default that is `layer`, else what a Recorder would keep, and `panels[0].skipped` tells
        which of it has no pictures. `layout` says where a layer's channels are and `output` which of several outputs
        are the scores, and `channels` how many of a layer's are shown, or which, as for a Recorder. `labels` and
        `classes` name the images; `position` is as in Explorer: channel, image, scale, view.

        All that is shown is of the weights that the model has then; after more training ask again. An exported page
        keeps the first eight images. Raises ExplorerError, also for what the model itself raises.
        """
        panel = LivePanel(
            model,
            images,
            layers=as_list_or_none("layers", layers or layer),
            layout=layout,
            output=output,
            labels=labels,
            classes=classes,
            normalise=normalise,
            channels=channels,
        )
        return cls._of([panel], {"layer": layer, **position}, call=None, options={}, caption=caption)

    @property
    def panels(self) -> list[Panel]:
        """What is shown side by side; one, unless it is a comparison."""
        return self._axes.panels

    @property
    def position(self) -> dict[str, Any]:
        """Where the sliders stand; in a running notebook this follows the display."""
        return dict(vars(self._position))

    def move(self, **changes: Any) -> "Explorer":
        """Set sliders from Python, by the names of `position`; displays follow. Raises ExplorerError.

        The others keep their places as they do on the page; another kind comes with its own default scale.
        """
        self._position = self._axes.move(self._position, changes)
        if self._wire is not None:
            self._wire.position = self._indexed()
        return self

    def code(self) -> str:
        """The Python that brings the present state back: a whole call with the paths of files, else a move.

        An object has a name in the notebook that nobody here knows.
        """
        named = self.position
        others = [kind for kind in self._axes.kinds if kind != named["kind"]]
        if others and self._code["remakes"]:
            named["kind"] = [named["kind"], *others]
        values = ", ".join(f"{name}={value!r}" for name, value in named.items())
        return f"{self._code['before']}{values}{self._code['after']}"

    def pixels(self, *, panel: int = 0, **changes: Any) -> Pixels:
        """What the canvas shows, uint8 RGBA (height, width, 4), at the present position or a changed one."""
        return sheet.paint(self._refreshed(), self._axes.move(self._position, changes), panel)

    def save_png(self, path: Path | str) -> Path:
        """Write what the display shows now as a PNG, with its labels, scale and input; gives back the path.

        Raises ExplorerError for another suffix.
        """
        path = Path(path)
        check_suffix(path, ".png")
        content = sheet.as_png(sheet.labelled(self._refreshed(), self._position))
        write_atomically(path, lambda file: file.write(content))
        return path

    def save_html(self, path: Path | str, *, title: str = "Explorer") -> Path:
        """Write a whole page with the sliders alive, which needs neither Python nor a network; gives back the path.

        Raises ExplorerError for a suffix other than .html or .htm.
        """
        path = Path(path)
        check_suffix(path, ".html", ".htm")
        page = whole_page(self.html(), title=title)
        write_atomically(path, lambda file: file.write(page.encode()))
        return path

    def save_animation(self, path: Path | str, *, seconds: float = 0.5) -> Path:
        """Write one frame per epoch, `seconds` each, as GIF or WebP by the suffix. Raises ExplorerError."""
        sheet.save_animation(self._refreshed(), self._position, Path(path), seconds=seconds)
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
        self._refreshed()
        return {"image": image, "panels": [reply(panel, image) for panel in panels]}

    def _refreshed(self) -> Axes:
        """The axes, when pictures are about to be read: what a live model's old weights gave is forgotten."""
        for panel in self.panels:
            panel.refresh()
        return self._axes

    def _indexed(self) -> dict[str, Any]:
        return {**vars(self._position), **self._axes.indices(self._position)}

    def _page(self, contact: bytes, *, has_sheet: bool = True) -> str:
        bundle = make_bundle(self._refreshed(), self._position, code=self._code, key=self._key)
        return make_page(
            to_json(bundle),
            sheet=contact if has_sheet else None,
            label=f"Explorer: {', '.join(LABELS[kind] for kind in self._axes.kinds)}",
            frame=self._position.frame,
            caption="\n".join(filter(None, [self.caption, *map(tell_epochs, self.panels)])),
            alt=str(self),
        )

    def _contact(self) -> bytes:
        return sheet.as_png(sheet.contact_sheet(self._refreshed(), self._position))

    def html(self) -> str:
        """The library-free player as an HTML fragment that needs nothing beside it."""
        return self._page(self._contact())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        contact = self._contact()
        stored = {"text/html": self._page(contact), "image/png": contact, "text/plain": str(self)}
        return {WIDGET_VIEW: view, **stored}

    def _ipython_display_(self) -> None:
        """Show the player, wired to Python, without the widget's own view.

        JupyterLab stores what a cell showed, prefers a widget's view to anything beside it, and has nothing but
        "model not found" to show for it when the notebook is opened again. So the view is not what is shown: the
        player is, and a wire, which is a widget model without a view, finds it on the page. Opened again without a
        kernel the same output is the same player, with nobody at the other end.

        The contact sheet is an output of its own before it, since a picture is what every export and every viewer of
        notebooks shows, also those that drop scripts and pictures out of HTML; where the player runs it hides it.
        """
        from IPython.display import display

        self._connect()
        if any(isinstance(panel, LivePanel) for panel in self.panels):
            SHOWN.append(self)
        for output in self._outputs():
            display(output["data"], raw=True, metadata=output["metadata"])

    def show(self, display_id: str, *, update: bool = False) -> None:
        """Put the same outputs, without the wire, into a cell; with `update` in the place of those of that id.

        So a cell that goes on running, such as a training, shows an explorer that grows.
        """
        from IPython.display import display

        for place, output in enumerate(self._outputs()):
            given = {"metadata": output["metadata"], "display_id": f"{display_id}-{place}", "update": update}
            display(output["data"], raw=True, **given)

    def _outputs(self) -> list[dict[str, Any]]:
        """What a cell stores, as `display` takes it: the contact sheet, and the player without it."""
        contact = self._contact()
        picture, player = {"image/png": contact}, {"text/html": self._page(contact, has_sheet=False)}
        named = {"text/plain": str(self)}
        return [
            {"data": picture | named, "metadata": {"image/png": {"alt": str(self)}}},
            {"data": player | named, "metadata": {}},
        ]

    def __str__(self) -> str:
        place, axes = self._position, self._refreshed()
        panel, titles = self.panels[0], [panel.title for panel in self.panels if panel.title]
        epoch = panel.names.get("epoch", "epoch")
        moment = epoch if all(float(number).is_integer() for number in axes.epochs) else "snapshot"
        counts = [count(axes.layers(place.kind), "layer"), count(axes.epochs, moment) if epoch else ""]
        numbers = {"epoch": place.epoch, "channel": place.channel, "image": place.image}
        where = [panel.at(axis, number, kind=place.kind) for axis, number in numbers.items()]
        return (
            f"Explorer of {', '.join(LABELS[kind] for kind in axes.kinds)}{' of ' if titles else ''}"
            f"{' and '.join(titles)}: {', '.join(filter(None, counts))}; "
            f"at layer {', '.join(filter(None, [place.layer, *where]))}: {sheet.describe(axes, place)}"
        )

    def __repr__(self) -> str:
        """What ipywidgets' error quotes when an explorer is put into a box, which takes widgets alone."""
        return f"{self} (in a box of ipywidgets use explorer.widget)"


def write_call(call: str | None, options: dict[str, Any]) -> Code:
    """What stands before and after the position in the code, and whether that makes the explorer anew."""
    if call is None:
        return {"before": f"{MOVE}(", "after": ")", "remakes": False}
    kept = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
    return {"before": f"{call}, ", "after": f"{kept})", "remakes": True}


def tell_epochs(panel: Panel) -> str:
    """Which of a long training's epochs are shown, in words, if not all of them are."""
    recorded = getattr(panel, "recording", panel).epochs
    if len(panel.epochs) == len(recorded):
        return ""
    of = f" of {panel.title}" if panel.title else ""
    return f"{len(panel.epochs)} of the {len(recorded)} recorded epochs{of} are here; epochs= chooses others."


def count(things: Sequence[Any], word: str) -> str:
    """1 layer, 2 layers."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
