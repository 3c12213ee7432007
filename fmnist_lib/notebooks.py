"""A notebook from its file, or one error that says what to do."""

import json
from pathlib import Path

from nbformat import NotebookNode, reads, validate

from fmnist_lib.errors import LabError
from fmnist_lib.files import read_file

LARGEST, MOST_CELLS = 2**28, 10_000  # bytes; checking half a million cells takes half a minute


class NotebookError(LabError):
    """A file that is no notebook; the message says where a whole one may be."""


def read_notebook(path: Path) -> NotebookNode:
    """A notebook of nbformat's version 4. Raises NotebookError where there is none."""
    try:
        text = read_file(path, most=LARGEST).decode("utf-8")
        if (cells := len(json.loads(text).get("cells", []))) > MOST_CELLS:
            raise ValueError(f"it has {cells:,} cells")
        notebook = reads(text, as_version=4)
        validate(notebook)
    except Exception as error:  # nbformat meets a dozen kinds of damage with as many kinds of exception
        words = str(error).splitlines() or [type(error).__name__]
        raise NotebookError(
            f"{path} is no notebook, or a damaged one ({words[0][:200]}): bring it back from the handed-out "
            "folder or from JupyterLab's .ipynb_checkpoints"
        ) from error
    return notebook
