"""A picture of one's own in a notebook: what the network is shown of it, what it answers, and where it looks.

`OwnPicture` is a box to drop, paste, photograph or draw one; `explain_picture` does the same for a file, without a box.
Letters: N images, C channels, H height, W width.
"""

import html
import io
from base64 import b64encode
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.errors import LabError
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers import plots
from fmnist_lib.visualisers.hooks import capture
from fmnist_lib.visualisers.measures import grad_cam
from fmnist_lib.visualisers.plots import Figure

CHANNELS = 12  # of each layer, side by side


class OwnPicture(anywidget.AnyWidget):
    """A box for a picture, and what a run's network makes of it; it needs a running kernel."""

    _esm = Path(__file__).with_suffix(".js")
    picture = traitlets.CBytes(b"").tag(sync=True)  # a page hands over a memoryview
    asked = traitlets.Int(0).tag(sync=True)  # both are counted, since the same picture may come again,
    answered = traitlets.Int(0).tag(sync=True)  # and what does not change is not sent
    reply = traitlets.Unicode("").tag(sync=True)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.observe(lambda _: self.answer(), "asked")

    def answer(self) -> None:
        """Reply to the picture that is there, or say why it is none."""
        try:
            words, figure = look_inside(self.run, data.look_at_picture(self.picture))
            lines = "<br>".join(html.escape(line) for line in words)
            self.reply = f'<p>{lines}</p><img alt="input, Grad-CAM and feature maps" src="{as_url(figure)}">'
        except LabError as problem:
            self.reply = f"<p>{html.escape(str(problem))}.</p>"
        self.answered = self.asked

    def __repr__(self) -> str:
        return "A box for a picture of your own: run this cell in JupyterLab to see it."


def explain_picture(run: Run, source: Path | str | bytes) -> Figure:
    """Print what a run's network answers for a picture and why to doubt it; what it saw, as a figure.

    Raises PictureError for a picture that cannot be read.
    """
    words, figure = look_inside(run, data.look_at_picture(source))
    print(*words, sep="\n")
    return figure


def look_inside(run: Run, picture: data.Picture) -> tuple[list[str], Figure]:
    """The answer in words, and a sheet of the input, Grad-CAM of the answer and the maps of the stages' ends."""
    model = run.model()
    layers = models.stage_ends(model)
    with capture(model, layers, keep_graph=True) as seen:
        scores = model(data.normalise(picture.image[None]))
    chances = scores.detach().softmax(1)[0]
    cams = see_cams(scores.max(), seen, layers[-2:])
    rows = [plots.grey_row("what the network sees", picture.image.numpy())]
    for layer, cam in cams.items():
        label = f"Grad-CAM at {layer}: what speaks for {data.CLASSES[int(chances.argmax())]}"
        rows.append(plots.unsigned_row(label, cam, limit=float(cam.max())))
    for layer in layers:
        maps = seen[layer][0, :CHANNELS].numpy()
        rows.append(plots.unsigned_row(f"maps after {layer}", maps, limit=float(maps.max())))
    figure = plots.tile_sheet(rows, title="Your picture")
    return measure.in_words(measure.answer(run, picture, chances)), figure


def see_cams(score: Tensor, seen: Any, layers: list[str]) -> dict[str, Any]:
    """Grad-CAM of a score at some layers, each enlarged to the input's size, (1, H, W)."""
    gradients = torch.autograd.grad(score, [seen.edges[layer] for layer in layers])
    cams = [grad_cam(seen[layer], gradient) for layer, gradient in zip(layers, gradients, strict=True)]
    large = [functional.interpolate(cam, size=data.SIDE, mode="bilinear")[0].numpy() for cam in cams]
    return dict(zip(layers, large, strict=True))


def as_url(figure: Figure) -> str:
    """A figure as a data: URL of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=70)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
