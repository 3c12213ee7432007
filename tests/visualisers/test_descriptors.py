"""Descriptors against drawn cases, closed forms and slow plain versions."""

import math

import pytest
import torch
from torch import Tensor, nn

from fmnist_lib.visualisers import descriptors

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
ACROSS = torch.arange(7.0) - 3
DOWN, RIGHT = torch.meshgrid(ACROSS, ACROSS, indexing="ij")
ORIENTED = {
    "sobel": nn.functional.pad(SOBEL, (2, 2, 2, 2)),
    "step": RIGHT.sign(),
    "step aside": (DOWN - 1.5).tanh(),
    "oblique step": (DOWN + RIGHT).tanh(),
    "oblique slope of a spot": (DOWN + RIGHT) * torch.exp(-(DOWN**2 + RIGHT**2) / 4),
    "bar": torch.exp(-(RIGHT**2)),
    "grating": torch.cos(RIGHT * math.pi / 2),
    "oblique grating": torch.cos((RIGHT - DOWN) * 2 * math.pi / 5),
}
UNORIENTED = {
    "spot": torch.exp(-(DOWN**2 + RIGHT**2) / 4),
    "spot in a ring": torch.exp(-(DOWN**2 + RIGHT**2) / 2) - torch.exp(-(DOWN**2 + RIGHT**2) / 8) / 2,
    "spot aside": torch.exp(-((DOWN - 2) ** 2 + (RIGHT + 1) ** 2) / 4),
    "checkerboard": (-1.0) ** (DOWN + RIGHT),
    "crossing gratings": torch.cos(RIGHT * math.pi / 2) * torch.cos(DOWN * math.pi / 2),
    "zeros": torch.zeros(7, 7),
}


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ORIENTED)
def test_edges_and_gratings_are_oriented(name: str) -> None:
    kernel = ORIENTED[name][None]
    assert descriptors.are_oriented(kernel).all()
    assert descriptors.are_oriented(-3 * kernel + 5).all()  # scale and mean do not matter
    torch.testing.assert_close(descriptors.coherence(kernel.transpose(1, 2)), descriptors.coherence(kernel))


@pytest.mark.parametrize("name", UNORIENTED)
def test_spots_and_checkerboards_are_not(name: str) -> None:
    assert not descriptors.are_oriented(UNORIENTED[name][None]).any()


@pytest.mark.parametrize("angle", [0, 0.4, math.pi / 4, 2])
def test_coherence_of_a_gaussians_derivatives(angle: float) -> None:
    """Their spectra go with cos^2 and cos^4 of the angle: 1/2 and 2/3, however they are turned."""
    across = torch.arange(15.0) - 7
    down, right = torch.meshgrid(across, across, indexing="ij")
    along, spot = right * math.cos(angle) + down * math.sin(angle), torch.exp(-(down**2 + right**2) / (2 * 1.5**2))
    found = descriptors.coherence(torch.stack([along * spot, (along**2 / 1.5**2 - 1) * spot]))
    torch.testing.assert_close(found, torch.tensor([1 / 2, 2 / 3]), atol=0.01, rtol=0)


def test_an_edge_is_found_under_as_much_noise_and_noise_is_no_edge() -> None:
    grains = noise(2000, 7, 7)
    assert descriptors.are_oriented(grains).double().mean() == pytest.approx(descriptors.CHANCE, abs=0.015)
    for name, least in (("step", 0.9), ("oblique step", 0.6), ("bar", 0.9)):
        kernel = ORIENTED[name] - ORIENTED[name].mean()
        assert descriptors.are_oriented(kernel / kernel.norm() + grains / 7).double().mean() > least, name


def test_gini_is_the_mean_difference_of_two_values() -> None:
    values = noise(3, 20)
    sizes = values.abs()
    pairs = (sizes[:, :, None] - sizes[:, None]).abs().sum((1, 2))
    torch.testing.assert_close(descriptors.gini(values), pairs / (2 * 20**2 * sizes.mean(1)))
    torch.testing.assert_close(descriptors.gini(torch.ones(4)), torch.tensor(0.0))
    torch.testing.assert_close(descriptors.gini(torch.eye(4)[2]), torch.tensor(1 - 1 / 4))
    torch.testing.assert_close(descriptors.gini(noise(100_000)), torch.tensor(math.sqrt(2) - 1), atol=0.005, rtol=0)
    assert descriptors.gini(torch.zeros(4)).isnan()


def test_participation_counts_the_places_that_share() -> None:
    for places in (1, 3, 8):
        energy = torch.zeros(8)
        energy[:places] = 0.7
        torch.testing.assert_close(descriptors.participation(energy), torch.tensor(places / 8))


def test_an_effective_area_is_that_of_a_uniform_square() -> None:
    gradients = torch.zeros(5, 1, 28, 28)
    gradients[:, :, 10:13, 4:7] = torch.tensor([1.0, -1, 1, -1, 1])[:, None, None, None]  # the sign does not matter
    assert descriptors.effective_area(gradients) == pytest.approx(9)


def test_effective_rank_counts_channels_that_differ() -> None:
    maps = noise(400, 1, 6, 6)
    copies = torch.cat([maps, 2 * maps + 1, -maps, maps], 1)
    assert descriptors.effective_rank(copies) == pytest.approx(1 / 4, abs=1e-6)
    assert descriptors.effective_rank(noise(400, 4, 6, 6)) == pytest.approx(1, abs=0.01)
    other = noise(400, 1, 6, 6, seed=2)
    assert descriptors.effective_rank(torch.cat([maps, other, maps, other], 1)) == pytest.approx(2 / 4, abs=0.01)
    dead = torch.cat([maps, other, torch.zeros_like(maps), torch.ones_like(maps)], 1)
    assert descriptors.effective_rank(dead) == pytest.approx(2 / 4, abs=0.01)


def test_class_selectivity() -> None:
    labels = torch.arange(30) % 3
    one, alike, dead = (labels == 2).float(), torch.ones(30), torch.zeros(30)
    twice = 1 + one  # twice as active for one class
    maps = torch.stack([one, alike, dead, twice], 1)[:, :, None, None].expand(-1, -1, 2, 2)
    found = descriptors.class_selectivity(maps, labels)
    torch.testing.assert_close(found, torch.tensor([1, 0, math.nan, 1 / 3]), equal_nan=True)


def test_rank_correlation() -> None:
    x = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0])
    assert descriptors.ranks(x).tolist() == [3, 1.5, 4, 1.5, 5]
    assert descriptors.rank_correlation(x, x.exp()) == pytest.approx(1)
    assert descriptors.rank_correlation(x, -(x**3)) == pytest.approx(-1)
    first, second = noise(50), noise(50, seed=2)
    places = [values.argsort().argsort().double() for values in (first, second)]
    expected = 1 - 6 * (places[0] - places[1]).square().sum() / (50 * (50**2 - 1))
    assert descriptors.rank_correlation(first, second) == pytest.approx(float(expected))
    assert math.isnan(descriptors.rank_correlation(first, torch.ones(50)))


@pytest.mark.parametrize("width", [3, 60])  # fewer features than images, and more
def test_linear_prediction_is_ridge_regression_on_the_other_half(width: int) -> None:
    features, targets = noise(40, width).double(), noise(40, 2, seed=2).double()
    centred = features - features.mean(0)
    penalty = descriptors.RIDGE * centred.square().sum() / 40
    expected = torch.empty_like(targets)
    for start in (0, 1):
        x, y = centred[start::2], targets[start::2]
        weights = torch.linalg.solve(x.T @ x + penalty * torch.eye(width), x.T @ (y - y.mean(0)))
        expected[1 - start :: 2] = centred[1 - start :: 2] @ weights + y.mean(0)
    torch.testing.assert_close(descriptors.predict_linearly(features, targets), expected)
    torch.testing.assert_close(descriptors.predict_linearly(1000 * features, targets), expected)


def test_a_probe_reads_what_is_there_and_no_more() -> None:
    labels = torch.arange(1000) // 100
    separable = torch.eye(10)[labels] + 0.1 * noise(1000, 10)
    assert descriptors.probe_accuracy(separable, labels) == 1
    assert descriptors.probe_accuracy(noise(1000, 300, 2), labels) == pytest.approx(0.1, abs=0.04)


def test_what_no_template_explains() -> None:
    images = noise(2000, 1, 4, 4)
    template = images.flatten(1) @ noise(16)
    random, constant = noise(2000, seed=3), torch.ones(2000)
    found = descriptors.nonlinear_share(images, torch.stack([template, template.abs(), random, constant], 1))
    assert found[0] < 0.02
    assert 0.95 < found[1] <= 1 and 0.95 < found[2] <= 1
    assert found[3].isnan()


def test_pooling_loses_nothing_of_blocks_and_most_of_noise() -> None:
    pool = nn.MaxPool2d(2)
    blocks = noise(8, 2, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert descriptors.pooling_loss(blocks, pool).amax() < 1e-6
    dead = torch.cat([noise(40, 1, 8, 8), torch.zeros(40, 1, 8, 8)], 1)
    lost = descriptors.pooling_loss(dead, pool)
    assert 0.7 < lost[0] < 1 and lost[1].isnan()


def test_pooling_loss_is_least_squares() -> None:
    maps = noise(6, 1, 8, 8)
    pooled = nn.functional.pad(nn.MaxPool2d(3, 2, 1)(maps), (1, 1, 1, 1), mode="replicate")
    rows, cells = [], []
    for image in range(6):
        for down in range(4):
            for right in range(4):
                rows.append([*pooled[image, 0, down : down + 3, right : right + 3].flatten().tolist(), 1.0])
                cells.append(maps[image, 0, 2 * down : 2 * down + 2, 2 * right : 2 * right + 2].flatten())
    x, y = torch.tensor(rows).double(), torch.stack(cells).double()
    errors = (y - x @ torch.linalg.pinv(x) @ y).square().sum() / (y - y.mean(0)).square().sum()
    found = descriptors.pooling_loss(maps, nn.MaxPool2d(3, 2, 1))
    torch.testing.assert_close(found[0], errors)
