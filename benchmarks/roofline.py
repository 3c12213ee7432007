"""What this CPU can do, and what share of it a training step uses: writes roofline.json beside this file.

    python benchmarks/roofline.py                # about six minutes on an idle machine
    python benchmarks/roofline.py --compile      # torch.compile beside eager: about seven more
    python benchmarks/roofline.py --models alexnet --dataset tiny --repetitions 1 --rounds 1 --steps 2 --out /tmp/r.json

1. Every convolution and linear layer of the networks alone, on warm caches, in fp32 and bf16 in turns. The fastest
   convolution is the peak that the rest is held against; a large matrix product stands beside it.
2. Training steps, each measurement in a fresh process: both precisions, glibc's malloc as it is and as
   `devices.keep_memory` sets it, eager and compiled, all in turns.
3. Where a step's time goes: every module of a network alone, on swept caches, added up, against the measured step.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from families import explain_step
from measuring import print_table, seconds, spread, take_turns, write_result
from parts import MATRIX_FAMILIES, Part, Timing, find_parts, make_sweep, time_parts
from step import BATCH_SIZE, PRECISIONS, endless_batches, measure_in_process

from fmnist_lib import models
from fmnist_lib.training.devices import keep_memory

MODELS = ("resnet18", "alexnet", "resnet34")
MATRIX_SIZE = 2048
RESULT = Path(__file__).with_suffix(".json")

PartsOf = dict[tuple[str, str], Counter[Part]]  # (model, precision) -> parts and how often they occur
Figures = dict[str, Any]


def find_all_parts(names: Sequence[str]) -> PartsOf:
    """The parts of each model in each precision, at the batch size of training."""
    x, _ = next(endless_batches("tiny"))
    found: PartsOf = {}
    for name in names:
        model = models.build_seeded(name, 0).to(memory_format=torch.channels_last)
        for precision in PRECISIONS:
            found[name, precision] = find_parts(model, x, precision=precision)
    return found


def measure_layers(found: PartsOf, *, repetitions: int) -> list[Figures]:
    """One row for each distinct convolution or linear layer, both precisions in turns."""
    pairs: dict[tuple[str, tuple[int, ...]], dict[str, Part]] = {}
    for (_, precision), parts in found.items():
        for part in parts:
            if part.family in MATRIX_FAMILIES:
                pairs.setdefault((part.text, part.shape), {})[precision] = part
    rows = []
    for (text, shape), pair in pairs.items():
        timings = time_parts(list(pair.values()), repetitions=repetitions)
        occurs = {name: parts[pair[precision]] for (name, precision), parts in found.items() if precision == "float32"}
        row: Figures = {"layer": text, "input": list(shape), "occurs": {k: n for k, n in occurs.items() if n}}
        row |= {precision: describe_layer(part, timings[part]) for precision, part in pair.items()}
        row["bfloat16_speedup"] = round(row["float32"]["step_ms"]["median"] / row["bfloat16"]["step_ms"]["median"], 2)
        rows.append(row)
    return rows


def describe_layer(part: Part, timing: Timing) -> Figures:
    """Milliseconds forward and of a whole step (forward and backward), and GFLOP/s at best and at the median."""
    figures: Figures = {}
    for name, times, flops in (
        ("forward", timing.forward, part.forward_flops()),
        ("step", timing.both, part.step_flops()),
    ):
        figures[f"{name}_ms"] = spread([1e3 * value for value in times])
        figures[f"{name}_gflops_best"] = round(flops / min(times) / 1e9, 1)
        figures[f"{name}_gflops_median"] = round(flops / statistics.median(times) / 1e9, 1)
    return figures


def measure_product(*, repetitions: int) -> Figures:
    """GFLOP/s of a product of two large square matrices, for reference, both precisions in turns."""
    matrices = {name: torch.randn(2, MATRIX_SIZE, MATRIX_SIZE).to(getattr(torch, name)) for name in PRECISIONS}
    runs = {name: lambda pair=pair: seconds(lambda: pair[0] @ pair[1]) for name, pair in matrices.items()}
    take_turns(runs, 2)
    times = take_turns(runs, repetitions)
    return {name: spread([2 * MATRIX_SIZE**3 / value / 1e9 for value in times[name]], digits=1) for name in times}


def find_peaks(layers: Sequence[Figures], product: Figures) -> Figures:
    """The fastest convolution of each precision, forward or forward and backward, in GFLOP/s."""
    peaks: Figures = {}
    for precision in PRECISIONS:
        rates = [
            (row[precision][f"{way}_gflops_best"], way, row["layer"], row["input"])
            for row in layers
            if row["layer"].startswith("Conv2d")
            for way in ("forward", "step")
        ]
        rate, way, layer, shape = max(rates)
        peaks[precision] = {"convolution_gflops": rate, "of": f"{layer} on {shape}, {way}"}
        peaks[precision]["matrix_product_gflops"] = product[precision]
    return peaks


def plan_steps(options: argparse.Namespace) -> dict[str, Callable[[], dict[str, float]]]:
    """What to measure in a process of its own, by its name; malloc as it is only for the first model."""
    common = ["--dataset", options.dataset, "--steps", str(options.steps)]
    plans = {f"{name} {one}": (name, ["--precision", one]) for name in options.models for one in PRECISIONS}
    first = options.models[0]
    plans[f"{first} bfloat16 plain memory"] = (first, ["--plain-memory"])
    if options.compile:
        plans |= {f"{name} bfloat16 compiled": (name, ["--compile"]) for name in options.models}
    return {
        title: partial(measure_in_process, name, arguments=[*common, *more]) for title, (name, more) in plans.items()
    }


def describe_step(runs: Sequence[Mapping[str, float]]) -> Figures:
    """The spread over processes of each figure, and images a second at the median."""
    figures: Figures = {key: spread([run[key] for run in runs], digits=3) for key in runs[0] if key != "memory_kept"}
    return {"images_per_second": round(BATCH_SIZE / figures["step_ms"]["median"] * 1e3)} | figures


def rate_step(step: Figures, parts: Counter[Part], *, peak: float, layers: Sequence[Figures], precision: str) -> None:
    """Add to a step's figures its GFLOP/s, and its shares of the peak and of its own layers' time on warm caches."""
    milliseconds = step["step_ms"]["median"]
    gflop = sum(count * part.step_flops() for part, count in parts.items()) / 1e9
    alone = {(row["layer"], tuple(row["input"])): row[precision]["step_ms"]["median"] for row in layers}
    own = sum(count * alone[part.text, part.shape] for part, count in parts.items() if part.family in MATRIX_FAMILIES)
    step["gflop"] = round(gflop, 2)
    step["gflops"] = round(gflop / milliseconds * 1e3, 1)
    step["share_of_peak"] = round(step["gflops"] / peak, 3)
    step["own_layers_ms"] = round(own, 2)
    step["own_layers_share_of_step"] = round(own / milliseconds, 3)


def compare_compiled(steps: Figures, name: str) -> Figures:
    """What torch.compile costs at first and saves later; epochs until it has paid for itself, None for never."""
    eager, compiled = steps[f"{name} bfloat16"], steps[f"{name} bfloat16 compiled"]
    extra = compiled["warm_up_seconds"]["median"] - eager["warm_up_seconds"]["median"]
    saved = (eager["step_ms"]["median"] - compiled["step_ms"]["median"]) / 1e3 * (55_000 / BATCH_SIZE)
    return {
        "extra_warm_up_seconds": round(extra, 1),
        "images_per_second": {"eager": eager["images_per_second"], "compiled": compiled["images_per_second"]},
        "seconds_saved_per_epoch": round(saved, 2),
        "epochs_until_paid": round(extra / saved, 1) if saved > 0 else None,
    }


def explain_steps(found: PartsOf, steps: Figures, *, options: argparse.Namespace) -> Figures:
    """For each model and precision where the step's time goes; all parts take turns on swept caches."""
    distinct = list(dict.fromkeys(part for parts in found.values() for part in parts))
    timings = time_parts(distinct, repetitions=options.repetitions, prepare=make_sweep())
    return {
        f"{name} {precision}": explain_step(
            name,
            parts,
            timings=timings,
            step_ms=steps[f"{name} {precision}"]["step_ms"]["median"],
            repetitions=options.repetitions,
            dataset=options.dataset,
        )
        for (name, precision), parts in found.items()
    }


def measure(options: argparse.Namespace) -> Figures:
    """All figures, in the order of this file's first lines."""
    found = find_all_parts(options.models)
    layers = measure_layers(found, repetitions=options.repetitions)
    peaks = find_peaks(layers, measure_product(repetitions=options.repetitions))
    steps = {title: describe_step(runs) for title, runs in take_turns(plan_steps(options), options.rounds).items()}
    for title, step in steps.items():
        name, precision = title.split()[:2]
        peak = peaks[precision]["convolution_gflops"]
        rate_step(step, found[name, precision], peak=peak, layers=layers, precision=precision)
    figures = {
        "what": "batch 128, channels_last; a step has forward, backward and SGD; gflops count layers without bias",
        "n": {"repetitions_of_a_layer": options.repetitions, "processes": options.rounds, "steps_each": options.steps},
        "peaks": peaks,
        "steps": steps,
        "where_a_step_goes": explain_steps(found, steps, options=options),
        "layers": layers,
    }
    if options.compile:
        figures["compile"] = {name: compare_compiled(steps, name) for name in options.models}
    return figures


def print_summary(figures: Figures) -> None:
    """The steps, and the families of the first model in bf16."""
    keys = ("images_per_second", "gflops", "share_of_peak", "own_layers_share_of_step")
    rows = [
        (title, step["step_ms"]["median"], step["faults_per_step"]["median"], *(step[key] for key in keys))
        for title, step in figures["steps"].items()
    ]
    print_table(("step", "ms", "faults", *keys), rows)
    for title, families in figures["where_a_step_goes"].items():
        print(f"\n{title}")
        print_table(("part", "ms", "share"), [(name, row["ms"], row["share"]) for name, row in families.items()])


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(models.REGISTRY), default=list(MODELS))
    parser.add_argument("--dataset", choices=("full", "tiny"), default="full")
    parser.add_argument("--repetitions", type=int, default=20, help="of every layer and module")
    parser.add_argument("--rounds", type=int, default=3, help="processes for every kind of step")
    parser.add_argument("--steps", type=int, default=60, help="that count in each process")
    parser.add_argument("--compile", action="store_true", help="torch.compile beside eager")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    keep_memory()
    figures = measure(options)
    write_result(options.out, figures)
    print_summary(figures)


if __name__ == "__main__":
    main()
