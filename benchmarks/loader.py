"""What loading and augmenting costs beside training: writes loader.json beside this file.

    python benchmarks/loader.py                  # about two minutes on an idle machine
    python benchmarks/loader.py --epochs 1 --images 1280 --steps 2 --out /tmp/loader.json          # a short check

Ours draws batches of bytes from memory and augments them whole; torchvision's transforms see one PIL image at a time,
in a DataLoader without and with workers. An epoch of each is drawn and thrown away, and in the same turn training
steps on one fixed batch are timed. A share is loading divided by loading and training, as both happen one after the
other. Workers are timed with both cores to themselves; beside a training on the CPU they would take its time.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import print_table, seconds, spread, take_turns, write_result
from original import Pictures
from step import BATCH_SIZE, WARM_UP, endless_batches, make_step
from torch.utils.data import DataLoader
from torchvision import transforms

from fmnist_lib import data
from fmnist_lib.data import sets
from fmnist_lib.data.augment import Augment, make_augment
from fmnist_lib.training.devices import keep_memory
from fmnist_lib.training.recipes import find_recipe

MODELS = ("resnet18", "alexnet")
WORKERS = (0, 2)
TARGET = 0.03  # loading may take this share of the time
RESULT = Path(__file__).with_suffix(".json")

Run = Callable[[], float]


def choose_augmentations(recipe_name: str) -> dict[str, Augment | None]:
    """What ours is timed with: nothing, what a recipe does, and all that torchvision does here."""
    recipe = find_recipe(recipe_name)
    return {
        "ours, no augmentation": None,
        f"ours, recipe {recipe_name}": make_augment(flip=recipe.flip, crop=recipe.crop, erase=recipe.erase),
        "ours, flip + crop + erase": make_augment(flip=True, crop=2, erase=0.5),
    }


def make_ours(training: data.Pair, augment: Augment | None) -> Run:
    """Seconds of one epoch from our own batches; each call is the next epoch."""
    batches = replace(data.batches(batch_size=BATCH_SIZE, augment=augment), training=training)
    epochs = itertools.count(1)
    return lambda: seconds(lambda: drain(batches.train(next(epochs))))


def make_theirs(training: data.Pair, *, workers: int) -> Run:
    """Seconds of one epoch from torchvision's transforms and a DataLoader, its workers' start included."""
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize((sets.MEAN,), (sets.STD,)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(28, padding=2),
            transforms.RandomErasing(p=0.5, value="random"),
        ]
    )
    pictures = Pictures(*training, transform=transform)
    loader = DataLoader(pictures, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers)
    return lambda: seconds(lambda: drain(loader))


def drain(batches: Iterable[data.Pair]) -> None:
    """Draw every batch and do nothing with it."""
    for _ in batches:
        pass


def make_training(model_name: str, *, steps: int, per_epoch: float) -> Run:
    """Seconds of an epoch's training steps in bf16, from the median of some, on a batch that is there already."""
    fixed = itertools.repeat(next(endless_batches("tiny")))
    step = make_step(model_name, fixed, precision="bfloat16")
    for _ in range(WARM_UP):
        step()
    return lambda: per_epoch * statistics.median(seconds(step) for _ in range(steps))


def compare(times: dict[str, list[float]], loaders: Iterable[str]) -> dict[str, Any]:
    """For each loader seconds an epoch, and its share beside each model's training, turn by turn."""
    return {
        name: {
            "seconds_per_epoch": spread(times[name]),
            "share": {model: spread(shares(times[name], times[model])) for model in MODELS},
        }
        for name in loaders
    }


def shares(loading: list[float], training: list[float]) -> list[float]:
    """Loading divided by loading and training, turn by turn."""
    return [a / (a + b) for a, b in zip(loading, training, strict=True)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All loaders and trainings in turns, an epoch of each."""
    images, labels = data.load("train")
    training = images[: options.images], labels[: options.images]
    per_epoch = len(training[1]) / BATCH_SIZE
    augmentations = choose_augmentations(options.recipe)
    loaders = {name: make_ours(training, augment) for name, augment in augmentations.items()}
    loaders |= {f"torchvision, {n or 'no'} workers": make_theirs(training, workers=n) for n in WORKERS}
    trainings = {name: make_training(name, steps=options.steps, per_epoch=per_epoch) for name in MODELS}
    times = take_turns(loaders | trainings, options.epochs)
    found = compare(times, loaders)
    return {
        "what": "an epoch drawn from memory in batches of 128, beside an epoch's training steps in bf16, channels_last",
        "n": options.epochs,
        "images": len(training[1]),
        "training_seconds_per_epoch": {name: spread(times[name]) for name in MODELS},
        "steps_timed_each_turn": options.steps,
        "loaders": found,
        "target_share": TARGET,
        "target_met": all(
            share["median"] <= TARGET for name in augmentations for share in found[name]["share"].values()
        ),
    }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="fast", help="whose augmentation is timed")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, help="only so many training images, for a short check")
    parser.add_argument("--steps", type=int, default=30, help="training steps timed each turn")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.manual_seed(0)
    keep_memory()
    figures = measure(options)
    write_result(options.out, figures)
    rows = [
        (name, row["seconds_per_epoch"]["median"], *(row["share"][model]["median"] for model in MODELS))
        for name, row in figures["loaders"].items()
    ]
    print_table(("loader", "seconds an epoch", *(f"share beside {model}" for model in MODELS)), rows)


if __name__ == "__main__":
    main()
