"""Write fmnist_lib/checking/handed_out.json: what the lab hands out, by hashes, so that `check` knows it again."""

import json
from pathlib import Path
from typing import Any

from fmnist_lib.checking import handed_out
from fmnist_lib.runs import storage
from fmnist_lib.runs.checkpoint import Run

ROOT = Path(__file__).parents[1]


def list_run(run: Run) -> dict[str, Any]:
    """Digest, fingerprint and accuracies of a run."""
    weights = storage.load_weights(run.path / "weights.safetensors")
    return {
        "model": run.model_name,
        "recipe": run.recipe.name,
        "digest": storage.digest(weights),
        "fingerprint": handed_out.fingerprint(weights),
        "accuracies": {split: figures["accuracy"] for split, figures in run.evaluation.items()},
    }


def list_notebook(path: Path) -> dict[str, Any]:
    """The hash of each given cell's source by the cell's id, and the ids of the checks; answers are the student's."""
    cells = json.loads(path.read_text())["cells"]
    roles = {cell["id"]: cell["metadata"].get("nbgrader", {}) for cell in cells}
    given = [cell for cell in cells if not roles[cell["id"]].get("solution")]
    return {
        "cells": {cell["id"]: handed_out.source_hash("".join(cell["source"])) for cell in given},
        "locked": [cell["id"] for cell in given if roles[cell["id"]].get("grade")],
    }


def listing() -> dict[str, Any]:
    """Everything that is handed out."""
    folders = sorted(path.parent for path in (ROOT / "checkpoints").glob("*/run.json"))
    ours = [Run.load(folder) for folder in folders if not folder.name.endswith("-mine")]  # a notebook's are not in git
    return {
        "runs": {run.path.name: list_run(run) for run in ours},
        "notebooks": {path.stem: list_notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))},
    }


if __name__ == "__main__":
    handed_out.FILE.write_text(json.dumps(listing(), separators=(",", ":")) + "\n")
