"""Light CNNs for one 28x28 channel, and what can be looked at inside them.

Letters: N images, C channels, H height, W width. Every model takes float tensors (N, 1, 28, 28), normalised,
and returns logits (N, 10).
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fmnist_lib.errors import LabError

NUM_CLASSES = 10
LARGEST, LONGEST = 4096, 16  # an argument's number, and how many of them
MOST_PARAMETERS = 50_000_000  # 200 MB; ours have a hundredth


class ModelError(LabError):
    """A model that does not exist, or cannot be built like that; the message lists what is valid, or says why."""


class Viewable(NamedTuple):
    """A place worth looking at: the module's name, its kind, its channels, its stride against the input.

    `kind` is "conv" (has kernels and weight gradients, and maps before the non-linearity) or "activation"
    (feature maps after it).
    """

    layer: str
    kind: str
    channels: int
    stride: int


class ViewableModel(nn.Module):
    """A model that says where it is worth looking at, in the order in which data passes the places."""

    viewable: list[Viewable]


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and ReLU, (N, C, H, W) -> (N, channels, H/stride, W/stride)."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU()

    def residual(self, x: Tensor) -> Tensor:
        """What the block adds to its input, before the last activation."""
        x = self.act1(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.residual(x))


class ResidualBlock(PlainBlock):
    """A plain block with a shortcut around it (He et al. 2015, arXiv:1512.03385, figure 2)."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride=stride)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                    norm=nn.BatchNorm2d(channels),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.residual(x) + self.shortcut(x))


class ResNet(ViewableModel):
    """Four stages of blocks after a stem that by default keeps the resolution of the small images.

    `depths` and `widths` give the blocks and the channels of each stage; `block` is ResidualBlock or PlainBlock;
    `stem_stride` 2 makes all maps half as high and wide, and a training step more than twice as fast. With
    `cosine_stem` the stem's filters begin as `start_as_cosines` says, and learn from there.
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        block: type[PlainBlock] = ResidualBlock,
        kernel_size: int = 7,
        stem_stride: int = 1,
        cosine_stem: bool = False,
        num_classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__()
        if len(depths) != len(widths):
            raise ValueError(f"depths {tuple(depths)} and widths {tuple(widths)} must be of one length")
        stem = nn.Conv2d(1, widths[0], kernel_size, stride=stem_stride, padding=kernel_size // 2, bias=False)
        if cosine_stem:
            start_as_cosines(stem)
        self.stem = nn.Sequential(OrderedDict(conv=stem, norm=nn.BatchNorm2d(widths[0]), act=nn.ReLU()))
        places = (("stem.conv", "conv"), ("stem.act", "activation"))
        self.viewable = [Viewable(layer, kind, widths[0], stem_stride) for layer, kind in places]
        stages: list[nn.Module] = []
        in_channels = widths[0]
        for number, (depth, channels) in enumerate(zip(depths, widths, strict=True), start=1):
            stages.append(make_stage(block, in_channels, channels, depth=depth, stride=1 if number == 1 else 2))
            self.viewable += view_stage(f"stage{number}", channels, depth=depth, stride=stem_stride * 2 ** (number - 1))
            in_channels = channels
        self.stage_names = [f"stage{number}" for number in range(1, len(stages) + 1)]
        for name, stage in zip(self.stage_names, stages, strict=True):
            self.add_module(name, stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        return self.head(self.flatten(self.pool(x)))


@torch.no_grad()
def start_as_cosines(conv: nn.Conv2d) -> None:
    """Set filters on one channel to those of a cosine transform, each followed by its negative, low frequencies first.

    Patches of images vary most along these and hardly together, as along their principal components, which Jordan 2024
    (arXiv:2404.00498) computes from the images for the same purpose; the cosines need none (Ahmed, Natarajan and Rao
    1974, "Discrete Cosine Transform"). ReLU keeps half of what a filter says, and its negative's the other half. Of
    filters that are more than twice the K * K cosines the rest stay as they are.
    """
    size = conv.kernel_size[0]
    places = (torch.arange(size) + 0.5) / size
    waves = torch.stack([torch.cos(torch.pi * number * places) for number in range(size)])
    waves /= waves.norm(dim=1, keepdim=True)
    pairs = sorted(((i, j) for i in range(size) for j in range(size)), key=lambda pair: (sum(pair), max(pair), pair))
    filters = [sign * torch.outer(waves[i], waves[j]) for i, j in pairs for sign in (1, -1)]
    count = min(len(filters), len(conv.weight))
    conv.weight[:count] = torch.stack(filters)[:count, None]


def make_stage(block: type[PlainBlock], in_channels: int, channels: int, *, depth: int, stride: int) -> nn.Sequential:
    """`depth` blocks, the first of which changes resolution and channels."""
    first = block(in_channels, channels, stride=stride)
    return nn.Sequential(first, *(block(channels, channels) for _ in range(depth - 1)))


def view_stage(stage: str, channels: int, *, depth: int, stride: int) -> list[Viewable]:
    """The viewable places of one stage, in the order in which data passes them."""
    steps = (("conv1", "conv"), ("act1", "activation"), ("conv2", "conv"), ("act2", "activation"))
    return [Viewable(f"{stage}.{i}.{step}", kind, channels, stride) for i in range(depth) for step, kind in steps]


class AlexNet(ViewableModel):
    """Five convolutions, overlapping pooling, three fully connected layers with dropout.

    Source: Krizhevsky et al. 2012, scaled to 28x28: stride 1 and a 7x7 kernel in place of stride 4 and 11x11.
    `pooled` are the convolutions, counted from 1, that a pooling follows, after each of which maps are half as high
    and wide: 28, 13, 6, 2, or 28, 14, 7, 4 with `pool_padding` 1. `norm` puts batch norm, which is younger (Ioffe and
    Szegedy 2015), after every convolution, `norm_hidden` after the hidden fully connected layers, too.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128, 128, 128),
        hidden: int = 512,
        kernel_sizes: Sequence[int] = (7, 5, 3, 3, 3),
        pooled: Sequence[int] = (1, 2, 5),
        pool_padding: int = 0,
        dropout: float = 0.5,
        norm: bool = False,
        norm_hidden: bool = False,
        num_classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__()
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        self.viewable = []
        in_channels, size, stride = 1, 28, 1
        for number, (channels, kernel_size) in enumerate(zip(widths, kernel_sizes, strict=True), start=1):
            conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=not norm)
            steps[f"conv{number}"] = conv
            if norm:
                steps[f"norm{number}"] = nn.BatchNorm2d(channels)
            steps[f"act{number}"] = nn.ReLU()
            self.viewable.append(Viewable(f"features.conv{number}", "conv", channels, stride))
            self.viewable.append(Viewable(f"features.act{number}", "activation", channels, stride))
            if number in pooled:
                steps[f"pool{number}"] = nn.MaxPool2d(3, stride=2, padding=pool_padding)
                size, stride = (size + 2 * pool_padding - 3) // 2 + 1, 2 * stride
            in_channels = channels
        self.features = nn.Sequential(steps)
        self.flatten = nn.Flatten()
        steps, in_features = OrderedDict(), in_channels * size**2
        for number in (1, 2):
            steps[f"drop{number}"] = nn.Dropout(dropout)
            steps[f"linear{number}"] = nn.Linear(in_features, hidden, bias=not norm_hidden)
            if norm_hidden:
                steps[f"norm{number}"] = nn.BatchNorm1d(hidden)
            steps[f"act{number}"] = nn.ReLU()
            in_features = hidden
        steps["head"] = nn.Linear(hidden, num_classes)
        self.classifier = nn.Sequential(steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.features(x)))


DEPTHS_18 = (2, 2, 2, 2)
DEPTHS_34 = (3, 4, 6, 3)
REGISTRY: dict[str, Callable[..., ViewableModel]] = {
    "resnet18": partial(ResNet, DEPTHS_18),
    "resnet34": partial(ResNet, DEPTHS_34),
    "alexnet": AlexNet,
    "plain18": partial(ResNet, DEPTHS_18, block=PlainBlock),
    "plain34": partial(ResNet, DEPTHS_34, block=PlainBlock),
}


def build(name: str, **overrides: Any) -> ViewableModel:
    """A fresh model by its name in `REGISTRY`; `overrides` are its constructor's arguments, such as `widths`.

    The weights come from torch's global random state: seed it first, or call `build_seeded`.
    Raises ModelError.
    """
    make = find_model(name)
    try:
        if overrides:
            sketch(make, overrides)
        return make(**overrides)
    except Exception as error:  # torch's and Python's own complaints about arguments, of a dozen kinds
        raise ModelError(f"{name} cannot be built with {overrides}: {error}") from error


def sketch(make: Callable[..., ViewableModel], overrides: dict[str, Any]) -> None:
    """Build a model that has shapes but no numbers, and send an image through. Raises what torch raises, ValueError.

    So nothing is laid out in memory that is too large, and a model that can be built can be called.
    """
    for value in overrides.values():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if len(numbers) > LONGEST or not all(
            isinstance(each, (int, float)) and 0 <= each <= LARGEST for each in numbers
        ):
            raise ValueError(f"arguments are numbers from 0 to {LARGEST}, or lists of at most {LONGEST} of them")
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = make(**overrides)
        if (count := count_parameters(model)) > MOST_PARAMETERS:
            raise ValueError(f"it would have {count:,} parameters, and {MOST_PARAMETERS:,} are the most here")
        model.eval()(torch.empty(1, 1, 28, 28))


def find_model(name: str) -> Callable[..., ViewableModel]:
    """What constructs the model of that name. Raises ModelError."""
    if not isinstance(name, str) or name not in REGISTRY:
        raise ModelError(f"unknown model {name!r}: choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def settings(name: str) -> list[str]:
    """What `build(name, ...)` takes by name and a recipe can keep, such as `widths`. Raises ModelError."""
    return [each for each in inspect.signature(find_model(name)).parameters if each not in ("depths", "block")]


def build_seeded(name: str, seed: int, **overrides: Any) -> ViewableModel:
    """The same as `build`, with weights that depend on `seed` alone; the global random state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, **overrides)


def stage_ends(model: ViewableModel) -> list[str]:
    """The first activation, and the last one at each resolution: the places whose map gradients are kept."""
    places = [place for place in model.viewable if place.kind == "activation"]
    last_at = {place.stride: place.layer for place in places}
    return list(dict.fromkeys([places[0].layer, *last_at.values()]))


def count_parameters(model: nn.Module) -> int:
    """How many numbers the optimiser learns."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
