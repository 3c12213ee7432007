"""What test_parallel.py has torchrun start: every rank does the same, and writes down what it sees.

python -m torch.distributed.run --nproc-per-node N tests/training/ranks.py FOLDER
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from fmnist_lib import data, models
from fmnist_lib.data.augment import make_augment
from fmnist_lib.runs import storage
from fmnist_lib.training import evaluation, loop, parallel, precision
from fmnist_lib.training.parallel import World
from fmnist_lib.training.recipes import find_recipe

SMALL = {"widths": (8, 8, 8, 8, 8), "hidden": 32}
# 400 images in batches of 57: seven, which neither two nor three ranks divide evenly, and one image that is left over.
RECIPE = replace(
    find_recipe("smoke"), epochs=3, batch_size=57, optimizer="sgd", lr=0.1, schedule="linear", warmup=0.1
)  # with Adam, whose steps are as long for a gradient of rounding errors alone, ranks could not be compared


def make_batches() -> data.Batches:
    """The tiny set with all augmentation."""
    augment = make_augment(flip=True, crop=2, erase=0.5)
    return data.batches(dataset="tiny", batch_size=RECIPE.batch_size, augment=augment)


def untrained() -> nn.Module:
    """A network without dropout and without biases, which would make it give all images the same answer."""
    model = models.build_seeded("alexnet", 0, dropout=0.0, **SMALL)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


def evaluate(world: World) -> dict[str, Any]:
    """A model that is not trained, on whole splits."""
    model = untrained()
    splits = {
        "tiny": data.evaluation_batches("val", dataset="tiny", batch_size=33),  # its last batch is one image
        "val": data.evaluation_batches("val"),
        "test": data.evaluation_batches("test"),
    }
    return {name: evaluation.evaluate(model, pairs, device="cpu", world=world) for name, pairs in splits.items()}


def train_frozen(world: World) -> list[dict[str, float]]:
    """A model that stays what it is, so that its training metrics can be counted again."""
    recipe = replace(RECIPE, epochs=1, lr=1e-30, schedule="constant")
    return loop.fit(untrained(), make_batches(), recipe, device="cpu", world=world).epochs


def train_without_norms(world: World) -> dict[str, Any]:
    """Where the ranks together compute what one process would."""
    model = models.build_seeded("alexnet", 0, dropout=0.0, **SMALL)
    start = copy.deepcopy(model.state_dict())
    history = loop.fit(model, make_batches(), RECIPE, device="cpu", world=world)
    return {"start": start, "weights": model.state_dict(), "history": history}


def train_with_everything(world: World) -> dict[str, Any]:
    """Batch norm, dropout, averaged weights, and bf16 by a plan on which the ranks disagree; then resumed."""
    recipe = replace(RECIPE, ema=0.9, precision="bfloat16")
    states: list[dict[str, Any]] = []
    agreed: list[tuple[str, str]] = []
    plans: list[precision.Plan] = []
    start, evaluate_epoch = loop.start, loop.evaluate

    def watched_start(*arguments: Any, **options: Any) -> loop.Training:
        nonlocal training
        training = start(*arguments, **options)
        plans.append(training.plan)
        return training

    def watched_evaluate(*arguments: Any, **options: Any) -> evaluation.Evaluation:
        agreed.append(tuple(storage.digest(seen.state_dict()) for seen in (training.model, training.evaluated)))
        return evaluate_epoch(*arguments, **options)

    training: loop.Training
    plan = precision.Plan(mixed=True, float32_layers=(f"features.conv{world.rank + 1}",))
    model = models.build_seeded("alexnet", world.rank, norm=True, **SMALL)  # the first rank's weights are to win
    resumed = models.build_seeded("alexnet", 5, norm=True, **SMALL)
    keep = [lambda training: states.append(copy.deepcopy(loop.capture_state(training)))]
    with (
        mock.patch.object(loop, "start", watched_start),
        mock.patch.object(loop, "evaluate", watched_evaluate),
        mock.patch.object(precision, "make_plan", lambda *_, **__: plan),
    ):
        loop.fit(model, make_batches(), recipe, device="cpu", world=world, on_epoch=keep)
        resume = world.share(lambda: states[1])
        loop.fit(resumed, make_batches(), recipe, device="cpu", world=world, resume=resume)
    return {
        "weights": model.state_dict(),
        "resumed": resumed.state_dict(),
        "agreed": agreed,
        "plans": plans,
        "states_kept": len(states),
    }


def refuse(world: World) -> dict[str, str]:
    """What the first rank cannot do is an error everywhere, and so is a batch that is too small."""

    def fail() -> None:
        assert world.is_first
        raise storage.RunError("the disk is full")

    model = models.build_seeded("alexnet", 0, **SMALL)
    small = replace(RECIPE, batch_size=1)
    return {
        "shared": catch(lambda: world.share(fail)),
        "small": catch(lambda: loop.fit(model, make_batches(), small, device="cpu", world=world))
        if world.size > 1
        else "",
    }


def catch(run: Callable[[], object]) -> str:
    """The error that a call ends with, in words."""
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def main(folder: Path) -> None:
    """Join, do all, and leave by an error."""
    seen: dict[str, Any] = {}

    def together() -> None:
        with parallel.joined("cpu") as world:
            seen.update(world=world, threads=torch.get_num_threads())
            for task in (evaluate, train_frozen, train_without_norms, train_with_everything, refuse):
                seen[task.__name__] = task(world)
            raise ValueError("all leave")

    seen["left_by"] = catch(together)
    seen["still_joined"] = torch.distributed.is_initialized()
    seen["threads_left"] = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]  # none but on Linux
    torch.save(seen, folder / f"rank{seen['world'].rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
