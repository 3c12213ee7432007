"""Runs on disk: states to resume from, weights to hand on, and what a run was.

A run's folder holds run.json (what it was, its history, machine and figures), weights.safetensors (the last finished
epoch), recording.npz, and epochs/epoch_NNN.state (everything needed to resume; not handed on). Each file is written
atomically and carries its own checksum: neither torch.load (pytorch#126952) nor safetensors (safetensors#220)
notices a flipped bit.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmnist_lib import models
from fmnist_lib.errors import LabWarning
from fmnist_lib.runs import machine
from fmnist_lib.runs.places import Site, figures_folder
from fmnist_lib.runs.storage import (
    RunError,
    damaged,
    digest,
    load_weights,
    read_json,
    read_state,
    save_weights,
    write,
    write_state,
)
from fmnist_lib.training import loop
from fmnist_lib.training.recipes import BadRecipe, Recipe
from fmnist_lib.visualisers.recording import sample

FORMAT = 1
RECORDED_EPOCHS = 12  # at most, the start included: a recording stays small however long the training
KEPT_WHOLE = 12  # epochs of a training that keeps all its states
NEWEST = 3  # states that a longer one keeps beside those of the recording: two may be damaged
MOMENTS = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 1}  # numbers that an optimiser keeps of each weight
HERE = Site()


def say_nothing(_: str) -> None:
    """For whoever need not hear."""


@dataclass
class Run:
    """One training run: (model, recipe, seed), and what came of it.

    `history` has the rows of `loop.History`; `evaluation` maps a split to its figures; `environment` is the
    machine and what was computed in; `teacher_digest` is that of the weights that the recipe's teacher answered with.
    """

    path: Path
    model_name: str
    recipe: Recipe
    seed: int = 0
    history: loop.History = field(default_factory=loop.History)
    environment: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, dict[str, Any]] = field(default_factory=dict)
    teacher_digest: str = ""

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """Read a run's folder. Raises RunError when it is missing, empty or damaged."""
        path = Path(path)
        content = read_json(path / "run.json")
        try:
            if content["format"] != FORMAT:
                raise RunError(f"{path} has format {content['format']}; this version reads format {FORMAT}")
            recipe = Recipe(**content["recipe"])
            return cls(
                path=path,
                model_name=content["model"],
                # Before the recipe was the only source, the model's arguments had a field of their own.
                recipe=replace(recipe, overrides=content.get("overrides", recipe.overrides)),
                seed=content["seed"],
                history=loop.History(**content["history"]),
                environment=content["environment"],
                evaluation=content["evaluation"],
                teacher_digest=content.get("teacher_digest", ""),
            )
        except (KeyError, TypeError, BadRecipe) as error:
            raise damaged(path / "run.json", f"it lacks or misnames {error}") from error

    @property
    def epochs_done(self) -> int:
        """Finished epochs."""
        return len(self.history.epochs)

    @property
    def is_finished(self) -> bool:
        """Whether the recipe's last epoch is done."""
        return self.epochs_done >= self.recipe.epochs

    @property
    def seconds(self) -> float:
        """Training time over all finished epochs, validation not counted."""
        return sum(row["seconds"] for row in self.history.epochs)

    def model(self, epoch: int | None = None) -> models.ViewableModel:
        """The network in evaluation mode: as last trained, or after `epoch` (which needs the epochs/ folder)."""
        model = self.untrained_model()
        weights = load_weights(self.path / "weights.safetensors") if epoch is None else self.state(epoch)["model"]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(
                f"the weights in {self.path} do not belong to {self.model_name}: they are of another model or "
                "another version; train again with --fresh"
            ) from error
        return model.eval()

    def untrained_model(self) -> models.ViewableModel:
        """The network that the recipe asks for, with the weights that training begins with. Raises ModelError."""
        return models.build_seeded(self.model_name, self.seed, **self.recipe.overrides)

    def weights_digest(self) -> str:
        """SHA-256 of the weights as last trained. Raises RunError."""
        return digest(load_weights(self.path / "weights.safetensors"))

    def stored_epochs(self) -> list[int]:
        """The epochs that `state` and `model(epoch)` can give."""
        return stored_epochs(self.path)

    def state(self, epoch: int) -> dict[str, Any]:
        """Everything stored after `epoch`. Raises RunError."""
        path = state_path(self.path, epoch)
        if not path.exists():
            there = self.stored_epochs() or "none: epochs/ is not handed on with a run; train with --fresh to make it"
            raise RunError(f"no epoch {epoch} in {self.path}; stored epochs: {there}")
        return read_state(path)

    def save(self) -> None:
        """Write run.json. Raises RunError."""
        content = {
            "format": FORMAT,
            "model": self.model_name,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "environment": self.environment,
            "evaluation": self.evaluation,
            "history": asdict(self.history),
        }
        if self.teacher_digest:
            content["teacher_digest"] = self.teacher_digest
        text = json.dumps(content, indent=1) + "\n"
        write(self.path / "run.json", lambda file: file.write(text.encode()))


def fit_or_load(
    wanted: Run,
    batches: Callable[[Run], loop.HasBatches],
    *,
    site: Site = HERE,
    fresh: bool = False,
    observers: Sequence[loop.Observer] = (),
    on_epoch: Sequence[loop.Observer] = (),
    tell: Callable[[str], None] = say_nothing,
) -> Run:
    """The run in `wanted.path`: loaded when finished, resumed when interrupted, else trained from the start.

    `batches(run)` is called only when there is something to train. With `fresh` what is there is replaced, but not
    before data, teacher, model and device are known to serve and the first state is there to be written. A training of
    more than `KEPT_WHOLE` epochs keeps the states of the recording and the newest ones. Of several ranks the first
    alone reads and writes the folder, which the others need not be able to see.
    Raises RunError when the folder holds another run (the differing fields are named) or the disk has too little room,
    and what `fit` raises.
    """
    world = site.world
    # What ranks that were started anew have to go on from is not to be replaced.
    is_fresh = fresh and not world.restarted
    run, resume = world.share(lambda: open_run(wanted, fresh=is_fresh))
    if run.is_finished:
        return run  # also one whose weights were just mended from its last state
    device, model = site.place(), run.untrained_model()
    own = batches(run)
    world.share(lambda: check_room(run, model, tell, stored=[] if resume is None else run.stored_epochs()))
    if resume is None:
        run.environment = machine.describe(device) | {"ranks": world.size}
    run.history = loop.fit(
        model,
        own,
        run.recipe,
        seed=run.seed,
        device=device,
        resume=resume,
        observers=observers,
        on_epoch=[partial(store, run), *on_epoch],
        world=world,
    )
    return run


def store(run: Run, training: loop.Training) -> None:
    """Keep an epoch: its state first, then what is handed on, and last make room."""
    if training.epoch == 0:
        remove(run.path)  # whatever is there belongs to no run, or is replaced now
    told = {"precision": str(training.plan), "device": machine.device_name(training.device)}
    run.environment = run.environment | told
    write_state(state_path(run.path, training.epoch), loop.capture_state(training))
    publish(run, training.evaluated.state_dict(), training.history)
    prune(run)


def open_run(wanted: Run, *, fresh: bool) -> tuple[Run, dict[str, Any] | None]:
    """The run on disk, else the one wanted, and the state to go on from: None at the start and when all is done."""
    if fresh:
        return wanted, None
    if not (wanted.path / "run.json").exists():
        if max(wanted.stored_epochs(), default=0):  # epoch 0 alone is what a kill leaves in a training's first moment
            raise RunError(
                f"{wanted.path} has states of a training in epochs/ but no run.json, which says of which. Nothing was "
                "changed. Bring run.json back, choose another folder with --out, or --fresh to replace what is there"
            )
        return wanted, None
    found = Run.load(wanted.path)
    refuse_other(found, wanted)
    done = found.is_finished and has_good_weights(found.path)
    return found, None if done else state_to_resume(found)


def check_room(run: Run, model: nn.Module, tell: Callable[[str], None], *, stored: list[int]) -> None:
    """Say what the states will take on disk, but for those that are `stored`. Raises RunError if it has less room."""
    epochs = [epoch for epoch in range(run.recipe.epochs + 1) if is_kept(epoch, run.recipe.epochs, run.recipe.epochs)]
    missing = [epoch for epoch in epochs if epoch not in stored]
    needed = len(missing) * state_bytes(model, run.recipe)
    folder = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    room = f"its states of {len(missing)} epochs take about {needed / 1e6:,.0f} MB in {run.path / 'epochs'}"
    if needed > free:
        raise RunError(
            f"{room}, and {free / 1e6:,.0f} MB are free there. Nothing was changed. Free some space or choose another "
            "folder with --out"
        )
    tell(f"{run.model_name}, recipe {run.recipe.name}: {room}")


def state_bytes(model: nn.Module, recipe: Recipe) -> int:
    """About how many bytes a state takes: weights, their average, and what the optimiser keeps of each."""
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return weights * (1 + bool(recipe.ema) + MOMENTS[recipe.optimizer])


def is_kept(epoch: int, done: int, epochs: int) -> bool:
    """Whether the state of an epoch is kept once so many of all epochs are done."""
    if epochs <= KEPT_WHOLE or epoch > done - NEWEST:
        return True
    return epoch in sample(epochs + 1, RECORDED_EPOCHS)


def prune(run: Run) -> None:
    """Delete the states that are no longer needed, after the newest was written."""
    for epoch in run.stored_epochs():
        if not is_kept(epoch, run.epochs_done, run.recipe.epochs):
            state_path(run.path, epoch).unlink(missing_ok=True)


def state_to_resume(run: Run) -> dict[str, Any] | None:
    """The newest whole state, with weights.safetensors and run.json brought up to it: a kill may have come between."""
    state = newest_state(run.path)
    if state is not None:
        publish(run, state["model"], loop.History(**state["history"]))
    elif run.epochs_done:
        raise RunError(
            f"{run.path} has {run.epochs_done} finished epochs in run.json but no whole state under epochs/ to go on "
            "from. Nothing was changed. Use --fresh to train again from the start"
        )
    return state


def publish(run: Run, weights: dict[str, Tensor], history: loop.History) -> None:
    """Bring weights.safetensors and run.json up to the newest state; doing it twice changes nothing."""
    run.history = history
    if run.recipe.half:  # vectors are few, and batch norm's variances may be too small for float16
        weights = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    save_weights(run.path / "weights.safetensors", weights)
    run.save()


def refuse_other(found: Run, wanted: Run) -> None:
    """Raise RunError naming each field in which the run on disk is not the one that is asked for."""
    differing = found.recipe.differences(wanted.recipe)
    for name in ("model_name", "seed"):
        on_disk, asked = getattr(found, name), getattr(wanted, name)
        if on_disk != asked:
            differing.append(f"{name}: {on_disk!r} here, {asked!r} there")
    if differing:
        raise RunError(
            f"{found.path} holds another run than the one asked for ({'; '.join(differing)}; here = on disk, "
            "there = asked for). Nothing was changed. Choose another folder with --out, or --fresh to replace it"
        )


def remove(path: Path) -> None:
    """Delete a run's own files and figures, and nothing else that may lie in the folders."""
    if figures_folder(path).is_dir():
        from fmnist_lib.visualisers.figures import remove_pictures  # matplotlib and seaborn take long to import

        remove_pictures(figures_folder(path))
    shutil.rmtree(path / "epochs", ignore_errors=True)
    for name in ("run.json", "weights.safetensors", "recording.npz"):
        if (path / name).exists():
            (path / name).unlink()


def state_path(path: Path, epoch: int) -> Path:
    """Where the state after an epoch lies."""
    return path / "epochs" / f"epoch_{epoch:03d}.state"


def stored_epochs(path: Path) -> list[int]:
    """The epochs whose state is on disk."""
    names = [re.fullmatch(r"epoch_(\d+)\.state", file.name) for file in (path / "epochs").glob("epoch_*.state")]
    return sorted(int(name[1]) for name in names if name)  # a copy made by hand is none of ours


def newest_state(path: Path) -> dict[str, Any] | None:
    """The last state that is whole; a damaged one is passed over, since the one before it leads to the same end."""
    for epoch in reversed(stored_epochs(path)):
        try:
            return read_state(state_path(path, epoch))
        except RunError as error:
            warnings.warn(LabWarning(f"{error} Looking at the epoch before it."), stacklevel=2)
    return None


def has_good_weights(path: Path) -> bool:
    """Whether weights.safetensors is there and whole."""
    try:
        load_weights(path / "weights.safetensors")
    except RunError:
        return False
    return True
