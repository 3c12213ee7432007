"""What the lab hands out itself: its runs and its notebooks' cells, known by hashes in handed_out.json.

`python scripts/list_handed_out.py` writes that file; a test holds it to what lies in checkpoints/ and notebooks/.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FILE = Path(__file__).with_name("handed_out.json")
ORDER_STATISTICS = 16  # of each filter bank or matrix


@lru_cache(maxsize=1)
def handed_out() -> dict[str, Any]:
    """`runs`: name -> model, recipe, digest, fingerprint, accuracies; `notebooks`: name -> hashes of cells by id."""
    return json.loads(FILE.read_text())


def fingerprint(weights: dict[str, Tensor]) -> list[list[float]]:
    """Some order statistics of every filter bank and matrix, in units of its standard deviation, largest bank first.

    They stay what they are when channels are permuted or weights rounded to half precision; two trainings of one recipe
    differ in them, most in the ends.
    """
    names = sorted(
        (name for name in weights if weights[name].ndim > 1), key=lambda name: (-weights[name].numel(), name)
    )
    return [order_statistics(weights[name]) for name in names]


def order_statistics(bank: Tensor) -> list[float]:
    """Evenly spread ones, the least and the greatest among them, rounded to a thousandth of the standard deviation."""
    values = bank.flatten().float().sort().values
    places = torch.linspace(0, len(values) - 1, ORDER_STATISTICS).round().long()
    return [round(value, 3) for value in (values[places] / values.std().clamp(min=1e-12)).tolist()]


def source_hash(source: str) -> str:
    """A cell's text by hash; spaces at the ends of lines, and of the whole, do not count."""
    text = "\n".join(line.rstrip() for line in source.strip().splitlines())
    return hashlib.sha256(text.encode()).hexdigest()[:16]
