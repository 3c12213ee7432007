"""A whole run in one call: data, training, checkpoints, evaluation, recording and figures."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fmnist_lib import checkpoint, data, devices, evaluation, figures, machine, models, pictures, plots, train
from fmnist_lib.augment import make_augment
from fmnist_lib.checkpoint import Run
from fmnist_lib.distributed import ALONE, World, joined
from fmnist_lib.recipes import Recipe
from fmnist_lib.recorder import Probe, Recorder
from fmnist_lib.recording import Recording
from fmnist_lib.storage import RunError

PROBE_IMAGES = 128  # as many as a training batch
COMPARISONS = ("plain18", "plain34")  # here to be compared: maps of their stage ends will do, and stay small
RECORDED_EPOCHS = 12  # at most, the start included: a recording stays a few megabytes however long the training
MAPS_IN_FULL = 6  # epochs up to which every activation is kept, and not the stage ends alone


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


def figures_folder(run_path: Path) -> Path:
    """figures/RUN beside checkpoints/, or figures/ inside a run's folder that lies elsewhere."""
    path = run_path.absolute()
    return path.parent.parent / "figures" / path.name if path.parent.name == "checkpoints" else path / "figures"


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
            record_run(run, device=device, data_folder=data_folder)
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
        lambda: make_batches(recipe, seed=seed, folder=data_folder),
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


def make_batches(recipe: Recipe, *, seed: int, folder: Path | None = None) -> data.Batches:
    """The recipe's data, batch size and augmentation."""
    augment = make_augment(flip=recipe.flip, crop=recipe.crop, erase=recipe.erase)
    return data.batches(
        dataset=recipe.dataset,
        batch_size=recipe.batch_size,
        seed=seed,
        folder=folder,
        augment=augment,
        limit=recipe.images,
    )


def evaluate_run(
    run: Run, split: str, *, device: str = "auto", folder: Path | None = None, world: World = ALONE
) -> dict[str, Any]:
    """Accuracy, loss, per-class accuracy and confusion matrix of a run's stored weights on a split.

    For a recipe that trains on mirror images "flip" has accuracy and loss with flip test-time augmentation.
    """
    model = world.share(run.model)

    def measure(*, flip: bool) -> evaluation.Evaluation:
        batches = data.evaluation_batches(split, dataset=run.recipe.dataset, folder=folder)
        return evaluation.evaluate(model, batches, device=device, flip=flip, world=world)

    result = measure(flip=False)
    figures = {
        "images": result.images,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "per_class": dict(zip(data.CLASSES, result.per_class, strict=True)),
        "confusion": result.confusion.tolist(),
    }
    if run.recipe.flip:
        flipped = measure(flip=True)
        figures["flip"] = {"accuracy": flipped.accuracy, "loss": flipped.loss}
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
    model.to(place).eval()
    with torch.inference_mode():
        parts = [model(data.normalise(part).to(place)).softmax(1).cpu() for part in images.split(500)]
    return torch.cat(parts)


def make_probe(dataset: str, *, folder: Path | None = None) -> Probe:
    """The first validation image of each class, then the first others, up to `PROBE_IMAGES`."""
    images, labels = data.load("val", dataset=dataset, folder=folder)
    first = [int((labels == label).nonzero()[0]) for label in range(len(data.CLASSES))]
    rest = [i for i in range(len(labels)) if i not in set(first)][: PROBE_IMAGES - len(first)]
    rows = torch.tensor(first + rest)
    return Probe(data.normalise(images[rows]), labels[rows], shown=len(first))


def record_run(run: Run, *, device: str = "auto", data_folder: Path | None = None) -> Recording:
    """Make recording.npz from at most `RECORDED_EPOCHS` stored ones, and the figures. Raises RunError without any."""
    if not run.stored_epochs():
        raise RunError(f"no stored epochs in {run.path}: epochs/ is not handed on with a run; train with --fresh")
    model = run.model()
    model.to(devices.pick_device(device)).to(memory_format=torch.channels_last)
    probe = make_probe(run.recipe.dataset, folder=data_folder)
    about = {
        "model": run.model_name,
        "recipe": run.recipe.name,
        "seed": run.seed,
        "classes": list(data.CLASSES),
        "labels": probe.labels[: probe.shown].tolist(),
    }
    epochs = spread_out(run.stored_epochs(), RECORDED_EPOCHS)
    ends = stage_ends(model)
    layers = ends if run.model_name in COMPARISONS or len(epochs) > MAPS_IN_FULL else None
    recorder = Recorder(model, probe=probe, layers=layers, gradient_layers=ends, about=about)
    for epoch in epochs:
        model.load_state_dict(run.state(epoch)["model"])
        recorder.snapshot(epoch)
    recording = recorder.recording()
    recording.save(run.path / "recording.npz")
    draw_run(run, recording)
    return recording


def spread_out(epochs: Sequence[int], count: int) -> list[int]:
    """At most so many of the epochs, evenly spread, the first and the last among them."""
    count = min(count, len(epochs))
    return [epochs[round(i * (len(epochs) - 1) / max(count - 1, 1))] for i in range(count)]


def draw_run(run: Run, recording: Recording) -> list[Path]:
    """Draw a run's figures into its figures folder; returns the files."""
    curves = plots.curves(run.history.epochs, run.history.steps, title=f"{run.model_name} ({run.recipe.name})")
    return figures.save_run_figures(recording, curves, figures_folder(run.path))


def stage_ends(model: models.ViewableModel) -> list[str]:
    """The first activation, and the last one at each resolution: the places whose map gradients are kept."""
    places = [place for place in model.viewable if place.kind == "activation"]
    last_at = {place.stride: place.layer for place in places}
    return list(dict.fromkeys([places[0].layer, *last_at.values()]))
