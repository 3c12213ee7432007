"""Where the arithmetic runs: the device, how images lie in its memory, and the memory that is kept for it."""

import ctypes
import sys

import torch

from fmnist_lib.errors import LabError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # from glibc's malloc.h


class DeviceError(LabError):
    """A device that does not exist here, or cannot be used like that; the message lists those that do."""


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU. Raises DeviceError."""
    if isinstance(name, torch.device):
        return name
    there = devices_here()
    if name == "auto":
        return torch.device(there[0])
    kind, _, number = str(name).partition(":")
    is_numbered = number.isascii() and number.isdigit() and kind == "cuda" and int(number) < torch.cuda.device_count()
    if kind not in there or (":" in str(name) and not is_numbered):
        numbered = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if "cuda" in there else []
        raise DeviceError(f"device {name!r} is not available: choose auto or one of {', '.join(there + numbered)}")
    return torch.device(name)


def devices_here() -> list[str]:
    """The kinds of devices of this machine, the fastest first."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, is_there in available.items() if is_there]


def memory_format(device: torch.device) -> torch.memory_format:
    """How images and filters lie in memory: channels last, 1.3 to 4 times as fast as NCHW on the CPU.

    But NCHW on MPS, where batch norm's backward pass is wrong for channels last (torch 2.10 to 2.12, pytorch#175189).
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def keep_memory() -> bool:
    """Let glibc keep freed memory instead of handing it back; returns whether this system could be told.

    It holds for the whole process. Without it every activation of a few MB is mapped, faulted in and unmapped at
    every step (benchmarks/roofline.py measures what that costs). Other C libraries are left as they are.
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
