"""Where the arithmetic runs: the device, and the memory that is kept for it."""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # from glibc's malloc.h


class DeviceError(RuntimeError):
    """A device that does not exist here; the message lists those that do."""


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU. Raises DeviceError."""
    if isinstance(name, torch.device):
        return name
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise DeviceError(f"device {name!r} is not available: choose auto or one of {there}")
    return torch.device(name)


def keep_memory() -> bool:
    """Let glibc keep freed memory instead of handing it back; returns whether this system could be told.

    Without it every activation of a few MB is mapped, faulted in and unmapped at every step
    (benchmarks/roofline.py measures what that costs). Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    results = [
        mallopt(M_MMAP_THRESHOLD, 1 << 25),
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1),
        mallopt(M_TOP_PAD, 1 << 26),
    ]
    return all(results)
