"""What dies in AlexNet with and without batch norm in the hidden layers: writes units.json beside this file.

    python benchmarks/units.py        # half an hour on an idle machine; seconds where the trials have been run

The runs are those of trials.json that follow the whole recipe `fast`, with and without `norm_hidden`; their weights are
in benchmarks/trials, and those that are not there are trained. Counted are the channels and hidden units that are zero
for each of the first thousand validation images.
"""

from pathlib import Path
from typing import Any

import torch
from measuring import print_table, write_result
from torch import Tensor

from fmnist_lib import data
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.runs.sweep import Entry, read_entries, run_entry
from fmnist_lib.training.recipes import find_recipe
from fmnist_lib.visualisers.hooks import capture
from fmnist_lib.visualisers.measures import map_row

RESULT = Path(__file__).with_suffix(".json")
TRIALS = Path(__file__).with_name("trials.json")
IMAGES = 1000
LAYERS = [*(f"features.act{number}" for number in range(1, 6)), "classifier.act1", "classifier.act2"]


def find_entries() -> list[Entry]:
    """The runs of the whole recipe among the trials."""
    recipe = find_recipe("fast", "alexnet")
    return [
        entry
        for entry in read_entries(TRIALS)[0]
        if (entry.model, entry.recipe.name, entry.recipe.epochs) == ("alexnet", recipe.name, recipe.epochs)
    ]


def count_dead(entry: Entry, images: Tensor) -> dict[str, Any]:
    """Setting and seed of a run, its validation accuracy, and by layer how many channels or units are dead."""
    folder = TRIALS.with_suffix("")
    row = run_entry(entry, folder=folder, test=False, site=Site())  # trained only where it is not there yet
    model = Run.load(folder / entry.folder).model()
    with torch.no_grad(), capture(model, LAYERS) as seen:
        model(images)
    return {
        "norm_hidden": bool(entry.recipe.overrides.get("norm_hidden", False)),
        "seed": entry.seed,
        "val_accuracy": float(row["val_accuracy"]),
        "dead": {layer: len(map_row(layer, 0, seen[layer])["dead"]) for layer in LAYERS},
        "of": {layer: seen[layer].shape[1] for layer in LAYERS},
    }


def main() -> None:
    """Count, write and print."""
    images = data.normalise(data.load("val")[0][:IMAGES])
    runs = [count_dead(entry, images) for entry in find_entries()]
    write_result(RESULT, {"images": IMAGES, "runs": runs})
    rows = [(run["norm_hidden"], run["seed"], run["val_accuracy"], *run["dead"].values()) for run in runs]
    print_table(("norm_hidden", "seed", "validation", *LAYERS), rows)


if __name__ == "__main__":
    main()
