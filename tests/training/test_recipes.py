"""Named recipes, and how they differ between models."""

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

from fmnist_lib import models
from fmnist_lib.training.recipes import RECIPES, VARIANTS, Recipe, find_recipe


@pytest.mark.parametrize(("recipe", "model"), list(itertools.product(RECIPES, models.REGISTRY)))
def test_every_model_can_be_trained_by_every_recipe(recipe: str, model: str) -> None:
    overrides = find_recipe(recipe, model).overrides
    assert models.count_parameters(models.build(model, **overrides)) < 3_000_000


@pytest.mark.parametrize(("recipe", "model"), VARIANTS)
def test_a_variant_is_the_recipe_with_some_fields_changed(recipe: str, model: str) -> None:
    variant = find_recipe(recipe, model)
    assert variant.name == recipe
    assert len(variant.differences(RECIPES[recipe])) == len(VARIANTS[recipe, model])


def test_shallow_and_deep_are_built_alike_so_that_they_can_be_compared() -> None:
    for recipe in RECIPES.keys() - {"best"}:  # which goes for accuracy with each: it compares nothing
        found = [find_recipe(recipe, name).overrides for name in ("resnet18", "resnet34", "plain18", "plain34")]
        assert all(overrides == found[0] for overrides in found)


def test_numbers_of_numpy_and_tuples_become_what_json_gives_back() -> None:
    recipe = Recipe("mine", epochs=np.int64(3), lr=np.float32(0.5), overrides={"widths": (8, 8)})
    assert json.loads(json.dumps(asdict(recipe))) == asdict(recipe)
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_json_as_it_was(name: str) -> None:
    values = asdict(RECIPES[name])
    assert json.loads(json.dumps(values)) == values
