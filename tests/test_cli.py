"""The command line in fresh processes: what it prints, what it returns, and every way to use it wrongly."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fmnist_lib import cli as command_line
from fmnist_lib import data, models
from fmnist_lib.errors import LabWarning
from fmnist_lib.runs import storage
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.measure import predict
from fmnist_lib.runs.places import run_folder
from fmnist_lib.training import loop


def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fmnist_lib", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    """Run a command that must fail, in this process; returns its one message."""
    if code == 2:
        with pytest.raises(SystemExit) as stopped:
            command_line.main([str(argument) for argument in arguments])
        assert stopped.value.code == 2
    else:
        assert command_line.main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """The JSON object that a command prints."""
    assert command_line.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["data", "train", "evaluate", "predict", "record", "check", "report"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main([command, "--help"])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_train_prints_one_json_object_and_has_a_folder_for_each_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    arguments = ("train", "alexnet", "--recipe", "smoke", "--epochs", 1, "--seed", 7)
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    path = tmp_path / "checkpoints" / "alexnet-smoke-seed7"
    assert (result["run"], result["epochs"], result["seed"]) == (str(path), 1, 7)
    assert result["test_accuracy"] == Run.load(path).evaluation["test"]["accuracy"]
    assert "its states of 2 epochs take about 23 MB" in done.stderr
    assert "computes in float32: the recipe asks for float32" in done.stderr
    assert Run.load(path).environment["precision"] == "float32: the recipe asks for float32"
    pictures = [f"{what}_epoch_{n}.png" for what in ("kernels", "gradients", "feature_maps") for n in (0, 1)]
    assert {file.name for file in Path(result["figures"]).iterdir()} == {*pictures, "curves.png"}
    assert Path(result["figures"]) == tmp_path / "figures" / path.name
    assert answer(capsys, *arguments) == result
    assert run_folder("alexnet", "smoke") == tmp_path / "checkpoints" / "alexnet-smoke"


def test_evaluate_reproduces_what_the_run_says(smoke_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("val", "test"):
        result = answer(capsys, "evaluate", smoke_run.path, "--split", split, "--device", "cpu")
        assert result["split"] == split
        for key, value in smoke_run.evaluation[split].items():
            assert result[key] == value, key


def test_evaluate_asks_several_runs_together(
    smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Run(tmp_path / "other", "plain18", replace(smoke_run.recipe, overrides={"widths": [4, 4, 4, 4]}), seed=3)
    storage.save_weights(other.path / "weights.safetensors", other.untrained_model().state_dict())
    other.save()
    result = answer(capsys, "evaluate", smoke_run.path, other.path, "--together", "--device", "cpu")
    assert result["model"] == "alexnet + plain18"
    each = answer(capsys, "evaluate", smoke_run.path, other.path, "--device", "cpu")["results"]
    assert [one["model"] for one in each] == ["alexnet", "plain18"]
    assert each[0]["accuracy"] == smoke_run.evaluation["test"]["accuracy"]
    images, labels = data.load("test", dataset="tiny")
    mean = sum(predict(run.model(), images, device="cpu") for run in (smoke_run, other)) / 2
    assert result["accuracy"] == mean.argmax(1).eq(labels).sum().item() / len(labels)
    assert result["loss"] == pytest.approx(-mean.gather(1, labels[:, None]).log().mean().item(), rel=1e-4)


def test_predict_gives_probabilities(smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, _ = data.load("test", dataset="tiny")
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, image in zip(files, images, strict=False):
        Image.fromarray(image[0].numpy()).save(file)
    result = answer(capsys, "predict", smoke_run.path, *files, "--device", "cpu")
    assert [row["image"] for row in result["predictions"]] == [str(file) for file in files]
    for row in result["predictions"]:
        assert list(row["probabilities"]) == list(data.CLASSES)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_predict_shows_what_it_saw_and_doubts(
    smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each picture is answered, whatever the others are; its input is what the network saw, its doubts are said."""
    images, _ = data.load("test", dataset="tiny")
    for number in (0, 1):
        Image.fromarray(images[number, 0].numpy()).save(tmp_path / f"{number}.png")
    Image.new("L", (60, 60), 255).save(tmp_path / "blank.png")
    files = [tmp_path / name for name in ("0.png", "blank.png", "1.png")]
    arguments = ["predict", str(smoke_run.path), *map(str, files), "--device", "cpu"]
    assert command_line.main([*arguments, "--json"]) == 1
    first, blank, second = json.loads(capsys.readouterr().out)["predictions"]
    assert "shows nothing" in blank["error"] and "probabilities" not in blank
    limit = smoke_run.evaluation["val"]["doubt_below"]
    for number, found in ((0, first), (1, second)):
        assert found["input"] == images[number, 0].tolist()
        assert bool(found["doubts"]) == (max(found["probabilities"].values()) < limit)
    assert command_line.main(arguments) == 1
    said = capsys.readouterr().out
    assert said.count("blank.png shows nothing") == 1 and "@" in said and "0.png: " in said and "1.png: " in said


def test_record_remakes_the_recording_from_the_stored_epochs(
    smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(smoke_run.path, tmp_path / "run")
    before = (copy / "recording.npz").read_bytes()
    (copy / "recording.npz").unlink()
    result = answer(capsys, "record", copy, "--device", "cpu")
    assert result["recorded"]
    assert result["epochs"] == [0, 1, 2, 3]
    assert (copy / "recording.npz").read_bytes() == before

    shutil.rmtree(copy / "epochs")  # as a run is handed on
    result = answer(capsys, "record", copy, "--device", "cpu")
    assert not result["recorded"]
    assert (copy / "recording.npz").read_bytes() == before


def test_data_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "data")
    assert result["verified"]
    assert Path(result["folder"]).is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "COMMAND"),
        (("fly",), "invalid choice"),
        (("train",), "MODEL"),
        (("train", "resnet99"), "resnet18"),
        (("train", "resnet18", "--recipe", "fastest"), "original"),
        (("train", "resnet18", "--epochs", "0"), "not a whole number from 1"),
        (("train", "resnet18", "--epochs", "-1"), "--epochs"),
        (("train", "resnet18", "--epochs", "2.5"), "not a whole number from 1"),
        (("train", "resnet18", "--seed", "-1"), "--seed"),
        (("train", "resnet18", "--seed=-1"), "not a whole number from 0"),
        (("train", "resnet18", "--seed", "1e3"), "not a whole number from 0"),
        (("train", "resnet18", "--seed", str(2**63)), "not a whole number from 0"),
        (("evaluate", "run", "--split", "train"), "'val', 'test'"),
        (("predict", "run"), "IMAGE"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple, said: str) -> None:
    assert said.replace("'", "") in refused(capsys, *arguments, code=2).replace("'", "")


@pytest.mark.parametrize("command", [("evaluate",), ("record",), ("predict",)])
def test_a_run_that_is_missing_empty_or_damaged(
    tmp_path: Path, smoke_run: Run, capsys: pytest.CaptureFixture[str], command: tuple
) -> None:
    picture = ["a.png"] if command == ("predict",) else []
    assert "does not exist" in refused(capsys, *command, tmp_path / "nowhere", *picture)
    assert "empty of runs" in refused(capsys, *command, tmp_path, *picture)
    (tmp_path / "run.json").write_text("{ not json")
    assert "damaged" in refused(capsys, *command, tmp_path, *picture)


def test_damaged_weights(tmp_path: Path, smoke_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(smoke_run.path, tmp_path / "run")
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-100] ^= 1
    (copy / "weights.safetensors").write_bytes(content)
    assert "checksum" in refused(capsys, "evaluate", copy)


def test_a_damaged_recording(tmp_path: Path, smoke_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(smoke_run.path, tmp_path / "run")
    shutil.rmtree(copy / "epochs")
    (copy / "recording.npz").write_bytes(b"no zip at all")
    assert "damaged" in refused(capsys, "record", copy)


def test_a_run_of_another_recipe_is_refused(smoke_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", "alexnet", "--recipe", "smoke", "--epochs", 9, "--out", smoke_run.path)
    assert "epochs: 3 here, 9 there" in message


@pytest.mark.parametrize("device", ["tpu", "cpu:x", "cuda:99x", "cuda:99", "mps:", ""])
def test_a_device_that_is_not_there(
    smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    assert "choose auto or one of" in refused(capsys, "evaluate", smoke_run.path, "--device", device)
    training = ("train", "alexnet", "--recipe", "smoke", "--out", tmp_path / "run", f"--device={device}")
    assert "choose auto or one of" in refused(capsys, *training)
    assert not (tmp_path / "run").exists()


def test_a_rank_without_a_world_is_told_and_does_not_silence_what_needs_none(
    smoke_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    message = refused(capsys, "train", "alexnet", "--recipe", "smoke", "--out", tmp_path / "run")
    assert "RANK=1 but no WORLD_SIZE" in message
    assert answer(capsys, "evaluate", smoke_run.path, "--device", "cpu")["split"] == "test"


def test_a_warning_of_ours_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with command_line.plain_warnings():
        warnings.warn(LabWarning("the bits will differ"), stacklevel=1)
    assert capsys.readouterr().err == "note: the bits will differ\n"


def test_a_data_folder_that_holds_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "data", "--data", tmp_path)
    assert str(tmp_path) in message
    assert "train-images-idx3-ubyte" in message


@pytest.mark.parametrize("name", ["missing.png", "text.png", "one.png"])
def test_pictures_that_are_none(smoke_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (1, 1)).save(tmp_path / "one.png")
    assert name in refused(capsys, "predict", smoke_run.path, tmp_path / name)


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refused(capsys, "train", "alexnet", "--recipe", "smoke", "--out", tmp_path / "file" / "run")
    assert "could not write" in message
    assert "--out" in message


def test_a_disk_that_fills_up_in_the_third_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk cannot be had without root, so the file's own flush reports one."""
    real = storage.write_atomically

    def full(path: Path, fill) -> None:
        if path.name == "epoch_003.state":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, fill)

    monkeypatch.setattr(storage, "write_atomically", full)
    arguments = ("train", "alexnet", "--recipe", "smoke", "--out", tmp_path / "run")
    message = refused(capsys, *arguments)
    assert "No space left on device" in message
    assert "goes on from the last stored epoch" in message
    assert Run.load(tmp_path / "run").epochs_done == 2
    monkeypatch.undo()
    assert answer(capsys, *arguments)["epochs"] == 3


def test_a_loss_that_turns_nan_keeps_the_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(training: loop.Training) -> None:
        if training.epoch == 2 and training.step == 4:
            next(training.model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(command_line.TerminalBar, "step", lambda _, training: spoil(training))
    message = refused(capsys, "train", "alexnet", "--recipe", "smoke", "--out", tmp_path / "run", "--device", "cpu")
    assert "nan at step 5 of epoch 3" in message
    run = Run.load(tmp_path / "run")
    assert run.epochs_done == 2
    assert all(p.isfinite().all() for p in run.model().parameters())


def test_a_reader_that_stops_reading_sees_no_traceback(smoke_run: Run) -> None:
    command = f"'{sys.executable}' -m fmnist_lib evaluate '{smoke_run.path}' | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["evaluate", str(tmp_path), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_registry_is_what_help_lists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["train", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in models.REGISTRY)
