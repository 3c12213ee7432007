"""What it costs to watch a training: `train_and_watch` beside `train_or_load`, in a notebook's kernel.

    python benchmarks/watching.py        # about five minutes; writes watching.json

The training is notebook 02's own: ResNet-18, two epochs of 10,000 images, with six looks at it. A cell's time holds
what else a student waits for: evaluation, recording and figures. In a training of five epochs of 55,000 images nine
looks take as long as nine of these, so their share is computed from the stored run's seconds.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from jupyter_client.manager import start_new_kernel
from measuring import spread, take_turns, write_result

from fmnist_lib.runs.checkpoint import Run

ROOT, RESULT = Path(__file__).parents[1], Path(__file__).with_suffix(".json")
TURNS, LOOKS, LONG_LOOKS = 5, 6, 9
CELL = """
import time
started = time.perf_counter()
run = {call}("resnet18", name="cost", images=10_000, epochs=2, fresh=True)
print("SECONDS", time.perf_counter() - started, run.seconds)
"""


def main() -> None:
    """Run the two cells in turns, in one kernel."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FMNIST_HOME"] = folder
        manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"])
        try:
            client.execute_interactive("from fmnist_lib.course import train_and_watch\nfrom fmnist_lib import *")
            calls = {call: run_cell(client, call) for call in ("train_or_load", "train_and_watch")}
            take_turns(calls, 1)  # the first time imports what the second finds
            times = take_turns(calls, TURNS)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    cells = {call: [cell for cell, _ in pairs] for call, pairs in times.items()}
    ratios = [with_it / alone for alone, with_it in zip(*cells.values(), strict=True)]
    looks = [(with_it - alone) / LOOKS for alone, with_it in zip(*cells.values(), strict=True)]
    stored = Run.load(ROOT / "checkpoints" / "resnet18-original").seconds
    figures = {
        "cell_seconds": {call: spread(seconds) for call, seconds in cells.items()},
        "training_seconds": spread([training for _, training in times["train_or_load"]]),
        "cell_ratio": spread(ratios),
        "seconds_per_look": spread(looks),
        "share_of_five_whole_epochs": round(LONG_LOOKS * spread(looks)["median"] / stored, 4),
    }
    write_result(RESULT, figures)
    print(RESULT.read_text())


def run_cell(client: object, call: str) -> Callable[[], tuple[float, float]]:
    """A function that runs the cell; the seconds that it took, and those of its training."""

    def run() -> tuple[float, float]:
        said: list[str] = []
        client.execute_interactive(  # type: ignore[attr-defined]
            CELL.format(call=call),
            timeout=600,
            output_hook=lambda message: said.append(str(nbformat.from_dict(message["content"]).get("text", ""))),
        )
        line = next(line for text in said for line in text.splitlines() if line.startswith("SECONDS"))
        cell, training = map(float, line.split()[1:])
        return cell, training

    return run


if __name__ == "__main__":
    sys.exit(main())
