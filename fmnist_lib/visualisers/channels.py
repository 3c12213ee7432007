"""Which axis of a tensor holds the channels, followed through a forward pass.

Shapes alone cannot tell: (N, 8, 8, 4) may be four channels of 8x8 or eight of 8x4. So every operation on the way is
watched: a convolution says where channels are, a transposition moves them, an addition leaves them where they were.

Letters: N images, C channels, H height, W width, L length of a signal.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
Keywords = Mapping[str, Any]

AXES = {"NCHW": 1, "NHWC": 3, "NCL": 1, "NLC": 2}  # what a user may say -> the axis of the channels
# How many axes follow the channels in what these give out, whatever came in.
SPATIAL = {f"{name}{n}d": n for name in ("conv", "conv_transpose") for n in (1, 2, 3)}
SECOND = ("batch_norm", "group_norm", "instance_norm", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle")
LAST = ("linear", "layer_norm", "rms_norm", "embedding")  # the last axis, unless the input's channels are known
MOVING = ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t")
# What mixes axes, so that those of the result have another meaning.
MIXING = ("matmul", "__matmul__", "__rmatmul__", "bmm", "einsum", "tensordot", "scaled_dot_product_attention", "unfold")


class ChannelAxes(TorchFunctionMode):
    """Inside this block every floating-point tensor that an operation gives out knows where its channels are."""

    def __torch_function__(
        self, function: Function, types: object, args: Sequence[Any] = (), kwargs: Keywords | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        for output in tensors_in([result]):
            if output.ndim > 1 and output.is_floating_point():
                mark(output, find_axis(function, args, kwargs, output))
        return result


def mark(tensor: Tensor, axis: int | None) -> Tensor:
    """Note where a tensor's channels are; None where nobody knows."""
    tensor._channel_axis = axis  # type: ignore[attr-defined]
    return tensor


def channel_axis(tensor: Tensor) -> int | None:
    """The axis of the channels as noted by `ChannelAxes`, None where it is not known."""
    return getattr(tensor, "_channel_axis", None)


def find_axis(function: Function, args: Sequence[Any], kwargs: Keywords, output: Tensor) -> int | None:
    """Where the channels are in what an operation gave out."""
    name = getattr(function, "__name__", "")
    if name in SPATIAL:
        return output.ndim - SPATIAL[name] - 1
    if name in SECOND:
        return 1
    known = [tensor for tensor in tensors_in([*args, *kwargs.values()]) if channel_axis(tensor) is not None]
    if name in LAST:
        return output.ndim - 1 if not known else follow(known, output)
    if name in MIXING or not known:
        return None
    return moved(function, args, kwargs, known[0]) if name in MOVING or is_turned(function) else follow(known, output)


def is_turned(function: Function) -> bool:
    """Whether a property such as `Tensor.mT` is asked for, which turns axes round."""
    return getattr(getattr(function, "__self__", None), "__name__", "") in ("T", "mT", "H", "mH")


def moved(function: Function, args: Sequence[Any], kwargs: Keywords, tensor: Tensor) -> int | None:
    """The axis to which a transposition brings the channels, seen on a tensor whose sides are all different."""
    if not args or args[0] is not tensor:
        return None
    sides = range(2, tensor.ndim + 2)
    turned = function(torch.empty(*sides, device="meta"), *args[1:], **kwargs)
    return tuple(turned.shape).index(sides[channel_axis(tensor) or 0])


def follow(known: Iterable[Tensor], output: Tensor) -> int | None:
    """The channels stay where they were in an operand of as many axes; a reshaping is followed by counting."""
    operands = sorted(known, key=lambda tensor: tensor.shape != output.shape)  # before what was broadcast
    before = next((tensor for tensor in operands if tensor.ndim == output.ndim), operands[0])
    if before.shape != output.shape and before.numel() == output.numel():
        return reshaped(before, output)
    return channel_axis(before) if before.ndim == output.ndim else None


def reshaped(before: Tensor, after: Tensor) -> int | None:
    """The axis of the same size before which as many numbers lie, in row-major order; None if there is none."""
    axis = channel_axis(before) or 0
    size, ahead = before.shape[axis], math.prod(before.shape[:axis])
    return next((b for b in range(after.ndim) if after.shape[b] == size and math.prod(after.shape[:b]) == ahead), None)


def picture_axes(
    outputs: Mapping[str, Tensor], *, count: int, signals: bool, said: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, str]]:
    """Layer -> the axis of its channels, of those outputs that are a picture per image, and why the others are none.

    Pictures are (N, ...) of `count` images with one channel axis and two others, or among `signals` one other. `said`
    holds for some layers what the user says of them, a key of `AXES`.
    """
    axes, reasons = {}, {}
    for layer, output in outputs.items():
        axis = AXES[said[layer]] if layer in said else channel_axis(output)
        shape = f"its output {tuple(output.shape)}"
        if output.ndim not in (3, 4) or len(output) != count or not output.numel() or not output.is_floating_point():
            reasons[layer] = f"{shape}, {output.dtype}, is no picture per image"
        elif layer in said and len(said[layer]) != output.ndim:
            reasons[layer] = f"{shape} is not {said[layer]}"
        elif output.ndim == 3 and layer not in said and (axis == 2 or not signals):
            reasons[layer] = f"{shape} is no picture per image: tokens? layout='NLC' or 'NCL' shows them as signals"
        elif not axis:
            reasons[layer] = f"nobody knows which axis of {shape} has the channels: say layout='NCHW' or 'NHWC'"
        else:
            axes[layer] = axis
    return axes, reasons


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors among the values, also those in lists, tuples and dictionaries."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())
