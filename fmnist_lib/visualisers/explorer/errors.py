"""The one exception of the explorer, and the check that raises it."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from fmnist_lib.errors import LabError


class ExplorerError(LabError):
    """What was asked for does not exist or does not fit; the message lists what does."""


def check(what: str, value: Any, valid: Collection[Any], *, hint: str = "") -> None:
    """Raise ExplorerError unless `value` is one of `valid`."""
    if value in valid:
        return
    shown = ", ".join(map(str, list(valid)[:40])) + (" ..." if len(valid) > 40 else "")
    raise ExplorerError(f"no {what} {value!r}: choose one of {shown or '(there is none)'}{hint}")


def as_list(what: str, value: Any) -> list[Any]:
    """One name or several as a list, numpy's numbers made plain. Raises ExplorerError for a number or nothing."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable):
        raise ExplorerError(f"{what}={value!r}: give a list, such as {what}=[{0 if value is None else value!r}]")
    return [to_python(item) for item in value]


def as_list_or_none(what: str, value: Any) -> list[Any] | None:
    """The same of what need not be given."""
    return None if value is None else as_list(what, value)


def check_suffix(path: Path, *valid: str) -> None:
    """Raise ExplorerError, with a name that would do, unless a file's suffix is one of `valid`."""
    if path.suffix.lower() not in valid:
        raise ExplorerError(f"cannot write {path} as {' or '.join(valid)}: name it {path.with_suffix(valid[0])}")


def to_python(value: Any) -> Any:
    """Python's own number for one of numpy or torch."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
