"""Optimisers over a whole model, and how the learning rate moves.

Letters: O and I output and input channels of a filter (O, I, height, width); lr is the learning rate.
"""

import importlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fmnist_lib.interrupts import held_back
from fmnist_lib.training.recipes import Recipe

# torch's compiler, which the first optimiser would import in a training's first second: an interrupt there leaves it
# half imported, and no optimiser can be made again before the kernel restarts (torch 2.14).
with held_back():
    importlib.import_module("torch._dynamo")

# Coefficients and number of the steps of the quintic iteration, as cifar10-airbench has them; torch takes five steps.
NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 3
MOST_STACKED = 2**16  # numbers in a filter; on a CPU stacks of larger ones gain little or lose (benchmarks/muon.py)


class FilterMuon(torch.optim.Optimizer):
    """Muon for matrices (O, I) and for filters, each of which is a matrix (O, height * width * I).

    torch.optim.Muon takes matrices alone and computes in bf16, which processors without bf16 only emulate: there a
    step takes half as long as forward and backward pass, or twice (benchmarks/muon.py). This one computes in `dtype`.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with Nesterov momentum. The step's size is
    matched to AdamW's (Liu et al. 2025, arXiv:2502.16982), so that both can share a learning rate.
    """

    def __init__(
        self, weights: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float, dtype: torch.dtype
    ) -> None:
        self.dtype = dtype
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every weight that has a gradient. A closure, which torch's optimisers allow, is not called."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            directions = self.find_directions(weights, momentum=group["momentum"])
            for alike in stacks(weights):
                updates = orthogonalise(as_matrices([directions[i] for i in alike]).to(self.dtype))
                size = -0.2 * group["lr"] * math.sqrt(max(updates.shape[1:]))
                moved = [weights[i] for i in alike]
                torch._foreach_add_(moved, as_filters(updates, moved), alpha=size)

    def find_directions(self, weights: list[Tensor], *, momentum: float) -> tuple[Tensor, ...]:
        """What each weight's step would be without Muon: its gradient, averaged over the steps."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        averages = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, averages, momentum)


def stacks(weights: Sequence[Tensor]) -> list[list[int]]:
    """Which weights are orthogonalised in one go, by their places: those of one shape.

    On a CPU those of more than `MOST_STACKED` numbers each go alone.
    """
    places: dict[Any, list[int]] = {}
    for i, weight in enumerate(weights):
        is_alone = weight.device.type == "cpu" and weight.numel() > MOST_STACKED
        places.setdefault(i if is_alone else (weight.shape, weight.device), []).append(i)
    return list(places.values())


def as_matrices(weights: Sequence[Tensor]) -> Tensor:
    """Filters (O, I, height, width) or matrices (O, I) of one shape as a stack (M, O, height * width * I)."""
    return torch.stack([weight.movedim(1, -1).flatten(1) for weight in weights])


def as_filters(stack: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The way back from `as_matrices(weights)`: each has its weight's shape and dtype."""
    shape = weights[0].movedim(1, -1).shape
    return [matrix.reshape(shape).movedim(-1, 1).to(weights[0].dtype) for matrix in stack]


def orthogonalise(stack: Tensor) -> Tensor:
    """Matrices (M, O, I) with nearly the same singular vectors, whose singular values are all about 1.

    By Newton-Schulz iteration, in their own dtype; the values end between about 0.5 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if is_tall else stack  # the smaller product of the two
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)  # where `@` would copy the transposed matrices
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def make_optimizers(
    model: nn.Module, recipe: Recipe, *, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """The recipe's optimisers over all parameters; each group keeps its base learning rate as `initial_lr`.

    "adam" is as the lab report has it: one group, decay on all. The others decay weights only, not biases and
    norms, whose learning rate is multiplied by the recipe's `bias_lr`. "muon" moves filters and matrices by Muon,
    the last matrix, which gives the classes' scores, and the rest by AdamW (Jordan et al. 2024); `dtype` is what
    Muon computes in.
    """
    if recipe.optimizer == "adam":
        made: list[torch.optim.Optimizer] = [
            torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        ]
    else:
        made = make_decoupled(model, recipe, dtype)
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made


def make_decoupled(model: nn.Module, recipe: Recipe, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
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
    adamw = torch.optim.AdamW([{"params": head}, biases], lr=lr, weight_decay=decay, fused=True)
    if not hidden:  # softmax regression has no matrix but the last
        return [adamw]
    return [FilterMuon(hidden, lr=lr, weight_decay=decay, momentum=0.95, dtype=dtype), adamw]


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

    def update(averages: Sequence[Tensor], values: Sequence[Tensor], _: Tensor | int) -> None:
        count = float(averaged.n_averaged)  # lies on the CPU; what torch hands over has to be asked of the device
        now = min(decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - now)
        else:
            torch._foreach_copy_(list(averages), list(values))  # batch norm's count of batches

    averaged = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return averaged
