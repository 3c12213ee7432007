"""A device is held to the CPU's numbers before a training: one small step on both.

Not every kernel is right: batch norm's backward pass on MPS was wrong for three releases (pytorch#175189), and nothing
but a lower accuracy told of it.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib.training.devices import memory_format
from fmnist_lib.training.optimizers import make_optimizers
from fmnist_lib.training.recipes import Recipe

TRIED_IMAGES = 16
TOLERANCE = 0.05  # of a tensor's norm: TF32 and other orders of summation stay below a hundredth
NEGLIGIBLE = 1e-3  # of the largest gradient's norm; what is smaller is rounding, as a bias before batch norm has it
WEIGHT_ROUNDING = 1e-5  # of a weight's norm


@dataclass(frozen=True)
class Step:
    """What one step on a device gives, on the CPU: the loss, and each parameter's gradient and change by name."""

    loss: Tensor
    gradients: dict[str, Tensor]
    changes: dict[str, Tensor]


def find_disagreement(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, device: torch.device) -> str:
    """Where one small float32 step of `model` on `device` differs from the CPU's beyond rounding; "" if nowhere.

    Compared are the loss, the gradient of every parameter, and, from equal gradients, what the optimisers make of
    every weight. The model is copied, not touched; dropout, which each device draws for itself, is left out.
    """
    x, y = x[:TRIED_IMAGES], y[:TRIED_IMAGES]
    expected = take_step(model, x, y, recipe, torch.device("cpu"))
    if is_random(model, x, y, recipe, expected.loss):
        return ""  # nothing of it can be compared
    found = take_step(model, x, y, recipe, device, gradients=expected.gradients)
    if not is_close(found.loss, expected.loss, scale=expected.loss.norm()):
        return f"the loss is {found.loss.item():.6g} there and {expected.loss.item():.6g} on the CPU"
    floor = NEGLIGIBLE * max(gradient.norm() for gradient in expected.gradients.values())
    for name, gradient in expected.gradients.items():
        if not is_close(found.gradients[name], gradient, scale=torch.maximum(gradient.norm(), floor)):
            return f"the gradient of {name} differs from the CPU's"
    weights = dict(model.named_parameters())
    for name, change in expected.changes.items():
        rounding = WEIGHT_ROUNDING / TOLERANCE * weights[name].detach().norm().cpu()
        if not is_close(found.changes[name], change, scale=change.norm() + rounding):
            return f"the updated {name} differs from the CPU's"
    return ""


def is_random(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, loss: Tensor) -> bool:
    """Whether the CPU disagrees with itself, as where dropout is called as a function, or blocks are skipped."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() % 2**63 + 1)
        again = take_step(model, x, y, recipe, torch.device("cpu"))
    return not is_close(again.loss, loss, scale=loss.norm())


def is_close(value: Tensor, reference: Tensor, *, scale: Tensor) -> bool:
    """Whether the difference's norm is within `TOLERANCE` of the scale; what is no number is not close."""
    return bool((value - reference).norm() <= TOLERANCE * scale)


def take_step(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    device: torch.device,
    *,
    gradients: dict[str, Tensor] | None = None,
) -> Step:
    """One step of a copy of the model on a device; with `gradients` the optimisers move by those instead."""
    layout = memory_format(device)
    model = copy.deepcopy(model).to(device).to(memory_format=layout).train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    x, y = x.to(device, memory_format=layout) if x.ndim == 4 else x.to(device), y.to(device)
    loss = functional.cross_entropy(model(x).float(), y, label_smoothing=recipe.label_smoothing)
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.grad is not None}
    own = {name: to_cpu(p.grad) for name, p in trained.items() if p.grad is not None}
    for name, parameter in trained.items():
        if gradients and name in gradients:
            parameter.grad = gradients[name].to(device)
    before = {name: to_cpu(p) for name, p in trained.items()}
    for optimizer in make_optimizers(model, recipe):
        optimizer.step()
    return Step(to_cpu(loss), own, {name: to_cpu(p) - before[name] for name, p in trained.items()})


def to_cpu(value: Tensor) -> Tensor:
    """A copy on the CPU, float32, outside autograd."""
    return value.detach().float().cpu().clone()
