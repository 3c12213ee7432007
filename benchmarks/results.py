"""Puts what the benchmarks measured together: writes results.json.

    python benchmarks/results.py      # a minute; after race.py, roofline.py, loader.py and scaling.py

Every figure is out of the files beside this one and the committed runs of recipe best. Only what these say together
is measured here.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import print_table, spread, write_result
from race import GOAL

from fmnist_lib import lab
from fmnist_lib.checkpoint import Run
from fmnist_lib.models import count_parameters

HERE = Path(__file__).parent
RESULT = HERE / "results.json"
RUNS = HERE.parent / "checkpoints"
MEMORY_GOAL_MIB = 2048
Runs = Sequence[Mapping[str, Any]]
Figures = dict[str, Any]


def read(name: str) -> Figures:
    """A benchmark's file."""
    return json.loads((HERE / f"{name}.json").read_text())


def mean_of(runs: Runs, name: str) -> Figures:
    """Mean and standard deviation over the seeds, and the extremes."""
    values = [run[name] for run in runs]
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    figures = {"mean": statistics.fmean(values), "std": deviation, "min": min(values), "max": max(values)}
    return {f"{name.removeprefix('test_')}_{key}": round(value, 5) for key, value in figures.items()}


def summarise(runs: Runs) -> Figures:
    """A contestant's runs: accuracies on the test set, after the last epoch, and training seconds."""
    figures: Figures = {"n": len(runs), "epochs": runs[0]["epoch"]}
    for name in ("test_accuracy", "test_flip"):
        if name in runs[0]:
            figures |= mean_of(runs, name)
    times = spread([run["seconds"] for run in runs], digits=2)
    return figures | {f"seconds_{name}": value for name, value in times.items() if name != "n"}


def time_to_goal(originals: Runs) -> Figures:
    """When the original's recipe got to the lab report's accuracy: the median over its seeds.

    A seed that did not within its epochs counts with the time that these took, which is less than it would need.
    """
    times, reached = [], 0
    for run in originals:
        there = [epoch["seconds"] for epoch in run["epochs"] if epoch["test_accuracy"] >= GOAL]
        reached += bool(there)
        times.append(there[0] if there else run["seconds"])
    return {"original_seconds": statistics.median(times), "original_n": len(times), "original_got_there": reached}


def against_original(race: Mapping[str, Runs]) -> Figures:
    """The sections on sprint and fast, whose measure is the original's time in the same race."""
    goal = time_to_goal(race["original"])
    sprint = summarise(race["sprint/resnet18"]) | goal
    sprint["ratio"] = round(goal["original_seconds"] / sprint["seconds_median"], 2)
    five_epochs = statistics.median(run["seconds"] for run in race["original"])
    fast = {}
    for name, runs in race.items():
        if name.startswith("fast/"):
            share = statistics.median(run["seconds"] for run in runs) / five_epochs
            own = {"original_seconds": five_epochs, "share_of_original": round(share, 3)}
            fast[name.removeprefix("fast/")] = summarise(runs) | own
    others = {name: summarise(race[name]) for name in ("original", "course22p2")}
    return {"goal": GOAL, "sprint": sprint, "fast": fast} | others


def read_best() -> Figures:
    """The committed runs of recipe best, and the mean of their class probabilities."""
    found: Figures = {}
    runs = [Run.load(folder) for folder in sorted(RUNS.glob("*-best"))]
    for run in runs:
        test = run.evaluation["test"]
        found[run.model_name] = {
            "n": 1,
            "epochs": run.epochs_done,
            "accuracy": test["accuracy"],
            "flip": test["flip"]["accuracy"],
            "seconds": round(run.seconds, 1),
            "parameters": count_parameters(run.model()),
        }
    test = lab.evaluate_runs(runs, "test", device="cpu")
    sums = {name: sum(figures[name] for figures in found.values()) for name in ("epochs", "seconds", "parameters")}
    return found | {"together": {"n": 1, "accuracy": test["accuracy"], "flip": test["flip"]["accuracy"]} | sums}


def machine_and_memory(roofline: Figures, loader: Figures, scaling: Figures) -> Figures:
    """Speed, share of the peak, loader's cost, and how seconds and memory grow."""
    steps = {
        name: {key: row[key] for key in ("images_per_second", "gflops", "share_of_peak")}
        for name, row in roofline["steps"].items()
    }
    growth = {
        name: {key: row[key] for key in ("images_per_second", "step_ms", "peak_mib")}
        for name, row in (scaling["scaling"] | scaling["growth"]).items()
    }
    peak = max(row["peak_mib"]["max"] for row in growth.values())
    memory = {"peak_mib": peak, "goal_mib": MEMORY_GOAL_MIB, "met": peak < MEMORY_GOAL_MIB}
    return {
        "peaks": roofline["peaks"],
        "steps": steps,
        "loader": loader["loaders"],
        "growth": growth,
        "two_ranks_against_threads": scaling["two_ranks_against_threads"],
        "memory": memory,
    }


def main() -> None:
    """Write the file, and print the race and best."""
    race = read("race")["runs"]
    best = read_best()
    figures = against_original(race) | {"best": best}
    figures |= machine_and_memory(read("roofline"), read("loader"), read("scaling"))
    write_result(RESULT, figures)
    rows = [("original", figures["original"]), ("course22p2", figures["course22p2"]), ("sprint", figures["sprint"])]
    rows += [(f"fast {model}", row) for model, row in figures["fast"].items()]
    print_table(
        ("contestant", "n", "accuracy", "with flip", "seconds"),
        [
            *(
                (name, row["n"], row["accuracy_mean"], row.get("flip_mean", ""), row["seconds_median"])
                for name, row in rows
            ),
            *((f"best {name}", row["n"], row["accuracy"], row["flip"], row["seconds"]) for name, row in best.items()),
        ],
    )


if __name__ == "__main__":
    main()
