"""What 04_resnet34 says of the long run, resnet34-original."""

from itertools import pairwise

import numpy as np
import ties
from ties import Tie

from fmnist_lib.runs import measure

RUN, SHALLOW, LAST = "resnet34-original", "resnet18-original", 5
DEPTHS = {1: 3, 2: 4, 3: 6, 4: 3}
BLOCKS = tuple(f"stage3.{number}.act2" for number in range(6))


def val(run: str) -> dict[str, float]:
    """A run's figures on the validation images."""
    return ties.run_json(run)["evaluation"]["val"]


def seconds(run: str) -> float:
    return sum(ties.epochs(run, "seconds"))


def is_chance() -> bool:
    """Whether the two accuracies differ by less than what counts."""
    return abs(val(RUN)["accuracy"] - val(SHALLOW)["accuracy"]) < measure.least_difference(val(RUN), val(SHALLOW))


def convolution(stage: int) -> int:
    """The multiplications of one of a stage's main convolutions, by its parameters and the size of its maps."""
    last = DEPTHS[stage] - 1
    size = ties.kept(RUN, "maps", f"stage{stage}.{last}.act2")["shape"][3]
    return ties.parameters("resnet34", f"stage{stage}.{last}.conv2") * size**2


def costs() -> list[int]:
    """The multiplications of all main convolutions of each stage."""
    return [2 * depth * convolution(stage) for stage, depth in DEPTHS.items()]


def is_even_but_in_the_last() -> bool:
    """Whether a convolution costs the same in stages 1 to 3 and a little more in 4, and stage 3 the most."""
    first, second, third, fourth = (convolution(stage) for stage in DEPTHS)
    return first == second == third < fourth < 1.5 * third and int(np.argmax(costs())) == 2


def gradients(epoch: int) -> dict[str, float]:
    return ties.column(RUN, "gradient_norm", epoch)


def of_block(stage: int, block: int, epoch: int) -> float:
    """The norm of the gradient by both convolutions of a block."""
    return float(np.hypot(*(gradients(epoch)[f"stage{stage}.{block}.conv{number}"] for number in (1, 2))))


def falls_and_jumps(epoch: int) -> bool:
    """Whether the gradient gets smaller from block to block, and larger where a stage begins."""
    norms = [[of_block(stage, block, epoch) for block in range(depth)] for stage, depth in DEPTHS.items()]
    falls = all(later < earlier for stage in norms for earlier, later in pairwise(stage))
    return falls and all(later[0] > earlier[-1] for earlier, later in pairwise(norms))


def start_length() -> float:
    """The length of one of the first layer's kernels before training, on the mean."""
    return float(np.linalg.norm(ties.pictures(RUN, "kernels", "stem.conv", 0)[:, 0], axis=(1, 2)).mean())


def likeness(other: tuple[str, int]) -> float:
    """The cosine of the first layer's kernels, after training, and those of another (run, epoch)."""
    one, two = (ties.pictures(run, "kernels", "stem.conv", epoch).ravel() for run, epoch in ((RUN, LAST), other))
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def discordant() -> tuple[int, int]:
    """How many validation images ResNet-18 alone got right, and ResNet-34 alone."""
    labels = ties.split("val")[1]
    one, other = (ties.answers(run, "val", 5000) == labels for run in (SHALLOW, RUN))
    return int((one & ~other).sum()), int((other & ~one).sum())


def is_more_than_chance_image_by_image() -> bool:
    """Whether McNemar's statistic is beyond two standard errors, where the lab's rule is not."""
    wins, losses = discordant()
    return wins + losses > 0 and 2 < abs(wins - losses) / (wins + losses) ** 0.5 < 3 and is_chance()


def ways() -> list[float]:
    """Of the first kernels: how far apart the two networks' end, and how far each has come, on the mean."""
    start, end, other = (
        ties.pictures(run, "kernels", "stem.conv", epoch)[:, 0]
        for run, epoch in ((RUN, 0), (RUN, LAST), (SHALLOW, LAST))
    )
    return [float(np.linalg.norm(way, axis=(1, 2)).mean()) for way in (end - other, end - start, other - start)]


def changes(is_trained: bool) -> list[float]:
    """By how much of its length each block of stage 3 but the first changes what it gets, in percent."""
    maps = ties.outputs(RUN, BLOCKS, 500, is_trained)
    pairs = ((maps[first], maps[second]) for first, second in pairwise(BLOCKS))
    return [100 * float((after - before).norm() / before.norm()) for before, after in pairs]


TIES = [
    Tie(
        "Your own short training sees 10,000 images; at the pace of the stored run that takes about 13 seconds on "
        "two processor cores.",
        lambda: round(ties.seconds_for(RUN, 10_000)) == 13,
    ),
    Tie(
        "1.9 times as many, and most of them sit in the last stage, whose convolutions have the most channels: in "
        "ResNet-34 61 %.",
        lambda: (
            round(ties.parameters("resnet34") / ties.parameters("resnet18"), 1) == 1.9
            and round(100 * ties.parameters("resnet34", "stage4") / ties.parameters("resnet34")) == 61
        ),
    ),
    Tie(
        "Half the resolution and twice the channels cancel out: a convolution costs the same in the first three "
        "stages, and a little more in the last, where 7 pixels are halved to 4 and not to 3.5.",
        is_even_but_in_the_last,
    ),
    Tie(
        "So the stage with the most blocks costs the most: the third, whose share of the parameters is much smaller "
        "than that of the fourth.",
        lambda: (
            int(np.argmax(costs())) == 2
            and ties.parameters("resnet34", "stage3") < ties.parameters("resnet34", "stage4") * 0.7
        ),
    ),
    Tie(
        "The deeper network took 1.8 times as long and got 0.74 points less, which by the lab's rule does not count.",
        lambda: (
            round(seconds(RUN) / seconds(SHALLOW), 1) == 1.8
            and round(100 * (val(SHALLOW)["accuracy"] - val(RUN)["accuracy"]), 2) == 0.74
            and is_chance()
        ),
    ),
    Tie(
        "It is a close thing: notebook 5 compares the two image by image, which is a sharper test.",
        is_more_than_chance_image_by_image,
    ),
    Tie(
        "It arrives, and in the first layer it is even the largest, before training and after every epoch.",
        lambda: all(max(gradients(epoch), key=gradients(epoch).__getitem__) == "stem.conv" for epoch in range(6)),
    ),
    Tie(
        "After training it gets smaller within each stage from block to block as the data go, and jumps up where the "
        "next stage begins.",
        lambda: falls_and_jumps(LAST),
    ),
    Tie(
        "They still look alike, since each still resembles its beginning; but they went different ways.",
        lambda: min(likeness((SHALLOW, LAST)), likeness((RUN, 0))) > 0.9 and ways()[0] > max(ways()[1:]),
    ),
    Tie(
        "A kernel starts with a length of 0.59; on the mean the two ends lie 0.23 apart, and 0.20 and 0.19 from the "
        "common start.",
        lambda: [round(length, 2) for length in (start_length(), *ways())] == [0.59, 0.23, 0.20, 0.19],
    ),
    Tie(
        "Before training each of these blocks changes what it gets by 17 to 20 %.",
        lambda: all(16.5 < change < 20.5 for change in changes(is_trained=False)),
    ),
    Tie(
        "After training it is 59 % for the second block of the stage, and less with each further one, down to 26 %.",
        lambda: (
            [round(each) for each in (changes(True)[0], changes(True)[-1])] == [59, 26]
            and all(later < earlier for earlier, later in pairwise(changes(True)))
        ),
    ),
    Tie(
        "So a block does more than retouch; but in this stage the later ones change less and less of what they get.",
        lambda: min(changes(True)) > 20 and all(later < earlier for earlier, later in pairwise(changes(True))),
    ),
    Tie(
        "Set *scale* to *per epoch*: on the colours of epoch 5 the maps of epoch 0 are nearly black.",
        lambda: all(
            0 < ties.pictures(RUN, "maps", block, 0).max() < 0.2 * ties.pictures(RUN, "maps", block, LAST).max()
            for block in BLOCKS
        ),
    ),
    Tie(
        "The gradient reaches the first layer all the same, and in stage 3 each block after the first changes what "
        "it gets by a quarter to three fifths of its length, the later ones less.",
        lambda: (
            25 < min(changes(True)) < max(changes(True)) < 60
            and all(later < earlier for earlier, later in pairwise(changes(True)))
            and max(gradients(LAST), key=gradients(LAST).__getitem__) == "stem.conv"
        ),
    ),
    Tie(
        "Twice the blocks are twice the parameters and nearly twice the time, but on these pictures not a higher "
        "accuracy after five epochs.",
        lambda: val(RUN)["accuracy"] < val(SHALLOW)["accuracy"] and seconds(RUN) > 1.7 * seconds(SHALLOW),
    ),
]
GENERAL = [
    "And another seed would move both.",
    "(How many kernels a layer has, and how large its maps are, count in this norm, too.)",
    "The batches were the same, so what the first layer learns depends on what comes after it: on the depth, and on "
    "the random numbers that the later layers began with.",
]
