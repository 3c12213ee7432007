"""What 02_resnet18 says of the long run, resnet18-original."""

import numpy as np
import ties
import torch
from ties import Tie

from fmnist_lib import data
from fmnist_lib.visualisers import descriptors

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


def crosses() -> bool:
    """Validation loss below training loss after the first epoch, above after the last; half the fall or less."""
    training, validation = ties.epochs(RUN, "train_loss"), ties.epochs(RUN, "val_loss")
    is_twice = training[0] - training[-1] > 2 * (validation[0] - validation[-1])
    return validation[0] < training[0] and validation[-1] > training[-1] and is_twice


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


def spatial(epoch: int) -> dict[str, float]:
    """How far each layer has moved whose kernels have more than one pixel."""
    return {layer: value for layer, value in ties.column(RUN, "movement", epoch).items() if "shortcut" not in layer}


def typical_weight(layer: str) -> float:
    """The root mean square of a layer's weights before training."""
    shape = ties.kept(RUN, "kernels", layer)["shape"]
    return ties.column(RUN, "weight_norm", 0)[layer] / float(np.prod(shape)) ** 0.5


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
        "After the first the validation loss is the lower one, after the last the higher one: the training loss has "
        "fallen more than twice as far.",
        crosses,
    ),
    Tie(
        "Six in ten of all mistakes are made among T-shirt, pullover, coat and shirt, and the shirt is recognised "
        "worst.",
        lambda: (
            round(share_within(SLEEVES), 1) == 0.6 and data.CLASSES[ties.confusion(RUN).diagonal().argmin()] == "Shirt"
        ),
    ),
    Tie(
        "Shoes are mistaken for other shoes, with two exceptions, and trousers for almost nothing.",
        lambda: shoes_for_others() == 2 and mistakes()[1].sum() <= 0.02 * ties.confusion(RUN)[1].sum(),
    ),
    Tie(
        "After five epochs the first layer is a third of its own length away from where it started, and most of "
        "that way "
        "was gone in the first two epochs.",
        lambda: 0.30 < way(LAST) < 0.36 and way(2) > way(LAST) / 2,
    ),
    Tie("Each kernel still resembles its own beginning, noise and all.", lambda: likeness() > 0.89),
    Tie(
        "But measured by how far a kernel has one direction, only 1 of the 16 is clearer than noise would be by "
        "chance.",
        lambda: oriented() == 1 and len(stem(LAST)) == 16,
    ),
    Tie(
        "In every layer the pull is strongest before training, and in 17 of 20 it is less than half as strong after "
        "the "
        "first epoch.",
        lambda: strongest_before() and halved() == 17 and len(gradients(0)) == 20,
    ),
    Tie(
        "It is strongest in the first layer.",
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
        "Adam makes all weights move about as fast, whatever the size of their gradients; and the weights of a deep "
        "layer, "
        "which adds up many inputs, start small.",
        lambda: typical_weight("stage4.1.conv2") < typical_weight("stem.conv") / 3,
    ),
    Tie(
        "From stage to stage a map has half as many pixels in height and width, down to 4x4.",
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
        "In every layer ReLU sets between 30 and 60 % of all values to zero.",
        lambda: all(0.3 < ties.column(RUN, "zeros", LAST)[layer] < 0.6 for layer in ACTIVATIONS),
    ),
    Tie(
        "Which ones, differs from picture to picture: after training no channel is zero for all 128 pictures of the "
        "probe.",
        lambda: not any(ties.column(RUN, "dead", LAST).values()),
    ),
]
GENERAL = [
    "The pale line is the training loss of a few batches at a time; it scatters, since every batch is another 128 "
    "images.",
    "What is learned by heart from the training images does not help with others.",
    "Less has changed than one might expect.",
    "Here and there a light and a dark side begin to show.",
    "That trained kernels are edge filters is something to be shown, not something to be seen.",
    "Does the first layer therefore change most?",
    "The next chart says how far each layer has moved from where it started, measured by its own length there.",
    "A large gradient does not mean much learning.",
    "The first layer keeps the outline and marks edges: the shaft, the sole, the heel.",
    "A hook is enough to look inside, and a picture of the inside is not yet a finding: sizes have to be read at "
    "the colour bar, and what looks like an edge has to be measured.",
    "The gradient says where the loss pulls, not how far the weights went.",
]
