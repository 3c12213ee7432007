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


def thousand(run: str) -> Tensor:
    """What a network answers for the first 1,000 validation images."""
    return ties.answers(run, "val", 1000)


def suspects() -> Tensor:
    """The rows of those whose label all three networks contradict alike."""
    first, *others = [thousand(f"{name}-best") for name in ("resnet18", "alexnet", "resnet34")]
    is_unanimous = torch.stack([first == other for other in others]).all(0)
    return (is_unanimous & (first != labels())).nonzero()[:, 0]


def labels() -> Tensor:
    return ties.split("val")[1][:1000]


def hardest(count: int) -> set[str]:
    """The classes of which the averages recognise the fewest images."""
    return set(sorted(recognised(), key=recognised().__getitem__)[:count])


def best_recognised(count: int) -> set[str]:
    """The classes of which they recognise the most."""
    return set(sorted(recognised(), key=recognised().__getitem__)[-count:])


def tops_or_dresses() -> int:
    """For how many suspects both label and answer are tops or dresses."""
    garments = torch.tensor([CLASSES.index(name) for name in ("T-shirt/top", "Pullover", "Dress", "Shirt")])
    pairs = torch.stack([labels()[suspects()], thousand("resnet18-best")[suspects()]])
    return int(torch.isin(pairs, garments).all(0).sum())


def best(name: str) -> float:
    """A setting of the recipe `best`."""
    return ties.run_json("resnet18-best")["recipe"][name]


def taught() -> tuple[str, float]:
    """Whose answers AlexNet learned from besides the labels, and their weight."""
    recipe = ties.run_json("alexnet-best")["recipe"]
    return recipe["teacher"], recipe["teacher_share"]


TIES = [
    Tie(
        'A network that always says "Bag" is therefore right for one image in ten: 10 % is the accuracy of knowing '
        "nothing.",
        lambda: always_one_class() == 0.1,
    ),
    Tie(
        "The averages of pullover, coat and shirt are nearer to each other than any of them to another class.",
        lambda: look_alike("Pullover", "Coat", "Shirt"),
    ),
    Tie("The trouser's has the sharpest edges of all: trousers are cut alike.", lambda: sharpest() == "Trouser"),
    Tie(
        "Ten averages already recognise about two images in three, and trousers and ankle boots far better than "
        "shirts.",
        lambda: (
            0.65 < total() < 0.7
            and best_recognised(2) == {"Trouser", "Ankle boot"}
            and min(recognised()[name] for name in best_recognised(2)) > 3 * recognised()["Shirt"]
        ),
    ),
    Tie(
        "About half of all pictures have a rectangle of noise, which may hide what tells a shirt from a T-shirt: the "
        "label is still true, but it can only be guessed.",
        lambda: best("erase") == 0.5,
    ),
    Tie("Of the 1,000 images 21 are suspects.", lambda: len(suspects()) == 21),
    Tie(
        "In 17 of them both the label and the answer are tops or dresses, where even you may hesitate.",
        lambda: tops_or_dresses() == 17,
    ),
    Tie(
        "The 21 are half of what ResNet-18 (`best`) gets wrong here.",
        lambda: round(len(suspects()) / int((thousand("resnet18-best") != labels()).sum()), 1) == 0.5,
    ),
    Tie(
        "If all these labels were wrong, an honest network could not be right about more than 98 %, give or take a "
        "point.",
        lambda: 0.975 < 1 - len(suspects()) / 1000 < 0.985,
    ),
    Tie(
        "And AlexNet was taught by ResNet-18's answers, too (its recipe `best` has a *teacher*), so the three are "
        "nearer to two opinions.",
        lambda: taught() == ("resnet18-best", 0.8),
    ),
    Tie(
        "Ten classes, equally frequent; tops and coats are the hardest to tell apart; ten averages recognise 68 % of "
        "the images, and some labels are so doubtful that one should not expect any network to be right about every "
        "image.",
        lambda: (
            always_one_class() == 0.1
            and round(total(), 2) == 0.68
            and hardest(4) == {"T-shirt/top", "Pullover", "Coat", "Shirt"}
            and len(suspects()) > 0
        ),
    ),
]
GENERAL = [
    "Trousers, bags and sandals have outlines of their own.",
    "T-shirts, shirts, pullovers and coats share one: a body with two sleeves.",
    "What tells them apart are details of a few pixels, such as a row of buttons or a collar.",
    "This is the number that a network has to beat before it is worth its computing time.",
    "Each image is mirrored in every second epoch.",
    "What is shifted out of the frame is lost, and black comes in on the other side.",
    "This is an estimate and no proof: three networks that learned from the same labels can be fooled alike.",
]
