"""The command line: python -m fmnist_lib COMMAND. Every command has --help and --json.

Exit 0 done; 1 a failure the user can act on, told in one message; 2 wrong usage; 130 interrupted.
"""

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from fmnist_lib import data, models, wording
from fmnist_lib.checking import findings, folders
from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.files import write_atomically
from fmnist_lib.runs import launch, measure, record, sweep
from fmnist_lib.runs.checkpoint import RECORDED_EPOCHS, Run, stored_epochs
from fmnist_lib.runs.places import Site, figures_folder, home, run_folder
from fmnist_lib.runs.progress import TerminalBar
from fmnist_lib.training import recipes
from fmnist_lib.training.parallel import is_first

SHARED: dict[str, dict[str, Any]] = {
    "path": {"type": Path, "metavar": "RUN", "help": "the run's folder"},
    "paths": {"type": Path, "nargs": "+", "metavar": "RUN", "help": "folders of runs"},
    "--data": {"type": Path, "metavar": "DIR", "help": "the folder with the data set's four files"},
    "--device": {"default": "auto", "metavar": "D", "help": "auto, cpu, cuda or mps; default: auto"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where a terminal knows ASCII alone
    options = make_parser().parse_args(arguments)
    try:
        with plain_warnings():
            result = options.run(options)
    except KeyboardInterrupt:
        print(f"\nInterrupted. {options.after_interrupt(options)}", file=sys.stderr)
        return 130
    except (LabError, OSError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:
        print(
            f"error: {error.object!a:.200} has letters that this system's locale ({error.encoding}) has no room for in "
            "names of files. What was finished is kept. Set LC_ALL=C.UTF-8 or PYTHONUTF8=1 and run it again",
            file=sys.stderr,
        )
        return 1
    code = show(json.dumps(result) if options.json else options.describe(result)) if is_first() else 0
    return code or int(bool(result.get("failed")))


def show(text: str) -> int:
    """Print a result; returns the exit code, 1 where nobody reads on, as behind `| head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 1
    return 0


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within it our own warnings are lines on stderr, without the place in the code that Python puts before them."""
    show = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, LabWarning):
            print(f"note: {message}", file=sys.stderr, flush=True)
        else:
            show(message, category, *place, **more)

    warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = show


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(prog="python -m fmnist_lib", description="A lab on looking inside CNNs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = add(commands, "data", run_data, wording.describe_data, "make the data set available, and say where it is")
    take(command, "--data")

    command = add(commands, "train", run_train, wording.describe_train, "train a model, or resume its training")
    command.set_defaults(after_interrupt=after_interrupted_training)
    command.add_argument("model", metavar="MODEL", choices=list(models.REGISTRY), help=", ".join(models.REGISTRY))
    command.add_argument("--recipe", choices=list(recipes.RECIPES), default="original", help="default: %(default)s")
    command.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipe's number")
    command.add_argument("--seed", type=natural, default=0, metavar="N", help="default: 0")
    command.add_argument("--out", type=Path, metavar="DIR", help="the run's folder; default: checkpoints/MODEL-RECIPE")
    command.add_argument("--fresh", action="store_true", help="delete the run that is there and start again")
    take(command, "--data", "--device")

    command = add(commands, "evaluate", run_evaluate, wording.describe_evaluate, "accuracy and loss of a run's weights")
    take(command, "paths")
    command.add_argument("--split", choices=("val", "test"), default="test", help="default: %(default)s")
    command.add_argument("--together", action="store_true", help="ask several networks together, and take their mean")
    take(command, "--data", "--device")

    command = add(commands, "predict", run_predict, wording.describe_predict, "class probabilities for picture files")
    take(command, "path")
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="any picture file")
    take(command, "--device")

    command = add(
        commands, "record", run_record, wording.describe_record, "remake recording and figures from stored epochs"
    )
    take(command, "path")
    command.add_argument("--epochs", type=positive, metavar="N", default=RECORDED_EPOCHS, help="at most, evenly spread")
    take(command, "--data", "--device")

    command = add(
        commands, "sweep", run_sweep, wording.describe_sweep, "many runs from a file, a row of results for each"
    )
    command.set_defaults(after_interrupt=lambda _: "Run the same command to go on from the last finished epoch.")
    command.add_argument("file", type=Path, metavar="FILE", help="JSON; its form is told in fmnist_lib/runs/sweep.py")
    command.add_argument("--out", type=Path, metavar="DIR", help="the runs' folder; default: FILE without its suffix")
    command.add_argument("--ray", action="store_true", help="several runs at once, on a Ray cluster (pip install ray)")
    take(command, "--data", "--device")

    command = add(commands, "check", run_check, wording.describe_check, "check what is handed in, without running it")
    command.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="a student's folder, or many of them")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write every finding into a table for spreadsheets")
    take(command, "--data", "--device")

    command = add(commands, "report", run_report, wording.describe_report, "run the notebooks and write the report")
    command.add_argument("--retrain", action="store_true", help="train every run again, under build/retrained/")
    command.add_argument("--in-place", action="store_true", help="store the notebooks as they were run")
    command.add_argument("--out", type=Path, default=Path("build"), metavar="DIR", help="default: build")
    take(command, "--data")

    command = add(commands, "handout", run_handout, wording.describe_handout, "write the notebooks without solutions")
    command.add_argument("--out", type=Path, default=Path("build/handout"), metavar="DIR", help="default: %(default)s")
    command.add_argument("--repository", default="", metavar="OWNER/NAME", help="on GitHub, for Colab: docs/colab.md")
    return parser


KEPT = "What was finished is kept. Run the same command again for the rest."


def add(commands: Any, name: str, run: Any, describe: Any, text: str) -> argparse.ArgumentParser:
    """A command with the options that all have."""
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run, describe=describe, after_interrupt=lambda _: KEPT)
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    command.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    return command


def take(command: argparse.ArgumentParser, *names: str) -> None:
    """Add some of the arguments that several commands share."""
    for name in names:
        command.add_argument(name, **SHARED[name])


def natural(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 that 63 bits hold")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run_data(options: argparse.Namespace) -> dict[str, Any]:
    """Find or fetch the set."""
    source = data.find(options.data)
    return {"source": source.name, "folder": str(source.folder), "verified": True}


def run_train(options: argparse.Namespace) -> dict[str, Any]:
    """Train, resume or load."""
    recipe = recipes.find_recipe(options.recipe, options.model)
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    bar = TerminalBar(options.model)
    run = launch.train_run(
        options.model,
        recipe,
        seed=options.seed,
        out=options.out,
        site=Site(options.device, options.data),
        fresh=options.fresh,
        observers=[bar.step],
        on_epoch=[bar.epoch],
        tell=tell,
    )
    return summary(run) | {"figures": str(figures_folder(run.path))}


def tell(text: str) -> None:
    """A line for people while a command runs."""
    if is_first():
        print(text, file=sys.stderr, flush=True)


def summary(run: Run) -> dict[str, Any]:
    """A run in a few numbers."""
    return {
        "run": str(run.path),
        "model": run.model_name,
        "recipe": run.recipe.name,
        "seed": run.seed,
        "epochs": run.epochs_done,
        "seconds": run.seconds,
        **measure.accuracies(run),
    }


def after_interrupted_training(options: argparse.Namespace) -> str:
    """What is kept after Ctrl-C, and how to go on."""
    path = options.out or run_folder(options.model, options.recipe, seed=options.seed)
    done = max(stored_epochs(path), default=0)
    again = f"Run the same command {'without --fresh ' if options.fresh else ''}to go on from there."
    return f"{done} finished epochs are kept in {path}. {again}"


def run_evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the stored weights anew."""
    runs, site = [Run.load(path) for path in options.paths], Site(options.device, options.data)
    groups = [runs] if options.together else [[run] for run in runs]
    results = [describe_group(group, options.split, site) for group in groups]
    return results[0] if len(results) == 1 else {"split": options.split, "results": results}


def describe_group(runs: Sequence[Run], split: str, site: Site) -> dict[str, Any]:
    """The figures of a run, or of several that are asked together."""
    names = " + ".join(run.model_name for run in runs)
    figures = measure.evaluate_runs(runs, split, site=site)
    return {"runs": [str(run.path) for run in runs], "model": names, "split": split, **figures}


def run_predict(options: argparse.Namespace) -> dict[str, Any]:
    """What each picture shows; a file that is no picture is told of beside the others' answers."""
    answers = measure.predict_pictures(Run.load(options.path), options.images, device=options.device)
    return {"run": str(options.path), "predictions": answers, "failed": sum("error" in each for each in answers)}


def run_record(options: argparse.Namespace) -> dict[str, Any]:
    """Remake recording and figures; without stored epochs only the figures, from the recording that is there."""
    run = Run.load(options.path)
    if has_epochs := bool(run.stored_epochs()):
        made = record.record_run(run, most=options.epochs, site=Site(options.device, options.data))
    else:
        made = run.recording()
        record.draw_run(run, made)
    folder = figures_folder(run.path)
    return {"run": str(run.path), "epochs": made.epochs, "recorded": has_epochs, "figures": str(folder)}


def run_sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is not done yet."""
    site = Site(options.device, options.data)
    rows = sweep.run_sweep(options.file, out=options.out, site=site, on_ray=options.ray, tell=tell)
    return {"results": str(options.file.with_suffix(".csv")), "runs": rows}


def run_check(options: argparse.Namespace) -> dict[str, Any]:
    """Check folders that were handed in; what is wrong with them is the result, and no failure."""
    result = folders.check_folders(options.folders, site=Site(options.device, options.data), tell=tell)
    if options.csv:
        write_atomically(options.csv, lambda file: file.write(findings.as_csv(result["folders"]).encode("utf-8-sig")))
    return result


def run_report(options: argparse.Namespace) -> dict[str, Any]:
    """Run the notebooks and write page and report."""
    if options.data:
        os.environ["FMNIST_DATA"] = str(options.data.absolute())  # for the notebooks, which run in their own kernels
    try:
        from fmnist_lib.report.make import make_report  # it needs the lab extra, which no other command does
    except ModuleNotFoundError as error:
        raise LabError(f"{error.name} is not installed: pip install -e '.[lab]', or use make report") from error
    return make_report(options.out, retrain=options.retrain, in_place=options.in_place)


def run_handout(options: argparse.Namespace) -> dict[str, Any]:
    """Write the students' version of the notebooks."""
    try:
        from fmnist_lib.course.handout import make_handout  # it needs nbformat, of the lab extra
    except ModuleNotFoundError as error:
        raise LabError(f"{error.name} is not installed: pip install -e '.[lab]', or use make handout") from error
    return {
        "notebooks": [
            str(path) for path in make_handout(home() / "notebooks", options.out, repository=options.repository)
        ]
    }
