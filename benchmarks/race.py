"""All contestants on one machine in one go, taking turns: the lab report's program, the course's, and our recipes.

    .venv/bin/python benchmarks/race.py            # hours; a stopped race goes on where it was
    .venv/bin/python benchmarks/race.py --only sprint original

Every run has a process of its own and leaves what it found in build/race, from where a stopped race goes on. The
test set is opened once by each, after its last epoch; the original alone is tested after each epoch, as the lab report
did. Writes race.json and its picture, race.png; results.py puts it beside the other figures. With --only the other
contestants keep the runs of an earlier race, and `machines` says for each contestant on what it ran.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from measuring import print_table, write_result

from fmnist_lib import models
from fmnist_lib.files import write_atomically
from fmnist_lib.runs import machine, measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers.plots import MARKERS, PALETTE, make_axes, show_percent

HERE = Path(__file__).parent
RESULT, PICTURE = HERE / "race.json", HERE / "race.png"
GOAL = 0.9001  # what the lab report reached on the test set
SECONDS = (10, 20, 50, 100, 200, 500)  # named along the axis
FOLDER = HERE.parent / "build" / "race"
SEEDS = {  # contestant -> how many seeds
    "original": 3,
    "course22p2": 2,
    "sprint/resnet18": 10,
    "fast/resnet18": 5,
    "fast/alexnet": 5,
    "fast/resnet34": 5,
}
LABELS = {
    "original": "the lab report's program, a dot an epoch",
    "course22p2": "fast.ai's network (course22p2)",
    "sprint/resnet18": "sprint, ResNet-18",
    "fast/resnet18": "fast, ResNet-18",
    "fast/alexnet": "fast, AlexNet",
    "fast/resnet34": "fast, ResNet-34",
}

Races = Mapping[str, Sequence[Mapping[str, Any]]]  # contestant -> its runs


def make_turns(names: Sequence[str]) -> list[tuple[str, int]]:
    """Contestant and seed, so ordered that each contestant's runs are spread over the whole race."""
    places = [((seed + 0.5) / SEEDS[name], name, seed) for name in names for seed in range(SEEDS[name])]
    return [(name, seed) for _, name, seed in sorted(places)]


def run_turn(name: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own, or what it left when it ran before: seed, seconds and accuracies."""
    if "/" in name:
        return run_ours(*name.split("/"), seed=seed)
    result = FOLDER / f"{name}-{seed}.json"
    if not result.exists():
        start(str(HERE / f"{name}.py"), "--seeds", str(seed), "--out", str(result))
    epochs = json.loads(result.read_text())["runs"][0]["epochs"]
    return {"seed": seed, **epochs[-1], "epochs": epochs}


def run_ours(recipe: str, model: str, *, seed: int) -> dict[str, Any]:
    """A run of ours, by the command that everybody has; one that is finished is only read."""
    folder = FOLDER / f"{recipe}-{model}-{seed}"
    start("-m", "fmnist_lib", "train", model, "--recipe", recipe, "--seed", str(seed), "--out", str(folder))
    run = Run.load(folder)
    figures = {"epoch": run.epochs_done, "seconds": round(run.seconds, 2)} | measure.accuracies(run)
    return {"seed": seed, **figures, "parameters": models.count_parameters(run.model())}


def start(*arguments: str) -> None:
    """Run Python on its own, and end with its message when it fails."""
    if code := subprocess.run([sys.executable, *arguments], check=False).returncode:
        sys.exit(f"error: {' '.join(arguments)} ended with {code}. What ran before is kept; start the race again.")


def draw(race: Races) -> Figure:
    """Accuracy on the test set against training seconds, a dot for each run, or for each of its epochs."""
    figure, axes = make_axes(title="The race: accuracy against training time", height=5.4)
    for (name, label), color, marker in zip(LABELS.items(), PALETTE, MARKERS, strict=False):
        for run in race.get(name, ()):
            points = [point for point in run.get("epochs", [run]) if "test_accuracy" in point]
            seconds = [point["seconds"] for point in points]
            accuracy = [point["test_accuracy"] for point in points]
            look = {"marker": marker, "linestyle": "-" if len(points) > 1 else "", "color": color}
            axes.plot(seconds, accuracy, label=label, markersize=6, linewidth=1, alpha=0.8, **look)
            label = ""  # the first of each kind stands for all in the legend
    axes.axhline(GOAL, color="#444444", linestyle="--", linewidth=1)
    axes.annotate("the lab report, 90.01 %", (0.25, GOAL), (0, 4), ("axes fraction", "data"), "offset points", size=9)
    axes.set_xscale("log")
    axes.set_xlabel("training time on two CPU cores, seconds (logarithmic)")
    axes.set_ylabel("accuracy on the test set")
    axes.margins(y=0.12)
    axes.set_xticks(SECONDS, map(str, SECONDS))
    axes.minorticks_off()
    show_percent(axes.yaxis)
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    return figure


def main() -> None:
    """Race, writing the file after each turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of {', '.join(SEEDS)}, or their recipes")
    options = parser.parse_args()
    chosen = [name for name in SEEDS if not options.only or {name, name.split("/")[0]} & set(options.only)]
    FOLDER.mkdir(parents=True, exist_ok=True)
    before = json.loads(RESULT.read_text()) if options.only else {"runs": {}, "machines": {}}
    here = machine.describe(torch.device("cpu"))
    runs = {name: [] if name in chosen else before["runs"][name] for name in SEEDS}
    machines = {name: here if name in chosen else before["machines"][name] for name in SEEDS}
    for name, seed in make_turns(chosen):
        runs[name].append(run_turn(name, seed))
        write_result(RESULT, {"runs": runs, "machines": machines})
        write_atomically(PICTURE, lambda file: draw(runs).savefig(file, format="png", dpi=120))
    rows = [
        (name, run["seed"], run["epoch"], run["seconds"], run["test_accuracy"], run.get("test_flip", ""))
        for name, made in runs.items()
        for run in made
    ]
    print_table(("contestant", "seed", "epochs", "seconds", "test", "with flip"), rows)


if __name__ == "__main__":
    main()
