"""Who hands in the report, and for what course: report.toml, and the title page that follows from it."""

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fmnist_lib.runs.places import home
from fmnist_lib.runs.storage import RunError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]  # the same, for Python 3.10

FILE = "report.toml"
LANGUAGES = ("en", "zh")
LONGEST = 200  # characters of a field: a title page has one line for each


class ReportError(RunError):
    """A report that cannot be made; the message says what of it, why, and what was kept."""


@dataclass(frozen=True)
class Details:
    """What stands on the title page; what is empty is a line to write on. `runs` are the runs the report is about."""

    title: str = ""
    name: str = ""
    student_number: str = ""
    course: str = ""
    school: str = ""
    teacher: str = ""
    date: str = ""
    language: str = "en"
    runs: list[str] = field(default_factory=list)


def read_details(folder: Path | None = None) -> Details:
    """The details in the report.toml of `folder`, by default the lab's; empty ones where there is no such file.

    Raises ReportError for a file that is no TOML, and for a field that is unknown, of another kind, or too long.
    """
    path = (folder or home()) / FILE
    if not path.is_file():
        return Details()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ReportError(f'{path} cannot be read: {error}. Text stands in quotes: name = "Ada"') from error
    known = {each.name for each in fields(Details)}
    if unknown := sorted(set(content) - known):
        raise ReportError(f"{path} has {', '.join(unknown)}, and the title page {', '.join(sorted(known))}")
    details = Details(**{name: as_text(path, name, value) for name, value in content.items()})
    if details.language not in LANGUAGES:
        raise ReportError(f"{path}: language is {details.language!r}: choose one of {', '.join(LANGUAGES)}")
    return details


def as_text(path: Path, name: str, value: Any) -> Any:
    """A field as it is printed: one line; dates and numbers may stand without quotes. Raises ReportError."""
    if name == "runs":
        if not isinstance(value, list) or not all(isinstance(run, str) for run in value):
            raise ReportError(f'{path}: runs is a list of names in quotes, such as runs = ["resnet18-original"]')
        return value
    if isinstance(value, (dict, list)):
        raise ReportError(f"{path}: {name} is {value!r}, and should be text in quotes")
    text = " ".join(str(value).split())
    if len(text) > LONGEST:
        raise ReportError(f"{path}: {name} has {len(text)} characters; at most {LONGEST} fit on the title page")
    return text


def find_folder(start: Path) -> Path:
    """The nearest folder with a report.toml, from `start` upwards; else the lab's."""
    here = start.absolute()
    return next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), home())
