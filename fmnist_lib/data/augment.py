"""Augmentation of a whole batch of bytes at once, drawn for each image on its own from an explicit generator.

Letters: N images; images are uint8 (N, 1, 28, 28) and stay so. They may lie on any device: what is random is drawn on
the CPU and sent to them, so that the bytes are the same everywhere. `benchmarks/loader.py` measures the cost.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

ERASED_AREA = (0.02, 0.33)  # of the image; both ranges are those of Zhong et al. 2017, arXiv:1708.04896
ERASED_ASPECT = (0.3, 1 / 0.3)  # height divided by width

Augment = Callable[[Tensor, Generator, Tensor], Tensor]


def make_augment(*, flip: bool = False, crop: int = 0, erase: float = 0.0) -> Augment | None:
    """What `sets.batches(augment=...)` takes: alternating flip, crop by up to `crop` pixels, erasing with
    probability `erase`, in this order; None when all are off.

    It is called with images, generator and turns, int64 (N,): how often each image was seen before, plus a
    random 0 or 1 that an image keeps. The generator is the CPU's, wherever images and turns lie.
    """
    if not (flip or crop or erase):
        return None

    def augment(images: Tensor, generator: Generator, turns: Tensor) -> Tensor:
        if flip:
            images = mirror(images, turns % 2 == 1)
        if crop:
            images = random_crop(images, generator, pixels=crop)
        if erase:
            images = random_erase(images, generator, probability=erase)
        return images

    return augment


def send(values: Tensor, device: torch.device) -> Tensor:
    """Values from the CPU on a device. On CUDA neither waits for the other: they come from pinned memory."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """The images with those that are `chosen`, bool (N,), mirrored left to right.

    Alternating instead of tossing a coin each time shows every image and its mirror image equally often
    (Jordan 2024, arXiv:2404.00498).
    """
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def random_crop(images: Tensor, generator: Generator, *, pixels: int) -> Tensor:
    """Each image shifted by -pixels to +pixels down and right, black coming in at the edges."""
    count, size = len(images), images.shape[2]
    padded = functional.pad(images, (pixels,) * 4)
    top, left = send(torch.randint(0, 2 * pixels + 1, (2, count), generator=generator), images.device)
    windows = padded[:, 0].unfold(1, size, 1).unfold(2, size, 1)  # a view: (N, shifts, shifts, 28, 28)
    return windows[torch.arange(count, device=images.device), top, left].unsqueeze(1)


def random_erase(images: Tensor, generator: Generator, *, probability: float) -> Tensor:
    """A rectangle of noise in each image with this probability, its area, aspect and place drawn for each.

    Source: random erasing, Zhong et al. 2017, arXiv:1708.04896; a rectangle that does not fit is cut to the image
    where the paper draws again.
    """
    count, size = len(images), images.shape[2]
    draws = torch.rand(5, count, generator=generator)
    area = size**2 * (ERASED_AREA[0] + draws[0] * (ERASED_AREA[1] - ERASED_AREA[0]))
    low, high = (torch.tensor(aspect).log() for aspect in ERASED_ASPECT)
    aspect = (low + draws[1] * (high - low)).exp()
    height, width = ((area * aspect).sqrt(), (area / aspect).sqrt())
    height, width = (side.round().clamp(1, size).to(torch.int64) for side in (height, width))
    top = (draws[2] * (size - height + 1)).to(torch.int64)
    left = (draws[3] * (size - width + 1)).to(torch.int64)
    height = torch.where(draws[4] < probability, height, 0)
    pixel = torch.arange(size)
    rows = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])
    columns = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])
    noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator)
    rows, columns, noise = (send(values, images.device) for values in (rows, columns, noise))
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], noise, images)
