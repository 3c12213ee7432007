"""bf16 only where it is right and fast."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from fmnist_lib import models
from fmnist_lib.training import precision
from fmnist_lib.training.precision import Plan, Trial

X = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
GOOD = Trial("layer", error=0.003, seconds=1.0, float32_seconds=2.0)


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are tried, whatever the processor of this machine has."""
    monkeypatch.setattr(precision, "has_bf16", lambda: True)


class Wrong(nn.Conv2d):
    """A convolution whose bf16 is off, as pytorch#163347 tells of one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y * 1.1 if y.dtype == torch.bfloat16 else y


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), Wrong(8, 8, 3), nn.Flatten(), nn.Linear(8 * 24 * 24, 10))


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (GOOD, True),
        (replace(GOOD, error=0.1), False),
        (replace(GOOD, error=float("inf")), False),
        (replace(GOOD, seconds=3.5), False),
        (replace(GOOD, seconds=0.02, float32_seconds=0.005), True),  # four times as slow, and it does not matter
    ],
)
def test_what_is_good(trial: Trial, expected: bool) -> None:
    assert trial.is_good(10.0) is expected


def test_a_wrong_layer_is_found_and_kept_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    errors = {trial.layer: trial.error for trial in precision.try_layers(model, X)}
    assert errors["2"] == pytest.approx(0.1, abs=0.01)
    assert max(errors["0"], errors["4"]) < 0.01
    monkeypatch.setattr(precision, "SLOWER", 1e9)  # of the speed of this machine nothing is said here
    plan = Plan(mixed=True, float32_layers=("2",))
    dtypes = []
    model[2].register_forward_hook(lambda _, __, y: dtypes.append(y.dtype))
    with precision.applied(plan, model), precision.autocast(plan, torch.device("cpu")):
        y = model(X)
    assert dtypes == [torch.float32]
    assert y.dtype == torch.bfloat16
    assert "forward" not in vars(model[2])


class Slow(nn.Linear):
    """A layer whose bf16 takes its time, as where it is emulated."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = super().forward(x)
        if y.dtype == torch.bfloat16:
            time.sleep(0.5)
        return y


def test_a_layer_that_is_hopelessly_slow_is_not_timed_again_and_again() -> None:
    layer = Slow(4, 4)
    precision.try_layer("slow", layer, torch.randn(2, 4))
    assert layer.calls == 4  # twice in each precision, the first time not counted


def test_trying_leaves_the_model_as_found() -> None:
    model = models.build_seeded("alexnet", 0, norm=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    precision.try_layers(model, X)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert model.training


@pytest.mark.parametrize("name", models.REGISTRY)
def test_a_network_without_its_wrong_layers_answers_in_bf16_as_in_fp32(name: str) -> None:
    """Which layers are wrong depends on the processor: where bf16 is emulated, the convolution of one channel is."""
    model = models.build_seeded(name, 0).eval()
    wrong = tuple(trial.layer for trial in precision.try_layers(model, X) if trial.error > precision.TOLERANCE)
    plan = Plan(mixed=True, float32_layers=wrong)
    with torch.no_grad():
        expected = model(X)
        with precision.applied(plan, model), precision.autocast(plan, X.device):
            mixed = model(X)
    assert precision.relative_error(mixed, expected) < precision.TOLERANCE


def test_slow_bf16_leaves_all_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [replace(GOOD, layer=str(number), seconds=2.1) for number in range(3)]
    monkeypatch.setattr(precision, "try_layers", lambda model, x: slow)
    plan = precision.make_plan(net(), X, wanted="bfloat16")
    assert not plan.mixed
    assert "saves nothing" in plan.reason


def test_float32_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "try_layers", None)
    assert precision.make_plan(net(), X, wanted="float32") == Plan(mixed=False)


def test_a_plan_survives_being_stored() -> None:
    plan = Plan(mixed=True, float32_layers=("a.b", "c"), reason="so")
    assert Plan.from_dict(plan.as_dict()) == plan


def test_a_model_without_a_layer_to_try_computes_in_fp32() -> None:
    plan = precision.make_plan(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784)), X, wanted="bfloat16")
    assert not plan.mixed
    assert "no convolution or linear layer" in plan.reason


def test_trying_gives_every_submodule_its_own_train_flag_back() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval(), nn.ReLU())
    precision.try_layers(model, X)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    model.append(nn.Linear(3, 3))  # which does not fit
    with pytest.raises(RuntimeError):
        precision.try_layers(model, X)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert not any(module._forward_hooks for module in model.modules())


def test_a_forward_of_the_layers_own_comes_back() -> None:
    model = net()
    mine = model[0].forward = lambda x: x
    with precision.applied(Plan(mixed=True, float32_layers=("0",)), model):
        assert model[0].forward is not mine
    assert model[0].forward is mine


def test_a_plan_keeps_what_is_wrong_or_could_not_be_tried_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.wrong, self.head = nn.Conv2d(1, 4, 3), Wrong(4, 4, 3), nn.Linear(4 * 24 * 24, 10)
            self.conv.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(input=self.wrong(self.conv(x)).flatten(1))

    real = precision.try_layers
    fast = lambda trials: [replace(trial, seconds=trial.float32_seconds / 2) for trial in trials]  # noqa: E731 (short)
    monkeypatch.setattr(precision, "try_layers", lambda model, x: fast(real(model, x)))
    plan = precision.make_plan(Named(), X, wanted="bfloat16")
    assert plan.mixed
    assert plan.float32_layers == ("wrong", "head")


def test_without_bf16_no_layer_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    monkeypatch.setattr(precision, "try_layers", lambda *_: pytest.fail("tried in emulation"))
    plan = precision.make_plan(net(), X, wanted="bfloat16")
    assert str(plan) == "float32: this processor has no bf16"
