"""Where the channels are: told by the operations, against networks that are built to mislead whoever reads shapes."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from zoo import assert_close, make_probe, record

from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.channels import ChannelAxes, channel_axis, mark
from fmnist_lib.visualisers.hooks import capture
from fmnist_lib.visualisers.recorder import Recorder

MAPS = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))  # every axis could be the channels'
KEEP: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sum": lambda x: x + x,
    "sum with a number": lambda x: 1 - x,
    "scaled by channel": lambda x: x * torch.ones(8, 1, 1),
    "joined": lambda x: torch.cat([x, x], 1),
    "part": lambda x: x[:, 2:4, ::2],
    "rolled": lambda x: torch.roll(x, 1, 2),
    "padded": lambda x: functional.pad(x, (1, 1)),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "pooled": lambda x: functional.max_pool2d(x, 2),
    "pooled to one": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "enlarged": lambda x: functional.interpolate(x, scale_factor=2.0),
    "normalised": lambda x: functional.group_norm(x, 2),
    "dropped out": lambda x: functional.dropout(x, 0.5),
    "in memory's other order": lambda x: x.contiguous(memory_format=torch.channels_last),
    "in place": lambda x: x.mul_(2).relu_(),
    "halved": lambda x: x.half(),
    "split": lambda x: x.chunk(2, 1)[1],
    "there and back": lambda x: x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2),
    "shuffled": lambda x: functional.pixel_shuffle(x, 2),
    "flattened and unflattened": lambda x: x.flatten(2).unflatten(2, (8, 8)),
    "convolved wherever they were": lambda x: functional.conv2d(x.transpose(1, 3), torch.ones(3, 8, 1, 1)),
}
LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "permuted": lambda x: x.permute(0, 2, 3, 1),
    "permuted by a tuple": lambda x: torch.permute(x, (0, 2, 3, 1)),
    "moved": lambda x: x.movedim(1, -1),
    "turned": lambda x: x.mT.transpose(1, 3),
    "normalised": lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (8,)),
    "by a linear layer": lambda x: functional.linear(x.permute(0, 2, 3, 1), torch.ones(5, 8)),
    "in windows and back": lambda x: (
        x.permute(0, 2, 3, 1)
        .reshape(2, 2, 4, 2, 4, 8)
        .transpose(2, 3)
        .reshape(8, 16, 8)
        .reshape(2, 2, 2, 4, 4, 8)
        .transpose(2, 3)
        .reshape(2, 8, 8, 8)
    ),
}
NOBODY_KNOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "attention": lambda x: x @ x.mT,
    "mixed up": lambda x: torch.einsum("nchw,ndhw->ncdh", x, x),
    "cut otherwise": lambda x: x.reshape(2, 4, 16, 8),
}


def axis_after(change: Callable[[Tensor], Tensor]) -> int | None:
    with ChannelAxes():
        return channel_axis(change(mark(MAPS.clone(), 1)))


@pytest.mark.parametrize("name", KEEP)
def test_what_leaves_channels_second(name: str) -> None:
    assert axis_after(KEEP[name]) == 1


@pytest.mark.parametrize("name", LAST)
def test_what_brings_channels_to_the_end(name: str) -> None:
    assert axis_after(LAST[name]) == 3


@pytest.mark.parametrize("name", NOBODY_KNOWS)
def test_what_is_not_known_is_not_guessed(name: str) -> None:
    assert axis_after(NOBODY_KNOWS[name]) is None


class Last(nn.Module):
    """What a Swin or a ConvNeXt does between its convolutions: channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.GELU(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))


class Tokens(nn.Module):
    """Tokens (N, T, C), and a Conv1d beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(1, 6, 2, stride=2), nn.GELU()
        self.conv, self.signal, self.head = nn.Conv1d(6, 5, 3), nn.Tanh(), nn.LazyLinear(4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(self.stem(x).flatten(2).transpose(1, 2))
        return self.head(self.signal(self.conv(tokens.transpose(1, 2))).flatten(1))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 6), (6, 8), (4, 6), (6, 4)])
@pytest.mark.parametrize("stride", [1, (1, 2), (2, 1)])
def test_maps_are_never_transposed(height: int, width: int, stride: int | tuple[int, int]) -> None:
    """C == H and not W, C == W and not H, all alike: each was taken for another layout by its shape."""
    torch.manual_seed(0)
    for channels in (4, 6, 8):
        conv = nn.Conv2d(1, channels, 3, stride=stride, padding=1)
        model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
        probe = make_probe(1, height, width)
        model(probe.images)
        recording = record(model, probe)
        assert_close(recording, "maps", "1", conv(probe.images[:2]).relu())
    recording = record(Last(), make_probe(1, height, width))
    assert recording.layers["maps"]["act"]["shape"] == [2, 6, height, width]


def test_a_mel_picture_whose_channels_are_as_many_as_its_rows() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Flatten(), nn.LazyLinear(4)
    )
    probe = make_probe(1, 64, 64)
    model(probe.images)
    recording = record(model, probe, layers=["1", "2"])
    assert_close(recording, "maps", "2", model[:3](probe.images[:2]))


def test_tokens_are_no_signals_unless_it_is_said() -> None:
    model, probe = Tokens(), make_probe(1, 8, 8)
    model(probe.images)
    recording = record(model, probe)
    assert "tokens" in recording.skipped["act"]
    assert recording.layers["maps"]["signal"]["shape"] == [2, 5, 14]
    told = record(model, probe, layout={"act": "NLC"})
    assert told.layers["maps"]["act"]["shape"] == [2, 6, 16]


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t", "convnext_tiny"])
def test_torchvisions_networks_with_channels_last(name: str) -> None:
    model = torchvision.models.get_model(name, num_classes=4).eval()
    hidden = "features.1.0.block.4" if name == "convnext_tiny" else "features.1.0.mlp.1"  # four times as wide
    widths = {"features.0": (96, 4), "features.1": (96, 4), hidden: (384, 4), "features.3": (192, 8)}
    for height, width in ((64, 96), (96, 64), (64, 64)):
        with torch.no_grad(), capture(model, widths) as seen, ChannelAxes():
            model(mark(torch.randn(1, 3, height, width), 1))
        for layer, (channels, stride) in widths.items():
            axis = channel_axis(seen[layer])
            assert axis is not None
            assert seen[layer].movedim(axis, 1).shape == (1, channels, height // stride, width // stride)


class Strange(nn.Module):
    """An operation in the middle after which axes may mean anything."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner, self.head = nn.Conv2d(1, 4, 3, padding=1), Hidden(), nn.LazyLinear(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.conv(x)).flatten(1))


class Hidden(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw->nhwc", x)


def test_what_nobody_knows_is_named_and_can_be_said() -> None:
    model, probe = Strange(), make_probe(1, 8, 8)
    model(probe.images)
    recording = record(model, probe, layers=["inner"])
    assert "say layout='NCHW' or 'NHWC'" in recording.skipped["inner"]
    assert "maps" not in recording.kinds
    for layout in ("NHWC", {"inner": "NHWC"}):
        told = record(model, probe, layers=["inner"], layout=layout)
        assert_close(told, "maps", "inner", model.conv(probe.images[:2]))
    wrong = record(model, probe, layers=["inner"], layout="NLC")
    assert "is not NLC" in wrong.skipped["inner"]
    for layout, message in (("NWHC", "choose one of NCHW"), ({"conv9": "NHWC"}, "not among the layers inner")):
        with pytest.raises(NotRecordable, match=message):
            Recorder(model, probe=probe, layers=["inner"], layout=layout)
