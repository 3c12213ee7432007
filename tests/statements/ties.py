"""What ties a notebook's sentences to the data they speak of: readers of what is stored, and a text's sentences.

Each module nbNN.py lists a notebook's sentences verbatim: in `TIES` those that state a number, a trend or a comparison
of this lab's data or runs, each beside a function that computes from what is stored whether it holds; in `GENERAL`
those that state nothing of the kind. All that a tie reads passes through `hand_on`, the one place that a test replaces
to alter it: a tie that holds whatever is stored would tie nothing.

Letters: N images, C channels, H height, W width.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import torch
from nbformat import NotebookNode
from numpy.typing import NDArray
from torch import Tensor

from fmnist_lib import data, models
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers.hooks import capture
from fmnist_lib.visualisers.recording import Recording

ROOT = Path(__file__).parents[2]
OBSERVATION = re.compile(r"\*\*(Observation|In short|How to read it)[.:]\*\*\s*")
MEASURED = re.compile(r"\d\s*(%|points?\b|seconds?\b|minutes?\b|times\b|MB\b)")
SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"*)])|(?<=[.!?]\*\*))\s+(?=[\"*(\[]*[A-Z`])")
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
NEW_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*|] |\d+\. ))")
BULLET = re.compile(r"^[-*] |^\d+\. ")


@dataclass(frozen=True)
class Tie:
    """A sentence as it stands in a notebook, and whether what is stored says so."""

    sentence: str
    holds: Callable[[], bool]


def hand_on(value: Any) -> Any:
    """What was read, to whoever reads: a test puts an alteration in the place of this function."""
    return value


def reader(read: Callable[..., Any]) -> Callable[..., Any]:
    """Read everything once, and hand it on through `hand_on`."""
    kept = cache(read)

    @wraps(read)
    def handed_on(*arguments: Any) -> Any:
        return hand_on(kept(*arguments))

    return handed_on


@reader
def run_json(run: str) -> dict[str, Any]:
    """A stored run's run.json: history, evaluation, recipe."""
    return json_file(f"checkpoints/{run}/run.json")


@reader
def benchmark(name: str) -> Any:
    """A file of benchmarks/: what a .json holds, or the rows of a .csv as texts."""
    path = f"benchmarks/{name}"
    if path.endswith(".json"):
        return json_file(path)
    with (ROOT / path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@reader
def stats(run: str) -> list[dict[str, Any]]:
    """The rows of measures that a run's recording keeps, one for each layer and epoch."""
    return recording(run).stats


@reader
def kept(run: str, kind: str, layer: str) -> dict[str, Any]:
    """What a run's recording says of a layer: its shape, and which channels were kept."""
    return recording(run).layers[kind][layer]


@reader
def pictures(run: str, kind: str, layer: str, epoch: int) -> NDArray[np.float32]:
    """What a run's recording keeps of a layer; see recording.KINDS for the axes."""
    return recording(run).values(kind, layer, epoch)


@reader
def scores(run: str, epoch: int) -> NDArray[np.float32]:
    """The class probabilities that the network gave to the shown pictures, (10, 10)."""
    return recording(run).scores(epoch)


@reader
def split(name: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) as bytes, and labels (N,)."""
    return data.load(name)


@reader
def answers(run: str, name: str, count: int) -> Tensor:
    """The class that a stored run gives to each of the first images of a split, int64 (count,)."""
    images = data.load(name)[0][:count]
    return measure.predict(Run.load(ROOT / "checkpoints" / run).model(), images).argmax(1)


@reader
def outputs(run: str, layers: tuple[str, ...], count: int, is_trained: bool = True) -> dict[str, Tensor]:
    """What layers of a stored run's network give out for the first validation images, (count, C, H, W) each."""
    stored = Run.load(ROOT / "checkpoints" / run)
    model = stored.model() if is_trained else stored.untrained_model().eval()
    with torch.no_grad(), capture(model, layers) as seen:
        model(data.normalise(data.load("val")[0][:count]))
    return dict(seen)


@reader
def stored_probabilities(run: str) -> NDArray[np.float32]:
    """What a run's network answers for the test images, as benchmarks/answers.npz keeps it, (N, 10)."""
    return np.load(ROOT / "benchmarks" / "answers.npz")[run].astype(np.float32)


@reader
def parameters(model: str, *parts: str) -> int:
    """How many parameters a network has, or a part of it."""
    network = models.build(model)
    return models.count_parameters(network.get_submodule(*parts) if parts else network)


@reader
def printed(number: str, pattern: str) -> list[float]:
    """The numbers in what a stored notebook printed, by the groups of a pattern that stands in it once."""
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    text = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    [found] = re.findall(pattern, text)
    return [float(number) for number in ([found] if isinstance(found, str) else found)]


@cache
def recording(run: str) -> Recording:
    """A stored run's recording."""
    return Recording.load(ROOT / "checkpoints" / run / "recording.npz")


def json_file(path: str) -> Any:
    """A stored file."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def column(run: str, name: str, epoch: int) -> dict[str, Any]:
    """A measure of each layer that has it, in the order in which data passes the layers, at an epoch."""
    return {row["layer"]: row[name] for row in stats(run) if row["epoch"] == epoch and name in row}


def epochs(run: str, name: str) -> list[float]:
    """A column of a run's history, such as val_loss, epoch by epoch."""
    return [row[name] for row in run_json(run)["history"]["epochs"]]


def seconds_for(run: str, images: int) -> float:
    """How long a training on so many images takes, at a stored run's pace."""
    recipe, rows = run_json(run)["recipe"], run_json(run)["history"]["epochs"]
    return sum(row["seconds"] for row in rows) / (recipe["epochs"] * 55_000) * images


def confusion(run: str) -> NDArray[np.int64]:
    """How often each class (rows) of the validation images was taken for which (columns), (10, 10)."""
    return np.array(run_json(run)["evaluation"]["val"]["confusion"])


def observed(notebook: NotebookNode) -> list[str]:
    """The sentences of all observations: from where one begins to the next heading or the end of its cell."""
    parts = [found for text in markdown(notebook) for found in OBSERVATION.split(text)[2::2]]
    return [sentence for part in parts for sentence in sentences(HEADING.split(part)[0])]


def measured(notebook: NotebookNode) -> list[str]:
    """The sentences that have a number with a unit of what is measured."""
    return [sentence for sentence in stated(notebook) if MEASURED.search(sentence)]


def stated(notebook: NotebookNode) -> list[str]:
    """All sentences of a notebook's text."""
    return [sentence for text in markdown(notebook) for sentence in sentences(text)]


def markdown(notebook: NotebookNode) -> Iterator[str]:
    """The text of each markdown cell."""
    return (cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown text, in one line each, without headings and without what labels an observation."""
    blocks = [" ".join(block.split()) for block in NEW_BLOCK.split(HEADING.sub("\n", text))]
    kept = [BULLET.sub("", OBSERVATION.sub("", block)) for block in blocks]
    return [sentence.strip() for block in kept for sentence in SENTENCE_END.split(block) if sentence.strip()]
