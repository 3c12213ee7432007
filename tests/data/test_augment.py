"""Augmentation of a batch, against slow plain versions that go image by image."""

import pytest
import torch
from torch import Tensor

from fmnist_lib import data
from fmnist_lib.data import augment

COUNT = 64
IMAGES = data.load("train", dataset="tiny")[0][:COUNT]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_mirror_flips_the_chosen_and_no_other() -> None:
    chosen = torch.arange(COUNT) % 3 == 0
    for image, before, flipped in zip(augment.mirror(IMAGES, chosen), IMAGES, chosen, strict=True):
        assert image.tolist() == ([[row[::-1] for row in before[0].tolist()]] if flipped else before.tolist())


def test_an_image_is_mirrored_every_other_epoch_from_a_start_of_its_own() -> None:
    seen: list[Tensor] = []

    def keep(images: Tensor, generator: torch.Generator, turns: Tensor) -> Tensor:
        seen.append(turns)
        return images

    batches = data.batches(dataset="tiny", batch_size=400, augment=keep)
    labels = [next(batches.train(epoch))[0].sum(dim=(1, 2, 3)) for epoch in (1, 2, 3)]  # a mark for each image
    sides = [turns[marks.argsort()] % 2 for turns, marks in zip(seen, labels, strict=True)]
    assert torch.equal(sides[0], 1 - sides[1])
    assert torch.equal(sides[0], sides[2])
    assert 150 < int(sides[0].sum()) < 250


def test_a_crop_is_a_shift_with_black_edges() -> None:
    pixels, size = 2, 28
    cropped = augment.random_crop(IMAGES, generator(), pixels=pixels)
    top, left = torch.randint(0, 2 * pixels + 1, (2, COUNT), generator=generator())
    for image, before, down, right in zip(cropped, IMAGES, top.tolist(), left.tolist(), strict=True):
        for y in range(0, size, 3):
            for x in range(0, size, 3):
                there = y + down - pixels, x + right - pixels
                expected = before[0][there] if all(0 <= place < size for place in there) else 0
                assert image[0, y, x] == expected
    assert {(int(a), int(b)) for a, b in zip(top, left, strict=True)} >= {(0, 0), (4, 4)}


def test_erasing_puts_noise_in_one_rectangle_of_the_right_size() -> None:
    grey = torch.full((2_000, 1, 28, 28), 100, dtype=torch.uint8)
    erased = augment.random_erase(grey, generator(), probability=0.5)
    shares = []
    for image in (erased != 100)[:, 0]:
        if not image.any():
            continue
        rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.float().mean() > 0.8  # noise may hit 100 by chance
        shares.append(box.numel() / 784)
    low, high = augment.ERASED_AREA
    assert len(shares) / len(grey) == pytest.approx(0.5, abs=0.04)
    assert min(shares) > low - 0.01
    assert max(shares) < high + 0.03
    assert sum(shares) / len(shares) == pytest.approx((low + high) / 2, abs=0.03)


def test_the_generator_decides_and_the_global_random_state_stays() -> None:
    everything = augment.make_augment(flip=True, crop=2, erase=0.5)
    before = torch.random.get_rng_state()
    first, again = (everything(IMAGES, generator(), torch.arange(COUNT)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.dtype == torch.uint8
    assert first.shape == IMAGES.shape
    assert not torch.equal(first, IMAGES)


def test_nothing_asked_is_nothing_done() -> None:
    assert augment.make_augment() is None
