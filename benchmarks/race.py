"""All contestants on one machine in one go, taking turns: the original's recipe, the course's, and our recipes.

    .venv/bin/python benchmarks/race.py            # hours; a stopped race goes on where it was
    .venv/bin/python benchmarks/race.py --only sprint original

Every run has a process of its own and leaves a file in build/race, which is not run again. The test set is opened
once by each, after its last epoch; the original alone is tested after each epoch, as the lab report did. Writes
benchmarks/race.json; `benchmarks/results.py` puts it beside the other figures.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import print_table, write_result

HERE = Path(__file__).parent
RESULT = HERE / "race.json"
FOLDER = HERE.parent / "build" / "race"
SEEDS = {  # contestant -> how many seeds
    "original": 3,
    "course22p2": 2,
    "sprint/resnet18": 10,
    "fast/resnet18": 5,
    "fast/alexnet": 5,
    "fast/resnet34": 5,
}


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
    """A run of ours, as a sweep of one."""
    sweep = FOLDER / f"{recipe}-{model}-{seed}.json"
    runs = [{"model": model, "recipe": recipe, "seeds": [seed]}]
    sweep.write_text(json.dumps({"runs": runs, "test": True}))
    start("-m", "fmnist_lib", "sweep", str(sweep))
    with sweep.with_suffix(".csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    names = ("seconds", "val_accuracy", "val_flip", "test_accuracy", "test_flip")
    figures = {name: float(row[name]) for name in names if row[name]}
    return {"seed": seed, "epoch": int(row["epochs"]), **figures, "parameters": int(row["parameters"])}


def start(*arguments: str) -> None:
    """Run Python on its own, and end with its message when it fails."""
    if code := subprocess.run([sys.executable, *arguments], check=False).returncode:
        sys.exit(f"error: {' '.join(arguments)} ended with {code}. What ran before is kept; start the race again.")


def main() -> None:
    """Race, writing the file after each turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of {', '.join(SEEDS)}, or their recipes")
    options = parser.parse_args()
    chosen = [name for name in SEEDS if not options.only or {name, name.split("/")[0]} & set(options.only)]
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for name, seed in make_turns(chosen):
        runs[name].append(run_turn(name, seed))
        write_result(RESULT, {"runs": runs})
    rows = [
        (name, run["seed"], run["epoch"], run["seconds"], run["test_accuracy"], run.get("test_flip", ""))
        for name, made in runs.items()
        for run in made
    ]
    print_table(("contestant", "seed", "epochs", "seconds", "test", "with flip"), rows)


if __name__ == "__main__":
    main()
