"""Following a forward pass: which module is being called, and which functions are called in its `forward`.

A function has no name of its own in a model, so it goes by the place where it is called: `F.relu(x)`, `torch.relu(x)`,
`x.relu()` and `x.relu_()` in the `forward` of the module `block1` are all `block1.relu`, in that of the model itself
`relu`. The second call there is `block1.relu_2`, the third `block1.relu_3`. Where a module already has such a name, the
function's gets one more `_` at its end. What torch's own layers (`nn.ReLU`) call inside is no place.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

# An activation is a function that is called what torch calls one of its activation modules: `leaky_relu`, `LeakyReLU`.
ACTIVATIONS = frozenset(name.lower() for name in nn.modules.activation.__all__)
REFLECTED = ("radd", "rsub", "rmul", "rdiv", "rmatmul", "rpow", "rfloordiv", "rmod")  # such as 1 - x


class Frame(NamedTuple):
    """A module that is being called, its name, and how often each function has been called in it."""

    module: nn.Module
    name: str
    counts: Counter[str]


class Walk(TorchFunctionMode):
    """Inside this block a model is followed; its hooks are gone when the block ends, however it ends.

    A subclass says what it does when a module is entered and left, and with each function that is called in a place.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.modules = dict(model.named_modules())
        self.taken = {name for name, _ in model.named_modules(remove_duplicate=False)}
        self.frames: list[Frame] = []
        self._handles: list[RemovableHandle] = []
        self._is_paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose functions are none of the model's, such as what a hook does."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def entering(self, name: str, module: nn.Module, inputs: tuple[Any, Any]) -> None:
        """A module is about to be called with `inputs`, its arguments and keywords."""

    def leaving(self, name: str, module: nn.Module, output: Any) -> Any:
        """A module has given out `output`, or has failed; what is returned takes its place, unless it is None."""

    def calling(self, place: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A function is called in a place: call it, and return what it gives out."""
        return function(*args, **kwargs)

    def __enter__(self) -> Any:
        for name, module in self.modules.items():
            self._handles += [
                module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True),
                module.register_forward_hook(partial(self._leave, name), with_kwargs=True, always_call=True),
            ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if module is self.model:
            self.frames.clear()  # another pass, after one that perhaps failed
        self.frames.append(Frame(module, name, Counter()))
        with self.paused():
            self.entering(name, module, (args, kwargs))

    def _leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        self.frames.pop()
        with self.paused():
            return self.leaving(name, module, output)

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if self._is_paused or not self.frames or is_layer_of_torch(self.frames[-1].module):
            return function(*args, **(kwargs or {}))
        return self.calling(self._place(name_function(function)), function, args, kwargs or {})

    def _place(self, function: str) -> str:
        """The name of the place where a function is called now."""
        _, name, counts = self.frames[-1]
        counts[function] += 1
        number = f"_{counts[function]}" if counts[function] > 1 else ""
        place = f"{name}.{function}{number}" if name else f"{function}{number}"
        while place in self.taken:
            place += "_"
        return place


class FunctionWalk(Walk):
    """Hands over what functions give out, by their places: those `wanted`."""

    def __init__(self, model: nn.Module, wanted: Callable[[str], bool], file: Callable[[str, Tensor], object]) -> None:
        super().__init__(model)
        self.wanted, self.file = wanted, file

    def calling(self, place: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = function(*args, **kwargs)
        if isinstance(output, Tensor) and self.wanted(place):
            self.file(place, output)
        return output


def is_activation(place: str) -> bool:
    """Whether the function that is called in a place is an activation."""
    return function_of(place).replace("_", "") in ACTIVATIONS


def is_layer_of_torch(module: nn.Module) -> bool:
    """Whether a module is one of torch's own layers, with no other module inside."""
    is_torchs = type(module).__module__.startswith(("torch.nn.", "torch.ao."))
    return is_torchs and all(name == "parametrizations" for name, _ in module.named_children())


def name_function(function: Callable[..., Any]) -> str:
    """A function's plain name: `relu` for `Tensor.relu_`, `sub` for `1 - x`, `mT` for `x.mT`."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":
        return getattr(getattr(function, "__self__", None), "__name__", name)
    name = name.strip("_")
    return name[1:] if name in REFLECTED else name


def function_of(place: str) -> str:
    """The function that is called in a place."""
    return re.sub(r"(?<=[^_])(_\d+)?_*$", "", place.rpartition(".")[2])


def may_be_place(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a function of torch could be called in a module under this name."""
    module, function = name.rpartition(".")[0], function_of(name)
    homes = (Tensor, torch, nn.functional)
    is_function = any(hasattr(home, form) for home in homes for form in (function, f"__{function}__"))
    return is_function and not function.startswith("_") and module in modules
