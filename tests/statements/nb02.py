"""What 02_resnet18 says of the long run, resnet18-original."""

from itertools import pairwise
from typing import Any

import numpy as np
import ties
import torch
from ties import Tie

from fmnist_lib import data
from fmnist_lib.visualisers import descriptors, figures

RUN, LAST = "resnet18-original", 5
SLEEVES, SHOES = (0, 2, 4, 6), (5, 7, 9)


def mistakes() -> np.ndarray:
    """The confusion matrix without what is right."""
    counts = ties.confusion(RUN)
    return counts - np.diag(counts.diagonal())


def share_within(classes: tuple[int, ...]) -> float:
    """The share of all mistakes that are made among some classes."""
    return float(mistakes()[np.ix_(classes, classes)].sum() / mistakes().sum())


def worst_class() -> str:
    """The class of which the fewest images are recognised."""
    return data.CLASSES[ties.confusion(RUN).diagonal().argmin()]


def most_mistaken() -> set[str]:
    """The two classes that are mistaken for each other most often."""
    pairs = np.triu(mistakes() + mistakes().T)
    return {data.CLASSES[number] for number in np.unravel_index(pairs.argmax(), pairs.shape)}


def best_recognised(count: int) -> dict[str, int]:
    """The classes that are recognised best, and in how many percent."""
    shares = 100 * ties.confusion(RUN).diagonal() / ties.confusion(RUN).sum(axis=1)
    return {data.CLASSES[number]: round(float(shares[number])) for number in shares.argsort()[-count:]}


def shoes_for_others() -> int:
    """How many shoes are mistaken for something else than a shoe."""
    rows = mistakes()[list(SHOES)]
    return int(rows.sum() - rows[:, list(SHOES)].sum())


def tried() -> list[float]:
    """The loss before and after ten batches, as the notebook printed it."""
    return ties.printed("02", r"validation images: ([\d.]+) before, ([\d.]+) after ten batches")


def falls(name: str) -> bool:
    """Whether a loss falls in every epoch."""
    return all(
        later < earlier for earlier, later in zip(ties.epochs(RUN, name), ties.epochs(RUN, name)[1:], strict=False)
    )


def last_losses() -> tuple[float, float]:
    """Validation and training loss of the last epoch."""
    return round(ties.epochs(RUN, "val_loss")[-1], 2), round(ties.epochs(RUN, "train_loss")[-1], 2)


def end_of_first_epoch() -> float:
    """The training loss of the last batches of the first epoch."""
    return mean_loss(380, 430)


def mean_loss(first: int, last: int) -> float:
    """The training loss of the batches between two steps."""
    rows = [row["loss"] for row in ties.run_json(RUN)["history"]["steps"] if first < row["step"] <= last]
    return sum(rows) / len(rows)


def stem(epoch: int) -> torch.Tensor:
    """The first layer's kernels, (16, 7, 7)."""
    return torch.from_numpy(ties.pictures(RUN, "kernels", "stem.conv", epoch)[:, 0])


def likeness() -> float:
    """How alike the least alike of the first kernels is to its beginning, as a cosine."""
    before, after = stem(0).flatten(1), stem(LAST).flatten(1)
    return torch.nn.functional.cosine_similarity(before, after).min().item()


def way(epoch: int) -> float:
    """How far the first layer is from where it started, by its length there."""
    return ties.column(RUN, "movement", epoch)["stem.conv"]


def oriented() -> int:
    """How many of the first kernels have one direction more clearly than noise has."""
    return int(descriptors.are_oriented(stem(LAST)).sum())


def gradients(epoch: int) -> dict[str, float]:
    return ties.column(RUN, "gradient_norm", epoch)


def strongest_before() -> bool:
    """Whether every layer's gradient is larger before training than after any epoch."""
    return all(gradients(0)[layer] > gradients(epoch)[layer] for epoch in range(1, 6) for layer in gradients(0))


def halved() -> int:
    """In how many layers the gradient is less than half as large after the first epoch."""
    return sum(gradients(1)[layer] < gradients(0)[layer] / 2 for layer in gradients(0))


def shrinks_further() -> set[str]:
    """The layers whose gradient shrinks by more than a third from the first epoch to the last."""
    return {layer for layer, value in gradients(LAST).items() if value < gradients(1)[layer] * 2 / 3}


def spatial(epoch: int) -> dict[str, float]:
    """How far each layer has moved whose kernels have more than one pixel."""
    return {layer: value for layer, value in ties.column(RUN, "movement", epoch).items() if "shortcut" not in layer}


def moved_less_than_stem() -> list[str]:
    """The layers that have moved less than the first one."""
    return [layer for layer, value in ties.column(RUN, "movement", LAST).items() if value < way(LAST)]


def typical_weight(layer: str) -> float:
    """The root mean square of a layer's weights before training."""
    shape = ties.kept(RUN, "kernels", layer)["shape"]
    return ties.column(RUN, "weight_norm", 0)[layer] / float(np.prod(shape)) ** 0.5


def boot() -> np.ndarray:
    """The picture of the ankle boot, (28, 28)."""
    return ties.recording(RUN).inputs[-1, 0]


def outline(epoch: int) -> float:
    """How alike that one of the first layer's maps is to where the boot is that is most alike, as a correlation."""
    maps = ties.pictures(RUN, "maps", "stem.act", epoch)[-1]
    shape = (boot() > boot().min() + 0.1).ravel()
    return max(abs(np.corrcoef(each.ravel(), shape)[0, 1]) for each in maps if each.std() > 0)


def edges(epoch: int) -> float:
    """How alike the brightest of the first layer's maps at each pixel are to the size of the boot's edges."""
    steps = np.abs(np.diff(boot(), axis=0))[:, 1:] + np.abs(np.diff(boot(), axis=1))[1:]
    brightest = ties.pictures(RUN, "maps", "stem.act", epoch)[-1].max(axis=0)[1:, 1:]
    return float(np.corrcoef(brightest.ravel(), steps.ravel())[0, 1]) if brightest.std() > 0 else 0.0


def brightest_place() -> np.ndarray:
    """The pixels of the boot's picture at the brightest place of the last Grad-CAM of stage 3, of 7x7 places."""
    places = ties.pictures(RUN, "cams", "stage3.1.act2", LAST)[-1, 0]
    row, column = np.unravel_index(places.argmax(), places.shape)
    return boot()[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]


def bright_shares() -> list[float]:
    """Of the places on the boot and beside it the share that is a third as bright as the brightest, or brighter."""
    places = ties.pictures(RUN, "cams", "stage3.1.act2", LAST)[-1, 0]
    is_boot = (boot() > boot().min() + 0.1).reshape(7, 4, 7, 4).mean(axis=(1, 3)) > 0.5
    return [float((places[chosen] > places.max() / 3).mean()) for chosen in (is_boot, ~is_boot)]


def tiles() -> np.ndarray:
    """The largest value of each map in the last row of the figure."""
    return ties.pictures(RUN, "maps", "stage4.1.act2", LAST)[-1, : figures.MOST_TILES].max(axis=(1, 2))


def row_limit() -> float:
    """Where the colours of that row end."""
    return figures.scale(ties.recording(RUN), "maps", "stage4.1.act2").limit


def spreads(epoch: int) -> list[float]:
    """The standard deviation of the values of each activation, from first to last."""
    return [value for layer, value in ties.column(RUN, "std", epoch).items() if layer in ACTIVATIONS]


def falls_from_stage_to_stage() -> bool:
    """Whether before training the values at the end of each stage are spread less than at the end of the one before."""
    found = [ties.column(RUN, "std", 0)[f"stage{number}.1.act2"] for number in range(1, 5)]
    return all(later < earlier for earlier, later in pairwise(found))


def claim(number: int, part: int) -> dict[str, Any]:
    """A part of a claim: effect, interval, smallest effect that matters."""
    return ties.benchmark("claims.json")["claims"][number - 1]["parts"][part]


def is_beyond(number: int, part: int) -> bool:
    """Whether a part's interval lies above no difference, and its effect is smaller than what matters."""
    found = claim(number, part)
    return found["interval"][0] > found["no_difference"] and found["effect"] < found["smallest_that_matters"]


def what_matters() -> list[set[float]]:
    """The smallest effects that matter of claims 1 and 2."""
    return [{claim(number, part)["smallest_that_matters"] for part in range(3)} for number in (1, 2)]


def empty(layer: str) -> float:
    """The share of a layer's recorded maps that are zero everywhere, over the ten pictures."""
    return float((ties.pictures(RUN, "maps", layer, LAST) == 0).all(axis=(2, 3)).mean())


def widths() -> list[int]:
    """How many pixels wide the maps at the end of each stage are."""
    return [ties.kept(RUN, "maps", f"stage{number}.1.act2")["shape"][3] for number in range(1, 5)]


def recognises_the_boot() -> bool:
    return bool(ties.scores(RUN, LAST)[9].argmax() == data.CLASSES.index("Ankle boot"))


ACTIVATIONS = [layer for layer in ties.recording(RUN).layers["maps"] if "act" in layer]
TIES = [
    Tie(
        "Your own short training sees 20,000 images; at the pace of the stored run that takes about 14 seconds on two "
        "processor cores.",
        lambda: round(ties.seconds_for(RUN, 20_000)) == 14,
    ),
    Tie("Ten batches already changed that.", lambda: 2.2 < tried()[0] < 2.5 and tried()[1] < 1),
    Tie("Both losses fall in every epoch.", lambda: falls("train_loss") and falls("val_loss")),
    Tie(
        "After the first epoch the training point lies above the validation point, and not because the network is "
        "better on images that it never saw: the training point is a mean over an epoch that began with an untrained "
        "network.",
        lambda: (
            ties.epochs(RUN, "train_loss")[0] > ties.epochs(RUN, "val_loss")[0] > end_of_first_epoch()
            and mean_loss(0, 50) > 2 * ties.epochs(RUN, "val_loss")[0]
        ),
    ),
    Tie(
        "At the end of that epoch the pale line has already come down to about the validation loss.",
        lambda: abs(end_of_first_epoch() - ties.epochs(RUN, "val_loss")[0]) < 0.03,
    ),
    Tie(
        "After the last epoch the validation loss is the higher one, 0.23 against 0.18: some of what is learned from "
        "the training images does not help with others.",
        lambda: last_losses() == (0.23, 0.18),
    ),
    Tie(
        "Six in ten of all mistakes are made among T-shirt, pullover, coat and shirt, and the shirt is recognised "
        "worst.",
        lambda: (
            round(share_within(SLEEVES), 1) == 0.6 and data.CLASSES[ties.confusion(RUN).diagonal().argmin()] == "Shirt"
        ),
    ),
    Tie(
        "T-shirt and shirt are mistaken for each other most often.", lambda: most_mistaken() == {"T-shirt/top", "Shirt"}
    ),
    Tie("Shoes are mistaken for other shoes, but for two images.", lambda: shoes_for_others() == 2),
    Tie(
        "Sandals, bags and trousers are recognised best, 98 % of each.",
        lambda: best_recognised(3) == {"Sandal": 98, "Bag": 98, "Trouser": 98},
    ),
    Tie(
        "After five epochs the first layer is a third of its own length away from where it started (the length, or "
        "*norm*, is the root of the sum of the squares of all its weights), and most of that way was gone in the first "
        "two epochs.",
        lambda: 0.30 < way(LAST) < 0.36 and way(2) > way(LAST) / 2,
    ),
    Tie("Each kernel still resembles its own beginning, noise and all.", lambda: likeness() > 0.89),
    Tie(
        "But measured by how far a kernel has one direction, only 1 of the 16 passes a mark that one in twenty kernels "
        "of pure noise passes, too: no more than chance would give.",
        lambda: oriented() == 1 and len(stem(LAST)) == 16,
    ),
    Tie(
        "In every layer the pull is strongest before training, and in 17 of 20 it is less than half as strong after "
        "the "
        "first epoch.",
        lambda: strongest_before() and halved() == 17 and len(gradients(0)) == 20,
    ),
    Tie(
        "From there to the last epoch it shrinks by more than a third in the last block alone.",
        lambda: shrinks_further() == {"stage4.1.conv1", "stage4.1.conv2"},
    ),
    Tie(
        "At every epoch it is strongest in the first layer.",
        lambda: all(max(gradients(epoch), key=gradients(epoch).__getitem__) == "stem.conv" for epoch in range(6)),
    ),
    Tie(
        "No: of all kernels with more than one pixel those of the first layer have moved least, and those of the last "
        "stage more than their own length.",
        lambda: (
            min(spatial(LAST), key=spatial(LAST).__getitem__) == "stem.conv"
            and all(value > 1 for layer, value in spatial(LAST).items() if layer.startswith("stage4"))
        ),
    ),
    Tie(
        "Only the 1x1 kernels of the first shortcut moved less.",
        lambda: moved_less_than_stem() == ["stage2.0.shortcut.conv"],
    ),
    Tie(
        "Adam makes all weights move about as fast, whatever the size of their gradients; and a layer that adds up "
        "many inputs starts with small weights, one that adds up few with large ones.",
        lambda: (
            typical_weight("stage4.1.conv2") < typical_weight("stem.conv") / 3
            and typical_weight("stem.conv") < typical_weight("stage2.0.shortcut.conv")
        ),
    ),
    Tie(
        "The first layer keeps the outline and is bright along edges: the shaft, the sole, the heel.",
        lambda: outline(LAST) > 0.6 and edges(LAST) > 0.4,
    ),
    Tie(
        "That does not make its kernels edge filters: at epoch 0, when they are random, the outline is there, too.",
        lambda: outline(0) > 0.6,
    ),
    Tie(
        "From stage to stage a map has half as many pixels in height and width, rounded up: 28, 14, 7, 4.",
        lambda: widths() == [28, 14, 7, 4],
    ),
    Tie("In stage 3 hardly anybody would recognise a boot; the network does.", recognises_the_boot),
    Tie(
        "Empty maps are rare: before the last block every recorded channel answers to every one of the ten pictures "
        "somewhere; in the last block one in twenty is empty for a given picture.",
        lambda: (
            all(empty(layer) == 0 for layer in ACTIVATIONS[:-2])
            and all(0.04 < empty(layer) < 0.07 for layer in ACTIVATIONS[-2:])
        ),
    ),
    Tie(
        "(A tile that looks black need not be empty: in the last row one is, and three more hold values below 1, on "
        "colours that end near 9.)",
        lambda: (tiles() == 0).sum() == 1 and ((tiles() > 0) & (tiles() < 1)).sum() == 3 and 8.5 < row_limit() < 9,
    ),
    Tie(
        "Before training the values get smaller with depth: their standard deviation is 0.29 in the first layer and "
        "0.02 in the last.",
        lambda: [round(spreads(0)[place], 2) for place in (0, -1)] == [0.29, 0.02] and falls_from_stage_to_stage(),
    ),
    Tie(
        "After training all standard deviations lie between 0.5 and 1.7.",
        lambda: min(spreads(LAST)) > 0.5 and max(spreads(LAST)) < 1.7,
    ),
    Tie(
        "How many values are zero the recording counted, too: after training between 30 and 60 % in every layer.",
        lambda: all(0.3 < ties.column(RUN, "zeros", LAST)[layer] < 0.6 for layer in ACTIVATIONS),
    ),
    Tie(
        "Which ones differs from picture to picture: then no channel is zero for all 128 pictures of the probe.",
        lambda: not any(ties.column(RUN, "dead", LAST).values()),
    ),
    Tie(
        "At stage 3 bright places lie on the boot and beside it alike, and the brightest after the last epoch is the "
        "black above its toe.",
        lambda: (
            min(bright_shares()) > 0.3
            and max(bright_shares()) < min(bright_shares()) + 0.1
            and brightest_place().max() < boot().min() + 0.1
        ),
    ),
    Tie(
        "*Supported* asks that the interval lies wholly on the claim's side of *no difference*, and that the effect is "
        "as large as was fixed beforehand to matter: here 50 percentage points for claim 1, since it says that trained "
        "kernels *are* filters, and a correlation of 0.3 for claim 2.",
        lambda: what_matters() == [{50}, {0.3}],
    ),
    Tie(
        "In AlexNet and ResNet-18 more kernels have one direction after training than before, but by about a fifth of "
        "all kernels in AlexNet and less in ResNet-18, and not by half.",
        lambda: is_beyond(1, 0) and is_beyond(1, 1) and claim(1, 0)["effect"] < 10 and 18 < claim(1, 1)["effect"] < 22,
    ),
    Tie(
        "Filters with large gradients move a little farther than others in AlexNet, and hardly so in the two ResNets.",
        lambda: is_beyond(2, 1) and max(abs(claim(2, part)["effect"]) for part in (0, 2)) < claim(2, 1)["effect"] / 3,
    ),
]
GENERAL = [
    "The pale line is the loss (left) and the accuracy (right) of a few batches at a time; it scatters, since every "
    "batch is another 128 images.",
    "Less has changed than one might expect.",
    "Here and there a light and a dark side begin to show.",
    "That trained kernels are edge filters is something to be shown, not something to be seen.",
    "Does the first layer therefore change most?",
    "The next chart says how far each layer has moved from where it started, measured by its own length there.",
    "A large gradient does not mean that a layer goes far.",
    "The maps are taken in evaluation mode, and what batch norm keeps for it is still the mean 0 and the deviation 1 "
    "that it began with, so it changes nothing.",
    "Why, this picture cannot say.",
    "A place of this layer also sees what lies around it, such as the toe; and what is *not* there may count, too.",
    "To test it, cover the place and ask again.",
    "A hook is enough to look inside, and a picture of the inside is not yet a finding: sizes have to be read at "
    "the colour bar, and what looks like an edge has to be measured.",
    "The gradient says where the loss pulls, not how far the weights went.",
]
