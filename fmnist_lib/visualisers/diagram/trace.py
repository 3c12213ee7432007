"""What a forward pass does: every layer and function that was called, in order, and which tensor went where.

Nothing is guessed. A tensor carries the part that made it, so that a part's sources are those that made what it was
given; what a part changes in place counts as made by it from then on.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fmnist_lib.visualisers.borrow import leave_as_found
from fmnist_lib.visualisers.channels import tensors_in
from fmnist_lib.visualisers.hooks import find_separator
from fmnist_lib.visualisers.recorder import Inputs, as_tensor, name_inputs, prepare
from fmnist_lib.visualisers.walk import Walk, function_of

# What takes a tensor for its shape alone: nothing of its values goes on.
LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like")
SHAPE_ONLY = (*LIKE, "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor")
MOST_SHAPES = 3  # of what one part gives out
FUNCTION = "function"


@dataclass(eq=False)
class Part:
    """A box of the diagram: a layer, a function, an input, the output, or a module with `parts` inside.

    `name` is a recorder's name for it, `label` what it is called inside its module, `shape` that of what it gave out.
    `sources` made what a part without parts was given.
    """

    name: str
    label: str
    kind: str
    detail: str = ""
    shape: str = ""
    parameters: int = 0
    is_again: bool = False  # called before: its parameters are counted there
    sources: list["Part"] = field(default_factory=list)
    parts: list["Part"] = field(default_factory=list)
    error: str = ""

    def leaves(self) -> Iterator["Part"]:
        """The parts without parts, in the order of the calls."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def trace(model: nn.Module, inputs: Inputs) -> Part:
    """Call a model once in evaluation mode; what it did, up to where it failed.

    `inputs` are in a sequence, or in a dictionary by keyword. The model is left as it was found. Raises NotRecordable
    for one that cannot be looked into.
    """
    with torch.inference_mode(False), torch.no_grad(), leave_as_found(model) as bare:
        bare.eval()
        given = {key: prepare(bare, as_input(value)) for key, value in name_inputs(inputs)}
        seen = Trace(bare)
        seen.add_inputs(given)
        try:
            with seen:
                output = bare(**given) if isinstance(inputs, Mapping) else bare(*given.values())
            seen.add_output(output)
        except Exception as failure:  # a model's code may raise anything
            seen.fail(failure)
    root = seen.root(type(bare).__name__)
    root.parameters = count_parameters(bare)
    return root


def as_input(value: Any) -> Any:
    """An array as a tensor; other inputs, such as a number, as they are."""
    return as_tensor(value) if hasattr(value, "__array__") else value


Given = list[tuple[Tensor, int]]  # tensors, each with its counter of changes


class Trace(Walk):
    """Follows one forward pass, and makes a part of whatever is called, also of a pass that fails."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.separator = find_separator(model)
        self.calls: dict[str, int] = {}
        self.top = Part("", "", "")
        self.open: list[tuple[Part, Given]] = [(self.top, [])]  # what is being called, the innermost last
        self.failed: tuple[Part, Given] | None = None  # what has failed last, unless the model went on

    def root(self, kind: str) -> Part:
        """All that was seen: the inputs, what the model called (or itself, if that is nothing), and the output."""
        parts = [inner for part in self.top.parts for inner in (part.parts if part.parts else [part])]
        return Part("", kind, kind, parts=parts)

    def add_inputs(self, inputs: Mapping[Any, Any]) -> None:
        """The tensors that the model is called with are the first parts."""
        for key, value in inputs.items():
            for tensor in tensors_in([value]):
                give_out(self._add("", f"input {key}" if len(inputs) > 1 else "input", kind="", given=[]), [tensor])

    def add_output(self, output: Any) -> None:
        """What the model gave out is the last part."""
        part = self._add("", "output", kind="", given=watch(output))
        part.shape = describe_shapes(output)

    def entering(self, name: str, module: nn.Module, inputs: tuple[Any, Any]) -> None:
        given = watch(inputs)
        part = self._add(name, self._label(name, 2) or type(module).__name__, kind=describe_kind(module), given=given)
        part.detail, part.parameters = " ".join(module.extra_repr().split()), count_parameters(module)
        self.open.append((part, given))

    def leaving(self, name: str, module: nn.Module, output: Any) -> Any:
        part, given = self.open.pop()
        if output is None and sys.exc_info()[1] is not None:
            self.failed = self.failed or (part, given)
            return None
        part.shape = describe_shapes(output)
        if part.parts:
            return None
        changed = list(find_changed(given))
        if isinstance(output, Tensor) and any(output is tensor for tensor, _ in given) and not changed:
            output = output.detach()  # handed on as it is: what came in must not seem to come from here
        give_out(part, [*tensors_in([output]), *changed])
        return output

    def calling(self, place: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        given = watch([*args, *kwargs.values()])
        try:
            output = function(*args, **kwargs)
        except Exception:
            self.failed = self._add(place, self._label(place, 1), kind=FUNCTION, given=given), given
            raise
        changed = list(find_changed(given))
        made = [tensor for tensor in tensors_in([output]) if not any(tensor is other for other, _ in given)]
        is_of_data = any(source(tensor) for tensor, _ in given) and function_of(place) not in SHAPE_ONLY
        if is_of_data and (made or changed):
            part = self._add(place, self._label(place, 1), kind=FUNCTION, given=given)
            part.shape = describe_shapes(output if made else changed)
            give_out(part, [*made, *changed])
        return output

    def fail(self, error: Exception) -> None:
        """Mark what was being called when the model failed, and say in words what happened."""
        part, given = self.failed or self.open[-1]
        if part.parts or part is self.top:  # between what it calls
            part.parts.append(Part("", f"code of {part.kind or type(self.model).__name__}", ""))
            part = part.parts[-1]
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        shapes = describe_shapes([tensor for tensor, _ in given])
        part.error = f"failed{f', given {shapes}' if shapes else ''}. {reason}"

    def _label(self, name: str, caller: int) -> str:
        """A name without that of the module that calls it, the `caller`th of the frames from the end."""
        return name.removeprefix(f"{self.frames[-caller].name}." if len(self.frames) >= caller else "")

    def _add(self, name: str, label: str, *, kind: str, given: Given) -> Part:
        self.failed = None
        self.calls[name] = self.calls.get(name, 0) + 1
        is_again = bool(name) and self.calls[name] > 1
        part = Part(f"{name}{self.separator}{self.calls[name]}" if is_again else name, label, kind, is_again=is_again)
        part.sources = list(dict.fromkeys(made for tensor, _ in given if (made := source(tensor))))
        self.open[-1][0].parts.append(part)
        return part


def source(tensor: Tensor) -> Part | None:
    """The part that made a tensor; None for a weight, or a constant."""
    return getattr(tensor, "_made_by", None)


def give_out(part: Part, tensors: Iterable[Tensor]) -> None:
    """Mark tensors as made by a part, and what they are views of, since a change of the one is one of the other."""
    shape = []
    for tensor in tensors:
        shape.append(tensor)
        tensor._made_by = part  # type: ignore[attr-defined]
    part.shape = part.shape or describe_shapes(shape)


def watch(values: Any) -> Given:
    """The tensors among the values, each with its counter of changes, of which those of inference mode have none."""
    return [(tensor, version(tensor)) for tensor in tensors_in([values])]


def version(tensor: Tensor) -> int:
    """How often a tensor was changed in place."""
    return -1 if tensor.is_inference() else tensor._version


def find_changed(given: Given) -> Iterator[Tensor]:
    """The tensors that were changed since they were watched, and what those that are views are views of."""
    for tensor, before in given:
        if version(tensor) != before:
            yield from (each for each in (tensor, tensor._base) if each is not None)


def describe_shapes(values: Any) -> str:
    """The shapes of all tensors among the values, such as 1x64x56x56."""
    shapes = ["x".join(map(str, tensor.shape)) or "a number" for tensor in tensors_in([values])]
    more = f" and {len(shapes) - MOST_SHAPES} more" if len(shapes) > MOST_SHAPES else ""
    return ", ".join(shapes[:MOST_SHAPES]) + more


def describe_kind(module: nn.Module) -> str:
    """A layer's class, with its kernel and its stride where it has some, such as Conv2d 3x3, stride 2."""
    words, is_flat = type(module).__name__, type(module).__name__.endswith("2d")
    sides = {name: getattr(module, name, None) for name in ("kernel_size", "stride")}
    plain = {name: (side,) * (1 + is_flat) if isinstance(side, int) else side for name, side in sides.items()}
    kernel, stride = (side if isinstance(side, tuple) else () for side in plain.values())
    words += f" {'x'.join(map(str, kernel))}" if kernel else ""
    return words + (f", stride {'x'.join(map(str, dict.fromkeys(stride)))}" if set(stride) - {1} else "")


def count_parameters(module: nn.Module) -> int:
    """The numbers that a module learns, each parameter once."""
    return sum(parameter.numel() for parameter in module.parameters())
