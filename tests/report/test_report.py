"""The report: every number in it is found in a run's file."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from fmnist_lib import data, models
from fmnist_lib.report import details, filled, make, running
from fmnist_lib.runs import machine, measure
from fmnist_lib.runs.checkpoint import RECORDED_EPOCHS, Run
from fmnist_lib.runs.places import Site, run_name
from fmnist_lib.training.recipes import find_recipe
from fmnist_lib.visualisers.recording import Recording

ROOT = Path(__file__).parents[2]
RUNS = {name: ROOT / "checkpoints" / run_name(name, "original") for name in filled.COMPARED}
OTHER_KIND = 3  # images of a split that another kind of processor, which rounds otherwise, may take for another class
TUNED = [ROOT / "checkpoints" / run_name(name, recipe) for recipe in filled.TUNED for name in filled.NETWORKS]


@pytest.mark.parametrize(("language", "name"), [("en", "report.md"), ("zh", "report.zh.md")])
def test_the_stored_report_is_what_the_runs_give(language: str, name: str) -> None:
    assert (ROOT / name).read_text() == filled.render_reports(ROOT)[language]


@pytest.mark.parametrize("name", filled.COMPARED)
def test_the_accuracies_are_in_both_reports(name: str) -> None:
    content = json.loads((RUNS[name] / "run.json").read_text())
    for file in ("report.md", "report.zh.md"):
        text = (ROOT / file).read_text()
        assert f"{100 * content['evaluation']['test']['accuracy']:.2f} %" in text
        assert f"{100 * content['evaluation']['val']['accuracy']:.2f} %" in text


def test_no_number_is_typed_into_the_templates() -> None:
    """Figures with a decimal point come from a file; years, sizes and settings of the original are words or wholes."""
    for template in (ROOT / "fmnist_lib" / "report" / "templates").glob("report.*.md"):
        text = re.sub(r"\{[{%].*?[%}]\}", "", template.read_text(), flags=re.DOTALL)
        text = re.sub(r"https?://\S+|arXiv:\S+|`[^`]*`", "", text)
        assert set(re.findall(r"\d+\.\d+", text)) <= {"90.01", "0.2860", "0.3530"}, template


def test_every_figure_that_the_report_shows_is_there() -> None:
    for file in ("report.md", "report.zh.md"):
        pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / file).read_text())
        assert pictures
        assert [picture for picture in pictures if not (ROOT / picture).is_file()] == []


def images_that_moved(one: list[list[int]], other: list[list[int]]) -> int:
    """How many images two confusion matrices of one split must have put elsewhere, at least."""
    return int((torch.tensor(one) - torch.tensor(other)).abs().sum()) // 2


def assert_reproduced(run: Run, split: str) -> None:
    """A stored run's figures come out again: exactly on its kind of processor, within `OTHER_KIND` on another."""
    here, stored = machine.describe(torch.device("cpu")), run.evaluation[split]
    is_same_kind = all(run.environment.get(key) == here[key] for key in ("processor", "instructions", "torch"))
    found = measure.evaluate_runs([run], split, site=Site("cpu"))
    assert found["images"] == stored["images"]
    allowed = 0 if is_same_kind else OTHER_KIND
    assert images_that_moved(found["confusion"], stored["confusion"]) <= allowed
    assert found["loss"] == pytest.approx(stored["loss"], rel=1e-6 if is_same_kind else 1e-4)
    if run.recipe.flip:
        assert abs(found["flip"]["accuracy"] - stored["flip"]["accuracy"]) * found["images"] <= allowed + 1e-6


@pytest.mark.parametrize("path", [*(RUNS[name] for name in filled.NETWORKS), *TUNED], ids=lambda path: path.name)
def test_evaluate_reproduces_the_committed_validation_figures(path: Path) -> None:
    run = Run.load(path)
    if run.recipe.name == "best":  # dear: benchmarks/results.py measures these on the test set, with mirror images
        run.recipe = replace(run.recipe, flip=False)
    assert_reproduced(run, "val")


@pytest.mark.parametrize("name", filled.NETWORKS)
def test_evaluate_reproduces_the_reports_test_figures(name: str) -> None:
    assert_reproduced(Run.load(RUNS[name]), "test")


@pytest.mark.parametrize("path", [*RUNS.values(), *TUNED], ids=lambda path: path.name)
@pytest.mark.parametrize(("split", "count"), [("val", 5_000), ("test", 10_000)])
def test_committed_figures_follow_from_each_other(path: Path, split: str, count: int) -> None:
    run = Run.load(path)
    stored, confusion = run.evaluation[split], torch.tensor(run.evaluation[split]["confusion"])
    assert confusion.sum(1).tolist() == [count // 10] * 10
    assert stored["images"] == count
    assert stored["accuracy"] == confusion.trace().item() / count
    assert stored["per_class"] == dict(zip(data.CLASSES, (confusion.diagonal() / (count // 10)).tolist(), strict=True))
    if split == "val":  # with weights in half precision, of which the figures are, a few images may move
        moved = round(count * abs(stored["accuracy"] - run.history.epochs[-1]["val_accuracy"]))
        assert moved <= (OTHER_KIND if run.recipe.half else 0)
    if run.recipe.flip:
        assert abs(stored["flip"]["accuracy"] - stored["accuracy"]) < 0.01
        assert stored["flip"]["accuracy"] * count == pytest.approx(round(stored["flip"]["accuracy"] * count))


def test_resnet18_reaches_the_original() -> None:
    run = Run.load(RUNS["resnet18"])
    assert run.evaluation["test"]["accuracy"] >= 0.90
    assert run.evaluation["test"]["images"] == 10_000


@pytest.mark.parametrize("path", [*RUNS.values(), *TUNED], ids=lambda path: path.name)
def test_committed_runs_are_whole(path: Path) -> None:
    run = Run.load(path)
    assert run.is_finished
    assert run.recipe == find_recipe(run.recipe.name, run.model_name)
    assert models.count_parameters(run.model()) < 3_000_000
    assert {"system", "machine", "processor", "device", "threads", "python", "torch"} <= set(run.environment)
    assert 2 <= len(Recording.load(path / "recording.npz").epochs) <= RECORDED_EPOCHS


def test_no_notebooks_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    with pytest.raises(details.ReportError, match="no notebooks"):
        make.make_report(tmp_path / "build")


def test_a_retraining_goes_on_with_what_is_unfinished_and_clears_what_is_finished(
    tmp_path: Path, smoke_run: Run
) -> None:
    folders = [tmp_path / "checkpoints" / run_name(name, "original") for name in filled.COMPARED]
    for folder in folders[1:]:
        folder.mkdir(parents=True)
        shutil.copy(smoke_run.path / "run.json", folder)
    assert make.prepare_retraining(tmp_path) == tmp_path
    assert all(folder.exists() for folder in folders[1:])

    folders[0].mkdir()
    shutil.copy(smoke_run.path / "run.json", folders[0])
    make.prepare_retraining(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "01_bad.ipynb")
    with pytest.raises(details.ReportError, match=r"01_bad\.ipynb stopped: ZeroDivisionError"):
        running.execute(tmp_path / "01_bad.ipynb", tmp_path / "work", home=tmp_path)
