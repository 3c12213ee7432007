"""What 05_shallow_vs_deep says of ResNet-18, ResNet-34 and their plain twins."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import ties
from numpy.typing import NDArray
from ties import Tie

from fmnist_lib.runs import measure

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


def val(name: str) -> dict[str, float]:
    """A network's figures on the validation images."""
    return ties.run_json(f"{name}-original")["evaluation"]["val"]


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


def smaller_gradients(epoch: int) -> int:
    """At how many of the five matching places ResNet-34's are."""
    shallow, deep = norms("resnet18", epoch), norms("resnet34", epoch)
    return sum(0 < deep[other] < shallow[one] for one, other in [STEM, *PLACES])


def parts(number: int) -> list[dict[str, Any]]:
    """What benchmarks/claims.json has of the parts of a claim."""
    return ties.benchmark("claims.json")["claims"][number - 1]["parts"]


def side(part: dict[str, Any]) -> int:
    """On which side of no difference a part's whole interval lies: 1 the claim's, -1 the other one, 0 neither."""
    low, high = part["interval"]
    return 1 if low > part["no_difference"] else -1 if high < part["no_difference"] else 0


def is_enough(part: dict[str, Any]) -> bool:
    """Whether a part's effect is as large as matters, whatever its side."""
    if part["no_difference"] == 1:  # a ratio, whose smallest is a ratio, too
        return max(part["effect"], 1 / part["effect"]) >= part["smallest_that_matters"]
    return abs(part["effect"] - part["no_difference"]) >= part["smallest_that_matters"]


def was_unsure(part: dict[str, Any]) -> bool:
    """Whether a part's seeds were too few: its interval has room for no difference and for one that matters."""
    low, high = part["interval"]
    return side(part) == 0 and max(-low, high) >= part["smallest_that_matters"]


def rule_says(number: int) -> str:
    """A claim's verdict by the rule as the notebook tells it."""
    found = [side(part) * is_enough(part) for part in parts(number)]
    return "contradicted" if -1 in found else "supported" if set(found) == {1} else "not supported"


def verdict(number: int) -> str:
    """A claim's, as it is kept."""
    return ties.benchmark("claims.json")["claims"][number - 1]["verdict"]


def tell_parts(number: int) -> list[tuple[int, bool]]:
    """Of each part of a claim the side and whether it is enough."""
    return [(side(part), is_enough(part)) for part in parts(number)]


def setup_has(*words: str) -> bool:
    """Whether these words stand where benchmarks/claims.json says how its runs were made, and all have five seeds."""
    kept = ties.benchmark("claims.json")
    return kept["n"] == 5 and all(word in kept["setup"]["en"] for word in words)


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
        "0.11 at most): there the two networks have drawn different random numbers, and so channel 5 of the one has "
        "nothing to do with channel 5 of the other.",
        lambda: round(max(abs(alike(place, epoch)) for place in PLACES for epoch in (0, 5)), 2) == 0.11,
    ),
    Tie(
        "After the last epoch the gradients of ResNet-34 are smaller at all five places; before training they are "
        "larger at four of them.",
        lambda: (smaller_gradients(5), smaller_gradients(0)) == (5, 1),
    ),
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
        "It does not vanish: in all four networks the first layer's is *larger* than the last one's, and most in the "
        "deep plain network: 31 times, against 5.5 times with shortcuts.",
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
        "The lines have shapes of their own, but their ends are alike now: in all four networks the first layer's "
        "gradient is 11 to 18 times that of the last.",
        lambda: {round(growth(name, 5)) for name in TWINS} == {11, 17, 18},
    ),
    Tie(
        "The factor that set the deep plain network apart before training is gone after five epochs.",
        lambda: growth("plain34", 0) > 5 * growth("resnet34", 0) and growth("plain34", 5) < growth("resnet34", 5),
    ),
    Tie(
        "The deep plain network has the highest training loss in every epoch: it is harder to train, and does not "
        "overfit, since its validation loss is hardly higher than its training loss.",
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
        "differ by 0.56 points, and by the lab's rule, which is cautious, that would have to be 1.18.",
        lambda: (
            round(100 * (gains()[1] - gains()[0]), 2) == 0.56
            and round(200 * math.hypot(*(result(name)[1] for name in TWINS)), 2) == 1.18
        ),
    ),
    Tie(
        "With this recipe ResNet-34 costs 1.8 times the time of ResNet-18, and in one run of each nothing is "
        "gained that could be told from chance.",
        lambda: round(seconds("resnet34") / seconds("resnet18"), 1) == 1.8 and ahead("resnet34", "resnet18") < 1,
    ),
    Tie(
        "Without shortcuts 34 layers had the higher training loss in every seed, though by the rule five seeds do "
        "not decide it.",
        lambda: min(parts(7)[0]["values"]) > 0 and was_unsure(parts(7)[0]) and verdict(7) == "not supported",
    ),
    Tie(
        "(Notebook 4's rule said *does not count* of the same two accuracies: it takes them for those of different "
        "images, and so asks for more than is needed.)",
        lambda: (
            p_of("resnet18", "resnet34") < 0.05
            and abs(val("resnet18")["accuracy"] - val("resnet34")["accuracy"])
            < measure.least_difference(val("resnet18"), val("resnet34"))
        ),
    ),
    Tie(
        "Those runs are smaller than the ones above, so that two cores could make several of each: 16,000 training "
        "images, five epochs, and ResNets with a stem of stride 2.",
        lambda: setup_has("for 5 epochs", "16,000 training images", "kernel of stride 2", "two cores"),
    ),
    Tie(
        "*Supported* asks for two things: an interval that lies wholly on the claim's side, and an effect of at least "
        "the smallest size that matters (here 0.05 on a scale from 0 to 1, and 2 points for the probe of claim 6).",
        lambda: (
            {part["smallest_that_matters"] for number in (3, 4, 5) for part in parts(number)} == {0.05}
            and {part["smallest_that_matters"] for part in parts(6)} == {2}
            and all(rule_says(number) == verdict(number) for number in range(1, 13))
        ),
    ),
    Tie(
        "Claim 3: there is no wider spread, and a greater sparsity is there but small.",
        lambda: tell_parts(3) == [(0, False), (1, False)],
    ),
    Tie(
        "Claim 4: the effect lies on the *other* side of 0, but is too small to matter; so does the diversity of "
        "claim 5.",
        lambda: tell_parts(4) == tell_parts(5)[:1] == [(-1, False)],
    ),
    Tie(
        "Claim 6: both ResNets meet it, and AlexNet rises by 1 point instead of 2.",
        lambda: tell_parts(6) == [(1, True), (1, False), (1, True)] and round(parts(6)[1]["effect"]) == 1,
    ),
    Tie(
        "None of the four says that the seeds were too few; claim 7 below does.",
        lambda: (
            not any(was_unsure(part) for number in (3, 4, 5, 6) for part in parts(number))
            and all(was_unsure(part) for part in parts(7))
        ),
    ),
    Tie(
        "In all five seeds the plain network has the higher loss, by 0.15 to 0.75, and the smallest difference that "
        "matters is 0.02.",
        lambda: (
            [round(end(parts(7)[0]["values"]), 2) for end in (min, max)] == [0.15, 0.75]
            and parts(7)[0]["smallest_that_matters"] == 0.02
        ),
    ),
    Tie(
        "And yet the interval reaches just below 0: in one seed the plain network trained so badly (20 points of "
        "accuracy behind) that the mean of five is not known well.",
        lambda: (
            -0.03 < parts(7)[0]["interval"][0] < 0
            and sorted(round(value) for value in parts(7)[1]["values"])[3:] == [3, 20]
        ),
    ),
    Tie(
        "*Not supported* means here: five seeds were too few for the rule that was fixed beforehand.",
        lambda: len(parts(7)[0]["values"]) == 5 and was_unsure(parts(7)[0]),
    ),
]
GENERAL = [
    "A claim of several parts needs them all.",
    "So *not supported* can mean different things, and the reason of each part says which.",
    "*Contradicted* would mean: the other side, and large enough to matter.",
    "It does not mean that shortcuts are of no use.",
    "The *effect* is their mean, and its *interval of 95 %* says between which values it may lie if other seeds were "
    "drawn: a rule that catches the true mean in 95 of 100 such experiments (you compute one in notebook 6).",
    "(The norm depends on the kind of layer, too: in the first one 28x28 places add up, in the last 4x4.",
    "So compare the four lines with each other, whose ends are layers of the same shapes, rather than the two ends "
    "of one.)",
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
