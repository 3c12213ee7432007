"""What 03_alexnet says of the long run, alexnet-original."""

from itertools import pairwise
from typing import Any

import numpy as np
import ties
from numpy.typing import NDArray
from ties import Tie

RUN, RESNET, LAST = "alexnet-original", "resnet18-original", 5
FIRST, STEM = "features.conv1", "stem.conv"
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


def rows(variant: str) -> list[dict[str, str]]:
    """Of the trainings for the claims those of a variant."""
    return [row for row in ties.benchmark("claims.csv") if row["variant"] == variant]


def accuracies(variant: str) -> list[float]:
    """Theirs on the validation images after five epochs."""
    return [float(row["val_accuracy_5"]) for row in rows(variant)]


def part(number: int, place: int) -> dict[str, Any]:
    """A part of a claim: effect, interval, smallest effect that matters."""
    return ties.benchmark("claims.json")["claims"][number - 1]["parts"][place]


def verdict(number: int) -> str:
    """A claim's verdict, by the rule: each part's side and size."""
    parts = [
        judge(part(number, place)) for place in range(len(ties.benchmark("claims.json")["claims"][number - 1]["parts"]))
    ]
    if all(each == 1 for each in parts):
        return "supported"
    return "contradicted" if -1 in parts else "not supported"


def judge(found: dict[str, Any]) -> int:
    """1 where a part's interval and size support it, -1 where both contradict it, else 0."""
    low, high = found["interval"]
    none, least, effect = found["no_difference"], found["smallest_that_matters"], found["effect"]
    if low > none and effect >= least:
        return 1
    return -1 if high < none and effect <= none - least else 0


def holds_zero(number: int, place: int) -> bool:
    """Whether the interval of a claim's part holds zero."""
    low, high = part(number, place)["interval"]
    return low < 0 < high


def percents(run: str, epoch: int) -> float:
    """The validation accuracy after an epoch."""
    return round(100 * ties.epochs(run, "val_accuracy")[epoch - 1], 1)


def is_above(run: str, epoch: int) -> bool:
    """Whether the validation accuracy lies above the training accuracy."""
    return gap(run, epoch) > 0


def gap(run: str, epoch: int) -> float:
    """Validation accuracy minus training accuracy, in points."""
    return 100 * (ties.epochs(run, "val_accuracy")[epoch - 1] - ties.epochs(run, "train_accuracy")[epoch - 1])


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
    """How many of the channels that were dead after the first epoch are not after the last, and of how many."""
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


def has_grown() -> bool:
    """Whether after training each layer's weights are longer, and the last activation's values scatter far more."""
    (before, weights), (after, later) = (
        [list(ties.column(RUN, name, epoch).values()) for name in ("std", "weight_norm")] for epoch in (0, LAST)
    )
    return after[-1] > 5 * before[-1] and all(now > then for then, now in zip(weights, later, strict=True))


def kernels(run: str, layer: str, epoch: int) -> NDArray[np.floating]:
    """The first sixteen kernels of a first layer, (16, 49)."""
    return ties.pictures(run, "kernels", layer, epoch)[:16, 0].reshape(16, -1)


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> list[float]:
    """How alike two lists of kernels are, kernel by kernel."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return list((first * second).sum(axis=1) / lengths)


def likeness(run: str, layer: str) -> list[float]:
    """How alike each kernel of a first layer is to its beginning."""
    before, after = (ties.pictures(run, "kernels", layer, epoch)[:, 0] for epoch in (0, LAST))
    return cosines(before.reshape(len(before), -1), after.reshape(len(after), -1))


def same_start() -> bool:
    """Whether both networks' first sixteen kernels began alike."""
    return bool((kernels(RUN, FIRST, 0) == kernels(RESNET, STEM, 0)).all())


def shared() -> list[float]:
    """How alike the two networks' changes of each of these kernels are."""
    changes = [kernels(run, layer, LAST) - kernels(run, layer, 0) for run, layer in ((RUN, FIRST), (RESNET, STEM))]
    return cosines(*changes)


def gap_to_resnet() -> float:
    """How many points more ResNet-18 recognises after the first epoch."""
    return percents(RESNET, 1) - percents(RUN, 1)


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
        "Given time it learns, too, but in the lab's trainings for that table, five epochs on 16,000 images, each of "
        "its runs ended more than five points behind each with ReLU.",
        lambda: 0.5 < max(accuracies("alexnet, sigmoid")) < min(accuracies("alexnet")) - 0.05,
    ),
    Tie(
        "AlexNet starts more slowly: after one epoch it recognises 84.0 % of the validation images, ResNet-18 88.4 %; "
        "after five 89.1 % and 92.0 %.",
        lambda: [percents(run, epoch) for epoch in (1, 5) for run in (RUN, RESNET)] == [84.0, 88.4, 89.1, 92.0],
    ),
    Tie(
        "And in its first two epochs the validation points lie *above* the training accuracy, which looks like an "
        "error and is none.",
        lambda: [is_above(RUN, epoch) for epoch in range(1, 6)] == [True, True, False, False, False],
    ),
    Tie(
        "ResNet-18, which has no dropout, shows the same in its first epoch.",
        lambda: [is_above(RESNET, epoch) for epoch in range(1, 6)] == [True, False, False, False, False],
    ),
    Tie(
        "Next to nothing: the accuracies differ by less than chance, and the loss is a little higher with dropout.",
        costs_nothing,
    ),
    Tie(
        "That is the network after five epochs, though, and the gap of 13 points is one of the first.",
        lambda: round(gap(RUN, 1)) == 13,
    ),
    Tie(
        "For that one look at the pale line: it is measured with dropout on, and at the end of the first epoch it has "
        "reached the validation point.",
        lambda: abs(end_of_first_epoch() - ties.epochs(RUN, "val_accuracy")[0]) < 0.02,
    ),
    Tie(
        "So dropout explains little of the 13 points, and the mean over the epoch most of them.",
        lambda: end_of_first_epoch() - ties.epochs(RUN, "train_accuracy")[0] > 0.9 * gap(RUN, 1) / 100 > 0.1,
    ),
    Tie(
        "In AlexNet 10, 5, 31 and 19 channels of the second to fifth layer are dead, in ResNet-18 none.",
        lambda: count_dead(RUN, LAYERS) == [0, 10, 5, 31, 19] and not any(count_dead(RESNET, RESNET_LAYERS)),
    ),
    Tie(
        "But the two networks differ in more than that, and notebook 6 meets an AlexNet with batch norm in which "
        "channels die all the same.",
        lambda: all(
            run["dead"]["features.act5"] > 20 for run in ties.benchmark("units.json")["runs"] if not run["norm_hidden"]
        ),
    ),
    Tie(
        "One layer of AlexNet has lost a quarter of its channels.",
        lambda: 0.23 < count_dead(RUN, LAYERS)[3] / 128 < 0.27,
    ),
    Tie(
        "They can come back: of the 30 channels of the fifth layer that were zero for all 128 images after the first "
        "epoch, 12 are not after the last.",
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
        "But every layer of the untrained network passes on less than it got, so it says nearly the same of every "
        "picture: there is little to tell classes apart by until the weights have grown.",
        lambda: fades() and has_grown(),
    ),
    Tie(
        "In ResNet-18 batch norm brings each batch back to one size in training, and its gradients are largest before "
        "training.",
        resnet_is_largest_before,
    ),
    Tie(
        "In both networks every kernel still resembles its beginning: AlexNet's first layer has gone 0.42 of its own "
        "length, that of ResNet-18 0.34.",
        lambda: (
            min(*likeness(RUN, FIRST), *likeness(RESNET, STEM)) > 0.8
            and round(ties.column(RUN, "movement", LAST)[FIRST], 2) == 0.42
            and round(ties.column(RESNET, "movement", LAST)[STEM], 2) == 0.34
        ),
    ),
    Tie(
        "But what the two changed in one kernel has little in common: look at the first one.",
        lambda: same_start() and shared()[0] < 0.4 and 0 < sum(shared()) / len(shared()) < 0.3,
    ),
    Tie(
        "ReLU is faster: none of the five networks with sigmoids reached 80 % within its 625 steps, so 2.92 is the "
        "least that the mean ratio can be.",
        lambda: (
            [(row["steps_to_goal"], 5 * int(row["steps_per_epoch"])) for row in rows("alexnet, sigmoid")]
            == 5 * [("", 625)]
            and round(part(11, 0)["effect"], 2) == 2.92
        ),
    ),
    Tie(
        "Of dropout five seeds do not decide: the interval holds zero.",
        lambda: holds_zero(8, 0) and part(8, 0)["n"] == 5,
    ),
    Tie(
        "Of pooling the accuracies do not decide either, but from maps pooled by 3/2 more is lost than from those "
        "pooled by 2/2, and that contradicts the claim.",
        lambda: holds_zero(12, 0) and part(12, 1)["interval"][1] < -part(12, 1)["smallest_that_matters"],
    ),
    Tie(
        "ReLU, which AlexNet made known, is taken for granted today, and of the three it is the one whose use this "
        "notebook could show.",
        lambda: [verdict(number) for number in (8, 11, 12)] == ["not supported", "supported", "contradicted"],
    ),
    Tie(
        "The network starts slowly: before training its signals shrink from layer to layer.",
        lambda: fades() and gap_to_resnet() > 4,
    ),
    Tie(
        "Some of its channels die, though some of them seem to come back.",
        lambda: count_dead(RUN, LAYERS)[-1] > 0 and back("features.act5")[0] > 0,
    ),
]
GENERAL = [
    "Two explanations offer themselves: an epoch's training accuracy is a mean over an epoch in which the network "
    "was still worse; and dropout, which hampers the network in training only.",
    "Let us see what is left for dropout to explain.",
    "Batch norm may be a reason: it brings every channel to mean 0 before its learned shift.",
    "Some of them may have answered to rare images all the time.",
    "A dead one gets no gradient itself, but the layers before it go on learning, and with what they send then its own "
    "sum may become positive again.",
    "(And Adam, which goes by an average over past gradients, moves weights for some steps after their gradient has "
    "become zero.)",
    "Size alone would not slow down Adam, which divides by it.",
    "Whether batch norm and shortcuts are the cure, a comparison of two such different networks cannot say; notebooks "
    "5 and 6 change one thing at a time.",
]
