"""A whole run in one call: data, training, checkpoints, evaluation, recording and figures."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fmnist_lib import checkpoint, data, devices, evaluation, machine, pictures, snapshots, train
from fmnist_lib.augment import make_augment
from fmnist_lib.checkpoint import Run
from fmnist_lib.distributed import ALONE, World, joined
from fmnist_lib.recipes import Recipe
from fmnist_lib.storage import RunError


def home() -> Path:
    """The folder that holds checkpoints/ and figures/: FMNIST_HOME, else the nearest one above that has them."""
    if chosen := os.environ.get("FMNIST_HOME"):
        return Path(chosen)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "checkpoints").is_dir()), here)


def run_name(model_name: str, recipe_name: str, *, seed: int = 0) -> str:
    """MODEL-RECIPE, with -seedN for seeds other than 0."""
    return f"{model_name}-{recipe_name}" + (f"-seed{seed}" if seed else "")


def run_folder(model_name: str, recipe_name: str, *, seed: int = 0) -> Path:
    """Where a run lies unless it is told otherwise: checkpoints/RUN in `home`."""
    return home() / "checkpoints" / run_name(model_name, recipe_name, seed=seed)


def train_run(
    model_name: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    data_folder: Path | None = None,
    observers: Sequence[train.Observer] = (),
    on_epoch: Sequence[train.Observer] = (),
) -> Run:
    """Train or resume a run, or load it when it is finished; evaluate it, record it and draw its figures, once.

    The ranks that torchrun started train together; the first alone writes, records and calls observers.
    Raises what the parts raise: DataError, DeviceError, UnknownModel, RunError, TrainingError.
    """
    path = out or run_folder(model_name, recipe.name, seed=seed)
    with joined(device) as world:
        run = fit_run(
            model_name,
            recipe,
            seed=seed,
            out=path,
            device=device,
            fresh=fresh,
            data_folder=data_folder,
            observers=observers,
            on_epoch=on_epoch,
            world=world,
        )
        measure_run(run, ("val", "test"), device=device, folder=data_folder, world=world)  # opens the test set, once
        if world.is_first and not (run.path / "recording.npz").exists() and run.stored_epochs():
            snapshots.record_run(run, device=device, data_folder=data_folder)
    return run


def fit_run(
    model_name: str,
    recipe: Recipe,
    *,
    seed: int,
    out: Path,
    device: str = "auto",
    fresh: bool = False,
    data_folder: Path | None = None,
    observers: Sequence[train.Observer] = (),
    on_epoch: Sequence[train.Observer] = (),
    world: World = ALONE,
) -> Run:
    """The training alone, with the recipe's data: no evaluation but validation, no recording."""
    place = world.place(device)
    return checkpoint.fit_or_load(
        out,
        model_name,
        recipe,
        lambda: make_batches(recipe, seed=seed, device=device, folder=data_folder, world=world),
        seed=seed,
        overrides=recipe.overrides,
        environment=machine.describe(place.type) | {"ranks": world.size},
        device=device,
        fresh=fresh,
        observers=observers,
        on_epoch=on_epoch,
        world=world,
    )


def measure_run(
    run: Run, splits: Sequence[str], *, device: str = "auto", folder: Path | None = None, world: World = ALONE
) -> None:
    """Evaluate a run on those splits that it was not evaluated on yet, and store the figures with it."""
    for split in splits:
        if split not in run.evaluation:
            run.evaluation[split] = evaluate_run(run, split, device=device, folder=folder, world=world)
            if world.is_first:
                run.save()


def accuracies(run: Run) -> dict[str, float]:
    """The run's accuracies by name: SPLIT_accuracy, and SPLIT_flip with test-time augmentation where it was used."""
    found = {}
    for split, values in run.evaluation.items():
        found[f"{split}_accuracy"] = values["accuracy"]
        if "flip" in values:
            found[f"{split}_flip"] = values["flip"]["accuracy"]
    return found


def make_batches(
    recipe: Recipe, *, seed: int, device: str = "auto", folder: Path | None = None, world: World = ALONE
) -> data.Batches:
    """The recipe's data, batch size, augmentation and teacher. Raises DataError, and RunError without the teacher."""
    augment = make_augment(flip=recipe.flip, crop=recipe.crop, erase=recipe.erase)
    batches = data.batches(
        dataset=recipe.dataset,
        batch_size=recipe.batch_size,
        seed=seed,
        folder=folder,
        augment=augment,
        limit=recipe.images,
    )
    if not recipe.teacher:
        return batches
    return replace(batches, answers=world.share(lambda: ask_teacher(recipe, *batches.training, device=device)))


def ask_teacher(recipe: Recipe, images: torch.Tensor, labels: torch.Tensor, *, device: str) -> torch.Tensor:
    """Class probabilities float32 (2, N, K) to learn, for images and their mirror images: labels and teacher's answers.

    The teacher is asked once, about whole images. What the student sees shifted and erased in part it is to answer as
    the teacher answers all of it, so that an epoch costs no more than without a teacher. Sources: Hinton et al. 2015,
    arXiv:1503.02531; for answers that are kept, Shen and Xing 2021, arXiv:2112.01528. Raises RunError without it.
    """
    teacher = find_teacher(recipe)
    answers = predict(teacher, images, device=device)
    mirrored = predict(teacher, images.flip(3), device=device) if recipe.flip else answers
    truth = torch.nn.functional.one_hot(labels, answers.shape[1]).float()
    return truth.lerp(torch.stack([answers, mirrored]), recipe.teacher_share)


def find_teacher(recipe: Recipe) -> torch.nn.Module:
    """The network of the finished run in checkpoints/ that the recipe names. Raises RunError."""
    try:
        run = Run.load(home() / "checkpoints" / recipe.teacher)
        if not run.is_finished:
            raise RunError(f"its training stopped after epoch {run.epochs_done} of {run.recipe.epochs}")
        return run.model()
    except RunError as error:
        raise RunError(
            f"the recipe {recipe.name!r} learns from the run {recipe.teacher}, so that is to be trained first: {error}"
        ) from error


def evaluate_run(
    run: Run, split: str, *, device: str = "auto", folder: Path | None = None, world: World = ALONE
) -> dict[str, Any]:
    """Accuracy, loss, per-class accuracy and confusion matrix of a run's stored weights on a split.

    For a recipe that trains on mirror images "flip" has accuracy and loss with flip test-time augmentation.
    """
    return evaluate_runs([run], split, device=device, folder=folder, world=world)


def evaluate_runs(
    runs: Sequence[Run], split: str, *, device: str = "auto", folder: Path | None = None, world: World = ALONE
) -> dict[str, Any]:
    """What `evaluate_run` gives, of several runs asked together. Raises RunError for runs of different data sets."""
    datasets = {run.recipe.dataset for run in runs}
    if len(datasets) > 1:
        raise RunError(f"these runs were trained on different data sets ({', '.join(sorted(datasets))})")
    model = world.share(lambda: evaluation.Ensemble(run.model() for run in runs) if len(runs) > 1 else runs[0].model())
    batches = data.evaluation_batches(split, dataset=runs[0].recipe.dataset, folder=folder)
    flip = all(run.recipe.flip for run in runs)
    result = evaluation.evaluate(model, batches, device=device, flip=flip, world=world)
    figures = {
        "images": result.images,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "per_class": dict(zip(data.CLASSES, result.per_class, strict=True)),
        "confusion": result.confusion.tolist(),
    }
    if result.flipped:
        figures["flip"] = {"accuracy": result.flipped.accuracy, "loss": result.flipped.loss}
    return figures


def predict_pictures(run: Run, paths: Sequence[Path], *, device: str = "auto") -> list[dict[str, Any]]:
    """Class probabilities of picture files, each made 28x28 as the set was. Raises PictureError."""
    images = torch.stack([pictures.read_picture(path) for path in paths])
    probabilities = predict(run.model(), images, device=device).tolist()
    return [
        {"image": str(path), "probabilities": dict(zip(data.CLASSES, row, strict=True))}
        for path, row in zip(paths, probabilities, strict=True)
    ]


def predict(model: torch.nn.Module, images: torch.Tensor, *, device: str = "auto") -> torch.Tensor:
    """Class probabilities float32 (N, 10) of pictures as bytes (N, 1, 28, 28), in evaluation mode, on the CPU."""
    place = devices.pick_device(device)
    model.to(place).to(memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        parts = [model(data.normalise(part).to(place)).softmax(1).cpu() for part in images.split(250)]
    return torch.cat(parts)
