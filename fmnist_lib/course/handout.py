"""The students' version of the notebooks: no solutions, no outputs. The form is nbgrader's, schema version 3.

A solution stands between `### BEGIN SOLUTION` and `### END SOLUTION` in a cell whose metadata say that it is one.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fmnist_lib.errors import LabError
from fmnist_lib.files import write_atomically
from fmnist_lib.notebooks import read_notebook

SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION[^\n]*\n.*?^[ \t]*### END SOLUTION[^\n]*$", re.DOTALL | re.MULTILINE)
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"

FETCH = """# On Colab and Kaggle this fetches the lab; elsewhere it does nothing.
import os
import sys

if "COLAB_RELEASE_TAG" in os.environ or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    !git clone --quiet --depth 1 https://github.com/{repository} ~/lab && pip install --quiet ~/lab[lab]
    sys.path.insert(0, os.path.expanduser("~/lab"))
    os.chdir(os.path.expanduser("~/lab/notebooks"))"""


class HandoutError(LabError):
    """A notebook of which no students' version can be made."""


def make_handout(source: Path, out: Path, *, repository: str = "") -> list[Path]:
    """Write the students' version of every notebook in `source` into `out`.

    With the OWNER/NAME of a public GitHub `repository` that has the lab with these notebooks, they open in Colab by a
    badge and fetch the lab there by their first cell; see docs/colab.md. Raises HandoutError, NotebookError.
    """
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise HandoutError(f"the repository is {repository!r}: it has to be OWNER/NAME, as in GitHub's address of it")
    paths = sorted(source.glob("[0-9]*.ipynb"))
    if not paths:
        raise HandoutError(f"no notebooks in {source}: run this in the lab's folder, or set FMNIST_HOME to it")
    notebooks = {path.name: without_solutions(read_notebook(path)) for path in paths}
    if repository:
        for name, notebook in notebooks.items():
            notebook.cells[1:1] = cloud_cells(name, repository)
    texts = {name: nbformat.writes(notebook) for name, notebook in notebooks.items()}
    for name, text in texts.items():
        write_atomically(out / name, lambda file, text=text: file.write(f"{text}\n".encode()))  # type: ignore[misc]
    return [out / name for name in texts]


def cloud_cells(name: str, repository: str) -> list[NotebookNode]:
    """The badge that opens a notebook in Colab, and the cell that fetches the lab there and on Kaggle."""
    address = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"
    return [
        nbformat.v4.new_markdown_cell(badge, id="cloud-badge"),
        nbformat.v4.new_code_cell(FETCH.format(repository=repository), id="cloud-fetch"),
    ]


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook, changed in place: each solution a stub, nothing executed. Raises HandoutError at a marker left."""
    notebook.metadata.pop("measured", None)  # which files the outputs show
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
