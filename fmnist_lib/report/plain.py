"""nbconvert's own formats, for whoever takes them: title page, pictures, and advice on paper.

report/jupyter/ has the configuration that hands these to nbconvert.
"""

import importlib.util
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, v4, writes

from fmnist_lib.report.chromium import playwright_folders
from fmnist_lib.report.details import ReportError, find_folder, read_details
from fmnist_lib.report.exporters import LabReportExporter, one_message
from fmnist_lib.report.words import title_lines

CHINESE = re.compile(r"[\u3400-\u9fff]")
ADVICE = (
    "Take “Lab report (PDF)” in JupyterLab's menu, or `jupyter nbconvert --to labreport-pdf`, which needs no more than "
    "a Chromium or Chrome"
)


class TitlePage(Preprocessor):
    """Who hands the notebook in, before its first cell; our own exporters have a page for that."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook with a cell more, where report.toml says anything."""
        folder = Path(resources.get("metadata", {}).get("path") or ".")
        if not isinstance(self.parent, LabReportExporter) and (text := title_text(folder)):
            nb.cells.insert(0, v4.new_markdown_cell(text))
        return nb, resources


def title_text(folder: Path) -> str:
    """The title page as Markdown, or why there is none: a notebook is exported whatever report.toml is like."""
    try:
        details = read_details(find_folder(folder))
    except ReportError as error:
        return f"**{as_text(str(error))}**"
    lines = title_lines(details, details.language)
    return "  \n".join(f"{name}: **{as_text(said)}**" for name, said in lines if said)


def as_text(words: str) -> str:
    """Words of which neither Markdown nor HTML takes a character for anything else."""
    return "".join(each if each.isalnum() or each.isspace() or ord(each) > 127 else f"&#{ord(each)};" for each in words)


class PicturesFirst(Preprocessor):
    """A picture that stands beside HTML in one output, also as an output of its own where an export is sanitised.

    nbconvert takes the HTML, and the sanitiser the pictures and scripts out of it: nothing would be left but words.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """The cell, with an output more for each such picture."""
        if cell.cell_type == "code" and getattr(self.parent, "sanitize_html", False):
            cell.outputs = [part for output in cell.outputs for part in apart(output)]
        return cell, resources


def apart(output: NotebookNode) -> list[NotebookNode]:
    """An output as picture and HTML, one after the other, if it has both."""
    data = output.get("data", {})
    if not {"text/html", "image/png"} <= set(data):
        return [output]
    picture, words = deepcopy(output), deepcopy(output)
    del picture.data["text/html"], words.data["image/png"]
    return [picture, words]


class PaperAdvice(Preprocessor):
    """One message in the place of a failure in another program, for nbconvert's own ways to a PDF."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook as it is. Raises ReportError where the PDF cannot be made, or would lack letters."""
        reason = why_not_web() if isinstance(self.parent, HTMLExporter) else why_not_latex(nb)
        with one_message():
            if reason:
                raise ReportError(f"{reason}. {ADVICE}")
        return nb, resources


def why_not_web() -> str:
    """Why `webpdf` cannot print; empty where it can."""
    if importlib.util.find_spec("playwright") is None:
        return "webpdf needs playwright, which is not installed"
    has_own = any(True for folder in playwright_folders() for _ in folder.glob("chromium*-*"))
    return "" if has_own else "webpdf prints with a Chromium of playwright's own alone, which is not on this machine"


def why_not_latex(notebook: NotebookNode) -> str:
    """Why `pdf` cannot print this notebook; empty where it can."""
    missing = [name for name in ("pandoc", "xelatex") if shutil.which(name) is None]
    if missing:
        return f"pdf needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not on this machine"
    if CHINESE.search(writes(notebook)):
        return "pdf leaves out every Chinese letter of this notebook"
    return ""
