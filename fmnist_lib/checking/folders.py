"""A folder that was handed in, and many of them: what is in it is found, each part is checked, none stops the rest."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from fmnist_lib import __version__, data
from fmnist_lib.checking.findings import Finding, as_rows
from fmnist_lib.checking.notebooks import check_notebook
from fmnist_lib.checking.reports import check_report
from fmnist_lib.checking.runs import Work, check_run
from fmnist_lib.errors import LabError
from fmnist_lib.runs.places import Site

PASSED_OVER = {"epochs", "build", "templates", "node_modules", "__pycache__", "__MACOSX"}
DEEPEST = 6  # folders below the one that was named
MOST_FILES = 20_000
HERE = Site()


@dataclass
class Handed:
    """One folder: what lies in it, and what was found."""

    path: Path
    name: str
    findings: list[Finding] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def check_folders(
    paths: Sequence[Path], *, site: Site = HERE, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Check each folder by itself, then all against each other; plain values, as `findings.as_rows` describes them.

    Nothing in the folders is run or unpickled, or written to. Raises DataError when the data set is not to be had.
    """
    from fmnist_lib.checking import twins  # which knows what a folder is

    data.load("test", data_folder=site.data_folder)  # before sixty folders are blamed for it
    folders = []
    for number, path in enumerate(paths, start=1):
        tell(f"{number} of {len(paths)}: {path}")
        folders.append(check_folder(path, site=site))
    twins.compare(folders)
    return {
        "checked": date.today().isoformat(),
        "version": __version__,
        "folders": [as_rows(handed.name, handed.findings) for handed in folders],
    }


def check_folder(path: Path, *, site: Site) -> Handed:
    """Check what lies in one folder."""
    handed = Handed(path, str(path))
    if not path.is_dir():
        what = "is a file: unpack it first" if path.exists() else "does not exist"
        handed.findings.append(Finding("files", "red", handed.name, f"{path} {what}"))
        return handed
    files, left_out = find_files(path)
    handed.findings += left_out
    for file in files:
        name = file.relative_to(path).as_posix()
        guard(handed, name, partial(check_file, handed, file, name, site))
    for file in files:  # after the runs, with which they are compared
        if file.name in ("report.md", "report.zh.md"):
            name = file.relative_to(path).as_posix()
            guard(handed, name, partial(add_report, handed, file, name))
    add_what_is_missing(handed, files)
    return handed


def guard(handed: Handed, name: str, check: Callable[[], object]) -> None:
    """Let a check run; whatever a stranger's file makes go wrong is a finding and not the end."""
    try:
        check()
    except (LabError, MemoryError) as error:
        handed.findings.append(Finding("files", "red", name, str(error) or "it needs more memory than there is"))
    except Exception as error:  # a file made to break what reads it must not keep the other folders from being checked
        handed.findings.append(Finding("files", "red", name, f"cannot be checked ({type(error).__name__}: {error})"))


def find_files(path: Path) -> tuple[list[Path], list[Finding]]:
    """Runs, notebooks and reports, in the order of their names; no link is followed out of the folder."""
    found: list[Path] = []
    left_out: list[Finding] = []
    seen = 0
    for place, folders, names in os.walk(path):
        deep = len(Path(place).relative_to(path).parts)
        folders[:] = sorted(f for f in folders if f not in PASSED_OVER and f[:1] != "." and deep < DEEPEST)
        seen += len(names)
        if seen > MOST_FILES:
            left_out.append(Finding("files", "amber", path.name, f"more than {MOST_FILES:,} files; not all were seen"))
            break
        for name in sorted(names):
            file = Path(place) / name
            if name in ("run.json", "report.md", "report.zh.md") or file.suffix == ".ipynb":
                if file.is_symlink() or not file.is_file():
                    left_out.append(Finding("files", "red", name, "is a link or no plain file, and was not read"))
                else:
                    found.append(file)
    return found, left_out


def check_file(handed: Handed, file: Path, name: str, site: Site) -> None:
    """Check a run or a notebook."""
    if file.name == "run.json":
        work = check_run(file.parent, file.parent.name, site=site)
        handed.works.append(work)
        handed.findings += work.findings
    elif file.suffix == ".ipynb":
        paper = check_notebook(file, name)
        handed.findings += paper.findings
        handed.texts |= paper.texts


def add_report(handed: Handed, file: Path, name: str) -> None:
    """Check a report against the runs that lie beside it."""
    handed.findings += check_report(file, name, handed.works)


def add_what_is_missing(handed: Handed, files: list[Path]) -> None:
    """Say which parts of a lab are not there, and whether a run is the student's own."""
    parts = {
        "runs": bool(handed.works),
        "notebooks": any(file.suffix == ".ipynb" for file in files),
        "report": any(file.suffix == ".md" for file in files),
    }
    missing = [name for name, there in parts.items() if not there]
    if missing:
        colour = "red" if len(missing) == len(parts) else "amber"
        handed.findings.append(Finding("files", colour, handed.name, f"there are no {', no '.join(missing)}"))
    else:
        handed.findings.append(Finding("files", "green", handed.name, "runs, notebooks and a report are there"))
    own = [work.name for work in handed.works if work.run is not None and not work.handed_out]
    if own:
        handed.findings.append(Finding("own work", "green", handed.name, f"runs of their own: {', '.join(own)}"))
    elif handed.works:
        reason = "no run of their own: all that could be read are the handed-out ones"
        handed.findings.append(Finding("own work", "amber", handed.name, reason))
