"""What the trainings that ours are compared with share: seeds one after the other, and what is reported of them."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import print_table, spread, write_result
from torch import nn

from fmnist_lib.models import count_parameters

Rows = list[dict[str, float]]  # one an epoch: epoch, training seconds so far, accuracies (0 to 1)


def make_parser(description: str | None, *, out: Path) -> argparse.ArgumentParser:
    """The options that every contestant has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, help="only so many images, for a short check")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def run_seeds(
    options: argparse.Namespace, run: Callable[[int], Rows], *, model: nn.Module, about: Mapping[str, Any]
) -> None:
    """Train once a seed by `run`, write the file after each, so that a long run can be stopped, and print a table.

    `model` is one of the contestant's networks, to count its parameters; `about` is written with the figures.
    """
    runs: dict[int, Rows] = {}
    for seed in options.seeds:
        runs[seed] = run(seed)
        write_result(options.out, dict(about) | {"parameters": count_parameters(model)} | summarise(runs))
    last = {seed: rows[-1] for seed, rows in runs.items()}
    names = list(next(iter(last.values())))
    print_table(("seed", *names), [(seed, *row.values()) for seed, row in last.items()])


def summarise(runs: Mapping[int, Rows]) -> dict[str, Any]:
    """All rows, and the spread over the seeds of the time and of the last epoch's accuracies."""
    last = [rows[-1] for rows in runs.values()]
    return {
        "n": len(runs),
        "epochs": int(last[0]["epoch"]),
        "training_seconds": spread([row["seconds"] for row in last], digits=1),
        "seconds_per_epoch": spread([row["seconds"] / row["epoch"] for row in last], digits=1),
        **{name: spread([row[name] for row in last]) for name in last[0] if name.endswith("accuracy")},
        "runs": [{"seed": seed, "epochs": rows} for seed, rows in runs.items()],
    }
