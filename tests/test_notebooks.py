"""Every notebook runs from a fresh kernel, and is stored as a reader should find it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from fmnist_lib.report.running import digest_measured

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def shorten(text: str) -> str:
    """A notebook whose own trainings see a few images once."""
    return re.sub(r"(name=\\\"mine\\\", )images=[\d_]+, epochs=\d+", r"\1images=256, epochs=1", text)


def test_nbval(tmp_path: Path) -> None:
    """Each from a fresh kernel, with the stored runs; compares the cells whose output cannot vary."""
    shutil.copytree(ROOT / "checkpoints", tmp_path / "checkpoints", ignore=shutil.ignore_patterns("*-mine", "epochs"))
    for path in NOTEBOOKS:
        (tmp_path / path.name).write_text(shorten(path.read_text(encoding="utf-8")), encoding="utf-8")
    environment = os.environ | {"FMNIST_HOME": str(tmp_path)}
    options = ["--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(path.name for path in NOTEBOOKS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_executed_from_first_to_last(notebook: nbformat.NotebookNode) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_errors_no_warnings_no_widget_state(notebook: nbformat.NotebookNode) -> None:
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        assert "execution" not in cell.metadata
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            assert WIDGET_VIEW not in output.get("data", {})


def test_it_shows_what_the_benchmarks_measured_last(notebook: nbformat.NotebookNode) -> None:
    """Once a race was run anew, and a picture of the one before stayed."""
    assert notebook.metadata.get("measured", {}) == digest_measured(notebook), "run it anew: make notebooks"


def test_no_axis_ends_at_a_number_in_the_code(notebook: nbformat.NotebookNode) -> None:
    """Once runs became faster than the axis began, and were not in the picture."""
    assert [cell.source for cell in code_cells(notebook) if re.search(r"[xy]lim\b", cell.source)] == []


def test_a_text_with_code_in_it(notebook: nbformat.NotebookNode) -> None:
    cells = notebook.cells
    markdown = [cell for cell in cells if cell.cell_type == "markdown"]
    code = code_cells(notebook)
    assert cells[0].cell_type == "markdown"
    assert len(markdown) >= len(code) * 0.9
    assert max(len(cell.source.splitlines()) for cell in code) <= 25
    lines = sum(len([line for line in cell.source.splitlines() if line.strip()]) for cell in code)
    words = sum(len(cell.source.split()) for cell in markdown)
    assert words >= 4 * lines


def test_small_and_without_paths(notebook: nbformat.NotebookNode) -> None:
    text = nbformat.writes(notebook)
    assert len(text) <= 2_500_000
    for cell in code_cells(notebook):
        for output in cell.outputs:
            plain = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            assert "/home/" not in plain
            assert "/root/" not in plain
            assert str(ROOT.parent) + "/" not in plain or str(ROOT.parent) == "/"
