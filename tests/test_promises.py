"""The promises of docs/promises.md, each tried a few times: benchmarks/faults.py in its short form."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What came of it, by the promise's number; a process of its own, since one with threads cannot fork."""
    file = tmp_path_factory.mktemp("faults") / "faults.json"
    command = [sys.executable, "benchmarks/faults.py", "--short", "--out", str(file)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=1500)
    return {row["promise"]: row for row in json.loads(file.read_text())["rows"]}


@pytest.mark.parametrize("promise", range(1, 12))
def test_a_promise_is_kept(rows: dict[int, dict[str, Any]], promise: int) -> None:
    row = rows[promise]
    assert row["tried"] > 0 and row["failures"] == [] and row["passed"] == row["tried"]


def test_the_page_tells_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "faults.json").read_text())["rows"]
    page = (ROOT / "docs" / "promises.md").read_text()
    told = re.findall(r"^\| (\d+) \|.*\| ([\d,]+) of ([\d,]+) \|$", page, re.MULTILINE)
    numbers = [tuple(int(number.replace(",", "")) for number in row) for row in told]
    assert numbers == [(row["promise"], row["passed"], row["tried"]) for row in measured]
