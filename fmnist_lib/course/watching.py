"""Watch it learn: a training in a cell, with sliders over the first layer that get an epoch longer after each epoch."""

import uuid
from pathlib import Path
from typing import Any

from fmnist_lib import data
from fmnist_lib.models import ViewableModel
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.launch import train_or_load
from fmnist_lib.runs.progress import in_notebook
from fmnist_lib.runs.record import make_probe
from fmnist_lib.training.loop import Training
from fmnist_lib.training.recipes import Recipe
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recorder import Recorder
from fmnist_lib.visualisers.recording import Recording

SHOWN_IMAGE = 9  # of the probe, which begins with one image of each class: the ankle boot
CHANNELS = 16  # of each layer that are kept: a watch is to cost little
WITHIN = (0.05, 0.2, 0.5)  # of the first epoch, when a network changes most


def train_and_watch(model_name: str, recipe: Recipe | str = "original", **options: Any) -> Run:
    """`train_or_load` with the same options, and in a notebook an explorer of the first layer, which grows meanwhile.

    It has kernels, gradients and one image's maps, after each epoch and a few times within the first, and stays as it
    was at the end; of a run that is loaded, or was trained in part before, it shows what was recorded. Raises what
    `train_or_load` raises.
    """
    if not in_notebook():
        return train_or_load(model_name, recipe, **options)
    watch = Watch(options.get("data_folder"))
    run = train_or_load(model_name, recipe, **options, observers=[watch.step], on_epoch=[watch.epoch])
    if not watch.saw_all:
        watch.show(run.recording(), run.model())
    return run


class Watch:
    """The explorer of a training in a cell. `step` is for observers=, `epoch` for on_epoch=."""

    def __init__(self, data_folder: Path | str | None = None) -> None:
        self.data_folder = data_folder
        self.recorder: Recorder | None = None  # made when the training begins, of its model
        self.saw_all = False  # whether it was there before the first step
        self.display_id = f"watch-{uuid.uuid4().hex}"
        self.is_shown = False

    def epoch(self, training: Training) -> None:
        """Look at the network as it is after an epoch, and before the first."""
        self.saw_all |= training.epoch == 0
        self.look(training, training.epoch)

    def step(self, training: Training) -> None:
        """Look a few times within the first epoch; an observer is called before the step that it counts is taken."""
        taken = training.step - 1
        if training.epoch == 0 and taken in {round(part * training.steps_per_epoch) for part in WITHIN} - {0}:
            self.look(training, round(taken / training.steps_per_epoch, 2))

    def look(self, training: Training, epoch: float) -> None:
        """Record the network as it is, and show it."""
        model = training.evaluated
        if not isinstance(model, ViewableModel):
            return
        if self.recorder is None:
            self.recorder = Recorder(
                model,
                probe=make_probe(training.recipe.dataset, data_folder=self.data_folder),
                layers=first_layers(model)[1:],
                gradient_layers=[],
                classes=data.CLASSES,
                channels=CHANNELS,
                about={"model": "the first layer"},
            )
        self.recorder.snapshot(epoch)
        self.show(self.recorder.recording(), model)

    def show(self, recording: Recording, model: ViewableModel) -> None:
        """Put the explorer into the cell, or in the place of the one before."""
        explorer = Explorer(
            recording,
            kind=["kernels", "gradients", "maps"],
            layers=first_layers(model),
            images=[SHOWN_IMAGE],
            caption="The first layer, epoch by epoch",
        )
        explorer.show(self.display_id, update=self.is_shown)
        self.is_shown = True


def first_layers(model: ViewableModel) -> list[str]:
    """The first convolution and the first activation."""
    kinds = {place.kind: place.layer for place in reversed(model.viewable)}
    return [kinds["conv"], kinds["activation"]]
