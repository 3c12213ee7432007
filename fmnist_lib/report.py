"""The lab report: runs the notebooks, joins them in one page, and fills report.md from the runs' files."""

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from traitlets.config import Config

from fmnist_lib import data, lab, models
from fmnist_lib.checkpoint import Run
from fmnist_lib.files import write_atomically
from fmnist_lib.storage import RunError

TEMPLATES = Path(__file__).with_name("templates")
NETWORKS = ("resnet18", "alexnet", "resnet34")
TUNED = ("fast", "best")  # recipes whose runs the report shows where there are any
COMPARED = (*NETWORKS, "plain18", "plain34")  # all whose runs the notebooks read
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Best first; the widget view is not in it: without a kernel and a network it would be a blank.
DISPLAY_PRIORITY = ("text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain")
CELL_SECONDS = 3600  # a cell may train a network
KERNEL_OPTIONS = ["--log-level=ERROR"]  # else every kernel warns that it talks over TCP on this machine


class ReportError(RunError):
    """A report that cannot be made; the message says which notebook and cell, and why."""


def make_report(out: Path, *, retrain: bool = False, in_place: bool = False) -> dict[str, Any]:
    """Run the notebooks in a copy, write OUT/report.html, and fill report.md and report.zh.md beside checkpoints/.

    With `retrain` every run is trained again under OUT/retrained/, resuming what an earlier retraining left
    unfinished; the stored runs stay as they are. With `in_place` the notebooks are stored as they were run.
    Raises ReportError, and what training raises.
    """
    source = lab.home() / "notebooks"
    notebooks = sorted(source.glob("[0-9]*.ipynb"))
    if not notebooks:
        raise ReportError(f"no notebooks in {source}: run this in the lab's folder, or set FMNIST_HOME to it")
    data.find()  # fetched here, once, and not in the middle of a notebook
    home = prepare_retraining(out / "retrained") if retrain else lab.home()
    executed = {}
    for path in notebooks:
        started = time.perf_counter()
        executed[path.stem] = execute(path, out / "work", home=home)
        if in_place:
            text = nbformat.writes(executed[path.stem]) + "\n"
            write_atomically(path, lambda file, content=text: file.write(content.encode()))  # type: ignore[misc]
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    page = out / "report.html"
    write_atomically(page, lambda file: file.write(join_pages(executed).encode()))
    return {"page": str(page), **{f"report_{code}": str(path) for code, path in write_reports(home).items()}}


def prepare_retraining(home: Path) -> Path:
    """The folder for retrained runs: emptied if an earlier retraining came to its end, else left to be resumed."""
    runs = [home / "checkpoints" / lab.run_name(name, "original") for name in COMPARED]
    if all((run / "run.json").exists() and Run.load(run).evaluation for run in runs):
        shutil.rmtree(home)
    (home / "checkpoints").mkdir(parents=True, exist_ok=True)
    return home.absolute()


def execute(path: Path, work: Path, *, home: Path) -> NotebookNode:
    """A notebook run from a fresh kernel, in a copy, without widget state. Raises ReportError naming the cell."""
    work.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
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
        templates()
        .get_template("report.html")
        .render(
            chapters=chapters,
            highlight=HtmlFormatter(style="default").get_style_defs(".highlight"),
        )
    )


def templates() -> jinja2.Environment:
    """Our templates; a name that does not exist is an error, not a hole in the text."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def write_reports(home: Path) -> dict[str, Path]:
    """Fill report.md and report.zh.md in `home` from the files of its runs; returns language -> file."""
    written = {}
    for language, text in render_reports(home).items():
        written[language] = home / ("report.md" if language == "en" else f"report.{language}.md")
        write_atomically(written[language], lambda file, content=text: file.write(content.encode()))  # type: ignore[misc]
    return written


def render_reports(home: Path) -> dict[str, str]:
    """The report's text per language; every number in it comes from a run's files."""
    facts = report_facts(home)
    return {code: templates().get_template(f"report.{code}.md").render(facts) for code in ("en", "zh")}


def report_facts(home: Path) -> dict[str, Any]:
    """What the report's templates may ask for: the runs by model name, and helpers to print numbers."""
    runs = {}
    for name in COMPARED:
        path = home / "checkpoints" / lab.run_name(name, "original")
        runs[name] = Run.load(path)
        if not runs[name].evaluation:
            raise RunError(f"the run in {path} is not finished: run `train {name}` again, it goes on where it stopped")
    return {
        "runs": runs,
        "tuned": tuned_runs(home),
        "networks": NETWORKS,
        "classes": data.CLASSES,
        "parameters": lambda run: f"{models.count_parameters(run.model()):,}",
        "percent": lambda share, digits=2: f"{100 * share:.{digits}f} %",
        "points": lambda difference: f"{100 * difference:+.2f}",
        "error": standard_error,
        "environment_rows": environment_rows,
        "table": table,
    }


def tuned_runs(home: Path) -> list[Run]:
    """The finished runs of our own recipes that lie in `home`."""
    paths = [home / "checkpoints" / lab.run_name(name, recipe) for recipe in TUNED for name in NETWORKS]
    runs = [Run.load(path) for path in paths if (path / "run.json").exists()]
    return [run for run in runs if "test" in run.evaluation]


def standard_error(result: dict[str, Any]) -> float:
    """How far chance alone moves an accuracy that was measured on so many images."""
    return (result["accuracy"] * (1 - result["accuracy"]) / result["images"]) ** 0.5


def environment_rows(run: Run, language: str) -> list[dict[str, Any]]:
    """A run's machine and versions as table rows."""
    words = {
        "system": "操作系统", "machine": "架构", "processor": "处理器", "cores": "核心数", "memory_gib": "内存 (GiB)",
        "device": "计算设备", "threads": "线程数", "python": "Python", "torch": "PyTorch", "numpy": "NumPy",
    }  # fmt: skip
    head = ("item", "value") if language == "en" else ("项目", "内容")
    names = {key: key.replace("_gib", " (GiB)") if language == "en" else word for key, word in words.items()}
    return [dict(zip(head, (names[key], run.environment[key]), strict=True)) for key in words]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, in the columns of the first."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
