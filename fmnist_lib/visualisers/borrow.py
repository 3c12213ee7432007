"""Borrowing a model: whatever is done to it inside the block, it is afterwards as it was found."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from fmnist_lib.errors import LabError
from fmnist_lib.visualisers.hooks import run_eagerly, unwrap


class NotRecordable(LabError):
    """A model, or what a recorder was given for it, that cannot be looked into; the message says why."""


@contextmanager
def leave_as_found(model: nn.Module) -> Iterator[nn.Module]:
    """Run anything on a model that must be the same afterwards; its randomness comes from a fixed seed.

    Inside the block the model works on copies of its parameters and buffers, so that the true ones are neither
    changed nor touched: values, `requires_grad`, `.grad`, the hooks of an optimiser or of a parallel wrapper. After
    it, however it ends, every submodule has its attributes (the train flag, a cached result, what its dictionaries
    held) as before, and every random generator stands where it stood. Yields the model without the wrappers of
    torch.compile and DataParallel, to be run eagerly. Raises NotRecordable, see `refuse_what_cannot_run`.
    """
    bare = unwrap(model)
    refuse_what_cannot_run(bare)
    found = [(module, read_attributes(module)) for module in bare.modules()]
    try:
        lend_copies(bare)
        with fixed_random_state(bare), run_eagerly():
            yield bare
    finally:
        for module, attributes in found:
            restore_attributes(module, attributes)


METHODS = ("modules", "named_modules", "parameters", "named_parameters", "buffers", "named_buffers", "train", "eval")


def refuse_what_cannot_run(model: nn.Module) -> None:
    """Raise NotRecordable for a model that cannot be looked into as it is, with what to do about it."""
    if not isinstance(model, nn.Module):
        raise NotRecordable(f"a {type(model).__name__} is no nn.Module: give the model itself")
    if any(is_exported(module) for module in nn.Module.modules(model)):
        raise NotRecordable("what torch.export made has no modes: take the nn.Module that it was made from")
    for name in METHODS:
        if name in vars(model) or name in model._modules or name in model._parameters:
            raise NotRecordable(f"the model's attribute {name!r} hides nn.Module.{name}: give it another name")
    modules = list(model.modules())
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise NotRecordable("TorchScript cannot be looked into: take the nn.Module that it was made from")
    tensors = [*model.parameters(), *model.buffers()]
    if any(torch.nn.parameter.is_lazy(tensor) for tensor in tensors):
        raise NotRecordable("the model has lazy modules without weights yet: call it once, then look into it")
    if any(tensor.is_meta for tensor in tensors):
        raise NotRecordable("the model is on the meta device and has no weights: load them, or move it with to_empty")


def is_exported(module: nn.Module) -> bool:
    """Whether `torch.export` made this module, which refuses `train()` and `eval()`."""
    return isinstance(module, torch.fx.GraphModule) and "train" in vars(module)


@contextmanager
def borrow(model: nn.Module) -> Iterator[nn.Module]:
    """The bare model with gradients flowing to all its parameters, whatever the caller is in the middle of.

    Each pass borrows it anew: a pass in training mode moves batch norm's running statistics, which a pass in
    evaluation mode must not see.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(find_device(model).type, enabled=False),
        leave_as_found(model) as bare,
    ):
        learn_all(bare)
        yield bare


def learn_all(model: nn.Module) -> None:
    """Let gradients flow to all parameters, frozen ones too: a frozen layer's gradient is worth seeing."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)


def find_device(model: nn.Module) -> torch.device:
    """Where a model takes its input: where its first parameter lies."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


Attributes = list[tuple[str, Any, dict[Any, Any] | None]]


def read_attributes(module: nn.Module) -> Attributes:
    """Name and value of each attribute, and the content of those that are dictionaries, such as `_buffers`."""
    return [(name, value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()]


def restore_attributes(module: nn.Module, attributes: Attributes) -> None:
    """Bring back what `read_attributes` saw, each dictionary as the same object."""
    vars(module).clear()
    for name, value, content in attributes:
        vars(module)[name] = value
        if content is not None:
            value.clear()
            value.update(content)


def lend_copies(model: nn.Module) -> None:
    """Put a copy in the place of every parameter and buffer; one that is shared stays shared."""
    parameters = {p: nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad) for p in model.parameters()}
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            module._parameters[name] = parameters[parameter]
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            module._buffers[name] = buffers[buffer]


@contextmanager
def fixed_random_state(model: nn.Module) -> Iterator[None]:
    """Let torch (on the CPU and the model's devices), numpy and `random` draw from a fixed seed, and forget it."""
    generators = [torch.default_generator, *device_generators(model)]
    states = [generator.get_state() for generator in generators]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        for generator in generators:  # torch.manual_seed would seed devices that are not in `states`
            generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def device_generators(model: nn.Module) -> list[torch.Generator]:
    """The random generators of the accelerators that the model lies on."""
    devices = {parameter.device for parameter in model.parameters()}
    found = [torch.mps._get_default_mps_generator() for device in devices if device.type == "mps"]
    for device in devices:
        if device.type in ("cuda", "xpu"):
            found.append(torch.get_device_module(device).default_generators[device.index])
    return found
