"""A notebook that was handed in: run in order from a fresh kernel, without error, tasks answered, given cells kept."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmnist_lib.checking.findings import Finding
from fmnist_lib.checking.handed_out import handed_out, source_hash

LARGEST = 60e6  # bytes; ours take 6 MB
# What nbgrader and `make handout` leave where an answer belongs.
UNANSWERED = re.compile(r"YOUR (CODE|ANSWER) HERE|raise NotImplementedError\(\)")
MEASURED_TIME = re.compile(r"\d+\.\d+ ?s\b")
SHORTEST = 60  # characters of a text that two people would hardly write alike


@dataclass
class Paper:
    """A notebook's findings, and what in it is the student's own."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # hash -> beginning

    def say(self, check: str, colour: str, reason: str) -> None:
        """Note a finding about this notebook."""
        self.findings.append(Finding(check, colour, self.name, reason))


def check_notebook(path: Path, name: str) -> Paper:
    """Everything that can be said of one notebook by itself; nothing in it is run."""
    paper = Paper(name)
    try:
        cells = read_cells(path)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        paper.say("notebooks", "red", f"cannot be read as a notebook: {error}")
        return paper
    check_runs(paper, [cell for cell in cells if cell["cell_type"] == "code" and text_of(cell).strip()])
    known = most_like(cells)
    check_given(paper, cells, known)
    check_tasks(paper, cells)
    given = {digest for notebook in handed_out()["notebooks"].values() for digest in notebook["cells"].values()}
    keep_own_texts(paper, cells, given)
    return paper


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook. Raises ValueError, TypeError or KeyError for what is none."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it takes {path.stat().st_size / 1e6:,.0f} MB")
    cells = json.loads(path.read_bytes())["cells"]
    for cell in cells:
        text_of(cell), outputs_of(cell), cell["cell_type"]
    return cells


def text_of(cell: dict[str, Any]) -> str:
    """A cell's source."""
    return "".join(cell["source"])


def outputs_of(cell: dict[str, Any]) -> list[str]:
    """The kinds of a cell's outputs."""
    return [output["output_type"] for output in cell.get("outputs", [])]


def check_runs(paper: Paper, cells: list[dict[str, Any]]) -> None:
    """Whether all code cells were run, once, in order, from a fresh kernel, and none ended in an error."""
    counts = [cell.get("execution_count") for cell in cells]
    failed = [number for number, cell in enumerate(cells, start=1) if "error" in outputs_of(cell)]
    if not any(counts):
        paper.say("notebooks", "red", "it was not run")
    elif failed:
        paper.say("notebooks", "red", f"code cell {failed[0]} ends in an error")
    elif None in counts:
        paper.say("notebooks", "amber", f"code cell {counts.index(None) + 1} was not run")
    elif counts != list(range(1, len(counts) + 1)):
        paper.say("notebooks", "amber", "not run in order from a fresh kernel: Kernel, Restart and Run All Cells")
    else:
        shown = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        paper.say("notebooks", "green", f"{len(cells)} code cells run in order without error, {shown} pictures")


def most_like(cells: list[dict[str, Any]]) -> str:
    """The handed-out notebook that shares most cells with this one, by source or by id; "" for one of their own."""
    sources, ids = {source_hash(text_of(cell)) for cell in cells}, {cell.get("id") for cell in cells}
    shared = {
        name: len(sources & set(known["cells"].values())) + len(ids & set(known["cells"]))
        for name, known in handed_out()["notebooks"].items()
    }
    best = max(shared, key=lambda name: shared[name], default="")
    return best if best and shared[best] else ""


def check_given(paper: Paper, cells: list[dict[str, Any]], known: str) -> None:
    """Whether the cells that are not the student's to fill are there, unchanged."""
    if not known:
        return paper.say("notebooks", "amber", "it is none of the handed-out notebooks")
    given, locked = handed_out()["notebooks"][known]["cells"], handed_out()["notebooks"][known]["locked"]
    sources, ids = {source_hash(text_of(cell)) for cell in cells}, {cell.get("id") for cell in cells}
    lost = [name for name, digest in given.items() if digest not in sources]
    changed, deleted = [name for name in lost if name in ids], [name for name in lost if name not in ids]
    for what, names in (("changed", changed), ("deleted", deleted)):
        if names:
            colour = "red" if set(names) & set(locked) else "amber"
            checks = "; checks among them" if colour == "red" else ""
            paper.say("notebooks", colour, f"given cells {what}: {', '.join(names[:5])} ({len(names)} in all{checks})")


def check_tasks(paper: Paper, cells: list[dict[str, Any]]) -> None:
    """Whether something was written where an answer belongs, and whether its check says that it is right."""
    tasks = [cell for cell in cells if cell.get("metadata", {}).get("nbgrader", {}).get("solution")]
    empty = [cell for cell in tasks if UNANSWERED.search(text_of(cell)) or not text_of(cell).strip()]
    if empty:
        names = ", ".join(str(cell["metadata"]["nbgrader"].get("grade_id", "")) for cell in empty)
        paper.say("tasks", "amber", f"{len(empty)} of {len(tasks)} tasks not answered: {names}")
    elif tasks:
        paper.say("tasks", "green", f"all {len(tasks)} tasks answered")


def keep_own_texts(paper: Paper, cells: list[dict[str, Any]], given: set[str]) -> None:
    """Note what the student wrote, and the times that were measured on their machine, by hash."""
    for cell in cells:
        text = text_of(cell)
        if source_hash(text) not in given and len(text.strip()) >= SHORTEST:
            paper.texts[source_hash(text)] = " ".join(text.split())[:60]
        for output in cell.get("outputs", []):
            printed = "".join(output.get("text", []))
            if MEASURED_TIME.search(printed) and source_hash(printed) not in given:
                paper.texts[source_hash(printed)] = "measured times: " + " ".join(printed.split())[:60]
