"""Two or more recordings, or layers, side by side on the same sliders."""

from collections.abc import Sequence
from copy import copy
from typing import Any

from fmnist_lib.visualisers.explorer.core import Explorer
from fmnist_lib.visualisers.explorer.errors import ExplorerError, as_list, as_list_or_none, to_python
from fmnist_lib.visualisers.explorer.panel import Panel, RecordingLike, name_sources, open_recording


def compare(
    *sources: RecordingLike | Explorer,
    kind: str | Sequence[str] = "maps",
    names: Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    epochs: Sequence[float] | None = None,
    caption: str = "",
    **position: Any,
) -> Explorer:
    """Show two or more recordings, or explorers (each with its own layers), on shared sliders.

    Layers and channels meet by relative position, epochs by value; `layer` and `channel` are those of the deepest
    and of the widest one. `position` is as in Explorer: layer, epoch, channel, image, scale, view. `names` stand
    above the pictures. Raises ExplorerError where there is nothing in common.
    """
    if len(sources) < 2:
        raise ExplorerError("compare needs at least two recordings or explorers")
    kinds = as_list("kind", kind)
    options = {"layers": as_list_or_none("layers", layers), "images": as_list_or_none("images", images)}
    options["epochs"] = as_list_or_none("epochs", epochs)
    epoch, room = to_python(position.get("epoch")), 1 / len(sources)
    panels = [make_panel(source, kinds, **options, epoch=epoch, room=room) for source in sources]
    name_panels(panels, names)
    paths = name_sources(sources)
    options["names"] = as_list_or_none("names", names)
    call = f"compare({', '.join(paths)}" if paths else None
    return Explorer._of(panels, position, call=call, options=options, caption=caption)


def make_panel(
    source: RecordingLike | Explorer,
    kinds: Sequence[str],
    *,
    layers: Sequence[str] | None,
    images: Sequence[int] | None,
    epochs: Sequence[float] | None,
    epoch: float | None,
    room: float,
) -> Panel:
    """The part of one source that is compared. Raises ExplorerError."""
    if isinstance(source, Explorer):
        (panel, *others) = source.panels
        if others:
            raise ExplorerError("compare takes explorers of one recording each, not a comparison")
        return copy(panel)
    recording = open_recording(source)
    return Panel(recording, kinds=kinds, layers=layers, images=images, epochs=epochs, epoch=epoch, room=room)


def name_panels(panels: Sequence[Panel], names: Sequence[str] | None) -> None:
    """Titles that tell the panels apart: those given, else the models', with letters where two are alike."""
    if names is not None and len(names) != len(panels):
        raise ExplorerError(f"{len(panels)} things to compare need as many names, not {len(names)}")
    titles = [panel.title for panel in panels]
    alike = len(set(titles)) < len(titles) or not all(titles)
    for place, panel in enumerate(panels):
        letter = chr(ord("a") + place)
        panel.title = names[place] if names else f"{letter} {panel.title}".strip() if alike else panel.title
