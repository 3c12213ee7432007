"""The images as loaded, the three splits, and batches, against independent readings of the same files."""

import hashlib
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST

from fmnist_lib import data
from fmnist_lib.data import DataError, download, load, sets
from fmnist_lib.data.augment import Augment

SIZES = {"full": {"train": 55_000, "val": 5_000, "test": 10_000}, "tiny": {"train": 400, "val": 100, "test": 100}}
EVERY_SPLIT = [(dataset, split) for dataset, sizes in SIZES.items() for split in sizes]
VALIDATION_SHA256 = {  # of the positions of the held-out images in the training file, as little-endian int64
    "full": "d358764a42ac65c97ea65bd133a4724ffc813ea7644faa7eac5b2fe229f6d0e2",
    "tiny": "df23af66fd6daa81d10b387dbf54217968690ea478e6447b32a33d24731d5522",
}


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both sets as unpacked files, in the folders torchvision would have made."""
    folders = {}
    for dataset, source, files in (
        ("full", data.find().folder, download.FULL),
        ("tiny", sets.TINY_FOLDER, sets.TINY),
    ):
        folders[dataset] = tmp_path_factory.mktemp(dataset) / "FashionMNIST" / "raw"
        folders[dataset].mkdir(parents=True)
        for name, content in download.read_set(source, files).items():
            (folders[dataset] / name).write_bytes(content)
    return folders


def parse_slowly(path: Path, *, limit: int) -> list[tuple[int, ...]]:
    """The first `limit` records of an IDX file, by the letter of its format."""
    with path.open("rb") as file:
        zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
        shape = [struct.unpack(">I", file.read(4))[0] for _ in range(dimensions)]
        assert (zeros, kind) == (0, 8)
        length = int(np.prod(shape[1:]))
        return [struct.unpack(f"{length}B", file.read(length)) for _ in range(min(limit, shape[0]))]


def training_rows(dataset: str) -> dict[str, Tensor]:
    """Positions in the training file of the images of "train" and of "val"."""
    contents = download.read_set(data.find().folder, download.FULL) if dataset == "full" else sets._read_tiny()
    held_out = sets.validation_rows(sets.parse_idx(contents["train-labels-idx1-ubyte"]), sets.VALIDATION[dataset])
    return {"train": torch.nonzero(~held_out).flatten(), "val": torch.nonzero(held_out).flatten()}


@pytest.mark.parametrize(("dataset", "split"), EVERY_SPLIT)
def test_sizes_types_and_balance(dataset: str, split: str) -> None:
    images, labels = load(split, dataset=dataset)
    count = SIZES[dataset][split]
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert (images.shape, labels.shape) == ((count, 1, 28, 28), (count,))
    assert torch.bincount(labels).tolist() == [count // 10] * 10


@pytest.mark.parametrize("dataset", SIZES)
def test_images_are_those_a_slow_reader_finds(dataset: str, unpacked: dict[str, Path]) -> None:
    limit, rows = 2_000, training_rows(dataset)
    for split, part in (("train", "train"), ("val", "train"), ("test", "t10k")):
        pixels = parse_slowly(unpacked[dataset] / f"{part}-images-idx3-ubyte", limit=limit)
        answers = parse_slowly(unpacked[dataset] / f"{part}-labels-idx1-ubyte", limit=limit)
        chosen = rows[split][rows[split] < limit].tolist() if split in rows else range(len(pixels))
        images, labels = load(split, dataset=dataset)
        assert images[: len(chosen)].flatten(1).tolist() == [list(pixels[row]) for row in chosen]
        assert labels[: len(chosen)].tolist() == [answers[row][0] for row in chosen]


def test_every_pixel_is_torchvisions(unpacked: dict[str, Path]) -> None:
    root, rows = unpacked["full"].parents[1], training_rows("full")
    training, test = (FashionMNIST(root, train=train, download=False) for train in (True, False))
    expected = {split: (training.data[index], training.targets[index]) for split, index in rows.items()}
    expected["test"] = (test.data, test.targets)
    for split, (images, labels) in expected.items():
        found = load(split)
        assert torch.equal(found[0].squeeze(1), images) and torch.equal(found[1], labels)
    assert tuple(training.classes) == data.CLASSES


def test_mean_and_standard_deviation_are_the_training_files() -> None:
    contents = download.read_set(data.find().folder, download.FULL)
    pixels = sets.parse_idx(contents["train-images-idx3-ubyte"]).numpy() / np.float64(255)
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (sets.MEAN, sets.STD)


@pytest.mark.parametrize("dataset", SIZES)
def test_the_split_is_a_partition_and_never_moves(dataset: str) -> None:
    rows = training_rows(dataset)
    together = torch.cat([rows["train"], rows["val"]])
    assert torch.equal(together.sort().values, torch.arange(sum(SIZES[dataset][split] for split in rows)))
    assert hashlib.sha256(rows["val"].numpy().astype("<i8").tobytes()).hexdigest() == VALIDATION_SHA256[dataset]


@pytest.mark.parametrize("dataset", SIZES)
def test_a_fresh_process_loads_the_same(dataset: str) -> None:
    code = (
        "import hashlib, sys; from fmnist_lib.data import load\n"
        "for split in ('train', 'val', 'test'):\n"
        "    x, y = load(split, dataset=sys.argv[1])\n"
        "    print(hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code, dataset], capture_output=True, text=True, check=True).stdout
    pairs = [load(split, dataset=dataset) for split in SIZES[dataset]]
    assert printed.split() == [hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest() for x, y in pairs]


def test_tiny_is_what_its_script_draws_from_the_full_set(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "make_tiny.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    assert download.read_set(tmp_path, sets.TINY) == sets._read_tiny()
    shipped = list(sets.TINY_FOLDER.glob("*.gz"))
    assert len(shipped) == 4 and sum(path.stat().st_size for path in shipped) < 300_000
    assert all(path.read_bytes()[4:8] == bytes(4) for path in shipped)  # no date: the same file on every day


def test_tiny_never_looks_for_the_full_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("the full set was looked for")

    monkeypatch.setenv("FMNIST_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sets, "locate", fail)
    sets._splits.cache_clear()
    assert len(load("train", dataset="tiny", data_folder=tmp_path)[1]) == 400
    assert data.batches(dataset="tiny").num_images == 400


def test_a_damaged_tiny_set_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sets, "TINY_FOLDER", tmp_path)
    sets._splits.cache_clear()
    with pytest.raises(DataError, match=r"damaged: train-images-idx3-ubyte is missing.*Install the package again"):
        load("train", dataset="tiny")


def test_files_are_read_once_and_nobody_can_spoil_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, read = iter(range(9)), sets._read_tiny
    monkeypatch.setattr(sets, "_read_tiny", lambda: (next(reads), read())[1])
    sets._splits.cache_clear()
    before = {split: load(split, dataset="tiny") for split in sets.SPLITS}
    for split, (images, labels) in before.items():
        expected = images.sum().item(), labels.sum().item()
        images.zero_()
        labels.zero_()
        assert tuple(values.sum().item() for values in load(split, dataset="tiny")) == expected
    assert next(reads) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load("validation", dataset="tiny"), "unknown split 'validation': choose one of train, val, test"),
        (lambda: load("train", dataset="mnist"), "unknown data set 'mnist': choose one of full, tiny"),
        (lambda: data.evaluation_batches("all", dataset="tiny"), "unknown split 'all'"),
        (lambda: data.evaluation_batches("val", dataset="tiny", batch_size=0), "batch_size is 0"),
        (lambda: data.batches(dataset="tiny", batch_size=-1), "batch_size is -1"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_normalise_is_the_formula_and_leaves_its_input() -> None:
    images = torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16)
    expected = (np.arange(256, dtype=np.float64).reshape(1, 1, 16, 16) / 255 - 0.2860) / 0.3530
    for given in (images, images.float()):
        before = given.clone()
        assert data.normalise(given).dtype == torch.float32
        np.testing.assert_allclose(data.normalise(given).numpy(), expected, rtol=0, atol=1e-6)
        assert torch.equal(given, before)


def rows_of(pairs: list[tuple[Tensor, Tensor]]) -> list[bytes]:
    """Every (image, label) of normalised batches, as bytes that can be sorted and compared."""
    return [x.numpy().tobytes() + bytes([label]) for xs, ys in pairs for x, label in zip(xs, ys.tolist(), strict=True)]


@pytest.mark.parametrize("batch_size", [1, 32, 128, 400, 1000])
def test_an_epoch_is_every_training_image_once(batch_size: int) -> None:
    batches = data.batches(dataset="tiny", batch_size=batch_size)
    pairs = list(batches.train(0))
    images, labels = load("train", dataset="tiny")
    assert (batches.num_images, batches.steps) == (400, len(pairs))
    assert [len(y) for _, y in pairs[:-1]] == [batch_size] * (len(pairs) - 1)
    assert sorted(rows_of(pairs)) == sorted(rows_of([(data.normalise(images), labels)]))
    assert rows_of(pairs) != rows_of([(data.normalise(images), labels)])


def shift(images: Tensor, generator: torch.Generator, turns: Tensor) -> Tensor:
    """An augmentation that shows what it was given: bytes, moved by a random number of pixels."""
    assert images.dtype == torch.uint8 and images.shape[1:] == (1, 28, 28)
    return images.roll(int(torch.randint(28, (), generator=generator)), dims=3)


@pytest.mark.parametrize("augment", [None, shift])
def test_batches_depend_on_seed_and_epoch_alone(augment: Augment | None) -> None:
    def epoch(seed: int, number: int) -> list[bytes]:
        return rows_of(list(data.batches(dataset="tiny", seed=seed, augment=augment).train(number)))

    first = epoch(0, 0)
    torch.rand(3), np.random.rand(3)
    assert epoch(0, 0) == first
    different = [first, epoch(0, 1), epoch(1, 0), epoch(1, 1), epoch(0, 2), epoch(2, 0)]
    assert len({tuple(rows) for rows in different}) == len(different)
    assert (augment is None) == (sorted(first) == sorted(different[1]))


def test_the_global_random_state_is_untouched() -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    before = states()
    sets._splits.cache_clear()
    batches = data.batches(dataset="tiny", augment=shift)
    assert len(list(batches.train(3))) + len(list(batches.val())) == batches.steps + 1
    assert states() == before


@pytest.mark.parametrize(("dataset", "split"), EVERY_SPLIT)
def test_evaluation_is_a_split_in_its_order(dataset: str, split: str) -> None:
    images, labels = load(split, dataset=dataset)
    pairs = list(data.evaluation_batches(split, dataset=dataset, batch_size=300))
    assert torch.equal(torch.cat([x for x, _ in pairs]), data.normalise(images))
    assert torch.equal(torch.cat([y for _, y in pairs]), labels)
    assert max(len(y) for _, y in pairs) <= 300


def test_full_batches_have_the_sizes_of_the_course() -> None:
    batches = data.batches()
    assert (batches.num_images, batches.steps) == (55_000, 430)
    assert [tuple(x.shape) for x, _ in batches.val()] == [(500, 1, 28, 28)] * 10
    assert torch.equal(torch.cat([y for _, y in batches.val()]), load("val")[1])


@pytest.mark.parametrize("dataset", ["tiny", "full"])
def test_no_image_is_in_two_splits_nor_twice_in_one(dataset: str) -> None:
    """By the bytes of the images. The set has no exact duplicates: it was cleaned on 31 August 2017."""
    split_of: dict[bytes, str] = {}
    for split in sets.SPLITS:
        for image in data.load(split, dataset=dataset)[0].numpy():
            assert image.tobytes() not in split_of, f"an image of {split} is also in {split_of[image.tobytes()]}"
            split_of[image.tobytes()] = split
    assert len(split_of) == {"tiny": 600, "full": 70_000}[dataset]
