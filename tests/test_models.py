"""Contracts that every registered model keeps."""

import pytest
import torch
from torch import nn

from fmnist_lib import data, models
from fmnist_lib.visualisers.hooks import capture

NAMES = list(models.REGISTRY)


LATE = {"norm": True, "norm_hidden": True, "pooled": (2, 3, 5), "pool_padding": 1}


@pytest.fixture(
    params=[(name, {}) for name in NAMES] + [("alexnet", LATE)], ids=[*NAMES, "alexnet, normed and pooled late"]
)
def model(request: pytest.FixtureRequest) -> models.ViewableModel:
    name, overrides = request.param
    return models.build_seeded(name, 0, **overrides).eval()


def conv_parameters(inputs: int, outputs: int, size: int) -> int:
    return inputs * outputs * size**2


def resnet_parameters(depths: tuple[int, ...], widths: tuple[int, ...], *, has_shortcuts: bool) -> int:
    """Counted by hand from the paper's figure: convolutions without bias, two numbers per batch-norm channel."""
    total = conv_parameters(1, widths[0], 7) + 2 * widths[0]
    inputs = widths[0]
    for depth, width in zip(depths, widths, strict=True):
        for _ in range(depth):
            total += conv_parameters(inputs, width, 3) + conv_parameters(width, width, 3) + 4 * width
            if has_shortcuts and inputs != width:
                total += conv_parameters(inputs, width, 1) + 2 * width
            inputs = width
    return total + inputs * 10 + 10


@pytest.mark.parametrize(
    ("name", "depths", "has_shortcuts"),
    [
        ("resnet18", (2, 2, 2, 2), True),
        ("resnet34", (3, 4, 6, 3), True),
        ("plain18", (2, 2, 2, 2), False),
        ("plain34", (3, 4, 6, 3), False),
    ],
)
def test_resnets_have_the_layers_of_the_paper(name: str, depths: tuple[int, ...], has_shortcuts: bool) -> None:
    expected = resnet_parameters(depths, (16, 32, 64, 128), has_shortcuts=has_shortcuts)
    assert models.count_parameters(models.build(name)) == expected


def test_alexnet_has_five_convolutions_and_three_fully_connected_layers() -> None:
    kinds = [type(module) for module in models.build("alexnet").modules()]
    assert kinds.count(nn.Conv2d) == 5
    assert kinds.count(nn.Linear) == 3
    assert kinds.count(nn.Dropout) == 2
    pools = [module for module in models.build("alexnet").modules() if isinstance(module, nn.MaxPool2d)]
    assert {(pool.kernel_size, pool.stride) for pool in pools} == {(3, 2)}


def test_light(model: models.ViewableModel) -> None:
    assert models.count_parameters(model) < 3_000_000


@pytest.mark.parametrize("count", [1, 3])
def test_logits_for_every_batch_size(model: models.ViewableModel, count: int) -> None:
    logits = model(torch.randn(count, 1, 28, 28))
    assert logits.shape == (count, 10)
    assert logits.isfinite().all()


def test_an_image_is_judged_alone_in_evaluation_mode(model: models.ViewableModel) -> None:
    x = torch.randn(5, 1, 28, 28)
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-5)


def test_every_viewable_place_is_as_announced(model: models.ViewableModel) -> None:
    layers = [place.layer for place in model.viewable]
    with capture(model, layers) as seen:
        model(torch.randn(2, 1, 28, 28))
    for place in model.viewable:
        assert isinstance(model.get_submodule(place.layer), {"conv": nn.Conv2d, "activation": nn.ReLU}[place.kind])
        _, channels, height, width = seen[place.layer].shape
        assert channels == place.channels
        assert height == width
        assert 28 // place.stride - 1 <= height <= -(-28 // place.stride)


def test_every_convolution_but_the_shortcuts_is_viewable(model: models.ViewableModel) -> None:
    convolutions = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    viewable = {place.layer for place in model.viewable if place.kind == "conv"}
    assert viewable == {name for name in convolutions if "shortcut" not in name}


def test_first_kernels_are_large_enough_to_look_at(model: models.ViewableModel) -> None:
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert min(first.kernel_size) >= 5
    assert first.stride == (1, 1)


def test_each_activation_runs_once_and_not_in_place(model: models.ViewableModel) -> None:
    activations = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    assert not any(model.get_submodule(name).inplace for name in activations)
    with capture(model, activations) as seen:
        model(torch.randn(1, 1, 28, 28))
    assert sorted(seen) == sorted(activations)


@pytest.mark.parametrize(("width", "size"), [(16, 3), (18, 3), (24, 3), (7, 5)])
def test_a_cosine_stem_begins_with_orthogonal_filters_and_their_negatives(width: int, size: int) -> None:
    arguments = {"kernel_size": size, "widths": (width, 16, 16, 16)}
    drawn = models.build_seeded("resnet18", 3, **arguments).state_dict()
    made = models.build_seeded("resnet18", 3, cosine_stem=True, **arguments).state_dict()
    ours, rest = made["stem.conv.weight"].flatten(1), drawn["stem.conv.weight"].flatten(1)
    count = min(width, 2 * size**2)
    waves, negatives = ours[:count:2], ours[1:count:2]
    torch.testing.assert_close(waves @ waves.T, torch.eye(len(waves)), atol=1e-6, rtol=0)
    assert torch.equal(negatives, -waves[: len(negatives)])
    assert waves[0].std() < 1e-6  # the lowest frequency is the mean
    assert torch.equal(ours[count:], rest[count:])
    assert all(torch.equal(made[name], drawn[name]) for name in made if name != "stem.conv.weight")


def test_patches_vary_along_cosines_and_hardly_together() -> None:
    images = data.normalise(data.load("train", dataset="tiny")[0])
    stem = models.build("resnet18", kernel_size=3, widths=(18, 16, 16, 16), cosine_stem=True).stem.conv
    maps = nn.functional.conv2d(images, stem.weight[::2]).transpose(0, 1).flatten(1)
    spread = maps.std(1)
    assert spread[:3].min() > spread[3:].max()  # low frequencies first
    together = torch.corrcoef(maps) - torch.eye(len(maps))
    assert together.abs().max() < 0.2


def test_no_bias_before_batch_norm(model: models.ViewableModel) -> None:
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Conv2d))


def test_the_gradient_reaches_every_parameter(model: models.ViewableModel) -> None:
    model.train()(torch.randn(8, 1, 28, 28)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_shortcut_is_always_a_module() -> None:
    for name, has_shortcuts in (("resnet18", True), ("plain18", False)):
        blocks = [module for module in models.build(name).modules() if isinstance(module, models.PlainBlock)]
        assert len(blocks) == 8
        assert all(isinstance(getattr(block, "shortcut", None), nn.Module) == has_shortcuts for block in blocks)


def test_a_residual_block_adds_its_input() -> None:
    block = models.ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.norm2.weight)  # now the residual is zero
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x.relu())


def test_widths_are_an_argument() -> None:
    narrow = models.build("resnet18", widths=(4, 8, 12, 16))
    assert [place.channels for place in narrow.viewable][-1] == 16
    assert models.count_parameters(narrow) == resnet_parameters((2, 2, 2, 2), (4, 8, 12, 16), has_shortcuts=True)
    assert models.build("alexnet", widths=(4, 4, 4, 4, 4), hidden=8)(torch.randn(1, 1, 28, 28)).shape == (1, 10)


def test_widths_must_fit_the_depths() -> None:
    with pytest.raises(models.ModelError, match="one length"):
        models.build("resnet18", widths=(4, 8))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_weights_and_leaves_the_random_state(name: str) -> None:
    before = torch.random.get_rng_state()
    first, second = models.build_seeded(name, 3), models.build_seeded(name, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    other_seed = next(models.build_seeded(name, 4).parameters())
    assert not torch.equal(next(first.parameters()), other_seed)


def test_an_unknown_model_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(models.ModelError, match=r"'resnet99'.*resnet18.*plain34"):
        models.build("resnet99")
