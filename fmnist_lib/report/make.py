"""The lab report as a whole: all notebooks run, each a page, and the filled report as Markdown, page and PDF."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import nbformat

from fmnist_lib import data
from fmnist_lib.files import write_atomically
from fmnist_lib.report.chromium import print_page
from fmnist_lib.report.details import Details, ReportError, read_details
from fmnist_lib.report.exporters import LabReportExporter
from fmnist_lib.report.filled import COMPARED, write_reports
from fmnist_lib.report.pages import make_page, markdown_chapter
from fmnist_lib.report.running import execute
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import home, run_name


def make_report(out: Path, *, retrain: bool = False, in_place: bool = False) -> dict[str, Any]:
    """Run the notebooks in a copy, fill report.md and report.zh.md beside checkpoints/, and write all of it to `out`:
    notebooks/NAME.html, report.html, report.zh.html, and these two as PDF where a Chromium is found.

    With `retrain` every run is trained again under OUT/retrained/, resuming what an earlier retraining left
    unfinished; the stored runs stay as they are. With `in_place` the notebooks are stored as they were run.
    Raises ReportError, and what training raises.
    """
    source = home() / "notebooks"
    notebooks = sorted(source.glob("[0-9]*.ipynb"))
    if not notebooks:
        raise ReportError(f"no notebooks in {source}: run this in the lab's folder, or set FMNIST_HOME to it")
    details = read_details()
    data.find()  # fetched here, once, and not in the middle of a notebook
    runs_home = prepare_retraining(out / "retrained") if retrain else home()
    made = {"notebooks": str(out / "notebooks")}
    for path in notebooks:
        started = time.perf_counter()
        executed = execute(path, out / "work", home=runs_home)
        if in_place:
            write_text(path, nbformat.writes(executed) + "\n")
        resources = {"metadata": {"name": path.stem, "path": str(source)}}
        page, _ = LabReportExporter().from_notebook_node(executed, resources)
        write_text(out / "notebooks" / f"{path.stem}.html", page)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    for language, path in write_reports(runs_home).items():
        made[f"report_{language}"] = str(path)
        made |= export_report(path, out, details, language=language)
    return made


def export_report(path: Path, out: Path, details: Details, *, language: str) -> dict[str, str]:
    """A filled report as a page whose figures have sliders, and, where there is a Chromium, on paper."""
    title, text = split_title(path.read_text(encoding="utf-8"))
    made = {}
    pages = {
        has_sliders: make_page(
            [markdown_chapter(text, folder=path.parent, slug="report", explorers=has_sliders)],
            details,
            language=language,
            title=title,
        )
        for has_sliders in (True, False)
    }
    target = out / path.with_suffix(".html").name
    write_text(target, pages[True])
    made[f"page_{language}"] = str(target)
    try:
        printed = print_page(pages[False])
    except ReportError as error:
        print(f"note: {target.with_suffix('.pdf')} was not made: {error}", file=sys.stderr, flush=True)
        return made
    write_atomically(target.with_suffix(".pdf"), lambda file: file.write(printed))
    return made | {f"pdf_{language}": str(target.with_suffix(".pdf"))}


def split_title(text: str) -> tuple[str, str]:
    """A Markdown text's first heading, which goes to the title page, and the rest."""
    first, _, rest = text.partition("\n")
    return (first.lstrip("# ").strip(), rest) if first.startswith("# ") else ("", text)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically. Raises ReportError, which says what is kept."""
    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise ReportError(f"could not write {path}: {error.strerror or error}. What was there is kept") from error


def prepare_retraining(folder: Path) -> Path:
    """The folder for retrained runs: emptied if an earlier retraining came to its end, else left to be resumed."""
    runs = [folder / "checkpoints" / run_name(name, "original") for name in COMPARED]
    if all((run / "run.json").exists() and Run.load(run).evaluation for run in runs):
        shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return folder.absolute()
