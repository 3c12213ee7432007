"""How good a model is: loss and confusion matrix, each image counted once.

Letters: N images in a batch, K classes, x input (N, 1, 28, 28), y labels (N,).
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib.training.devices import memory_format
from fmnist_lib.training.parallel import ALONE, World

BINS = 100  # of equal width, for the probabilities that a network gives to its own answers
ONE_IN, FEWEST = 3, 20  # one wrong answer in so many is much, and it takes some answers to say so


@dataclass(frozen=True)
class Evaluation:
    """The mean loss over the images and the confusion matrix, int64 (K, K): rows true, columns predicted.

    `certainty`, int64 (BINS, 2), counts the wrong and the right answers by the probability that the network gave them.
    `flipped` is the same with flip test-time augmentation, where that was asked for.
    """

    loss: float
    confusion: Tensor
    certainty: Tensor
    flipped: "Evaluation | None" = None

    @property
    def num_images(self) -> int:
        """How many images were seen."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Correct images divided by images, 0 to 1."""
        return int(self.confusion.diagonal().sum()) / self.num_images

    @property
    def per_class(self) -> list[float]:
        """The share of each class's images that was recognised, 0 to 1."""
        return (self.confusion.diagonal() / self.confusion.sum(1).clamp(min=1)).tolist()

    @property
    def doubt_below(self) -> float:
        """The highest probability, in hundredths, below which at least one answer in `ONE_IN` is wrong; 0 for none."""
        wrong, right = self.certainty.cumsum(0).T
        is_often = (ONE_IN * wrong >= wrong + right) & (wrong + right >= FEWEST)
        return (int(is_often.nonzero().max()) + 1) / BINS if is_often.any() else 0.0


class Ensemble(nn.Module):
    """Networks asked together: the logarithm of the mean of their class probabilities, (N, K)."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        logs = torch.stack([member(x).float().log_softmax(1) for member in self.members])
        return logs.logsumexp(0) - math.log(len(self.members))


def tally(batches: Iterable[tuple[Tensor, Tensor]], world: World) -> Evaluation:
    """What scores (N, K) and labels say over all batches and ranks, added up on the CPU."""
    loss = torch.zeros((), dtype=torch.float64)
    counts = torch.zeros(1, dtype=torch.int64)  # as long as there are pairs of classes, from the first batch
    certainty = torch.zeros(2 * BINS, dtype=torch.int64)
    for logits, y in batches:
        logits, y, num_classes = logits.cpu(), y.cpu(), logits.shape[1]
        loss += functional.cross_entropy(logits.double(), y, reduction="sum")
        counts = counts + (y * num_classes + logits.argmax(1)).bincount(minlength=num_classes**2)
        bins = (logits.double().softmax(1).amax(1) * BINS).long().clamp(max=BINS - 1)
        certainty += (2 * bins + (logits.argmax(1) == y)).bincount(minlength=2 * BINS)
    counts, loss, certainty = world.sum(counts), world.sum(loss), world.sum(certainty)
    num_classes = math.isqrt(len(counts))
    confusion = counts.reshape(num_classes, num_classes)
    return Evaluation(loss.item() / int(counts.sum()), confusion, certainty.reshape(BINS, 2))


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: str | torch.device = "auto",
    flip: bool = False,
    world: World = ALONE,
) -> Evaluation:
    """Loss and confusion matrix of a model in evaluation mode, each image counted once.

    The model is moved to the device; each submodule's train flag is put back, also after an error.
    With `flip` the result has `flipped`, too, where a prediction is the mean of the logits of the image and of its
    mirror image (test-time augmentation, as in Krizhevsky et al. 2012, section 4.1). Each rank of `world` sees its
    shard of every batch, and all get the same result.
    """
    place = world.place(device)
    layout = memory_format(place)
    model.to(place).to(memory_format=layout)  # as in training, where it is faster
    plain, flipped = [], []  # scores and labels, which stay on the device until the last batch: it need not wait
    with evaluation_mode(model), torch.inference_mode():
        for x, y in batches:
            shard = world.shard(x, y)
            x, y = shard.x.to(place, memory_format=layout), shard.y[: shard.num_images]
            logits = model(x).float()
            plain.append((logits[: shard.num_images], y))
            if flip:
                both = (logits + model(x.flip(3)).float()) / 2
                flipped.append((both[: shard.num_images], y))
        result = tally(plain, world)
        return replace(result, flipped=tally(flipped, world)) if flip else result


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards, however that ends, each submodule has its own train flag back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in flags:
            module.training = was_training
