"""Watching a training: it gets longer epoch by epoch, ends as it is stored, and changes nothing of the training."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fmnist_lib import Explorer, train_or_load
from fmnist_lib.course import train_and_watch, watching
from fmnist_lib.runs.launch import Stopped
from fmnist_lib.training.loop import Training

RUN = {"recipe": "smoke", "epochs": 2, "batch_size": 10, "widths": [4] * 5, "hidden": 8}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[float], bool]]:
    """The epochs of each explorer that was shown, and whether it took the place of the one before."""
    found: list[tuple[list[float], bool]] = []

    def show(explorer: Explorer, display_id: str, *, update: bool = False) -> None:
        assert display_id and explorer.html()
        found.append((explorer.panels[0].epochs, update))

    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    monkeypatch.setattr(Explorer, "show", show)
    monkeypatch.setattr(watching, "in_notebook", lambda: True)
    return found


def test_it_gets_longer_within_the_first_epoch_and_after_each(shown: list[tuple[list[float], bool]]) -> None:
    watched = train_and_watch("alexnet", **RUN, name="mine")
    places = [0, 0.05, 0.2, 0.5, 1, 2]
    assert shown == [(places[:count], count > 1) for count in range(1, 7)]
    shown.clear()
    train_and_watch("alexnet", **RUN, name="mine")
    assert shown == [([0, 1, 2], False)]
    alone = train_or_load("alexnet", **RUN, name="alone")
    assert alone.weights_digest() == watched.weights_digest()


def test_of_a_training_that_goes_on_the_whole_recording_is_shown(shown: list[tuple[list[float], bool]]) -> None:
    with pytest.raises(Stopped):
        train_or_load("alexnet", **RUN, name="mine", on_epoch=[interrupt_after_the_first])
    train_and_watch("alexnet", **RUN, name="mine")
    assert shown == [([2], False), ([0, 1, 2], True)]


def interrupt_after_the_first(training: Training) -> None:
    """Stop a training as Jupyter's button does."""
    if training.epoch == 1:
        raise KeyboardInterrupt


def test_in_a_cell_one_curve_one_sheet_and_one_player_are_left(tmp_path: Path) -> None:
    source = f"from fmnist_lib.course import train_and_watch\nrun = train_and_watch('alexnet', **{RUN}, name='mine')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"%matplotlib inline\n{source}")])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=os.environ | {"FMNIST_HOME": str(tmp_path)})
    outputs = [output for output in notebook.cells[0].outputs if output.output_type != "stream"]
    curve, sheet, player = sorted(outputs, key=lambda output: ("text/html" in output.data, str(output.data)))
    assert "image/png" in curve.data and "image/png" in sheet.data
    assert "6 snapshots" in player.data["text/plain"] and "text/html" in player.data
