"""Where a training step's time goes: its modules' times, measured alone, added up by family.

What is left between their sum and the measured step is the remainder: Python, autograd's own work, and what is slower
in a network than alone. It can be negative where a network finds its data in a warmer cache.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import torch
from measuring import seconds
from parts import Part, Timing, make_sweep
from step import BATCH_SIZE, endless_batches, make_optimizer
from torch.nn import functional

from fmnist_lib import models


def explain_step(
    model_name: str,
    parts: Counter[Part],
    *,
    timings: Mapping[Part, Timing],
    step_ms: float,
    repetitions: int,
    dataset: str,
) -> dict[str, dict[str, float]]:
    """Milliseconds and share of the step for every family, forward and backward, the rest of a step, and what is left.

    `step_ms` is the whole step, measured; the largest family comes first, the remainder last.
    """
    found = add_up(parts, timings) | measure_rest(model_name, repetitions=repetitions, dataset=dataset)
    ordered = dict(sorted(found.items(), key=lambda item: -item[1]))
    ordered["remainder"] = step_ms - sum(found.values())
    return {name: {"ms": round(ms, 3), "share": round(ms / step_ms, 4)} for name, ms in ordered.items()}


def add_up(parts: Counter[Part], timings: Mapping[Part, Timing]) -> dict[str, float]:
    """Milliseconds of each family forward and backward: medians, each as often as the part occurs."""
    sums: dict[str, float] = defaultdict(float)
    for part, count in parts.items():
        forward, backward = timings[part].medians()
        sums[f"{part.family} forward"] += 1e3 * count * forward
        sums[f"{part.family} backward"] += 1e3 * count * backward
    return sums


def measure_rest(model_name: str, *, repetitions: int, dataset: str) -> dict[str, float]:
    """Milliseconds of what is no module: the optimiser, the loss, and drawing a batch."""
    batches = endless_batches(dataset)
    model = models.build_seeded(model_name, 0).to(memory_format=torch.channels_last)
    x, y = next(batches)
    functional.cross_entropy(model(x), y).backward()
    optimizer = make_optimizer(model)
    logits = torch.randn(BATCH_SIZE, models.NUM_CLASSES, requires_grad=True)
    runs: dict[str, Callable[[], object]] = {
        "optimiser": optimizer.step,
        "loss": lambda: torch.autograd.grad(functional.cross_entropy(logits, y), logits),
        "data": lambda: next(batches),
    }
    sweep = make_sweep()
    return {name: 1e3 * median_of(run, sweep, repetitions=repetitions) for name, run in runs.items()}


def median_of(run: Callable[[], object], sweep: Callable[[torch.Tensor], None], *, repetitions: int) -> float:
    """Median seconds on swept caches; the first repetition does not count."""
    times = []
    for _ in range(repetitions + 1):
        sweep(torch.zeros(1))
        times.append(seconds(run))
    return statistics.median(times[1:])
