"""A training step never waits for its device: seen on torch's meta device, which has shapes but no numbers.

What would make a CPU wait for a GPU, asking for a number, is an error there. What meta lets pass, an operation on
tensors of two places or an image sent at every step, is counted.
"""

from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmnist_lib import data, models
from fmnist_lib.errors import LabWarning
from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.training import evaluation, loop, precision
from fmnist_lib.training.optimizers import make_average, make_optimizers
from fmnist_lib.training.precision import Plan
from fmnist_lib.training.recipes import Recipe, find_recipe

META = torch.device("meta")
STEPS = loop.LOG_EVERY - 1  # after these the curve's next point asks for its loss
CASES = [(recipe, model) for recipe in ("original", "sprint", "fast", "best") for model in ("resnet18", "alexnet")]


class Watch(TorchDispatchMode):
    """Keeps how many numbers were sent to meta, and which operations mixed what lies there with what does not."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int] = []
        self.mixed: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        places = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim}
        if function is torch.ops.aten._to_copy.default and places == {"cpu"} and result.device == META:
            self.sent.append(result.numel())
        elif len(places) > 1:
            self.mixed.add(str(function))
        return result


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """What meta lacks of a GPU: autocast, and fused optimisers."""
    monkeypatch.setattr(precision, "autocast", lambda plan, device: nullcontext())
    for name in ("SGD", "AdamW"):
        plain = getattr(torch.optim, name)
        monkeypatch.setattr(torch.optim, name, lambda *args, fused, plain=plain, **kwargs: plain(*args, **kwargs))


def start(model_name: str, recipe: Recipe, batches: loop.HasBatches) -> loop.Training:
    """A training on meta, before its first step."""
    model = models.build_seeded(model_name, 0, **recipe.overrides).to(META)
    averaged = make_average(model, decay=recipe.ema) if recipe.ema else None
    optimizers = make_optimizers(model, recipe)
    return loop.Training(model, recipe, META, optimizers, batches.steps, Plan(False), model, averaged=averaged)


@pytest.mark.parametrize(("recipe_name", "model_name"), CASES)
def test_no_step_asks_the_device_for_a_number(
    meta: None, monkeypatch: pytest.MonkeyPatch, recipe_name: str, model_name: str
) -> None:
    recipe = replace(find_recipe(recipe_name, model_name), dataset="tiny", images=0, batch_size=16)
    answers = torch.rand(2, 400, 10)
    monkeypatch.setattr(launch, "ask_teacher", lambda *args, **kwargs: answers)
    batches = launch.make_batches(Run(Path(), model_name, recipe, 0)).to(META)
    few = SimpleNamespace(train=lambda epoch: islice(batches.train(epoch), STEPS))
    training = start(model_name, recipe, batches)
    monkeypatch.setattr(loop.Meter, "conclude", lambda meter: {})  # an epoch's end does ask
    with Watch() as seen:
        loop.train_epoch(training, few, [])
    assert training.step == STEPS
    assert not seen.mixed
    # Once an epoch order and turns, and at each step what was drawn for its images: places, and erasing's noise.
    assert seen.sent[:2] == [400, 400]
    drawn = 16 * ((2 if recipe.crop else 0) + (28 + 28 + 784 if recipe.erase else 0))
    assert sum(seen.sent[2:]) == STEPS * drawn


@pytest.mark.parametrize("flip", [False, True])
def test_an_evaluation_asks_once_it_has_called_the_network_for_every_batch(meta: None, flip: bool) -> None:
    batches, calls = data.batches(dataset="tiny").to(META), []
    model = models.build_seeded("resnet18", 0).to(META)
    model.register_forward_hook(lambda *_: calls.append(0))
    with pytest.raises(NotImplementedError, match="meta"):
        evaluation.evaluate(model, [*batches.val()] * 3, device=META, flip=flip)
    assert len(calls) == 3 * (1 + flip)


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_gpu_makes_its_batches_unless_they_come_out_otherwise(monkeypatch: pytest.MonkeyPatch, wrong: int) -> None:
    def to(batches: data.Batches, device: torch.device) -> data.Batches:
        images, labels = batches.training
        return replace(batches, training=(images + wrong, labels))

    batches = data.batches(dataset="tiny")
    monkeypatch.setattr(data.Batches, "to", to)
    with pytest.warns(LabWarning, match="cuda makes other batches than the CPU") if wrong else nullcontext():
        assert (loop.put_on(torch.device("cuda"), batches) is batches) == bool(wrong)
    assert all(loop.put_on(torch.device(kind), batches) is batches for kind in ("cpu", "mps"))
