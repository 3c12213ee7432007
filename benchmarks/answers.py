"""What four networks answer for each image of the test set: benchmarks/answers.npz, for the last notebook.

    python benchmarks/answers.py           # about five minutes on two cores

Probabilities float16 (10,000, 10) by the run's name, and the digests of the weights that gave them. Computing them in
the notebook would take minutes each time it is run.
"""

import json
from pathlib import Path

import numpy as np

from fmnist_lib import Run, data
from fmnist_lib.files import write_atomically
from fmnist_lib.runs import measure

HERE = Path(__file__).parent
RESULT = HERE / "answers.npz"
NAMES = ("resnet18-best", "alexnet-best", "resnet34-best", "resnet18-original")


def main() -> None:
    """Ask each network once."""
    images, _ = data.load("test")
    runs = {name: Run.load(HERE.parent / "checkpoints" / name) for name in NAMES}
    answers = {name: measure.predict(run.model(), images).numpy().astype(np.float16) for name, run in runs.items()}
    digests = json.dumps({name: run.weights_digest() for name, run in runs.items()})
    write_atomically(RESULT, lambda file: np.savez_compressed(file, digests=np.array(digests), **answers))


if __name__ == "__main__":
    main()
