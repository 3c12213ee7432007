"""Models that are hard to look at, what must not change when they are looked at, and what must be seen."""

import copy
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib.visualisers.borrow import device_generators
from fmnist_lib.visualisers.hooks import unwrap
from fmnist_lib.visualisers.recorder import Probe, Recorder
from fmnist_lib.visualisers.recording import NOT_FINITE, Recording

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def count_hooks(model: nn.Module) -> int:
    """All hooks on a model, its submodules and its parameters."""
    on_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)
    return on_modules + sum(len(parameter._backward_hooks or ()) for parameter in model.parameters())


def read_state(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that must not change; tensors as (the object, its version, a copy of its values)."""
    state: dict[str, Any] = {"hooks": count_hooks(model)}
    for name, module in model.named_modules():
        attributes = {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
        state[f"attributes of {name}"] = attributes
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        gradient = None if tensor.grad is None else tensor.grad.clone()
        state[name] = (id(tensor), tensor._version, tensor.requires_grad, tensor.detach().clone(), gradient)
    drawing = [generator.get_state() for generator in (torch.default_generator, *device_generators(model))]
    return state | {"generators": (drawing, np.random.get_state(), random.getstate())}


def are_same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit, NaN included."""
    if isinstance(one, Tensor):
        parts = [tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in (one, other)]
        return one is other or (one.shape == other.shape and torch.equal(*parts))
    if isinstance(one, np.ndarray):
        return one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(are_same, one, other))
    return bool(one is other or one == other)


class Twice(nn.Module):
    """A convolution with two names, an activation that is called twice and works in place, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.again = self.conv
        self.shortcut = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.pair = nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        shortcut = self.shortcut(x)
        x = self.again(self.act(x))
        self.pair(x[0])
        x += shortcut
        return self.act(x)

    def by_hand(self, x: Tensor) -> dict[str, Tensor]:
        """The same without a hook and without anything in place."""
        first = functional.conv2d(x, self.conv.weight, self.conv.bias, padding=1)
        second = functional.conv2d(first.relu(), self.conv.weight, self.conv.bias, padding=1)
        total = second + first.relu()  # the shortcut hands on the tensor that the activation then changes
        outputs = {"conv": first, "conv#2": second, "shortcut": first, "act": first.relu(), "act#2": total.relu()}
        return outputs | {"again": first, "again#2": second}


class Restless(nn.Module):
    """Whatever a model may change by being run: buffers, parameters, attributes, generators, its own modules."""

    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.tied = nn.Conv2d(1, 2, 3)
        self.tied.weight = self.conv.weight
        self.norm = nn.BatchNorm2d(2)
        self.calls, self.cache = 0, {"kept": 1}
        self.register_buffer("counts", torch.zeros(3))
        self.levels = nn.Parameter(torch.arange(3), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        assert self.tied.weight is self.conv.weight
        with torch.no_grad():
            self.conv.weight.clamp_(-0.01, 0.01)
            self.conv.bias.data.zero_()
        self.counts = self.counts + 1  # another tensor in the buffer's place
        self.calls += 1
        self.cache["last"] = self.calls
        self.latest = x
        self.extra = nn.ReLU()
        noise = torch.rand(1, device=x.device) + torch.rand(()).item() + random.random() + np.random.rand()
        return self.norm(self.conv(x) + self.tied(x)) * noise


class Framed(nn.Module):
    """A model inside something: a context, a checkpoint, a dictionary."""

    def __init__(self, model: nn.Module, frame: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inner = model
        self.frame = frame

    def forward(self, x: Tensor) -> Any:
        return self.frame(self.inner, x)


def make_net(first: nn.Module | None = None, *, activation: nn.Module | None = None, channels: int = 1) -> nn.Module:
    """Two convolutions for (N, C, 8, 8) with everything that has a mode of its own in training, 4 classes."""
    return nn.Sequential(
        OrderedDict(
            conv1=first or nn.Conv2d(channels, 6, 3),
            norm=nn.BatchNorm2d(6),
            act1=activation or nn.ReLU(),
            drop=nn.Dropout(0.5),
            conv2=nn.Conv2d(6, 5, 3, bias=False),
            act2=nn.ReLU(inplace=True),
            flatten=nn.Flatten(),
            head=nn.Linear(5 * 4 * 4, 4),
        )
    )


def run_without_gradient(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def run_in_inference_mode(model: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x)


class Words(nn.Module):
    """A text network: numbers of words in, 1-D convolutions, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 3)
        self.conv = nn.Conv1d(3, 4, 3)
        self.act = nn.GELU()
        self.memory = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.act(self.conv(self.embed(x).transpose(1, 2)))
        return self.head(self.memory(maps.transpose(1, 2))[0][:, -1])


class Volume(nn.Module):
    """Kernels of more and of other kinds than can be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)
        self.act = nn.ReLU()
        self.up = nn.ConvTranspose2d(16, 3, 3)
        self.head = nn.Linear(300, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.act(self.conv(x.expand(-1, 8, -1, -1)[:, None]))
        return self.head(self.up(maps.flatten(1, 2)).flatten(1))


def make_plain_twin(used: nn.Module) -> nn.Module:
    """`make_net()` with the very weights that a net of any sort uses in training, whatever it makes them from.

    That net takes a step in training mode for it, as spectral norm does.
    """
    net = getattr(used, "inner", used)
    twin = make_net(channels=net.conv1.in_channels).to(net.head.weight.dtype)
    state = {name: value.clone() for name, value in net.state_dict().items() if not name.startswith("conv1")}
    net.train()(torch.zeros(2, net.conv1.in_channels, 8, 8, dtype=net.head.weight.dtype))
    net.eval()
    twin.load_state_dict(state | {"conv1.weight": net.conv1.weight.detach(), "conv1.bias": net.conv1.bias.detach()})
    return twin


def make_probe(*shape: int, shown: int = 2) -> Probe:
    """Random images (or words, where there is one axis alone) of 4 classes."""
    images = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    return Probe(images if len(shape) > 1 else (images.abs() * 2).long(), torch.arange(5) % 4, shown)


def record(model: nn.Module, probe: Probe, **options: Any) -> Recording:
    """One snapshot, which the model must not notice, and which is the same when it is taken again."""
    before = read_state(unwrap(model))
    recorders = [Recorder(model, probe=probe, **options) for _ in range(2)]
    for recorder in recorders:
        recorder.snapshot(0)
        assert are_same(read_state(unwrap(model)), before)
    first, again = (recorder._builder.pack() for recorder in recorders)
    assert first == again
    return Recording(first)


def assert_close(recording: Recording, kind: str, layer: str, expected: Tensor | None) -> None:
    """What is stored is off by half a level of each tile at most, and by what float32 leaves open."""
    assert expected is not None
    about, expected = recording.layers[kind][layer], expected.detach().float().cpu()
    channels = torch.tensor(about["channels"])
    is_kernel = "inputs" in about
    expected = expected[channels][:, torch.tensor(about["inputs"])] if is_kernel else expected[:, channels]
    half = (expected.amax((-2, -1), keepdim=True) - expected.amin((-2, -1), keepdim=True)) / (NOT_FINITE - 1) / 2
    off = (torch.tensor(recording.values(kind, layer, 0)) - expected).abs()
    assert (off <= half * 1.001 + 1e-5 * expected.abs().max() + 1e-9).all(), (kind, layer, off.max())


def differentiate_weights(model: nn.Module, probe: Probe) -> dict[str, Tensor | None]:
    """The gradients of an ordinary training step without dropout, by `backward` on a copy."""
    twin = copy.deepcopy(model).train().requires_grad_(True)
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_rate"):  # timm's, for a dropout that is no module
            module.drop_rate = 0.0
    functional.cross_entropy(twin(probe.images), probe.labels).backward()
    return {name: parameter.grad for name, parameter in twin.named_parameters()}
