"""The students' version holds no solution, and is of nbgrader's form."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from fmnist_lib.course.checks import TASKS
from fmnist_lib.course.handout import SOLUTION, HandoutError, make_handout, without_solutions

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def solution_cell(source: str) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, metadata={"nbgrader": {"solution": True}})
    return nbformat.v4.new_notebook(cells=[cell])


def test_a_solution_becomes_a_stub_of_the_same_indentation() -> None:
    source = "def f():\n    ### BEGIN SOLUTION\n    x = 1\n\n    return x\n    ### END SOLUTION\n\n\nprint(f)"
    [cell] = without_solutions(solution_cell(source)).cells
    assert cell.source == "def f():\n    # YOUR CODE HERE\n    raise NotImplementedError()\n\n\nprint(f)"


@pytest.mark.parametrize("marker", ["### BEGIN SOLUTION", "### END SOLUTION"])
def test_a_marker_alone_is_refused(marker: str) -> None:
    with pytest.raises(HandoutError, match="stands alone"):
        without_solutions(solution_cell(f"x = 1\n{marker}"))


def solution_lines(source: str) -> set[str]:
    """The lines of the solutions in a cell."""
    return {line.strip() for found in SOLUTION.finditer(source) for line in found[0].splitlines()[1:-1]} - {""}


def told(notebook: nbformat.NotebookNode) -> set[str]:
    """The lines that stand in a notebook outside of solutions, too, such as `handle.remove()` where hooks are shown."""
    outside = "\n".join(SOLUTION.sub("", cell.source) for cell in notebook.cells)
    words = re.sub(r"[`>]", "\n", outside)
    return {line.strip() for line in words.splitlines()}


def test_no_line_of_a_solution_is_left_in_the_handout(tmp_path: Path) -> None:
    solved = {path.name: nbformat.read(path, as_version=4) for path in NOTEBOOKS.glob("*.ipynb")}
    written = make_handout(NOTEBOOKS, tmp_path)
    assert {path.name for path in written} == set(solved)
    for path in written:
        text = path.read_text()
        assert "SOLUTION" not in text
        handed = nbformat.read(path, as_version=4)
        assert not any(cell.get("outputs") for cell in handed.cells) and "measured" not in handed.metadata
        for before, after in zip(solved[path.name].cells, handed.cells, strict=True):
            if "BEGIN SOLUTION" in before.source:
                secret = solution_lines(before.source) - told(solved[path.name])
                assert secret and not [line for line in secret if json.dumps(line)[1:-1] in text]
                assert "raise NotImplementedError()" in after.source


def test_every_task_has_a_solution_cell_and_a_locked_check_with_points() -> None:
    seen: list[str] = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
        assert all(cell.metadata.nbgrader.schema_version == 3 for cell in marked)
        for solution, judged in zip(marked[::2], marked[1::2], strict=True):
            name = solution.metadata.nbgrader.grade_id
            assert solution.metadata.nbgrader.solution and "### BEGIN SOLUTION" in solution.source
            grader = judged.metadata.nbgrader
            assert grader.grade and grader.locked and grader.points > 0 and not grader.solution
            assert f'check("{name}")' in judged.source
            seen.append(name)
    assert len(set(seen)) == len(seen) and set(seen) <= set(TASKS)


def first_task(notebook: nbformat.NotebookNode) -> int:
    """Where the first cell is that a student writes."""
    return next(i for i, cell in enumerate(notebook.cells) if cell.metadata.get("nbgrader", {}).get("solution"))


def has_task(path: Path) -> bool:
    """Whether there is something to solve."""
    return "### BEGIN SOLUTION" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb")) if has_task(path)])
def test_the_handout_runs_up_to_its_first_task_whose_check_then_says_what_is_missing(name: str, tmp_path: Path) -> None:
    make_handout(NOTEBOOKS, tmp_path)
    notebook = nbformat.read(tmp_path / name, as_version=4)
    place = first_task(notebook)
    notebook.cells = notebook.cells[: place + 2]
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=os.environ | {"FMNIST_HOME": str(tmp_path)})
    [error] = [output for output in notebook.cells[-1].outputs if output.output_type == "error"]
    assert error.ename == "NotYet" and "still to be written" in error.evalue


def test_for_a_repository_each_notebook_gets_a_badge_and_a_cell_that_does_nothing_here(tmp_path: Path) -> None:
    for path in make_handout(NOTEBOOKS, tmp_path, repository="owner/name"):
        _, badge, fetch, *_ = nbformat.read(path, as_version=4).cells
        assert f"/github/owner/name/blob/main/notebooks/{path.name})" in badge.source
        assert "https://github.com/owner/name ~/lab" in fetch.source
    before = Path.cwd(), list(sys.path), set(tmp_path.iterdir())
    shell = InteractiveShell.instance()
    assert shell.run_cell(fetch.source).success
    InteractiveShell.clear_instance()
    assert (Path.cwd(), list(sys.path), set(tmp_path.iterdir())) == before


@pytest.mark.parametrize("repository", ["https://github.com/owner/name", "name", "owner/name; rm x"])
def test_what_is_no_repository_is_refused(repository: str, tmp_path: Path) -> None:
    with pytest.raises(HandoutError, match="OWNER/NAME"):
        make_handout(NOTEBOOKS, tmp_path, repository=repository)
    assert not list(tmp_path.iterdir())
