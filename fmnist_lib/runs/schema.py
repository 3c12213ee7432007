"""What run.json may hold: checked field by field before anything is built from it, since it may be a stranger's."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from fmnist_lib.data import CLASSES, SPLITS
from fmnist_lib.training.precision import Plan

MOST = 2**31  # of any count
LONGEST = 1000  # characters of a text
ROW = ("epoch", "train_loss", "train_accuracy", "lr", "seconds", "val_loss", "val_accuracy")
POINT = ("step", "loss", "accuracy")
FILES = ("weights.safetensors", "recording.npz", "figures")
Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """A short text of characters that UTF-8 can hold."""
    return isinstance(value, str) and len(value) <= LONGEST and not any("\ud800" <= each <= "\udfff" for each in value)


def is_count(value: Any) -> bool:
    """A whole number from 0 that is no larger than counts get."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def is_number(value: Any) -> bool:
    """Any number; a loss may be infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2.0**1000


def is_share(value: Any) -> bool:
    """A number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_digest(value: Any) -> bool:
    """A SHA-256 in hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def is_seed(value: Any) -> bool:
    """What a training is seeded with."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_dict(value: Any, keys: Check, values: Check) -> bool:
    """A dictionary whose keys and values are as they should be."""
    return isinstance(value, dict) and all(keys(key) and values(each) for key, each in value.items())


def is_list(value: Any, check: Check) -> bool:
    """A list whose items are as they should be."""
    return isinstance(value, list) and all(map(check, value))


def is_row(value: Any, columns: tuple[str, ...]) -> bool:
    """A row of numbers with at least these columns."""
    return is_dict(value, is_text, is_number) and set(columns) <= set(value)


def is_history(value: Any) -> bool:
    """Rows for the epochs, which count from 1, and for points of the curve."""
    if not isinstance(value, dict) or set(value) != {"epochs", "steps"}:
        return False
    if not is_list(value["epochs"], lambda row: is_row(row, ROW)):
        return False
    numbers = [row["epoch"] for row in value["epochs"]]
    return numbers == list(range(1, len(numbers) + 1)) and is_list(value["steps"], lambda row: is_row(row, POINT))


def is_environment(value: Any) -> bool:
    """Names, and what a line of text or a number says of them."""
    return is_dict(value, is_text, lambda each: each is None or is_text(each) or is_number(each))


def is_evaluation(value: Any) -> bool:
    """Figures by split."""
    return is_dict(value, lambda split: split in SPLITS, are_figures)


def are_figures(value: Any) -> bool:
    """What `measure.evaluate_runs` gives; whether the parts agree is for `check` to say."""
    parts = {"images", "accuracy", "loss", "per_class", "confusion"}
    if not isinstance(value, dict) or not parts <= set(value) <= parts | {"flip", "doubt_below"}:
        return False
    confusion, flip = value["confusion"], value.get("flip", {"accuracy": 0, "loss": 0})
    return (
        is_count(value["images"])
        and is_list(confusion, lambda row: is_list(row, is_count) and len(row) == len(confusion))
        and sum(map(sum, confusion)) == value["images"] > 0
        and is_share(value["accuracy"])
        and is_number(value["loss"])
        and is_share(value.get("doubt_below", 0))
        and is_dict(value["per_class"], lambda name: name in CLASSES, is_share)
        and set(value["per_class"]) == set(CLASSES)
        and isinstance(flip, dict)
        and set(flip) == {"accuracy", "loss"}
        and is_share(flip["accuracy"])
        and is_number(flip["loss"])
    )


def is_recipe(value: Any) -> bool:
    """A dictionary without texts of any length; Recipe itself will look into it."""
    return is_dict(value, is_text, lambda each: not isinstance(each, str) or is_text(each))


CHECKS: dict[str, Check] = {
    "format": lambda value: value in (1, 2),
    "model": is_text,
    "recipe": is_recipe,
    "seed": is_seed,
    "environment": is_environment,
    "evaluation": is_evaluation,
    "history": is_history,
}
OPTIONAL: dict[str, Check] = {
    "overrides": lambda value: isinstance(value, dict),  # of before the recipe said it all
    "teacher_digest": is_digest,
    "files": lambda value: is_dict(value, lambda name: name in FILES, is_digest),
    "sha256": is_digest,
}


def find_fault(content: dict[str, Any]) -> str:
    """What is wrong with the content of a run.json, in words; "" where it is as this library writes it."""
    missing, unknown = set(CHECKS) - set(content), set(content) - set(CHECKS) - set(OPTIONAL)
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    if unknown:
        return f"it has the unknown field {min(unknown)[:40]!r}"
    wrong = [name for name, value in content.items() if not (CHECKS | OPTIONAL)[name](value)]
    return f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not what belongs there" if wrong else ""


def find_fault_in_state(state: dict[str, Any]) -> str:
    """What is wrong with a state, in words; "" where training may look into it."""
    try:
        Plan.from_dict(state["plan"])
        is_good = (
            is_dict(state["model"], is_text, lambda value: isinstance(value, Tensor))
            and is_history(state["history"])
            and len(state["history"]["epochs"]) == state["epoch"]
            and is_list(state["optimizers"], lambda value: isinstance(value, dict))
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"it lacks or misnames {error}"
    return "" if is_good else "its fields are not what belongs there"
