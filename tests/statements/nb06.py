"""What 06_tuning says of the trials, the race and the units that give nothing."""

import json
from inspect import signature
from itertools import combinations
from typing import Any

import numpy as np
import ties
from numpy.typing import NDArray
from ties import Tie

from fmnist_lib.models import ResNet, build, count_parameters
from fmnist_lib.training.recipes import Recipe, find_recipe

LAYERS = (*(f"features.act{number}" for number in range(1, 6)), "classifier.act1", "classifier.act2")
T_OF_THREE = 4.303  # Student's t for 95 % and two degrees of freedom
Row = dict[str, Any]


def trials(recipe: str) -> list[Row]:
    """The settings tried for a recipe, flat, each with accuracies in points by seed and the mean seconds."""
    found: dict[str, Row] = {}
    for row in ties.benchmark("trials.csv"):
        if row["recipe"] == recipe:
            fields = json.loads(row["settings"])
            flat = {key: str(value) for key, value in {**fields, **fields.get("overrides", {})}.items()}
            flat.pop("overrides", None)
            setting = found.setdefault(row["settings"], {"fields": flat, "points": {}, "seconds": []})
            setting["points"][row["seed"]] = 100 * float(row["val_accuracy"])
            setting["seconds"].append(float(row["seconds"]))
    return list(found.values())


def points(row: Row) -> NDArray[np.float64]:
    """By seed."""
    return np.array([row["points"][seed] for seed in sorted(row["points"])])


def effect(changed: Row, chosen: Row) -> tuple[float, float]:
    """The mean of the differences by seed, and the half width of its interval."""
    differences = points(changed) - points(chosen)
    return float(differences.mean()), float(T_OF_THREE * differences.std(ddof=1) / len(differences) ** 0.5)


def changes() -> dict[tuple[str, str, str, int], tuple[float, float]]:
    """Of all pairs that differ in one field: its name, from, to, and the place of the first setting, to its effect."""
    rows, found = trials("sprint"), {}
    for place, before in enumerate(rows):
        for after in rows:
            names = {*before["fields"], *after["fields"]}
            one, other = before["fields"], after["fields"]
            differing = [name for name in names if one.get(name, "") != other.get(name, "")]
            if len(differing) == 1 and one.get(differing[0], "") < other.get(differing[0], ""):
                name = differing[0]
                found[name, one.get(name, ""), other.get(name, ""), place] = effect(after, before)
    return found


def decided() -> dict[tuple[str, str], float]:
    """Those whose interval does not contain 0: name and new value to the mean effect."""
    return {(key[0], key[2]): mean for key, (mean, half) in changes().items() if abs(mean) > half}


def half_batch() -> float:
    """How many times as long an epoch takes with batches of 64."""
    rows = trials("sprint")
    [small] = [row for row in rows if row["fields"].get("batch_size") == "64"]
    rest = {key: value for key, value in small["fields"].items() if key != "batch_size"}
    [large] = [row for row in rows if row["fields"] == rest]
    return float(np.mean(small["seconds"]) / np.mean(large["seconds"]))


def apart() -> list[float]:
    """Best minus worst seed of each setting."""
    return [float(np.ptp(points(row))) for row in trials("sprint")]


def chosen() -> Row:
    """The trials of the recipe sprint itself."""
    lr = str(find_recipe("sprint").lr)
    [row] = [row for row in trials("sprint") if row["fields"]["lr"] == lr and "images" not in row["fields"]]
    return row


def better() -> list[Row]:
    """The settings with a higher mean."""
    return [row for row in trials("sprint") if points(row).mean() > points(chosen()).mean()]


def seconds(row: Row) -> float:
    """The mean over its seeds."""
    return float(np.mean(row["seconds"]))


def race(name: str, column: str) -> float:
    """The mean over a contestant's runs."""
    return float(np.mean([run[column] for run in ties.benchmark("race.json")["runs"][name]]))


def dead(recipe: str) -> dict[str, tuple[int, int]]:
    """Of AlexNet's activations how many channels or units are zero for 1,000 validation images, and of how many."""
    found = ties.outputs(f"alexnet-{recipe}", LAYERS, 1000).items()
    highest = {layer: maps.flatten(2).amax((0, 2)) if maps.ndim > 2 else maps.amax(0) for layer, maps in found}
    return {layer: (int((values == 0).sum()), len(values)) for layer, values in highest.items()}


def all_channels_live(recipe: str) -> bool:
    """Whether no convolution has a dead channel."""
    return all(zeros == 0 for layer, (zeros, _) in dead(recipe).items() if "features" in layer)


def worth() -> tuple[float, float]:
    """The effect of batch norm in the hidden layers."""
    rows = trials("best")
    [without] = [row for row in rows if "norm_hidden" not in row["fields"]]
    [with_norm] = [row for row in rows if "norm_hidden" in row["fields"]]
    return effect(with_norm, without)


def spread_of_seeds() -> float:
    """The standard deviation of a seed, in points, over all settings."""
    return float(np.sqrt(np.mean([points(row).var(ddof=1) for row in trials("sprint")])))


def best_of_twenty() -> float:
    """How far above their mean the best of twenty runs is expected that differ in nothing but the seed."""
    drawn = np.random.default_rng(0).standard_normal((20_000, 20)).max(1).mean()
    return float(drawn * spread_of_seeds())


def winners() -> list[int]:
    """By each seed alone, the place of the most accurate setting."""
    return [int(place) for place in np.array([points(row) for row in trials("sprint")]).argmax(0)]


def first_suspects() -> list[tuple[str, str]]:
    """The decided changes by how near their interval comes to 0 for its width, the nearest first."""
    found = {(key[0], key[2]): abs(mean) / half for key, (mean, half) in changes().items() if abs(mean) > half}
    return sorted(found, key=lambda key: found[key])


def begins_just_beside_0() -> bool:
    """Whether of the five the intervals of just these three have an end nearer to 0 than a twentieth of a point."""
    near = {(key[0], key[2]) for key, (mean, half) in changes().items() if 0 < abs(mean) - half < 0.05}
    return (
        near
        == set(first_suspects()[:3])
        == {
            ("widths", "[32, 64, 64, 64]"),
            ("widths", "[64, 64, 64, 64]"),
            ("batch_size", "64"),
        }
    )


def claim(number: int) -> dict[str, Any]:
    """Of a claim with one part: effect, interval, values that mean no difference and matter; and the verdict."""
    [found] = [each for each in ties.benchmark("claims.json")["claims"] if each["number"] == number]
    [part] = found["parts"]
    return part


def differ_in_much_and_trials_in_one() -> bool:
    """Whether the stored AlexNets differ in several fields, and the trials of `best` in one alone."""
    built = [ties.run_json(f"alexnet-{name}")["recipe"] for name in ("original", "fast", "best")]
    fields = [{**recipe, **recipe["overrides"]} for recipe in built]
    many = [sum(one.get(key) != other.get(key) for key in {*one, *other}) for one, other in combinations(fields, 2)]
    without, with_norm = sorted((row["fields"] for row in trials("best")), key=len)
    names = {*without, *with_norm}
    epochs = [recipe["epochs"] for recipe in built]
    return (
        epochs == [5, 12, 55]
        and min(many) > 5
        and {key for key in names if without.get(key) != with_norm.get(key)} == {"norm_hidden"}
    )


def library_defaults() -> bool:
    """Whether the library's are as said, sprint's are others, and all 55,000 are what there is to train on."""
    recipe, sprint = Recipe("any"), find_recipe("sprint", "resnet18")
    widths = signature(ResNet).parameters["widths"].default
    in_words = build("resnet18", widths=(16, 32, 64, 128))
    return (
        (recipe.images, recipe.batch_size, recipe.label_smoothing, recipe.bias_lr) == (0, 128, 0, 1)
        and (widths, tuple(sprint.overrides["widths"])) == ((16, 32, 64, 128), (32, 64, 64, 64))
        and ties.parameters("resnet18") == count_parameters(in_words)
        and sprint.label_smoothing > 0
        and len(ties.split("train")[1]) == 55_000
        and all(row["fields"].get("batch_size") != "128" for row in trials("sprint"))
    )


UNDECIDED = {"lr", "label_smoothing", "warmup", "bias_lr", "kernel_size"}


def undecided() -> bool:
    """Whether no effect of these fields is decided, and most of the open intervals are wider than a point."""
    wide = [2 * half > 1 for mean, half in changes().values() if abs(mean) <= half]
    there = {key[0] for key in changes()}
    return there >= UNDECIDED and not UNDECIDED & {name for name, _ in decided()} and sum(wide) > len(wide) / 2


def five_decided() -> bool:
    """The five, their signs, and what half the batch size brings and costs."""
    found = decided()
    default, [chosen_widths] = (
        signature(ResNet).parameters["widths"].default,
        {row["fields"]["widths"] for row in trials("sprint") if row["fields"].get("widths") == "[32, 64, 64, 64]"},
    )
    moved = json.loads(chosen_widths)
    return (
        len(changes()) == 15
        and len(found) == 5
        and found["images", "36864"] < 0 < found["images", "46080"]
        and found["widths", "[32, 64, 64, 64]"] > 0
        and found["widths", "[64, 64, 64, 64]"] > 0
        and default[:2] < tuple(moved[:2])
        and default[2] == moved[2]
        and default[3] > moved[3]
        and round(found["batch_size", "64"], 2) == 0.16
        and 1.45 < half_batch() < 1.55
    )


TIES = [
    Tie(
        "The seed alone moves a run by 0.4 points, and once by 1.3.",
        lambda: round(float(np.median(apart())), 1) == 0.4 and round(max(apart()), 1) == 1.3,
    ),
    Tie(
        "The means of all 19 settings lie within 2 points of each other.",
        lambda: len(trials("sprint")) == 19 and 1.5 < np.ptp([points(row).mean() for row in trials("sprint")]) < 2,
    ),
    Tie(
        "So with one seed each, whoever tries twenty settings and keeps the best keeps luck along with it: the best of "
        "twenty runs that differ in nothing but the seed lies about half a point above their mean.",
        lambda: 0.45 < best_of_twenty() < 0.6,
    ),
    Tie(
        "That is enough to swap the settings at the top: by seed 2 alone another one would have won than by seed 0 "
        "or 1.",
        lambda: len(winners()) == 3 and winners()[0] == winners()[1] != winners()[2],
    ),
    Tie(
        "Of fifteen changes five have an interval that does not contain 0: fewer images cost accuracy, moving "
        "channels from the last stage to the first two brings some, and more in the first alone some more, and half "
        "the batch size (twice the steps) brings 0.16 points for half as much time again.",
        five_decided,
    ),
    Tie(
        "Neither the learning rate, nor label smoothing, warm-up, `bias_lr` or the kernel size is decided by three "
        "seeds: all their intervals contain 0, and most are wider than a point.",
        undecided,
    ),
    Tie(
        "The first suspects are the three that begin just beside 0: both changes of the widths, and the batch size.",
        begins_just_beside_0,
    ),
    Tie(
        "Only two settings are more accurate than the recipe `sprint`, and both take more than one and a half "
        "times as long.",
        lambda: len(better()) == 2 and all(seconds(row) > 1.5 * seconds(chosen()) > 20 for row in better()),
    ),
    Tie(
        "The chosen one is no winner that was proved to be one: it is the most accurate of those that take less "
        "than 20 seconds, and several stand close to it.",
        lambda: seconds(chosen()) < 20 and all(seconds(row) > 20 for row in better()),
    ),
    Tie(
        "`sprint` needs about 18 seconds for what the lab report's program does not quite reach in five minutes, and "
        "`fast` is about five points better in the same time.",
        lambda: (
            round(race("sprint/resnet18", "seconds")) == 18
            and race("sprint/resnet18", "test_accuracy") > race("original", "test_accuracy")
            and 290 < race("original", "seconds") < 330
            and 0.9 < race("fast/resnet18", "seconds") / race("original", "seconds") < 1.1
            and 0.045 < race("fast/resnet18", "test_accuracy") - race("original", "test_accuracy") < 0.055
        ),
    ),
    Tie(
        "In `fast` 208 of the 256 last hidden units are dead, and 59 of the 192 channels of the last convolution; "
        "its other convolutions have none.",
        lambda: (
            dead("fast")["classifier.act2"] == (208, 256)
            and dead("fast")["features.act5"] == (59, 192)
            and all(dead("fast")[f"features.act{number}"][0] == 0 for number in range(1, 5))
        ),
    ),
    Tie(
        "Batch norm follows each convolution there and none of the hidden layers, but it does not keep every channel "
        "alive.",
        lambda: (
            not all_channels_live("fast") and dead("fast")["features.act5"][0] < dead("fast")["features.act5"][1] / 2
        ),
    ),
    Tie(
        "`best` has batch norm in the hidden layers, too (`norm_hidden`): no channel is dead, and two in three of "
        "the last hidden units are in use.",
        lambda: all_channels_live("best") and 0.6 < 1 - dead("best")["classifier.act2"][0] / 256 < 0.7,
    ),
    Tie(
        "These three networks differ in much besides; what follows changes `norm_hidden` alone, and measures accuracy.",
        differ_in_much_and_trials_in_one,
    ),
    Tie(
        "Claim 9 is supported: without batch norm ResNet-18 takes 3.2 times as many steps (a ratio of 1 would be no "
        "difference).",
        lambda: (
            claim(9)["verdict"] == "supported"
            and round(claim(9)["effect"], 1) == 3.2
            and claim(9)["no_difference"] == 1
        ),
    ),
    Tie(
        "Claim 10 is not: the cheaper training costs 1.25 points.",
        lambda: claim(10)["verdict"] == "not supported" and round(claim(10)["effect"], 2) == -1.25,
    ),
    Tie(
        "The interval lies wholly below 0, so there is a cost; but it reaches from 2.2 points to 0.3, and *hardly any* "
        "was read as less than half a point, so these seeds do not decide on which side of that it lies.",
        lambda: (
            [round(end, 1) for end in claim(10)["interval"]] == [-2.2, -0.3]
            and claim(10)["no_difference"] == -0.5
            and claim(10)["reason"]["en"] == "these seeds do not decide it"
        ),
    ),
    Tie(
        "A field that is not named has the library's default, and not that of `sprint`: all 55,000 images, batches of "
        "128, no label smoothing, `bias_lr` 1, and 16, 32, 64 and 128 channels.",
        library_defaults,
    ),
    Tie(
        "It is worth about two points, more than any change in section 3, and the interval is far from 0.",
        lambda: (
            1.8 < worth()[0] < 2.2
            and worth()[0] > max(abs(mean) for mean, _ in changes().values())
            and worth()[0] - worth()[1] > 1
        ),
    ),
    Tie(
        "Change one thing at a time, with several seeds, and give the effect its interval; most changes are "
        "smaller than what the seed does.",
        lambda: (
            sum(abs(mean) < np.median(apart()) for mean, _ in changes().values()) > len(changes()) / 2
            and round(float(np.median(apart())), 1) == 0.4
        ),
    ),
    Tie(
        "**Prediction:** all three networks below are AlexNet, and the second reaches more than 93 % on the test "
        "images.",
        lambda: ties.run_json("alexnet-fast")["evaluation"]["test"]["accuracy"] > 0.93,
    ),
]
GENERAL = [
    "Among fifteen intervals of 95 % one may miss by chance alone.",
    "(The dead units of those trials were not counted.)",
    "Hence three seeds here, no choice by the test set, and more seeds for the recipe that was chosen in the end.",
    "These contestants differ in everything at once, in the network, the optimiser, the precision and the "
    "augmentation: the race says which recipe is better, and not why.",
    "It was found by looking inside, and not by trying.",
    "It was measured on a short training: what it is worth to the full recipe, nobody tried.",
    "Say what was never varied alone.",
    "Choose on validation images, and open the test set once for each finished run.",
    "All trials can be repeated: `python -m fmnist_lib sweep benchmarks/trials.json` runs those that are not yet "
    "in the table.",
    "**Label smoothing** ([Szegedy et al. 2015](https://arxiv.org/abs/1512.00567)) asks the network not for 100 % "
    "of the label but for a little less, and shares the rest among all classes.",
    "Its interval of 95 % is $\\bar d \\pm t \\, s / \\sqrt{n}$ with $s$ the standard deviation of the differences "
    "(with $n - 1$) and Student's $t$.",
    "**9** *normalisation speeds convergence*: steps to 80 % validation accuracy, without batch norm against with it;",
]
