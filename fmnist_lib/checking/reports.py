"""The report that was handed in: are the accuracies in its tables those of its runs?"""

import re
from collections.abc import Iterator
from pathlib import Path

from fmnist_lib.checking.findings import Finding
from fmnist_lib.checking.runs import Work

PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")
TEST = re.compile(r"\btest\b|测试", re.IGNORECASE)
TOLERANCE = 0.0011  # of an accuracy: another processor's images, and two decimals
LARGEST = 5e6  # bytes


def check_report(path: Path, name: str, works: list[Work]) -> list[Finding]:
    """Compare each test accuracy that a table gives for a network with what was measured."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than any report")
        claims = list(claimed_accuracies(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        return [Finding("report", "red", name, f"cannot be read: {error}")]
    findings, compared = [], 0
    for network, said in claims:
        measured = [work.measured["test"] for work in works if is_named(work, network) and "test" in work.measured]
        compared += bool(measured)
        if measured and min(abs(said - accuracy) for accuracy in measured) > TOLERANCE:
            nearest = min(measured, key=lambda accuracy: abs(said - accuracy))
            reason = f"it says {said:.2%} on the test images for {network}; the weights reach {nearest:.2%}"
            findings.append(Finding("report", "red", name, reason))
    if findings:
        return findings
    if not compared:
        return [Finding("report", "amber", name, "it has no table of test accuracies to compare with the weights")]
    return [Finding("report", "green", name, f"{compared} test accuracies are those of the weights")]


def is_named(work: Work, network: str) -> bool:
    """Whether a table's row is about this run: by the run's name or its network's."""
    named = network.lower().replace("-", "")  # ResNet-18 is resnet18
    return work.run is not None and named in (work.path.name.replace("-", ""), work.run.model_name)


def claimed_accuracies(text: str) -> Iterator[tuple[str, float]]:
    """Network and share from Markdown tables with a column about the test images; 0.2 or lower is no accuracy of ours
    but a difference."""
    column = None
    for line in text.splitlines():
        cells = [cell.strip(" `*") for cell in line.strip().strip("|").split("|")] if line.lstrip()[:1] == "|" else []
        if not cells:
            column = None
        elif column is None:
            column = next((place for place, cell in enumerate(cells) if TEST.search(cell)), -1)
        elif 0 < column < len(cells) and (found := PERCENT.search(cells[column])) and float(found[1]) > 20:
            yield cells[0], float(found[1]) / 100
