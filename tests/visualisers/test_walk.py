"""Functions as places: named by where they are called, and right in their values and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo import are_same, assert_close, count_hooks, make_probe, read_state, record

from fmnist_lib import Explorer
from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.hooks import UnknownLayer, capture
from fmnist_lib.visualisers.measures import grad_cam
from fmnist_lib.visualisers.recorder import Probe, Recorder, default_layers
from fmnist_lib.visualisers.walk import function_of

FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "functional": functional.relu,
    "of torch": torch.relu,
    "method": Tensor.relu,
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "method in place": Tensor.relu_,
}


class Block(nn.Module):
    """Two activations by function around a sum that works in place."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.other, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), relu

    def forward(self, x: Tensor) -> Tensor:
        inside = self.other(self.relu(self.conv(x)))
        inside += x
        return self.relu(inside)


class Net(nn.Module):
    """A stem, one block that is called twice, pooling and scores, all activations by function."""

    def __init__(self, relu: Callable[[Tensor], Tensor] = functional.relu) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(1, 2, 3), Block(relu), nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.gelu(self.stem(x)), 2)
        return self.head(self.block(self.block(x)).flatten(1))

    def by_hand(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The same out of place and without a module's call, and the scores; every tensor can be differentiated."""
        first = functional.gelu(functional.conv2d(x, self.stem.weight, self.stem.bias))
        places = {"gelu": first, "max_pool2d": functional.max_pool2d(first, 2)}
        inside = places["max_pool2d"]
        for number in ("", "#2"):
            hidden = functional.conv2d(inside, self.block.conv.weight, self.block.conv.bias, padding=1).clamp(min=0)
            total = functional.conv2d(hidden, self.block.other.weight, self.block.other.bias, padding=1) + inside
            inside = total.clamp(min=0)
            places |= {f"block.relu{number}": hidden, f"block.add{number}": total, f"block.relu_2{number}": inside}
        return places, functional.linear(inside.flatten(1), self.head.weight, self.head.bias)


@pytest.mark.parametrize("form", FORMS)
def test_maps_gradients_and_grad_cam_of_functions(form: str) -> None:
    torch.manual_seed(0)
    model, probe = Net(FORMS[form]), make_probe(1, 8, 8)
    recording = record(model, probe, layers=["gelu", "max_pool2d", "block.relu", "block.add", "block.relu_2"])
    places, scores = model.by_hand(probe.images)
    chosen = scores[:2].gather(1, probe.labels[:2, None]).sum()
    gradients = dict(zip(places, torch.autograd.grad(chosen, list(places.values())), strict=True))
    assert set(recording.layers["maps"]) == set(places)
    for place, values in places.items():
        assert_close(recording, "maps", place, values[:2])
        assert_close(recording, "map_gradients", place, gradients[place][:2])
        assert_close(recording, "cams", place, grad_cam(values[:2], gradients[place][:2]))


@pytest.mark.parametrize("form", FORMS)
def test_a_model_without_activation_modules_shows_its_functions(form: str) -> None:
    model, probe = Net(FORMS[form]), make_probe(1, 8, 8)
    expected = ["gelu", "block.relu", "block.relu_2"]
    assert default_layers(model, [probe.images]) == expected
    assert set(record(model, probe).layers["maps"]) == {*expected, "block.relu#2", "block.relu_2#2"}
    explorer = Explorer.live(model, probe.images)
    assert set(explorer.panels[0].layers["maps"]) == {*expected, "block.relu#2", "block.relu_2#2"}
    shown = explorer.panels[0].column("maps", "block.relu", 1).decode()[0]
    assert shown == pytest.approx(model.by_hand(probe.images)[0]["block.relu"][1].detach().numpy(), abs=0.01)


class Named(nn.Module):
    """Modules that are called what functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.tanh_2 = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.tanh_2(torch.tanh(torch.relu(self.relu(x))))) + self.relu(1 - x)[..., :1].mT


def test_no_two_places_have_one_name() -> None:
    model, x = Named(), torch.randn(1, 1, 4, 4)
    names = ["relu", "relu_", "tanh", "tanh_2", "tanh_2_", "sub", "getitem", "mT", "add"]
    with capture(model, names) as seen:
        model(x)
    assert set(seen) == {*names, "relu#2"}
    first = model.relu(x)
    inside = model.tanh_2(first.relu().tanh())
    expected = {"relu": first, "relu_": first.relu(), "tanh": first.relu().tanh(), "tanh_2": inside}
    expected |= {"tanh_2_": inside.tanh(), "sub": 1 - x, "relu#2": model.relu(1 - x)}
    for name, values in expected.items():
        assert torch.equal(seen[name], values), name


@pytest.mark.parametrize(
    ("place", "function"),
    [("a.relu", "relu"), ("relu_2", "relu"), ("relu_", "relu"), ("log2", "log2"), ("a.1.max_pool2d_12_", "max_pool2d")],
)
def test_a_place_says_its_function(place: str, function: str) -> None:
    assert function_of(place) == function


@pytest.mark.parametrize("name", ["blok.relu", "block.rely", "block._conv", "relu_x"])
def test_what_can_be_no_place_is_refused_before_the_model_runs(name: str) -> None:
    with pytest.raises(UnknownLayer, match="a function by where it is called"), capture(Net(), name):
        pass
    with pytest.raises(UnknownLayer, match=name):
        Recorder(Net(), probe=make_probe(1, 8, 8), layers=[name])


def test_a_place_that_is_not_called_is_named() -> None:
    recorder = Recorder(Net(), probe=make_probe(1, 8, 8), layers=["gelu", "block.gelu"])
    recorder.snapshot(0)
    assert recorder.skipped == {"block.gelu": "not called, or gave out no tensor"}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_is_left_behind(error: type[BaseException]) -> None:
    model, x = Net(), torch.randn(1, 1, 8, 8)
    before = read_state(model)
    with pytest.raises(error), capture(model, ["block.relu", "gelu"]):
        model(x)
        raise error
    assert are_same(read_state(model), before) and not torch.overrides._get_current_function_mode_stack()


def test_after_a_pass_that_failed_places_are_named_as_before() -> None:
    model, x = Net(), torch.randn(1, 1, 8, 8)
    with capture(model, ["block.relu", "gelu"]) as seen:
        with pytest.raises(RuntimeError):
            model(torch.randn(1, 1, 9, 9).expand(-1, -1, 20, -1))
        model(x)
    assert set(seen) == {"block.relu", "block.relu#2", "gelu"}
    assert count_hooks(model) == 0


def test_modules_alone_are_captured_without_watching_functions() -> None:
    model = Net()
    with capture(model, ["stem"]):
        assert count_hooks(model) == 2 and not torch.overrides._get_current_function_mode_stack()


def test_a_model_that_fails_says_so_at_its_snapshot() -> None:
    recorder = Recorder(Net(), probe=Probe(torch.randn(2, 3, 8, 8), torch.zeros(2).long()))
    with pytest.raises(NotRecordable, match=r"Net failed on .*\(2, 3, 8, 8\).* channels"):
        recorder.snapshot(0)
