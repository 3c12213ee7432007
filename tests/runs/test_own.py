"""A run of one's own: whatever a student types works, or ends in one message that says what does."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fmnist_lib
from fmnist_lib.errors import LabError
from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.own import own_recipe
from fmnist_lib.runs.places import run_folder
from fmnist_lib.training.recipes import RECIPES, BadRecipe, find_recipe

PACKAGE = Path(fmnist_lib.__file__).parent
SMALL: dict[str, Any] = {"widths": [2, 2, 2, 2, 2], "hidden": 8}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    monkeypatch.setattr(launch.record, "draw_run", lambda *_: None)
    return tmp_path


def test_fields_of_recipe_and_model_by_name() -> None:
    changes = {"epochs": np.int64(2), "dropout": 0.1, "widths": np.array([2, 3, 4, 5, 6])}
    recipe = own_recipe("alexnet", "fast", name="mine", changes=changes)
    assert (recipe.name, recipe.epochs, recipe.lr) == ("mine", 2, find_recipe("fast", "alexnet").lr)
    assert recipe.overrides == find_recipe("fast", "alexnet").overrides | {"dropout": 0.1, "widths": [2, 3, 4, 5, 6]}


def test_without_a_name_the_name_tells_the_changes() -> None:
    assert own_recipe("resnet18", "original", changes={"epochs": 1}).name == "original-epochs1"
    long = [
        own_recipe("resnet18", "original", changes={"widths": [16] * 4, "lr": lr, "images": 9}).name
        for lr in (0.001, 0.002)
    ]
    assert long[0] != long[1] and all(re.fullmatch(r"original-[0-9a-f]{8}", name) for name in long)


def test_nothing_changed_is_the_recipe_itself() -> None:
    for name in ("", "fast", "alexnet-fast"):
        assert own_recipe("alexnet", "fast", name=name, changes={}) == find_recipe("fast", "alexnet")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1}, "did you mean epochs"),
    ({"Epochs": 1}, "did you mean epochs"),
    ({"learning_rate": 0.1}, "there is no learning_rate"),
    ({"dropout": 0.1}, "a setting of alexnet, and resnet18 has none"),
    ({"lr": "0.1"}, "it has to be a number, without quotes"),
    ({"epochs": 1.5}, "it has to be a whole number"),
    ({"epochs": None}, "a whole number"),
    ({"epochs": 0}, "must be positive"),
    ({"flip": "yes"}, "True or False"),
    ({"optimizer": "Adam"}, "choose one of adam"),
    ({"dataset": "mnist"}, "choose one of full, tiny"),
    ({"depths": [1, 1, 1, 1]}, "there is no depths"),
    ({"widths": 8}, "cannot be built"),
    ({"widths": [8, 8]}, "of one length"),
    ({"widths": ["8", "8", "8", "8"]}, "cannot be built"),
    ({"name": "a/b", "epochs": 1}, "may have letters"),
    ({"name": "..", "epochs": 1}, "may have letters"),
    ({"name": "我的", "epochs": 1}, "may have letters"),
    ({"name": "my run", "epochs": 1}, "may have letters"),
    ({"name": "x" * 300, "epochs": 1}, "at most 40"),
    ({"name": 3, "epochs": 1}, "may have letters"),
    ({"name": "mine-seed3", "epochs": 1}, "seed=3"),
    ({"name": "original", "epochs": 1}, "comes with the lab"),
    ({"name": "Original", "epochs": 1}, "comes with the lab"),  # one folder on macOS
    ({"name": "resnet18-best", "epochs": 1}, "comes with the lab"),
    ({"seed": "1"}, "seed is '1'"),
    ({"seed": -1}, "seed is -1"),
    ({"device": "gpu"}, "gpu"),
    ({"recipe": 2}, "in quotes"),
    ({"recipe": "orignal"}, "choose one of original"),
    ({"fresh": True}, "comes with the lab"),
]


@pytest.mark.parametrize(("typed", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_told_in_one_message_and_leaves_nothing(home: Path, typed: dict[str, Any], told: str) -> None:
    with pytest.raises(LabError) as raised:
        fmnist_lib.train_or_load("resnet18", **{"recipe": "smoke"} | typed)
    assert told in str(raised.value)
    assert not list(home.rglob("run.json"))


def test_a_run_of_ones_own_lies_beside_the_others_and_is_never_another(home: Path) -> None:
    run = fmnist_lib.train_or_load("alexnet", "smoke", name="mine", epochs=1, device="cpu", **SMALL)
    assert run.path == run_folder("alexnet", "mine")
    assert Run.load(run.path).recipe.epochs == 1
    history = run.history
    with pytest.raises(LabError, match=r'epochs: 1 here, 2 there.*another name with name="\.\.\.", or fresh=True'):
        fmnist_lib.train_or_load("alexnet", "smoke", name="mine", epochs=2, device="cpu", **SMALL)
    assert fmnist_lib.train_or_load("alexnet", "smoke", name="mine", epochs=1, **SMALL).history == history
    longer = fmnist_lib.train_or_load("alexnet", "smoke", name="mine", epochs=2, device="cpu", fresh=True, **SMALL)
    assert longer.epochs_done == 2


def test_every_option_that_an_error_of_a_run_names_has_a_word_in_notebooks() -> None:
    rooms = [*(PACKAGE / "training").glob("*.py"), *(PACKAGE / "runs").glob("*.py"), *(PACKAGE / "data").glob("*.py")]
    for file in rooms:
        if file.name in ("launch.py", "sweep.py", "parallel.py", "machine.py"):  # for torchrun, the command line, git
            continue
        for option in re.findall(r"--[a-z][a-z-]*(?: cpu)?", file.read_text()):
            words = launch.in_notebook_words(f"another folder with {option}")
            assert "--" not in words, f"{file.name}: {option}"


def test_own_names_of_the_recipes_are_those_of_the_lab() -> None:
    for name in RECIPES:
        with pytest.raises(BadRecipe):
            own_recipe("plain18", "original", name=name, changes={"epochs": 9})
