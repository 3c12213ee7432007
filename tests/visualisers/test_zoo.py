"""Networks of other people: every picture is right, skipped with its reason, or the model refused with a message.

What is right is told by hooks of this file's own, on a copy of the model, and by `backward`.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from zoo import assert_close, differentiate_weights, make_net, make_probe, record

from fmnist_lib.visualisers.hooks import unwrap
from fmnist_lib.visualisers.recorder import Probe
from fmnist_lib.visualisers.recording import Recording

timm = pytest.importorskip("timm", reason="timm is no dependency; where it is installed its models must pass")


def look(model: nn.Module, probe: Probe) -> dict[str, Tensor]:
    """Module -> what it gave out at its first call, in evaluation mode, by a hook that knows nothing of ours."""
    seen: dict[str, Tensor] = {}
    twin = copy.deepcopy(model).eval()
    for name, module in twin.named_modules():

        def keep(_m: nn.Module, _i: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                seen.setdefault(name, output.detach().clone())

        module.register_forward_hook(keep)
    twin(probe.images)
    return seen


def check(model: nn.Module, probe: Probe, *, last: tuple[str, ...] = (), fewest: int = 5) -> Recording:
    """Every recorded map and a few gradients; `last` are the beginnings of layers whose channels are last inside."""
    recording = record(model, probe)
    model = unwrap(model)  # from here on the model itself, by other means
    seen = look(model, probe)
    maps = recording.layers.get("maps", {})
    assert len(maps) >= fewest, recording.skipped
    for layer in maps:
        if "#" not in layer:
            is_last = any(layer.startswith(start) for start in last)
            output = seen[layer].movedim(-1, 1) if is_last else seen[layer]
            assert_close(recording, "maps", layer, output[:2])
    gradients = differentiate_weights(model, probe)
    kernels = list(recording.layers.get("gradients", {}))
    for layer in (kernels[0], kernels[-1]):
        assert_close(recording, "gradients", layer, gradients[f"{layer}.weight"])
    return recording


def quieten(model: nn.Module) -> nn.Module:
    """Without what draws at random which blocks are skipped."""
    for module in model.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    return model


TORCHVISION = [
    "efficientnet_b0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "densenet121",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "resnext50_32x4d",
    "vgg11",
    "alexnet",
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    model = quieten(torchvision.models.get_model(name, num_classes=4))
    recording = check(model, make_probe(3, *[64 if name == "alexnet" else 32] * 2))
    skipped = {layer: reason for layer, reason in recording.skipped.items() if "no picture per image" not in reason}
    assert skipped == {}


def test_googlenet_gives_three_outputs_while_it_trains() -> None:
    torch.manual_seed(0)
    model = torchvision.models.googlenet(num_classes=4, init_weights=False)
    recording = record(model, make_probe(3, 64, 64), layers=["inception3a.branch1.conv"])
    assert recording.layers["gradients"]
    assert_close(
        recording,
        "maps",
        "inception3a.branch1.conv",
        look(model, make_probe(3, 64, 64))["inception3a.branch1.conv"][:2],
    )


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96)])
def test_swin_has_its_channels_last(height: int, width: int) -> None:
    torch.manual_seed(0)
    model = quieten(torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=4))
    recording = check(model, make_probe(3, height, width), last=("features.1", "features.3"), fewest=2)
    shape = recording.layers["maps"]["features.1.0.mlp.1"]["shape"]
    assert shape == [2, 48, height // 4, width // 4]


def test_convnext_on_a_wide_picture() -> None:
    torch.manual_seed(0)
    blocks = [
        torchvision.models.convnext.CNBlockConfig(8, 16, 1),
        torchvision.models.convnext.CNBlockConfig(16, None, 1),
    ]
    model = quieten(torchvision.models.ConvNeXt(blocks, num_classes=4))
    check(model, make_probe(3, 32, 48), last=("features.1.0.block", "features.3.0.block"), fewest=2)


def test_the_tokens_of_a_transformer_are_no_pictures() -> None:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4)
    recording = record(model, make_probe(3, 32, 32))
    assert recording.kinds == ["kernels", "gradients"]
    assert all("tokens" in recording.skipped[f"encoder.layers.encoder_layer_{n}.mlp.1"] for n in range(2))


TIMM = [
    "resnet18d",
    "nf_resnet26",
    "regnetx_002",
    "mobilenetv3_small_050",
    "ghostnet_050",
    "hardcorenas_a",
    "fbnetc_100",
]


@pytest.mark.parametrize("name", TIMM)
def test_timms(name: str) -> None:
    torch.manual_seed(0)
    check(timm.create_model(name, num_classes=4, in_chans=1), make_probe(1, 32, 32))


def test_an_nfnet_whose_activations_are_timms_own() -> None:
    torch.manual_seed(0)
    options = {"stem_type": "deep_quad", "attn_layer": "se", "attn_kwargs": {}, "act_layer": "gelu"}
    size = {"depths": (1, 1, 1, 1), "channels": (16, 32, 48, 48), "stem_chs": 16, "group_size": 8, "num_features": 64}
    nfnet = timm.models.nfnet
    model = nfnet.NormFreeNet(nfnet.NfCfg(**size, **options, extra_conv=True), num_classes=4, in_chans=1)
    assert len([layer for layer in check(model, make_probe(1, 64, 64)).layers["maps"] if "act" in layer]) > 10


def test_a_mixers_tokens_are_no_pictures() -> None:
    torch.manual_seed(0)
    mixer = timm.models.mlp_mixer.MlpMixer(
        num_classes=4, img_size=32, in_chans=1, patch_size=8, num_blocks=1, embed_dim=8
    )
    recording = record(mixer, make_probe(1, 32, 32))
    assert recording.kinds == ["kernels", "gradients"]
    assert {"blocks.0.mlp_tokens.act", "blocks.0.mlp_channels.act"} <= set(recording.skipped)


class UNet(nn.Module):
    """Down, up, and a shortcut that is joined: a class for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.act1 = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU()
        self.up, self.act2 = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.ReLU()
        self.out = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.act1(self.down(x))
        return self.out(torch.cat([self.act2(self.up(inside)), x], 1))


def test_a_network_with_a_class_for_every_pixel() -> None:
    torch.manual_seed(0)
    probe = make_probe(1, 8, 8)._replace(labels=torch.randint(3, (5, 8, 8)))
    model = UNet()
    recording = check(model, probe, fewest=2)
    assert "no score per class" in recording.skipped["scores"]
    assert "ConvTranspose2d is no" in recording.skipped["up"]


class Reader(nn.Module):
    """Columns of a picture, one after the other, through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.Tanh()
        self.memory, self.head = nn.LSTM(32, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.act(self.conv(x)).permute(0, 3, 1, 2).flatten(2)
        return self.head(self.memory(columns)[0][:, -1])


class Shared(nn.Module):
    """One block used at three depths, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = self.again = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())
        self.head = nn.Linear(256, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.block(self.block(self.stem(x)))).flatten(1))


OWN: dict[str, Callable[[], nn.Module]] = {
    "reader": Reader,
    "shared": Shared,
    "double": lambda: make_net().double(),
    "half": lambda: make_net().half(),
    "compiled": lambda: torch.compile(make_net(), backend="eager"),  # type: ignore[return-value]
    "channels last in memory": lambda: make_net().to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    "dilated and grouped": lambda: make_net(nn.Conv2d(1, 6, 2, dilation=2)),
    "padded by reflection": lambda: make_net(nn.Conv2d(1, 6, 3, padding_mode="reflect")),
}


@pytest.mark.parametrize("name", OWN)
def test_networks_of_our_own_making(name: str) -> None:
    torch.manual_seed(0)
    model, probe = OWN[name](), make_probe(1, 8, 8)
    if name in ("double", "half"):
        recording, plain = (
            record(model, probe),
            look(model, probe._replace(images=probe.images.to(next(model.parameters()).dtype))),
        )
        for layer in ("act1", "act2"):
            assert_close(recording, "maps", layer, plain[layer][:2])
    else:
        check(model, probe, fewest=1)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_is_shown_where_it_is_real_and_without_gradients() -> None:
    net = make_net().eval()
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    recording = record(quantised, make_probe(1, 8, 8))
    assert_close(recording, "maps", "act1", net[:3](make_probe(1, 8, 8).images[:2]))
    assert recording.kinds == ["kernels", "maps"]
    assert {"conv1", "act1"} <= {layer for layer, reason in recording.skipped.items() if "quantised" in reason}


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_is_quantised_through_and_through_has_nothing_to_show() -> None:
    """Neither kernels nor maps of it are real numbers; each is named with the reason."""
    tools = torch.ao.quantization
    body = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)]
    net = nn.Sequential(tools.QuantStub(), *body, tools.DeQuantStub()).eval()
    net.qconfig = tools.get_default_qconfig(torch.backends.quantized.engine)  # type: ignore[assignment]
    prepared = tools.prepare(net)
    prepared(make_probe(1, 8, 8).images)
    recording = record(tools.convert(prepared), make_probe(1, 8, 8))
    assert recording.kinds == []
    assert "no Conv1d or Conv2d of real numbers" in recording.skipped["kernels"]
    assert "quint8, is no picture" in recording.skipped["2"]


def grad_cam_of_captum(model: nn.Module, layer: str, probe: Probe) -> Tensor:
    captum = pytest.importorskip("captum.attr")
    explain = captum.LayerGradCam(model.eval(), model.get_submodule(layer))
    return explain.attribute(probe.images[:2], target=probe.labels[:2], relu_attributions=True)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (partial(torchvision.models.resnet18, num_classes=4), "layer3"),
        (partial(torchvision.models.mobilenet_v2, num_classes=4), "features.18"),
        (partial(torchvision.models.densenet121, num_classes=4), "features.denseblock2"),
        (partial(torchvision.models.squeezenet1_1, num_classes=4), "features.12"),
    ],
)
def test_grad_cam_is_captums(make: Any, layer: str) -> None:
    torch.manual_seed(0)
    model, probe = make(), make_probe(3, 64, 64)
    recording = record(model, probe, layers=[layer])
    assert_close(recording, "cams", layer, grad_cam_of_captum(copy.deepcopy(model), layer, probe))


def test_functional_relus_are_seen_where_they_are_called() -> None:
    """Of googlenet's activations none is a module."""
    torch.manual_seed(0)
    model, probe = torchvision.models.googlenet(num_classes=4, init_weights=False), make_probe(3, 64, 64)
    recording = record(model, probe)
    seen = look(model, probe)
    assert len(recording.layers["maps"]) == 57
    for place in recording.layers["maps"]:
        assert_close(recording, "maps", place, seen[place.removesuffix(".relu")][:2])
