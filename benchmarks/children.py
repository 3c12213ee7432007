"""Processes that are forked to be killed, to fail or to be watched: importing torch anew would take seconds each."""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fmnist_lib.errors import LabError


class Ended(NamedTuple):
    """How a child came to its end: what it returned, what it raised, what it printed, and what it took."""

    result: Any
    error: str
    is_clear: bool  # a LabError, made for people
    printed: str
    seconds: float
    memory: float  # GiB at most


class Child:
    """A forked process that runs `act`, whose result is plain values; it prints into a file."""

    def __init__(self, act: Callable[[], Any]) -> None:
        make = partial(tempfile.TemporaryFile, "w+", encoding="utf-8", errors="replace")
        self.files = [make(), make()]
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self.run(act)

    def run(self, act: Callable[[], Any]) -> None:
        """The child's whole life."""
        told, printed = self.files
        for number in (1, 2):
            os.dup2(printed.fileno(), number)
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (until the end)
        try:
            answer = {"result": act()}
        except BaseException as error:  # whatever it is, the parent judges it
            answer = {"error": f"{type(error).__name__}: {error}", "clear": isinstance(error, LabError)}
        sys.stdout.flush()
        json.dump(answer, told)
        told.flush()
        os._exit(0)

    def kill(self) -> None:
        """End it as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, *, patience: float = 60.0) -> Ended:
        """Its end; one that takes longer is killed, and its error says so."""
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.started > patience:
                self.kill()
            time.sleep(0.002)
        seconds = time.monotonic() - self.started
        for file in self.files:
            file.seek(0)
        told, printed = (file.read() for file in self.files)
        for file in self.files:
            file.close()
        killed = {"error": f"killed by signal {status & 127} after {seconds:.1f} s"}
        answer = {"result": None, "error": "", "clear": False} | (json.loads(told) if told else killed)
        return Ended(answer["result"], answer["error"], answer["clear"], printed, seconds, memory_of(used))


def memory_of(used: resource.struct_rusage) -> float:
    """GiB at most; Linux counts kilobytes, macOS bytes."""
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def apart(act: Callable[[], Any], *, patience: float = 60.0) -> Ended:
    """Run `act` in a process of its own."""
    return Child(act).wait(patience=patience)
