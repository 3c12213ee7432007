"""Optimisers, the learning rate and the average of weights, against plain arithmetic."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fmnist_lib import models
from fmnist_lib.training import optimizers
from fmnist_lib.training.recipes import find_recipe

BASE = replace(find_recipe("smoke"), lr=0.1, weight_decay=0.01)


def net() -> nn.Module:
    return models.build_seeded("resnet18", 0, widths=(16, 16, 16, 16)).to(memory_format=torch.channels_last)


def give_gradients(model: nn.Module) -> None:
    x = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    model(x).square().sum().backward()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-6), (torch.float32, 0.02)])
def test_muon_of_filters_is_torchs_muon_of_their_matrices(dtype: torch.dtype, tolerance: float) -> None:
    """To the last digits in bf16, as torch computes, and up to bf16's rounding in fp32."""
    model = net()
    give_gradients(model)
    filters = [p for p in model.parameters() if p.ndim == 4]
    matrices = [nn.Parameter(p.detach().permute(0, 2, 3, 1).reshape(len(p), -1).clone()) for p in filters]
    for matrix, weight in zip(matrices, filters, strict=True):
        matrix.grad = weight.grad.permute(0, 2, 3, 1).reshape(len(weight), -1).clone()
    ours = optimizers.FilterMuon(filters, lr=0.1, weight_decay=0.01, momentum=0.95, dtype=dtype)
    torchs = torch.optim.Muon(matrices, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw", ns_steps=3)
    for _ in range(2):
        ours.step()
        torchs.step()
    for matrix, weight in zip(matrices, filters, strict=True):
        torch.testing.assert_close(weight.permute(0, 2, 3, 1).reshape(len(weight), -1), matrix, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (6, 45)])
def test_muons_step_is_orthogonal(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    optimizers.FilterMuon([weight], lr=1.0, weight_decay=0.0, momentum=0.95, dtype=torch.float32).step()
    values = torch.linalg.svdvals(optimizers.as_matrices([weight.detach()])[0])
    assert values.max() / values.min() < 2  # Newton-Schulz brings them near one value


def test_filters_move_together_as_they_would_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one shape are orthogonalised in one go; one without a gradient stays where it is."""

    def move(most: int) -> list[torch.Tensor]:
        monkeypatch.setattr(optimizers, "MOST_STACKED", most)
        model = net()
        give_gradients(model)
        filters = [p for p in model.parameters() if p.ndim == 4]
        filters[3].grad = None
        assert len(optimizers.stacks(filters)) == (len(filters) if most == 0 else 3)
        muon = optimizers.FilterMuon(filters, lr=0.1, weight_decay=0.01, momentum=0.95, dtype=torch.float32)
        for _ in range(2):
            muon.step()
        return filters

    together, alone = move(most=10**9), move(most=0)
    assert torch.equal(together[3], [p for p in net().parameters() if p.ndim == 4][3])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_muon_moves_all_matrices_but_the_last() -> None:
    model = models.build_seeded("alexnet", 0, widths=(4, 4, 4, 4, 4), hidden=8)
    muon, adamw = optimizers.make_optimizers(model, replace(BASE, optimizer="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    moved = [names[id(p)] for p in muon.param_groups[0]["params"]]
    assert moved[-2:] == ["classifier.linear1.weight", "classifier.linear2.weight"]
    assert [names[id(p)] for p in adamw.param_groups[0]["params"]] == ["classifier.head.weight"]


@pytest.mark.parametrize("name", ["adam", "sgd", "adamw", "muon"])
def test_every_parameter_is_moved_once(name: str) -> None:
    model = net()
    give_gradients(model)
    before = [p.detach().clone() for p in model.parameters()]
    for optimizer in optimizers.make_optimizers(model, replace(BASE, optimizer=name)):
        optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_only_weights_decay_and_biases_have_their_own_rate(name: str) -> None:
    made = optimizers.make_optimizers(net(), replace(BASE, optimizer=name, bias_lr=3.0))
    for group in (group for optimizer in made for group in optimizer.param_groups):
        is_bias = all(p.ndim == 1 for p in group["params"])
        assert group["weight_decay"] == (0 if is_bias else 0.01)
        assert group["initial_lr"] == pytest.approx(0.3 if is_bias else 0.1)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_cycle_rises_and_falls(schedule: str) -> None:
    recipe = replace(BASE, schedule=schedule, warmup=0.25)
    values = [optimizers.lr_multiplier(recipe, done / 100) for done in range(101)]
    assert values[0] == values[100] == 0
    assert values[25] == 1
    assert values[:26] == sorted(values[:26])
    assert values[25:] == sorted(values[25:], reverse=True)
    middle = 0.625  # half way down both are at half
    assert optimizers.lr_multiplier(recipe, middle) == pytest.approx(0.5)


def test_the_average_is_the_formula() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    averaged = optimizers.make_average(model, decay=0.5)
    expected = None
    for count, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        nn.init.constant_(model[0].weight, value)
        model[1].num_batches_tracked.fill_(count)
        averaged.update_parameters(model)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert averaged.module[0].weight.item() == pytest.approx(expected)
    assert averaged.module[1].num_batches_tracked == 3


@pytest.mark.parametrize("name", ["adam", "sgd", "adamw", "muon"])
def test_softmax_regression_has_one_matrix_and_it_is_moved(name: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    give_gradients(model)
    before = model[1].weight.detach().clone()
    for optimizer in optimizers.make_optimizers(model, replace(BASE, optimizer=name)):
        optimizer.step()
    assert not torch.equal(model[1].weight, before)
