"""What a layer holds and gives out: which of it is a picture, and its measures as rows of plain numbers.

Letters: N images, C channels, H height, W width, L length of a signal, K classes. In a row, a number that
does not exist (the mean of nothing, a norm that overflowed) is None.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fmnist_lib.visualisers.borrow import NotRecordable

BINS = 40  # of an activation histogram

Row = dict[str, Any]


def are_class_scores(scores: Tensor, labels: Tensor) -> bool:
    """Whether the scores are (N, K), K two or more, and the labels N of their K classes."""
    are_scores = scores.ndim == 2 and scores.shape[1] > 1
    are_labels = labels.shape == scores.shape[:1] and labels.dtype == torch.int64
    return are_scores and are_labels and int(labels.min()) >= 0 and int(labels.max()) < scores.shape[1]


Choice = int | str | Callable[[Any], Tensor]


def choose_output(output: Any, choice: Choice | None, *, labels: Tensor, num_classes: int | None) -> Tensor:
    """The tensor that a model is asked about: its scores.

    `choice` is a place, a key or attribute, or a function of all that the model gave out. Without it that is the one
    tensor that there is, else the one called "logits" or "out", else the one that has a score for each class of these
    labels. Raises NotRecordable, listing what there is, where that leaves a doubt.
    """
    if choice is not None:
        return take_output(output, choice)
    found = name_tensors(output)
    if not found:
        raise NotRecordable(
            f"the model gave out no tensor, but {type(output).__name__}: record a module that gives out scores"
        )
    if len(found) == 1:
        return next(iter(found.values()))
    for name in ("logits", "out"):
        if name in found:
            return found[name]
    scores = [tensor for tensor in found.values() if are_class_scores(tensor, labels.to(tensor.device))]
    fitting = [tensor for tensor in scores if tensor.shape[1] == num_classes] or scores
    if len(fitting) == 1:
        return fitting[0]
    raise NotRecordable(f"the model gives out {describe_outputs(found)}: say which are the scores with output=")


def name_tensors(output: Any) -> dict[Any, Tensor]:
    """The tensors that a model gave out, by key, by field or by place."""
    if hasattr(output, "_asdict"):
        output = output._asdict()
    if isinstance(output, (tuple, list)):
        output = dict(enumerate(output))
    values = output if isinstance(output, Mapping) else {0: output}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def take_output(output: Any, choice: Choice) -> Tensor:
    """What the user chose of a model's output. Raises NotRecordable."""
    try:
        if callable(choice):
            value = choice(output)
        else:
            value = getattr(output, choice) if isinstance(choice, str) and hasattr(output, choice) else output[choice]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NotRecordable(
            f"output={choice!r} is not there ({error}): the model gives out {describe_outputs(name_tensors(output))}"
        ) from error
    if not isinstance(value, Tensor):
        raise NotRecordable(f"output={choice!r} is {type(value).__name__} and no tensor")
    return value


def describe_outputs(found: Mapping[Any, Tensor]) -> str:
    """Name and shape of each tensor."""
    return ", ".join(f"{name!r} {tuple(tensor.shape)}" for name, tensor in found.items()) or "no tensor"


def differentiate(
    value: Tensor, inputs: Mapping[str, Tensor | GradientEdge], *, of: str, by: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The gradient of a scalar by the tensor of each layer, and for each layer without one the reason.

    A tensor may be given by its place in the autograd graph. `of` and `by` are what the reason calls the scalar and
    the tensors. No `.grad` is touched.
    """
    edges = {layer: x for layer, x in inputs.items() if isinstance(x, GradientEdge)}
    tensors = {layer: x for layer, x in inputs.items() if isinstance(x, Tensor) and x.requires_grad}
    asked = edges | {layer: get_gradient_edge(tensor) for layer, tensor in tensors.items()}
    reason = f"{of} does not depend on {by}, as autograd sees it"
    found: tuple[Tensor | None, ...] = (None,) * len(asked)
    if asked and value.requires_grad:
        try:
            found = torch.autograd.grad(value, list(asked.values()), allow_unused=True)
        except RuntimeError as error:  # such as checkpointing with use_reentrant=True
            reason = f"no gradient of {of} by {by}: {str(error).splitlines()[0]}"
    gradients = {layer: gradient for layer, gradient in zip(asked, found, strict=True) if gradient is not None}
    return gradients, {layer: reason for layer in inputs if layer not in gradients}


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Selvaraju et al. 2016 (arXiv:1610.02391), equations 1 and 2: (N, C, H, W) twice -> (N, 1, H, W), >= 0."""
    maps, gradients = maps.float(), gradients.float()
    axes = tuple(range(2, maps.ndim))
    return (maps * gradients.mean(axes, keepdim=True)).sum(1, keepdim=True).relu()


def weight_row(layer: str, epoch: float, weight: Tensor, *, gradient: Tensor, start: Tensor) -> Row:
    """Norms of a layer's weights and gradient, and how far it moved from `start`, relative to that one's norm."""
    weight, gradient = weight.detach().float(), gradient.float()
    start = start.to(weight)
    return {
        "layer": layer,
        "epoch": epoch,
        "weight_norm": number(weight.norm()),
        "gradient_norm": number(gradient.norm()),
        "movement": number((weight - start).norm() / start.norm().clamp(min=1e-12)),
    }


def map_row(layer: str, epoch: float, output: Tensor) -> Row:
    """Mean, deviation, share of zeros, dead channels and a histogram of a layer's output (N, C, ...).

    A channel is dead when it is zero for every image. Mean, deviation and the histogram, `BINS` counts between
    `low` and `high`, are over the finite values.
    """
    output = output.detach().float()
    finite, (low, high) = output, ends(output)
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = output[output.isfinite()]
        low, high = ends(finite)
    is_zero = output == 0
    return {
        "layer": layer,
        "epoch": epoch,
        "mean": number(finite.mean()),
        "std": number(finite.std()) if finite.numel() > 1 else None,
        "zeros": is_zero.sum().item() / is_zero.numel(),
        "dead": is_zero.transpose(0, 1).flatten(1).all(1).nonzero().flatten().tolist(),
        "low": low,
        "high": high,
        "histogram": torch.histc(finite.cpu(), BINS, low, high if high > low else low + 1).int().tolist(),
    }


def ends(values: Tensor) -> tuple[float, float]:
    """The smallest and the largest value, NaN where one is NaN, and zeros where there is none."""
    low, high = values.aminmax() if values.numel() else (0.0, 0.0)
    return float(low), float(high)


def number(value: Tensor) -> float | None:
    """A tensor's one value, None unless it is finite."""
    plain = float(value)
    return plain if math.isfinite(plain) else None
