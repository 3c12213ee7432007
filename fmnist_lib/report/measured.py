"""What can be seen in a run, as numbers out of its files: the report's sentences are chosen and filled by them.

Letters: O output channels, I input channels, H height, W width of kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.models import count_parameters
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers.figures import spatial_layers
from fmnist_lib.visualisers.recording import Recording, RecordingError

HOLDS = 0.05  # a change by a smaller share than this is none to speak of
ALIKE = 0.15  # neighbouring weights that are alike by less than this look like noise
RESEMBLING = 0.5  # cosine from which on the kernels of two networks are the same to the eye


@dataclass(frozen=True)
class Change:
    """A number before training and after it."""

    before: float
    after: float

    @property
    def trend(self) -> str:
        """Whether it "rises", "falls" or "holds"."""
        if abs(self.after - self.before) <= HOLDS * max(abs(self.before), abs(self.after)):
            return "holds"
        return "rises" if self.after > self.before else "falls"


@dataclass(frozen=True)
class Kernels:
    """How alike neighbouring weights of a kernel are in the first layer and in the last, and how far layers moved.

    A distance is relative to the norm of the layer's weights before training.
    """

    first: str
    last: str
    first_alike: Change
    last_alike: Change
    first_moved: float
    most: str
    most_moved: float


@dataclass(frozen=True)
class Gradients:
    """The gradient's norm over all convolutions, and how many times the last one's norm the first one's is."""

    first: str
    last: str
    total: Change
    ratio: Change


@dataclass(frozen=True)
class Maps:
    """Shares of zeros in the first and the last recorded layer, dead channels among how many, and the right answers.

    `belief` is the mean probability that the network gives the right class of the shown images.
    """

    first: str
    last: str
    first_zeros: Change
    last_zeros: Change
    dead: Change
    channels: int
    belief: Change
    images: int


@dataclass(frozen=True)
class Curves:
    """Validation after the first epoch and the last, the epoch of the lowest loss there, and the lead of training."""

    accuracy: Change
    epochs: int
    lowest_epoch: int
    lowest_loss: float
    last_loss: float
    lead: float


@dataclass(frozen=True)
class Confusion:
    """A share of one class's images that were taken for another; classes are numbers."""

    true: int
    predicted: int
    share: float


@dataclass(frozen=True)
class Match:
    """Matching layers of two networks: cosine of their kernels before training and after, then gradients and zeros."""

    part: str
    kernels: tuple[str, str]
    maps: tuple[str, str]
    alike_before: float
    alike: float
    first_gradient: float
    second_gradient: float
    first_zeros: float
    second_zeros: float

    @property
    def is_smaller_in_second(self) -> bool:
        """Whether the second network has the smaller gradient."""
        return self.second_gradient < self.first_gradient


@dataclass(frozen=True)
class Comparison:
    """A second run against a first, on the test images; `least` is the difference from which on it counts."""

    difference: float
    least: float
    time: float
    parameters: float

    @property
    def verdict(self) -> str:
        """Whether the second is "higher", "lower" or, where the difference does not count, "even"."""
        if abs(self.difference) < self.least:
            return "even"
        return "higher" if self.difference > 0 else "lower"


def see_kernels(recording: Recording) -> Kernels:
    """Raises RecordingError where a number is missing."""
    layers = spatial_layers(recording, "kernels")
    moved = {layer: rows[-1] for layer, rows in column(recording, "movement").items() if layer in layers}
    most = max(moved, key=lambda layer: moved[layer])
    first, last = layers[0], layers[-1]
    return Kernels(first, last, alike(recording, first), alike(recording, last), moved[first], most, moved[most])


def alike(recording: Recording, layer: str) -> Change:
    """How alike neighbouring weights of a layer's kernels are, before training and after."""
    epochs = recording.recorded_epochs("kernels", layer)
    return Change(*(likeness(recording.values("kernels", layer, epoch)) for epoch in (epochs[0], epochs[-1])))


def likeness(kernels: NDArray[np.floating]) -> float:
    """The cosine between all weights (O, I, H, W) and their neighbours to the right and below: 0 for noise, at most 1.

    A stroke or a blob has neighbours that are alike, an edge one pixel wide such of opposite signs.
    """
    one = np.concatenate([kernels[..., :-1].ravel(), kernels[..., :-1, :].ravel()])
    other = np.concatenate([kernels[..., 1:].ravel(), kernels[..., 1:, :].ravel()])
    return cosine(one, other)


def see_gradients(recording: Recording) -> Gradients:
    """Raises RecordingError where a number is missing."""
    norms = {layer: rows for layer, rows in column(recording, "gradient_norm").items() if "shortcut" not in layer}
    first, *_, last = norms
    ends = (0, -1)
    total = Change(*(float(np.linalg.norm([rows[end] for rows in norms.values()])) for end in ends))
    if not all(norms[last][end] for end in ends):
        raise RecordingError(f"the gradient of {last} is zero")
    return Gradients(first, last, total, Change(*(norms[first][end] / norms[last][end] for end in ends)))


def see_maps(recording: Recording) -> Maps:
    """Raises RecordingError where a number is missing."""
    zeros, dead = column(recording, "zeros"), column(recording, "dead")
    first, *_, last = zeros
    labels = recording.about.get("labels") or []
    ends = (recording.epochs[0], recording.epochs[-1])
    rights = [recording.scores(epoch)[np.arange(len(labels)), labels] for epoch in ends]
    return Maps(
        first,
        last,
        Change(zeros[first][0], zeros[first][-1]),
        Change(zeros[last][0], zeros[last][-1]),
        Change(*(sum(len(rows[end]) for rows in dead.values()) for end in (0, -1))),
        sum(recording.layers["maps"][layer]["shape"][1] for layer in dead),
        Change(*(float(right.mean()) for right in rights)),
        len(labels),
    )


def matching_layers(first: Recording, second: Recording, *, kind: str) -> list[tuple[str, str]]:
    """The last layers of the parts that both networks have: stem with stem, each stage's end with the same stage's."""
    ends = [
        {layer.split(".")[0]: layer for layer in each.layers.get(kind, {}) if "shortcut" not in layer}
        for each in (first, second)
    ]
    return [(layer, ends[1][part]) for part, layer in ends[0].items() if part in ends[1]]


def see_pair(first: Recording, second: Recording) -> list[Match]:
    """The matching layers of two networks after training, by depth. Raises RecordingError where a number is missing."""
    norms = [column(each, "gradient_norm") for each in (first, second)]
    zeros = [column(each, "zeros") for each in (first, second)]
    found = []
    for kernel, maps in zip(*(matching_layers(first, second, kind=kind) for kind in ("kernels", "maps")), strict=False):
        alike = [
            cosine(
                *(
                    each.values("kernels", layer, each.epochs[end])
                    for each, layer in zip((first, second), kernel, strict=True)
                )
            )
            for end in (0, -1)
        ]
        gradients = [rows[layer][-1] for rows, layer in zip(norms, kernel, strict=True)]
        shares = [rows[layer][-1] for rows, layer in zip(zeros, maps, strict=True)]
        found.append(Match(kernel[0].split(".")[0], kernel, maps, *alike, *gradients, *shares))
    if not found:
        raise RecordingError("the two networks have no layers that match")
    return found


def cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Of two arrays as vectors: 1 for the same direction, about 0 for unrelated ones, and where the shapes differ."""
    if one.shape != other.shape:
        return 0.0
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one.ravel() @ other.ravel()) / size if size else 0.0


def column(recording: Recording, name: str) -> dict[str, list[Any]]:
    """One column of a recording's numbers: layer -> a number per epoch. Raises RecordingError where one is missing."""
    found: dict[str, list[Any]] = {}
    for row in recording.stats:
        if name in row:
            found.setdefault(row["layer"], []).append(row[name])
    if not found or any(number is None for rows in found.values() for number in rows):
        raise RecordingError(f"the recording lacks {name} of a layer, or it is not finite")
    return found


def see_curves(run: Run) -> Curves:
    """Of a run with one finished epoch at least."""
    rows = run.history.epochs
    lowest = min(rows, key=lambda row: row["val_loss"])
    last = rows[-1]
    return Curves(
        Change(rows[0]["val_accuracy"], last["val_accuracy"]),
        int(last["epoch"]),
        int(lowest["epoch"]),
        lowest["val_loss"],
        last["val_loss"],
        last["train_accuracy"] - last["val_accuracy"],
    )


def see_confusions(result: dict[str, Any], *, most: int = 3) -> list[Confusion]:
    """The most frequent confusions of a split, as shares of the true class, largest first."""
    counts = np.asarray(result["confusion"], dtype=float)
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:most]
    return [Confusion(*divmod(int(place), len(shares)), float(shares.flat[place])) for place in order]


def see_classes(result: dict[str, Any]) -> tuple[int, int]:
    """The numbers of the class that is recognised best and of the one that is recognised worst."""
    shares = list(result["per_class"].values())
    return int(np.argmax(shares)), int(np.argmin(shares))


def compare(first: Run, second: Run) -> Comparison:
    """Of two runs that were evaluated on the test images."""
    one, other = first.evaluation["test"], second.evaluation["test"]
    sizes: Sequence[int] = [count_parameters(run.untrained_model()) for run in (first, second)]
    return Comparison(
        other["accuracy"] - one["accuracy"],
        measure.least_difference(one, other),
        second.seconds / first.seconds,
        sizes[1] / sizes[0],
    )
