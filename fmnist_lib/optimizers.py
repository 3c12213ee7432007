"""Optimisers over a whole model, and how the learning rate moves.

Letters: O and I output and input channels of a filter (O, I, height, width); lr is the learning rate.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fmnist_lib.recipes import Recipe

NEWTON_SCHULZ_STEPS = 3  # as cifar10-airbench has it; torch's default is 5


class FilterMuon(torch.optim.Muon):
    """torch's Muon for convolution filters too: each (O, I, height, width) is orthogonalised as a matrix
    (O, height * width * I), which torch.optim.Muon, made for matrices, leaves to its user.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. The step's size is matched to AdamW's
    (Liu et al. 2025, arXiv:2502.16982), so that both can share a learning rate.
    """

    def __init__(self, weights: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float) -> None:
        self.weights = list(weights)
        super().__init__(
            [nn.Parameter(as_matrix(weight.detach()).clone()) for weight in self.weights],
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            adjust_lr_fn="match_rms_adamw",
            ns_steps=NEWTON_SCHULZ_STEPS,
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Bring filters and gradients into matrix form, make torch's step, and bring the filters back."""
        matrices = self.param_groups[0]["params"]
        for weight, matrix in zip(self.weights, matrices, strict=True):
            matrix.copy_(as_matrix(weight))
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad).contiguous()
        loss = super().step(closure)
        for weight, matrix in zip(self.weights, matrices, strict=True):
            weight.copy_(matrix.view(weight.movedim(1, -1).shape).movedim(-1, 1))
        return loss


def as_matrix(weight: Tensor) -> Tensor:
    """(O, I, height, width) -> (O, height * width * I), and (O, I) as it is; a view of a filter in channels_last."""
    return weight.movedim(1, -1).flatten(1)


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's optimisers over all parameters; each group keeps its base learning rate as `initial_lr`.

    "adam" is as the lab report has it: one group, decay on all. The others decay weights only, not biases and
    norms, whose learning rate is multiplied by the recipe's `bias_lr`. "muon" moves filters and matrices by Muon,
    the last matrix, which gives the classes' scores, and the rest by AdamW (Jordan et al. 2024).
    """
    if recipe.optimizer == "adam":
        made: list[torch.optim.Optimizer] = [
            torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        ]
    else:
        made = make_decoupled(model, recipe)
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made


def make_decoupled(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Optimisers that treat weights and biases differently."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    lr, decay = recipe.lr, recipe.weight_decay
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    biases: dict[str, Any] = {"params": vectors, "weight_decay": 0.0, "lr": lr * recipe.bias_lr}
    if recipe.optimizer == "sgd":
        groups = [{"params": weights}, biases]
        return [torch.optim.SGD(groups, lr=lr, weight_decay=decay, momentum=0.9, nesterov=True, fused=True)]
    if recipe.optimizer == "adamw":
        return [torch.optim.AdamW([{"params": weights}, biases], lr=lr, weight_decay=decay, fused=True)]
    head = [p for p in weights if p.ndim == 2][-1:]
    hidden = [p for p in weights if not head or p is not head[0]]
    rest = [{"params": head}, biases]
    return [
        FilterMuon(hidden, lr=lr, weight_decay=decay, momentum=0.95),
        torch.optim.AdamW(rest, lr=lr, weight_decay=decay, fused=True),
    ]


def lr_multiplier(recipe: Recipe, done: float) -> float:
    """What the base learning rate is multiplied by at the step with which a share `done`, 0 to 1, is done.

    "constant" is 1. "linear" and "cosine" rise linearly from 0 over the recipe's `warmup` share, then fall to 0
    (one cycle, as in Smith and Topin 2017, arXiv:1708.07120).
    """
    if recipe.schedule == "constant":
        return 1.0
    if done < recipe.warmup:
        return done / recipe.warmup
    left = (1 - done) / (1 - recipe.warmup)
    return left if recipe.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def move_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, done: float) -> None:
    """Set each group's learning rate for the step with which a share `done` of all steps is done."""
    multiplier = lr_multiplier(recipe, done)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * multiplier


def make_average(model: nn.Module, *, decay: float) -> AveragedModel:
    """An exponential moving average of weights and batch norm's statistics, updated by `update_parameters`.

    The decay rises to `decay` with the number of updates, so that the first weights are soon forgotten.
    """

    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - now)
        else:
            torch._foreach_copy_(list(averages), list(values))  # batch norm's count of batches

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
