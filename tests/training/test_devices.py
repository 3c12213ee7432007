"""Devices, and the memory that is kept."""

import subprocess
import sys

import pytest
import torch

from fmnist_lib.runs import machine
from fmnist_lib.training import devices

NO_DEVICES = ("cuda:99x", "tpu", "", "cpu:x", "cpu:0", "cuda:", "cuda:-1", "cuda:2", "mps:0", "CPU", 3)


@pytest.mark.parametrize("name", NO_DEVICES)
@pytest.mark.parametrize("gpus", [0, 2])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, name: str, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    there = "cuda, cpu, cuda:0, cuda:1$" if gpus else "cpu$"
    with pytest.raises(devices.DeviceError, match=rf"not available: choose auto or one of {there}"):
        devices.pick_device(name)


def test_gpus_go_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {torch.device(device).index}")
    assert devices.pick_device("cuda:1") == torch.device("cuda", 1)
    assert machine.describe(torch.device("cuda", 1))["device"] == "card 1"


def test_images_lie_channels_last_but_on_mps() -> None:
    layouts = {kind: devices.memory_format(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}
    assert layouts == {"cpu": torch.channels_last, "cuda": torch.channels_last, "mps": torch.contiguous_format}


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=devices.pick_device("auto")).sum() == 2


FAULTS = """
import resource, sys, torch
from fmnist_lib import models
from fmnist_lib.training import devices
if sys.argv[1] == "keep":
    assert devices.keep_memory()
model = models.build("resnet18").to(memory_format=torch.channels_last)
x = torch.randn(64, 1, 28, 28)
for step in range(8):
    if step == 4:
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
