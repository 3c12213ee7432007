"""A whole run in one call, from the terminal's side and from a notebook's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import fmnist_lib
from fmnist_lib.data import DataError
from fmnist_lib.runs import launch, progress
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training.recipes import BadRecipe, find_recipe

SMALL = replace(find_recipe("smoke"), epochs=2, overrides={"widths": [2, 2, 2, 2, 2], "hidden": 8})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    return tmp_path


def test_fresh_with_a_wrong_data_folder_leaves_the_old_run(home: Path) -> None:
    run = launch.train_run("alexnet", SMALL, site=Site("cpu"))
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert run.path / "recording.npz" in files
    full = replace(SMALL, dataset="full")
    with pytest.raises(DataError, match="no such folder"):
        launch.train_run("alexnet", full, out=run.path, site=Site("cpu", home / "nowhere"), fresh=True)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == files


def test_fewer_recorded_epochs_leave_no_pictures_of_the_others(home: Path) -> None:
    run = launch.train_run("alexnet", SMALL, site=Site("cpu"))
    folder = home / "figures" / run.path.name
    (folder / "notes.png").touch()
    launch.record.record_run(run, most=2, site=Site("cpu"))
    names = {f"{what}_epoch_{epoch}.png" for what in ("kernels", "gradients", "feature_maps") for epoch in (0, 2)}
    assert {path.name for path in folder.iterdir()} == names | {"curves.png", "notes.png"}


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of something else: drawing takes longer than a small training."""
    monkeypatch.setattr(launch.record, "draw_run", lambda *_: None)


@pytest.mark.usefixtures("no_pictures")
def test_a_notebook_trains_says_where_it_looked_and_then_loads(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fmnist_lib.train_or_load("alexnet", SMALL, device="cpu")
    said = capsys.readouterr().out
    assert f"No run in {home / 'checkpoints' / 'alexnet-smoke'}, so it is trained now" in said
    assert "FMNIST_HOME" in said and "states of 3 epochs take about" in said
    again = fmnist_lib.train_or_load("alexnet", SMALL, device="cpu")
    assert again.history == run.history
    assert "No run" not in capsys.readouterr().out


def test_a_recipe_may_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []
    monkeypatch.setattr(
        launch, "train_run", lambda model, recipe, **_: trained.append(recipe) or Run(home, model, SMALL)
    )
    monkeypatch.setattr(progress.NotebookCurve, "draw", lambda *_, **__: None)
    with pytest.raises(IndexError):  # of the history that this run has not
        launch.train_or_load("alexnet", "fast")
    assert trained == [find_recipe("fast", "alexnet")]
    with pytest.raises(BadRecipe, match="'quick'"):
        launch.train_or_load("alexnet", "quick")


@pytest.mark.usefixtures("no_pictures")
def test_an_interrupted_cell_ends_in_one_line_and_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In IPython's own shell, which asks an exception how it wants to be shown."""
    shell = InteractiveShell.instance()
    shell.user_ns["recipe"] = SMALL
    cell = "from fmnist_lib.runs import launch\nrun = launch.train_or_load('alexnet', recipe, device='cpu')"
    curve = progress.NotebookCurve.epoch

    def stop(self: progress.NotebookCurve, training) -> None:
        curve(self, training)
        if training.epoch == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.NotebookCurve, "epoch", stop)
        assert isinstance(shell.run_cell(cell).error_in_exec, launch.Stopped)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("Stopped: 1 finished epochs are kept in ")
    assert lines[-1].endswith("Run this cell again to go on from there.")
    assert not any("Traceback" in line for line in lines)
    assert shell.run_cell(cell).success
    assert shell.user_ns["run"].is_finished
    InteractiveShell.clear_instance()


def test_any_error_of_ours_is_one_line_in_a_notebook(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell.instance()
    shell.run_cell("import fmnist_lib\nfmnist_lib.build('resnet99')")
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("ModelError: unknown model 'resnet99': choose one of resnet18")
    assert "Traceback" not in out
    InteractiveShell.clear_instance()


def test_the_command_line_needs_nothing_that_only_notebooks_need(home: Path) -> None:
    lab = (
        "IPython",
        "anywidget",
        "ipywidgets",
        "jinja2",
        "nbclient",
        "nbconvert",
        "nbformat",
        "pandas.io.formats.style",
    )
    code = f"import sys; sys.modules.update(dict.fromkeys({lab})); from fmnist_lib.cli import main; sys.exit(main())"
    for arguments, status in ((["data", "--help"], 0), (["report"], 1)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert "is not installed: pip install" in done.stderr
