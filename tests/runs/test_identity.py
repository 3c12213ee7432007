"""Whose a file is: others' are refused or passed over; run.json keeps its word; one writer at a time."""

import json
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_lib import data
from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.runs import launch, lock, record
from fmnist_lib.runs.checkpoint import Run, fit_or_load, state_path
from fmnist_lib.runs.places import Site, run_name
from fmnist_lib.runs.storage import RunError, digest_json
from fmnist_lib.training.recipes import find_recipe

TINY = replace(find_recipe("smoke"), epochs=2, overrides={"widths": [2, 2, 2, 2, 2], "hidden": 8})
ROOT = Path(__file__).parents[2]


def train(path: Path, *, seed: int = 0, **more) -> Run:
    def batches(run: Run) -> data.Batches:
        return data.batches(dataset="tiny", batch_size=50, seed=run.seed)

    return fit_or_load(Run(path, "alexnet", TINY, seed), batches, site=Site("cpu"), **more)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != lock.LOCK}


def test_a_state_of_another_seed_is_passed_over_and_named(tmp_path: Path) -> None:
    mine, other = train(tmp_path / "mine"), train(tmp_path / "other", seed=1)
    before = contents(mine.path)["weights.safetensors"]
    shutil.copy(state_path(other.path, 2), state_path(mine.path, 2))
    (mine.path / "weights.safetensors").unlink()
    with pytest.warns(LabWarning, match=r"epoch_002\.state belongs to another training \(seed: 1 there, 0 expected\)"):
        train(mine.path)
    assert contents(mine.path)["weights.safetensors"] == before


def test_a_state_of_another_epoch_of_the_same_run_is_told(tmp_path: Path) -> None:
    run = train(tmp_path)
    shutil.copy(state_path(run.path, 1), state_path(run.path, 2))
    with pytest.raises(RunError, match="epoch: 1 there, 2 expected"):
        run.state(2)


def test_weights_of_another_run_are_refused_and_train_brings_the_right_ones_back(tmp_path: Path) -> None:
    mine, other = train(tmp_path / "mine"), train(tmp_path / "other", seed=1)
    before = contents(mine.path)
    shutil.copy(other.path / "weights.safetensors", mine.path / "weights.safetensors")
    with pytest.raises(RunError, match="seed: 1 there, 0 expected"):
        mine.model()
    with pytest.warns(LabWarning, match=r"weights\.safetensors was missing, damaged or another training's"):
        train(mine.path)
    assert contents(mine.path) == before


def test_weights_that_say_nothing_are_held_to_run_json(tmp_path: Path) -> None:
    from fmnist_lib.runs import storage

    run = train(tmp_path)
    weights = storage.load_weights(tmp_path / "weights.safetensors")
    storage.save_weights(tmp_path / "weights.safetensors", {name: -value for name, value in weights.items()})
    with pytest.raises(RunError, match=r"other weights than those that run\.json tells of"):
        run.model()


def test_every_value_of_run_json_is_under_its_checksum(tmp_path: Path) -> None:
    content = json.loads((train(tmp_path).path / "run.json").read_text())
    assert Run.load(tmp_path).files["weights.safetensors"]
    for name in content:
        (tmp_path / "run.json").write_text(json.dumps({**content, name: "a" * 64}))
        with pytest.raises(RunError):
            Run.load(tmp_path)
        (tmp_path / "run.json").write_text(json.dumps({key: content[key] for key in content if key != name}))
        with pytest.raises(RunError):
            Run.load(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert Run.load(tmp_path).is_finished  # neither order nor white space is content


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "checkpoints").glob("*-original"))])
def test_the_runs_of_the_repository_load(name: str) -> None:
    run = Run.load(ROOT / "checkpoints" / name)
    assert run.model() and run.recording()
    sealed = json.loads((run.path / "run.json").read_text())["format"] == 2
    assert sealed or "cannot be verified" in run.unverified


def test_a_recording_of_another_run_is_not_drawn_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "draw_run", lambda *_: None)
    runs = [launch.train_run("alexnet", TINY, seed=seed, out=tmp_path / str(seed), site=Site("cpu")) for seed in (0, 1)]
    assert runs[0].recording().epochs == [0, 1, 2]
    shutil.copy(runs[1].path / "recording.npz", runs[0].path / "recording.npz")
    with pytest.raises(RunError, match="seed: 1 there, 0 expected"):
        Run.load(runs[0].path).recording()
    assert launch.find_recording(Run.load(runs[0].path)) is None
    run = launch.train_run("alexnet", TINY, out=tmp_path / "0", site=Site("cpu"))
    assert run.recording().about["run"] == run.identity(2)


def test_fresh_over_a_state_that_cannot_be_deleted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path)

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path / "epoch_001.state"))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(RunError, match=r"epoch_001\.state cannot be deleted .*must not mix"):
        train(tmp_path, seed=1, fresh=True)
    assert Run.load(tmp_path).seed == 0


def test_what_a_sync_tool_leaves_in_epochs_is_passed_over(tmp_path: Path) -> None:
    run = train(tmp_path)
    (tmp_path / "epochs" / "epoch_003 (1).state").touch()
    (tmp_path / "epochs" / "epoch_004.state").mkdir()
    (tmp_path / "epochs" / "epoch_005.state").symlink_to(tmp_path / "nowhere")
    assert run.stored_epochs() == [0, 1, 2]
    assert train(tmp_path).is_finished


def test_a_changed_machine_is_named_when_a_training_goes_on(tmp_path: Path) -> None:
    run = train(tmp_path)
    run.environment |= {"threads": 99, "torch": "1.0"}
    run.history.epochs.pop()
    run.save()
    state_path(tmp_path, 2).unlink()
    with pytest.warns(LabWarning, match=r"threads 99 then, \d+ now; torch '1\.0' then, .* now\): its bits will differ"):
        train(tmp_path)


HOLDER = """
import sys, time
from pathlib import Path
from fmnist_lib.runs.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_a_crash_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="another process is working on the run in"):
        train(tmp_path / "run")
    holder.kill()
    holder.wait()
    assert train(tmp_path / "run").is_finished


def test_a_training_that_cannot_start_leaves_no_folder_and_no_lock(tmp_path: Path) -> None:
    with pytest.raises(LabError):
        fit_or_load(Run(tmp_path / "a" / "b", "resnet99", TINY), lambda _: None, site=Site("cpu"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["x/../../../Y", "..\\Y", "", "a" * 101, "a\0b", "C:x", "a\nb"])
def test_a_recipe_s_name_leads_out_of_no_folder(name: str) -> None:
    with pytest.raises(RunError, match="cannot be a recipe's name"):
        run_name("alexnet", name)


def test_figures_that_a_kill_cut_short_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = launch.train_run("alexnet", replace(TINY, epochs=1), out=tmp_path, site=Site("cpu"))
    figures = sorted((tmp_path / "figures").iterdir())
    assert len(figures) == 7 and launch.is_complete(run)
    for spoil in (figures[3].unlink, lambda: forget_the_figures(run)):
        spoil()
        assert not launch.is_complete(Run.load(tmp_path))
        monkeypatch.setattr(record, "record_run", lambda *_, **__: pytest.fail("the recording is whole"))
        again = launch.train_run("alexnet", replace(TINY, epochs=1), out=tmp_path, site=Site("cpu"))
        assert launch.is_complete(again)
        assert sorted((tmp_path / "figures").iterdir()) == figures


def forget_the_figures(run: Run) -> None:
    """As after a kill among figures that replace those of another recording."""
    run.files = run.files | {"figures": "0" * 64}
    run.save()


def test_parts_of_the_dead_are_swept_and_those_of_the_living_kept(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fmnist_lib.files import write_atomically\n"
        "def fill(file):\n    file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
        "write_atomically(Path(sys.argv[1]), fill)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
        for name in ("dead", "alive")
    ]
    assert all(writer.stdout and writer.stdout.readline() for writer in writers)
    writers[0].kill()
    writers[0].wait()
    time.sleep(1.1)
    from fmnist_lib import files

    files.swept.discard(tmp_path)
    files.write_atomically(tmp_path / "new", lambda file: file.write(b"whole"))
    assert [file.name.split(".")[1] for file in sorted(tmp_path.glob(".*"))] == ["alive"]
    writers[1].kill()
    writers[1].wait()


@pytest.mark.parametrize(("call", "code"), [("chmod", 1), ("chmod", 95)])
def test_a_share_that_refuses_chmod_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    from fmnist_lib import files

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, call, refuse)
    monkeypatch.setattr(files, "sync_folder", refuse)
    with pytest.warns(LabWarning) as noted:
        files.write_atomically(tmp_path / "file", lambda file: file.write(b"all"))
    assert len(noted) == 2 and (tmp_path / "file").read_bytes() == b"all"


def test_a_file_that_something_holds_for_a_moment_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmnist_lib import files

    real, until = Path.replace, time.monotonic() + 0.5

    def held(self: Path, target: Path) -> Path:
        if time.monotonic() < until:
            raise PermissionError(13, "held")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", held)
    files.write_atomically(tmp_path / "file", lambda file: file.write(b"all"))
    assert (tmp_path / "file").read_bytes() == b"all"
    until = time.monotonic() + 60
    monkeypatch.setattr(files, "HELD_SECONDS", 0.2)
    with pytest.raises(PermissionError), warnings.catch_warnings():
        files.write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_checksum_of_run_json_is_of_its_values() -> None:
    assert digest_json({"a": 1, "b": [0.1]}) == digest_json({"b": [0.1], "sha256": "x", "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 1.5})
