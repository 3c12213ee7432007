"""What a step of Muon costs beside forward and backward pass: writes muon.json beside this file.

    python benchmarks/muon.py                    # two minutes where bf16 is emulated

The networks of recipe fast at its batch size, in the precision that `precision.make_plan` finds here. Our FilterMuon in
fp32 and in bf16 and torch.optim.Muon, which always computes in bf16, move the same weights by the same gradients, in
turns. Then a step of ours with filters stacked up to several sizes, of which `MOST_STACKED` is one.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from measuring import print_table, seconds, spread, take_turns, write_result
from torch import nn
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.training import optimizers, precision
from fmnist_lib.training.devices import keep_memory
from fmnist_lib.training.optimizers import NEWTON_SCHULZ_STEPS, FilterMuon, as_matrices
from fmnist_lib.training.recipes import find_recipe

MODELS = ("resnet18", "alexnet", "resnet34")
LIMITS = {"none": 0, "2^16": 2**16, "2^18": 2**18, "2^20": 2**20}  # numbers in the largest filter that is stacked
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
    muons = {
        str(dtype).removeprefix("torch."): FilterMuon(weights, lr=1e-3, weight_decay=0.0, momentum=0.95, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    steps: dict[str, Callable[[], object]] = {f"FilterMuon, {dtype}": muon.step for dtype, muon in muons.items()}
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
        "stacked_up_to_ms": {dtype: measure_limits(muon, turns=5 * turns) for dtype, muon in muons.items()},
    }


def measure_limits(muon: FilterMuon, *, turns: int) -> dict[str, Any]:
    """Milliseconds of a step, by the size up to which filters are stacked."""

    def step(limit: int) -> None:
        with mock.patch.object(optimizers, "MOST_STACKED", limit):
            muon.step()

    times = take_turns({name: partial(seconds, partial(step, limit)) for name, limit in LIMITS.items()}, turns)
    return {name: spread([1e3 * value for value in values], digits=2) for name, values in times.items()}


def main() -> None:
    """Measure each network, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--dataset", choices=list(data.VALIDATION), default="full")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    keep_memory()
    figures = {name: measure(name, turns=options.turns, dataset=options.dataset) for name in MODELS}
    write_result(options.out, {"networks": figures})
    rows = [
        (name, what, row["ms"]["median"], row["share_of_passes"])
        for name, figure in figures.items()
        for what, row in figure["times"].items()
    ]
    print_table(("network", "what", "ms", "share of forward and backward"), rows)
    limits = [
        (name, dtype, *(row["median"] for row in each.values()))
        for name, figure in figures.items()
        for dtype, each in figure["stacked_up_to_ms"].items()
    ]
    print_table(("network", "FilterMuon in", *(f"ms, up to {limit}" for limit in LIMITS)), limits)


if __name__ == "__main__":
    main()
