"""Recipes: how a model is trained, as one frozen record with a name.

lr is the learning rate.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch


class BadRecipe(ValueError):
    """A recipe that does not exist or cannot be followed; the message says what is valid."""


@dataclass(frozen=True)
class Recipe:
    """All that decides how a model is trained, besides the model and the seed.

    `dataset` is a name for whoever makes the batches; `lr` and `weight_decay` are the optimiser's.
    """

    name: str
    dataset: str = "full"
    epochs: int = 5
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 0.001
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise BadRecipe(f"recipe {self.name!r}: epochs, batch_size and lr must be positive")
        if self.optimizer not in OPTIMIZERS:
            raise BadRecipe(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")

    def differences(self, other: "Recipe") -> list[str]:
        """One line per field in which the other recipe differs."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]!r} here, {theirs[name]!r} there" for name in mine if mine[name] != theirs[name]]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam}
RECIPES = {
    # The lab report that this lab comes from: 5 epochs, batch 128, Adam, 0.001, normalisation only.
    "original": Recipe("original"),
    # Seconds, on the 400 training images that the package carries: for tests and a first look.
    "smoke": Recipe("smoke", dataset="tiny", epochs=3, batch_size=50),
}


def find_recipe(name: str) -> Recipe:
    """A recipe by its name. Raises BadRecipe."""
    if name not in RECIPES:
        raise BadRecipe(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
