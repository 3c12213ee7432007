"""What is kept of a run's looks."""

from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_lib import lab, models, snapshots
from fmnist_lib.recipes import find_recipe
from fmnist_lib.recording import Recording


@pytest.mark.parametrize(
    ("stored", "count", "kept"),
    [
        ([3], 12, [3]),
        ([0, 1, 2], 12, [0, 1, 2]),
        (list(range(13)), 12, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]),
        (list(range(101)), 5, [0, 25, 50, 75, 100]),
    ],
)
def test_epochs_are_spread_from_the_first_to_the_last(stored: list[int], count: int, kept: list[int]) -> None:
    assert snapshots.spread_out(stored, count) == kept


def test_a_long_training_is_recorded_in_few_epochs_and_few_layers(tmp_path: Path) -> None:
    small = {"widths": [2, 2, 2, 2, 2], "hidden": 8}
    recipe = replace(find_recipe("smoke"), epochs=15, batch_size=200, overrides=small)
    run = lab.train_run("alexnet", recipe, out=tmp_path, device="cpu")
    recording = Recording.load(tmp_path / "recording.npz")
    assert len(run.stored_epochs()) == 16
    assert len(recording.epochs) == snapshots.RECORDED_EPOCHS
    assert (recording.epochs[0], recording.epochs[-1]) == (0, 15)
    ends = models.stage_ends(run.model())
    assert list(recording.layers["maps"]) == ends
    assert list(recording.layers["map_gradients"]) == ends[-2:]
    assert snapshots.record_run(run, most=4, device="cpu").epochs == [0, 5, 10, 15]
