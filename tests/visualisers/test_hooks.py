"""Hooks that see what a layer gives out, come off again, and leave no trace."""

import random
import warnings
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import DEVICES, Restless, Twice, are_same, count_hooks, read_state

from fmnist_lib import models
from fmnist_lib.visualisers.borrow import NotRecordable, device_generators, leave_as_found
from fmnist_lib.visualisers.hooks import UnknownLayer, capture, unwrap


def test_every_call_is_seen_as_it_left_the_layer() -> None:
    torch.manual_seed(0)
    model, x = Twice(), torch.randn(3, 2, 4, 4)
    for keep_graph in (False, True):
        with capture(model, ["conv", "again", "shortcut", "act", "pair"], keep_graph=keep_graph) as seen:
            output = model(x)
        assert torch.equal(output, model(x))
        expected = model.by_hand(x)
        assert seen.keys() == expected.keys()  # and no "pair": an LSTM gives out a tuple
        assert all(torch.equal(seen[key], expected[key]) for key in expected)
        assert not any(value.requires_grad for value in seen.values())
        assert seen.edges.keys() == (expected.keys() if keep_graph else set())


def test_gradients_are_those_of_what_was_seen() -> None:
    torch.manual_seed(0)
    model, x = Twice().double(), torch.randn(3, 2, 4, 4).double()
    weights = torch.randn(3, 2, 4, 4).double()
    with capture(model, ["conv", "act"], keep_graph=True) as seen:
        score = (model(x) * weights).sum()
    outputs = model.by_hand(x)
    true_score = (outputs["act#2"] * weights).sum()
    for layer in ("conv", "conv#2", "act#2"):
        (gradient,) = torch.autograd.grad(score, seen.edges[layer], retain_graph=True)
        (expected,) = torch.autograd.grad(true_score, outputs[layer], retain_graph=True)
        torch.testing.assert_close(gradient, expected)


def test_the_gradient_of_maps_is_their_finite_difference() -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh())
    tail = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(12, 4))
    model = nn.Sequential(head, tail).double()
    with capture(model, ["0.1"], keep_graph=True) as seen:
        score = model(torch.randn(2, 1, 5, 5).double())[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, seen.edges["0.1"])
    maps, step = seen["0.1"], 1e-5
    for place in np.ndindex(*maps.shape):
        nudge = torch.zeros_like(maps)
        nudge[place] = step
        difference = (tail(maps + nudge)[:, 1].sum() - tail(maps - nudge)[:, 1].sum()) / (2 * step)
        assert abs(difference - gradient[place]) < 1e-8


def test_the_last_pass_stays() -> None:
    model = Twice()
    with capture(model, ["act", "conv"]) as seen:
        model(torch.randn(1, 2, 4, 4))
        with pytest.raises(RuntimeError):
            model(torch.randn(1, 3, 4, 4))
    assert seen == {}  # the second pass broke off before a layer was through


@pytest.mark.parametrize("name", models.REGISTRY)
def test_hooks_are_gone_whatever_happens(name: str) -> None:
    model = models.build(name)
    layers = [place.layer for place in model.viewable]
    assert count_hooks(model) == 0
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error), capture(model, layers, keep_graph=True):
            assert count_hooks(model) == len(layers) + 1
            raise error
        assert count_hooks(model) == 0
    with pytest.raises(UnknownLayer), capture(model, [*layers, "layer7"]):
        pass
    assert count_hooks(model) == 0


@pytest.mark.parametrize("name", ["layer7", "", "conv.weight"])
def test_an_unknown_layer_names_those_there_are(name: str) -> None:
    model = Twice()
    with pytest.raises(UnknownLayer, match="conv, again, shortcut, act, pair"), capture(model, ["conv", name]):
        pass


def train_a_little(model: nn.Module) -> None:
    """Give a model gradients, mixed train flags and a frozen parameter."""
    model.norm.eval()
    model.norm.weight.requires_grad_(False)
    (model.conv.weight.square().sum() + model.norm.bias.sum()).backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_a_model_is_left_as_it_was_found(device: str, error: type[BaseException] | None) -> None:
    model, x = Restless().to(device), torch.randn(2, 1, 4, 4, device=device)
    train_a_little(model)
    outputs = []
    for _ in range(2):
        torch.rand(5), np.random.rand(5), random.random()
        before = read_state(model)
        with suppress(ZeroDivisionError, KeyboardInterrupt), leave_as_found(model) as bare:
            bare.train()
            outputs.append(bare(x).detach())
            bare.conv.weight.requires_grad_(False)
            bare.conv.weight.grad = torch.ones_like(bare.conv.weight)
            if error:
                raise error
        assert are_same(read_state(model), before)
    assert torch.equal(*outputs)  # a fixed seed: the same draws each time


def test_a_backward_pass_that_is_still_to_come_goes_through() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval(), torch.randn(2, 1, 4, 4)
    loss = model(x).sum()
    with leave_as_found(model) as bare:
        bare.train()
        bare(x).sum().backward()
    assert model[0].weight.grad is None
    loss.backward()
    assert model[0].weight.grad is not None


def test_torchscript_is_refused_unharmed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its age, in a category that depends on torch's
        model = nn.Sequential(torch.jit.script(nn.Conv2d(1, 2, 3)), nn.ReLU())
    with pytest.raises(NotRecordable, match="TorchScript"), leave_as_found(model):
        pass


class CountingBackend:
    """A backend of torch.compile that compiles nothing and counts how often it is asked."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_compiled_model_is_seen_and_need_not_be_compiled_again(is_wrapped: bool) -> None:
    torch.compiler.reset()
    backend = CountingBackend()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.Dropout())
    compiled: Any = torch.compile(model, backend=backend) if is_wrapped else model
    if not is_wrapped:
        model.compile(backend=backend)
    x, graphs = torch.randn(2, 1, 4, 4), []
    for _ in range(3):
        compiled.train()(x).sum().backward()
        with capture(compiled, ["1"], keep_graph=True) as seen:
            compiled(x)
        assert torch.equal(seen["1"], model[0](x).relu())
        with leave_as_found(compiled) as bare:
            assert bare is model
            bare.eval()(x)
        compiled.eval()(x)
        graphs.append(backend.graphs)
    assert graphs[0] > 0
    assert len(set(graphs)) == 1


def test_wrappers_come_off() -> None:
    model = nn.Conv2d(1, 2, 3)
    assert unwrap(model) is model
    assert unwrap(torch.compile(nn.DataParallel(torch.compile(model)))) is model  # type: ignore[arg-type]


def test_the_generators_of_a_models_devices_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, mps = [torch.Generator(), torch.Generator()], torch.Generator()
    monkeypatch.setattr(torch.cuda, "default_generators", cuda)
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: mps)
    for devices, expected in ((["cpu"], []), (["cuda:1", "cpu"], [cuda[1]]), (["mps:0"], [mps])):
        parameters = [SimpleNamespace(device=torch.device(device)) for device in devices]
        model: Any = SimpleNamespace(parameters=lambda parameters=parameters: parameters)
        assert device_generators(model) == expected
