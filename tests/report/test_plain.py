"""nbconvert's own formats where the lab is installed: title page, pictures in sanitised pages, advice on paper."""

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter, PDFExporter, WebPDFExporter
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from fmnist_lib.report import plain
from fmnist_lib.report.details import ReportError
from fmnist_lib.report.exporters import LabReportExporter

ROOT = Path(__file__).parents[2]
JUPYTER = ROOT / "fmnist_lib" / "report" / "jupyter"
CONFIG = json.loads((JUPYTER / "nbconvert" / "jupyter_nbconvert_config.json").read_text())
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="


def notebook(*texts: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])


def to_html(made: nbformat.NotebookNode, folder: Path, *, sanitised: bool = False) -> str:
    exporter = HTMLExporter(config=Config(CONFIG), sanitize_html=sanitised)
    return exporter.from_notebook_node(made, {"metadata": {"path": str(folder), "name": "mine"}})[0]


def test_what_the_configuration_names_is_there() -> None:
    server = json.loads((JUPYTER / "server" / "fmnist_lib.json").read_text())
    assert server.pop("ServerApp") == {"jpserver_extensions": {"fmnist_lib.report.menu": True}}
    assert server == {}, "the rest a server reads from the command line's file"
    for section in CONFIG.values():
        for name in [*section["preprocessors"], *section.get("filters", {}).values()]:
            assert callable(import_item(name))


@pytest.mark.parametrize("sanitised", [False, True])
def test_plain_html_says_who_hands_it_in(tmp_path: Path, sanitised: bool) -> None:
    name = "林小雨 <b>*x*</b> [a](b) $y$ 🦊 & `c`"
    (tmp_path / "report.toml").write_text(f"name = '{name}'\ncourse = ''\n", encoding="utf-8")
    page = to_html(notebook("# A title"), tmp_path, sanitised=sanitised)
    shown = "林小雨 &lt;b&gt;*x*&lt;/b&gt; [a](b) $y$ 🦊 &amp; `c`"
    assert f"Name: <strong>{shown}</strong>" in page and page.index("Name:") < page.index("A title")
    assert "Course" not in page
    own = LabReportExporter(config=Config(CONFIG)).from_notebook_node(
        notebook("x"), {"metadata": {"path": str(tmp_path)}}
    )
    assert own[0].count("林小雨") == 1


def test_a_report_toml_that_cannot_be_followed_stops_no_plain_export(tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_text("name = ")
    page = to_html(notebook("Words."), tmp_path)
    assert "cannot be read" in page and "Words." in page


def test_a_sanitised_page_shows_a_picture_that_stands_beside_html(tmp_path: Path) -> None:
    data = {"text/html": "<p>Words</p><script>run()</script>", "image/png": PNG, "text/plain": "x"}
    made = notebook()
    made.cells.append(nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", data)]))
    assert PNG in to_html(made, tmp_path, sanitised=True)
    page = to_html(made, tmp_path)
    assert PNG not in page and "run()" in page, "elsewhere the HTML stands for both"


def test_advice_where_latex_cannot_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ReportError, match=r"pandoc and xelatex, which are not .*labreport-pdf"):
        PDFExporter(config=Config(CONFIG)).from_notebook_node(notebook("x"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert plain.why_not_latex(notebook("English")) == ""
    assert "every Chinese letter" in plain.why_not_latex(notebook("中文"))


def test_advice_where_webpdf_cannot_print(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(ReportError, match="a Chromium of playwright's own alone"):
        WebPDFExporter(config=Config(CONFIG)).from_notebook_node(notebook("x"))
    monkeypatch.setitem(sys.modules, "playwright", None)
    with pytest.raises(ReportError, match="playwright, which is not installed"):
        WebPDFExporter(config=Config(CONFIG)).from_notebook_node(notebook("x"))
