"""The data room: Fashion-MNIST found, fetched and verified, split in three, and handed out in batches.

`sets` has the splits and the batches, `download` finds the files or brings them here, `augment` changes a batch of
bytes at random, and `pictures` makes any photo look as if it were of the set. `tiny` is six hundred of its images.
"""

from fmnist_lib.data.augment import make_augment
from fmnist_lib.data.download import DataError, Location, find
from fmnist_lib.data.pictures import PictureError, read_picture
from fmnist_lib.data.sets import (
    CLASSES,
    MEAN,
    SPLITS,
    STD,
    VALIDATION,
    Batches,
    Pair,
    batches,
    evaluation_batches,
    load,
    normalise,
)

__all__ = [
    "CLASSES",
    "MEAN",
    "SPLITS",
    "STD",
    "VALIDATION",
    "Batches",
    "DataError",
    "Location",
    "Pair",
    "PictureError",
    "batches",
    "evaluation_batches",
    "find",
    "load",
    "make_augment",
    "normalise",
    "read_picture",
]
