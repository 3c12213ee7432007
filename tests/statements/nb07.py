"""What 07_results says of what the networks answer for the test images."""

import math
from typing import Any

import numpy as np
import ties
import torchvision
from numpy.typing import NDArray
from ties import Tie

from fmnist_lib.data import CLASSES
from fmnist_lib.models import count_parameters

BEST = ("resnet18-best", "alexnet-best", "resnet34-best")
TOPS = [CLASSES.index(name) for name in ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")]
SHOES = [CLASSES.index(name) for name in ("Sandal", "Sneaker", "Ankle boot")]


def labels() -> NDArray[np.int64]:
    """The test images' classes."""
    return ties.split("test")[1].numpy()


def said(run: str) -> NDArray[np.int64]:
    """The answers of a network."""
    return ties.stored_probabilities(run).argmax(1)


def accuracy(run: str, split: str = "test") -> float:
    """As the run's file has it."""
    return ties.run_json(run)["evaluation"][split]["accuracy"]


def wrong(run: str) -> NDArray[np.int64]:
    """The confusion matrix of the test images without its diagonal."""
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (labels(), said(run)), 1)
    return counts - np.diag(np.diag(counts))


def ends(run: str) -> tuple[float, float]:
    """An accuracy two standard errors down and up."""
    value, error = accuracy(run), 2 * standard_error(run, "test")
    return value - error, value + error


def standard_error(run: str, split: str) -> float:
    """Of an accuracy on a split's images."""
    return math.sqrt(
        accuracy(run, split) * (1 - accuracy(run, split)) / ties.run_json(run)["evaluation"][split]["images"]
    )


def loses(run: str) -> float:
    """Validation accuracy less test accuracy."""
    return accuracy(run, "val") - accuracy(run)


def loses_more_than_chance(run: str) -> bool:
    """By the lab's rule."""
    return loses(run) > 2 * math.hypot(standard_error(run, "val"), standard_error(run, "test"))


def agreed() -> NDArray[np.bool_]:
    """Where all three best networks give one answer, and another than the label."""
    first, second, third = (said(run) for run in BEST)
    return (first == second) & (first == third) & (first != labels())


def together() -> float:
    """The accuracy of the mean of the probabilities."""
    total = sum(ties.stored_probabilities(run) for run in BEST)
    return float((np.asarray(total).argmax(1) == labels()).mean())


def certainty(run: str) -> float:
    """The mean probability of a network's answers, in percent."""
    return 100 * float(ties.stored_probabilities(run).max(1).mean())


def is_one_of_them_right() -> float:
    """The share of images for which one at least of the three is right."""
    return float(np.any([said(run) == labels() for run in BEST], axis=0).mean())


def race(name: str, column: str) -> float:
    """The mean over a contestant's runs."""
    return float(np.mean([run[column] for run in ties.benchmark("race.json")["runs"][name]]))


def published() -> dict[float, dict[str, Any]]:
    """The highest figure of each number of parameters."""
    return {
        row["million_parameters"]: row for row in sorted(ties.benchmark("published.json"), key=lambda r: r["accuracy"])
    }


def overlap() -> bool:
    """Whether the intervals of the residual networks share nine tenths of their length."""
    (low, high), (other_low, other_high) = ends(BEST[0]), ends(BEST[2])
    return min(high, other_high) - max(low, other_low) > 0.9 * (high - low)


def mcnemar() -> tuple[int, int, float]:
    """Images that only the three together get right, that only ResNet-34 does, and the exact test's p."""
    total = sum(ties.stored_probabilities(run) for run in BEST)
    all_three, alone = np.asarray(total).argmax(1) == labels(), said(BEST[2]) == labels()
    wins, losses = int((all_three & ~alone).sum()), int((alone & ~all_three).sum())
    count, most = wins + losses, max(wins, losses)
    return wins, losses, 2 * sum(math.comb(count, k) for k in range(most, count + 1)) / 2**count


def bins(run: str) -> dict[int, tuple[float, float, float]]:
    """Of ten equal bins of the certainty, 1 to 10, those with images: their share, mean certainty and accuracy."""
    values = ties.stored_probabilities(run).max(1).astype(float)
    right, numbers = said(run) == labels(), np.ceil(10 * ties.stored_probabilities(run).max(1)).astype(int)
    found = {int(number): numbers == number for number in np.unique(numbers)}
    return {number: (rows.mean(), values[rows].mean(), right[rows].mean()) for number, rows in found.items()}


def calibration_error(run: str) -> float:
    """The ECE."""
    return sum(share * abs(right - sure) for share, sure, right in bins(run).values())


def is_unsure_of_itself_at_the_top() -> bool:
    """Whether the best ResNet-18's dots lie above the diagonal in the upper two bins alone, but for a hair."""
    found = bins(BEST[0])
    top = found[9], found[10]
    rest = [right - sure for number, (_, sure, right) in found.items() if number < 9]
    return all(right > sure + 0.03 for _, sure, right in top) and sum(row[0] for row in top) > 0.9 and max(rest) < 0.03


def certainties_of_the_shirt() -> list[float]:
    """What the notebook printed for the drawn shirt and for the shaded one, in percent."""
    return ties.printed("07", r"T-shirt/top ([\d.]+) ?%[\s\S]*T-shirt/top ([\d.]+) ?%")


def verdicts() -> dict[str, list[int]]:
    """The numbers of the claims by their verdict."""
    found: dict[str, list[int]] = {}
    for claim in ties.benchmark("claims.json")["claims"]:
        found.setdefault(claim["verdict"], []).append(claim["number"])
    return found


def parts(number: int) -> list[dict[str, Any]]:
    """The parts of a claim."""
    [claim] = [each for each in ties.benchmark("claims.json")["claims"] if each["number"] == number]
    return claim["parts"]


def is_smaller_than_what_matters(number: int) -> bool:
    """Whether all parts of a claim have an effect, to whichever side, that is smaller than what matters."""
    return all(abs(part["effect"] - part["no_difference"]) < part["smallest_that_matters"] for part in parts(number))


def is_undecided(number: int) -> bool:
    """Whether all parts of a claim have an interval that reaches from no difference to what matters."""
    return all(part["reason"]["en"] == "these seeds do not decide it" for part in parts(number))


TIES = [
    Tie(
        "Each of the three best networks does worse on the test images than on the validation images, by 0.6 to 0.8 "
        "points.",
        lambda: {round(100 * loses(run), 1) for run in BEST} == {0.6, 0.8},
    ),
    Tie(
        "For two of the three that is more than chance over the images would explain (`measure.least_difference`).",
        lambda: sum(map(loses_more_than_chance, BEST)) == 2,
    ),
    Tie(
        "The last line is a warning against blaming the first alone: nobody chose the recipe `original` by these "
        "images, and its ResNet-18 loses 0.8 points, too, though alone that is not more than chance.",
        lambda: round(100 * loses("resnet18-original"), 1) == 0.8 and not loses_more_than_chance("resnet18-original"),
    ),
    Tie(
        "(Its AlexNet and ResNet-34 lose 0.2 and 0.1 points.)",
        lambda: [round(100 * loses(f"{name}-original"), 1) for name in ("alexnet", "resnet34")] == [0.2, 0.1],
    ),
    Tie(
        "The intervals of the two residual networks overlap almost entirely: nobody could say which of them is "
        "better, and one of them has twice as many layers.",
        overlap,
    ),
    Tie(
        "AlexNet's accuracy lies below both intervals, and that of the five-epoch ResNet-18 far below.",
        lambda: accuracy("resnet18-original") + 0.02 < accuracy(BEST[1]) < min(ends(BEST[0])[0], ends(BEST[2])[0]),
    ),
    Tie(
        "More than four in five mistakes are made among five classes: T-shirt, pullover, dress, coat and shirt.",
        lambda: wrong(BEST[0])[TOPS][:, TOPS].sum() > 0.8 * wrong(BEST[0]).sum(),
    ),
    Tie(
        "One third of all mistakes are shirts that were taken for something else.",
        lambda: 0.3 < wrong(BEST[0])[CLASSES.index("Shirt")].sum() / wrong(BEST[0]).sum() < 0.37,
    ),
    Tie(
        "Footwear is mistaken for footwear, ankle boots for sneakers above all; trousers and bags are hardly ever "
        "mistaken.",
        lambda: (
            wrong(BEST[0])[SHOES][:, SHOES].sum() > 0.9 * wrong(BEST[0])[SHOES].sum()
            and wrong(BEST[0])[SHOES][:, SHOES].max() == wrong(BEST[0])[9, 7]
            and wrong(BEST[0])[[CLASSES.index("Trouser"), CLASSES.index("Bag")]].sum(1).max() < 10
        ),
    ),
    Tie(
        "In 269 test images, 2.7 % of all, the three networks agree on another class than the label.",
        lambda: agreed().sum() == 269,
    ),
    Tie(
        "More than half of all mistakes of each network are among these.",
        lambda: all(agreed().sum() > 0.5 * wrong(run).sum() for run in BEST),
    ),
    Tie(
        "(AlexNet is no independent witness: with the recipe `best` it learned from ResNet-18's answers besides the "
        "labels.)",
        lambda: (
            ties.run_json(BEST[1])["recipe"]["teacher"] == BEST[0]
            and ties.run_json(BEST[1])["recipe"]["teacher_share"] == 0.8
        ),
    ),
    Tie(
        "If all these labels were wrong, an honest network could not get above 97.3 %.",
        lambda: round(100 * (1 - agreed().mean()), 1) == 97.3,
    ),
    Tie(
        "The network trained for five epochs is too sure, as Guo et al. found: its answers claim 93.2 % on "
        "average, and 91.2 % are right.",
        lambda: (
            round(certainty("resnet18-original"), 1) == 93.2 and round(100 * accuracy("resnet18-original"), 1) == 91.2
        ),
    ),
    Tie(
        "The better network is not sure enough: it claims 88.5 % on average and reaches 95.5 %, and its ECE is 0.074 "
        "against 0.020.",
        lambda: (
            round(certainty(BEST[0]), 1) == 88.5
            and abs(accuracy(BEST[0]) - 0.955) < 0.0006
            and round(calibration_error(BEST[0]), 3) == 0.074
            and round(calibration_error("resnet18-original"), 3) == 0.020
        ),
    ),
    Tie(
        "It is so in the two upper bins, which hold more than nine in ten images; where it is unsure, its dots lie "
        "near the diagonal or below.",
        is_unsure_of_itself_at_the_top,
    ),
    Tie(
        "Label smoothing is the likely reason: with 0.1 even the perfect answer to a training image is 0.91 for its "
        "label and not 1, and its largest dot lies just there.",
        lambda: (
            ties.run_json(BEST[0])["recipe"]["label_smoothing"] == 0.1
            and max(bins(BEST[0]).values())[0] == bins(BEST[0])[10][0]
            and round(bins(BEST[0])[10][1], 2) == 0.91
        ),
    ),
    Tie(
        "Together they are 0.29 points better than the best of them alone.",
        lambda: round(100 * (together() - max(map(accuracy, BEST))), 2) == 0.29,
    ),
    Tie(
        "The lab's rule calls that no difference that counts, but it takes the two accuracies for those of different "
        "images.",
        lambda: 0 < together() - accuracy(BEST[2]) < 2 * math.sqrt(2) * standard_error(BEST[2], "test"),
    ),
    Tie(
        "On the same images McNemar's test is the right one: 73 images that only the three together get right, 44 "
        "that only ResNet-34 does, $p$ = 0.009.",
        lambda: mcnemar()[:2] == (73, 44) and round(mcnemar()[2], 3) == 0.009,
    ),
    Tie(
        "So for these trained networks it is more than chance.",
        lambda: mcnemar()[0] > mcnemar()[1] and mcnemar()[2] < 0.05,
    ),
    Tie(
        "The networks differ in fewer images than one would hope: for 97.0 % of the images at least one of the "
        "three is right.",
        lambda: round(is_one_of_them_right(), 3) == 0.97,
    ),
    Tie(
        "With one epoch of the recipe `sprint` our ResNet-18 is better than the lab report's program, with its network "
        "of 11 million parameters, after five, in about a fortieth of the time; the recipe `fast` takes no longer "
        "than that program and is about five points better.",
        lambda: (
            race("sprint/resnet18", "test_accuracy") > race("original", "test_accuracy")
            and {run["epoch"] for run in ties.benchmark("race.json")["runs"]["original"]} == {5}
            and round(count_parameters(torchvision.models.resnet18(num_classes=10)) / 1e6) == 11
            and 38 < race("original", "seconds") / race("sprint/resnet18", "seconds") < 44
            and race("fast/resnet18", "seconds") < race("original", "seconds")
            and 0.045 < race("fast/resnet18", "test_accuracy") - race("original", "test_accuracy") < 0.055
        ),
    ),
    Tie(
        "The number of parameters says little: among the published figures a network of 0.27 million stands 0.15 "
        "points below one of 36.5 million.",
        lambda: round(published()[36.5]["accuracy"] - published()[0.27]["accuracy"], 4) == 0.0015,
    ),
    Tie(
        "The highest of them had 1,000 epochs, much augmentation and averaged weights: nobody can tell from the table "
        "which of them did it.",
        lambda: (
            max(published().values(), key=lambda row: row["accuracy"])["epochs"] == 1000
            and "RandAugment, erasing, EMA" in max(published().values(), key=lambda row: row["accuracy"])["who"]
        ),
    ),
    Tie(
        "Two claims are supported (9 and 11), one is contradicted (12), and nine are not supported.",
        lambda: (
            verdicts()["supported"] == [9, 11]
            and verdicts()["contradicted"] == [12]
            and len(verdicts()["not supported"]) == 9
        ),
    ),
    Tie(
        "For five of these the effect is smaller than what matters, whichever way it points (1 to 5); claim 6 holds "
        "for two networks of three; and 7, 8 and 10 are not decided by these seeds.",
        lambda: (
            all(is_smaller_than_what_matters(number) for number in range(1, 6))
            and [part["effect"] >= part["smallest_that_matters"] for part in parts(6)].count(True) == 2
            and len(parts(6)) == 3
            and all(is_undecided(number) for number in (7, 8, 10))
        ),
    ),
    Tie(
        "Claim 12 is contradicted by what the maps lose, while its accuracies decide nothing.",
        lambda: (
            [part["verdict"] for part in parts(12)] == ["not supported", "contradicted"]
            and parts(12)[0]["interval"][0] < 0 < parts(12)[0]["interval"][1]
            and parts(12)[1]["interval"][1] < 0
        ),
    ),
    Tie(
        "Its answer is still right, but its certainty falls from 89.5 % to 72.4 %.",
        lambda: certainties_of_the_shirt() == [89.5, 72.4],
    ),
    Tie(
        "Two things raise the doubt: the corners, which are looked at before the network is asked, and that lower "
        "certainty.",
        lambda: (
            certainties_of_the_shirt()[1]
            < 100 * ties.run_json(BEST[0])["evaluation"]["val"]["doubt_below"]
            < certainties_of_the_shirt()[0]
        ),
    ),
    Tie(
        "**Prediction:** on the validation images ResNet-18 with the recipe `best` was right in 96.2 % of all cases.",
        lambda: round(accuracy(BEST[0], "val"), 3) == 0.962,
    ),
]
GENERAL = [
    "Two reasons offer themselves: the recipes were chosen because they did well on just these validation images; and "
    "the validation images come out of the training file, whose pictures may be more like each other than like those "
    "of the test file.",
    "So the test figure is the one to report; and it would be spoilt, too, as soon as somebody chose by it.",
    "An interval like this speaks of other *images*; that another seed would give another network it does not know "
    "(notebooks 5 and 6 do).",
    "Where the pictures above look more like the answer than like the label, the label may be wrong, or the "
    "picture does not show what the shop knew; a label cannot be checked here, and nothing of this was used to "
    "correct one.",
    "But three that learned from the same labels can be fooled alike, so this is a guess and no limit.",
    "So a certainty of 90 % does not mean the same in two networks, and its size alone says nothing about which "
    "one is better.",
    "What is dark is taken for garment, so the shadow on the background becomes a part of it, and the network "
    "judges a picture that nobody meant.",
    "Do not rely on the second: a network may be as sure of a spoilt picture.",
    "Look at the input first, always: it says more about a strange answer than the network does.",
    "An accuracy has an interval; mistakes have pictures, and some may be the label's; certainty has to be compared "
    "with accuracy before it is believed; and a claim is judged by a measure, an interval and a limit fixed "
    "beforehand.",
    "A network answers whatever it is shown, so look at what it is shown.",
    "One would like to read them as probabilities: of all answers of 80 %, four in five should be right.",
]
