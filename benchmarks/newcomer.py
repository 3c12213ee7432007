"""What the README's two commands cost a newcomer: writes newcomer.json beside this file.

    python benchmarks/newcomer.py        # clones this repository into an empty folder, and runs them there

The times include what is downloaded and installed; how long that takes is the network's affair, and the data set and
packages may be in a cache already. So these are one machine's figures, n = 1. The seconds of a retraining are those
that the committed runs took.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from fmnist_lib.report.filled import COMPARED
from fmnist_lib.runs import machine
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import run_name

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).with_suffix(".json")


def timed(folder: Path, *command: str) -> float:
    """Run a command that must succeed; seconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    return round(time.perf_counter() - started, 1)


def megabytes(folder: Path) -> int:
    """The size of all files below a folder, links not followed."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1e6)


def main() -> None:
    """Clone, run both commands, and the first once more."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "lab"
        timed(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone))
        figures: dict[str, Any] = {"n": 1, "clone_megabytes": megabytes(clone)}
        figures["make_report_seconds"] = timed(clone, "make", "report")
        figures["make_report_again_seconds"] = timed(clone, "make", "report")
        figures["make_test_seconds"] = timed(clone, "make", "test")
        figures["environment_megabytes"] = megabytes(clone / ".venv")
    runs = [Run.load(ROOT / "checkpoints" / run_name(name, "original")) for name in COMPARED]
    figures["retraining_seconds"] = round(sum(run.seconds for run in runs))
    figures["machine"] = machine.describe(torch.device("cpu"))
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
