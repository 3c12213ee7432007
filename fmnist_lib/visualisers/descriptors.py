"""Numbers for what is said of kernels, gradients and maps: how oriented, sparse, spread, diverse, selective they are.

Letters: F filters, N images, C channels, H height, W width, D features, K targets or classes. Where a number does not
exist (the sparsity of zeros, the selectivity of a dead channel) it is NaN, so that `nanmean` passes it over.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

CHANCE = 0.05  # the share of kernels of pure noise that are called oriented
SPECTRUM = 32  # frequencies each way
# Of the Gram matrix' mean eigenvalue; chosen for the best accuracy on pixels and on an untrained network's maps.
RIDGE = 0.1


def coherence(kernels: Tensor) -> Tensor:
    """How far kernels (F, H, W) have one orientation, (F,): 0 for a spot, 1/2 for a Gaussian's slope, 1 for a grating.

    |sum p exp(2i angle)| / sum p over the spectrum of the kernel less its mean, p the power at a frequency divided by
    the frequency. That is (l1 - l2) / (l1 + l2) of a structure tensor's eigenvalues (Bigun and Granlund 1987, Optimal
    orientation detection of linear symmetry), but there p is power times frequency squared, and noise decides: of
    edges under as much noise, are_oriented would find a third to a half, and so it finds 7 to 10 of 10.
    """
    frequencies = torch.fft.fftfreq(SPECTRUM).to(kernels)
    down, right = torch.meshgrid(frequencies, frequencies, indexing="ij")
    frequency = torch.hypot(down, right)
    weight = torch.where((frequency > 0) & (frequency < 0.5), 1 / frequency, 0.0)
    around = kernels - kernels.mean((1, 2), keepdim=True)
    power = torch.fft.fft2(around, s=(SPECTRUM, SPECTRUM)).abs().square() * weight
    turned = (power * torch.exp(2j * torch.atan2(down, right))).sum((1, 2)).abs()
    return turned / power.sum((1, 2)).clamp(min=torch.finfo(kernels.dtype).tiny)


def are_oriented(kernels: Tensor) -> Tensor:
    """Which kernels (F, H, W) are edges or gratings, bool (F,): more coherent than 95 % of white noise of that size.

    Of 3x3 kernels noise is as coherent as an edge; from 5x5 on they can be told apart.
    """
    return coherence(kernels) > noise_coherence(kernels.shape[1], kernels.shape[2])


@lru_cache(maxsize=8)
def noise_coherence(height: int, width: int) -> float:
    """What one of twenty kernels of white noise exceeds, over 20,000 from a fixed seed."""
    noise = torch.randn(20_000, height, width, generator=torch.Generator().manual_seed(0))
    return float(coherence(noise).quantile(1 - CHANCE))


def gini(values: Tensor) -> Tensor:
    """How sparse values (..., D) are, by size: 0 when all are equally large, near 1 when one has it all.

    Source: Hurley and Rickard 2009 (arXiv:0811.4706), where it alone has all six properties asked of such a measure.
    """
    sizes = values.abs().sort(-1).values
    count = sizes.shape[-1]
    above = (count - torch.arange(1, count + 1).to(sizes) + 0.5) / count
    return 1 - 2 * (sizes * above).sum(-1) / sizes.sum(-1)


def participation(energies: Tensor) -> Tensor:
    """Over which share of its places an energy (..., D), none negative, is spread: 1 evenly, 1 / D all in one place.

    (sum e)^2 / (D sum e^2), the inverse participation ratio of physics turned over (Bell and Dean 1970).
    """
    return energies.sum(-1) ** 2 / (energies.shape[-1] * energies.square().sum(-1))


def effective_area(gradients: Tensor) -> float:
    """On how many pixels a response depends, by its gradients (N, 1, H, W): the effective receptive field's area.

    `participation` of the mean squared gradient over the pixels, times their number: a uniform 3x3 square has 9.
    Source: Luo et al. 2016 (arXiv:1701.04128), which has the field; it measures it by a Gaussian's width.
    """
    energy = gradients.square().mean(0).flatten()
    return float(participation(energy)) * energy.numel()


def effective_rank(maps: Tensor) -> float:
    """How many of the channels of maps (N, C, H, W) say different things, as a share: 1 / C to 1.

    exp(entropy) of the eigenvalues of the channels' correlation matrix over images and places, divided by C; a channel
    that never changes adds nothing. Source: Roy and Vetterli 2007, The effective rank.
    """
    rows = maps.transpose(0, 1).flatten(1).double()
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    rows = rows[norms.flatten() > 0] / norms[norms > 0][:, None]
    shares = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0) / max(len(rows), 1)
    return float(torch.special.entr(shares).sum().exp()) / maps.shape[1]


def class_selectivity(maps: Tensor, labels: Tensor) -> Tensor:
    """How far channels of maps (N, C, H, W), none negative, answer one class alone, (C,): 0 for all alike, 1 for one.

    (a - b) / (a + b), a the mean activation for the class that has the highest, b the mean over the other classes'.
    Source: Morcos et al. 2018 (arXiv:1803.06959).
    """
    means = torch.stack([maps[labels == label].mean((0, 2, 3)) for label in labels.unique()])
    best = means.amax(0)
    others = (means.sum(0) - best) / (len(means) - 1)
    return (best - others) / (best + others)


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's correlation of two rows of numbers (D,), equal ones sharing their mean rank; NaN for constants."""
    return float(torch.corrcoef(torch.stack([ranks(x), ranks(y)]))[0, 1])


def ranks(values: Tensor) -> Tensor:
    """The rank of each of (D,), from 1."""
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[places].double()


def predict_linearly(features: Tensor, targets: Tensor) -> Tensor:
    """What a linear function of features (N, D) says of the targets (N, K): each half of the images by the other half.

    Ridge regression in its dual form with an intercept, the halves being the even and the odd rows. The penalty is
    `RIDGE` times the mean eigenvalue of the Gram matrix, so that the features' scale does not matter.
    """
    features = features.flatten(1)
    features = features - features.mean(0)
    gram = (features @ features.T).double()
    penalty = RIDGE * gram.diagonal().mean()
    predicted = torch.empty(targets.shape, dtype=torch.float64)
    for fitted, asked in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        mean = targets[fitted].double().mean(0)
        system = gram[fitted, fitted] + penalty * torch.eye(len(targets[fitted]), dtype=torch.float64)
        dual = torch.cholesky_solve(targets[fitted].double() - mean, torch.linalg.cholesky(system))
        predicted[asked] = gram[asked, fitted] @ dual + mean
    return predicted


def probe_accuracy(features: Tensor, labels: Tensor) -> float:
    """How many classes a linear classifier reads from features (N, ...), 0 to 1, on images it was not fitted to.

    Source: Alain and Bengio 2016 (arXiv:1610.01644); here the classifier is `predict_linearly` on one-hot labels.
    """
    scores = predict_linearly(features, functional.one_hot(labels))
    return float((scores.argmax(1) == labels).double().mean())


def nonlinear_share(images: Tensor, responses: Tensor) -> Tensor:
    """Which share of responses (N, C) no template explains, (C,): 1 - R^2 of `predict_linearly` from images, 0 to 1.

    Source of the thought, that a function is simple as far as a linear one explains it: Kalimeris et al. 2019
    (arXiv:1905.11604).
    """
    responses = responses.double()
    errors = (responses - predict_linearly(images, responses)).square().sum(0)
    total = (responses - responses.mean(0)).square().sum(0)
    return torch.where(total > 0, (errors / total).clamp(max=1), torch.nan)


def pooling_loss(maps: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """Which share of each channel of maps (N, C, H, W) is lost in a pooling to half the size, (C,): 0 to 1.

    1 - R^2 of the linear function, fitted to these maps, of 3x3 pooled values that best gives the 2x2 values back.
    """
    channels = maps.shape[1]
    around = functional.unfold(functional.pad(pool(maps), (1, 1, 1, 1), mode="replicate"), 3)
    around = around.unflatten(1, (channels, 9)).permute(1, 0, 3, 2).flatten(1, 2).double()  # (C, places, 9)
    cells = (
        functional.pixel_unshuffle(maps, 2).unflatten(1, (channels, 4)).permute(1, 0, 3, 4, 2).flatten(1, 3).double()
    )
    around, cells = around - around.mean(1, keepdim=True), cells - cells.mean(1, keepdim=True)
    found = torch.linalg.lstsq(around, cells, driver="gelsd").solution
    errors = (cells - around @ found).square().sum((1, 2))
    total = cells.square().sum((1, 2))
    return torch.where(total > 0, errors / total, torch.nan)
