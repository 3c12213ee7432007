"""What the notebooks say of this lab's runs and data, computed: one function for each tied sentence.

In a notebook a sentence is tied by a comment behind its full stop, `<!-- holds: NAME -->`. The function of that name
asserts what the sentence compares, and returns all numbers that stand in it, in their order and as they are written.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmnist_lib import Run, capture, data, models
from fmnist_lib.course.answers import best_answers
from fmnist_lib.visualisers.recording import Recording

SENTENCES: dict[str, Callable[["Lab"], list[str]]] = {}
OURS = "resnet18-original"


class Lab:
    """The stored runs in a folder such as checkpoints/, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = cache(lambda name: Run.load(folder / name))
        self.recording = cache(lambda name: Recording.load(folder / name / "recording.npz"))
        self.answers = cache(lambda: best_answers(folder))

    def column(self, name: str, column: str, *, epoch: int) -> dict[str, float]:
        """A measure of every layer after an epoch."""
        rows = [row for row in self.recording(name).stats if row["epoch"] == epoch and column in row]
        return {row["layer"]: row[column] for row in rows}


def sentence(function: Callable[[Lab], list[str]]) -> Callable[[Lab], list[str]]:
    """Make a function the check of the sentences tied to its name."""
    SENTENCES[function.__name__] = function
    return function


@cache
def averages() -> Tensor:
    images, labels = data.load("train")
    return torch.stack([images[labels == number].double().mean(0)[0] for number in range(10)])


@sentence
def nearest_averages(_: Lab) -> list[str]:
    means = averages().flatten(1)
    distances = {(i, j): float((means[i] - means[j]).norm()) for i in range(10) for j in range(i)}
    nearest = [{data.CLASSES[i] for i in pair} for pair in sorted(distances, key=lambda pair: distances[pair])]
    assert nearest[:2] == [{"Pullover", "Coat"}, {"Pullover", "Shirt"}]
    return []


@sentence
def nearest_average_accuracy(_: Lab) -> list[str]:
    images, labels = data.load("val")
    pixels, means = images.flatten(1).double(), averages().flatten(1)
    right = ((means**2).sum(1) - 2 * pixels @ means.T).argmin(1) == labels
    by_class = {name: right[labels == number].double().mean().item() for number, name in enumerate(data.CLASSES)}
    assert min(by_class, key=by_class.__getitem__) == "Shirt" and max(by_class, key=by_class.__getitem__) == "Trouser"
    return [f"{100 * share:.1f}" for share in (right.double().mean().item(), by_class["Shirt"], by_class["Trouser"])]


def suspect_labels(lab: Lab) -> list[int]:
    labels = data.load("val")[1].tolist()
    told = zip(labels, *lab.answers().tolist(), strict=True)
    return [label for label, *said in told if len(set(said)) == 1 and said[0] != label]


@sentence
def suspects(lab: Lab) -> list[str]:
    found = suspect_labels(lab)
    shirts = [label for label in found if data.CLASSES[label] in ("Shirt", "T-shirt/top")]
    return [str(len(found)), "5,000", str(len(shirts))]


@sentence
def ceiling(lab: Lab) -> list[str]:
    return [f"{100 * (1 - len(suspect_labels(lab)) / 5_000):.1f}"]


@sentence
def losses_fall(lab: Lab) -> list[str]:
    rows = lab.run(OURS).history.epochs
    for name in ("train_loss", "val_loss"):
        assert all(after[name] < before[name] for before, after in zip(rows, rows[1:], strict=False))
    val = [row["val_loss"] for row in rows]
    return [f"{val[0]:.3f}", f"{val[-1]:.3f}", f"{val[-2] - val[-1]:.3f}"]


@sentence
def gap_is_widest_at_the_end(lab: Lab) -> list[str]:
    gaps = [row["val_loss"] - row["train_loss"] for row in lab.run(OURS).history.epochs]
    assert gaps[0] < 0 < min(gaps[1:]) and max(gaps) == gaps[-1]
    return []


def mistaken(lab: Lab) -> Any:
    matrix = np.array(lab.run(OURS).evaluation["test"]["confusion"])
    return matrix - np.diag(np.diag(matrix))


@sentence
def mistakes(lab: Lab) -> list[str]:
    tops = [data.CLASSES.index(name) for name in ("Shirt", "T-shirt/top", "Pullover", "Coat")]
    return [str(mistaken(lab).sum()), str(mistaken(lab)[np.ix_(tops, tops)].sum())]


@sentence
def shoes_and_trousers(lab: Lab) -> list[str]:
    shoes, wrong = [data.CLASSES.index(name) for name in ("Sandal", "Sneaker", "Ankle boot")], mistaken(lab)
    trousers = wrong[data.CLASSES.index("Trouser")].sum()
    return [str(wrong[shoes].sum()), str(wrong[np.ix_(shoes, shoes)].sum()), str(trousers), "1,000"]


@sentence
def stem_moved(lab: Lab) -> list[str]:
    recording = lab.recording(OURS)
    before, after = (recording.values("kernels", "stem.conv", epoch).reshape(16, -1) for epoch in (0, 5))
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    return [f"{moved:.2f}", f"{((before * after).sum(1) / norms).min():.2f}"]


@sentence
def gradients_shrink(lab: Lab) -> list[str]:
    epochs = [lab.column(OURS, "gradient_norm", epoch=epoch) for epoch in range(6)]
    assert all(max(epoch[layer] for epoch in epochs) == first for layer, first in epochs[0].items())
    halved = [layer for layer, first in epochs[0].items() if epochs[1][layer] <= first / 2]
    return [str(len(epochs[0])), str(len(halved))]


@sentence
def first_layer_moves_least(lab: Lab) -> list[str]:
    moved, gradient = lab.column(OURS, "movement", epoch=5), lab.column(OURS, "gradient_norm", epoch=0)
    assert max(gradient, key=gradient.__getitem__) == "stem.conv"
    outside = {layer: value for layer, value in moved.items() if "shortcut" not in layer}
    assert min(outside, key=outside.__getitem__) == "stem.conv"
    return []


@sentence
def empty_maps(lab: Lab) -> list[str]:
    network = lab.run(OURS).model()
    with torch.no_grad(), capture(network, models.stage_ends(network)) as seen:
        network(data.normalise(data.load("val")[0][:500]))
    *others, last = [float((maps.amax((2, 3)) == 0).double().mean()) for maps in seen.values()]
    assert not any(others)
    return [f"{100 * last:.0f}"]
