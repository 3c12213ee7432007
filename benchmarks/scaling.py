"""Ranks against threads on this machine, and what a network would make of more machines: writes scaling.json.

    python benchmarks/scaling.py                                        # about 12 minutes on an idle machine
    python benchmarks/scaling.py --turns 1 --steps 3 --out /tmp/s.json  # a short check
    python benchmarks/scaling.py --page                                 # fill docs/cluster.md from scaling.json

Every measurement is a process, or a torchrun, of its own (scaling_rank.py); all take turns.
1. ResNet-18 with recipe fast and a global batch of 128: one process, two ranks, three ranks.
2. How time and memory of one process grow with batch, width and depth.
3. Out of both (network.py): with how many machines, on which network, sending takes as long as computing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import print_table, spread, take_turns, write_result
from network import LATENCY, Step, bytes_sent, fit_line
from pages import fill_page, make_table

from fmnist_lib import data, models
from fmnist_lib.training import precision
from fmnist_lib.training.parallel import count_cores

RESULT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
RANK = Path(__file__).with_name("scaling_rank.py")
BATCH = 128
BATCHES = (32, 64, 128, 256, 512)
TARGET = 0.85  # two ranks against one process with all threads
GIGABITS = (1, 10, 100)

Figures = dict[str, Any]
Measurement = Callable[[], Figures]


def run(*arguments: object, ranks: int = 1, threads: int | None = None) -> Figures:
    """What scaling_rank.py prints. `threads` None leaves them to torchrun and `parallel.joined`."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, *map(str, (RANK, *arguments))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def plan_scaling(options: Sequence[object]) -> dict[str, Measurement]:
    """One process with all threads, with one, with one on half a batch (a rank's work alone), and several ranks."""
    cores = count_cores()
    resnet18 = partial(run, "resnet18", *options)
    return {
        f"1 process, {cores} threads": partial(resnet18, threads=cores),
        "1 process, 1 thread": partial(resnet18, threads=1),
        "1 process, 1 thread, half the batch": partial(resnet18, "--batch", BATCH // 2, threads=1),
        "2 ranks": partial(resnet18, ranks=2),
        "3 ranks": partial(resnet18, ranks=3),
    }


def plan_growth(options: Sequence[object]) -> dict[str, Measurement]:
    """One process with all threads; each differs from resnet18 with batch 128 in one thing."""
    grown: dict[str, tuple[object, ...]] = {f"batch {batch}": ("resnet18", "--batch", batch) for batch in BATCHES}
    grown |= {f"width x{width:g}": ("resnet18", "--width", width) for width in (0.5, 2)}
    grown["resnet34"] = ("resnet34",)
    return {name: partial(run, *what, *options, threads=count_cores()) for name, what in grown.items()}


def summarise(runs: Sequence[Figures]) -> Figures:
    """The spread over the turns, of the first rank's time and of the largest rank's memory."""
    return {
        "images_per_second": spread([figures["images_per_second"] for figures in runs], digits=1),
        "step_ms": spread([figures["step_seconds"] * 1e3 for figures in runs], digits=2),
        "start_mib": spread([max(figures["start_mib"]) for figures in runs], digits=0),
        "peak_mib": spread([max(figures["peak_mib"]) for figures in runs], digits=0),
        "threads": runs[0]["threads"],
        "parameters": runs[0]["parameters"],
    }


def measure(options: argparse.Namespace) -> Figures:
    """All measurements, and what follows from them."""
    batches = data.batches(batch_size=BATCH)
    model = models.build_seeded("resnet18", 0)
    plan = precision.make_plan(model, next(batches.train(1))[0], wanted="bfloat16").as_dict()
    common = ("--plan", json.dumps(plan), "--steps")
    runs = take_turns(plan_scaling((*common, options.steps)), options.turns)
    growth_runs = take_turns(plan_growth((*common, max(1, options.steps // 3))), options.turns)
    growth = {name: summarise(turns) for name, turns in growth_runs.items()}
    alone, *_ = runs.values()
    ratios = [a["images_per_second"] / b["images_per_second"] for a, b in zip(runs["2 ranks"], alone, strict=True)]
    gradient_bytes = 4 * models.count_parameters(model)  # fp32, also where layers compute in bf16
    fixed, per_image = fit_line({batch: growth[f"batch {batch}"]["step_ms"]["median"] / 1e3 for batch in BATCHES})
    step = Step(fixed, per_image, BATCH, gradient_bytes)
    return {
        "what": f"resnet18, recipe fast, global batch {BATCH}; {options.steps} steps a turn",
        "plan": plan,
        "scaling": {name: summarise(turns) for name, turns in runs.items()},
        "two_ranks_against_threads": spread(ratios, digits=3),
        "target": TARGET,
        "gradient_bytes": gradient_bytes,
        "bytes_sent_per_rank_and_step": {str(ranks): round(bytes_sent(gradient_bytes, ranks)) for ranks in (2, 3)},
        "growth": growth,
        "fixed_ms": round(fixed * 1e3, 3),
        "ms_per_image": round(per_image * 1e3, 4),
        "assumed_latency_ms": LATENCY * 1e3,
        "prediction": [step.predict(gigabits) for gigabits in GIGABITS],
    }


def measured_table(rows: Mapping[str, Figures]) -> str:
    """Speed and memory, with the smallest and the largest of the turns."""

    def cell(values: Mapping[str, float]) -> str:
        return f"{values['median']:g} ({values['min']:g} to {values['max']:g})"

    return make_table(
        ["", "images/s", "ms a step", "peak MiB of a process", "threads each"],
        [
            [name, *(cell(row[field]) for field in ("images_per_second", "step_ms", "peak_mib")), row["threads"]]
            for name, row in rows.items()
        ],
    )


def predicted_table(figures: Figures) -> str:
    """Speed-up of a divided batch, and efficiency with a batch for each, by machines and bandwidth."""
    prediction = figures["prediction"]
    headings = ["machines", "computing, ms", *(f"sending at {row['gigabits']} Gbit/s, ms" for row in prediction)]
    headings += [f"speed-up at {row['gigabits']} Gbit/s" for row in prediction]
    rows = []
    for at_each in zip(*(row["rows"] for row in prediction), strict=True):
        times, speedups = ([row[field] for row in at_each] for field in ("exchange_ms", "speedup"))
        rows.append([at_each[0]["machines"], at_each[0]["compute_ms"], *times, *speedups])
    limits = [row["machines_at_limit"] or f"more than {BATCH}" for row in prediction]
    return make_table(headings, [*rows, ["**limit**", "", *(f"**{limit} machines**" for limit in limits), "", "", ""]])


def make_block(figures: Figures) -> str:
    """The part of docs/cluster.md that comes from scaling.json."""
    about, ratio = figures["machine"], figures["two_ranks_against_threads"]
    sent = figures["bytes_sent_per_rank_and_step"]
    return "\n\n".join(
        [
            f"Measured: {figures['what']}; {figures['plan']['reason']}. n = {ratio['n']} turns; median (smallest to "
            f"largest). {about['processor']}, {about['cores']} cores, torch {about['torch']}, {about['git_commit']}.",
            measured_table(figures["scaling"]),
            f"Two ranks against one process with all threads: **{ratio['median']:g}** ({ratio['min']:g} to "
            f"{ratio['max']:g}); the target was {figures['target']:g}. The gradients are {figures['gradient_bytes']:,} "
            f"bytes; each of two ranks sends {sent['2']:,} bytes a step, each of three {sent['3']:,}.",
            measured_table(figures["growth"]),
            f"Predicted: a step of one such machine takes {figures['fixed_ms']:g} ms and {figures['ms_per_image']:g} "
            f"ms an image (a line through the batches above), a message {figures['assumed_latency_ms']:g} ms (assumed),"
            f" and sending never overlaps with computing. The global batch stays {BATCH}; the limit is where sending "
            "takes as long as computing.",
            predicted_table(figures),
        ]
    )


def main() -> None:
    """Measure and write the results, or fill the page from them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="a turn, after the warm-up; a third of it for growth")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="measure nothing; default: docs/cluster.md")
    options = parser.parse_args()
    if options.page:
        fill_page(options.page, RESULT, make_block(json.loads(options.out.read_text())))
        return
    figures = measure(options)
    write_result(options.out, figures)
    rows = figures["scaling"] | figures["growth"]
    fields = ("images_per_second", "step_ms", "peak_mib")
    print_table(("", *fields), [(name, *(row[field]["median"] for field in fields)) for name, row in rows.items()])


if __name__ == "__main__":
    main()
