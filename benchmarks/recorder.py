"""What a recorder costs: writes recorder.json beside this file.

    python benchmarks/recorder.py

Times one training step and one snapshot of ResNet-18, taking turns in one process, so that both see the same machine.
A snapshot is taken once an epoch, as `lab` takes it; an epoch has 430 steps of 128 images. Then a process of its own
records, opens and animates a thousand epochs of a layer of 64 channels, and tells of its largest memory.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measuring import seconds, write_result
from torch import nn
from torch.nn import functional

from fmnist_lib import Explorer, data, models
from fmnist_lib.runs import record
from fmnist_lib.visualisers.recorder import Probe, Recorder

TURNS = 15
STEPS_PER_EPOCH = 430
MANY_EPOCHS = 1000
RESULT = Path(__file__).with_suffix(".json")


def main() -> None:
    """Measure, and write the medians and the share of an epoch."""
    model = models.build_seeded("resnet18", 0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    probe = record.make_probe("tiny")
    x, y = next(data.batches(dataset="tiny", batch_size=128).train(1))
    x = x.contiguous(memory_format=torch.channels_last)
    recorder = Recorder(model, probe=probe, gradient_layers=models.stage_ends(model))

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model.train()(x), y).backward()
        optimizer.step()

    step()
    recorder.snapshot(-1)
    turns = [(seconds(step), seconds(lambda turn=turn: recorder.snapshot(turn))) for turn in range(TURNS)]
    packing = seconds(recorder.recording) / (TURNS + 1)
    step_seconds = statistics.median(step for step, _ in turns)
    snapshot_seconds = statistics.median(snapshot for _, snapshot in turns)
    ratios = [snapshot / step for step, snapshot in turns]
    figures = {
        "what": "ResNet-18, batch 128, a probe of 128 images, all activations; one snapshot an epoch",
        "n": TURNS,
        "step_seconds_median": round(step_seconds, 4),
        "snapshot_seconds_median": round(snapshot_seconds, 4),
        "snapshot_in_steps": {"min": round(min(ratios), 2), "max": round(max(ratios), 2)},
        "packing_seconds_per_epoch": round(packing, 4),
        "share_of_an_epoch": round((snapshot_seconds + packing) / (step_seconds * STEPS_PER_EPOCH), 4),
    }
    figures["many_epochs"] = json.loads(subprocess.check_output([sys.executable, __file__, "many"], text=True))
    write_result(RESULT, figures)
    print(json.dumps(figures, indent=2))


def measure_many() -> dict[str, object]:
    """A thousand epochs of 64 channels: seconds to record, open (as a page) and animate, and the memory in GiB."""
    model = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    images, labels, _ = record.make_probe("tiny")
    recorder = Recorder(model, probe=Probe(images[:16], labels[:16], shown=4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def take() -> None:
        for epoch in range(MANY_EPOCHS):
            recorder.snapshot(epoch)
            optimizer.zero_grad()
            functional.cross_entropy(model(images[:16]), labels[:16]).backward()
            optimizer.step()

    taken = seconds(take)
    recording = recorder.recording()
    opened = seconds(lambda: Explorer(recording, kind="kernels").html())
    with tempfile.TemporaryDirectory() as folder:
        animated = seconds(lambda: Explorer(recording, kind="kernels").save_animation(Path(folder) / "kernels.gif"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    return {
        "what": "1 layer of 64 channels of 28x28, a probe of 16 images of which 4 are shown, and their kernels as GIF",
        "epochs": MANY_EPOCHS,
        "record_seconds": round(taken, 1),
        "open_seconds": round(opened, 1),
        "animate_seconds": round(animated, 1),
        "peak_gib": round(peak, 2),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["many"]:
        print(json.dumps(measure_many()))
    else:
        main()
