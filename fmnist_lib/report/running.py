"""A notebook run from a fresh kernel, and stripped of what only a live kernel understands."""

import os
import re
from hashlib import sha256
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from fmnist_lib.notebooks import read_notebook
from fmnist_lib.report.details import ReportError

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MEASURED = re.compile(r'stored\("(benchmarks/[^"]+)"\)')  # how a cell names a file that a benchmark wrote
CELL_SECONDS = 3600  # a cell may train a network
KERNEL_OPTIONS = ["--log-level=ERROR"]  # else every kernel warns that it talks over TCP on this machine


def execute(path: Path, work: Path, *, home: Path) -> NotebookNode:
    """A notebook run from a fresh kernel, in a copy, without widget state; its metadata say what it has read.

    Raises NotebookError, and ReportError naming the cell.
    """
    work.mkdir(parents=True, exist_ok=True)
    notebook = read_notebook(path)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": work}},
        extra_arguments=KERNEL_OPTIONS,
    )
    try:
        client.execute(env=os.environ | {"FMNIST_HOME": str(home.absolute())})
    except CellExecutionError as error:
        raise ReportError(
            f"{path.name} stopped: {error.ename}: {error.evalue}\nin the cell\n{error.traceback}"
        ) from error
    except (DeadKernelError, TimeoutError) as error:
        raise ReportError(f"{path.name} stopped: {error}. Run it in JupyterLab to see more") from error
    notebook.metadata["measured"] = digest_measured(notebook)
    return strip(notebook)


def digest_measured(notebook: NotebookNode) -> dict[str, str]:
    """SHA-256 of each benchmark's file that the cells read: by them a test sees that a notebook shows an older one."""
    from fmnist_lib.runs.places import stored  # it imports torch, and Jupyter's menu needs this module without

    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {name: sha256(stored(name).read_bytes()).hexdigest() for name in sorted({*MEASURED.findall(code)})}


def strip(notebook: NotebookNode) -> NotebookNode:
    """Remove what only a live kernel understands, and what differs from run to run without a reason."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return notebook
