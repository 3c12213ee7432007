"""What 01_data says of the data."""

import ties
import torch
from ties import Tie
from torch import Tensor

from fmnist_lib.data import CLASSES


def averages() -> Tensor:
    """The average training picture of each class, (10, 28, 28)."""
    images, labels = ties.split("train")
    return torch.stack([images[labels == number].float().mean(0)[0] for number in range(10)])


def recognised() -> dict[str, float]:
    """The share of each class's validation images whose nearest average is that of their class."""
    images, labels = ties.split("val")
    nearest = torch.cdist(images.flatten(1).float(), averages().flatten(1)).argmin(1)
    return {name: (nearest[labels == i] == i).float().mean().item() for i, name in enumerate(CLASSES)}


def total() -> float:
    """The same over all classes, which are equally frequent."""
    return sum(recognised().values()) / 10


def always_one_class() -> float:
    """The validation accuracy of whoever always says the same: the share of the most frequent class."""
    _, labels = ties.split("val")
    return labels.bincount(minlength=10).max().item() / len(labels)


def look_alike(*names: str) -> bool:
    """Whether the averages of these classes are nearer to each other than any of them to that of another class."""
    pictures = averages().flatten(1)
    distances = torch.cdist(pictures, pictures)
    inside = [CLASSES.index(name) for name in names]
    outside = [i for i in range(10) if i not in inside]
    return bool(distances[inside][:, inside].max() < distances[inside][:, outside].min())


def sharpest() -> str:
    """The class whose average has the largest step from a pixel to the next."""
    steps = averages().diff(dim=2).abs().amax((1, 2))
    return CLASSES[int(steps.argmax())]


TIES = [
    Tie(
        'So a network that always says "Bag" is right for one image in ten: 10 % is the accuracy of knowing nothing.',
        lambda: always_one_class() == 0.1,
    ),
    Tie(
        "The averages of pullover, coat and shirt are nearer to each other than any of them to another class.",
        lambda: look_alike("Pullover", "Coat", "Shirt"),
    ),
    Tie("The trouser's has the sharpest edges of all: trousers are cut alike.", lambda: sharpest() == "Trouser"),
    Tie(
        "Ten averages already recognise about two images in three, and trousers and bags far better than shirts.",
        lambda: 0.65 < total() < 0.7 and min(recognised()["Trouser"], recognised()["Bag"]) > 3 * recognised()["Shirt"],
    ),
    Tie("**Prediction:** better than 10 %, of course; but how much better?", lambda: total() > 0.1),
]
GENERAL = [
    "Trousers, bags and sandals have outlines of their own.",
    "T-shirts, shirts, pullovers and coats share one: a body with two sleeves.",
    "What tells them apart are details of a few pixels, such as a row of buttons or a collar.",
    "Keep this in mind when you meet the confusion matrices.",
    "This is the number that a network has to beat before it is worth its computing time.",
]
