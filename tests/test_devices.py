"""Devices, and the memory that is kept."""

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")
def test_kept_memory_is_not_faulted_in_again() -> None:
    import resource

    assert devices.keep_memory()
    for _ in range(3):
        torch.ones(4_000_000)  # 16 MB: mapped anew each time by default
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4_000  # 20 times 16 MB are 78,000 pages
