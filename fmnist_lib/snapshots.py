"""What a run looked like: its recording and its figures, out of the epochs that it stored."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fmnist_lib import data, devices, figures, plots
from fmnist_lib.checkpoint import Run
from fmnist_lib.models import stage_ends
from fmnist_lib.recorder import Probe, Recorder
from fmnist_lib.recording import Recording
from fmnist_lib.storage import RunError

PROBE_IMAGES = 128  # as many as a training batch
COMPARISONS = ("plain18", "plain34")  # here to be compared: maps of their stage ends will do, and stay small
RECORDED_EPOCHS = 12  # at most, the start included: a recording stays small however long the training
SHORT = 6  # stored epochs up to which every activation is kept, and the gradients of maps at every resolution


def record_run(
    run: Run, *, most: int = RECORDED_EPOCHS, device: str = "auto", data_folder: Path | None = None
) -> Recording:
    """Make recording.npz from at most so many stored epochs, and the figures. Raises RunError when none is stored."""
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
    ends, is_short = stage_ends(model), len(run.stored_epochs()) <= SHORT
    layers = None if is_short and run.model_name not in COMPARISONS else ends
    recorder = Recorder(model, probe=probe, layers=layers, gradient_layers=ends if is_short else ends[-2:], about=about)
    for epoch in spread_out(run.stored_epochs(), most):
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


def make_probe(dataset: str, *, folder: Path | None = None) -> Probe:
    """The first validation image of each class, then the first others, up to `PROBE_IMAGES`."""
    images, labels = data.load("val", dataset=dataset, folder=folder)
    first = [int((labels == label).nonzero()[0]) for label in range(len(data.CLASSES))]
    rest = [i for i in range(len(labels)) if i not in set(first)][: PROBE_IMAGES - len(first)]
    rows = torch.tensor(first + rest)
    return Probe(data.normalise(images[rows]), labels[rows], shown=len(first))


def draw_run(run: Run, recording: Recording) -> list[Path]:
    """Draw a run's figures into its figures folder; returns the files."""
    curves = plots.curves(run.history.epochs, run.history.steps, title=f"{run.model_name} ({run.recipe.name})")
    return figures.save_run_figures(recording, curves, figures_folder(run.path))


def figures_folder(run_path: Path) -> Path:
    """figures/RUN beside checkpoints/, or figures/ inside a run's folder that lies elsewhere."""
    path = run_path.absolute()
    return path.parent.parent / "figures" / path.name if path.parent.name == "checkpoints" else path / "figures"
