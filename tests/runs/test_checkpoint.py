"""Runs on disk: resumed after a real kill, refused when they are another's, repaired where that is possible."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from fmnist_lib import data, models
from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.runs import checkpoint, machine, storage
from fmnist_lib.runs.checkpoint import Run, fit_or_load
from fmnist_lib.runs.places import Site
from fmnist_lib.runs.storage import RunError, load_weights
from fmnist_lib.training import loop
from fmnist_lib.training.recipes import Recipe, find_recipe
from fmnist_lib.visualisers.recording import sample

FULL = find_recipe("smoke")
SMALL = {"widths": [4, 4, 4, 4, 4], "hidden": 32}
SMOKE = replace(FULL, overrides=SMALL)


CPU = Site("cpu")


def batches(run: Run) -> data.Batches:
    return data.batches(dataset="tiny", batch_size=run.recipe.batch_size)


def no_batches(_: Run) -> data.Batches:
    raise AssertionError("there is nothing to train")


def train(
    path: Path, recipe: Recipe = SMOKE, *, model_name: str = "alexnet", seed: int = 0, batches=batches, **more
) -> Run:
    return fit_or_load(Run(path, model_name, recipe, seed), batches, **{"site": CPU} | more)


CHILD = """
import json, sys
from pathlib import Path
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.launch import fit_run
from fmnist_lib.runs.places import Site
from fmnist_lib.training.recipes import Recipe
fit_run(Run(Path(sys.argv[1]), "alexnet", Recipe(**json.loads(sys.argv[2]))), site=Site("cpu"))
"""


def command(path: Path) -> list[str]:
    """A training in a process of its own, without the pictures that follow it."""
    return [sys.executable, "-c", CHILD, str(path), json.dumps(asdict(SMOKE))]


def command_line(path: Path) -> list[str]:
    return [sys.executable, "-m", "fmnist_lib", "train", "alexnet", "--recipe", "smoke", "--out", str(path)]


def weights(path: Path) -> bytes:
    return (path / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained without interruption, in a fresh process."""
    path = tmp_path_factory.mktemp("unbroken") / "run"
    subprocess.run(command(path), check=True, capture_output=True)
    return path


def kill_after(
    command: list[str], path: Path, epoch: int, *, with_signal: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Start a training into `path` and end it by a signal as soon as an epoch's state is on disk.

    It listens to Ctrl-C also where these tests do not, as jobs in the background of a shell's script do not.
    """
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    state = checkpoint.state_path(path, epoch)
    while process.poll() is None and not state.exists():
        time.sleep(0.002)
    process.send_signal(with_signal)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_killed_training_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, unbroken: Path, epoch: int) -> None:
    path = tmp_path / "run"
    killed = kill_after(command(path), path, epoch, with_signal=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    subprocess.run(command(path), check=True, capture_output=True)
    assert weights(path) == weights(unbroken)
    assert Run.load(path).history.steps == Run.load(unbroken).history.steps


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    stopped = kill_after(command_line(path), path, 1, with_signal=signal.SIGINT)
    assert stopped.returncode == 130
    assert "Traceback" not in stopped.stderr
    assert "finished epochs are kept" in stopped.stderr
    assert "Run the same command" in stopped.stderr
    train(path, FULL)
    assert weights(path) == weights(train(tmp_path / "unbroken", FULL).path)


def test_a_finished_run_is_loaded_without_training(tmp_path: Path) -> None:
    first = train(tmp_path)
    second = train(tmp_path, batches=no_batches)
    assert second.is_finished
    assert second.history == first.history
    assert second.recipe == SMOKE


def test_every_epoch_can_be_had(tmp_path: Path) -> None:
    run = train(tmp_path)
    assert run.stored_epochs() == [0, 1, 2, 3]
    start = models.build_seeded("alexnet", 0, **SMALL)
    for one, other in zip(run.model(0).parameters(), start.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(run.model().parameters(), run.model(3).parameters(), strict=True):
        assert torch.equal(one, other)
    assert not run.model(2).training
    with pytest.raises(RunError, match=r"no epoch 4 .*\[0, 1, 2, 3\]"):
        run.model(4)


def test_the_weights_handed_on_are_those_that_were_validated(tmp_path: Path) -> None:
    """Of a recipe that averages weights, the averaged ones."""
    run = train(tmp_path, recipe=replace(SMOKE, ema=0.9))
    validated = run.state(3)["model"]
    assert any(not torch.equal(value, validated[name]) for name, value in run.state(3)["trained"].items())
    assert all(torch.equal(value, validated[name]) for name, value in run.model().state_dict().items())


def test_another_recipe_seed_or_model_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    train(tmp_path)
    before = weights(tmp_path)
    for changes, named in (
        ({"recipe": replace(SMOKE, lr=0.5, epochs=4)}, r"epochs: 3 here, 4 there; lr: 0\.001 here, 0\.5 there"),
        ({"seed": 1}, "seed: 0 here, 1 there"),
        ({"model_name": "resnet18"}, "model_name: 'alexnet' here, 'resnet18' there"),
        ({"recipe": replace(SMOKE, overrides={**SMALL, "hidden": 8})}, "overrides"),
    ):
        with pytest.raises(RunError, match=named):
            train(tmp_path, batches=no_batches, **changes)
    assert weights(tmp_path) == before


def test_the_recipe_alone_says_how_the_model_is_built(tmp_path: Path) -> None:
    recipe = replace(SMOKE, overrides={"widths": (2, 3, 4, 5, 6), "hidden": 8})
    train(tmp_path, recipe)
    again = train(tmp_path, recipe, batches=no_batches)  # a tuple came back as a list
    assert again.model().features.conv5.out_channels == 6
    assert "overrides" not in json.loads((tmp_path / "run.json").read_text())


def test_a_run_of_before_the_recipe_said_it_all_is_still_read(tmp_path: Path) -> None:
    overrides = {"widths": [2, 3, 4, 5, 6], "hidden": 8}
    train(tmp_path, replace(SMOKE, overrides=overrides))
    content = json.loads((tmp_path / "run.json").read_text())
    del content["recipe"]["overrides"]
    as_of_old(tmp_path, content | {"overrides": overrides})
    assert Run.load(tmp_path).model().features.conv5.out_channels == 6
    train(tmp_path, replace(SMOKE, overrides=overrides), batches=no_batches)


def test_fresh_replaces_the_run_and_spares_other_files(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    run = train(tmp_path, seed=1, fresh=True)
    assert run.seed == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_fresh_destroys_nothing_before_the_new_training_is_known_to_be_possible(tmp_path: Path) -> None:
    train(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def no_data(_: Run) -> data.Batches:
        raise data.DataError("no Fashion-MNIST")

    recipe = replace(SMOKE, lr=0.5)
    for changes in (
        {"batches": no_data},
        {"model_name": "resnet99"},
        {"recipe": replace(recipe, overrides={"widths": [1]})},
        {"site": Site("cuda:7")},
        {"recipe": replace(recipe, batch_size=57, overrides={"norm_hidden": True})},  # one image is left over
        {"recipe": replace(recipe, overrides={"num_classes": 5})},  # the labels have ten
        {"recipe": replace(recipe, overrides={"pooled": [1, 2, 3, 4, 5]})},  # nothing is left of the picture
    ):
        with pytest.raises(LabError):
            train(tmp_path, **{"recipe": recipe, "fresh": True} | changes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_fresh_takes_the_old_figures_away_and_nothing_else(tmp_path: Path) -> None:
    path, figures = tmp_path / "checkpoints" / "mine", tmp_path / "figures" / "mine"
    figures.mkdir(parents=True)
    for name in ("kernels_epoch_9.png", "gradients_epoch_0.png", "feature_maps_epoch_3.png", "curves.png", "mine.png"):
        (figures / name).touch()
    train(path)
    assert [file.name for file in figures.iterdir()] == ["mine.png"]


def test_a_disk_that_is_too_small_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30_000_000))
    with pytest.raises(RunError, match=r"states of 4 epochs take about 46 MB in .*epochs, and 30 MB are free"):
        train(tmp_path / "run", FULL)
    assert not (tmp_path / "run").exists()
    train(tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_a_training_takes_on_disk_is_said_about_right(tmp_path: Path, optimizer: str, ema: float) -> None:
    said: list[str] = []
    recipe = replace(FULL, epochs=1, images=100, optimizer=optimizer, ema=ema)
    run = train(tmp_path, recipe, tell=said.append)
    (megabytes,) = re.findall(r"states of 2 epochs take about (\d+) MB", said[0])
    sizes = [checkpoint.state_path(run.path, epoch).stat().st_size for epoch in (0, 1)]
    assert 2 * sizes[1] / 1e6 == pytest.approx(int(megabytes), rel=0.05)
    train(tmp_path, recipe, tell=said.append)
    assert len(said) == 1  # nothing is said of a run that is loaded
    train(tmp_path, recipe, tell=said.append, fresh=True)
    assert said[0] == said[1]


def test_short_trainings_keep_all_states_and_long_ones_those_of_the_recording_and_the_newest() -> None:
    for epochs in (1, 5, checkpoint.KEPT_WHOLE):
        assert all(checkpoint.is_kept(epoch, epochs, epochs) for epoch in range(epochs + 1))
    for epochs in (13, 70, 200):
        recorded = set(sample(epochs + 1, checkpoint.RECORDED_EPOCHS))
        for done in range(epochs + 1):
            kept = {epoch for epoch in range(done + 1) if checkpoint.is_kept(epoch, done, epochs)}
            assert kept == {epoch for epoch in recorded if epoch <= done} | set(range(max(0, done - 2), done + 1))


def test_a_long_training_goes_on_from_the_states_that_are_left(tmp_path: Path) -> None:
    small = replace(SMOKE, epochs=20, batch_size=400, overrides={"widths": [2, 2, 2, 2, 2], "hidden": 8})

    def stop(training: loop.Training) -> None:
        if training.epoch == 18:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole", small)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", small, on_epoch=[stop])
    assert Run.load(tmp_path / "cut").stored_epochs() == [0, 2, 4, 5, 7, 9, 11, 13, 15, 16, 17, 18]
    train(tmp_path / "cut", small)
    assert whole.stored_epochs() == Run.load(tmp_path / "cut").stored_epochs()
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


def test_states_without_run_json_are_neither_mixed_nor_deleted(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError, match=r"epochs/ but no run\.json.*Nothing was changed.*--fresh"):
        train(tmp_path, seed=1, batches=no_batches)
    assert len(list((tmp_path / "epochs").iterdir())) == 4
    assert train(tmp_path, seed=1, fresh=True).seed == 1


def test_the_environment_names_the_device_that_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "trusted_device", lambda *_, **__: torch.device("cpu"))
    monkeypatch.setattr(machine, "device_name", lambda device: f"the {device.type}")
    monkeypatch.setattr(Site, "place", lambda _: torch.device("cuda"))  # which is found to be wrong
    assert train(tmp_path).environment["device"] == "the cpu"


def test_a_damaged_last_state_leads_back_to_the_one_before(tmp_path: Path) -> None:
    train(tmp_path)
    expected = weights(tmp_path)
    cut_back(tmp_path, epochs=2)
    flip_a_bit(checkpoint.state_path(tmp_path, 2))
    with pytest.warns(UserWarning, match=r"epoch_002\.state is damaged"):
        train(tmp_path)
    assert weights(tmp_path) == expected


def test_damaged_weights_are_refused_and_mended_from_the_states(tmp_path: Path) -> None:
    run = train(tmp_path)
    expected = weights(tmp_path)
    flip_a_bit(tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match="damaged"):
        run.model()
    with pytest.warns(LabWarning, match="brought back from epochs/"):
        train(tmp_path)
    assert weights(tmp_path) == expected


def test_without_states_a_damaged_run_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path)
    for state in (tmp_path / "epochs").iterdir():
        state.unlink()
    flip_a_bit(tmp_path / "weights.safetensors")
    with pytest.raises(RunError, match=r"no whole state.*Nothing was changed.*--fresh"):
        train(tmp_path, batches=no_batches)


def test_a_kill_between_state_and_weights_is_made_good(tmp_path: Path) -> None:
    train(tmp_path)
    expected = weights(tmp_path)
    states = {epoch: checkpoint.state_path(tmp_path, epoch).read_bytes() for epoch in (3,)}
    cut_back(tmp_path, epochs=2)  # weights and run.json of epoch 2,
    checkpoint.state_path(tmp_path, 3).write_bytes(states[3])  # but the state of epoch 3 is there
    run = train(tmp_path)
    assert run.epochs_done == 3
    assert weights(tmp_path) == expected


@pytest.mark.parametrize("content", [{}, {"format": 99}, {"format": 1, "model": "alexnet"}])
def test_run_json_that_lacks_something(tmp_path: Path, content: dict) -> None:
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunError):
        Run.load(tmp_path)


def test_a_folder_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        Run.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match="empty of runs"):
        Run.load(tmp_path)


def test_weights_of_another_model(tmp_path: Path) -> None:
    train(tmp_path, FULL)
    content = json.loads((tmp_path / "run.json").read_text())
    as_of_old(tmp_path, content | {"model": "resnet18"})
    storage.save_weights(tmp_path / "weights.safetensors", load_weights(tmp_path / "weights.safetensors"))
    with pytest.raises(RunError, match="do not belong to resnet18"):
        Run.load(tmp_path).model()


def as_of_old(path: Path, content: dict) -> None:
    """Write a run.json as it was before it had checksums."""
    old = {name: value for name, value in content.items() if name not in ("files", "sha256")}
    (path / "run.json").write_text(json.dumps(old | {"format": 1}))


def cut_back(path: Path, *, epochs: int) -> None:
    """Leave a run as it was after so many epochs."""
    run = Run.load(path)
    state = run.state(epochs)
    checkpoint.publish(run, state["model"], loop.History(**state["history"]))
    for epoch in run.stored_epochs():
        if epoch > epochs:
            checkpoint.state_path(path, epoch).unlink()


def flip_a_bit(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_weights_in_half_precision_are_those_that_the_run_stands_for(tmp_path: Path) -> None:
    run = train(tmp_path, recipe=replace(SMOKE, epochs=1, half=True))
    stored = load_weights(tmp_path / "weights.safetensors")
    trained = run.state(1)["model"]
    for name, value in run.model().named_parameters():
        assert value.dtype == torch.float32
        assert stored[name].dtype == (torch.float16 if value.ndim > 1 else torch.float32)
        torch.testing.assert_close(value.detach(), trained[name], rtol=1e-3, atol=1e-6)


def test_a_copy_beside_the_states_is_none_of_them(tmp_path: Path) -> None:
    run = train(tmp_path)
    (tmp_path / "epochs" / "epoch_003 (copy).state").touch()
    assert run.stored_epochs() == [0, 1, 2, 3]


def test_a_finished_run_is_mended_without_its_data(tmp_path: Path) -> None:
    train(tmp_path)
    before = weights(tmp_path)
    flip_a_bit(tmp_path / "weights.safetensors")
    with pytest.warns(LabWarning, match="brought back from epochs/"):
        train(tmp_path, batches=no_batches)
    assert weights(tmp_path) == before
