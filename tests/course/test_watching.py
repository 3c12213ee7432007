"""Watching a training: it gets longer epoch by epoch, ends as it is stored, and changes nothing of the training."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fmnist_lib import Explorer, train_or_load
from fmnist_lib.course import train_and_watch, watching

RUN = {"recipe": "smoke", "epochs": 2}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[int], bool]]:
    """The epochs of each explorer that was shown, and whether it took the place of the one before."""
    found: list[tuple[list[int], bool]] = []

    def show(explorer: Explorer, display_id: str, *, update: bool = False) -> None:
        assert display_id and explorer.html()
        found.append((explorer.panels[0].epochs, update))

    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    monkeypatch.setattr(Explorer, "show", show)
    monkeypatch.setattr(watching, "in_notebook", lambda: True)
    return found


def test_it_gets_an_epoch_longer_after_each(shown: list[tuple[list[int], bool]]) -> None:
    watched = train_and_watch("alexnet", **RUN, name="mine")
    assert shown == [([0], False), ([0, 1], True), ([0, 1, 2], True), ([0, 1, 2], True)]
    shown.clear()
    train_and_watch("alexnet", **RUN, name="mine")
    assert shown == [([0, 1, 2], False)]
    alone = train_or_load("alexnet", **RUN, name="alone")
    assert alone.weights_digest() == watched.weights_digest()


def test_in_a_cell_one_curve_one_sheet_and_one_player_are_left(tmp_path: Path) -> None:
    source = f"from fmnist_lib.course import train_and_watch\nrun = train_and_watch('alexnet', **{RUN}, name='mine')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"%matplotlib inline\n{source}")])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=os.environ | {"FMNIST_HOME": str(tmp_path)})
    outputs = [output for output in notebook.cells[0].outputs if output.output_type != "stream"]
    curve, sheet, player = sorted(outputs, key=lambda output: ("text/html" in output.data, str(output.data)))
    assert "image/png" in curve.data and "image/png" in sheet.data
    assert "3 epochs" in player.data["text/plain"] and "text/html" in player.data
