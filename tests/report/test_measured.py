"""What the report's sentences are filled with, against numbers that are known otherwise."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fmnist_lib.report import measured
from fmnist_lib.report.measured import Change, Comparison
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers.recording import Recording, RecordingError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording.load(ROOT / "checkpoints" / "resnet18-original" / "recording.npz")


def test_noise_is_not_alike_a_blob_is_and_a_chequerboard_is_its_opposite() -> None:
    noise = np.random.default_rng(0).normal(size=(64, 4, 7, 7))
    chequers = np.where(np.indices((7, 7)).sum(0) % 2, 1.0, -1.0)[None, None]
    assert abs(measured.likeness(noise)) < 0.02
    assert measured.likeness(np.ones((2, 1, 3, 3))) == pytest.approx(1)
    assert measured.likeness(chequers) == pytest.approx(-1)
    assert measured.likeness(np.zeros((2, 1, 3, 3))) == 0


@pytest.mark.parametrize(
    ("before", "after", "trend"),
    [(1, 2, "rises"), (2, 1, "falls"), (1, 1.04, "holds"), (0, 0, "holds"), (0, 1, "rises"), (-1, -2, "falls")],
)
def test_a_change_has_a_trend(before: float, after: float, trend: str) -> None:
    assert Change(before, after).trend == trend


@pytest.mark.parametrize(
    ("difference", "verdict"), [(0.01, "higher"), (-0.01, "lower"), (0.007, "even"), (-0.007, "even")]
)
def test_one_rule_says_what_difference_counts(difference: float, verdict: str) -> None:
    assert Comparison(difference, 0.008, 1.0, 1.0).verdict == verdict


def test_the_rule_is_about_one_in_twenty_when_only_chance_is_at_work() -> None:
    accuracies = np.random.default_rng(0).binomial(10_000, 0.9, size=(2, 20_000)) / 10_000
    result = {"accuracy": 0.9, "images": 10_000}
    beyond = np.abs(accuracies[0] - accuracies[1]) > measure.least_difference(result, result)
    assert beyond.mean() == pytest.approx(0.0455, abs=0.005)


def test_gradients_are_those_of_all_layers(recording: Recording) -> None:
    seen = measured.see_gradients(recording)
    layers = [layer for layer in recording.layers["gradients"] if "shortcut" not in layer]
    rows = {(row["layer"], row["epoch"]): row["gradient_norm"] for row in recording.stats if "gradient_norm" in row}
    assert seen.total.after == pytest.approx(sum(rows[layer, 5] ** 2 for layer in layers) ** 0.5)
    assert seen.ratio.before == pytest.approx(rows["stem.conv", 0] / rows["stage4.1.conv2", 0])


def test_confusions_and_classes_follow_from_the_matrix() -> None:
    result = {"confusion": [[8, 2, 0], [1, 9, 0], [0, 4, 6]], "per_class": {"a": 0.8, "b": 0.9, "c": 0.6}}
    assert measured.see_confusions(result, most=2) == [measured.Confusion(2, 1, 0.4), measured.Confusion(0, 1, 0.2)]
    assert measured.see_classes(result) == (1, 2)


def test_the_curves_say_where_validation_was_best() -> None:
    run = copy.deepcopy(Run.load(ROOT / "checkpoints" / "resnet18-original"))
    assert measured.see_curves(run).lowest_epoch == run.epochs_done
    run.history.epochs[2]["val_loss"] = 0.01
    assert measured.see_curves(run).lowest_epoch == 3


@pytest.mark.parametrize("see", [measured.see_kernels, measured.see_gradients, measured.see_maps])
def test_a_number_that_is_missing_is_told(
    recording: Recording, see: Callable[[Recording], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dict.fromkeys(("movement", "gradient_norm", "zeros"))
    monkeypatch.setattr(recording, "stats", [row | nothing for row in recording.stats])
    with pytest.raises(RecordingError, match="lacks"):
        see(recording)
