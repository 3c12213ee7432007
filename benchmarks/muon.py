"""What a step of Muon costs beside forward and backward pass: writes muon.json beside this file.

    python benchmarks/muon.py                    # two minutes where bf16 is emulated

The networks of recipe fast at its batch size, in the precision that `precision.make_plan` finds here. Our FilterMuon in
fp32 and in bf16 and torch.optim.Muon, which always computes in bf16, move the same weights by the same gradients, in
turns. Then filters of one size alone, orthogonalised as a stack and one by one: from which size on a stack does not
pay, which is what `MOST_STACKED` says.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import print_table, seconds, spread, take_turns, write_result
from torch import nn
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.training import precision
from fmnist_lib.training.devices import keep_memory
from fmnist_lib.training.optimizers import NEWTON_SCHULZ_STEPS, FilterMuon, as_matrices, orthogonalise
from fmnist_lib.training.recipes import find_recipe

MODELS = ("resnet18", "alexnet", "resnet34")
CHANNELS = (16, 32, 64, 128, 256)  # in and out, of the filters that are stacked: 3x3, so 2,304 to 589,824 numbers
STACKED = 4  # a stage of ResNet-18 has so many of one size, or one less
RESULT = Path(__file__).with_suffix(".json")


def make_passes(model: nn.Module, x: torch.Tensor, y: torch.Tensor, plan: precision.Plan) -> Callable[[], object]:
    """A function that passes a batch forward and backward, which leaves gradients."""

    def run() -> None:
        model.zero_grad()
        with precision.autocast(plan, x.device):
            loss = functional.cross_entropy(model(x).float(), y)
        loss.backward()

    return run


def make_torch_muon(weights: list[nn.Parameter]) -> torch.optim.Muon:
    """torch's own over copies of the weights as matrices, with their gradients."""
    matrices = [nn.Parameter(as_matrices([weight.detach()])[0]) for weight in weights]
    for matrix, weight in zip(matrices, weights, strict=True):
        assert weight.grad is not None
        matrix.grad = as_matrices([weight.grad])[0]
    return torch.optim.Muon(matrices, lr=1e-3, adjust_lr_fn="match_rms_adamw", ns_steps=NEWTON_SCHULZ_STEPS)


def measure(name: str, *, turns: int, dataset: str) -> dict[str, Any]:
    """Milliseconds of each for one network, and each optimiser's share of forward and backward pass."""
    recipe = find_recipe("fast", name)
    model = models.build_seeded(name, 0, **recipe.overrides).to(memory_format=torch.channels_last).train()
    x, y = next(data.batches(dataset=dataset, batch_size=recipe.batch_size).train(1))
    x = x.contiguous(memory_format=torch.channels_last)
    plan = precision.make_plan(model, x, wanted=recipe.precision)
    passes = make_passes(model, x, y, plan)
    passes()
    weights = [p for p in model.parameters() if p.ndim > 1][:-1]
    steps: dict[str, Callable[[], object]] = {
        f"FilterMuon, {str(dtype).removeprefix('torch.')}": FilterMuon(
            weights, lr=1e-3, weight_decay=0.0, momentum=0.95, dtype=dtype
        ).step
        for dtype in (torch.float32, torch.bfloat16)
    }
    steps["torch.optim.Muon"] = make_torch_muon(weights).step
    for step in steps.values():
        step()  # the first makes the buffers
    runs = {"forward and backward": passes} | steps
    with precision.applied(plan, model):
        times = take_turns({what: partial(seconds, run) for what, run in runs.items()}, turns)
    whole = statistics.median(times["forward and backward"])
    return {
        "plan": plan.reason,
        "batch_size": recipe.batch_size,
        "times": {
            what: {
                "ms": spread([1e3 * value for value in values], digits=2),
                "share_of_passes": round(statistics.median(values) / whole, 3),
            }
            for what, values in times.items()
        },
    }


def measure_stack(channels: int, dtype: torch.dtype, *, turns: int) -> dict[str, Any]:
    """Milliseconds for a stack of filters, and for the same one by one, in turns."""
    stack = torch.randn(STACKED, channels, 9 * channels, generator=torch.Generator().manual_seed(0)).to(dtype)
    runs = {"together": lambda: orthogonalise(stack), "one by one": lambda: [*map(orthogonalise, stack.split(1))]}
    times = take_turns({how: partial(seconds, run) for how, run in runs.items()}, turns)
    ratios = [together / alone for together, alone in zip(*times.values(), strict=True)]
    return {
        "numbers": 9 * channels**2,
        "dtype": str(dtype).removeprefix("torch."),
        "ms": {how: spread([1e3 * value for value in values], digits=3) for how, values in times.items()},
        "together_by_one_by_one": spread(ratios, digits=2),
    }


def main() -> None:
    """Measure each network and each size of filter, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--dataset", choices=list(data.VALIDATION), default="full")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    keep_memory()
    figures = {name: measure(name, turns=options.turns, dataset=options.dataset) for name in MODELS}
    dtypes = (torch.float32, torch.bfloat16)
    stacks = [measure_stack(size, dtype, turns=10 * options.turns) for dtype in dtypes for size in CHANNELS]
    write_result(options.out, {"networks": figures, "stacks": stacks})
    rows = [
        (name, what, row["ms"]["median"], row["share_of_passes"])
        for name, figure in figures.items()
        for what, row in figure["times"].items()
    ]
    print_table(("network", "what", "ms", "share of forward and backward"), rows)
    ratios = [(row["dtype"], row["numbers"], row["together_by_one_by_one"]["median"]) for row in stacks]
    print_table(("filters in", "numbers in each", "time of a stack, by that of one by one"), ratios)


if __name__ == "__main__":
    main()
