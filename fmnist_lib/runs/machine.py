"""The machine and the versions that a number was measured with."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy
import torch

from fmnist_lib import __version__


def describe(device: torch.device) -> dict[str, Any]:
    """System, processor, memory, device, threads and versions, as a run records them; no user or host name."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # AVX2 or AVX512, say: processors of one name differ
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "fmnist_lib": __version__,
        "git_commit": git_commit(),
    }


def device_name(device: torch.device) -> str:
    """A GPU by its maker's name; any other device by its kind."""
    if device.type != "cuda":
        return device.type
    return torch.cuda.get_device_name(device)


def processor_name() -> str:
    """The processor's name as its maker gives it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Installed memory in GiB, where the system tells."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def git_commit() -> str | None:
    """The commit of the code that is running, where it runs from a git checkout; "-dirty" if the package differs."""
    try:
        commit = ask_git("rev-parse", "--short=12", "HEAD")
        return f"{commit}-dirty" if ask_git("status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def ask_git(*arguments: str) -> str:
    """What git answers in the package's folder. Raises OSError or SubprocessError where there is no git or checkout."""
    answer = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=10, check=True
    )
    return answer.stdout.strip()
