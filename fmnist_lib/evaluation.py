"""How good a model is: loss and confusion matrix, each image counted once.

Letters: N images in a batch, K classes, x input (N, 1, 28, 28), y labels (N,).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib.distributed import ALONE, World


@dataclass(frozen=True)
class Evaluation:
    """The mean loss over the images and the confusion matrix, int64 (K, K): rows true, columns predicted."""

    loss: float
    confusion: Tensor

    @property
    def images(self) -> int:
        """How many images were seen."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Correct images divided by images, 0 to 1."""
        return int(self.confusion.diagonal().sum()) / self.images

    @property
    def per_class(self) -> list[float]:
        """The share of each class's images that was recognised, 0 to 1."""
        return (self.confusion.diagonal() / self.confusion.sum(1).clamp(min=1)).tolist()


class Ensemble(nn.Module):
    """Networks asked together: the logarithm of the mean of their class probabilities, (N, K)."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        logs = torch.stack([member(x).float().log_softmax(1) for member in self.members])
        return logs.logsumexp(0) - math.log(len(self.members))


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: str | torch.device = "auto",
    flip: bool = False,
    world: World = ALONE,
) -> Evaluation:
    """Loss and confusion matrix of a model in evaluation mode, each image counted once. The mode is put back.

    With `flip` a prediction is the mean of the logits of the image and of its mirror image
    (test-time augmentation, as in Krizhevsky et al. 2012, section 4.1). Each rank of `world` sees its shard of
    every batch, and all get the same result.
    """
    place = world.place(device)
    model.to(place)
    was_training = model.training
    model.eval()
    loss_sum, pairs, num_classes = torch.zeros((), dtype=torch.float64), [], 0
    with torch.inference_mode():
        for x, y in batches:
            shard = world.shard(x, y)
            logits = predict_logits(model, shard.x.to(place), flip=flip)[: shard.images]
            y = shard.y[: shard.images]
            loss_sum += functional.cross_entropy(logits.double(), y, reduction="sum")
            num_classes = logits.shape[1]
            pairs.append(y * num_classes + logits.argmax(1))
    model.train(was_training)
    counts = torch.cat(pairs).bincount(minlength=num_classes**2).reshape(num_classes, num_classes)
    counts, loss_sum = world.sum(counts), world.sum(loss_sum)
    return Evaluation(loss_sum.item() / int(counts.sum()), counts)


def predict_logits(model: nn.Module, x: Tensor, *, flip: bool = False) -> Tensor:
    """Logits float32 (N, K) on the CPU; with `flip` the mean over the image and its mirror image."""
    logits = model(x).float()
    if flip:
        logits = (logits + model(x.flip(3)).float()) / 2
    return logits.cpu()
