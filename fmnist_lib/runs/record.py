"""What a run looked like: its recording and its figures, out of the epochs that it stored."""

from pathlib import Path

import torch

from fmnist_lib import data
from fmnist_lib.interrupts import held_back
from fmnist_lib.models import stage_ends
from fmnist_lib.runs.checkpoint import RECORDED_EPOCHS, RECORDING, Run
from fmnist_lib.runs.lock import only_writer
from fmnist_lib.runs.places import Site, figures_folder
from fmnist_lib.runs.storage import RunError
from fmnist_lib.training.devices import memory_format
from fmnist_lib.visualisers.recorder import Probe, Recorder
from fmnist_lib.visualisers.recording import Recording, sample

PROBE_IMAGES = 128  # as many as a training batch
COMPARISONS = ("plain18", "plain34")  # here to be compared: maps of their stage ends will do, and stay small
SHORT = 6  # stored epochs up to which every activation is kept, and the gradients of maps at every resolution
FIGURES = "figures"  # in a run's `files`
HERE = Site()


def record_run(run: Run, *, most: int = RECORDED_EPOCHS, site: Site = HERE) -> Recording:
    """Make recording.npz from at most so many stored epochs, and the figures. Raises RunError when none is stored."""
    if not run.stored_epochs():
        raise RunError(f"no stored epochs in {run.path}: epochs/ is not handed on with a run; train with --fresh")
    model, device = run.model(), site.place()
    model.to(device).to(memory_format=memory_format(device))
    probe = make_probe(run.recipe.dataset, data_folder=site.data_folder)
    epochs = choose_epochs(run.stored_epochs(), most)
    about = {
        "model": run.model_name,
        "recipe": run.recipe.name,
        "seed": run.seed,
        "run": run.identity(epochs[-1]),
    }
    ends, is_short = stage_ends(model), len(run.stored_epochs()) <= SHORT
    layers = None if is_short and run.model_name not in COMPARISONS else ends
    gradient_layers = ends if is_short else ends[-2:]
    recorder = Recorder(
        model, probe=probe, layers=layers, gradient_layers=gradient_layers, classes=data.CLASSES, about=about
    )
    for epoch in epochs:
        model.load_state_dict(run.state(epoch)["model"])
        with held_back():
            recorder.snapshot(epoch)
    recording = recorder.recording()
    with only_writer(run.path):
        with held_back():
            recording.save(run.path / RECORDING)
            run.files = run.files | {RECORDING: recording.digest}
            run.save()
        draw_run(run, recording)
    return recording


def choose_epochs(stored: list[int], most: int) -> list[int]:
    """At most so many of the stored epochs, evenly spread over the training, the first and the last among them.

    A long training's states are those of its recording and the newest: the newest are not to crowd the end.
    """
    even = sample(stored[-1] + 1, most)
    return even if set(even) <= set(stored) else [stored[index] for index in sample(len(stored), most)]


def make_probe(dataset: str, *, data_folder: Path | str | None = None) -> Probe:
    """The first validation image of each class, then the first others, up to `PROBE_IMAGES`."""
    images, labels = data.load("val", dataset=dataset, data_folder=data_folder)
    first = [int((labels == label).nonzero()[0]) for label in range(len(data.CLASSES))]
    rest = [i for i in range(len(labels)) if i not in set(first)][: PROBE_IMAGES - len(first)]
    rows = torch.tensor(first + rest)
    return Probe(data.normalise(images[rows]), labels[rows], shown=len(first))


def draw_run(run: Run, recording: Recording) -> list[Path]:
    """Draw a run's figures into its figures folder, and note in run.json that they are done; returns the files."""
    from fmnist_lib.visualisers import figures, plots  # matplotlib and seaborn take long to import

    curves = plots.curves(
        run.history.epochs, run.history.steps, title=figures.as_title(f"{run.model_name} ({run.recipe.name})")
    )
    drawn = figures.save_run_figures(recording, curves, figures_folder(run.path))
    if run.files.get(FIGURES) != recording.digest:
        run.files = run.files | {FIGURES: recording.digest}
        run.save()
    return drawn


def is_drawn(run: Run, recording: Recording) -> bool:
    """Whether all figures of a recording are there, and none is of another one."""
    from fmnist_lib.visualisers.figures import picture_names

    names, folder = picture_names(recording), figures_folder(run.path)
    return run.files.get(FIGURES, recording.digest) == recording.digest and all((folder / n).is_file() for n in names)
