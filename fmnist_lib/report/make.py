"""The lab report as a whole: all notebooks run, one page, and report.md in each language."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import nbformat

from fmnist_lib import data
from fmnist_lib.files import write_atomically
from fmnist_lib.report.exporters import ReportError, execute, join_pages
from fmnist_lib.report.filled import COMPARED, write_reports
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import home, run_name


def make_report(out: Path, *, retrain: bool = False, in_place: bool = False) -> dict[str, Any]:
    """Run the notebooks in a copy, write OUT/report.html, and fill report.md and report.zh.md beside checkpoints/.

    With `retrain` every run is trained again under OUT/retrained/, resuming what an earlier retraining left
    unfinished; the stored runs stay as they are. With `in_place` the notebooks are stored as they were run.
    Raises ReportError, and what training raises.
    """
    source = home() / "notebooks"
    notebooks = sorted(source.glob("[0-9]*.ipynb"))
    if not notebooks:
        raise ReportError(f"no notebooks in {source}: run this in the lab's folder, or set FMNIST_HOME to it")
    data.find()  # fetched here, once, and not in the middle of a notebook
    runs_home = prepare_retraining(out / "retrained") if retrain else home()
    executed = {}
    for path in notebooks:
        started = time.perf_counter()
        executed[path.stem] = execute(path, out / "work", home=runs_home)
        if in_place:
            text = nbformat.writes(executed[path.stem]) + "\n"
            write_atomically(path, lambda file, content=text: file.write(content.encode()))  # type: ignore[misc]
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    page = out / "report.html"
    write_atomically(page, lambda file: file.write(join_pages(executed).encode()))
    return {"page": str(page), **{f"report_{code}": str(path) for code, path in write_reports(runs_home).items()}}


def prepare_retraining(folder: Path) -> Path:
    """The folder for retrained runs: emptied if an earlier retraining came to its end, else left to be resumed."""
    runs = [folder / "checkpoints" / run_name(name, "original") for name in COMPARED]
    if all((run / "run.json").exists() and Run.load(run).evaluation for run in runs):
        shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return folder.absolute()
