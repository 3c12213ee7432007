"""The recorder over models of every sort, and what it says of those that it cannot record."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint
from zoo import (
    Framed,
    Restless,
    Twice,
    Volume,
    Words,
    assert_close,
    differentiate_weights,
    make_net,
    make_plain_twin,
    make_probe,
    record,
    run_in_inference_mode,
    run_without_gradient,
)

from fmnist_lib.visualisers.hooks import unwrap
from fmnist_lib.visualisers.recorder import Probe

FRAMES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "gives a dictionary": lambda model, x: {"aux": None, "out": model(x)},
    "gives a tuple": lambda model, x: (model(x), x),
    "checkpointed": partial(checkpoint, use_reentrant=False),
}
FIRST: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": nn.utils.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "pruned": partial(prune.random_unstructured, name="weight", amount=0.5),
}
NETS: dict[str, Callable[[], Any]] = {
    "three channels": lambda: make_net(channels=3),
    "in place": lambda: make_net(activation=nn.ReLU(inplace=True)),
    "frozen": lambda: make_net().requires_grad_(False),
    "evaluating": lambda: make_net().eval(),
    "data parallel": lambda: nn.DataParallel(make_net()).cpu(),  # where there are GPUs it moves to one
    "compiled": lambda: torch.compile(make_net(), backend="eager"),
    "double": lambda: make_net().double(),
    "half": lambda: make_net().bfloat16(),
} | {name: lambda frame=frame: Framed(make_net(), frame) for name, frame in FRAMES.items()}


def make_sort(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]() if name in NETS else make_net(FIRST[name](nn.Conv2d(1, 6, 3)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", [*NETS, *FIRST])
def test_models_of_every_sort(name: str) -> None:
    model, used = (make_sort(name) for _ in range(2))
    twin = make_plain_twin(unwrap(used))
    probe = make_probe(twin.conv1.in_channels, 8, 8)
    recording = record(model, probe)
    assert recording.skipped == {}
    prefix = "inner." if name in FRAMES else ""
    plain = probe._replace(images=probe.images.to(twin.head.weight.dtype))
    gradients = differentiate_weights(twin, plain)
    for layer in ("conv1", "conv2"):
        assert_close(recording, "kernels", prefix + layer, twin.get_submodule(layer).weight)
        assert_close(recording, "gradients", prefix + layer, gradients[f"{layer}.weight"])
    twin.eval()
    maps = twin[:3](plain.images[:2]).detach().requires_grad_()
    twin[3:](maps.clone()).gather(1, probe.labels[:2, None]).sum().backward()
    if "spectral" not in name:  # in evaluation it takes no step
        assert_close(recording, "maps", prefix + "act1", maps)
        assert_close(recording, "map_gradients", prefix + "act1", maps.grad)
        wide, gradient = maps.float(), maps.grad.float()
        cams = (wide * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
        assert_close(recording, "cams", prefix + "act1", cams)


def test_calls_words_and_other_outputs() -> None:
    total = {"loss": lambda output, labels: output.sum()}
    layers = record(Twice(), make_probe(2, 4, 4), layers=["act", "conv", "again"], **total).layers
    assert set(layers["maps"]) == {"act", "act#2", "conv", "conv#2", "again", "again#2"}
    record(Restless(), make_probe(1, 4, 4), layers=["conv", "norm"], **total)
    recording = record(Words(), make_probe(6))
    assert recording.values("kernels", "conv", 0).shape == (4, 3, 1, 3)
    assert recording.values("cams", "act", 0).shape == (2, 1, 1, 4)
    assert recording.inputs.shape == (2, 1, 1, 6)


def make_spare() -> nn.Module:
    """A net with a convolution that nobody calls."""
    net = make_net()
    net.act1.spare = nn.Conv2d(1, 2, 3)
    return net


def run_complex(model: nn.Module, x: Tensor) -> Tensor:
    return model(x.cfloat()).abs().flatten(1)


NO_KERNELS, NO_SCORE = {"kernels": "no Conv1d or Conv2d"}, "the true class's score does not depend on its maps"
NO_GRADIENTS = {"inner.conv1": "the loss does not depend on its weights", "inner.act1": NO_SCORE}
CANNOT: dict[str, tuple[nn.Module, Any, dict[str, str]]] = {
    "no gradients": (Framed(make_net(), run_without_gradient), None, NO_GRADIENTS),
    "inference": (Framed(make_net(), run_in_inference_mode), None, NO_GRADIENTS),
    "axes": (Volume(), None, NO_KERNELS | {"conv": "Conv3d is no", "up": "ConvTranspose2d is no", "act": "no picture"}),
    "complex": (
        Framed(nn.Conv2d(1, 4, 8, dtype=torch.cfloat), run_complex),
        [],
        NO_KERNELS | {"inner": "real numbers"},
    ),
    "no convolution": (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU()),
        None,
        NO_KERNELS | {"2": "no picture"},
    ),
    "not called": (make_spare(), ["act1.spare"], {"act1.spare": "the loss does not .*; not called"}),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_recorded_is_named(name: str) -> None:
    model, layers, expected = CANNOT[name]
    skipped = record(model, make_probe(1, 8, 8), layers=layers).skipped
    assert set(expected) <= set(skipped)
    for layer, reason in expected.items():
        assert re.search(reason, skipped[layer]), skipped[layer]


def test_tuples_and_outputs_without_classes_are_named() -> None:
    recording = record(Words(), make_probe(6), layers=["act", "memory"])
    assert recording.skipped == {"memory": "not called, or gave out no tensor"}
    probe = make_probe(1, 8, 8)._replace(labels=torch.randn(5, 4))
    recording = record(make_net(), probe, loss=functional.mse_loss)
    assert recording.kinds == ["kernels", "gradients", "maps"]
    assert "(5, 4) is no score per class" in recording.skipped["scores"]


def check_foreign(model: nn.Module, probe: Probe) -> None:
    """A network of somebody else's: all its convolutions and activations, and gradients as by `backward`."""
    recording = record(model, probe)
    gradients, weights = differentiate_weights(model, probe), dict(model.named_parameters())
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert list(recording.layers["kernels"]) == list(recording.layers["gradients"]) == convolutions
    for layer in (convolutions[0], convolutions[-1]):
        assert_close(recording, "kernels", layer, weights[f"{layer}.weight"])
        assert_close(recording, "gradients", layer, gradients[f"{layer}.weight"])
    maps = recording.layers["maps"]
    assert len(maps) > 10
    assert list(maps) == list(recording.layers["map_gradients"]) == list(recording.layers["cams"])
    assert all(about["shape"][2] == about["shape"][3] for about in maps.values())  # channels were told from sides


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "convnext_tiny"])
def test_torchvisions_models(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=4)
    for module in model.modules():  # these draw which blocks are skipped
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    check_foreign(model, make_probe(3, 32, 32))


def test_timms_models() -> None:
    timm = pytest.importorskip("timm", reason="timm is no dependency; where it is installed its models must pass")
    torch.manual_seed(0)
    for name in ("resnet18", "convnext_atto", "efficientnet_b0"):
        check_foreign(timm.create_model(name, num_classes=4, in_chans=1), make_probe(1, 32, 32))
