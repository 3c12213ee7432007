"""Devices, and the memory that is kept."""

import subprocess
import sys

import pytest
import torch

from fmnist_lib import devices


@pytest.mark.parametrize("name", ["cuda:99x", "tpu", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(devices.DeviceError, match=r"not available: choose auto or one of .*cpu"):
        devices.pick_device(name)


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=devices.pick_device("auto")).sum() == 2


FAULTS = """
import resource, torch
from fmnist_lib import devices
assert devices.keep_memory()
for _ in range(20):
    torch.ones(4_000_000)  # 16 MB; the first few come from memory that the heap had kept untouched
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")
def test_kept_memory_is_not_faulted_in_again() -> None:
    """In a process of its own: where the heap is full of other tests' pieces, the 16 MB may lie elsewhere each time."""
    answer = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 1_000  # without it 23,000
