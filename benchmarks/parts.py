"""A network taken apart, and each of its modules timed alone, forward and backward.

torch.profiler is no help on this CPU: it makes every activation go through mmap, which makes a step several times as
long and moves the shares. So each module is timed by itself, on inputs of the shape, type and layout that it gets in
the network, and the times are added up.

Letters: N images, C channels, H height, W width.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fmnist_lib.models import ResidualBlock

SWEPT_BYTES = 1 << 26  # twice the 32 MiB of third-level cache
FAMILIES: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.Linear: "linear",
    nn.BatchNorm2d: "batch norm",
    nn.ReLU: "relu",
    nn.MaxPool2d: "pooling",
    nn.AdaptiveAvgPool2d: "pooling",
    nn.Dropout: "dropout",
}
MATRIX_FAMILIES = ("convolution", "linear")


class Addition(nn.Module):
    """What a shortcut costs: an addition, and backward that of the two branches' gradients.

    It adds its input to itself, so that autograd has two gradients to add, as at a block's entry.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x + x


@dataclass(frozen=True)
class Part:
    """A module and the input that it gets in a network; equal parts take equal time."""

    family: str
    text: str
    shape: tuple[int, ...]
    dtype: torch.dtype  # of the input; under autocast the first layer's is float32 all the same
    precision: str
    needs_gradient: bool  # the first layer's input, an image, does not
    module: nn.Module = field(compare=False)

    def forward_flops(self) -> int:
        """Two for every multiplication and addition of a convolution or linear layer; 0 for other parts."""
        if self.family not in MATRIX_FAMILIES:
            return 0
        with torch.no_grad():
            outputs = self.module(torch.zeros(self.shape)).numel()
        weight = self.module.get_parameter("weight")
        return 2 * outputs * weight[0].numel()  # every output is a sum over one row, or filter, of the weight

    def step_flops(self) -> int:
        """Forward and backward: once more for the weights' gradient, and once for the input's if it is needed."""
        return self.forward_flops() * (3 if self.needs_gradient else 2)


def find_parts(model: nn.Module, x: Tensor, *, precision: str) -> Counter[Part]:
    """How often each part occurs when `model`, in training mode and channels_last, sees a batch `x`."""
    parts: Counter[Part] = Counter()

    def note(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        first = arguments[0]
        is_block = isinstance(module, ResidualBlock)
        family = "addition" if is_block else FAMILIES[type(module)]
        about = output if is_block else first  # an addition has its result's shape
        part = Part(
            family=family,
            text="Addition()" if is_block else str(module),
            shape=tuple(about.shape),
            dtype=about.dtype,
            precision=precision,
            needs_gradient=first.requires_grad,
            module=Addition() if is_block else module,
        )
        parts[part] += 1

    wanted = (*FAMILIES, ResidualBlock)
    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, wanted)]
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return parts


@dataclass
class Timing:
    """Seconds of each repetition."""

    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    @property
    def both(self) -> list[float]:
        """Forward and backward together."""
        return [a + b for a, b in zip(self.forward, self.backward, strict=True)]

    def medians(self) -> tuple[float, float]:
        """Forward and backward."""
        return statistics.median(self.forward), statistics.median(self.backward)


class Bench:
    """One part on its bench, with an input of its own."""

    def __init__(self, part: Part) -> None:
        self.part, self.timing = part, Timing()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(part.shape, generator=generator).to(part.dtype)
        self.x = as_channels_last(x).requires_grad_(part.needs_gradient)
        self.wanted = [p for p in (self.x, *part.module.parameters()) if p.requires_grad]
        self.gradient = torch.ones_like(self.forward().detach())

    def forward(self) -> Tensor:
        """The part's output."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.part.precision == "bfloat16"):
            return self.part.module(self.x)

    def run(self, prepare: Callable[[Tensor], None]) -> None:
        """Time it once; `prepare` is called, untimed, with the tensor that comes in: before forward the input,
        before backward the output's gradient."""
        prepare(self.x)
        started = time.perf_counter()
        y = self.forward()
        self.timing.forward.append(time.perf_counter() - started)
        prepare(self.gradient)
        started = time.perf_counter()
        if self.wanted:
            torch.autograd.grad(y, self.wanted, self.gradient)
        self.timing.backward.append(time.perf_counter() - started)


def as_channels_last(x: Tensor) -> Tensor:
    """The layout of a network's activations; what is no image stays as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def leave_caches(_: Tensor) -> None:
    """The part is repeated on warm caches: what its arithmetic can do at best."""


def make_sweep() -> Callable[[Tensor], None]:
    """Bring the caches into the state that a network leaves: only the tensor that comes in was just written."""
    ballast = torch.zeros(SWEPT_BYTES // 4)

    def sweep(incoming: Tensor) -> None:
        ballast.add_(1)
        with torch.no_grad():
            incoming.mul_(1)

    return sweep


def time_parts(
    parts: Sequence[Part], *, repetitions: int, prepare: Callable[[Tensor], None] = leave_caches
) -> dict[Part, Timing]:
    """Time every part alone; the parts given together take turns, and the first turn does not count."""
    benches = [Bench(part) for part in parts]
    for turn in range(repetitions + 1):
        for bench in benches:
            bench.run(prepare)
            if turn == 0:
                bench.timing = Timing()
    return {bench.part: bench.timing for bench in benches}
