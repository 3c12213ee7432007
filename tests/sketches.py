"""Small recordings made of random numbers, for the tests of the explorer."""

import json
import re
from typing import Any

import numpy as np

from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder

CLASSES = ["T-shirt/top", "Trouser", "</script><b>"]


def builder(epochs: tuple[int, ...] = (0, 1, 2, 5), **about: Any) -> RecordingBuilder:
    """An empty recording of three 8x8 images."""
    made = RecordingBuilder(about={"classes": CLASSES, "labels": [0, 1, 2], **about}, epochs=list(epochs))
    made.store("inputs", np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32))
    return made


def fill(made: RecordingBuilder, kind: str, layer: str, shape: tuple[int, ...], *, seed: int = 1) -> RecordingBuilder:
    """Random pictures for every epoch, larger from epoch to epoch; maps as after a ReLU."""
    generator = np.random.default_rng(seed)
    for epoch in made.epochs:
        values = generator.normal(size=shape).astype(np.float32) * (1 + epoch)
        made.keep(kind, layer, epoch, np.maximum(values, 0) if kind in ("maps", "cams") else values)
        made.members.setdefault(f"scores/{epoch}", np.full((3, 3), 1 / 3, np.float32))
    return made


def seal(made: RecordingBuilder) -> Recording:
    """The recording as it would be read from its file."""
    return Recording(made.pack())


def bundle_of(explorer: Explorer) -> dict[str, Any]:
    """The JSON that the page reads."""
    (text,) = re.findall(r'class="fmx-data">(.*?)</script>', explorer.html(), re.DOTALL)
    return json.loads(text)


def small_recording() -> Recording:
    """Two layers of maps, two of kernels, one of Grad-CAM, over the epochs 0, 1, 2 and 5."""
    made = builder(model="small")
    fill(made, "maps", "act1", (3, 6, 8, 8))
    fill(made, "maps", "act2", (3, 100, 4, 4), seed=2)
    fill(made, "kernels", "conv1", (6, 1, 3, 3), seed=3)
    fill(made, "kernels", "conv2", (100, 6, 3, 3), seed=4)
    fill(made, "cams", "act1", (3, 1, 8, 8), seed=5)
    return seal(made)
