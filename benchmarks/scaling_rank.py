"""One rank, or the only process, of a training that is timed: started by scaling.py, also under torchrun.

    python benchmarks/scaling_rank.py resnet18 --steps 60                       # prints one line of JSON
    torchrun --nproc-per-node 2 benchmarks/scaling_rank.py resnet18 --steps 60  # the first rank prints it

The steps are those of `loop.train_epoch` with recipe fast: batches drawn and augmented, forward, backward, exchange
of gradients, optimiser, averaged weights.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from fmnist_lib import models
from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.training import loop, precision
from fmnist_lib.training.devices import keep_memory
from fmnist_lib.training.parallel import World, joined
from fmnist_lib.training.precision import Plan
from fmnist_lib.training.recipes import find_recipe

WARM_UP = 10  # steps: memory is got, the kernels are chosen, and DDP arranges its buckets
WIDTHS = (16, 32, 64, 128)


def memory_mib(field: str) -> float | None:
    """Memory of this process in MiB: "VmHWM" its peak, "VmRSS" now; None where there is no /proc.

    ru_maxrss would not do: a child begins with the peak of the process that started it (Linux, fs/exec.c, exec_mmap).
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def measure(world: World, options: argparse.Namespace) -> dict[str, object]:
    """Train so many steps after the warm-up; the first rank's seconds, and the memory of each."""
    steps = WARM_UP + options.steps
    recipe = replace(find_recipe("fast"), batch_size=options.batch, images=steps * options.batch, precision="float32")
    batches = launch.make_batches(Run(Path(), options.model, recipe))
    if batches.steps != steps:
        raise SystemExit(f"error: an epoch has {batches.steps} batches of {options.batch}, fewer than {steps}")
    widths = tuple(int(width * options.width) for width in WIDTHS)
    model = models.build_seeded(options.model, 0, widths=widths).to(memory_format=torch.channels_last)
    at_start = memory_mib("VmRSS") or 0.0
    training = loop.start(model, batches, recipe, device=torch.device("cpu"), world=world)
    training.plan = Plan.from_dict(json.loads(options.plan))  # the same in every process, whatever its clock says
    clock: list[float] = []
    with precision.applied(training.plan, model):
        loop.train_epoch(training, batches, [lambda _: clock.append(time.perf_counter())])
    memory = torch.zeros(2, world.size, dtype=torch.float64)
    memory[:, world.rank] = torch.tensor([at_start, memory_mib("VmHWM") or 0.0])
    start, peak = world.sum(memory).tolist()
    seconds = clock[-1] - clock[WARM_UP - 1] if world.is_first else float("nan")
    return {
        "step_seconds": seconds / options.steps,
        "images_per_second": options.steps * options.batch / seconds,
        "parameters": models.count_parameters(model),
        "threads": torch.get_num_threads(),
        "start_mib": start,
        "peak_mib": peak,
    }


def main() -> None:
    """Measure, and let the first rank print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("resnet18", "resnet34"))
    parser.add_argument("--batch", type=int, default=128, help="the global batch")
    parser.add_argument("--width", type=float, default=1.0, help="times the usual channels")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--plan", default=json.dumps(Plan(mixed=False).as_dict()), help="a precision.Plan as JSON")
    options = parser.parse_args()
    keep_memory()
    with joined("cpu") as world:
        result = measure(world, options)
    if world.is_first:
        json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
