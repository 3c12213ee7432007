"""From a notebook to what is handed in: the two entries "Lab report" in JupyterLab's menu, and in nbconvert."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from nbconvert import Exporter, HTMLExporter
from nbconvert.filters.markdown_mistune import MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from fmnist_lib.report.chromium import print_page
from fmnist_lib.report.details import find_folder, read_details
from fmnist_lib.report.pages import Chapter, OfflineRenderer, make_page
from fmnist_lib.report.running import strip
from fmnist_lib.report.words import WORDS

# Best first; the widget view is not in it: without a kernel and a network it would be a blank.
DISPLAY_PRIORITY = ("text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain")
TEMPLATE = """{%- extends 'index.html.j2' -%}
{% block input_group -%}
<details class="code"><summary>CODE</summary>{{ super() }}</details>
{%- endblock input_group %}"""


class LabReportExporter(HTMLExporter):
    """A notebook as one HTML file with a title page, contents, folded code and living sliders; it asks no network."""

    export_from_notebook = "Lab report (HTML)"  # JupyterLab's menu has its words from report/jupyter/menu

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
        renderer = OfflineRenderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=True,
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
            exclude_anchor_links=True,
        )
        return str(MarkdownWithMath(renderer=renderer).render(source))


class LabReportPDFExporter(Exporter):
    """The same page on paper, printed by a Chromium or Chrome that is on the machine."""

    export_from_notebook = "Lab report (PDF)"
    output_mimetype = "application/pdf"

    def _file_extension_default(self) -> str:
        return ".pdf"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The PDF and nbconvert's resources. Raises ReportError, also where nothing can print."""
        page, resources = LabReportExporter(config=self.config).from_notebook_node(nb, resources, **options)
        resources["output_extension"] = ".pdf"
        return print_page(page), resources


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
                output.metadata.setdefault("image/png", {}).setdefault("alt", plain(shown))


def plain(text: str) -> str:
    """A Markdown line as it is read aloud."""
    return "".join(letter for letter in text if letter not in "*`_#")[:300]
