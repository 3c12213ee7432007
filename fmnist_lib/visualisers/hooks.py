"""What can be looked at in a model, and forward hooks that come off again: what its layers give out.

Letters: N images, C channels, H height, W width.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fmnist_lib.errors import LabError
from fmnist_lib.visualisers.walk import FunctionWalk, may_be_place


class UnknownLayer(LabError):
    """A layer that the model does not have; the message lists those it has."""


def check_layer(model: nn.Module, name: str) -> None:
    """Raise UnknownLayer unless `name` is a module's, or may be that of a place where a function is called."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if not name or (name not in modules and not may_be_place(name, modules)):
        raise UnknownLayer(
            f"unknown layer {name!r}: choose one of {', '.join(filter(None, modules))}, or a function by where it is "
            "called, such as relu or block1.relu"
        )


def list_names(names: str | Iterable[str]) -> list[str]:
    """One name, or each of several once."""
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


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
        skipped |= {
            f"{name}.{key}": "modules in a plain list or dictionary are no part of the model: use nn.ModuleList"
            for key, value in vars(module).items()
            if not key.startswith("_") and holds_modules(value)
        }
    return skipped if within else skipped | {"kernels": "the model has no Conv1d or Conv2d of real numbers"}


def holds_modules(value: object) -> bool:
    """Whether a list, a tuple or a dictionary has modules in it, which torch does not see there."""
    values = list(value.values()) if isinstance(value, dict) else value
    return isinstance(values, (list, tuple)) and any(isinstance(item, nn.Module) for item in values)


class Seen(dict[str, Tensor]):
    """Layer name -> what it gave out, a detached copy; (N, C, H, W) for images.

    `layers` tells which layer a name belongs to, where one was called more than once.
    With `capture(..., keep_graph=True)`, `edges` has the places of the outputs in the autograd graph:
    `torch.autograd.grad(score, seen.edges[name])` is the gradient by exactly what is in `seen[name]`, also where
    a later layer changed that tensor in place. An output that needs no gradient has no edge.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edges: dict[str, GradientEdge] = {}
        self.layers: dict[str, str] = {}


@contextmanager
def capture(model: nn.Module, layers: str | Iterable[str], *, keep_graph: bool = False) -> Iterator[Seen]:
    """Collect what each of `layers` gives out while the model runs inside the `with` block.

    A layer is a module, or a function by the place where it is called, such as `block1.relu` (see `walk`).
    What runs several times in a forward pass also fills `name#2`, `name#3` and so on (`name##2` in a model
    with a `#` in its names); of several passes the last one stays. A layer that is not called, or gives out no tensor
    (a tuple, a dictionary), is missing.
    The model computes what it would without hooks, to the bit. Compiled models run eagerly inside the block, since
    compiled code knows nothing of later hooks. Every hook is gone when the block ends, however it ends.
    Raises UnknownLayer.
    """
    bare = unwrap(model)
    names = list_names(layers)
    for name in names:
        check_layer(bare, name)
    every = dict(bare.named_modules(remove_duplicate=False))
    modules = {name: every[name] for name in names if name in every}
    places = [name for name in names if name not in every]
    seen, calls = Seen(), dict[str, int]()
    separator = find_separator(bare)

    def start_pass(*_: object) -> None:
        for record in (seen, seen.edges, seen.layers, calls):
            record.clear()

    def file(name: str, output: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        key = name if calls[name] == 1 else f"{name}{separator}{calls[name]}"
        seen[key], seen.layers[key] = output.detach().clone(), name
        if keep_graph and output.requires_grad:
            seen.edges[key] = get_gradient_edge(output)

    def file_module(name: str, output: Tensor) -> None:
        with walk.paused():
            file(name, output)

    walk = FunctionWalk(bare, places.__contains__, file)
    handles = [bare.register_forward_pre_hook(start_pass)]
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(make_hook(name, file_module)))
        with run_eagerly(), walk if places else nullcontext():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def find_separator(model: nn.Module) -> str:
    """What stands between a layer's name and the number of its call: `#`, longer where a name has one already."""
    separator = "#"
    while any(separator in name for name, _ in model.named_modules()):
        separator += "#"
    return separator


def make_hook(name: str, file: Callable[[str, Tensor], None]) -> Callable[[nn.Module, object, object], None]:
    """A hook that files a layer's output under its name; a tuple or a dictionary has no one picture."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            file(name, output)

    return hook


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
