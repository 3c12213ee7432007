"""Training by several processes, on one machine or on many, started by torchrun.

Each process is a rank. All hold the same model and go through the same global batches; each computes its shard of a
batch, and gradients and counts are summed over the ranks. The first rank alone touches files. A process that
torchrun did not start is the one rank of a world of its own, and pays nothing.

Letters: N images in a batch, x input (N, 1, 28, 28), y labels (N,).
"""

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fmnist_lib.errors import LabError
from fmnist_lib.training.devices import DeviceError, pick_device

Value = TypeVar("Value")
BUFFER_OPTIONS = ("forward_sync_buffers", "broadcast_buffers")  # the newer name first: torch 2.14 warns at the older


class WorldError(LabError):
    """Environment variables that tell of no group of processes; the message quotes them."""


class Shard(NamedTuple):
    """A rank's part of a global batch: what it computes, and how many of those images it is to count.

    `per_rank` is the global batch divided by the ranks. A mean over the shard times `num_images / per_rank`, averaged
    over the ranks, is the mean over the global batch, however unequal the shards are.
    """

    x: Tensor
    y: Tensor
    num_images: int
    per_rank: float


@dataclass(frozen=True)
class World:
    """All ranks, and which of them this process is. `restarted` says that torchrun started the ranks anew."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarted: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes and decides."""
        return self.rank == 0

    def place(self, device: str | torch.device) -> torch.device:
        """This rank's device: of several GPUs the one with its local number. Raises DeviceError."""
        place = pick_device(device)
        if self.size > 1 and place.type == "cuda" and place.index is None:
            return torch.device("cuda", self.local_rank)
        return place

    def smallest_shard(self, num_images: int) -> int:
        """The images of the smallest part that a rank computes of a batch of so many."""
        return num_images // self.size if num_images >= self.size else num_images

    def shard(self, x: Tensor, y: Tensor) -> Shard:
        """This rank's images of a global batch: every `size`-th one.

        A batch of fewer images than ranks (an epoch's last, perhaps) is computed whole by every rank, since neither
        batch norm nor the exchange of gradients can do without images, and is counted by the first alone.
        """
        total = len(y)
        if self.size == 1:
            return Shard(x, y, total, total)
        if total < self.size:
            return Shard(x, y, total if self.is_first else 0, total / self.size)
        x, y = x[self.rank :: self.size].contiguous(), y[self.rank :: self.size]
        return Shard(x, y, len(y), total / self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor's sum over all ranks, written into it."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a floating-point tensor over all ranks, written into it."""
        return tensor if self.size == 1 else self.sum(tensor).div_(self.size)

    def share(self, decide: Callable[[], Value]) -> Value:
        """What the first rank's `decide()` returns, or the error that it raises there, on every rank.

        The others wait for it, so that nothing which depends on a clock or on files can come out differently.
        """
        if self.size == 1:
            return decide()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = decide()
            except Exception as error:
                answer[1] = error
        distributed.broadcast_object_list(answer, src=0, device=torch.device("cpu"))
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """What is called in place of `model`, so that its gradients become means over the ranks.

        On GPUs batch norm is replaced in `model` by one that normalises with the whole global batch. It does not
        exist for CPUs (pytorch#78081): there each rank normalises its own shard, and `average_buffers` makes the
        running statistics agree.
        """
        if self.size == 1:
            return model
        if next(model.parameters()).is_cuda:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        known = inspect.signature(DistributedDataParallel).parameters
        options: dict[str, Any] = {next(name for name in BUFFER_OPTIONS if name in known): False}
        return DistributedDataParallel(model, **options)

    def average_buffers(self, *models: nn.Module) -> None:
        """Replace batch norm's running statistics by their means over the ranks; counters are the same anyway.

        The mean of the ranks' variances leaves out how much the shards' means differ, which is chance alone: at
        most about one part in the number of a shard's images.
        """
        buffers = [b for model in dict.fromkeys(models) for b in model.buffers() if b.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        means = self.mean(torch.cat([buffer.flatten() for buffer in buffers]))
        for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))


ALONE = World()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """The world that torchrun's environment variables tell of, joined on entering and left in any case.

    All ranks leave together when all went well. Raises DeviceError where ranks cannot train together on `device`, and
    WorldError where the variables are not what torchrun sets, or another rank has ended.
    """
    world = read_world(os.environ)
    if world.size == 1:
        yield ALONE
        return
    backend = find_backend(world, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_per_rank(os.environ, cores=count_cores()) or threads)
    # DDP imports this module, which keeps as a default argument the group that it finds (torch 2.14). Imported now it
    # finds none; otherwise gloo's threads outlive the group, and one that still holds a tensor aborts the exit.
    importlib.import_module("torch.distributed.nn.functional")
    distributed.init_process_group(backend, store=find_store(world), rank=world.rank, world_size=world.size)
    try:
        yield world
        world.sum(torch.zeros(1))
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise WorldError(
            f"rank {world.rank} lost another of the {world.size} ranks, which failed or was killed; what the first "
            "rank has finished is kept. Run the same command again to go on from there, or have torchrun do it with "
            "--max-restarts"
        ) from error
    finally:
        distributed.destroy_process_group()
        torch.set_num_threads(threads)


def is_lost(error: RuntimeError) -> bool:
    """Whether it comes of another rank's end: gloo tells of that in an error of no class of its own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def read_world(environment: Mapping[str, str]) -> World:
    """The world that torchrun's environment variables tell of. Raises WorldError where they do not belong together."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    told = {name: environment[name] for name in names if environment.get(name)}
    words = " and ".join(f"{name}={value}" for name, value in told.items())
    advice = "unset them, or have torchrun start the processes (docs/cluster.md)"
    if not all(value.isascii() and value.isdigit() for value in told.values()):
        raise WorldError(f"the environment has {words}, which are no numbers of ranks: {advice}")
    size, rank = int(told.get("WORLD_SIZE", 1)), int(told.get("RANK", 0))
    if "WORLD_SIZE" not in told and rank:
        raise WorldError(f"the environment has {words} but no WORLD_SIZE: {advice}")
    if size > 1 and "RANK" not in told:
        raise WorldError(f"the environment has {words} but no RANK: {advice}")
    if not rank < size:
        raise WorldError(f"the environment has {words}, and ranks count from 0 to WORLD_SIZE - 1: {advice}")
    restarted = environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return World(rank, size, int(told.get("LOCAL_RANK", 0)), restarted)


def find_store(world: World) -> distributed.Store:
    """Where the ranks leave each other their addresses.

    One torchrun keeps its store when it starts its ranks anew, and with it the addresses of the dead: each start has
    names of its own in it. Several make a new store each time, and need not have counted the same starts
    (pytorch#135712).
    """
    try:
        store, _, _ = next(distributed.rendezvous("env://", world.rank, world.size))
    except ValueError as error:  # torch says which of torchrun's variables is missing
        raise WorldError(f"the {world.size} ranks cannot find each other: {error}") from error
    starts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "0"
    return distributed.PrefixStore(f"start {starts}", store)


def find_backend(world: World, device: str) -> str:
    """Who carries what the ranks exchange: gloo for the CPU, and NCCL between GPUs. Raises DeviceError."""
    place = world.place(device)
    if place.type == "cuda":
        if place.index >= torch.cuda.device_count():
            raise DeviceError(
                f"rank {world.rank} needs GPU {place.index}, and this machine has {torch.cuda.device_count()}: "
                "choose --nproc-per-node no larger, or --device cpu"
            )
        torch.cuda.set_device(place)
        return "cpu:gloo,cuda:nccl"  # counts and decisions go by way of the CPU
    if place.type != "cpu":
        raise DeviceError(f"{world.size} ranks cannot train together on device {place.type!r}: choose --device cpu")
    return "gloo"


def threads_per_rank(environment: Mapping[str, str], *, cores: int) -> int | None:
    """An equal part of the cores for each rank on this machine; None where the user chose OMP_NUM_THREADS.

    torchrun sets it to 1 where several ranks share a machine and it was not set. So 1 among several ranks is taken
    for torchrun's, and any other value for the user's.
    """
    local_size = int(told) if (told := environment.get("LOCAL_WORLD_SIZE", "1")).isdecimal() else 1
    chosen = environment.get("OMP_NUM_THREADS")
    if chosen and not (chosen == "1" and local_size > 1):
        return None
    return max(1, cores // max(1, local_size))


def count_cores() -> int:
    """The cores that this process may use, which Slurm or taskset may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_first() -> bool:
    """Whether this process is the one that prints: the first of torchrun's ranks, or on its own."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
