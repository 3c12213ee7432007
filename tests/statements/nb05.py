"""What 05_shallow_vs_deep says of ResNet-18, ResNet-34 and their plain twins."""

import math
from itertools import pairwise

import numpy as np
import ties
from numpy.typing import NDArray
from ties import Tie

PLACES = [  # the last convolution of each stage
    ("stage1.1.conv2", "stage1.2.conv2"),
    ("stage2.1.conv2", "stage2.3.conv2"),
    ("stage3.1.conv2", "stage3.5.conv2"),
    ("stage4.1.conv2", "stage4.2.conv2"),
]
STEM = ("stem.conv", "stem.conv")
TWINS = ("resnet18", "plain18", "resnet34", "plain34")


def result(name: str) -> tuple[float, float]:
    """A network's test accuracy, and its standard error."""
    test = ties.run_json(f"{name}-original")["evaluation"]["test"]
    return test["accuracy"], math.sqrt(test["accuracy"] * (1 - test["accuracy"]) / test["images"])


def ahead(first: str, second: str) -> float:
    """How far the first is ahead on the test images, in units of what chance over the images explains."""
    (one, error), (other, other_error) = result(first), result(second)
    return (one - other) / (2 * math.hypot(error, other_error))


def seconds(name: str) -> float:
    """Of training."""
    return sum(ties.epochs(f"{name}-original", "seconds"))


def discordant(first: str, second: str) -> tuple[int, int]:
    """How many validation images the first alone got right, and the second alone."""
    labels = ties.split("val")[1]
    one, other = (ties.answers(f"{name}-original", "val", 5000) == labels for name in (first, second))
    return int((one & ~other).sum()), int((other & ~one).sum())


def p_of(first: str, second: str) -> float:
    """McNemar's exact test, by the binomial distribution's tail."""
    wins, losses = discordant(first, second)
    tail = sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2 ** (wins + losses))


def p_values() -> list[float]:
    """Of the four pairs."""
    pairs = ("resnet18", "resnet34"), ("resnet18", "alexnet"), ("resnet18", "plain18"), ("resnet34", "plain34")
    return [p_of(*pair) for pair in pairs]


def agrees_with_the_runs_file(name: str) -> bool:
    """Whether the answers are those that were counted when the run was measured, up to another processor's rounding."""
    right = (ties.answers(f"{name}-original", "val", 5000) == ties.split("val")[1]).double().mean().item()
    return abs(right - ties.run_json(f"{name}-original")["evaluation"]["val"]["accuracy"]) < 0.001


def alike(layers: tuple[str, str], epoch: int) -> float:
    """The cosine of both networks' kernels."""
    one, other = (
        ties.pictures(f"{name}-original", "kernels", layer, epoch).ravel()
        for name, layer in zip(("resnet18", "resnet34"), layers, strict=True)
    )
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def norms(name: str, epoch: int) -> dict[str, float]:
    """The gradient's norm by convolution, without the shortcuts'."""
    rows = ties.column(f"{name}-original", "gradient_norm", epoch)
    return {layer: norm for layer, norm in rows.items() if "shortcut" not in layer}


def growth(name: str, epoch: int) -> float:
    """The first layer's norm over the last one's."""
    first, *_, last = norms(name, epoch).values()
    return first / last


def spread(name: str) -> list[float]:
    """The participation ratio of the stem's filters, epoch by epoch."""
    return [participation(ties.pictures(f"{name}-original", "gradients", "stem.conv", epoch)) for epoch in range(6)]


def participation(gradient: NDArray[np.float32]) -> float:
    """Of the filters' energies."""
    energy = np.array([np.square(each).sum() for each in gradient])
    return float(energy.sum() ** 2 / (len(energy) * np.square(energy).sum()))


def smaller_gradients() -> bool:
    """Whether ResNet-34's are, at all matching places."""
    shallow, deep = norms("resnet18", 5), norms("resnet34", 5)
    return all(0 < deep[other] < shallow[one] for one, other in [STEM, *PLACES])


def train_losses(place: int) -> dict[str, float]:
    """In the epoch at that place."""
    return {name: ties.epochs(f"{name}-original", "train_loss")[place] for name in TWINS}


def gains() -> list[float]:
    """What shortcuts gain at 18 and at 34 layers."""
    return [result(f"resnet{depth}")[0] - result(f"plain{depth}")[0] for depth in (18, 34)]


def crossings() -> list[bool]:
    """Whether the deeper network leads on validation, by epoch."""
    shallow, deep = (ties.epochs(f"{name}-original", "val_accuracy") for name in ("resnet18", "resnet34"))
    return [b > a for a, b in zip(shallow, deep, strict=True)]


def no_overfitting() -> bool:
    """Whether the deep plain network's validation loss is close to its training loss."""
    train, val = (ties.epochs("plain34-original", f"{split}_loss")[-1] for split in ("train", "val"))
    return train > 0 and val < 1.1 * train


TIES = [
    Tie(
        "The two residual networks are 0.08 points apart, a tenth of what the lab's rule asks for "
        "(`measure.least_difference`); ResNet-34 took 1.8 times as long.",
        lambda: (
            round(100 * (result("resnet18")[0] - result("resnet34")[0]), 2) == 0.08
            and round(ahead("resnet18", "resnet34"), 1) == 0.1
            and round(seconds("resnet34") / seconds("resnet18"), 1) == 1.8
        ),
    ),
    Tie(
        "AlexNet and the plain networks are lower by more than the rule asks for.",
        lambda: all(
            ahead(residual, other) > 1
            for residual in ("resnet18", "resnet34")
            for other in ("alexnet", "plain18", "plain34")
        ),
    ),
    Tie(
        "The curves of ResNet-18 and ResNet-34 cross twice: the deeper one is ahead after the second and the third "
        "epoch, the other one at the end.",
        lambda: crossings() == [False, True, True, False, False],
    ),
    Tie(
        "Three of the four differences are hardly chance.",
        lambda: sum(p < 0.001 for p in p_values()) == 3 and agrees_with_the_runs_file("resnet18"),
    ),
    Tie(
        "For ResNet-18 against ResNet-34 $p$ is 0.03: below the usual 0.05, but of four comparisons one so small "
        "is no great surprise, and on the test images the two are even.",
        lambda: round(p_values()[0], 2) == 0.03 and abs(ahead("resnet18", "resnet34")) < 1,
    ),
    Tie(
        "The stems stay alike, with a cosine of 0.94 after training.",
        lambda: round(alike(STEM, 5), 2) == 0.94,
    ),
    Tie(
        "At the ends of all four stages the kernels are nearly unrelated, before training and after (a cosine of "
        "0.11 at most): there the two networks have drawn different random numbers, and a channel with a number in "
        "one has nothing to do with the channel of that number in the other.",
        lambda: round(max(abs(alike(place, epoch)) for place in PLACES for epoch in (0, 5)), 2) == 0.11,
    ),
    Tie("The gradients of ResNet-34 are smaller at all five places.", smaller_gradients),
    Tie(
        "In this pair the gradient of ResNet-18 is spread wider at every epoch: the opposite of what was claimed.",
        lambda: all(a > b for a, b in zip(spread("resnet18"), spread("resnet34"), strict=True)),
    ),
    Tie(
        "But it is one layer of one pair of runs, and from epoch to epoch the number moves by up to 0.2 in one and "
        "the same network.",
        lambda: round(max(abs(b - a) for a, b in pairwise(spread("resnet34"))), 1) == 0.2,
    ),
    Tie(
        "It does not vanish, it *grows* on its way back, and most in the deep plain network: 31 times, against 5.5 "
        "times with shortcuts.",
        lambda: (
            round(growth("plain34", 0)) == 31
            and round(growth("resnet34", 0), 1) == 5.5
            and all(growth("plain34", 0) > growth(name, 0) > 1 for name in TWINS[:3])
        ),
    ),
    Tie(
        "With plain gradient descent one learning rate would have to suit layers whose gradients are 31 times apart.",
        lambda: round(growth("plain34", 0)) == 31,
    ),
    Tie(
        "Now the lines have much the same slope: in all four networks the first layer's gradient is 11 to 18 times "
        "that of the last.",
        lambda: {round(growth(name, 5)) for name in TWINS} == {11, 17, 18},
    ),
    Tie(
        "What set the deep plain network apart before training is gone after five epochs.",
        lambda: growth("plain34", 0) > 5 * growth("resnet34", 0) and growth("plain34", 5) < growth("resnet34", 5),
    ),
    Tie(
        "The deep plain network has the highest training loss from the first epoch to the last: it is harder to "
        "train, and does not overfit.",
        lambda: (
            all(max(losses, key=lambda name: losses[name]) == "plain34" for losses in map(train_losses, range(5)))
            and no_overfitting()
        ),
    ),
    Tie(
        "With shortcuts both depths are better by more than chance over the images.",
        lambda: all(ahead(f"resnet{depth}", f"plain{depth}") > 1 for depth in (18, 34)),
    ),
    Tie(
        "But whether shortcuts help *more* the deeper a network is, these four runs cannot say: the two gains "
        "differ by 0.56 points, and chance alone goes twice as far.",
        lambda: (
            round(100 * (gains()[1] - gains()[0]), 2) == 0.56
            and 0.0112 < 2 * math.hypot(*(result(name)[1] for name in TWINS)) < 0.0125
        ),
    ),
    Tie(
        "With this recipe ResNet-34 costs 1.8 times the time of ResNet-18, and in one run of each nothing is "
        "gained that could be told from chance.",
        lambda: round(seconds("resnet34") / seconds("resnet18"), 1) == 1.8 and ahead("resnet34", "resnet18") < 1,
    ),
    Tie(
        "Without shortcuts the deeper network is the harder one to train.",
        lambda: train_losses(4)["plain34"] > train_losses(4)["plain18"] > 0,
    ),
]
GENERAL = [
    "But these are single runs: the rule knows that other images would give other accuracies, and not that another "
    "seed would give another network.",
    "Whoever is free to choose the epoch can show either to be better.",
    "And a small $p$ speaks of these *trained networks* and of images like these.",
    "It does not say that one *architecture* is better than the other: for that one trains several seeds of each, as "
    "section 4 does.",
    "So comparing two deep kernels by eye compares chance.",
    "These are facts of one pair of runs; what they say of depth, the next section asks.",
    "To know, one needs more layers and more seeds.",
    "Batch norm keeps the outputs of all layers at one size, and then a gradient explodes instead of vanishing "
    "([Yang et al. 2019](https://arxiv.org/abs/1902.08129)).",
    "Adam divides each weight's gradient by its own recent size, so for it such a factor matters little: from this "
    "picture alone nothing follows about how well a network trains with Adam.",
    "Deep kernels cannot be compared by eye, since their numbering is chance; measures can be, over seeds.",
    "What the measures say of the lab report's claims stands in the two tables above, each with its interval, and "
    "all twelve are in notebook 7.",
    "That is what `benchmarks/claims.py` does: for every claim a measure with its source, several seeds of each "
    "network, the mean effect with its interval of 95 %, and a smallest difference that matters, fixed beforehand.",
]
