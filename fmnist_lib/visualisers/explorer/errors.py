"""The one exception of the explorer, and the check that raises it."""

from collections.abc import Collection
from typing import Any

from fmnist_lib.errors import LabError


class ExplorerError(LabError):
    """What was asked for does not exist or does not fit; the message lists what does."""


def check(what: str, value: Any, valid: Collection[Any]) -> None:
    """Raise ExplorerError unless `value` is one of `valid`."""
    if value in valid:
        return
    shown = ", ".join(map(str, list(valid)[:40])) + (" ..." if len(valid) > 40 else "")
    raise ExplorerError(f"no {what} {value!r}: choose one of {shown or '(there is none)'}")
