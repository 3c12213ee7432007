"""How good a run is, and what it makes of pictures.

Letters: N images, K classes.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmnist_lib import data
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.runs.storage import RunError
from fmnist_lib.training import devices, evaluation

HERE = Site()


def measure_run(run: Run, splits: Sequence[str], *, site: Site = HERE) -> None:
    """Evaluate a run on those splits that it was not evaluated on yet, and store the figures with it."""
    for split in splits:
        if split not in run.evaluation:
            run.evaluation[split] = evaluate_runs([run], split, site=site)
            if site.world.is_first:
                run.save()


def evaluate_runs(runs: Sequence[Run], split: str, *, site: Site = HERE) -> dict[str, Any]:
    """Accuracy, loss, per-class accuracy and confusion matrix of stored weights on a split; several are asked together.

    For recipes that train on mirror images "flip" has accuracy and loss with flip test-time augmentation.
    Raises RunError for runs of different data sets.
    """
    datasets = {run.recipe.dataset for run in runs}
    if len(datasets) > 1:
        raise RunError(f"these runs were trained on different data sets ({', '.join(sorted(datasets))})")
    model = site.world.share(
        lambda: evaluation.Ensemble(run.model() for run in runs) if len(runs) > 1 else runs[0].model()
    )
    batches = data.evaluation_batches(split, dataset=runs[0].recipe.dataset, data_folder=site.data_folder)
    flip = all(run.recipe.flip for run in runs)
    result = evaluation.evaluate(model, batches, device=site.device, flip=flip, world=site.world)
    if not math.isfinite(result.loss):
        raise RunError(
            f"the loss of {' + '.join(str(run.path) for run in runs)} on the {split} images is {result.loss}: its "
            "weights give scores that are no numbers"
        )
    figures = {
        "images": result.num_images,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "per_class": dict(zip(data.CLASSES, result.per_class, strict=True)),
        "confusion": result.confusion.tolist(),
    }
    if result.flipped:
        figures["flip"] = {"accuracy": result.flipped.accuracy, "loss": result.flipped.loss}
    return figures


def accuracies(run: Run) -> dict[str, float]:
    """The run's accuracies by name: SPLIT_accuracy, and SPLIT_flip with test-time augmentation where it was used."""
    found = {}
    for split, values in run.evaluation.items():
        found[f"{split}_accuracy"] = values["accuracy"]
        if "flip" in values:
            found[f"{split}_flip"] = values["flip"]["accuracy"]
    return found


def predict_pictures(run: Run, paths: Sequence[Path], *, device: str = "auto") -> list[dict[str, Any]]:
    """Class probabilities of picture files, each made 28x28 as the set was. Raises PictureError."""
    images = torch.stack([data.read_picture(path) for path in paths])
    probabilities = predict(run.model(), images, device=device).tolist()
    return [
        {"image": str(path), "probabilities": dict(zip(data.CLASSES, row, strict=True))}
        for path, row in zip(paths, probabilities, strict=True)
    ]


def predict(model: nn.Module, images: Tensor, *, device: str = "auto") -> Tensor:
    """Class probabilities float32 (N, K) of pictures as bytes (N, 1, 28, 28), in evaluation mode, on the CPU."""
    place = devices.pick_device(device)
    model.to(place).to(memory_format=devices.memory_format(place))
    with evaluation.evaluation_mode(model), torch.inference_mode():
        parts = [model(data.normalise(part).to(place)).softmax(1).cpu() for part in images.split(250)]
    return torch.cat(parts)


# A difference of two accuracies counts from so many of its standard errors on: chance alone goes further once in twenty
# times. This is the lab's one rule for it, in code, notebooks and report.
STANDARD_ERRORS = 2


def standard_error(result: dict[str, Any]) -> float:
    """How far chance alone moves an accuracy that was measured on so many images."""
    return (result["accuracy"] * (1 - result["accuracy"]) / result["images"]) ** 0.5


def least_difference(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The difference from which on two accuracies differ by more than chance over the images; see `STANDARD_ERRORS`.

    It speaks of two trained networks. Another seed moves an accuracy, too: of architectures it says nothing.
    """
    return STANDARD_ERRORS * (standard_error(first) ** 2 + standard_error(second) ** 2) ** 0.5
