"""Whether what a student made is right: said in one sentence, with a hint, and without giving the answer away.

A check calls the student's function with inputs drawn anew each time and compares with a computation of its own; so it
cannot be satisfied by a constant, and since types are asked for exactly, not by an object that equals everything.
"""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, allclose, nn

from fmnist_lib.errors import LabError

PACKAGE = Path(__file__).parents[1]
HANDED_IN = "data"  # the room that a solution may always call: it loads, normalises and hands out batches
MISSING = object()


class NotYet(LabError):
    """An answer that is not right yet; the message says in which way, and gives a hint."""


class Task(NamedTuple):
    """A task's check, called with what the student made and a generator of fresh randomness, and its hint."""

    judge: Callable[[Any, Generator], None]
    hint: str
    allowed: tuple[str, ...]


TASKS: dict[str, Task] = {}


def task(*, hint: str, allowed: tuple[str, ...] = (HANDED_IN,)) -> Callable[[Callable[[Any, Generator], None]], Any]:
    """Make a function the check of the task of its name. `allowed` are the rooms that a solution may call."""

    def register(judge: Callable[[Any, Generator], None]) -> Callable[[Any, Generator], None]:
        TASKS[judge.__name__] = Task(judge, hint, allowed)
        return judge

    return register


def check(name: str, answer: Any = MISSING) -> None:
    """Say that the task is right, or raise NotYet, which a notebook shows as one sentence and nbgrader as no points.

    `answer` is what the notebook calls `name`, unless it is handed over. Raises NotYet for an unknown task, too.
    """
    if name not in TASKS:
        raise NotYet(f"there is no task {name!r}: choose one of {', '.join(TASKS)}")
    answer = look_up(name) if answer is MISSING else answer
    if answer is MISSING:
        raise NotYet(f"{name} is not there: run the cell that defines it first.")
    generator = torch.Generator()
    generator.seed()  # from the operating system: no torch.manual_seed foretells the inputs
    try:
        with kept_state():
            TASKS[name].judge(answer, generator)
    except NotYet as problem:
        raise NotYet(f"{problem} Hint: {TASKS[name].hint}") from None
    except Exception as error:  # of an object that is not what it says it is
        raise NotYet(f"what {name} gave cannot be used ({type(error).__name__}). Hint: {TASKS[name].hint}") from None
    print(f"Right: {name} does what it should.")


def look_up(name: str) -> Any:
    """What the notebook calls so, or MISSING."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return MISSING if shell is None else shell.user_ns.get(name, MISSING)


@contextmanager
def kept_state() -> Any:
    """The global random state and the gradient mode, as they were before a check."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        yield


def call(answer: Any, *arguments: Any, task: str) -> Any:
    """What the student's function gives. Raises NotYet where it is none, fails, or lets the library do the work."""
    if not callable(answer):
        raise NotYet(f"{task} should be a function, and is {describe(answer)}.")
    try:
        with no_help_of_the_library(TASKS[task].allowed):
            return answer(*arguments)
    except NotYet:
        raise
    except NotImplementedError:
        raise NotYet(f"{task} is still to be written.") from None
    except (Exception, SystemExit) as error:
        said = str(error).splitlines()[0] if str(error) else "no message"
        raise NotYet(f"{task} stopped with {type(error).__name__}: {said[:200]}.") from None


@contextmanager
def no_help_of_the_library(allowed: tuple[str, ...]) -> Any:
    """Raise NotYet where anything of this library is called that is in none of the `allowed` rooms."""
    folder, called = f"{PACKAGE}/", []

    def look(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(folder) and file != __file__:
            room = Path(file).relative_to(PACKAGE).parts[0].removesuffix(".py")
            if room not in allowed:
                called.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
        if called:
            raise NotYet(f"this is to be written out, and calls the library's {called[0]} instead.") from None


def expect_number(given: Any, right: float, *, what: str) -> None:
    """Raise NotYet unless it is a plain number, and the right one up to rounding."""
    if isinstance(given, Tensor) and type(given) is Tensor and given.numel() == 1:
        given = given.item()
    if isinstance(given, np.number):
        given = given.item()
    if type(given) not in (int, float):
        raise NotYet(f"{what} should be a number, and is {describe(given)}.")
    if not abs(given - right) <= 1e-4 * max(1.0, abs(right)):
        raise NotYet(f"{what} came out as {given:g}, which is too {'small' if given < right else 'large'}.")


def expect_tensor(given: Any, right: Tensor, *, what: str) -> None:
    """Raise NotYet unless it is a tensor of the right shape and, up to rounding, of the right values."""
    if type(given) not in (Tensor, nn.Parameter):
        raise NotYet(f"{what} should be a tensor, and is {describe(given)}.")
    if given.shape != right.shape:
        raise NotYet(f"{what} has the shape {tuple(given.shape)}, and should have {tuple(right.shape)}.")
    given, right = given.detach().double(), right.detach().double()
    if not allclose(given, right, rtol=1e-3, atol=1e-4):
        off = (~torch.isclose(given, right, rtol=1e-3, atol=1e-4)).double().mean().item()
        raise NotYet(f"{what} has the right shape, but {off:.0%} of its values differ from what they should be.")


def describe(value: Any) -> str:
    """What kind of thing it is."""
    return "None: is a `return` missing?" if value is None else f"of type {type(value).__name__}"
