"""Many runs one after the other: models, recipes and seeds from a file, a row of results for each.

The file is JSON: {"runs": [{"model": "resnet18", "recipe": "fast", "seeds": [0, 1], "changes": {"lr": 0.2}}]},
where `changes` replaces fields of the recipe. A recipe written out, {"name": "fast", "epochs": 9, ...}, instead of a
named one stays the same when the named one moves on. Choices belong on validation data, so the test set stays closed
unless the file says "test": true, which is for recipes that are fixed.
"""

import csv
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fmnist_lib import files, models
from fmnist_lib.errors import LabError
from fmnist_lib.runs.checkpoint import Run, writing
from fmnist_lib.runs.launch import fit_run
from fmnist_lib.runs.measure import accuracies, measure_run
from fmnist_lib.runs.places import Site, run_name
from fmnist_lib.training.parallel import count_cores
from fmnist_lib.training.recipes import BadRecipe, Recipe, find_recipe

HERE = Site()
LARGEST = 2**24  # bytes of a sweep's file or results
ENVIRONMENT = ("processor", "cores", "device", "threads", "torch", "git_commit")  # columns of a row


class SweepError(LabError):
    """A sweep's file that cannot be followed; the message says where and why."""


@dataclass(frozen=True)
class Entry:
    """One run of a sweep."""

    model: str
    recipe: Recipe
    seed: int

    @property
    def key(self) -> str:
        """Tells this run from any other: model, recipe and seed; a field that recipes get later changes nothing."""
        text = json.dumps([self.model, self.recipe.name, settings(self.recipe), self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The run's folder within the sweep's."""
        return f"{run_name(self.model, self.recipe.name, seed=self.seed)}-{self.key}"


def read_entries(path: Path) -> tuple[list[Entry], bool]:
    """The runs of a sweep's file, and whether the test set is opened. Raises SweepError, BadRecipe, ModelError."""
    try:
        content = json.loads(files.read_file(path, most=LARGEST))
        entries = [entry for row in content["runs"] for entry in read_row(row)]
        test = content.get("test", False)
        if not isinstance(test, bool):
            raise TypeError(f'"test" is true or false, not {test!r}')
        return entries, test
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OverflowError) as error:
        raise SweepError(f"{path} is no sweep: {error!r}. See the first lines of fmnist_lib/runs/sweep.py") from error


def read_row(row: dict[str, Any]) -> Iterator[Entry]:
    """The runs that one row of the file asks for."""
    told_changes = row.get("changes", {})
    models.find_model(row["model"])
    try:
        told = row["recipe"]
        recipe = Recipe(**told) if isinstance(told, dict) else find_recipe(told, row["model"])
        recipe = replace(recipe, **told_changes)
    except TypeError as error:
        raise BadRecipe(f"{row['model']}, {row['recipe']}, changes {told_changes}: {error}") from error
    run_name(row["model"], recipe.name)  # a name that leads out of the runs' folder is refused before any run
    for seed in row.get("seeds", [0]):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise SweepError(f"{row['model']}, {recipe.name}: a seed is a whole number from 0, not {seed!r}")
        yield Entry(row["model"], recipe, seed)


def run_sweep(
    path: Path,
    *,
    out: Path | None = None,
    site: Site = HERE,
    on_ray: bool = False,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run what the file asks for and is not in its results yet; returns the rows of the whole sweep.

    The results are the file's name with .csv, brought up to date after each run; runs lie in `out`, by default the
    file's name without its suffix, each resumed from its last epoch after a kill. Where the test set was opened later,
    finished runs are measured on it without being trained again. With `on_ray` as many runs at once as the cluster has
    room for, each on as many cores as this machine has; without one, one is started here.
    Raises SweepError for a file or results that cannot be read, and where Ray is not installed.
    """
    listed, test = read_entries(path)
    entries = {entry.key: entry for entry in listed}  # what is listed twice is run once
    results = path.with_suffix(".csv")
    rows = {row["key"]: row for row in read_rows(results)}
    left = [entry for key, entry in entries.items() if not is_measured(rows.get(key), test=test)]
    folder = (out or path.with_suffix("")).absolute()
    if folder.is_file():
        raise SweepError(
            f"{folder} is a file, and the runs' folder: give the sweep's file the suffix .json, or use --out"
        )
    run = partial(run_entry, folder=folder, test=test, site=site)
    tell(f"{len(left)} runs to do, {len(entries) - len(left)} done before")
    for number, row in enumerate(run_on_ray(run, left) if on_ray else map(run, left), start=1):
        rows[row["key"]] = row
        write_rows(results, list(rows.values()))
        figures = ", ".join(f"{name} {row[name]}" for name in ("seconds", "val_accuracy", "val_flip") if row[name])
        tell(f"{number}/{len(left)} {row['model']} {row['recipe']} seed {row['seed']}: {figures}; {row['settings']}")
    return [row for key, row in rows.items() if key in entries]


def is_measured(row: dict[str, Any] | None, *, test: bool) -> bool:
    """Whether a line of results has all that is asked for."""
    return row is not None and all(row.get(f"{split}_accuracy") for split in (("val", "test") if test else ("val",)))


def run_on_ray(run: Callable[[Entry], dict[str, Any]], entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """The runs' rows, in the order in which they get done. Raises SweepError."""
    try:
        import ray  # only whoever has many machines needs it
    except ModuleNotFoundError:
        raise SweepError("Ray is not installed: pip install ray, or leave out --ray") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)  # RAY_ADDRESS names a cluster
    task: Any = ray.remote(num_cpus=count_cores())(lambda entry: run(entry))
    waiting = [task.remote(entry) for entry in entries]
    try:
        while waiting:
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
    finally:
        ray.shutdown()


def run_entry(entry: Entry, *, folder: Path, test: bool, site: Site) -> dict[str, Any]:
    """Train one run below `folder`, measure it, and keep its weights but not its epochs."""
    wanted = Run(folder / entry.folder, entry.model, entry.recipe, entry.seed)
    with writing(wanted.path, site):
        run = fit_run(wanted, site=site)
        measure_run(run, ("val", "test") if test else ("val",), site=site)
        shutil.rmtree(run.path / "epochs", ignore_errors=True)
    return make_row(entry, run)


def make_row(entry: Entry, run: Run) -> dict[str, Any]:
    """A run's line of results; all values are text, as they come back from the file."""
    row = {
        "key": entry.key,
        "model": entry.model,
        "recipe": entry.recipe.name,
        "settings": json.dumps(settings(entry.recipe)),
        "seed": entry.seed,
        "epochs": run.epochs_done,
        "parameters": models.count_parameters(run.model()),
        "seconds": round(run.seconds, 2),
        **dict.fromkeys(("val_accuracy", "val_flip", "test_accuracy", "test_flip"), ""),
        **accuracies(run),
        **{name: run.environment.get(name, "") for name in ENVIRONMENT},
    }
    return {name: str(value) for name, value in row.items()}


def settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's fields that are not at their defaults, as a row of results has them."""
    return recipe.settings()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file, none if there is no file. Raises SweepError for a file of something else."""
    if not path.exists():
        return []
    try:
        text = files.read_file(path, most=LARGEST).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SweepError(f"{path} cannot be read ({error}): move it away, and it is made anew") from error
    if "key" not in columns or any(None in row for row in rows):
        raise SweepError(f"{path} is no table of a sweep's results: move it away, and it is made anew")
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a results file as a whole; a column that some rows lack, as those of an older version, is empty there."""
    text = io.StringIO(newline="")
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_atomically(path, lambda file: file.write(text.getvalue().encode()))
