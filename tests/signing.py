"""Changing a stored run with every checksum right again, as a forger would who has read this library."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from fmnist_lib.runs import storage
from fmnist_lib.runs.checkpoint import RECORDING, WEIGHTS, Run

Weights = dict[str, Tensor]


def edit_run(path: Path, change: Callable[[dict[str, Any]], object], *, signed: bool = True) -> None:
    """Change the content of the run.json in a run's folder."""
    content = json.loads((path / "run.json").read_text())
    change(content)
    if signed and "sha256" in content:
        content["sha256"] = storage.digest_json(content)
    (path / "run.json").write_text(json.dumps(content))


def reweigh(path: Path, change: Callable[[Weights], Weights]) -> None:
    """Store other weights in a run's folder, as the run's own."""
    run = Run.load(path)
    weights = change(storage.load_weights(path / WEIGHTS))
    digest = storage.save_weights(path / WEIGHTS, weights, of=run.identity(run.epochs_done))
    edit_run(path, lambda content: content["files"].update({WEIGHTS: digest}))


def sign_recording(path: Path) -> None:
    """Let run.json tell of the recording that lies beside it."""
    digest = hashlib.sha256((path / RECORDING).read_bytes()).hexdigest()
    edit_run(path, lambda content: content["files"].update({RECORDING: digest}))
