"""A student's way: an observation written into a notebook of the course, and exported by the menu in three forms."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pages import give_up, make_recording, start_lab

from fmnist_lib.report.details import Details
from fmnist_lib.report.make import export_report
from fmnist_lib.visualisers.explorer import Explorer
from notebooks import Opened, export, open_notebook

ROOT = Path(__file__).parents[2]
NAME = "Lin 林小雨"
OBSERVATION = "I saw that kernel 5 answers to the left edge of a sleeve 左袖边缘"


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Opened]:
    """JupyterLab in a student's folder, on notebook 02 as it is handed out, with an observation just written."""
    folder = tmp_path_factory.mktemp("student")
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "02_resnet18.ipynb", folder / "notebooks")
    details = (ROOT / "report.toml").read_text(encoding="utf-8")
    (folder / "report.toml").write_text(details.replace('name = ""', f'name = "{NAME}"'), encoding="utf-8")
    with start_lab(folder) as lab:
        page, errors = open_notebook(browser, lab, "notebooks/02_resnet18.ipynb")
        any_explorer = Explorer(make_recording())
        opened = Opened(page, errors, lab, any_explorer, any_explorer)
        page.locator(".jp-Notebook .jp-MarkdownCell").first.click()
        page.keyboard.press("Escape")
        for key in ("b", "m", "Enter"):  # a cell below, of Markdown, to write in
            page.keyboard.press(key)
        page.keyboard.insert_text(f"**Observation.** {OBSERVATION}")
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-RenderedMarkdown").get_by_text(OBSERVATION).wait_for()
        opened.save()
        yield opened
        page.context.close()


def test_as_lab_report(handed_out: Opened, open_page: Any, tmp_path: Path) -> None:
    export(handed_out, tmp_path / "report.html", entry="Lab report (HTML)")
    watched = open_page()
    page = watched.page
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator(".title dd").first.inner_text() == NAME
    assert page.get_by_text(OBSERVATION).is_visible()
    explorer = page.locator(".fmx").first
    slider = explorer.get_by_role("slider", name="epoch", exact=True)
    slider.wait_for()
    slider.focus()
    read = "() => document.querySelector('.fmx-canvas').toDataURL()"
    page.keyboard.press("End")
    last = page.evaluate(read)
    page.keyboard.press("Home")
    page.wait_for_function(f"last => ({read})() !== last", arg=last)
    assert watched.requests == [(tmp_path / "report.html").as_uri()]


def test_on_paper(handed_out: Opened, tmp_path: Path) -> None:
    export(handed_out, tmp_path / "report.pdf", entry="Lab report (PDF)")
    if shutil.which("pdftotext") is None:
        give_up("the words on the PDF were not read: no pdftotext (`apt install poppler-utils` brings it)")
    command = ["pdftotext", tmp_path / "report.pdf", "-"]
    words = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert NAME in words and OBSERVATION in words


def test_as_plain_html_with_the_default(handed_out: Opened, open_page: Any, tmp_path: Path) -> None:
    export(handed_out, tmp_path / "plain.html", sanitised=True)
    page = open_page().page
    page.goto((tmp_path / "plain.html").as_uri(), wait_until="domcontentloaded")
    assert page.get_by_text(OBSERVATION).is_visible()
    assert page.get_by_text(NAME).first.is_visible()
    stored = nbformat.read(handed_out.lab.folder / "notebooks" / "02_resnet18.ipynb", as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    explorers = sum("fmx" in output.get("data", {}).get("text/html", "") for output in outputs)
    pictures = page.locator(".jp-RenderedImage img")
    assert pictures.count() == sum("image/png" in output.get("data", {}) for output in outputs) >= explorers > 2
    assert page.locator(".fmx-note").count() == explorers, "each says what is above it"
    for picture in pictures.all():
        assert picture.is_visible() and picture.evaluate("image => image.naturalWidth") > 400
    assert "<p>" not in page.locator("body").inner_text()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_filled_report_has_eight_to_fifteen_pages(browser: Any, tmp_path: Path, language: str) -> None:
    path = ROOT / ("report.md" if language == "en" else "report.zh.md")
    made = export_report(path, tmp_path, Details(), language=language)
    if shutil.which("pdfinfo") is None:
        give_up("the pages were not counted: no pdfinfo (`apt install poppler-utils` brings it)")
    told = subprocess.run(["pdfinfo", made[f"pdf_{language}"]], capture_output=True, text=True, check=True).stdout
    pages = int(next(line.split()[1] for line in told.splitlines() if line.startswith("Pages:")))
    assert 8 <= pages <= 15
