"""Training: one plain loop.

Letters: N images in a batch, K classes, x input (N, 1, 28, 28), y labels (N,), lr learning rate.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from fmnist_lib import precision
from fmnist_lib.devices import keep_memory
from fmnist_lib.distributed import ALONE, World
from fmnist_lib.evaluation import evaluate
from fmnist_lib.optimizers import make_average, make_optimizers, move_lr
from fmnist_lib.precision import Plan
from fmnist_lib.recipes import Recipe

LOG_EVERY = 10  # steps between two points of the training-loss curve


class TrainingError(RuntimeError):
    """A training that cannot start or go on, told in one message."""


class Batches(Protocol):
    """What `fit` needs of a data set; `fmnist_lib.data.Batches` is one."""

    @property
    def steps(self) -> int:
        """Training batches in an epoch."""

    def train(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of an epoch, in an order that depends on the epoch alone: x, and y or the class
        probabilities (N, K) that are to be answered.
        """

    def val(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation batches (x, y)."""


@dataclass
class History:
    """What training left in numbers: `epochs` has a row per epoch, `steps` the training batches every few steps."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Progress:
    """Where a training stands; observers read it. `epoch` counts finished epochs at an epoch's end."""

    model: nn.Module
    recipe: Recipe
    optimizers: list[torch.optim.Optimizer]
    steps_per_epoch: int
    plan: Plan
    network: nn.Module  # what is called: the model, or what `World.wrap` put around it
    world: World = ALONE
    averaged: AveragedModel | None = None
    history: History = field(default_factory=History)
    epoch: int = 0
    step: int = 0  # within the epoch
    images_per_second: float = 0.0
    recent: list[Tensor] = field(default_factory=list)  # loss and accuracy of the steps since the last point

    @property
    def fraction(self) -> float:
        """The share of an epoch that is done, counted in epochs from the start, such as 2.5."""
        return self.epoch + self.step / self.steps_per_epoch

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where the recipe averages."""
        return self.model if self.averaged is None else self.averaged.module


Observer = Callable[[Progress], None]


def fit(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    resume: dict[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    on_epoch: Sequence[Observer] = (),
    world: World = ALONE,
) -> History:
    """Train `model` in place by `recipe` and return the history.

    `observers` are called at every step, after backward and before the optimiser's step, so that gradients can
    be seen. `on_epoch` are called before the first epoch (epoch 0) and after every epoch's validation.
    All randomness of an epoch is derived from (seed, epoch), so a training resumed from `capture_state` ends
    with the bits of an uninterrupted one (up to rounding on three ranks or more). Each rank of `world` computes its
    shard of every batch; the first alone calls observers. Raises TrainingError when the loss stops being a number.
    """
    place = world.place(device)
    keep_memory()
    model.to(place).to(memory_format=torch.channels_last)  # 1.3 to 4 times as fast as NCHW on the CPU
    progress = start(model, batches, recipe, resume=resume, world=world)
    if resume is None:
        notify(on_epoch, progress)
    for epoch in range(progress.epoch + 1, recipe.epochs + 1):
        torch.manual_seed(seed * 1_000_003 + epoch + (world.rank << 48))  # dropout, which no two ranks share
        with precision.applied(progress.plan, model):
            train_epoch(progress, batches, place, observers)
        world.average_buffers(model, progress.evaluated)
        validation = evaluate(progress.evaluated, batches.val(), device=place, world=world)
        progress.history.epochs[-1] |= {"val_loss": validation.loss, "val_accuracy": validation.accuracy}
        progress.epoch, progress.step = epoch, 0
        notify(on_epoch, progress)
    if progress.averaged is not None:
        model.load_state_dict(progress.evaluated.state_dict())
    return progress.history


def start(
    model: nn.Module, batches: Batches, recipe: Recipe, *, resume: dict[str, Any] | None, world: World
) -> Progress:
    """A training before its first step, or where `resume` left it. Raises TrainingError at too many ranks."""
    if recipe.batch_size < world.size:
        raise TrainingError(f"a batch of {recipe.batch_size} images is too small for {world.size} ranks: start fewer")
    if resume is not None:
        plan = Plan.from_dict(resume["plan"])  # tried anew, it might come out otherwise, and the bits with it
    else:
        x = world.shard(*next(batches.train(1))).x  # as large as training will see them
        x = x.to(next(model.parameters()).device, memory_format=torch.channels_last)
        plan = world.share(lambda: precision.make_plan(model, x, wanted=recipe.precision))  # made by a clock
    network = world.wrap(model)
    averaged = make_average(model, decay=recipe.ema) if recipe.ema else None
    optimizers = make_optimizers(model, recipe, dtype=torch.bfloat16 if plan.mixed else torch.float32)
    progress = Progress(model, recipe, optimizers, batches.steps, plan, network, world, averaged)
    if resume is not None:
        restore_state(progress, resume)
    return progress


def train_epoch(progress: Progress, batches: Batches, device: torch.device, observers: Sequence[Observer]) -> None:
    """One pass over the training images; adds the epoch's row (training part) to the history."""
    model, recipe, world = progress.model, progress.recipe, progress.world
    model.train()
    started = time.perf_counter()
    loss_sum = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    correct, images = torch.zeros((), dtype=torch.int64, device=device), 0
    for step, (x, y) in enumerate(batches.train(progress.epoch + 1), start=1):
        shard = world.shard(x, y)
        x, y = shard.x.to(device, memory_format=torch.channels_last), shard.y.to(device)
        with precision.autocast(progress.plan, device):
            logits = progress.network(x).float()
            loss = functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
            loss = loss * (shard.images / shard.per_rank)
        model.zero_grad()
        loss.backward()
        progress.step = step
        images += shard.images
        progress.images_per_second = images * world.size / (time.perf_counter() - started)
        labels = y if y.ndim == 1 else y.argmax(1)
        hits = (logits.detach().argmax(1) == labels)[: shard.images].sum()
        note_step(progress, torch.stack([loss.detach(), hits / shard.per_rank]))
        notify(observers, progress)
        update_weights(progress)
        loss_sum += loss.detach() * shard.per_rank
        correct += hits
    log_steps(progress)
    loss_sum, correct, images = world.sum(torch.stack([loss_sum, correct, loss_sum.new_tensor(images)])).tolist()
    progress.history.epochs.append(
        {
            "epoch": progress.epoch + 1,
            "train_loss": loss_sum / images,
            "train_accuracy": correct / images,
            "lr": progress.optimizers[0].param_groups[0]["lr"],
            "seconds": time.perf_counter() - started,
        }
    )


def update_weights(progress: Progress) -> None:
    """One step of the optimisers and of the average."""
    for optimizer in progress.optimizers:
        move_lr(optimizer, progress.recipe, progress.fraction / progress.recipe.epochs)
        optimizer.step()
    if progress.averaged is not None:
        progress.averaged.update_parameters(progress.model)


def note_step(progress: Progress, loss_and_accuracy: Tensor) -> None:
    """Keep a step's numbers on their device, and look at them only every few steps: a look makes a GPU wait."""
    progress.recent.append(loss_and_accuracy)
    if len(progress.recent) == LOG_EVERY:
        log_steps(progress)


def log_steps(progress: Progress) -> None:
    """Add the means since the last point to the curve. Raises TrainingError at a loss that is no number."""
    if not progress.recent:
        return
    recent = progress.world.mean(torch.stack(progress.recent))
    progress.recent.clear()
    for offset, loss in enumerate(recent[:, 0].tolist(), start=1 - len(recent)):
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {progress.step + offset} of epoch {progress.epoch + 1}; a smaller "
                f"learning rate than {progress.recipe.lr:g} may help"
            )
    loss, accuracy = recent.mean(0).tolist()
    step = progress.epoch * progress.steps_per_epoch + progress.step
    progress.history.steps.append({"step": step, "loss": loss, "accuracy": accuracy})


def notify(observers: Sequence[Observer], progress: Progress) -> None:
    """Call each observer, on the first rank."""
    for observer in observers if progress.world.is_first else ():
        observer(progress)


def capture_state(progress: Progress) -> dict[str, Any]:
    """All that `fit(resume=...)` needs, as tensors and plain values; "model" has the weights that are evaluated."""
    state = {
        "epoch": progress.epoch,
        "model": progress.evaluated.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in progress.optimizers],
        "plan": progress.plan.as_dict(),
        "history": asdict(progress.history),
    }
    if progress.averaged is not None:
        state |= {"trained": progress.model.state_dict(), "averaged": int(progress.averaged.n_averaged)}
    return state


def restore_state(progress: Progress, state: dict[str, Any]) -> None:
    """Put a training back where `capture_state` saw it."""
    progress.evaluated.load_state_dict(state["model"])
    if progress.averaged is not None:
        progress.model.load_state_dict(state["trained"])
        progress.averaged.n_averaged.fill_(state["averaged"])
    for optimizer, values in zip(progress.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    progress.history = History(**state["history"])
    progress.epoch = state["epoch"]
