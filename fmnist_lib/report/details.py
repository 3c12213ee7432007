"""report.toml: who hands the report in, to whom, in which language, and on which runs it stands.

```toml
name = "Ada Lovelace"
student_number = "18151210"
course = "Machine learning"
school = "School of Mathematics"
teacher = "A. De Morgan"
date = 2026-11-27        # a date, or text as it should be printed
language = "en"          # en or zh
runs = ["resnet18-original", "alexnet-original"]  # folders under checkpoints/; without it, those of the course
```

Every value is plain text: it is printed as it stands, with no Markdown and no HTML in it.
"""

import datetime
import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fmnist_lib.errors import LabError, LabWarning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "report.toml"
LANGUAGES = ("en", "zh")
LONGEST = 200  # characters of one value; more would not fit on a title page


class DetailsError(LabError):
    """A report.toml that cannot be used; the message says where and why, and what to write instead."""


@dataclass(frozen=True)
class Details:
    """What report.toml says; empty where it says nothing. `date` is text, `runs` names of folders."""

    name: str = ""
    student_number: str = ""
    course: str = ""
    school: str = ""
    teacher: str = ""
    date: str = ""
    language: str = "en"
    runs: tuple[str, ...] = ()


NAMES = tuple(field.name for field in fields(Details))
OPTIONAL = ("language", "runs")  # for these there is a good default; the others are somebody's to fill in


def read_details(folder: Path) -> Details:
    """What the report.toml in `folder`, or in the nearest folder above it, says; without one all is empty.

    A field that is missing is left empty, with a LabWarning. Raises DetailsError.
    """
    path = find_details(folder)
    if path is None:
        return Details()
    return check(parse(path), path)


def find_details(folder: Path) -> Path | None:
    """The nearest report.toml, from `folder` upwards."""
    here = folder.absolute()
    return next((place / FILE for place in (here, *here.parents) if (place / FILE).is_file()), None)


def parse(path: Path) -> dict[str, Any]:
    """A TOML file's content. Raises DetailsError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DetailsError(f"{path} cannot be read ({error.strerror or error}). Nothing was written") from error
    except UnicodeDecodeError as error:
        raise DetailsError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8; nothing was written") from error
    except tomllib.TOMLDecodeError as error:
        raise DetailsError(f'{path} is not TOML: {error}. A line reads name = "…"; nothing was written') from error


def check(content: dict[str, Any], path: Path) -> Details:
    """The fields, each of its type. Raises DetailsError for a wrong value, warns of missing and unknown names."""
    values = {name: check_value(name, content[name], path) for name in NAMES if name in content}
    missing = [name for name in NAMES if name not in content and name not in OPTIONAL]
    unknown = [name for name in content if name not in NAMES]
    if missing or unknown:
        told = [f"has no {', '.join(missing)}, which the title page leaves blank"] if missing else []
        told += [f"has {', '.join(map(repr, unknown))}, which means nothing here"] if unknown else []
        warnings.warn(LabWarning(f"{path} {' and '.join(told)}; its fields are {', '.join(NAMES)}"), stacklevel=3)
    return Details(**values)


def check_value(name: str, value: Any, path: Path) -> Any:
    """One field's value, as Details holds it. Raises DetailsError."""
    if name == "runs":
        return check_runs(value, path)
    if name == "date" and isinstance(value, datetime.date):  # TOML has dates of its own; a datetime is one, too
        return value.strftime("%Y-%m-%d")
    if not isinstance(value, str):
        raise DetailsError(f'{path}: {name} is {value!r}, and must be text in quotes: {name} = "{value}"')
    text = " ".join(value.split())
    if len(text) > LONGEST:
        raise DetailsError(f"{path}: {name} is {len(text)} characters long; a title page has room for {LONGEST}")
    if broken := [sign for sign in text if not sign.isprintable() and sign not in JOINERS]:
        raise DetailsError(f"{path}: {name} has a sign that cannot be printed ({broken[0]!r})")
    if name == "language" and text not in LANGUAGES:
        raise DetailsError(f"{path}: language is {text!r}, and must be one of {', '.join(LANGUAGES)}")
    return text


JOINERS = "\u200c\u200d"  # they join signs to one: emojis, and letters of some alphabets


def check_runs(value: Any, path: Path) -> tuple[str, ...]:
    """Names of folders. Raises DetailsError."""
    if not isinstance(value, list) or not all(isinstance(run, str) for run in value):
        raise DetailsError(f'{path}: runs is {value!r}, and must be a list of names: runs = ["resnet18-original"]')
    if wrong := [run for run in value if Path(run).name != run or run in ("", "..")]:
        raise DetailsError(f"{path}: runs are names of folders under checkpoints/, without a path; not {wrong[0]!r}")
    return tuple(dict.fromkeys(value))
