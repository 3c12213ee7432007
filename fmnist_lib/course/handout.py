"""The students' version of the notebooks: no solutions, no outputs. The form is nbgrader's, schema version 3.

A solution stands between `### BEGIN SOLUTION` and `### END SOLUTION` in a cell whose metadata say that it is one.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fmnist_lib.errors import LabError
from fmnist_lib.files import write_atomically

SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION[^\n]*\n.*?^[ \t]*### END SOLUTION[^\n]*$", re.DOTALL | re.MULTILINE)
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"


class HandoutError(LabError):
    """A notebook of which no students' version can be made."""


def make_handout(source: Path, out: Path) -> list[Path]:
    """Write the students' version of every notebook in `source` into `out`. Raises HandoutError."""
    paths = sorted(source.glob("[0-9]*.ipynb"))
    if not paths:
        raise HandoutError(f"no notebooks in {source}: run this in the lab's folder, or set FMNIST_HOME to it")
    texts = {path.name: nbformat.writes(without_solutions(nbformat.read(path, as_version=4))) for path in paths}
    for name, text in texts.items():
        write_atomically(out / name, lambda file, text=text: file.write(f"{text}\n".encode()))  # type: ignore[misc]
    return [out / name for name in texts]


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook, changed in place: each solution a stub, nothing executed. Raises HandoutError at a marker left."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = SOLUTION.sub(put_stub, cell.source)
        if "SOLUTION" in cell.source:
            raise HandoutError(f"a marker of a solution stands alone, or in no solution cell:\n{cell.source}")
    return notebook


def put_stub(found: re.Match[str]) -> str:
    """The stub, indented as the solution was."""
    return "\n".join(found[1] + line for line in STUB.splitlines())
