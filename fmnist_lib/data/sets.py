"""Fashion-MNIST: split in three, and handed out in batches of bytes made floats.

Letters: N images; K classes; H and W are 28. Source of the set: Xiao, Rasul and Vollgraf, arXiv:1708.07747.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmnist_lib.data.augment import Augment, send
from fmnist_lib.data.download import FULL, Contents, DataError, Expected, Files, Location, locate, name_folder, read_set

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MEAN, STD = 0.2860, 0.3530  # of the 60,000 images of the training file, scaled to [0, 1]
SPLITS = ("train", "val", "test")
SPLIT_SEED = 0
TINY_FOLDER = Path(__file__).with_name("tiny")

Pair = tuple[Tensor, Tensor]

TINY: Files = {
    "train-images-idx3-ubyte": Expected(392_016, "9214f4828e337b94054a6b1711715230481a3b5fa559ac4da973edf438b2434d"),
    "train-labels-idx1-ubyte": Expected(508, "a2bcabc99f8cc1d425495694b4d01dc8e5fdea5aed53085a2b935e9707afcf9d"),
    "t10k-images-idx3-ubyte": Expected(78_416, "3ab289efae2a9b214a54faee4394abe3a9ad69ad727318e3aea0ad2ba628196a"),
    "t10k-labels-idx1-ubyte": Expected(108, "24b877814f669e93c066a235c6ad145396a53d4ebdf4064f33103b44018f2ead"),
}
VALIDATION = {"full": 5_000, "tiny": 100}  # images of each set's training file that are held out


def load(split: str, *, dataset: str = "full", data_folder: Path | str | None = None) -> Pair:
    """Load a split as bytes: images uint8 (N, 1, H, W) and labels int64 (N,), the caller's own copies.

    N is 55,000 for "train", 5,000 for "val" (500 a class, out of the training file) and 10,000 for "test";
    of the "tiny" set, which ships with the package and ignores `data_folder`, 400, 100 and 100. Files are read and
    verified once per process. Raises DataError, also for a split or a set that does not exist.
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise DataError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not isinstance(dataset, str) or dataset not in VALIDATION:
        raise DataError(f"unknown data set {dataset!r}: choose one of {', '.join(VALIDATION)}")
    images, labels = _splits(dataset, None if dataset == "tiny" else name_folder(data_folder))[split]
    return images.clone(), labels.clone()


def normalise(images: Tensor) -> Tensor:
    """Bytes to float32 of about mean 0 and standard deviation 1: (byte / 255 - MEAN) / STD; the shape stays."""
    return images.to(torch.float32).div(255).sub_(MEAN).div_(STD)


@dataclass(frozen=True, eq=False)
class Batches:
    """Training and validation images in memory, given out in normalised batches; made by `batches`.

    Every batch is images float32 (N, 1, H, W) and labels int64 (N,), on the CPU or where `to` put them. With `answers`,
    class probabilities float32 (2, N, K) for all training images and their mirror images, they take the labels' place
    in training.
    """

    training: Pair
    validation: Pair
    batch_size: int
    seed: int
    augment: Augment | None = None
    limit: int = 0
    answers: Tensor | None = None

    def to(self, device: torch.device) -> "Batches":
        """The same batches, made and handed out on a device, to which all images go once.

        They are the same bytes in the same order as on the CPU; what `normalise` makes of them may differ in the last
        bit.
        """
        training, validation = ((x.to(device), y.to(device)) for x, y in (self.training, self.validation))
        answers = None if self.answers is None else self.answers.to(device)
        return replace(self, training=training, validation=validation, answers=answers)

    @property
    def num_images(self) -> int:
        """How many training images an epoch has."""
        return min(self.limit or len(self.training[1]), len(self.training[1]))

    @property
    def steps(self) -> int:
        """How many training batches an epoch has; the last may be smaller."""
        return -(-self.num_images // self.batch_size)

    @property
    def smallest(self) -> int:
        """How many images the smallest training batch of an epoch has, which is the last."""
        return self.num_images % self.batch_size or self.batch_size

    def train(self, epoch: int) -> Iterator[Pair]:
        """Every training image once, or `limit` of them, in an order and with an augmentation drawn from
        (seed, epoch) alone.

        So a resumed run sees what an unbroken one would have, and the global random state stays as it is.
        """
        images, labels = self.training
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        coins = torch.randint(0, 2, (len(labels),), generator=torch.Generator().manual_seed(_mix(self.seed, 0)))
        order = torch.randperm(len(labels), generator=generator)[: self.num_images]
        order, all_turns = (send(values, images.device) for values in (order, coins[order] + epoch))
        for rows, turns in zip(order.split(self.batch_size), all_turns.split(self.batch_size), strict=True):
            x = images[rows]
            if self.augment is not None:
                x = self.augment(x, generator, turns)
            yield normalise(x), labels[rows] if self.answers is None else self.answers[turns % 2, rows]

    def val(self) -> Iterator[Pair]:
        """The validation images in their order."""
        return _in_order(self.validation, batch_size=500)


def batches(
    *,
    dataset: str = "full",
    batch_size: int = 128,
    seed: int = 0,
    data_folder: Path | str | None = None,
    augment: Augment | None = None,
    limit: int = 0,
) -> Batches:
    """Batches of a set for training. `augment(images, generator, turns)` gets bytes (N, 1, H, W), returns as many.

    All its randomness has to come from the generator it is handed, which is the CPU's; turns, int64 (N,), is the epoch
    plus a random 0 or 1 that each image keeps, for what alternates. An epoch has `limit` images, drawn anew each time,
    or all. Raises DataError.
    """
    _check_batch_size(batch_size)
    if seed < 0:
        raise DataError(f"seed is {seed}: it has to be a whole number from 0")
    training = load("train", dataset=dataset, data_folder=data_folder)
    return Batches(training, load("val", dataset=dataset, data_folder=data_folder), batch_size, seed, augment, limit)


def evaluation_batches(
    split: str, *, dataset: str = "full", data_folder: Path | str | None = None, batch_size: int = 500
) -> Iterator[Pair]:
    """A split in its order, as images float32 (N, 1, H, W) and labels int64 (N,). Raises DataError at once."""
    _check_batch_size(batch_size)
    return _in_order(load(split, dataset=dataset, data_folder=data_folder), batch_size=batch_size)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}: it has to be 1 or more")


def _in_order(pair: Pair, *, batch_size: int) -> Iterator[Pair]:
    images, labels = pair
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        yield normalise(x), y


def _mix(seed: int, epoch: int) -> int:
    """One 64-bit seed out of two numbers; a sum would make epoch 1 of seed 0 the epoch 0 of seed 1."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])


def _read_tiny() -> Contents:
    try:
        return read_set(TINY_FOLDER, TINY)
    except DataError as problem:
        raise DataError(f"the tiny set in {TINY_FOLDER} is damaged: {problem}. Install the package again.") from None


@lru_cache(maxsize=4)
def _splits(dataset: str, named: Location | None) -> dict[str, Pair]:
    """All splits of a set as bytes; shared, so never handed out without a copy."""
    contents = _read_tiny() if dataset == "tiny" else locate(named)[1]
    images, labels, test_images, test_labels = (parse_idx(contents[name]) for name in FULL)
    held_out = validation_rows(labels, VALIDATION[dataset])
    pairs = (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out]), (test_images, test_labels)
    return {split: (x.unsqueeze(1), y.to(torch.int64)) for split, (x, y) in zip(SPLITS, pairs, strict=True)}


def parse_idx(content: bytes) -> Tensor:
    """An unpacked IDX file of bytes as a uint8 tensor of the shape in its header (Y. LeCun's format for MNIST).

    Raises DataError for what is none, or is longer or shorter than its header says.
    """
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    if content[:3] != b"\0\0\x08" or not 1 <= dimensions <= 4 or len(content) < start:
        raise DataError("is no IDX file of bytes")
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    if math.prod(shape) != len(content) - start:
        raise DataError(f"holds {len(content) - start:,} bytes, and its header tells of {' x '.join(map(str, shape))}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def validation_rows(labels: Tensor, count: int) -> Tensor:
    """Which rows are held out, bool (N,): the same number of every class, drawn with a fixed seed.

    numpy's RandomState is frozen (NEP 19): no release of numpy or torch moves an image from one split to another.
    """
    random = np.random.RandomState(SPLIT_SEED)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(CLASSES)):
        rows = torch.nonzero(labels == label).flatten()
        held_out[rows[torch.from_numpy(random.permutation(len(rows))[: count // len(CLASSES)])]] = True
    return held_out
