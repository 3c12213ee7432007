"""What 03_alexnet says of the long run, alexnet-original."""

from itertools import pairwise

import ties
from ties import Tie

RUN, RESNET, LAST = "alexnet-original", "resnet18-original", 5
LAYERS = tuple(f"features.act{number}" for number in range(1, 6))
RESNET_LAYERS = tuple(layer for layer in ties.recording(RESNET).layers["maps"] if "act" in layer)


def share_connected() -> float:
    """The share of the parameters that sits in the fully connected layers."""
    return ties.parameters("alexnet", "classifier") / ties.parameters("alexnet")


def share_in_2012() -> float:
    """The same of the network of 2012, as the notebook printed it, in percent."""
    return ties.printed("03", r"2012: .* (\d+)% of all")[0]


def thirty_batches() -> list[float]:
    """The losses with ReLU and with sigmoids after thirty batches, as the notebook printed them."""
    return ties.printed("03", r"batch 30: loss ([\d.]+) with ReLU, ([\d.]+) with sigmoids")


def accuracies(variant: str) -> list[float]:
    """Of the trainings for the claims, after five epochs."""
    return [float(row["val_accuracy_5"]) for row in ties.benchmark("claims.csv") if row["variant"] == variant]


def percents(run: str, epoch: int) -> float:
    """The validation accuracy after an epoch."""
    return round(100 * ties.epochs(run, "val_accuracy")[epoch - 1], 1)


def is_above(epoch: int) -> bool:
    """Whether the validation accuracy lies above the training accuracy."""
    return ties.epochs(RUN, "val_accuracy")[epoch - 1] > ties.epochs(RUN, "train_accuracy")[epoch - 1]


def dropout() -> tuple[list[float], list[float]]:
    """Accuracy in percent and loss on 2,000 training images, with dropout and without, as the notebook printed them."""
    on, off = (ties.printed("03", rf"dropout {mode} *: accuracy ([\d.]+)%, loss ([\d.]+)") for mode in ("on", "off"))
    return on, off


def end_of_first_epoch() -> float:
    """The training accuracy of the last batches of the first epoch."""
    rows = [row for row in ties.run_json(RUN)["history"]["steps"] if 380 <= row["step"] <= 430]
    return sum(row["accuracy"] for row in rows) / len(rows)


def costs_nothing() -> bool:
    """Whether dropout costs the trained network less accuracy than chance, and some loss."""
    (accuracy, loss), (without, lower) = dropout()
    least = 2 * (2 * without * (100 - without) / 2000) ** 0.5
    return abs(accuracy - without) < least and lower < loss < 1.2 * lower


def count_dead(run: str, layers: tuple[str, ...]) -> list[int]:
    """How many channels of each layer are zero for all of a thousand validation images."""
    return [int((maps == 0).all(3).all(2).all(0).sum()) for maps in ties.outputs(run, layers, 1000).values()]


def dead(layer: str, epoch: int) -> set[int]:
    """A layer's dead channels in the recording."""
    return set(ties.column(RUN, "dead", epoch)[layer])


def back(layer: str) -> tuple[int, int]:
    """How many of the channels that were dead after the first epoch live after the last, and of how many."""
    return len(dead(layer, 1) - dead(layer, LAST)), len(dead(layer, 1))


def growth() -> dict[str, float]:
    """How many times larger each layer's gradient is after the first epoch than before training."""
    before, after = ties.column(RUN, "gradient_norm", 0), ties.column(RUN, "gradient_norm", 1)
    return {layer: after[layer] / before[layer] for layer in before}


def smallest(name: str, epoch: int) -> str:
    """The layer in which a measure is smallest."""
    values = ties.column(RUN, name, epoch)
    return min(values, key=values.__getitem__)


def fades() -> bool:
    """Whether the values of each layer of the untrained network scatter less than those of the layer before."""
    spread = list(ties.column(RUN, "std", 0).values())
    return all(later < earlier for earlier, later in pairwise(spread))


def resnet_is_largest_before() -> bool:
    """Whether all gradients of ResNet-18 are larger before training than after any epoch."""
    before = ties.column(RESNET, "gradient_norm", 0)
    return all(
        before[layer] > value
        for epoch in range(1, 6)
        for layer, value in ties.column(RESNET, "gradient_norm", epoch).items()
    )


TIES = [
    Tie(
        "Your own short training sees 30,000 images; at the pace of the stored run that takes about 13 seconds on "
        "two processor cores.",
        lambda: round(ties.seconds_for(RUN, 30_000)) == 13,
    ),
    Tie(
        "In ours the fully connected layers hold 56 % of the parameters, in the network of 2012 they held 96 %.",
        lambda: round(100 * share_connected()) == 56 and share_in_2012() == 96,
    ),
    Tie(
        "ResNet-18 has but one such layer, behind a mean over all pixels: 1,290 of its 701,818 parameters.",
        lambda: ties.parameters("resnet18", "head") == 1290 and ties.parameters("resnet18") == 701_818,
    ),
    Tie(
        "After thirty batches the network with ReLU has begun to learn, and the one with sigmoids has not.",
        lambda: thirty_batches()[0] < 1.8 and 2.25 < thirty_batches()[1] < 2.4,
    ),
    Tie(
        "Given time it learns, too, but in the trainings for the twelve claims, five epochs on 16,000 images, each "
        "of its runs ended more than five points behind each with ReLU.",
        lambda: 0.5 < max(accuracies("alexnet, sigmoid")) < min(accuracies("alexnet")) - 0.05,
    ),
    Tie(
        "AlexNet starts more slowly: 84.0 % of the validation images after one epoch against 88.4 % of ResNet-18, "
        "and 89.1 % against 92.0 % after five.",
        lambda: [percents(run, epoch) for epoch in (1, 5) for run in (RUN, RESNET)] == [84.0, 88.4, 89.1, 92.0],
    ),
    Tie(
        "And in its first two epochs the validation points lie *above* the training accuracy, which looks like an "
        "error and is none.",
        lambda: [is_above(epoch) for epoch in range(1, 6)] == [True, True, False, False, False],
    ),
    Tie(
        "Next to nothing: the accuracies differ by less than chance, and the loss is a little higher with dropout.",
        costs_nothing,
    ),
    Tie(
        "So dropout explains little of the 13 points between the two curves after the first epoch.",
        lambda: (
            costs_nothing()
            and round(100 * (ties.epochs(RUN, "val_accuracy")[0] - ties.epochs(RUN, "train_accuracy")[0])) == 13
        ),
    ),
    Tie(
        "Look at the pale line, which at the end of the first epoch has reached the validation point.",
        lambda: abs(end_of_first_epoch() - ties.epochs(RUN, "val_accuracy")[0]) < 0.02,
    ),
    Tie(
        "In AlexNet 10, 5, 31 and 19 channels of the second to fifth layer are dead, in ResNet-18 none: there batch "
        "norm before each ReLU brings every channel's values to both sides of its shift.",
        lambda: count_dead(RUN, LAYERS) == [0, 10, 5, 31, 19] and not any(count_dead(RESNET, RESNET_LAYERS)),
    ),
    Tie(
        "One layer of AlexNet has lost a quarter of its channels.",
        lambda: 0.23 < count_dead(RUN, LAYERS)[3] / 128 < 0.27,
    ),
    Tie(
        "They can come back: 12 of the 30 channels of the fifth layer that were dead after the first epoch live "
        "after the last.",
        lambda: back("features.act5") == (12, 30),
    ),
    Tie(
        "In the second layer, whose inputs come from the layer that moves least, none of the 9 did.",
        lambda: back("features.act2") == (0, 9) and smallest("movement", LAST) == "features.conv1",
    ),
    Tie(
        "Before training there is next to nothing: the gradients are 15 to 250 times smaller than after the first "
        "epoch, the first layer's the smallest of all.",
        lambda: (
            14.5 < min(growth().values()) < 15.5
            and 240 < max(growth().values()) < 250
            and smallest("gradient_norm", 0) == "features.conv1"
        ),
    ),
    Tie(
        "Every layer of the untrained network passes on less than it got, so it says nearly the same of every picture.",
        fades,
    ),
    Tie("ResNet-18's are largest before training.", resnet_is_largest_before),
]
GENERAL = [
    "Two explanations offer themselves: an epoch's training accuracy is a mean over an epoch in which the network "
    "was still worse; and dropout, which hampers the network in training only.",
    "Let us try the second.",
    "The rest is the other thing: the network at the end of the epoch is compared with a mean over all of it.",
    "A dead channel gets no gradient itself, but the layers before it go on learning, and what they send may become "
    "positive again.",
    "What AlexNet did first is taken for granted today, ReLU above all; what it did not have, batch norm and "
    "shortcuts, it pays for with a slow start and with channels that die, though some of them come back.",
]
