"""A whole run in one call: data, training, checkpoints, evaluation, recording and figures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fmnist_lib import data
from fmnist_lib.errors import LabError
from fmnist_lib.runs import record
from fmnist_lib.runs.checkpoint import Run, find_fault_of_weights, fit_or_load, say_nothing, writing
from fmnist_lib.runs.measure import measure_run
from fmnist_lib.runs.own import own_recipe
from fmnist_lib.runs.places import Site, home, run_folder, shown
from fmnist_lib.runs.progress import NotebookCurve, TerminalBar, in_notebook
from fmnist_lib.runs.storage import RunError
from fmnist_lib.runs.teacher import ask_teacher
from fmnist_lib.training.loop import Observer
from fmnist_lib.training.parallel import joined
from fmnist_lib.training.recipes import RECIPES, BadRecipe, Recipe
from fmnist_lib.visualisers.recording import Recording, RecordingError

HERE = Site()


class Stopped(LabError):
    """A training that the user interrupted in a notebook; the message says what is kept and how to go on."""


def train_run(
    model_name: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    out: Path | str | None = None,
    site: Site = HERE,
    fresh: bool = False,
    observers: Sequence[Observer] = (),
    on_epoch: Sequence[Observer] = (),
    tell: Callable[[str], None] = say_nothing,
) -> Run:
    """Train or resume a run, or load it when it is finished; evaluate it, record it and draw its figures, once.

    The ranks that torchrun started train together; the first alone writes, records and calls observers. With `fresh`
    a run that is there is replaced when the new training begins. `tell` hears what the user should know before that.
    Raises what the parts raise, each a LabError: no such data, device, model, recipe or teacher, another run there.
    """
    path = Path(out) if out else run_folder(model_name, recipe.name, seed=seed)
    with joined(site.device) as world:
        site = replace(site, world=world)
        wanted = Run(path, model_name, recipe, seed)
        if (done := world.share(lambda: None if fresh else find_done(wanted))) is not None:
            return done
        used: list[torch.device] = []  # the CPU, where a device computes wrongly: then it measures and records, too
        on_epoch = [lambda training: used.append(training.device), *on_epoch]
        with writing(path, site):
            run = fit_run(wanted, site=site, fresh=fresh, observers=observers, on_epoch=on_epoch, tell=tell)
            if used and used[-1].type == "cpu":
                site = replace(site, device="cpu")
            measure_run(run, ("val", "test"), site=site)  # opens the test set, once
            if world.is_first and run.stored_epochs():
                complete(run, site=site)
    return run


def find_done(wanted: Run) -> Run | None:
    """The run on disk if it is the one wanted and nothing is left to be done: nothing is written then, nor locked."""
    if not (wanted.path / "run.json").exists():
        return None
    run = Run.load(wanted.path)
    if run.recipe != wanted.recipe or (run.model_name, run.seed) != (wanted.model_name, wanted.seed):
        return None  # opening it will say so
    is_done = run.is_finished and {"val", "test"} <= set(run.evaluation) and find_fault_of_weights(run) is None
    return run if is_done and (not run.stored_epochs() or is_complete(run)) else None


def is_complete(run: Run) -> bool:
    """Whether recording and figures are there as they should be."""
    recording = find_recording(run)
    return recording is not None and record.is_drawn(run, recording)


def complete(run: Run, *, site: Site) -> None:
    """Make the recording and the figures, or what is missing of them: a kill may have come before."""
    recording = find_recording(run)
    if recording is None:
        record.record_run(run, site=site)
    elif not record.is_drawn(run, recording):
        record.draw_run(run, recording)


def find_recording(run: Run) -> Recording | None:
    """The run's recording, if it is whole, its own, and of the training as far as it has come."""
    try:
        recording = run.recording()
    except (RecordingError, RunError):
        return None
    return recording if recording.epochs[-1:] == [run.epochs_done] else None


def fit_run(
    wanted: Run,
    *,
    site: Site = HERE,
    fresh: bool = False,
    observers: Sequence[Observer] = (),
    on_epoch: Sequence[Observer] = (),
    tell: Callable[[str], None] = say_nothing,
) -> Run:
    """The training alone, with the recipe's data: no evaluation but validation, no recording."""
    return fit_or_load(
        wanted,
        lambda run: make_batches(run, site=site),
        site=site,
        fresh=fresh,
        observers=observers,
        on_epoch=on_epoch,
        tell=tell,
    )


def make_batches(run: Run, *, site: Site = HERE) -> data.Batches:
    """The data, batches, augmentation and teacher of a run's recipe. Raises DataError, and RunError for the teacher."""
    recipe = run.recipe
    batches = data.batches(
        dataset=recipe.dataset,
        batch_size=recipe.batch_size,
        seed=run.seed,
        data_folder=site.data_folder,
        augment=data.make_augment(flip=recipe.flip, crop=recipe.crop, erase=recipe.erase),
        limit=recipe.images,
    )
    if not recipe.teacher:
        return batches
    answers = site.world.share(lambda: ask_teacher(run, *batches.training, device=site.device))
    return replace(batches, answers=answers)


def train_or_load(
    model_name: str,
    recipe: Recipe | str = "original",
    *,
    name: str = "",
    seed: int = 0,
    device: str = "auto",
    data_folder: Path | str | None = None,
    fresh: bool = False,
    observers: Sequence[Observer] = (),
    on_epoch: Sequence[Observer] = (),
    **changes: Any,
) -> Run:
    """`train_run` in a notebook: the stored run in a second, or a training with its curve; one figure stays.

    `recipe` is a Recipe or the name of one. Any field of it and any argument of the model can be changed by name, as
    in `train_or_load("resnet18", name="mine", epochs=2, widths=[8, 16, 32, 64])`: that is a run of your own, in
    checkpoints/MODEL-NAME beside those that come with the lab. `fresh` trains one of your own again from the start;
    `observers` and `on_epoch` are called as by `fit`.
    Raises what `train_run` raises, and Stopped at an interrupt.
    """
    try:
        own = own_recipe(model_name, recipe, name=name, changes=changes)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise BadRecipe(f"seed is {seed!r}: it has to be a whole number from 0")
        if fresh and own.name in RECIPES:
            raise BadRecipe(f'{model_name}-{own.name} comes with the lab and stays: name one of your own, name="mine"')
        wanted = Run(run_folder(model_name, own.name, seed=seed), model_name, own, seed)
        site = Site(device, data_folder)
        return show_run(wanted, fresh=fresh, site=site, observers=observers, on_epoch=on_epoch)
    except LabError as error:
        error.args = (in_notebook_words(str(error)),)
        raise


def show_run(
    wanted: Run, *, fresh: bool, site: Site, observers: Sequence[Observer], on_epoch: Sequence[Observer]
) -> Run:
    """Train or load it with its curve in the cell. Raises what `train_run` raises, and Stopped."""
    model_name, recipe, path = wanted.model_name, wanted.recipe, wanted.path
    if not (path / "run.json").exists():
        print(f"{shown(path)} is not there yet, so it is trained now.{where_it_looked()}")
    title = f"{model_name}, recipe {recipe.name}"
    curve = NotebookCurve(title) if in_notebook() else TerminalBar(title)
    try:
        run = train_run(
            model_name,
            recipe,
            seed=wanted.seed,
            site=site,
            fresh=fresh,
            observers=[curve.step, *observers],
            on_epoch=[curve.epoch, *on_epoch],
            tell=lambda text: print(shown(text)),
        )
    except KeyboardInterrupt:
        done = max(wanted.stored_epochs(), default=0)
        raise Stopped(f"{done} finished epochs are kept in {path}. Run this cell again to go on from there.") from None
    if isinstance(curve, NotebookCurve):
        curve.draw(run.history, note=f"validation accuracy {run.history.epochs[-1]['val_accuracy']:.2%}")
    return run


def where_it_looked() -> str:
    """Where runs are looked for, as long as there are none: then the lab's are elsewhere, and take long to make."""
    if any((home() / "checkpoints").glob("*/run.json")):
        return ""
    return (
        f" There are no runs at all in {home() / 'checkpoints'}: they are looked for in checkpoints/ of this folder "
        "or of the nearest one above that has it; FMNIST_HOME names another. If you have the lab's runs, stop this "
        "cell and start Jupyter in the lab's folder."
    )


# What the command line calls its options, and a notebook otherwise.
NOTEBOOK_WORDS = {
    "another folder with --out": 'another name with name="..."',
    "a folder that can be written with --out": "a folder that can be written with FMNIST_HOME",
    "--fresh": "fresh=True",
    "--device cpu": 'device="cpu"',
    "--data": "data_folder=",
    "run the same command again": "run this cell again",
}


def in_notebook_words(message: str) -> str:
    """A message that names the command line's options, as it helps in a cell."""
    for words, ours in NOTEBOOK_WORDS.items():
        message = message.replace(words, ours)
    return message
