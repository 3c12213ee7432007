"""From a notebook to what is handed in: the two entries "Lab report" in JupyterLab's menu, and in nbconvert."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from nbconvert import Exporter, HTMLExporter
from nbformat import NotebookNode
from traitlets import Bool, default
from traitlets.config import Application, Config

from fmnist_lib.errors import LabError
from fmnist_lib.notebooks import read_notebook
from fmnist_lib.report import markdown
from fmnist_lib.report.chromium import print_page
from fmnist_lib.report.details import find_folder, read_details
from fmnist_lib.report.pages import Chapter, make_page
from fmnist_lib.report.running import strip
from fmnist_lib.report.words import WORDS

# Best first; the widget view is not in it: without a kernel and a network it would be a blank.
DISPLAY_PRIORITY = (
    "text/html",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/markdown",
    "text/latex",
    "text/plain",
)
TEMPLATE = """{%- extends 'index.html.j2' -%}
{% block input_group -%}
<details class="code"><summary>CODE</summary>{{ super() }}</details>
{%- endblock input_group %}
{% block data_latex -%}
<div class="output_latex output_subarea">{{ output.data["text/latex"] | markdown2html }}</div>
{%- endblock data_latex %}"""


class FromFile(Exporter):
    """What `jupyter nbconvert` calls: a file that is no notebook ends in one message."""

    def from_filename(
        self, filename: str, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """What becomes of a notebook's file, and nbconvert's resources. Raises NotebookError."""
        with one_message():
            read_notebook(Path(filename))
        return super().from_filename(filename, resources, **options)


class LabReportExporter(FromFile, HTMLExporter):
    """A notebook as one HTML file with a title page, contents, folded code and living sliders; it asks no network."""

    export_from_notebook = "Lab report (HTML)"  # the words are menu.py's in JupyterLab

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"template_name": "basic"})
        self.exclude_input_prompt = self.exclude_output_prompt = True

    @property
    def default_config(self) -> Config:
        config = Config({"NbConvertBase": {"display_data_priority": list(DISPLAY_PRIORITY)}})
        config.merge(super().default_config)
        return config

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The page and nbconvert's resources. Raises ReportError for a report.toml that cannot be followed."""
        with one_message():
            return self.to_page(nb, resources, **options)

    def to_page(self, nb: NotebookNode, resources: dict[str, Any] | None, **options: Any) -> tuple[Any, dict[str, Any]]:
        """The same, with whatever error there is."""
        metadata = (resources or {}).get("metadata", {})
        details = read_details(find_folder(Path(metadata.get("path") or ".")))
        words = WORDS[details.language]
        self.raw_template = TEMPLATE.replace("CODE", words["code"])
        notebook = strip(deepcopy(nb))
        describe_figures(notebook, words["figure"])
        body, resources = super().from_notebook_node(notebook, resources, **options)
        name = str(metadata.get("name") or "notebook")
        chapter = Chapter("lab", body, remark(notebook, words))
        return make_page([chapter], details, language=details.language, title=title_of(notebook) or name), resources

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """nbconvert's filter, with formulas that need no script from a network."""
        path = context.get("resources", {}).get("metadata", {}).get("path")
        folder = Path(path) if path else None
        root = find_folder(folder) if folder else None
        attachments = context.get("cell", {}).get("attachments", {})
        return markdown.render(source, folder, root=within(folder, root), attachments=attachments)


class LabReportPDFExporter(FromFile):
    """The same page on paper, printed by a Chromium or Chrome that is on the machine."""

    export_from_notebook = "Lab report (PDF)"
    output_mimetype = "application/pdf"

    def _file_extension_default(self) -> str:
        return ".pdf"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The PDF and nbconvert's resources. Raises ReportError, also where nothing can print."""
        with one_message():
            page, resources = LabReportExporter(config=self.config).to_page(nb, resources, **options)
            resources["output_extension"] = ".pdf"
            return print_page(page), resources


class LabReportPDFAlias(LabReportPDFExporter):
    """The same as `labreport-pdf`, its name on a command line, which an address of a server cannot hold."""

    enabled = Bool(True).tag(config=True)

    @default("enabled")
    def _enabled_default(self) -> bool:
        """Not where a server lists what it can export."""
        return not (Application.initialized() and hasattr(Application.instance(), "web_app"))


@contextmanager
def one_message() -> Iterator[None]:
    """Within it a LabError ends nbconvert's command with its message, where nbconvert would show a traceback."""
    try:
        yield
    except LabError as error:
        if Application.initialized() and Application.instance().name == "jupyter-nbconvert":
            raise SystemExit(f"error: {error}") from error
        raise


def within(folder: Path | None, root: Path | None) -> Path | None:
    """The lab's folder, if the notebook lies in it; else the notebook's own."""
    return root if folder and root and folder.resolve().is_relative_to(root.resolve()) else folder


def title_of(notebook: NotebookNode) -> str:
    """The notebook's first heading."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), "")


def remark(notebook: NotebookNode, words: dict[str, str]) -> str:
    """What a reader has to know of a notebook that was not run to its end."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    errors = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    if errors:
        return words["failed"].format(error=f"{errors[0].ename}: {errors[0].evalue}")
    missing = [cell for cell in cells if cell.execution_count is None]
    if not missing:
        return ""
    return words["not_run" if len(missing) == len(cells) else "partly_run"]


def describe_figures(notebook: NotebookNode, words: str) -> None:
    """Give every picture that has none an alternative text: what its cell says it is, else where it stands."""
    heading, before = "", ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
            heading = next((line.lstrip("# ") for line in reversed(lines) if line.startswith("#")), heading)
            before = next((line for line in reversed(lines) if not line.startswith("#")), before)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                text = output.data.get("text/plain", "")
                shown = text if text and not text.startswith("<") else f"{words.format(heading=heading)}: {before}"
                output.metadata.setdefault("image/png", {}).setdefault("alt", without_markup(shown))


def without_markup(text: str) -> str:
    """A Markdown line as it is read aloud."""
    return "".join(letter for letter in text if letter not in "*`_#")[:300]
