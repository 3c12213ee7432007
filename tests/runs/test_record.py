"""What is kept of a run's looks."""

from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_lib import models
from fmnist_lib.runs import launch, record
from fmnist_lib.runs.places import Site
from fmnist_lib.training.recipes import find_recipe
from fmnist_lib.visualisers.recording import Recording


@pytest.mark.parametrize(
    ("stored", "count", "kept"),
    [
        ([3], 12, [3]),
        ([0, 1, 2], 12, [0, 1, 2]),
        (list(range(13)), 12, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]),
        (list(range(101)), 5, [0, 25, 50, 75, 100]),
        ([0, 2, 4, 6, 8, 9, 10], 6, [0, 2, 4, 6, 8, 10]),  # the newest do not crowd the end
        ([4, 9, 10], 2, [4, 10]),
    ],
)
def test_epochs_are_spread_from_the_first_to_the_last(stored: list[int], count: int, kept: list[int]) -> None:
    assert record.choose_epochs(stored, count) == kept


def test_a_long_training_is_recorded_in_few_epochs_and_few_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "draw_run", lambda *_: None)  # of shorter recordings the pictures are tested
    small = {"widths": [2, 2, 2, 2, 2], "hidden": 8}
    recipe = replace(find_recipe("smoke"), epochs=15, batch_size=200, overrides=small)
    run = launch.train_run("alexnet", recipe, out=tmp_path, site=Site("cpu"))
    recording = Recording.load(tmp_path / "recording.npz")
    assert run.stored_epochs() == [0, 1, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15]  # the recording's, and the newest three
    assert recording.epochs == [0, 1, 3, 4, 5, 7, 8, 10, 11, 12, 14, 15]
    assert len(recording.epochs) == record.RECORDED_EPOCHS
    assert (recording.epochs[0], recording.epochs[-1]) == (0, 15)
    ends = models.stage_ends(run.model())
    assert list(recording.layers["maps"]) == ends
    assert list(recording.layers["map_gradients"]) == ends[-2:]
    assert record.record_run(run, most=4, site=Site("cpu")).epochs == [0, 5, 10, 15]
