"""What a recorder costs: writes recorder.json beside this file.

    python benchmarks/recorder.py

Times one training step and one snapshot of ResNet-18, taking turns in one process, so that both see the same machine.
A snapshot is taken once an epoch, as `lab` takes it; an epoch has 430 steps of 128 images.
"""

import json
import statistics
from pathlib import Path

import torch
from measuring import seconds, write_result
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.runs import record
from fmnist_lib.visualisers.recorder import Recorder

TURNS = 15
STEPS_PER_EPOCH = 430
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
    write_result(RESULT, figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
