"""Draw the tiny set out of the full one, the same images every time, and print the table that data.py holds it to.

    python scripts/make_tiny.py [folder]

50 images a class of the training file and 10 a class of the test file, in their order; four .gz files in `folder`,
by default fmnist_lib/data/tiny. What is pinned is the unpacked bytes: zlib's versions pack them differently.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmnist_lib import data
from fmnist_lib.data import download, sets

PER_CLASS = {"train": 50, "t10k": 10}
SEED = 2017  # the year of the set


def main(folder: Path) -> None:
    """Write the four files and print what sets.TINY has to say about them."""
    source = data.find()
    for part, count in PER_CLASS.items():
        names = [name for name in download.FULL if name.startswith(part)]
        contents = download.read_set(source.folder, {name: download.FULL[name] for name in names})
        images, labels = (sets.parse_idx(contents[name]) for name in names)
        rows = drawn_rows(labels, count)
        for name, values in zip(names, (images[rows], labels[rows]), strict=True):
            write(folder / f"{name}.gz", idx(values))


def drawn_rows(labels: Tensor, count: int) -> Tensor:
    """`count` rows of every class, in the order of the file."""
    random = np.random.RandomState(SEED)
    rows = [random.choice(np.flatnonzero(labels.numpy() == label), count, replace=False) for label in range(10)]
    return torch.from_numpy(np.sort(np.concatenate(rows)))


def idx(values: Tensor) -> bytes:
    """A uint8 tensor as an IDX file."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.numpy().tobytes()


def write(path: Path, content: bytes) -> None:
    """Pack `content` without a date or a name, so that the file says nothing about when and where."""
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(content)
    print(f'"{path.stem}": Expected({len(content):_}, "{hashlib.sha256(content).hexdigest()}"),')


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else sets.TINY_FOLDER)
