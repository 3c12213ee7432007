"""Recipes: how a model is trained, as one frozen record with a name.

lr is the learning rate.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

from fmnist_lib.errors import LabError

OPTIMIZERS = ("adam", "sgd", "adamw", "muon")
SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("float32", "bfloat16")
MOST = 10**7  # of anything that is counted


class BadRecipe(LabError):
    """A recipe that does not exist or cannot be followed; the message says what is valid."""


@dataclass(frozen=True)
class Recipe:
    """All that decides how a model is trained, besides the model's name and the seed.

    For whoever makes the batches: `dataset` is a name, `images` are the training images of an epoch, drawn anew for
    each (0 for all), `flip` (alternating), `crop` (pixels) and `erase` (probability) go to `augment.make_augment`.
    `overrides` are the model's constructor arguments. `teacher` names a run whose answers for whole images are learned
    besides the labels, `teacher_share` of the weight. `lr` and `weight_decay` are the optimiser's, `bias_lr`
    multiplies lr for biases and norms; lr follows `schedule` after a rise over the share `warmup` of all steps. `ema`
    is the decay per step of the averaged weights that are evaluated and kept, 0 for none. `precision` "bfloat16" is
    taken where `precision.make_plan` finds it right. With `half` filters and matrices are handed on in float16, which
    halves weights.safetensors; the run's figures are theirs.
    """

    name: str
    dataset: str = "full"
    images: int = 0
    epochs: int = 5
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 0.001
    weight_decay: float = 0.0
    bias_lr: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    flip: bool = False
    crop: int = 0
    erase: float = 0.0
    precision: str = "float32"
    half: bool = False
    teacher: str = ""
    teacher_share: float = 0.0
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            try:
                object.__setattr__(self, each.name, as_json(value, each.type))
            except (TypeError, ValueError, OverflowError) as error:
                raise BadRecipe(f"recipe {self.name!r:.100}: {each.name} is {str(value)[:100]!r}: {error}") from error
        if max(self.epochs, self.batch_size, self.images) >= MOST:
            raise BadRecipe(f"recipe {self.name!r}: epochs, batch_size and images must be smaller than {MOST:,}")
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.lr < math.inf or self.images < 0:
            raise BadRecipe(f"recipe {self.name!r}: epochs, batch_size and lr must be positive, images not negative")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.bias_lr < math.inf or not 0 <= self.crop < 28:
            raise BadRecipe(f"recipe {self.name!r}: weight_decay and bias_lr must not be negative, crop be 0 to 27")
        for name in ("warmup", "label_smoothing", "ema", "erase"):
            if not 0 <= getattr(self, name) < 1:
                raise BadRecipe(f"recipe {self.name!r}: {name} must be at least 0 and less than 1")
        if not 0 <= self.teacher_share <= 1 or bool(self.teacher) != bool(self.teacher_share):
            raise BadRecipe(f"recipe {self.name!r}: teacher_share must be 0 to 1, and more than 0 with a teacher alone")
        for name, valid in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in valid:
                raise BadRecipe(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(valid)}")

    def settings(self) -> dict[str, Any]:
        """The fields that are not at their defaults: they say the same when named recipes have moved on."""
        defaults = asdict(Recipe(self.name))
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    def differences(self, other: "Recipe") -> list[str]:
        """One line per field in which the other recipe differs."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]!r} here, {theirs[name]!r} there" for name in mine if mine[name] != theirs[name]]


NUMBERS = {int: Integral, float: Real, bool: Integral}


def as_json(value: Any, kind: Any) -> Any:
    """A field's value as JSON keeps it: numpy's numbers as Python's, tuples as lists. Raises TypeError, ValueError."""
    if kind in NUMBERS and isinstance(value, NUMBERS[kind]) and (kind is bool or not isinstance(value, bool)):
        return value if type(value) in (int, kind) and kind is not bool else kind(value)
    if kind is str and isinstance(value, str):
        return value
    if kind not in (*NUMBERS, str) and isinstance(value, dict):
        return json.loads(json.dumps(value, default=as_list))
    raise TypeError(f"it has to be {KINDS.get(kind, 'a dictionary')}")


KINDS = {int: "a whole number", float: "a number, without quotes", bool: "True or False", str: "a text in quotes"}


def as_list(value: Any) -> Any:
    """What JSON does not know, such as an array or a range. Raises TypeError."""
    return value.tolist() if hasattr(value, "tolist") else list(value)


# What our own recipes have in common.
OURS: dict[str, Any] = {"optimizer": "muon", "schedule": "linear", "label_smoothing": 0.1, "precision": "bfloat16"}
RECIPES = {
    # The lab report that this lab comes from: 5 epochs, batch 128, Adam, 0.001, normalisation only.
    "original": Recipe("original"),
    # Seconds, on the 400 training images that the package carries: for tests and a first look.
    "smoke": Recipe("smoke", dataset="tiny", epochs=3, batch_size=50),
    # The original's accuracy at once: two thirds of the images, once each, on maps half as high and wide. What it and
    # the next two reach, and in what time, is measured by benchmarks/results.py and stands in benchmarks/results.json.
    "sprint": Recipe(
        "sprint",
        images=36_000,
        epochs=1,
        lr=0.012,
        weight_decay=0.01,
        warmup=0.1,
        **OURS,
        overrides={"kernel_size": 3, "stem_stride": 2, "cosine_stem": True, "widths": [16, 64, 64, 64]},
    ),
    # A student's own run while the cells go by, within the time of the original's five epochs.
    "fast": Recipe(
        "fast",
        epochs=12,
        batch_size=256,
        lr=0.04,
        weight_decay=0.05,
        warmup=0.2,
        ema=0.998,
        flip=True,
        crop=1,
        **OURS,
        overrides={"kernel_size": 3},
    ),
    # The highest accuracy within 100 minutes on two cores and 3M parameters.
    "best": Recipe(
        "best",
        epochs=70,
        batch_size=256,
        lr=0.04,
        weight_decay=0.05,
        warmup=0.1,
        ema=0.998,
        flip=True,
        crop=2,
        erase=0.5,
        **OURS,
        half=True,
        overrides={"kernel_size": 3, "widths": [32, 64, 128, 256]},
    ),
}
DEEP = {"epochs": 6, "lr": 0.02, "ema": 0.997, "crop": 0}  # an epoch takes twice as long; few need no crop
# Without batch norm there, most of the last hidden units die: notebooks/06_tuning.ipynb counts them.
WIDE_ALEXNET = {"norm": True, "norm_hidden": True, "widths": [32, 96, 192, 192, 192], "hidden": 256, "dropout": 0.3}
DEEP_AND_WIDE = {"epochs": 45, "lr": 0.03, "overrides": {"kernel_size": 3, "widths": [32, 64, 96, 176]}}
# AlexNet's own second convolution sees maps of 27x27: here it does, too, when no pooling comes before it.
LATE_POOLING = {"kernel_sizes": [5, 3, 3, 3, 3], "pooled": [2, 3, 5], "pool_padding": 1}
LATE_ALEXNET = WIDE_ALEXNET | {"widths": [16, 32, 64, 128, 192]} | LATE_POOLING
TAUGHT = {"teacher": "resnet18-best", "teacher_share": 0.8, "label_smoothing": 0.0}  # whose answers are smooth
VARIANTS: dict[tuple[str, str], dict[str, Any]] = {  # what a recipe has otherwise for a model
    ("sprint", "alexnet"): {"images": 0, "overrides": {"norm": True}},  # which needs them all
    ("fast", "alexnet"): {"lr": 0.02, "overrides": WIDE_ALEXNET},
    ("fast", "resnet34"): DEEP,
    ("fast", "plain34"): DEEP,
    ("best", "alexnet"): {"epochs": 55, "lr": 0.02, "overrides": LATE_ALEXNET} | TAUGHT,
    ("best", "resnet34"): DEEP_AND_WIDE,
    ("best", "plain34"): DEEP_AND_WIDE,
}


def find_recipe(name: str, model: str = "resnet18") -> Recipe:
    """A recipe by its name, as it is for that model. Raises BadRecipe."""
    if not isinstance(name, str) or name not in RECIPES:
        raise BadRecipe(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return replace(RECIPES[name], **VARIANTS.get((name, str(model)), {}))
