"""A device that computes wrongly is found before it trains anything, and rounding is not taken for a fault."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.errors import LabWarning
from fmnist_lib.training import loop, trial
from fmnist_lib.training.loop import TrainingError
from fmnist_lib.training.parallel import World
from fmnist_lib.training.recipes import find_recipe

RECIPE = replace(find_recipe("smoke"), epochs=1, batch_size=100)
FAKED = torch.device("cuda", 0)  # no tensor is ever on it: its steps are computed on the CPU, and spoilt
FAULTS = ("loss", "gradient of a filter", "gradient of a norm", "nan", "update")
take_step = trial.take_step


def fake(monkeypatch: pytest.MonkeyPatch, fault: str, *, rounding: float = 1e-3) -> None:
    """Let `FAKED` compute as the CPU does, up to rounding, but for one fault."""

    def take(model: nn.Module, x: torch.Tensor, y, recipe, device: torch.device, *, gradients=None) -> trial.Step:
        step = take_step(model, x, y, recipe, torch.device("cpu"), gradients=gradients)
        if device.type == "cpu":
            return step
        generator = torch.Generator().manual_seed(0)
        for values in (step.gradients, step.changes):
            for value in values.values():
                value += rounding * value.abs().mean() * torch.randn(value.shape, generator=generator)
        if fault == "loss":
            return replace(step, loss=step.loss * 1.2)
        if fault == "gradient of a filter":
            step.gradients["stem.conv.weight"] *= 0.8
        if fault == "gradient of a norm":  # as on MPS, pytorch#175189
            step.gradients["stage1.0.norm1.weight"] = step.gradients["stage1.0.norm1.weight"].roll(1)
        if fault == "nan":
            step.gradients["head.bias"][0] = float("nan")
        if fault == "update":
            step.changes["stage2.0.conv1.weight"] *= -1
        return step

    monkeypatch.setattr(trial, "take_step", take)


def batches() -> data.Batches:
    return data.batches(dataset="tiny", batch_size=RECIPE.batch_size)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_rounding_is_no_fault(monkeypatch: pytest.MonkeyPatch, name: str, optimizer: str) -> None:
    fake(monkeypatch, "none")
    model, (x, y) = models.build_seeded(name, 0), next(batches().train(1))
    before = copy.deepcopy(model.state_dict())
    recipe = replace(RECIPE, optimizer=optimizer)
    assert trial.find_disagreement(model, x, y, recipe, FAKED) == ""
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_the_cpu_trains(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    fake(monkeypatch, fault)
    model = models.build_seeded("resnet18", 0)
    with pytest.warns(LabWarning, match=r"cuda:0 computes this model wrongly \(.*\): training on the CPU"):
        training = loop.start(model, batches(), RECIPE, device=FAKED)
    assert training.device == torch.device("cpu")


def test_what_was_trained_in_its_place_is_what_the_cpu_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, instead = models.build_seeded("resnet18", 0), models.build_seeded("resnet18", 0)
    loop.fit(alone, batches(), RECIPE, device="cpu")
    fake(monkeypatch, "gradient of a norm")
    with pytest.warns(LabWarning):
        loop.fit(instead, batches(), RECIPE, device=FAKED)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), instead.parameters(), strict=True))


def test_several_ranks_are_refused_a_device_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "loss")
    model, (x, y) = models.build_seeded("resnet18", 0), next(batches().train(1))
    with pytest.raises(TrainingError, match="choose --device cpu"):
        loop.trusted_device(model, x, y, RECIPE, device=FAKED, world=World(1, 2))


def test_the_cpu_is_not_tried_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "take_step", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.start(models.build_seeded("resnet18", 0), batches(), RECIPE, device=torch.device("cpu"))


def test_a_model_that_draws_for_itself_is_not_taken_for_a_fault() -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(784, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(functional.dropout(x.flatten(1), 0.5, self.training))

    x, y = next(batches().train(1))
    assert trial.find_disagreement(Drawing(), x, y, RECIPE, torch.device("cpu")) == ""
