"""Training: one plain loop.

Letters: N images in a batch, K classes, x input (N, 1, 28, 28), y labels (N,), lr learning rate.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.training import precision, trial
from fmnist_lib.training.devices import keep_memory, memory_format
from fmnist_lib.training.evaluation import evaluate, evaluation_mode
from fmnist_lib.training.optimizers import make_average, make_optimizers, move_lr
from fmnist_lib.training.parallel import ALONE, Shard, World
from fmnist_lib.training.precision import Plan
from fmnist_lib.training.recipes import Recipe

LOG_EVERY = 10  # steps between two points of the training-loss curve


class TrainingError(LabError):
    """A training that cannot start or go on, told in one message."""


class HasBatches(Protocol):
    """What `fit` needs of a data set; `fmnist_lib.data.Batches` is one."""

    @property
    def steps(self) -> int:
        """Training batches in an epoch."""

    @property
    def smallest(self) -> int:
        """The images of an epoch's smallest training batch, which is the last where they do not divide evenly."""

    def train(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of an epoch, in an order that depends on the epoch alone: x, and y or the class
        probabilities (N, K) that are to be answered.
        """

    def val(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation batches (x, y)."""

    def to(self, device: torch.device) -> "HasBatches":
        """The same batches, handed out on a device."""


@dataclass
class History:
    """What training left in numbers: `epochs` has a row per epoch, `steps` the training batches every few steps."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Training:
    """Where a training stands; observers read it. `epoch` counts finished epochs at an epoch's end."""

    model: nn.Module
    recipe: Recipe
    device: torch.device
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

    @property
    def fraction(self) -> float:
        """The share of an epoch that is done, counted in epochs from the start, such as 2.5."""
        return self.epoch + self.step / self.steps_per_epoch

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where the recipe averages."""
        return self.model if self.averaged is None else self.averaged.module


Observer = Callable[[Training], None]


def fit(
    model: nn.Module,
    batches: HasBatches,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
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
    shard of every batch; the first alone calls observers. A device that disagrees with the CPU over one small step
    is left for the CPU, with a warning.

    Of the process it changes two things: torch's global random state, which dropout draws from, is seeded at every
    epoch's start, and glibc is told to keep freed memory (`devices.keep_memory`). Raises TrainingError where the
    model cannot be trained on these batches, and when the loss stops being a number.
    """
    keep_memory()
    training = start(model, batches, recipe, device=world.place(device), resume=resume, world=world)
    batches = put_on(training.device, batches)
    if resume is None:
        notify(on_epoch, training)
    for epoch in range(training.epoch + 1, recipe.epochs + 1):
        # No two ranks share dropout's masks; the largest seeds come round, since a generator takes 64 bits.
        torch.manual_seed((seed * 1_000_003 + epoch + (world.rank << 48)) % 2**64)
        with precision.applied(training.plan, model):
            train_epoch(training, batches, observers)
        world.average_buffers(model, training.evaluated)
        validation = evaluate(training.evaluated, batches.val(), device=training.device, world=world)
        training.history.epochs[-1] |= {"val_loss": validation.loss, "val_accuracy": validation.accuracy}
        training.epoch, training.step = epoch, 0
        notify(on_epoch, training)
    if training.averaged is not None:
        model.load_state_dict(training.evaluated.state_dict())
    return training.history


def train_epoch(training: Training, batches: HasBatches, observers: Sequence[Observer]) -> None:
    """One pass over the training images; adds the epoch's row (training part) to the history."""
    training.model.train()
    device, layout = training.device, memory_format(training.device)
    meter = Meter(training)
    for step, (x, y) in enumerate(batches.train(training.epoch + 1), start=1):
        training.step = step
        shard = training.world.shard(x, y)  # all of the batch, unless several ranks share it
        x, y = shard.x.to(device, memory_format=layout), shard.y.to(device)
        with precision.autocast(training.plan, device):
            logits = training.network(x).float()
            loss = functional.cross_entropy(logits, y, label_smoothing=training.recipe.label_smoothing)
        loss = loss * (shard.num_images / shard.per_rank)
        training.model.zero_grad()
        loss.backward()
        meter.add(loss.detach(), logits.detach(), y, shard)
        notify(observers, training)
        update_weights(training)
    training.history.epochs.append(meter.conclude())


def update_weights(training: Training) -> None:
    """One step of the optimisers and of the average."""
    for optimizer in training.optimizers:
        move_lr(optimizer, training.recipe, training.fraction / training.recipe.epochs)
        optimizer.step()
    if training.averaged is not None:
        training.averaged.update_parameters(training.model)


class Meter:
    """An epoch's loss and accuracy, added up on the device; it is asked every few steps, since asking makes it wait."""

    def __init__(self, training: Training) -> None:
        device = training.device
        self.training = training
        self.started = time.perf_counter()
        self.loss_sum = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.num_images = 0
        self.recent: list[Tensor] = []  # loss and accuracy of the steps since the curve's last point

    def add(self, loss: Tensor, logits: Tensor, y: Tensor, shard: Shard) -> None:
        """One more step: its loss, weighed by the shard, and its scores (N, K) and labels."""
        labels = y if y.ndim == 1 else y.argmax(1)
        hits = (logits.argmax(1) == labels)[: shard.num_images].sum()
        self.loss_sum += loss * shard.per_rank
        self.correct += hits
        self.num_images += shard.num_images
        seconds = time.perf_counter() - self.started
        self.training.images_per_second = self.num_images * self.training.world.size / seconds
        self.recent.append(torch.stack([loss, hits / shard.per_rank]))
        if len(self.recent) == LOG_EVERY:
            self.draw_point()

    def draw_point(self) -> None:
        """Add the means since the last point to the curve. Raises TrainingError at a loss that is no number."""
        training, recent = self.training, self.training.world.mean(torch.stack(self.recent))
        self.recent.clear()
        for offset, loss in enumerate(recent[:, 0].tolist(), start=1 - len(recent)):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {training.step + offset} of epoch {training.epoch + 1}; a smaller "
                    f"learning rate than {training.recipe.lr:g} may help"
                )
        loss, accuracy = recent.mean(0).tolist()
        step = training.epoch * training.steps_per_epoch + training.step
        training.history.steps.append({"step": step, "loss": loss, "accuracy": accuracy})

    def conclude(self) -> dict[str, float]:
        """The epoch's row, over all ranks."""
        if self.recent:
            self.draw_point()
        sums = torch.stack([self.loss_sum, self.correct, self.loss_sum.new_tensor(self.num_images)])
        loss_sum, correct, num_images = self.training.world.sum(sums).tolist()
        return {
            "epoch": self.training.epoch + 1,
            "train_loss": loss_sum / num_images,
            "train_accuracy": correct / num_images,
            "lr": self.training.optimizers[0].param_groups[0]["lr"],
            "seconds": time.perf_counter() - self.started,
        }


def start(
    model: nn.Module,
    batches: HasBatches,
    recipe: Recipe,
    *,
    device: torch.device,
    resume: dict[str, Any] | None = None,
    world: World = ALONE,
) -> Training:
    """A training before its first step, or where `resume` left it. Raises TrainingError where it could not go on."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(f"{type(model).__name__} has no parameter to train: all are frozen, or there are none")
    if recipe.batch_size < world.size:
        raise TrainingError(f"a batch of {recipe.batch_size} images is too small for {world.size} ranks: start fewer")
    x, y = next(batches.train(1))
    refuse_failing(model, x, y, batches, world=world)
    device = trusted_device(model, x, y, recipe, device=device, world=world)
    layout = memory_format(device)
    model.to(device).to(memory_format=layout)
    shard = world.shard(x, y)  # as large as training will see them
    x = shard.x.to(device, memory_format=layout)
    if resume is not None and resume.get("device", device.type) == device.type:
        plan = Plan.from_dict(resume["plan"])  # tried anew, it might come out otherwise, and the bits with it
    else:
        plan = world.share(lambda: precision.make_plan(model, x, wanted=recipe.precision))  # made by a clock
    network = world.wrap(model)
    averaged = make_average(model, decay=recipe.ema) if recipe.ema else None
    optimizers = make_optimizers(model, recipe, dtype=torch.bfloat16 if plan.mixed else torch.float32)
    training = Training(model, recipe, device, optimizers, batches.steps, plan, network, world, averaged)
    if resume is not None:
        restore_state(training, resume)
    return training


def trusted_device(
    model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, *, device: torch.device, world: World
) -> torch.device:
    """The device, if one small step on it comes out as on the CPU; else the CPU, with a warning.

    Raises TrainingError where several ranks were to train on it, which joined for that device.
    """
    if device.type == "cpu":
        return device
    disagreement = trial.find_disagreement(model, x, y, recipe, device)
    if not disagreement:
        return device
    fault = f"{device} computes this model wrongly ({disagreement}, by more than rounding explains)"
    if world.size > 1:
        raise TrainingError(f"{fault}: choose --device cpu")
    warnings.warn(LabWarning(f"{fault}: training on the CPU"), stacklevel=2)
    return torch.device("cpu")


def put_on(device: torch.device, batches: HasBatches) -> HasBatches:
    """The batches as a GPU makes them itself, if its first one is as the CPU's; else, with a warning, as they are.

    The images need not be sent at every step then, which would make CPU and GPU wait for each other. On MPS, whose
    kernels have been wrong before, the CPU makes them.
    """
    if device.type != "cuda":
        return batches
    made = batches.to(device)
    pairs = zip(next(batches.train(1)), next(made.train(1)), strict=True)
    if all(torch.allclose(here, there.cpu(), atol=1e-4) for here, there in pairs):
        return made
    warnings.warn(LabWarning(f"{device} makes other batches than the CPU: the CPU makes them"), stacklevel=2)
    return batches


def refuse_failing(model: nn.Module, x: Tensor, y: Tensor, batches: HasBatches, *, world: World) -> None:
    """Raise TrainingError, before a run is replaced, for a model that these batches cannot train.

    Tried is the first batch, and one image alone where some rank will get no more.
    """
    if min(world.smallest_shard(len(x)), world.smallest_shard(batches.smallest)) == 1:
        try:
            compute_loss(model, x[:1], y[:1])
        except ValueError as error:  # batch norm's "Expected more than 1 value per channel"
            raise TrainingError(
                f"an epoch's smallest batch has {batches.smallest} images{' for all ranks' if world.size > 1 else ''}, "
                f"and a single one cannot be trained on here ({error}): choose another batch_size"
            ) from error
    try:
        compute_loss(model, *world.shard(x, y)[:2])
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise TrainingError(
            f"{type(model).__name__} cannot be trained on images {tuple(x.shape)} with labels {int(y.min())} to "
            f"{int(y.max())}: {str(error).splitlines()[0]}"
        ) from error


def compute_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The loss of a batch in training mode, where the model is; it and the random state stay as they are."""
    place = next(model.parameters()).device
    state = {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}
    devices = [place] if place.type == "cuda" else []
    # `evaluation_mode` is here for what it does at its end: every train flag is as it was.
    with torch.no_grad(), torch.random.fork_rng(devices=devices), evaluation_mode(model):
        scores = torch.func.functional_call(model.train(), state, (x.to(place, copy=True),))
        return functional.cross_entropy(scores.float(), y.to(place))


def notify(observers: Sequence[Observer], training: Training) -> None:
    """Call each observer, on the first rank."""
    for observer in observers if training.world.is_first else ():
        observer(training)


def capture_state(training: Training) -> dict[str, Any]:
    """All that `fit(resume=...)` needs, as tensors and plain values; "model" has the weights that are evaluated."""
    state = {
        "epoch": training.epoch,
        "device": training.device.type,
        "model": training.evaluated.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
        "plan": training.plan.as_dict(),
        "history": asdict(training.history),
    }
    if training.averaged is not None:
        state |= {"trained": training.model.state_dict(), "averaged": int(training.averaged.n_averaged)}
    return state


def restore_state(training: Training, state: dict[str, Any]) -> None:
    """Put a training back where `capture_state` saw it, on whatever device. Raises TrainingError if it does not fit."""
    try:
        training.evaluated.load_state_dict(state["model"])
        if training.averaged is not None:
            training.model.load_state_dict(state["trained"])
            training.averaged.n_averaged.fill_(state["averaged"])
        for optimizer, values in zip(training.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
            check_shapes(optimizer)
        training.history = History(**state["history"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"the stored state of epoch {state['epoch']} was written by another version of this library and cannot be "
            f"resumed ({str(error).splitlines()[0]}). Nothing was changed. Finish it with that version, or train again "
            "with --fresh"
        ) from error
    training.epoch = state["epoch"]
    before = state.get("device", training.device.type)  # older states do not say
    if before != training.device.type:
        warnings.warn(
            LabWarning(
                f"the state of epoch {training.epoch} was written on {before}: going on on {training.device.type}, "
                "where the bits will differ from an unbroken training"
            ),
            stacklevel=2,
        )


def check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError if what an optimiser remembers of a parameter has not that parameter's shape."""
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"{name} {tuple(value.shape)} of a parameter {tuple(parameter.shape)}")
