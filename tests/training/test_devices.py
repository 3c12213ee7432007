"""Devices, and the memory that is kept."""

import subprocess
import sys

import pytest
import torch

from fmnist_lib.training import devices


@pytest.mark.parametrize("name", ["cuda:99x", "tpu", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(devices.DeviceError, match=r"not available: choose auto or one of .*cpu"):
        devices.pick_device(name)


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=devices.pick_device("auto")).sum() == 2


FAULTS = """
import resource, sys, torch
from fmnist_lib import models
from fmnist_lib.training import devices
if sys.argv[1] == "keep":
    assert devices.keep_memory()
model = models.build("resnet18").to(memory_format=torch.channels_last)
x = torch.randn(128, 1, 28, 28)
for step in range(20):
    if step == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(x).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")
def test_kept_memory_is_not_faulted_in_at_every_step() -> None:
    """Each in a process of its own, since the option cannot be taken back."""

    def count(what: str) -> int:
        answer = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
        return int(answer.stdout)

    assert count("keep") < count("leave") / 2
