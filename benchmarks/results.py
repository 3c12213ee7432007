"""Puts what the benchmarks measured together: writes results.json.

    python benchmarks/results.py          # a minute; after race.py and the others in SOURCES
    python benchmarks/results.py --page   # fill README.md from results.json

Every figure is out of the files beside this one and the committed runs of recipe best. Only what these say together
is measured here.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import print_table, spread, write_result
from pages import fill_page, make_table
from race import GOAL

from fmnist_lib.models import count_parameters
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training.recipes import find_recipe

HERE = Path(__file__).parent
RESULT = HERE / "results.json"
PAGE = HERE.parent / "README.md"
OTHER_KIND = 3  # images that another kind of processor, which rounds otherwise, may take for another class
RUNS = HERE.parent / "checkpoints"
SOURCES = ("race", "roofline", "loader", "muon", "scaling")
MEMORY_GOAL_MIB = 2048
Runs = Sequence[Mapping[str, Any]]
Figures = dict[str, Any]


def read(name: str) -> Figures:
    """A benchmark's file."""
    return json.loads((HERE / f"{name}.json").read_text())


def mean_of(runs: Runs, name: str) -> Figures:
    """Mean and extremes over the seeds, and the standard deviation where there are several."""
    values = [run[name] for run in runs]
    figures = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    if len(values) > 1:
        figures["std"] = statistics.stdev(values)
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
        test = measure.evaluate_runs([run], "test", site=Site("cpu"))  # anew: `make test` leaves these to us
        moved = abs(test["accuracy"] - run.evaluation["test"]["accuracy"]) * test["images"]
        if moved > OTHER_KIND:
            raise SystemExit(f"error: {run.path} says another accuracy than its weights have: {moved:.0f} images")
        found[run.model_name] = {
            "n": 1,
            "epochs": run.epochs_done,
            "accuracy": test["accuracy"],
            "flip": test["flip"]["accuracy"],
            "seconds": round(run.seconds, 1),
            "parameters": count_parameters(run.model()),
            "teacher": run.recipe.teacher,
            "instructions": run.environment.get("instructions"),
        }
    test = measure.evaluate_runs(runs, "test", site=Site("cpu"))
    sums = {name: sum(figures[name] for figures in found.values()) for name in ("epochs", "seconds", "parameters")}
    return found | {"together": {"n": 1, "accuracy": test["accuracy"], "flip": test["flip"]["accuracy"]} | sums}


def machine_and_memory(roofline: Figures, loader: Figures, muon: Figures, scaling: Figures) -> Figures:
    """Speed, share of the peak, the loader's and Muon's cost, and how seconds and memory grow."""
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
        "muon": muon["networks"],
        "growth": growth,
        "two_ranks_against_threads": scaling["two_ranks_against_threads"],
        "memory": memory,
    }


def accuracy_rows(figures: Figures) -> list[tuple[object, ...]]:
    """Recipe, network, n, accuracy on the test set without and with mirror images, training time, for people."""
    rows = {("the lab report's program", "torchvision's resnet18, 11M"): figures["original"]}
    rows |= {("fast.ai's course22p2", "its own"): figures["course22p2"], ("`sprint`", "resnet18"): figures["sprint"]}
    rows |= {("`fast`", model): row for model, row in figures["fast"].items()}
    means = [
        (*who, row["n"], mean_and_deviation(row, "accuracy"), mean_and_deviation(row, "flip"), row["seconds_median"])
        for who, row in rows.items()
    ]
    singles = [
        ("`best`", network, row["n"], f"{row['accuracy']:.2%}", f"{row['flip']:.2%}", row["seconds"])
        for network, row in figures["best"].items()
    ]
    return [
        (*row, f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.0f} min") for *row, seconds in means + singles
    ]


def mean_and_deviation(row: Figures, name: str) -> str:
    """In percent; nothing for what was not measured."""
    values = (row.get(f"{name}_{key}") for key in ("mean", "std"))
    return " ± ".join(f"{value:.2%}" for value in values if value is not None)


def make_block(figures: Figures) -> str:
    """The part of README.md that comes from results.json."""
    about, sprint = figures["machines"]["race"], figures["sprint"]
    headings = ("recipe", "network", "n", "test accuracy", "with mirror images", "training time")
    return "\n\n".join(
        [
            make_table(headings, accuracy_rows(figures)),
            "Mean ± standard deviation over n seeds, and the median time; with mirror images, a prediction is the mean "
            "over an image and its mirror image; together means the mean of the networks' probabilities. "
            f"{notes_on(figures['best'], about)}"
            f"{about['processor']}, {about['cores']} cores, torch {about['torch']}. "
            f"{notes_on_races(figures['earlier_race'], about)}`sprint` takes "
            f"1/{sprint['ratio']:.0f} or less of the time that the lab report's program takes to reach "
            f"{figures['goal']:.2%}, the accuracy in that report. That program was run with {sprint['original_n']} "
            f"seeds; {sprint['original_got_there']} of them reached it within their five epochs, and for each that did "
            "not the time of all five is counted, though it would have needed longer. It learns from all 60,000 "
            "training images, ours from 55,000, of which `sprint` sees "
            f"{find_recipe('sprint').images:,}: 5,000 are held out for validation.",
        ]
    )


def notes_on_races(earlier: Mapping[str, Figures], machine: Figures) -> str:
    """Which contestants ran in an earlier race, and on what if that was another machine; nothing without any."""
    if not earlier:
        return ""
    kinds = {tuple(each[key] for key in ("processor", "cores", "torch")) for each in (*earlier.values(), machine)}
    where = "the same kind of machine" if len(kinds) == 1 else "other machines (results.json)"
    names = ", ".join(name.replace("/", " with ") for name in earlier)
    return f"Of an earlier race on {where} are {names}. "


def notes_on(best: Figures, race_machine: Figures) -> str:
    """What a row of the table does not say: which networks had a teacher, or another processor than the race."""
    notes = []
    for network, row in best.items():
        if row.get("teacher"):
            notes.append(f"{network} of `best` also learned from {row['teacher']}, whose time is not counted.")
        if row.get("instructions") not in (None, race_machine.get("instructions")):  # older runs do not tell
            notes.append(f"{network} of `best` was trained on another processor ({row['instructions']}).")
    return "".join(f"{note} " for note in notes)


def main() -> None:
    """Write the file, or fill the page from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, nargs="?", const=PAGE, help="measure nothing; default: README.md")
    options = parser.parse_args()
    if options.page:
        fill_page(options.page, RESULT, make_block(read("results")))
        return
    sources = {name: read(name) for name in SOURCES}
    machines = {name: source["machine"] for name, source in sources.items()}  # those that measured; ours only adds up
    race = sources.pop("race")
    here = race["machines"]["original"]  # which all are measured against
    earlier = {name: machine for name, machine in race["machines"].items() if machine != here}
    figures = against_original(race["runs"]) | {"best": read_best()} | machine_and_memory(**sources)
    figures |= {"machines": machines, "earlier_race": earlier}
    write_result(RESULT, figures)
    print_table(("recipe", "network", "n", "test", "with flip", "time"), accuracy_rows(figures))


if __name__ == "__main__":
    main()
