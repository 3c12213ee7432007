"""What was found, as a table: a colour for every check of a folder, and a reason in words for every colour."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CHECKS = ("files", "weights", "history", "accuracy", "recording", "report", "notebooks", "tasks", "own work")
COLOURS = ("green", "amber", "red")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `about` names the run or the file, `check` is one of CHECKS."""

    check: str
    colour: str
    about: str
    reason: str


def worst(findings: Iterable[Finding]) -> str:
    """The worst colour among them; "" of none."""
    places = [COLOURS.index(finding.colour) for finding in findings]
    return COLOURS[max(places)] if places else ""


def as_rows(folder: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """A folder as plain values: its verdict, a colour a check, and every finding."""
    return {
        "folder": folder,
        "verdict": worst(findings),
        "colours": {check: worst(found for found in findings if found.check == check) for check in CHECKS},
        "findings": [asdict(finding) for finding in findings],
    }


def as_csv(folders: Sequence[dict[str, Any]]) -> str:
    """A line for every finding of every folder; no cell begins as a spreadsheet's formula does."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("folder", "verdict", "check", "colour", "about", "reason"))
    for row in folders:
        for found in row["findings"]:
            cells = (row["folder"], row["verdict"], *(found[name] for name in ("check", "colour", "about", "reason")))
            writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell for cell in cells])
    return text.getvalue()


def as_table(folders: Sequence[dict[str, Any]]) -> str:
    """For people: a line a folder with a colour a check, then the reasons; of one folder also those of the greens."""
    heads = ("folder", *CHECKS)
    lines = [heads, *((row["folder"], *(row["colours"][check] or "-" for check in CHECKS)) for row in folders)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown = COLOURS if len(folders) == 1 else COLOURS[1:]  # a receipt of one, a list of what is to be looked at of many
    for row in folders:
        reasons = [found for colour in reversed(shown) for found in row["findings"] if found["colour"] == colour]
        if reasons:
            table += ["", f"{row['folder']}: {row['verdict']}"]
        table += [f"  {it['colour']:5}  {it['check']}, {it['about']}: {it['reason']}" for it in reasons]
    return "\n".join(table)
