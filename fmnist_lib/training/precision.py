"""bf16 where it is right and fast, layer by layer, and fp32 everywhere else.

bf16 keeps fp32's range with 8 bits of precision, so that no loss scaling is needed. Not every kernel is sound:
pytorch#163347 reports wrong results for a convolution of one channel, pytorch#183815 some that are 4 to 16 times
slower. So every layer is tried before a training on the CPU.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fmnist_lib.training.evaluation import evaluation_mode

TOLERANCE = 0.02  # of the output's norm; bf16 rounds at 2**-9 = 0.002 an operation
SLOWER = 1.5  # a layer whose bf16 takes this many times as long as fp32 is kept in fp32
HOPELESS = 10  # times as long as fp32, as where bf16 is emulated, and a layer is not timed again
NOTICEABLE = 0.02  # of all layers' time; below it a layer's speed does not matter, and its timing is noise
REPETITIONS = 5
TRIED_IMAGES = 32


@dataclass(frozen=True)
class Plan:
    """What a training computes in: `mixed` says whether bf16 is used at all, `float32_layers` where it is not.

    `reason` says in words why.
    """

    mixed: bool
    float32_layers: tuple[str, ...] = ()
    reason: str = "the recipe asks for float32"

    def __str__(self) -> str:
        """What is computed in, and why: told when a training starts, and stored with the run."""
        return f"{'bfloat16' if self.mixed else 'float32'}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a state."""
        return asdict(self) | {"float32_layers": list(self.float32_layers)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Plan":
        """The plan that `as_dict` described."""
        return cls(**values | {"float32_layers": tuple(values["float32_layers"])})


@dataclass(frozen=True)
class Trial:
    """A layer in both precisions: relative error of bf16's output and gradients, best seconds of each."""

    layer: str
    error: float
    seconds: float
    float32_seconds: float

    def is_good(self, step_seconds: float) -> bool:
        """Whether bf16 may be used here: right, and not slow, unless it hardly counts in a step of that length."""
        is_slow = self.seconds > SLOWER * self.float32_seconds and self.seconds > NOTICEABLE * step_seconds
        return self.error <= TOLERANCE and not is_slow


def make_plan(model: nn.Module, x: Tensor, *, wanted: str) -> Plan:
    """Decide how to compute `model` on inputs like `x` (on the model's device). `wanted` is the recipe's precision.

    On CUDA bf16 is taken where the GPU has it, on MPS fp32 is kept; on a CPU that has bf16 every layer is tried.
    """
    if wanted == "float32":
        return Plan(mixed=False)
    kind = x.device.type
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return Plan(mixed=True, reason="this GPU has bf16")
    if kind != "cpu":
        return Plan(mixed=False, reason=f"no bf16 on this {kind} device")
    if not has_bf16():
        return Plan(mixed=False, reason="this processor has no bf16")
    trials = try_layers(model, x[:TRIED_IMAGES])
    if not trials:
        return Plan(mixed=False, reason="the model has no convolution or linear layer to compute in bf16")
    float32 = sum(trial.float32_seconds for trial in trials)
    bad = [trial.layer for trial in trials if not trial.is_good(float32)]
    untried = layers_of(model).keys() - {trial.layer for trial in trials}
    faster = sum(trial.float32_seconds if trial.layer in bad else trial.seconds for trial in trials)
    if faster > float32 * 0.95:
        return Plan(mixed=False, reason=f"bf16 saves nothing here: {faster:.2g} s a step, {float32:.2g} s in fp32")
    return Plan(
        mixed=True,
        float32_layers=(*bad, *sorted(untried)),
        reason=f"{len(trials) - len(bad)} of {len(trials)} layers right and fast in bf16; all layers together take "
        f"{faster / float32:.2f} of fp32's time",
    )


def has_bf16() -> bool:
    """Whether oneDNN computes in bf16 on this processor, and need not emulate it; True where it cannot be asked."""
    if not torch.backends.mkldnn.is_available():
        return True
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    return bool(ask())


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))}


def try_layers(model: nn.Module, x: Tensor) -> list[Trial]:
    """Every convolution and linear layer in both precisions, on the inputs that it gets for `x`."""
    inputs: dict[str, Tensor] = {}
    layers = layers_of(model)

    def keep(layer: nn.Module, args: tuple[Any, ...]) -> None:
        if args:  # a layer that is called by keyword stays untried, and in float32
            inputs[names[layer]] = args[0].detach()

    names = {layer: name for name, layer in layers.items()}
    handles = [layer.register_forward_pre_hook(keep) for layer in names]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the best of a few times stands even on a busy machine
    try:
        with evaluation_mode(model):  # running statistics and the random state stay as they are
            with torch.no_grad():
                model(x)
            return [try_layer(name, layers[name], inputs[name]) for name in inputs]
    finally:
        torch.set_num_threads(threads)
        for handle in handles:
            handle.remove()


def try_layer(name: str, layer: nn.Module, x: Tensor) -> Trial:
    """Forward and backward of one layer, in turns, the first time not counted."""
    x = x.requires_grad_()
    times: dict[bool, list[float]] = {False: [], True: []}
    results: dict[bool, list[Tensor]] = {}
    for repetition in range(REPETITIONS + 1):
        for mixed in times:
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                y = layer(x.to(torch.bfloat16) if mixed else x)
            learned = [parameter for parameter in layer.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(y, [x, *learned], torch.ones_like(y))
            times[mixed].append(time.perf_counter() - started)
            results[mixed] = [y.detach(), *gradients]
        if repetition and times[True][-1] > HOPELESS * times[False][-1]:
            break
    error = max(relative_error(a, b) for a, b in zip(results[True], results[False], strict=True))
    return Trial(name, error, min(times[True][1:]), min(times[False][1:]))


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Norm of the difference divided by the norm of the reference; infinite when something is no number."""
    error = (value.float() - reference).norm() / reference.norm().clamp(min=1e-12)
    return error.item() if torch.isfinite(error) else float("inf")


@contextmanager
def applied(plan: Plan, model: nn.Module) -> Iterator[None]:
    """Within it the plan's fp32 layers step out of autocast; on leaving the model is as it was found."""
    layers = [model.get_submodule(name) for name in plan.float32_layers]
    own = [vars(layer).get("forward") for layer in layers]  # a forward that somebody put on the layer itself
    for layer in layers:
        layer.forward = in_float32(layer.forward)
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def in_float32(forward: Any) -> Any:
    """The same forward pass, outside autocast."""

    def run(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    return run


def autocast(plan: Plan, device: torch.device) -> torch.autocast:
    """The context in which a forward pass and its loss are computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=plan.mixed)
