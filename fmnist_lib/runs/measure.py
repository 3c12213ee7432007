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

    Of validation images "doubt_below" is the probability below which an answer is in doubt (`Evaluation.doubt_below`).
    For recipes that train on mirror images "flip" has accuracy and loss with flip test-time augmentation.
    Of the process it changes how glibc keeps memory, as a training does. Raises RunError for runs of different data
    sets.
    """
    devices.keep_memory()  # it takes 1.6 times as long without
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
    if split == "val":
        figures["doubt_below"] = result.doubt_below
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
    """What a run's network makes of picture files, each made 28x28 as the set was; in the order of the files.

    Each answer has `image`, the file's name, and `probabilities`, `doubts` in sentences and `input`, what the network
    saw, as rows of bytes; or, of a file that cannot be read, `error` alone. Raises PictureError where none can be.
    """
    pictures = {path: read_or_say(path) for path in paths}
    read = {path: picture for path, picture in pictures.items() if isinstance(picture, data.Picture)}
    if not read:
        raise data.PictureError("\n".join(str(problem) for problem in pictures.values()))
    rows = predict(run.model(), torch.stack([picture.image for picture in read.values()]), device=device)
    answers = {path: answer(run, read[path], row) for path, row in zip(read, rows, strict=True)}
    return [{"image": str(path)} | answers.get(path, {"error": str(pictures[path])}) for path in paths]


def read_or_say(path: Path) -> data.Picture | data.PictureError:
    """A picture, or why it is none: one that cannot be read must not keep the others from being answered."""
    try:
        return data.look_at_picture(path)
    except data.PictureError as problem:
        return problem


def answer(run: Run, picture: data.Picture, probabilities: Tensor) -> dict[str, Any]:
    """Probabilities (K,) of a picture by class, why to doubt them, and what the network saw."""
    doubts = [*picture.doubts, *doubt_answer(run, float(probabilities.max()))]
    named = dict(zip(data.CLASSES, probabilities.tolist(), strict=True))
    return {"probabilities": named, "doubts": doubts, "input": picture.image[0].tolist()}


def in_words(answer: dict[str, Any]) -> list[str]:
    """The three likeliest classes in a line, and each doubt in one of its own."""
    ranked = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:3]
    likeliest = ", ".join(f"{name} {share:.1%}" for name, share in ranked)
    return [likeliest, *(f"in doubt: {doubt}" for doubt in answer["doubts"])]


def doubt_answer(run: Run, confidence: float) -> list[str]:
    """A sentence where a network's validation answers of so little confidence were often wrong, else none.

    A run that was measured by an earlier version has no such limit; measuring it again on validation images shows it.
    """
    limit = run.evaluation.get("val", {}).get("doubt_below", 0.0)
    if confidence >= limit:
        return []
    often = f"at least one in {evaluation.ONE_IN}"
    return [f"the network is unsure: of its validation answers below {limit:.0%} {often} was wrong"]


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
