"""The lab report's text, filled from the files of the runs: every number in it comes from there."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmnist_lib import data, models
from fmnist_lib.files import write_atomically
from fmnist_lib.report.templates import open_templates
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import run_name
from fmnist_lib.runs.storage import RunError

NETWORKS = ("resnet18", "alexnet", "resnet34")
TUNED = ("fast", "best")  # recipes whose runs the report shows where there are any
COMPARED = (*NETWORKS, "plain18", "plain34")  # all whose runs the notebooks read


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
    return {code: open_templates().get_template(f"report.{code}.md").render(facts) for code in ("en", "zh")}


def report_facts(home: Path) -> dict[str, Any]:
    """What the report's templates may ask for: the runs by model name, and helpers to print numbers."""
    runs = {}
    for name in COMPARED:
        path = home / "checkpoints" / run_name(name, "original")
        runs[name] = as_text(Run.load(path))
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
    paths = [home / "checkpoints" / run_name(name, recipe) for recipe in TUNED for name in NETWORKS]
    runs = [as_text(Run.load(path)) for path in paths if (path / "run.json").exists()]
    return [run for run in runs if "test" in run.evaluation]


def as_text(run: Run) -> Run:
    """The run with all names as Markdown shows them letter by letter: run.json may say anything."""
    recipe = replace(run.recipe, name=escaped(run.recipe.name), teacher=escaped(run.recipe.teacher))
    environment = {
        escaped(name): escaped(value) if isinstance(value, str) else value for name, value in run.environment.items()
    }
    return replace(run, recipe=recipe, environment=environment)


def escaped(text: str) -> str:
    """A text in which neither HTML nor Markdown means anything, in one line."""
    return re.sub(r"([\\`*\[\]|$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


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
