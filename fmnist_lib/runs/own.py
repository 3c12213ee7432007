"""A run of one's own: a recipe with some of its fields and of the model's changed, under a name of its own."""

import difflib
import hashlib
import re
from dataclasses import fields, replace
from typing import Any

from fmnist_lib.models import REGISTRY, settings
from fmnist_lib.training.recipes import RECIPES, BadRecipe, Recipe, find_recipe

LONGEST_NAME = 40
RECIPE_FIELDS = [each.name for each in fields(Recipe) if each.name != "name"]


def own_recipe(model_name: str, recipe: Recipe | str, *, name: str = "", changes: dict[str, Any]) -> Recipe:
    """The recipe with `changes`, each a field of it or an argument of the model, called `name`.

    Without a name but with changes the name tells them, such as original-epochs1. Raises ModelError for an unknown
    model, and BadRecipe that says what is valid.
    """
    known = settings(model_name)
    if isinstance(recipe, str):
        recipe = find_recipe(recipe, model_name)
    if not isinstance(recipe, Recipe):
        raise BadRecipe(f"the recipe is {recipe!r}: it has to be one of {', '.join(RECIPES)}, in quotes")
    for field in changes:
        if field not in (*RECIPE_FIELDS, *known):
            raise unknown_field(field, model_name, known)
    of_recipe = {field: value for field, value in changes.items() if field in RECIPE_FIELDS}
    of_model = {field: value for field, value in changes.items() if field not in RECIPE_FIELDS}
    changed = replace(recipe, **of_recipe)
    changed = replace(changed, overrides=changed.overrides | of_model)
    if name == "" and changed == recipe:
        return recipe
    own = check_name(name, model_name) if name != "" else tell_changes(recipe.name, changes)
    if own == recipe.name and changed == recipe:
        return recipe
    if own.lower() in RECIPES:
        raise BadRecipe(
            f'name={name!r}: {model_name}-{own} comes with the lab and stays. Choose another, as "my-{own}"'
        )
    return replace(changed, name=own)


def unknown_field(field: str, model_name: str, known: list[str]) -> BadRecipe:
    """The error for a field that neither the recipe nor the model has."""
    owners = [other for other in REGISTRY if field in settings(other)]
    if owners:
        why = f"{field} is a setting of {', '.join(owners)}, and {model_name} has none"
    else:
        close = difflib.get_close_matches(field.lower(), [*RECIPE_FIELDS, *known, "name", "seed", "device"], n=1)
        why = f"there is no {field}" + (f"; did you mean {close[0]}?" if close else "")
    return BadRecipe(f"{why}\nof the recipe: {', '.join(RECIPE_FIELDS)}\nof {model_name}: {', '.join(known)}")


def check_name(name: Any, model_name: str) -> str:
    """A run's name, without the model's before it. Raises BadRecipe for one that no folder should have."""
    rule = f"letters a to z, digits, '-', '_' and '.', at most {LONGEST_NAME} of them, as in name=\"my-run\""
    valid = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)
    if not valid or len(name) > LONGEST_NAME + len(model_name) + 1:
        raise BadRecipe(f"name={str(name)[:60]!r} cannot name a run's folder: it may have {rule}")
    own = name.removeprefix(f"{model_name}-")
    if not own or len(own) > LONGEST_NAME:
        raise BadRecipe(f"name={name!r} cannot name a run's folder: it may have {rule}")
    if found := re.search(r"-seed(\d+)$", own):
        raise BadRecipe(f"name={name!r}: the seed is an argument of its own, seed={found[1]}, and is added to the name")
    return own


def tell_changes(recipe_name: str, changes: dict[str, Any]) -> str:
    """A name that tells what was changed; a digest in place of what would be too long."""
    told = "-".join([recipe_name, *(f"{field}{value}" for field, value in sorted(changes.items()))])
    told = re.sub(r"[^A-Za-z0-9_.-]+", "_", told).strip("_.")
    return told if len(told) <= LONGEST_NAME else f"{recipe_name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
