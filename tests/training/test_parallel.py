"""Training by several ranks: really started by torchrun, and compared with one process."""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_lib import data
from fmnist_lib.data.augment import make_augment
from fmnist_lib.runs import checkpoint
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.training import parallel
from fmnist_lib.training.devices import DeviceError
from fmnist_lib.training.parallel import ALONE, World, WorldError

SIZES = (1, 2, 3)
EPOCHS = 3
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
IMAGES = {"tiny": 100, "val": 5_000, "test": 10_000}
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
Seen = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Seen]:
    """What each of N ranks that ran ranks.py has seen; each N is run once."""

    @functools.cache
    def run(size: int) -> Seen:
        folder = tmp_path_factory.mktemp(f"ranks{size}")
        script = Path(__file__).with_name("ranks.py")
        command = [*TORCHRUN, "--nproc-per-node", str(size), str(script), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(size)]

    return run


@pytest.mark.parametrize("size", SIZES)
def test_ranks_join_and_leave_also_by_an_error(size: int, ranks: Callable[[int], Seen]) -> None:
    for rank, seen in enumerate(ranks(size)):
        assert seen["world"] == World(rank, size, local_rank=rank)
        assert seen["left_by"] == "ValueError: all leave"
        assert not seen["still_joined"]
        assert not any("gloo" in name for name in seen["threads_left"])  # one could abort the exit
        if size > 1:
            assert seen["threads"] == max(1, parallel.count_cores() // size)


@pytest.mark.parametrize("size", SIZES)
def test_every_image_is_evaluated_once(size: int, ranks: Callable[[int], Seen]) -> None:
    (alone,) = ranks(1)
    for seen in ranks(size):
        for split, images in IMAGES.items():
            result, expected = seen["evaluate"][split], alone["evaluate"][split]
            assert result.num_images == images
            assert result.confusion.sum(1).tolist() == [images / 10] * 10
            assert torch.equal(result.confusion, expected.confusion)
            assert result.loss == pytest.approx(expected.loss, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_every_image_is_trained_on_once(size: int, ranks: Callable[[int], Seen]) -> None:
    (expected,) = ranks(1)[0]["train_frozen"]
    for (row,) in (seen["train_frozen"] for seen in ranks(size)):
        assert row["train_accuracy"] * 400 == pytest.approx(expected["train_accuracy"] * 400, abs=1e-9)
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_ranks_make_the_steps_of_one_process(size: int, ranks: Callable[[int], Seen]) -> None:
    alone = ranks(1)[0]["train_without_norms"]
    for seen in ranks(size):
        for name, weight in seen["train_without_norms"]["weights"].items():
            moved = (alone["weights"][name] - alone["start"][name]).abs().max()
            # A wrong share of a batch would make a difference of a third; rounding tips a maximum here and there.
            assert (weight - alone["weights"][name]).abs().max() < moved / 50
        for row, expected in zip(seen["train_without_norms"]["history"].steps, alone["history"].steps, strict=True):
            assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_ranks_agree_on_weights_buffers_averages_and_precision(size: int, ranks: Callable[[int], Seen]) -> None:
    first, *others = (seen["train_with_everything"] for seen in ranks(size))
    assert len(first["agreed"]) == 5  # three epochs, and two after the resume
    assert all(other["agreed"] == first["agreed"] for other in others)
    for name, value in first["weights"].items():
        assert all(torch.equal(other["weights"][name], value) for other in others)
    plans = [plan.float32_layers for seen in ranks(size) for plan in seen["train_with_everything"]["plans"]]
    assert plans == [("features.conv1",)] * (2 * size)  # the first rank's
    assert first["states_kept"] == 4
    assert all(other["states_kept"] == 0 for other in others)


@pytest.mark.parametrize("size", SIZES)
def test_a_resumed_training_ends_as_an_unbroken_one(size: int, ranks: Callable[[int], Seen]) -> None:
    seen = ranks(size)[0]["train_with_everything"]
    for name, value in seen["weights"].items():
        if size < 3:
            assert torch.equal(seen["resumed"][name], value)
        else:  # three gradients are added in an order that DDP arranges anew after its first step
            torch.testing.assert_close(seen["resumed"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", (2, 3))
def test_all_ranks_refuse_what_one_cannot_do(size: int, ranks: Callable[[int], Seen]) -> None:
    for seen in ranks(size):
        assert seen["refuse"]["shared"] == "RunError: the disk is full"
        assert (
            seen["refuse"]["small"] == f"TrainingError: a batch of 1 images is too small for {size} ranks: start fewer"
        )


def train(out: Path, *, launch: tuple[str, ...], **environment: str) -> subprocess.Popen[str]:
    """Start torchrun on the command line's training."""
    command = [*TORCHRUN, *launch, "-m", "fmnist_lib", "train", "alexnet", "--recipe", "smoke", "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--epochs", str(EPOCHS), "--out", str(out), "--fresh", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run of two agents of one rank each, and what each agent printed.

    The agents stand for two machines that have no folder in common.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # free, once the listener is closed
    rendezvous = ("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test")
    launch = ("--nnodes=2", "--nproc-per-node=1", "--local-addr=127.0.0.1", *rendezvous)
    folders = [tmp_path_factory.mktemp("machine") / "run" for _ in range(2)]
    threads = str(max(1, parallel.count_cores() // 2))  # as the two ranks of one machine have
    agents = [train(folder, launch=launch, OMP_NUM_THREADS=threads) for folder in folders]
    try:  # when one fails, the other waits for it
        printed = [agent.communicate(timeout=120) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0, 0], printed
    (written,) = [folder for folder in folders if folder.exists()]  # the first rank's
    return written, [out for out, _ in printed]


def test_two_machines_train_one_run(two_machines: tuple[Path, list[str]]) -> None:
    folder, printed = two_machines
    result = json.loads("".join(printed))  # one object: one rank prints
    assert (result["run"], result["epochs"]) == (str(folder), EPOCHS)
    run = Run.load(folder)
    assert (run.environment["ranks"], run.environment["threads"]) == (2, max(1, parallel.count_cores() // 2))
    assert [row["epoch"] for row in run.history.epochs] == list(range(1, EPOCHS + 1))
    assert {split: figures["images"] for split, figures in run.evaluation.items()} == {"val": 100, "test": 100}
    assert run.evaluation["val"]["accuracy"] == run.history.epochs[-1]["val_accuracy"]
    assert run.stored_epochs() == list(range(EPOCHS + 1))
    assert (folder / "recording.npz").exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="ranks are found through /proc")
def test_a_killed_rank_costs_an_epoch_at_most(tmp_path: Path, two_machines: tuple[Path, list[str]]) -> None:
    out = tmp_path / "run"
    agent = train(out, launch=("--nproc-per-node=2", "--max-restarts=1"))
    state = checkpoint.state_path(out, 1)
    while agent.poll() is None and not state.exists():
        time.sleep(0.01)
    before = state.stat().st_mtime_ns
    os.kill(find_rank(1, out), signal.SIGKILL)
    printed, errors = agent.communicate(timeout=120)
    assert agent.returncode == 0, errors
    assert json.loads(printed)["epochs"] == EPOCHS
    assert "Traceback" not in errors
    assert errors.count("epoch 1 of") == 1  # it was not trained again, and --fresh did not delete it
    assert state.stat().st_mtime_ns == before
    assert (out / "weights.safetensors").read_bytes() == (two_machines[0] / "weights.safetensors").read_bytes()


def test_a_lost_rank_is_told_from_a_failure_of_ones_own() -> None:
    said = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [::1]:920: Connection reset by peer"
    assert parallel.is_lost(RuntimeError(said)) and parallel.is_lost(torch.distributed.DistNetworkError("timeout"))
    assert not parallel.is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def find_rank(rank: int, out: Path) -> int:
    """The process of a rank of the training into `out`; torchrun itself has no rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            command, environment = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            if bytes(out) in command and f"RANK={rank}".encode() in environment:
                return int(folder.name)
    raise AssertionError(f"no rank {rank} trains into {out}")


@pytest.mark.parametrize("size", (1, 2, 3, 64))
def test_shards_are_the_global_batch_with_the_same_augmentation(size: int) -> None:
    augment = make_augment(flip=True, crop=2, erase=0.5)
    for x, y in data.batches(dataset="tiny", batch_size=57, augment=augment).train(1):
        shards = [World(rank, size).shard(x, y) for rank in range(size)]
        assert sum(shard.num_images for shard in shards) == len(y)
        for rank, shard in enumerate(shards):
            rows = slice(None) if len(y) < size else slice(rank, None, size)
            assert torch.equal(shard.x, x[rows]) and torch.equal(shard.y, y[rows])
        means = [shard.x.mean().item() * shard.num_images / shard.per_rank for shard in shards]
        assert sum(means) / size == pytest.approx(x.mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("environment", "cores", "expected"),
    [
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, 8, 4),  # torchrun's 1
        ({"LOCAL_WORLD_SIZE": "3", "OMP_NUM_THREADS": "1"}, 2, 1),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, 8, None),  # the user's
        ({"LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}, 8, None),  # torchrun leaves it alone for one rank
        ({"LOCAL_WORLD_SIZE": "1"}, 8, 8),
    ],
)
def test_threads_per_rank(environment: dict[str, str], cores: int, expected: int | None) -> None:
    assert parallel.threads_per_rank(environment, cores=cores) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "1"}, "RANK=1 but no WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 but no RANK"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "RANK=0 and WORLD_SIZE=two, which are no numbers"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "no numbers of ranks"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "ranks count from 0"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "ranks count from 0"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cannot find each other.*MASTER_ADDR"),
    ],
)
def test_variables_that_tell_of_no_world(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorldError, match=said), parallel.joined("cpu"):
        pass
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}])
def test_variables_of_one_process_alone(environment: dict[str, str]) -> None:
    assert parallel.read_world(environment) == ALONE


def test_alone_nothing_is_joined() -> None:
    with parallel.joined("cpu") as world:
        assert world is ALONE and not torch.distributed.is_initialized()
    model = torch.nn.Linear(1, 1)
    assert world.wrap(model) is model


def test_every_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    second = World(rank=3, size=4, local_rank=1)
    assert second.place("auto") == second.place("cuda") == torch.device("cuda:1")
    assert second.place("cpu") == torch.device("cpu")
    assert ALONE.place("cuda") == torch.device("cuda")
    assert "nccl" in parallel.find_backend(second, "auto")
    assert parallel.find_backend(second, "cpu") == "gloo"
    with pytest.raises(DeviceError, match="rank 2 needs GPU 2, and this machine has 2"):
        parallel.find_backend(World(rank=2, size=3, local_rank=2), "auto")


def test_mps_cannot_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DeviceError, match="device 'mps': choose --device cpu"):
        parallel.find_backend(World(rank=0, size=2), "auto")
