"""What a network would make of many machines: the time to exchange gradients beside the time to compute them.

A model, not a measurement. N machines like the one that was measured sum their gradients around a ring, as gloo and
NCCL do (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"). Nothing of
that is taken to overlap with computing, although DDP does overlap it, so the numbers are a pessimist's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MACHINES = (2, 4, 8, 16, 32, 64)
LATENCY = 50e-6  # seconds for a message from one machine to the next: assumed, about what TCP over Ethernet takes


def bytes_sent(gradient_bytes: int, machines: int) -> float:
    """What each sends in a step: every part of the gradients but one, twice."""
    return 2 * (machines - 1) / machines * gradient_bytes


@dataclass(frozen=True)
class Step:
    """A training step on one machine: seconds that do not depend on the batch, seconds an image, the global batch."""

    fixed: float
    per_image: float
    batch: int
    gradient_bytes: int

    def compute(self, machines: int = 1) -> float:
        """Seconds when the batch is divided among so many."""
        return self.fixed + self.per_image * self.batch / machines

    def exchange(self, machines: int, *, gigabits: float) -> float:
        """Seconds to sum the gradients: 2 (N - 1) messages one after the other, at so many Gbit/s."""
        sending = bytes_sent(self.gradient_bytes, machines) * 8 / (gigabits * 1e9)
        return sending + 2 * (machines - 1) * LATENCY

    def predict(self, gigabits: float) -> dict[str, Any]:
        """A row for each number of machines, and the first number whose exchange takes as long as computing does.

        `speedup` divides the global batch among the machines; `efficiency_same_batch_each` is the share of a step
        that is computing where each machine has a whole batch of its own.
        """

        def make_row(machines: int) -> dict[str, float]:
            exchange = self.exchange(machines, gigabits=gigabits)
            return {
                "machines": machines,
                "compute_ms": round(self.compute(machines) * 1e3, 2),
                "exchange_ms": round(exchange * 1e3, 2),
                "speedup": round(self.compute() / (self.compute(machines) + exchange), 2),
                "efficiency_same_batch_each": round(self.compute() / (self.compute() + exchange), 3),
            }

        def is_limit(machines: int) -> bool:
            return self.exchange(machines, gigabits=gigabits) >= self.compute(machines)

        limits = (machines for machines in range(2, self.batch + 1) if is_limit(machines))
        return {
            "gigabits": gigabits,
            "machines_at_limit": next(limits, None),  # none up to one image for each
            "rows": [make_row(machines) for machines in MACHINES],
        }


def fit_line(step_seconds: Mapping[int, float]) -> tuple[float, float]:
    """Fixed seconds and seconds an image out of a step's seconds by batch size, the relative errors least squares."""
    times: Sequence[float] = list(step_seconds.values())
    per_image, fixed = np.polyfit(list(step_seconds), times, 1, w=[1 / time for time in times])
    return max(0.0, float(fixed)), float(per_image)
