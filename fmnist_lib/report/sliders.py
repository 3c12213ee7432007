"""The filled report's figures as explorers: a picture's name says which run it shows, and what of it."""

import re
from pathlib import Path

from fmnist_lib.errors import LabError
from fmnist_lib.report import markdown
from fmnist_lib.report.pages import Chapter
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers import figures
from fmnist_lib.visualisers.explorer import Explorer, compare
from fmnist_lib.visualisers.recording import Recording, sample

# A picture alone in its paragraph, of a run's own figures, or of the report's, which may show two runs side by side.
FIGURE = re.compile(
    r"^!\[(?P<alt>[^\]\n]*)\]\(figures/"
    r"(?:(?P<run>[^/)\n]+)/(?P<what>kernels|gradients|feature_maps)_epoch_(?P<epoch>\d+)"
    r"|report/\w+/(?P<runs>[^/)\n]+)-(?P<kind>kernels|gradients|maps))\.png\)[ \t]*$",
    re.MULTILINE,
)
LAYERS = 5  # of an explorer, first and last among them
IMAGES = 3

TITLE_PAGE = re.compile(r"<!-- title page -->.*?<!-- /title page -->\n?", re.DOTALL)


def markdown_chapter(text: str, *, folder: Path, slug: str, explorers: bool) -> Chapter:
    """A Markdown text with its pictures in it; with `explorers` those that a run's recording can show have sliders."""
    players: list[str] = []

    def place(found: re.Match[str]) -> str:
        player = make_player(found, folder / "checkpoints")
        if player is None:
            return found[0]
        players.append(player)
        return f'<div class="figure">FIGURE-{len(players) - 1}-HERE</div>\n'

    text = TITLE_PAGE.sub("", text)  # the page has its own
    body = markdown.render(FIGURE.sub(place, text) if explorers else text, folder)
    return Chapter(slug, re.sub(r"FIGURE-(\d+)-HERE", lambda found: players[int(found[1])], body))


def make_player(found: re.Match[str], checkpoints: Path) -> str | None:
    """Sliders for what a figure shows, above its caption; None where the recordings lack it: the figure then stays."""
    kind = found["kind"] or found["what"].replace("feature_maps", "maps")
    names = found["runs"].split("-and-") if found["runs"] else [found["run"]]
    try:
        recordings = [Run.load(checkpoints / name).recording() for name in names]
        epoch = int(found["epoch"] or recordings[0].epochs[-1])
        views = [view(each, kind, epoch) for each in recordings]
        if len(views) == 1:
            return views[0].html()
        return compare(*views, kind=kind, epoch=epoch, image=views[0].position["image"]).html()
    except (LabError, OSError):
        return None


def view(recording: Recording, kind: str, epoch: int) -> Explorer:
    """Some layers of a recording, of a network with stages the last of each, so that two networks' match."""
    layers = spatial_layers(recording, kind)
    if any(layer.startswith("stage") for layer in layers):
        layers = list({layer.split(".")[0]: layer for layer in layers if "shortcut" not in layer}.values())
    chosen = [layers[place] for place in sample(len(layers), LAYERS)]
    images = sample(len(recording.inputs), IMAGES) if kind == "maps" else None
    image = images[-1] if images else None  # the one that the figures show
    return Explorer(recording, kind=kind, layers=chosen, images=images, image=image, epoch=epoch)


def spatial_layers(recording: Recording, kind: str) -> list[str]:
    """The layers with pictures of more than one pixel."""
    return list(recording.layers.get(kind, {})) if kind == "maps" else figures.spatial_layers(recording, kind)
