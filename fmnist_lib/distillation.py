"""Knowledge distillation: a network learns what a better one, the teacher, answers, besides the labels.

The teacher is asked about the very images that the student gets, flipped, cropped and erased alike, and is in
evaluation mode. Sources: Hinton et al. 2015, arXiv:1503.02531; for the same view, Beyer et al. 2022, arXiv:2106.05237.

Letters: N images in a batch, K classes, x input (N, 1, 28, 28), y labels (N,).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib.precision import is_sound
from fmnist_lib.train import Batches


@dataclass(eq=False)
class Taught:
    """Batches of which a share of the labels' weight, 0 to 1, goes to the teacher's class probabilities."""

    batches: Batches
    teacher: nn.Module
    share: float
    sound: bool | None = None  # whether the teacher answers alike in bf16: found out at the first batch

    @property
    def steps(self) -> int:
        """Training batches in an epoch."""
        return self.batches.steps

    def train(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches (x, y) of an epoch, as they are."""
        return self.batches.train(epoch)

    def val(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation batches (x, y), as they are."""
        return self.batches.val()

    def targets(self, x: Tensor, y: Tensor) -> Tensor:
        """Class probabilities float32 (N, K): labels and the teacher's answers, computed on x's device.

        Where it is called under autocast the teacher computes in bf16, provided that its answers stay the same.
        """
        self.teacher.to(x.device).to(memory_format=torch.channels_last)
        mixed = torch.is_autocast_enabled(x.device.type)
        if mixed and self.sound is None:
            self.sound = is_sound(self.teacher, x)
        with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=mixed and bool(self.sound)):
            answers = self.teacher(x).float().softmax(1)
        return functional.one_hot(y, answers.shape[1]).float().lerp(answers, self.share)
