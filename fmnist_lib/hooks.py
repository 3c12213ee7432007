"""What can be looked at in a model, and forward hooks that come off again: what its layers give out.

Letters: N images, C channels, H height, W width.
"""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge


class UnknownLayer(ValueError):
    """A layer that the model does not have; the message lists those it has."""


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The submodule called `name`; one that is shared answers to each of its names. Raises UnknownLayer."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules or not name:
        raise UnknownLayer(f"unknown layer {name!r}: choose one of {', '.join(filter(None, modules))}")
    return modules[name]


def convolutions(model: nn.Module) -> dict[str, Any]:
    """The modules whose kernels can be recorded, by name."""
    return {name: m for name, m in name_modules(model) if isinstance(m, (nn.Conv1d, nn.Conv2d)) and is_real(m)}


def name_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module once, with its name; the model itself goes by its class."""
    return [(name or type(module).__name__, module) for name, module in model.named_modules()]


def is_real(module: nn.Module) -> bool:
    """Whether no parameter has complex numbers; `module.weight` is not asked, it may be computed when it is."""
    return not any(parameter.is_complex() for parameter in module.parameters())


def kernels_out_of_reach(model: nn.Module) -> dict[str, str]:
    """Modules that have kernels, or something like them, which cannot be recorded, each with the reason."""
    within, skipped = convolutions(model), {}
    for name, module in name_modules(model):
        weights = [parameter for key, parameter in module.named_parameters(recurse=False) if key == "weight"]
        has_kernels = isinstance(module, nn.modules.conv._ConvNd) or any(weight.ndim > 2 for weight in weights)
        if has_kernels and name not in within:
            skipped[name] = f"its kernels: {type(module).__name__} is no Conv1d or Conv2d of real numbers"
    return skipped if within else skipped | {"kernels": "the model has no Conv1d or Conv2d of real numbers"}


class Seen(dict[str, Tensor]):
    """Layer name -> what it gave out, a detached copy; (N, C, H, W) for images.

    With `capture(..., keep_graph=True)`, `edges` has the places of the outputs in the autograd graph:
    `torch.autograd.grad(score, seen.edges[name])` is the gradient by exactly what is in `seen[name]`, also where
    a later layer changed that tensor in place. An output that needs no gradient has no edge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edges: dict[str, GradientEdge] = {}


@contextmanager
def capture(model: nn.Module, layers: Iterable[str], *, keep_graph: bool = False) -> Iterator[Seen]:
    """Collect what each of `layers` gives out while the model runs inside the `with` block.

    A module that runs several times in a forward pass also fills `name#2`, `name#3` and so on; of several passes
    the last one stays. A layer that is not called, or gives out no tensor (a tuple, a dictionary), is missing.
    The model computes what it would without hooks, to the bit. Compiled models run eagerly inside the block, since
    compiled code knows nothing of later hooks. Every hook is gone when the block ends, however it ends.
    Raises UnknownLayer.
    """
    bare = unwrap(model)
    modules = {name: find_layer(bare, name) for name in layers}
    seen, calls = Seen(), dict[str, int]()

    def start_pass(*_: object) -> None:
        for record in (seen, seen.edges, calls):
            record.clear()

    handles = [bare.register_forward_pre_hook(start_pass)]
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(make_hook(name, seen, calls, keep_graph=keep_graph)))
        with run_eagerly():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def make_hook(
    name: str, seen: Seen, calls: dict[str, int], *, keep_graph: bool
) -> Callable[[nn.Module, object, object], None]:
    """A hook that files the output under `name`, and counts the calls of one pass."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor):
            return  # a tuple or a dictionary has no one picture
        calls[name] = calls.get(name, 0) + 1
        key = name if calls[name] == 1 else f"{name}#{calls[name]}"
        seen[key] = output.detach().clone()
        if keep_graph and output.requires_grad:
            seen.edges[key] = get_gradient_edge(output)

    return hook


@contextmanager
def leave_as_found(model: nn.Module) -> Iterator[nn.Module]:
    """Run anything on a model that must be the same afterwards; its randomness comes from a fixed seed.

    Inside the block the model works on copies of its parameters and buffers, so that the true ones are neither
    changed nor touched: values, `requires_grad`, `.grad`, the hooks of an optimiser or of a parallel wrapper. After
    it, however it ends, every submodule has its attributes (the train flag, a cached result, what its dictionaries
    held) as before, and every random generator stands where it stood. Yields the model without the wrappers of
    torch.compile and DataParallel, to be run eagerly. Raises TypeError for TorchScript, which holds its own state.
    """
    bare = unwrap(model)
    if any(isinstance(module, torch.jit.ScriptModule) for module in bare.modules()):
        raise TypeError("TorchScript cannot be looked into: take the nn.Module that it was made from")
    found = [(module, read_attributes(module)) for module in bare.modules()]
    try:
        lend_copies(bare)
        with fixed_random_state(bare), run_eagerly():
            yield bare
    finally:
        for module, attributes in found:
            restore_attributes(module, attributes)


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


def run_eagerly() -> AbstractContextManager[Any]:
    """A block in which compiled modules run the Python they were made from."""
    # Loading the compiler takes seconds; where nobody has loaded it, nothing is compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside torch.compile's, DataParallel's and DistributedDataParallel's wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if inner is None:
            return model
        model = inner
