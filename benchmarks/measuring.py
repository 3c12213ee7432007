"""What the benchmarks share: a clock, turns, spreads, tables, and results written as files."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from fmnist_lib import data
from fmnist_lib.files import write_atomically
from fmnist_lib.runs import machine

Result = TypeVar("Result")


def seconds(run: Callable[[], object]) -> float:
    """The time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def take_turns(runs: Mapping[str, Callable[[], Result]], turns: int) -> dict[str, list[Result]]:
    """Call each once a turn, so that all see the same machine; what each returned, turn by turn."""
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            results[name].append(run())
    return results


def spread(values: Sequence[float], *, digits: int = 4) -> dict[str, float]:
    """How many values there are, their median, the smallest and the largest."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {"n": len(values)} | {name: round(value, digits) for name, value in figures.items()}


def first_test_batches(images: int | None = None) -> Iterator[data.Pair]:
    """The test set in batches of 500, or the first batches of it, with at least so many images."""
    return itertools.islice(data.evaluation_batches("test"), None if images is None else -(-images // 500))


def write_result(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures and the machine as JSON; a reader finds the old file or the new one."""
    text = json.dumps(dict(figures) | {"machine": machine.describe(torch.device("cpu"))}, indent=2, ensure_ascii=False)
    write_atomically(path, lambda file: file.write(f"{text}\n".encode()))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as their longest entry, floats with four digits that count."""
    lines = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
