"""Give the stored runs in checkpoints/ what older versions did not write: checksums in run.json, of all it tells of.

The weights and recordings are left as they are; it is for runs that are known to be whole.
"""

from pathlib import Path

from fmnist_lib.runs.checkpoint import RECORDING, WEIGHTS, Run

ROOT = Path(__file__).parents[1]


def seal(run: Run) -> None:
    """Note in run.json the digests of the weights and of the recording, and store it with its own."""
    run.files = {WEIGHTS: run.weights_digest(), RECORDING: run.recording().digest}
    run.save()


if __name__ == "__main__":
    for path in sorted((ROOT / "checkpoints").glob("*/run.json")):
        run = Run.load(path.parent)
        if not run.files:
            seal(run)
            print(f"sealed {run.path.name}")
