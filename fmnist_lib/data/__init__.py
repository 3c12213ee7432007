"""The data room: Fashion-MNIST found, fetched and verified, split in three, and handed out in batches.

`sets` has the splits and the batches, `download` finds the files or brings them here, `augment` changes a batch of
bytes at random, `pictures` makes any photo look as if it were of the set, and `doubts` says what may be wrong with
the photo. `tiny` is six hundred of its images.
"""

from fmnist_lib.data.augment import make_augment
from fmnist_lib.data.download import DataError, Location, find
from fmnist_lib.data.pictures import SIDE, Picture, PictureError, look_at_picture, read_picture
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
    "SIDE",
    "SPLITS",
    "STD",
    "VALIDATION",
    "Batches",
    "DataError",
    "Location",
    "Pair",
    "Picture",
    "PictureError",
    "batches",
    "evaluation_batches",
    "find",
    "load",
    "look_at_picture",
    "make_augment",
    "normalise",
    "read_picture",
]
