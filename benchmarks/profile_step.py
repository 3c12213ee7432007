"""Where a training step's time goes on this processor: `sprint` and `fast`, part by part and operation by operation.

    python benchmarks/profile_step.py        # two minutes, on an idle machine; writes profile_step.json

The parts are those of `training.loop.train_epoch`, timed one after the other (on a CPU nothing runs on in the
background); the operations are torch's own account of the same steps, in percent of all that it saw.
"""

import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from measuring import write_result
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.training import loop, precision
from fmnist_lib.training.devices import keep_memory
from fmnist_lib.training.recipes import find_recipe

RESULT = Path(__file__).with_suffix(".json")
WARM_UP, STEPS, PROFILED, SHOWN = 10, 80, 20, 12


class Clock:
    """Adds up the seconds between two calls, by the name of what was done between them."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(list)
        self.last = time.perf_counter()

    def tick(self, part: str) -> None:
        """The time since the last tick belongs to `part`."""
        now = time.perf_counter()
        self.parts[part].append(now - self.last)
        self.last = now


def steps(name: str) -> Any:
    """A generator of clocks: each holds one step more of the training by that recipe."""
    recipe = find_recipe(name, "resnet18")
    run = Run(Path(), "resnet18", recipe, 0)
    batches, model = launch.make_batches(run), run.untrained_model()
    training = loop.start(model, batches, recipe, device=torch.device("cpu"))
    model.train()
    clock = Clock()
    for epoch in range(1, 1000):
        for step, (x, y) in enumerate(batches.train(epoch), start=1):
            training.step = step
            x = x.to(memory_format=torch.channels_last)
            clock.tick("the batch, augmented")
            with precision.applied(training.plan, model):
                with precision.autocast(training.plan, training.device):
                    scores = model(x).float()
                    loss = functional.cross_entropy(scores, y, label_smoothing=recipe.label_smoothing)
                clock.tick("forward pass and loss")
                model.zero_grad()
                loss.backward()
            clock.tick("backward pass")
            for optimizer in training.optimizers:
                loop.move_lr(optimizer, recipe, 0.5)
                optimizer.step()
                clock.tick(type(optimizer).__name__)
            if training.averaged is not None:
                training.averaged.update_parameters(model)
                clock.tick("moving average")
            yield clock


def account(name: str) -> dict[str, Any]:
    """Milliseconds a step by parts, and percent of torch's operations."""
    running = steps(name)
    for _ in range(WARM_UP):
        clock = next(running)
    clock.parts.clear()
    for _ in range(STEPS):
        next(running)
    parts = {part: 1000 * statistics.median(seconds) for part, seconds in clock.parts.items()}
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED):
            next(running)
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {
        "n": STEPS,
        "step_ms": round(sum(parts.values()), 2),
        "parts_ms": {part: round(milliseconds, 2) for part, milliseconds in parts.items()},
        "operations_percent": {
            event.key: round(100 * event.self_cpu_time_total / total, 1) for event in events[:SHOWN]
        },
    }


def main() -> None:
    """Write the account of both recipes."""
    keep_memory()
    figures = {name: account(name) for name in ("sprint", "fast")}
    write_result(RESULT, figures)
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
