"""What the lab report claimed, and how each claim is judged: measures with their sources, and what would matter.

All of this was written down before the runs of claim_runs.py were made; claims.py has the rule and the verdicts.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from claim_runs import MILESTONES, VARIANTS, Row

from fmnist_lib.visualisers.descriptors import rank_correlation

# The smallest differences that matter, one for each kind of number.
SMALLEST = {
    "accuracy": 0.5,  # points: 25 of the 5,000 validation images
    "kernels": 50.0,  # points: what is said of the kernels is true of half of them at least
    "probe": 2.0,  # points
    "correlation": 0.3,  # medium, as Cohen 1988 calls it
    "index": 0.05,
    "loss": 0.02,
    "times": 1.25,
}
Runs = Mapping[str, Row]  # the rows of one seed, by variant


class Measure(NamedTuple):
    """What is measured, in words, by which formula, and where that comes from."""

    words: str
    formula: str
    source: str


@dataclass(frozen=True)
class Part:
    """One number a seed. `null` is its value without a difference; a ratio is judged by its logarithm.

    `is_bound` says whether a seed's number is only the least that it may be, since a run ended before its goal.
    """

    what: str
    measure: Measure
    value: Callable[[Runs], float]
    unit: str
    smallest: float = math.nan
    null: float = 0.0
    is_bound: Callable[[Runs], bool] = lambda runs: False


@dataclass(frozen=True)
class Claim:
    """What is claimed, the parts that decide, what else is worth knowing, and what the verdict does not say."""

    claim: str
    parts: Sequence[Part]
    limits: str
    beside: Sequence[Part] = ()


def minus(first: str, second: str, name: str, *, times: float = 1.0) -> Callable[[Runs], float]:
    """One column of a variant less the same column of another."""
    return lambda runs: times * (runs[first][name] - runs[second][name])


def column(variant: str, name: str) -> Callable[[Runs], float]:
    """A column as it is."""
    return lambda runs: runs[variant][name]


def steps(runs: Runs, variant: str) -> float:
    """Steps to the goal; of one that never came there all its steps, which is less than it would need."""
    row = runs[variant]
    return row["steps_to_goal"] or VARIANTS[variant].epochs * row["steps_per_epoch"]


def slope(variant: str, when: str) -> Callable[[Runs], float]:
    """How far the line fitted to a probe's accuracies rises from the first layer to the last, in points."""

    def value(runs: Runs) -> float:
        accuracies = runs[variant][f"probe_{when}"]
        depths = [layer / (len(accuracies) - 1) for layer in range(len(accuracies))]
        return 100 * statistics.linear_regression(depths, accuracies).slope

    return value


def climb(variant: str) -> Callable[[Runs], float]:
    """The rank correlation of depth and a probe's accuracy."""

    def value(runs: Runs) -> float:
        accuracies = torch.tensor(runs[variant]["probe_trained"])
        return rank_correlation(torch.arange(len(accuracies)), accuracies)

    return value


def gap(runs: Runs, variant: str) -> float:
    """How much better the images are known that were trained on, in points, after ten epochs."""
    return 100 * (runs[variant]["train_accuracy_10"] - runs[variant]["val_accuracy_10"])


VAL5, VAL10 = (f"val_accuracy_{epochs}" for epochs in MILESTONES)
ACCURACY = Measure(
    "difference in validation accuracy",
    "correct / 5,000 images, in evaluation mode",
    "as in Krizhevsky et al. 2012 and He et al. 2015 (arXiv:1512.03385)",
)
LOSS = Measure(
    "difference in training loss (cross-entropy, evaluation mode)",
    "mean of -log p(label) over 5,000 of the training images",
    "He et al. 2015 (arXiv:1512.03385), figure 1: the plain network is harder to optimise, not overfitted",
)
STEPS = Measure(
    "ratio of optimiser steps to 80 % validation accuracy",
    "steps of the slower / steps of the faster, asked every 5 steps on 1,000 validation images; who never gets there "
    "counts with all its steps, so that the ratio is then 'at least'",
    "Krizhevsky et al. 2012, figure 1, and Ioffe and Szegedy 2015 (arXiv:1502.03167), figure 2",
)
ORIENTED = Measure(
    "share of oriented first-layer kernels, trained minus untrained (same seed)",
    "oriented: |sum p exp(2i angle)| / sum p > its value for 95 % of white-noise kernels; p = power / frequency of "
    "the kernel less its mean",
    "structure tensor: Bigun and Granlund 1987; that first layers learn oriented filters: Krizhevsky et al. 2012, "
    "figure 3",
)
COHERENCE = Measure(
    "mean coherence of first-layer kernels, trained minus untrained",
    ORIENTED.formula.split(" > ")[0].removeprefix("oriented: "),
    ORIENTED.source,
)
MOVED = Measure(
    "gradient over the training against distance moved, filter by filter",
    "Spearman's rho of mean over steps of ||g_f|| and ||w_f(end) - w_f(start)||, within a layer, mean over the layers",
    "distance from initialisation: Nagarajan and Kolter 2019 (arXiv:1901.01672); rho: Spearman 1904",
)
PICTURE = Measure(
    "gradient after training, as in the picture, against distance moved",
    "Spearman's rho of ||g_f|| on 500 validation images after the last epoch and ||w_f(end) - w_f(start)||, as above",
    MOVED.source,
)
SPREAD = Measure(
    "spread of the gradient over filters",
    "(sum e)^2 / (F sum e^2), e_f = ||g_f||^2: 1 when all F filters share alike; on 500 validation images after each "
    "epoch, mean over the layers that both networks have (stem, first and last block of each stage)",
    "participation ratio: Bell and Dean 1970",
)
SPARSITY = Measure(
    "sparsity of the gradient within a filter",
    "Gini index of |g| over a filter's weights (Gaussian values have 0.41, Laplacian ones 0.50); layers as above",
    "Hurley and Rickard 2009 (arXiv:0811.4706)",
)
DEVIATION = Measure(
    "relative deviation of the gradient's sizes in a layer",
    "std|g| / mean|g| over a layer's weights; layers as above",
    "another reading of 'dispersed'; Hoyer's sparsity is a function of it alone",
)
NONLINEAR = Measure(
    "share of a channel's response that no linear template explains",
    "1 - R^2 of ridge regression from pixels on the response in the map's middle, on the half of the validation "
    "images it was not fitted to; mean over the channels, then over the ends of the four stages",
    "simple = explained by a linear function: Kalimeris et al. 2019 (arXiv:1905.11604)",
)
FIELD = Measure(
    "effective receptive field",
    "(sum e)^2 / sum e^2 over pixels, e the mean squared gradient of the map's middle by the image; mean over the "
    "ends of the four stages",
    "Luo et al. 2016 (arXiv:1701.04128)",
)
RANK = Measure(
    "diversity: effective rank of the channels' correlations",
    "exp(-sum p log p) / C, p the eigenvalues of the correlation matrix over images and places, divided by their sum;"
    " mean over the ends of the four stages",
    "Roy and Vetterli 2007",
)
SELECTIVITY = Measure(
    "specificity: class selectivity of a channel",
    "(a - b) / (a + b), a the mean activation for the channel's favourite class, b over the others; mean over the "
    "channels, then over the ends of the four stages",
    "Morcos et al. 2018 (arXiv:1803.06959)",
)
PROBE = Measure(
    "rise of a linear probe's accuracy from first layer to last",
    "slope over relative depth (0 to 1) of the accuracy of ridge regression from a layer's maps to the ten classes, "
    "each half of the validation images judged by a fit to the other; ResNets at the stem and each block, AlexNet at "
    "each convolution's activation",
    "Alain and Bengio 2016 (arXiv:1610.01644)",
)
CLIMB = Measure(
    "how steadily it rises",
    "Spearman's rho of depth and the probe's accuracy",
    PROBE.source,
)
GAP = Measure(
    "generalisation gap: training minus validation accuracy",
    "accuracy on 5,000 of the training images minus that on the 5,000 validation images, in evaluation mode, after 10"
    " epochs; without dropout minus with it",
    "Srivastava et al. 2014 (JMLR 15), Goodfellow et al. 2016, section 5.2",
)
VAL_LOSS = Measure("difference in validation loss", "mean of -log p(label) over 5,000 images", GAP.source)
POOLED = Measure(
    "share of the maps that pooling loses",
    "1 - R^2 of the best linear function from 3x3 pooled values to the 2x2 values under the middle one, on the first "
    "convolution's maps of one trained AlexNet (200 images); 2/2 minus 3/2",
    "reconstruction from what is left, as in Dosovitskiy and Brox 2016 (arXiv:1506.02753), by a linear function",
)

NETWORKS = {"resnet18": "ResNet-18", "alexnet": "AlexNet", "resnet34": "ResNet-34"}


def for_each(
    measure: Measure, value: Callable[[str], Callable[[Runs], float]], unit: str, smallest: float = math.nan
) -> list[Part]:
    """A part for each of the three networks."""
    return [Part(title, measure, value(name), unit, smallest) for name, title in NETWORKS.items()]


def deep(name: str, measure: Measure, unit: str, smallest: float = math.nan) -> Part:
    """ResNet-34 minus ResNet-18."""
    return Part("ResNet-34 minus ResNet-18", measure, minus("resnet34", "resnet18", name), unit, smallest)


def shortcut(depth: int, name: str, measure: Measure, unit: str, smallest: float = math.nan) -> Part:
    """What shortcuts are good for at a depth: higher accuracy, in points, or lower loss."""
    residual, plain = f"resnet{depth}", f"plain{depth}"
    if unit == "points":
        value = minus(residual, plain, name, times=100)
        return Part(f"{depth} layers, with minus without shortcuts", measure, value, unit, smallest)
    return Part(f"{depth} layers, without minus with shortcuts", measure, minus(plain, residual, name), unit, smallest)


def depth_helps(name: str, measure: Measure, unit: str) -> Part:
    """How much more shortcuts are good for at 34 layers than at 18."""
    at_34, at_18 = (shortcut(depth, name, measure, unit).value for depth in (34, 18))
    return Part("what shortcuts gain at 34 layers minus at 18", measure, lambda runs: at_34(runs) - at_18(runs), unit)


def accuracy(what: str, first: tuple[str, str], second: tuple[str, str], **more: float) -> Part:
    """Validation accuracy of a (variant, column) less that of another, in points; `more` is Part's."""

    def value(runs: Runs) -> float:
        return 100 * (runs[first[0]][first[1]] - runs[second[0]][second[1]])

    return Part(what, ACCURACY, value, "points", **more)


def slower(what: str, slow: str, fast: str, *, smallest: float = math.nan) -> Part:
    """How many times as many steps one needs to the goal."""

    def value(runs: Runs) -> float:
        return steps(runs, slow) / steps(runs, fast)

    return Part(what, STEPS, value, "times", smallest, is_bound=lambda runs: runs[slow]["steps_to_goal"] is None)


B64 = "resnet18, batch 64"
CLAIMS = [
    Claim(
        "Trained first-layer kernels are edge and texture filters, untrained ones are not.",
        for_each(
            ORIENTED,
            lambda net: lambda runs: 100 * (runs[net]["oriented_trained"] - runs[net]["oriented_untrained"]),
            "points",
            SMALLEST["kernels"],
        ),
        "It counts edges, bars and gratings of one orientation; spots, checkerboards and weak patterns under the "
        "noise of the first weights are not counted, and after more training there may be more.",
        for_each(
            COHERENCE,
            lambda net: lambda runs: runs[net]["coherence_trained"] - runs[net]["coherence_untrained"],
            "index",
        ),
    ),
    Claim(
        "Weights with small gradients have learned little; those with large ones are where the learning is.",
        for_each(MOVED, lambda net: column(net, "moved_by_gradients"), "correlation", SMALLEST["correlation"]),
        "Learning is taken for distance moved, filters are compared within a layer, and all is for Adam, which "
        "divides a gradient by its own recent size; it says nothing of plain gradient descent, nor of what a filter "
        "is good for.",
        for_each(PICTURE, lambda net: column(net, "moved_by_picture"), "correlation"),
    ),
    Claim(
        "ResNet-34's gradients are more dispersed and sparser than ResNet-18's.",
        [
            deep("gradient_spread", SPREAD, "index", SMALLEST["index"]),
            deep("gradient_sparsity", SPARSITY, "index", SMALLEST["index"]),
        ],
        "Dispersed is read as spread over more of the filters, sparse as few large values within a filter, since "
        "otherwise the one would be the opposite of the other; another reading stands beside it.",
        [deep("gradient_deviation", DEVIATION, "ratio")],
    ),
    Claim(
        "ResNet-34's kernels respond to more complex patterns than ResNet-18's.",
        [deep("nonlinear", NONLINEAR, "index", SMALLEST["index"])],
        "Complex means here: not to be told by laying one template over the image, at the ends of the four stages; "
        "whether a person would call the patterns more complex is not asked.",
        [deep("field", FIELD, "pixels")],
    ),
    Claim(
        "ResNet-34's feature maps are more diverse and more specific than ResNet-18's.",
        [
            deep("rank", RANK, "index", SMALLEST["index"]),
            deep("selectivity", SELECTIVITY, "index", SMALLEST["index"]),
        ],
        "Both are means over the ends of the four stages, where the two networks have as many channels; single layers"
        " may differ otherwise, and selective channels need not be the useful ones (Morcos et al. 2018).",
    ),
    Claim(
        "Deeper layers hold more abstract features.",
        for_each(PROBE, lambda net: slope(net, "trained"), "points", SMALLEST["probe"]),
        "Abstract is taken for linearly separable into the ten classes, on 2,500 images a fit; early layers have more"
        " numbers an image, of which a linear classifier on so few images makes less.",
        [
            *for_each(CLIMB, climb, "correlation"),
            *(
                Part(f"{title}, untrained", PROBE, slope(name, "untrained"), "points")
                for name, title in NETWORKS.items()
            ),
        ],
    ),
    Claim(
        "Shortcuts ease the training of deep networks.",
        [
            shortcut(34, "train_loss_5", LOSS, "nats", SMALLEST["loss"]),
            shortcut(34, VAL5, ACCURACY, "points", SMALLEST["accuracy"]),
        ],
        "It is about 34 layers with batch norm and a short training; a plain network may catch up with more epochs or"
        " another learning rate.",
        [
            shortcut(18, "train_loss_5", LOSS, "nats"),
            shortcut(18, VAL5, ACCURACY, "points"),
            depth_helps("train_loss_5", LOSS, "nats"),
            depth_helps(VAL5, ACCURACY, "points"),
        ],
    ),
    Claim(
        "Dropout reduces overfitting (AlexNet).",
        [
            Part(
                "without minus with dropout",
                GAP,
                lambda runs: gap(runs, "alexnet, no dropout") - gap(runs, "alexnet"),
                "points",
                SMALLEST["accuracy"],
            )
        ],
        "A smaller gap is less overfitting by its definition, but a network that learns more slowly has one, too: "
        "whether dropout is of any use here, only validation accuracy and loss say, which stand beside it.",
        [
            accuracy(
                "with minus without dropout, 10 epochs",
                ("alexnet", VAL10),
                ("alexnet, no dropout", VAL10),
            ),
            Part(
                "without minus with dropout, 10 epochs",
                VAL_LOSS,
                minus("alexnet, no dropout", "alexnet", "val_loss_10"),
                "nats",
            ),
        ],
    ),
    Claim(
        "Normalisation speeds convergence.",
        [
            slower(
                "ResNet-18 without batch norm against with it",
                "resnet18, no norm",
                "resnet18",
                smallest=SMALLEST["times"],
            )
        ],
        "Batch norm's scale and shift stay in the network without it, so that normalising alone is missing; it is one"
        " learning rate and PyTorch's first weights, and what is counted are steps, not what a step costs in time.",
        [
            accuracy(
                "with minus without batch norm, 5 epochs",
                ("resnet18", VAL5),
                ("resnet18, no norm", VAL5),
            ),
            slower(
                "AlexNet on pixels from 0 to 1 against normalised ones",
                "alexnet, raw pixels",
                "alexnet",
            ),
        ],
    ),
    Claim(
        "Batches of 128 for 64 and 5 epochs for 10 save time at hardly any cost in accuracy.",
        [
            accuracy(
                "batch 128, 5 epochs minus batch 64, 10 epochs",
                ("resnet18", VAL5),
                (B64, VAL10),
                smallest=0.0,
                null=-SMALLEST["accuracy"],
            )
        ],
        "Hardly any cost is a loss of less than half a point, by the whole interval; what is saved is arithmetic, "
        "half the passes over the images and a quarter of the steps, and seconds were not measured.",
        [
            accuracy(
                "batch alone: 128 minus 64, 10 epochs",
                ("resnet18", VAL10),
                (B64, VAL10),
            ),
            accuracy(
                "batch alone: 128 minus 64, 5 epochs",
                ("resnet18", VAL5),
                (B64, VAL5),
            ),
            accuracy(
                "epochs alone: 5 minus 10, batch 128",
                ("resnet18", VAL5),
                ("resnet18", VAL10),
            ),
            accuracy("epochs alone: 5 minus 10, batch 64", (B64, VAL5), (B64, VAL10)),
        ],
    ),
    Claim(
        "ReLU converges faster than sigmoid.",
        [
            slower(
                "AlexNet with sigmoid against with ReLU",
                "alexnet, sigmoid",
                "alexnet",
                smallest=SMALLEST["times"],
            )
        ],
        "It is for a network of eight layers without batch norm, with first weights made for no activation in "
        "particular; sigmoid may do better with weights and a learning rate of its own.",
        [
            accuracy(
                "ReLU minus sigmoid, 5 epochs",
                ("alexnet", VAL5),
                ("alexnet, sigmoid", VAL5),
            )
        ],
    ),
    Claim(
        "Overlapping 3/2 pooling loses less than 2/2 pooling.",
        [
            accuracy(
                "AlexNet with 3/2 minus with 2/2, maps of one size",
                ("alexnet, padded 3/2", VAL5),
                ("alexnet, 2/2", VAL5),
                smallest=SMALLEST["accuracy"],
            ),
            Part(
                "lost by 2/2 minus by 3/2, same maps",
                POOLED,
                lambda runs: runs["alexnet"]["pool_loss_2"] - runs["alexnet"]["pool_loss_3"],
                "index",
                SMALLEST["index"],
            ),
        ],
        "Lost is taken twice, as accuracy and as what a linear function cannot bring back; the maps are those of a "
        "network trained with 3/2, and padding makes both poolings give 14, 7 and 4 rows.",
    ),
]
