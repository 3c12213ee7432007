"""Trainings that are killed, fail, are interrupted or meet each other; what is resumed is compared bit by bit."""

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from children import Child, Ended, apart

from fmnist_lib import files
from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training import loop, precision
from fmnist_lib.training.recipes import RECIPES, Recipe, find_recipe

SMALL = {"widths": [2, 2, 2, 2, 2], "hidden": 8, "dropout": 0.5}  # of an AlexNet
TINY = replace(find_recipe("smoke"), images=100, epochs=3, overrides=SMALL)
KINDS = {"full disk": errno.ENOSPC, "no permission": errno.EACCES, "killed": 0}
Trip = Callable[[], None]


def train(path: Path, *, seed: int = 0, recipe: Recipe = TINY, **more: Any) -> list[str]:
    """Train, resume or load a run; what came of it."""
    return outcome(launch.fit_run(Run(path, "alexnet", recipe, seed), site=Site("cpu"), **more))


def outcome(run: Run) -> list[str]:
    """Digests of the weights and of every state that is kept, but for what a clock said."""
    states = [digest(run.state(epoch)) for epoch in run.stored_epochs()]
    return [hashlib.sha256((run.path / "weights.safetensors").read_bytes()).hexdigest(), *states]


def digest(value: Any) -> str:
    """SHA-256 of nested tensors and plain values, without the entries called seconds."""
    total = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            total.update(f"{part.dtype} {tuple(part.shape)}".encode() + part.contiguous().numpy().tobytes())
        elif isinstance(part, dict):
            for name in sorted(part, key=str):
                total.update(str(name).encode())
                add(None if name == "seconds" else part[name])
        elif isinstance(part, (list, tuple)):
            total.update(str(len(part)).encode())
            for each in part:
                add(each)
        else:
            total.update(repr(part).encode())

    add(value)
    return total.hexdigest()


def compare(ended: Ended, expected: list[str], what: str) -> str:
    """What differs from an unbroken training, in words."""
    if ended.error:
        return f"{what}: {ended.error}"
    return "" if ended.result == expected else f"{what}: other bits than an unbroken training"


# Every step that a save takes on the disk, before and after: there a wire can be tripped.
STEPS = ("fsync", "replace", "unlink", "chmod", "rmdir", "mkdir")


def lay_wire(trip: Trip) -> None:
    """Let every step of this process on the disk, and every write into a part, call `trip` before and after."""

    def around(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            trip()
            result = act(*args, **more)
            trip()
            return result

        return step

    for name in STEPS:
        setattr(os, name, around(getattr(os, name)))
    tempfile.mkstemp = around(tempfile.mkstemp)
    real = os.fdopen

    def fdopen(handle: int, mode: str = "r", *args: Any, **more: Any) -> Any:
        file = real(handle, mode, *args, **more)
        return Wired(file, trip) if mode == "wb" else file

    os.fdopen = fdopen


class Wired:
    """A file whose writes trip the wire half-way."""

    def __init__(self, file: io.BufferedWriter, trip: Trip) -> None:
        self.file, self.trip = file, trip

    def write(self, content: bytes) -> int:
        """Write half, bring it to the disk, trip, write the rest."""
        half = len(content) // 2
        self.file.write(content[:half])
        self.file.flush()
        self.trip()
        return self.file.write(content[half:])

    def writelines(self, parts: Any) -> None:
        """Write one after the other."""
        for part in parts:
            self.write(part)

    def __enter__(self) -> "Wired":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def trip_at(moment: int, code: int) -> Trip:
    """What ends the process, or raises that error, when the wire is touched for the n-th time."""
    touched = [0]

    def trip() -> None:
        touched[0] += 1
        if touched[0] == moment and not code:
            os.kill(os.getpid(), signal.SIGKILL)
        if touched[0] == moment:
            raise OSError(code, os.strerror(code))

    return trip


def train_tripping(path: Path, trip: Trip) -> list[str]:
    """A training whose saves are wired."""
    lay_wire(trip)
    return train(path)


def count_moments(path: Path) -> int:
    """How often an unbroken training touches the wire."""
    touched: list[int] = []

    def act() -> int:
        train_tripping(path, lambda: touched.append(1))
        return len(touched)

    return int(apart(act).result)


def kills(count: int, folder: Path) -> Iterator[str]:
    """SIGKILL, half at random moments and half within a save; the resumed run against an unbroken one."""
    whole = apart(partial(train, folder / "whole"))
    moments, random_ = count_moments(folder / "counted"), random.Random(0)
    for number in range(count):
        path = folder / str(number)
        if number % 2:
            moment = 1 + (number // 2 * 37) % moments
            ended = apart(partial(train_tripping, path, trip_at(moment, 0)))
            what = f"killed at step {moment} of {moments} on the disk"
        else:
            seconds = random_.uniform(0, whole.seconds)
            child = Child(partial(train, path))
            time.sleep(seconds)
            child.kill()
            ended, what = child.wait(), f"killed after {seconds:.2f} s"
        yield compare(apart(partial(train, path)), whole.result, f"{what} ({ended.error or 'was done'})")
        shutil.rmtree(path, ignore_errors=True)


def failing_saves(count: int, folder: Path) -> Iterator[str]:
    """A failure at each step of the saves: what is there loads at once, goes on to the same bits, and no part stays."""
    whole = apart(partial(train, folder / "whole")).result
    moments = count_moments(folder / "counted")
    cases = [(kind, moment) for moment in range(1, moments + 1) for kind in KINDS]
    for number in range(min(count, len(cases))):
        kind, moment = cases[number * len(cases) // min(count, len(cases))]
        path, what = folder / str(number), f"{kind} at step {moment} of {moments}"
        ended = apart(partial(train_tripping, path, trip_at(moment, KINDS[kind])))
        if ended.error and not ended.is_clear and kind != "killed":
            yield f"{what}: {ended.error}"
            continue
        yield (
            load_what_is_there(path, what)
            or compare(apart(partial(go_on, path)), whole, what)
            or "; ".join(f"{what}: {part} stays" for part in path.rglob("*.part"))
        )
        shutil.rmtree(path, ignore_errors=True)


def load_what_is_there(path: Path, what: str) -> str:
    """Whether a run that has begun has weights and a state that load, right after the failure."""
    if not (path / "run.json").exists():
        return ""

    def load() -> int:
        run = Run.load(path)
        run.model()
        return int(run.state(run.stored_epochs()[-1])["epoch"]) - run.epochs_done

    ended = apart(load)
    return f"{what}: {ended.error}" if ended.error else "" if ended.result in (0, 1) else f"{what}: states are behind"


def go_on(path: Path) -> list[str]:
    """Train on as a process of a second later would."""
    files.YOUNG_SECONDS = 0
    return train(path)


def boundaries(count: int, folder: Path) -> Iterator[str]:
    """Stop after every epoch of every kind of training, and go on in another process."""
    recipes = [TINY, replace(TINY, ema=0.9), replace(TINY, flip=True, crop=2, erase=0.5)]
    for name in RECIPES:
        recipe = find_recipe(name, "alexnet")
        here = replace(recipe, dataset="tiny", images=100, batch_size=50, epochs=3, teacher="", teacher_share=0.0)
        recipes.append(replace(here, overrides=recipe.overrides | SMALL))
    cases = [(recipe, threads, epoch) for recipe in recipes for threads in (1, 2) for epoch in range(3)]
    for number, (recipe, threads, epoch) in enumerate(cases[:: max(1, len(cases) // count)][:count]):
        path = folder / str(number)
        act = partial(train_until, recipe=recipe, threads=threads)
        whole = apart(partial(act, path / "whole"))
        apart(partial(act, path / "cut", stop=epoch))
        ended = apart(partial(act, path / "cut"))
        yield whole.error or compare(ended, whole.result, f"{recipe}, {threads} threads, epoch {epoch}")


def train_until(path: Path, *, recipe: Recipe, threads: int, stop: int = -1) -> list[str]:
    """Train on so many threads, and leave after the epoch `stop`."""

    def leave(training: loop.Training) -> None:
        if training.epoch == stop:
            raise KeyboardInterrupt

    precision.make_plan = lambda *_, **__: precision.Plan(mixed=True)  # else a clock decides, and not twice alike
    torch.set_num_threads(threads)
    return train(path, recipe=recipe, on_epoch=[leave])


def races(count: int, folder: Path) -> Iterator[str]:
    """Two seeds trained into one folder at staggered times: what is there in the end is one of the two, whole."""
    wholes = [apart(partial(train, folder / f"whole{seed}", seed=seed)) for seed in (0, 1)]
    for number in range(count):
        path = folder / str(number)
        first = Child(partial(train, path))
        time.sleep(number / max(1, count - 1) * wholes[0].seconds)
        second = Child(partial(train, path, seed=1))
        ends = [first.wait(), second.wait()]
        left = apart(lambda path=path: outcome(Run.load(path)))
        won = [end.result == whole.result for end, whole in zip(ends, wholes, strict=True)]
        refused = [end.is_clear for end in ends]
        held = sorted(won) == [False, True] and won[0] != refused[0] and won[1] != refused[1]
        held = held and left.result == wholes[won.index(True)].result
        yield "" if held else f"race {number}: {[end.error or 'done' for end in ends]}, left: {left.error or 'a run'}"


CELL = """
import os; os.environ["OMP_NUM_THREADS"] = "1"
import sys; sys.path.insert(0, {here!r})
import fault_runs, pathlib
print("OUTCOME", fault_runs.train(pathlib.Path({path!r})))
"""


def kernels(count: int, folder: Path) -> Iterator[str]:
    """Interrupt or restart a kernel while a training cell runs, and run the cell again; two of three are interrupts."""
    from jupyter_client.manager import start_new_kernel  # the lab extra has it

    whole, random_ = apart(partial(train, folder / "whole")), random.Random(0)
    for number in range(count):
        path = folder / str(number)
        cell = CELL.format(here=str(Path(__file__).parent), path=str(path))
        manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"])
        try:
            client.execute_interactive("import fmnist_lib; _ = fmnist_lib.train_or_load", timeout=120)
            client.execute(cell)
            time.sleep(random_.uniform(0, 2 * whole.seconds))
            if number % 3 == 2:
                manager.restart_kernel(now=True)
                client.wait_for_ready(timeout=120)
            else:
                manager.interrupt_kernel()
            said: list[str] = []
            hear = lambda message, said=said: said.append(str(message["content"]))  # noqa: E731 (short)
            # A kernel that was just interrupted passes over what is waiting: then the cell is run once more.
            while client.execute_interactive(cell, timeout=300, output_hook=hear)["content"]["status"] == "aborted":
                said.clear()
            found = any(str(whole.result) in text for text in said)
            yield "" if found else f"kernel {number}: {' '.join(said)[-400:]}"
        finally:
            client.stop_channels()
            with suppress(RuntimeError):
                manager.shutdown_kernel(now=True)
