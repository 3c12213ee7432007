"""Sweeps: many runs from a file, once each."""

import csv
import json
import sys
from pathlib import Path

import pytest

from fmnist_lib.cli import main
from fmnist_lib.runs import measure, sweep
from fmnist_lib.runs.places import Site
from fmnist_lib.training import loop
from fmnist_lib.training.recipes import BadRecipe, Recipe

SMALL = {"epochs": 1, "overrides": {"widths": [2, 2, 2, 2, 2], "hidden": 8}}


def write(path: Path, *rows: dict, **more: object) -> Path:
    path.write_text(json.dumps({"runs": list(rows), **more}))
    return path


def row(**changes: object) -> dict:
    return {"model": "alexnet", "recipe": "smoke", "seeds": [0, 1], "changes": SMALL | changes}


def test_a_row_per_run_and_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write(tmp_path / "sweep.json", row())
    assert main(["sweep", str(file), "--device", "cpu", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["runs"]
    assert [line["seed"] for line in first] == ["0", "1"]
    assert all(0 <= float(line["val_accuracy"]) <= 1 and line["test_accuracy"] == "" for line in first)
    write(file, row(), row(lr=0.002))
    told: list[str] = []
    rows = sweep.run_sweep(file, site=Site("cpu"), tell=told.append)
    assert rows[:2] == first
    assert len(rows) == 4
    assert sum("alexnet" in line for line in told) == 2
    with (tmp_path / "sweep.csv").open(newline="") as lines:
        assert list(csv.DictReader(lines)) == rows
    assert json.loads(rows[2]["settings"])["lr"] == 0.002


def test_the_test_set_is_opened_only_when_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    evaluate = measure.evaluate_runs
    monkeypatch.setattr(
        measure, "evaluate_runs", lambda runs, split, **more: asked.append(split) or evaluate(runs, split, **more)
    )
    sweep.run_sweep(write(tmp_path / "closed.json", row()), site=Site("cpu"), tell=lambda _: None)
    assert set(asked) == {"val"}
    rows = sweep.run_sweep(write(tmp_path / "open.json", row(), test=True), site=Site("cpu"), tell=lambda _: None)
    assert set(asked) == {"val", "test"}
    assert all(float(line["test_accuracy"]) > 0 for line in rows)


def test_a_test_set_opened_later_is_measured_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sweep.run_sweep(write(tmp_path / "sweep.json", row()), site=Site("cpu"), tell=str)
    monkeypatch.setattr(loop, "fit", None)
    after = sweep.run_sweep(write(tmp_path / "sweep.json", row(), test=True), site=Site("cpu"), tell=str)
    assert [line | {"test_accuracy": ""} for line in after] == before
    assert all(float(line["test_accuracy"]) > 0 for line in after)
    assert sweep.run_sweep(write(tmp_path / "sweep.json", row(), test=True), site=Site("cpu"), tell=str) == after


def test_what_is_listed_twice_is_run_once(tmp_path: Path) -> None:
    told: list[str] = []
    listed = {**row(), "seeds": [0, 0]}, {**row(), "seeds": [0]}
    rows = sweep.run_sweep(write(tmp_path / "sweep.json", *listed), site=Site("cpu"), tell=told.append)
    assert len(rows) == 1
    assert told[0] == "1 runs to do, 0 done before"


def test_results_of_an_older_version_lack_a_column_and_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "sweep.json", {**row(), "seeds": [0]})
    (old,) = sweep.run_sweep(file, site=Site("cpu"), tell=str)
    lacking = {name: value for name, value in old.items() if name not in ("val_flip", "git_commit")}
    sweep.write_rows(tmp_path / "sweep.csv", [lacking])
    rows = sweep.run_sweep(write(file, row()), site=Site("cpu"), tell=str)
    assert [line["seed"] for line in rows] == ["0", "1"]
    assert rows[0] == lacking
    assert [line["git_commit"] for line in sweep.read_rows(tmp_path / "sweep.csv")] == ["", rows[1]["git_commit"]]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "key,model\nx,y,z,more\n"])
def test_results_that_are_none_are_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sweep, "fit_run", None)
    (tmp_path / "sweep.csv").write_text(text)
    with pytest.raises(sweep.SweepError, match="is no table of a sweep's results"):
        sweep.run_sweep(write(tmp_path / "sweep.json", row()), site=Site("cpu"), tell=str)


@pytest.mark.parametrize("seeds", [[-1], ["1"], [1.5]])
def test_seeds_that_are_none(tmp_path: Path, seeds: list) -> None:
    with pytest.raises(sweep.SweepError, match="a seed is a whole number from 0"):
        sweep.read_entries(write(tmp_path / "sweep.json", {**row(), "seeds": seeds}))


def test_a_killed_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "sweep.json", row(epochs=3))
    fit = sweep.fit_run

    def stop(training: loop.Training) -> None:
        if training.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        sweep, "fit_run", lambda wanted, **more: fit(wanted, on_epoch=[stop] if wanted.seed == 1 else [], **more)
    )
    with pytest.raises(KeyboardInterrupt):
        sweep.run_sweep(file, site=Site("cpu"), tell=lambda _: None)
    assert len(sweep.read_rows(tmp_path / "sweep.csv")) == 1
    epochs: list[int] = []
    monkeypatch.setattr(
        sweep, "fit_run", lambda *a, **k: fit(*a, **k, on_epoch=[lambda training: epochs.append(training.epoch)])
    )
    assert len(sweep.run_sweep(file, site=Site("cpu"), tell=lambda _: None)) == 2
    assert epochs == [3]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": [{}]}', '{"runs": 3}', "nonsense"])
def test_a_file_that_is_no_sweep(tmp_path: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(text)
    assert main(["sweep", str(file)]) == 1
    assert "is no sweep" in capsys.readouterr().err


def test_what_is_misspelt_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="lerning_rate"):
        sweep.read_entries(write(tmp_path / "sweep.json", row(lerning_rate=1)))


def test_a_recipe_can_be_written_out(tmp_path: Path) -> None:
    written = {"name": "mine", "dataset": "tiny", "batch_size": 100, **SMALL}
    (entry,), _ = sweep.read_entries(write(tmp_path / "sweep.json", {"model": "alexnet", "recipe": written}))
    assert entry.recipe == Recipe(**written)
    with pytest.raises(BadRecipe, match="batches"):
        sweep.read_entries(write(tmp_path / "bad.json", {"model": "alexnet", "recipe": {"name": "x", "batches": 1}}))


def test_runs_on_ray_end_as_they_do_here(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here, there = (
        sweep.run_sweep(write(tmp_path / f"{name}.json", row()), site=Site("cpu"), on_ray=name == "there", tell=str)
        for name in ("here", "there")
    )
    same = ("key", "model", "recipe", "settings", "seed", "epochs", "parameters", "val_accuracy")
    assert [[line[name] for name in same] for line in here] == [
        [line[name] for name in same] for line in sorted(there, key=lambda line: line["seed"])
    ]


def test_without_ray_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", str(write(tmp_path / "sweep.json", row())), "--ray"]) == 1
    assert "pip install ray" in capsys.readouterr().err


def test_results_in_another_encoding_are_told(tmp_path: Path) -> None:
    file = write(tmp_path / "sweep.json", row())
    file.with_suffix(".csv").write_bytes("key,model\nä".encode("utf-16"))
    with pytest.raises(sweep.SweepError, match=r"cannot be read .* move it away"):
        sweep.run_sweep(file)


@pytest.mark.parametrize("told", ["false", 1, None])
def test_the_test_set_is_opened_by_true_alone(tmp_path: Path, told: object) -> None:
    with pytest.raises(sweep.SweepError, match="true or false"):
        sweep.run_sweep(write(tmp_path / "sweep.json", row(), test=told))


def test_a_sweep_without_a_suffix_is_told_before_the_training(tmp_path: Path) -> None:
    file = write(tmp_path / "sweep.json", row()).rename(tmp_path / "sweep")
    with pytest.raises(sweep.SweepError, match="is a file"):
        sweep.run_sweep(file)
