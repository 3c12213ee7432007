"""A whole run in one call, from the terminal's side and from a notebook's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import fmnist_lib
from fmnist_lib.data import DataError
from fmnist_lib.runs import launch, machine, progress
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training import loop
from fmnist_lib.training.loop import Training
from fmnist_lib.training.recipes import BadRecipe, find_recipe
from fmnist_lib.visualisers.recording import Recording

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
    assert "checkpoints/alexnet-smoke is not there yet, so it is trained now." in said
    assert f"There are no runs at all in {home / 'checkpoints'}" in said
    assert "FMNIST_HOME" in said and "states of 3 epochs take about" in said
    again = fmnist_lib.train_or_load("alexnet", SMALL, device="cpu")
    assert again.history == run.history
    assert capsys.readouterr().out == ""


def test_a_recipe_may_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[object] = []
    monkeypatch.setattr(
        launch, "train_run", lambda model, recipe, **_: trained.append(recipe) or Run(home, model, SMALL)
    )
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


@pytest.mark.usefixtures("no_pictures")
def test_a_recording_of_a_training_that_went_on_is_made_anew(home: Path) -> None:
    def stop(training: Training) -> None:
        if training.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.train_run("alexnet", SMALL, out=home / "run", site=Site("cpu"), on_epoch=[stop])
    assert launch.record.record_run(Run.load(home / "run"), site=Site("cpu")).epochs == [0, 1]
    launch.train_run("alexnet", SMALL, out=home / "run", site=Site("cpu"))
    assert Recording.load(home / "run" / "recording.npz").epochs == [0, 1, 2]


def test_a_device_that_computes_wrongly_does_not_measure_or_record_either(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Site] = []
    monkeypatch.setattr(Site, "place", lambda _: torch.device("cpu"))
    monkeypatch.setattr(loop, "trusted_device", lambda *_, **__: torch.device("cpu"))
    monkeypatch.setattr(launch, "measure_run", lambda run, splits, site: asked.append(site))
    monkeypatch.setattr(launch.record, "record_run", lambda run, site: asked.append(site))
    launch.train_run("alexnet", SMALL, out=home / "run")
    assert [site.device for site in asked] == ["cpu", "cpu"]


def test_outside_a_notebook_the_terminal_shows_the_training(home: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('IPython', 'anywidget', 'ipywidgets')))\n"
        "from dataclasses import replace\nfrom fmnist_lib import train_or_load\n"
        "from fmnist_lib.training.recipes import find_recipe\n"
        "small = {'widths': [2] * 5, 'hidden': 8}\n"
        "run = train_or_load('alexnet', replace(find_recipe('smoke'), epochs=1, overrides=small))\n"
        "print(run.epochs_done)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1"
    assert "epoch 1 of 1" in done.stderr


def test_a_commit_is_dirty_where_any_room_differs() -> None:
    assert machine.ask_git("rev-parse", "--show-prefix") == "fmnist_lib/"
