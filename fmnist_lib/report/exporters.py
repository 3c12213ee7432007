"""From a notebook to what is handed in: run it from a fresh kernel, strip it, and join all of them in one page."""

import os
import re
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode, reads, validate
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from traitlets.config import Config

from fmnist_lib.files import read_file
from fmnist_lib.report.templates import open_templates
from fmnist_lib.runs.storage import RunError
from fmnist_lib.visualisers.explorer.page import security_policy

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Best first; the widget view is not in it: without a kernel and a network it would be a blank.
DISPLAY_PRIORITY = ("text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain")
LARGEST = 2**28  # bytes of a notebook
CELL_SECONDS = 3600  # a cell may train a network
KERNEL_OPTIONS = ["--log-level=ERROR"]  # else every kernel warns that it talks over TCP on this machine


class ReportError(RunError):
    """A report that cannot be made; the message says which notebook and cell, and why."""


def execute(path: Path, work: Path, *, home: Path) -> NotebookNode:
    """A notebook run from a fresh kernel, in a copy, without widget state. Raises ReportError naming the cell."""
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
    return strip(notebook)


def read_notebook(path: Path) -> NotebookNode:
    """A notebook from its file. Raises ReportError where it is none."""
    try:
        text = read_file(path, most=LARGEST).decode("utf-8")
        notebook = reads(text, as_version=4)
        validate(notebook)
    except Exception as error:  # nbformat meets a dozen kinds of damage with as many kinds of exception
        words = str(error).splitlines() or [type(error).__name__]
        raise ReportError(
            f"{path} is no notebook, or a damaged one ({words[0][:200]}): bring it back from the handed-out "
            "folder or from JupyterLab's .ipynb_checkpoints"
        ) from error
    return notebook


def strip(notebook: NotebookNode) -> NotebookNode:
    """Remove what only a live kernel understands, and what differs from run to run without a reason."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return notebook


def join_pages(notebooks: dict[str, NotebookNode]) -> str:
    """One page with a table of contents, that needs no other file and no network."""
    exporter = HTMLExporter(
        template_name="basic",
        config=Config({"NbConvertBase": {"display_data_priority": list(DISPLAY_PRIORITY)}}),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    chapters = []
    for slug, notebook in notebooks.items():
        body, _ = exporter.from_notebook_node(notebook)
        body = re.sub(r'(<h[1-6] id="|href="#)', rf"\g<1>{slug}-", body)  # one page: no two headings of one id
        body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="#\1"', body)  # from notebook to notebook
        headings = re.findall(r'<h([12]) id="([^"]*)">(.*?)<a class="anchor-link"', body, flags=re.DOTALL)
        entries = [{"level": int(level), "id": anchor, "text": text} for level, anchor, text in headings]
        chapters.append({"slug": slug, "body": body, "headings": entries})
    return (
        open_templates()
        .get_template("report.html")
        .render(
            chapters=chapters,
            security_policy=security_policy(),
            highlight=HtmlFormatter(style="default").get_style_defs(".highlight"),
        )
    )
