"""A run that was handed in: do weights, figures, history and recording belong together, and are they so good?

Letters: K classes, O output and I input channels of a convolution.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor

from fmnist_lib.checking.findings import Finding
from fmnist_lib.checking.handed_out import fingerprint, handed_out
from fmnist_lib.errors import LabError
from fmnist_lib.runs import measure, storage
from fmnist_lib.runs.checkpoint import RECORDING, Run
from fmnist_lib.runs.places import Site
from fmnist_lib.visualisers.recording import Recording

TOLERANCE = 0.001  # share of a split's images that another processor may see otherwise; stored runs differ by 3 images
SIGMAS = 3.0  # standard errors by which test may exceed validation
FASTEST = 400_000  # images a second; an H100 trains our smallest network at about 70,000


@dataclass
class Work:
    """A run, as far as it could be read, and what came out of measuring it."""

    name: str
    path: Path
    findings: list[Finding] = field(default_factory=list)
    run: Run | None = None
    digest: str = ""
    fingerprint: list[list[float]] = field(default_factory=list)
    handed_out: str = ""  # the name of the handed-out run that has these weights
    measured: dict[str, float] = field(default_factory=dict)  # accuracies by split

    def say(self, check: str, colour: str, reason: str) -> None:
        """Note a finding about this run."""
        self.findings.append(Finding(check, colour, self.name, reason))


def check_run(path: Path, name: str, *, site: Site) -> Work:
    """Everything that can be said of one run's folder by itself."""
    work = Work(name, path)
    try:
        weights = read(work)
    except LabError as error:
        work.say("weights", "red", str(error))
        return work
    check_origin(work)
    check_history(work)
    if work.handed_out:
        check_known_accuracy(work)
    else:
        check_accuracy(work, site)
    check_recording(work, weights)
    return work


def read(work: Work) -> dict[str, Tensor]:
    """The run and its weights. Raises LabError for what cannot be loaded safely, fit together or be computed with."""
    run = work.run = Run.load(work.path)
    weights = run.weights()
    run.model()  # raises where they do not fit
    work.digest, work.fingerprint = storage.digest(weights), fingerprint(weights)
    if run.unverified:
        work.say("weights", "amber", run.unverified)
    work.say("weights", "green", f"loaded safely; they fit {run.model_name}; SHA-256 {work.digest[:16]}")
    return weights


def check_origin(work: Work) -> None:
    """Whether these are weights that the lab hands out, as they are or made to look otherwise."""
    assert work.run is not None
    for name, known in handed_out()["runs"].items():
        if work.digest == known["digest"]:
            work.handed_out = name
            same = known["model"] == work.run.model_name and known["recipe"] == work.run.recipe.name
            work.say(
                "own work",
                "green" if same else "red",
                f"the run {name} as it was handed out, or trained anew to the same bits; it counts as nobody's own"
                if same
                else f"its weights are those of the handed-out {name}, under another model or recipe",
            )
        elif is_like(work.fingerprint, known["fingerprint"]):
            work.say("own work", "red", f"its weights are those of the handed-out {name}, rounded or rearranged")


def is_like(mine: list[list[float]], theirs: list[list[float]]) -> bool:
    """Whether two fingerprints are of the same weights: within a hundredth of a standard deviation everywhere."""
    if not mine or [len(row) for row in mine] != [len(row) for row in theirs]:
        return False
    return float(np.abs(np.array(mine) - np.array(theirs)).max()) < 0.01


def check_history(work: Work) -> None:
    """Whether the epochs follow each other, hold numbers that can be, and end where the figures begin."""
    run = work.run
    assert run is not None
    reasons = [*wrong_in_history(run), *wrong_in_figures(run.evaluation)]
    for reason in reasons:
        work.say("history", "red", reason)
    if not run.is_finished:
        work.say("history", "amber", f"not finished: {run.epochs_done} of {run.recipe.epochs} epochs")
    elif not reasons:
        work.say("history", "green", f"{run.epochs_done} epochs in {run.seconds:,.0f} s of training")
    size = run.recipe.images or {"full": 55_000}.get(run.recipe.dataset, 0)
    if any(size > FASTEST * float(row["seconds"]) for row in run.history.epochs if is_number(row.get("seconds"))):
        work.say("history", "amber", f"an epoch of {size:,} images took less than {size / FASTEST:.2f} s")


def wrong_in_history(run: Run) -> Iterator[str]:
    """What cannot be in the rows of the epochs."""
    for number, row in enumerate(run.history.epochs, start=1):
        for name in ("train_loss", "val_loss", "seconds", "train_accuracy", "val_accuracy"):
            most = 1.0 if name.endswith("accuracy") else math.inf
            if not is_number(row.get(name)) or not 0 <= row[name] <= most:
                yield f"epoch {number}: {name} is {row.get(name)!r}"


def wrong_in_figures(evaluation: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What contradicts itself in the stored figures of a split."""
    for split, figures in evaluation.items():
        confusion = as_confusion(figures)
        if confusion is None:
            yield f"the figures of {split} hold no confusion matrix"
            continue
        total, right = int(confusion.sum()), int(np.trace(confusion))
        if total != figures.get("images") or not math.isclose(right / max(total, 1), figures.get("accuracy", -1)):
            yield (
                f"{split}: run.json says {show(figures.get('accuracy'))} of {figures.get('images')} images, its own "
                f"confusion matrix {right / max(total, 1):.2%} of {total}"
            )


def check_known_accuracy(work: Work) -> None:
    """Compare the figures of a handed-out run with those that it was handed out with; they need no measuring."""
    assert work.run is not None
    work.measured = dict(handed_out()["runs"][work.handed_out]["accuracies"])
    for split, accuracy in work.measured.items():
        known = f"the handed-out weights reach {accuracy:.2%}"
        if split not in work.run.evaluation:  # a sweep's run never saw the test set
            work.say("accuracy", "amber", f"{split}: {known}; run.json has no figure")
            continue
        said = work.run.evaluation[split].get("accuracy")
        agrees = is_number(said) and abs(said - accuracy) <= TOLERANCE
        work.say("accuracy", "green" if agrees else "red", f"{split}: run.json says {show(said)}, and {known}")


def check_accuracy(work: Work, site: Site) -> None:
    """Measure validation and test anew; compare with what is claimed, and with each other."""
    run = work.run
    assert run is not None
    for split in ("val", "test"):
        figures = measure.evaluate_runs([run], split, site=site)
        work.measured[split], images = figures["accuracy"], figures["images"]
        tolerance = max(2, round(TOLERANCE * images))
        claimed = as_confusion(run.evaluation.get(split, {}))
        if claimed is None:
            work.say("accuracy", "amber", f"{split}: measured {work.measured[split]:.2%}; run.json has no figure")
            continue
        moved = int(np.abs(np.array(figures["confusion"]) - claimed).sum()) / 2
        said = run.evaluation[split].get("accuracy")
        agrees = moved <= tolerance and is_number(said) and abs(said - work.measured[split]) * images <= tolerance
        work.say(
            "accuracy",
            "green" if agrees else "red",
            f"{split}: measured {work.measured[split]:.2%}, run.json says {show(said)}; {moved:.0f} of {images:,} "
            f"images were counted otherwise (up to {tolerance} may, on another processor)",
        )
    check_last_epoch(work, tolerance=0.005)
    check_leak(work, images)


def check_last_epoch(work: Work, *, tolerance: float) -> None:
    """Whether the history ends with the accuracy that the weights have; handing on in float16 may move a few images."""
    rows = work.run.history.epochs if work.run else []
    last = rows[-1].get("val_accuracy") if rows else None
    if is_number(last) and abs(last - work.measured["val"]) > tolerance:
        work.say(
            "history",
            "red",
            f"it ends with {show(last)} on the validation images, but the weights reach {work.measured['val']:.2%}",
        )


def check_leak(work: Work, images: int) -> None:
    """Whether the test images are known better than the validation images, as if they had been trained on."""
    val, test = work.measured["val"], work.measured["test"]
    middle = min((val + test) / 2, 1 - 1 / images)
    error = math.sqrt(middle * (1 - middle) * 3 / images)  # of a difference; validation has half as many images
    if test - val > SIGMAS * error:
        work.say("accuracy", "red", f"test {test:.2%} is far above validation {val:.2%}: as if trained on test images")
    if val - test > 0.01 + SIGMAS * error:
        work.say("accuracy", "red", f"validation {val:.2%} is far above test {test:.2%}: as if trained on its images")


def check_recording(work: Work, weights: dict[str, Tensor]) -> None:
    """Whether the recording begins with the run's seed and ends with the run's weights."""
    run = work.run
    assert run is not None
    if not (work.path / RECORDING).exists():
        return work.say("recording", "amber", "there is none")
    try:
        recording = run.recording()
        if run.epochs_done not in recording.epochs:
            return work.say("recording", "amber", f"it ends before epoch {run.epochs_done}: make it anew with `record`")
        if not matches(recording, run.epochs_done, weights):
            return work.say("recording", "red", "the kernels of its last epoch are not those of the weights")
        if 0 in recording.epochs and not matches(recording, 0, run.untrained_model().state_dict()):
            return work.say("recording", "amber", f"it begins with other kernels than seed {run.seed} gives here")
    except LabError as error:
        return work.say("recording", "red", str(error))
    work.say(
        "recording", "green", f"epochs {recording.epochs[0]} to {recording.epochs[-1]}; its kernels are the weights'"
    )


def matches(recording: Recording, epoch: int, weights: dict[str, Tensor]) -> bool:
    """Whether the recorded kernels (O, I, H, W) are those weights, to the precision of the recording."""
    for layer, kept in recording.layers.get("kernels", {}).items():
        if not recording.has("kernels", layer, epoch):
            continue
        stored = recording.values("kernels", layer, epoch)
        real = weights[f"{layer}.weight"].float()[kept["channels"]][:, kept["inputs"]].numpy()
        step = np.ptp(stored, axis=(-2, -1), keepdims=True) / 254 + 2e-3 * np.abs(real).max()
        if stored.shape != real.shape or np.mean(np.abs(stored - real) <= step) < 0.95:
            return False
    return True


def as_confusion(figures: dict[str, Any]) -> np.ndarray | None:
    """The confusion matrix (K, K) of a split's figures, if it is one."""
    try:
        matrix = np.array(figures.get("confusion"), dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    return matrix if matrix.shape == (10, 10) and (matrix >= 0).all() else None


def is_number(value: object) -> TypeGuard[float]:
    """A finite number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def show(value: object) -> str:
    """A share as a percentage, whatever else as it is."""
    return f"{value:.2%}" if isinstance(value, float) else repr(value)
