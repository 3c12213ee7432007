"""All contestants on one machine in one go, taking turns: the original's recipe, the course's, and our recipes.

    .venv/bin/python benchmarks/race.py            # hours; a stopped race goes on where it was
    .venv/bin/python benchmarks/race.py --only sprint original

Every run has a process of its own and leaves what it found in build/race, from where a stopped race goes on. The
test set is opened once by each, after its last epoch; the original alone is tested after each epoch, as the lab report
did. Writes benchmarks/race.json; `benchmarks/results.py` puts it beside the other figures.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import print_table, write_result

from fmnist_lib import lab, models
from fmnist_lib.checkpoint import Run

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
    """A run of ours, by the command that everybody has; one that is finished is only read."""
    folder = FOLDER / f"{recipe}-{model}-{seed}"
    start("-m", "fmnist_lib", "train", model, "--recipe", recipe, "--seed", str(seed), "--out", str(folder))
    run = Run.load(folder)
    figures = {"epoch": run.epochs_done, "seconds": round(run.seconds, 2)} | lab.accuracies(run)
    return {"seed": seed, **figures, "parameters": models.count_parameters(run.model())}


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
