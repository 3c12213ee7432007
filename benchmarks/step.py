"""A training step on the CPU, as the library makes it, and its time in a process of its own.

    python benchmarks/step.py resnet18 --precision bfloat16 --steps 60        # prints one line of JSON

Batch 128, drawn from the data in memory without augmentation, channels_last, SGD with momentum (fused). The other
benchmarks start this file as a process, so that memory, compiler and threads are those of a fresh one.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from measuring import seconds
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.training.devices import keep_memory

BATCH_SIZE = 128
WARM_UP = 5  # steps before those that count
PRECISIONS = ("float32", "bfloat16")


def endless_batches(dataset: str) -> Iterator[data.Pair]:
    """Training batches of 128 of a set, without augmentation, epoch after epoch."""
    return full_batches(data.batches(dataset=dataset, batch_size=BATCH_SIZE))


def full_batches(batches: data.Batches) -> Iterator[data.Pair]:
    """Training batches of the full size, epoch after epoch."""
    for epoch in itertools.count(1):
        yield from (pair for pair in batches.train(epoch) if len(pair[1]) == batches.batch_size)


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum and weight decay, fused; slow enough to keep every number finite."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)


def make_step(
    model_name: str, batches: Iterator[data.Pair], *, precision: str, compiled: bool = False
) -> Callable[[], None]:
    """A function that draws a batch and trains on it once. In "bfloat16" autocast covers every layer."""
    model = models.build_seeded(model_name, 0).to(memory_format=torch.channels_last).train()
    run_model = torch.compile(model) if compiled else model
    optimizer = make_optimizer(model)

    def step() -> None:
        x, y = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = run_model(x.to(memory_format=torch.channels_last)).float()
            loss = functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def count_faults() -> int:
    """Pages that this process had mapped in by now, without a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure_step(step: Callable[[], None], *, steps: int) -> dict[str, float]:
    """Seconds of the first steps together, median and best milliseconds of those after, and page faults a step."""
    warm_up = sum(seconds(step) for _ in range(WARM_UP))
    faults = count_faults()
    times = [seconds(step) for _ in range(steps)]
    faults = count_faults() - faults
    return {
        "warm_up_seconds": warm_up,
        "step_ms": statistics.median(times) * 1e3,
        "best_ms": min(times) * 1e3,
        "faults_per_step": faults / steps,
    }


def measure_in_process(model_name: str, *, arguments: list[str]) -> dict[str, float]:
    """What `measure_step` found in a fresh process; the arguments are this file's. Nothing compiled is reused."""
    command = [sys.executable, __file__, model_name, *arguments]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    """Measure one model, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(models.REGISTRY))
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--dataset", choices=list(data.VALIDATION), default="full")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--plain-memory", action="store_true", help="leave glibc's malloc as it is")
    options = parser.parse_args()
    kept = not options.plain_memory and keep_memory()
    started = time.perf_counter()
    batches = endless_batches(options.dataset)
    step = make_step(options.model, batches, precision=options.precision, compiled=options.compile)
    figures: dict[str, Any] = {"setup_seconds": time.perf_counter() - started, "memory_kept": kept}
    print(json.dumps(figures | measure_step(step, steps=options.steps)))


if __name__ == "__main__":
    main()
