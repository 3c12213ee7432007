"""Runs on disk: states to resume from, weights to hand on, and what a run was.

A run's folder holds run.json (what it was, its history, machine and figures), weights.safetensors (the last finished
epoch), recording.npz, and epochs/epoch_NNN.state (everything needed to resume; not handed on). Each file is written
atomically and carries its own checksum: neither torch.load (pytorch#126952) nor safetensors (safetensors#220)
notices a flipped bit.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fmnist_lib import models, train
from fmnist_lib.distributed import ALONE, World
from fmnist_lib.recipes import BadRecipe, Recipe
from fmnist_lib.storage import RunError, damaged, load_weights, read_json, read_state, save_weights, write, write_state

FORMAT = 1


@dataclass
class Run:
    """One training run: (model, recipe, seed), and what came of it.

    `history` has the rows of `train.History`; `evaluation` maps a split to its figures; `environment` is the
    machine and what was computed in; `overrides` are the model's constructor arguments.
    """

    path: Path
    model_name: str
    recipe: Recipe
    seed: int
    overrides: dict[str, Any]
    history: train.History
    environment: dict[str, Any]
    evaluation: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """Read a run's folder. Raises RunError when it is missing, empty or damaged."""
        path = Path(path)
        content = read_json(path / "run.json")
        try:
            if content["format"] != FORMAT:
                raise RunError(f"{path} has format {content['format']}; this version reads format {FORMAT}")
            return cls(
                path=path,
                model_name=content["model"],
                recipe=Recipe(**content["recipe"]),
                seed=content["seed"],
                overrides=content["overrides"],
                history=train.History(**content["history"]),
                environment=content["environment"],
                evaluation=content["evaluation"],
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
        model = models.build_seeded(self.model_name, self.seed, **self.overrides)
        weights = load_weights(self.path / "weights.safetensors") if epoch is None else self.state(epoch)["model"]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(
                f"the weights in {self.path} do not belong to {self.model_name}: they are of another model or "
                "another version; train again with --fresh"
            ) from error
        return model.eval()

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
            "overrides": self.overrides,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "environment": self.environment,
            "evaluation": self.evaluation,
            "history": asdict(self.history),
        }
        text = json.dumps(content, indent=1) + "\n"
        write(self.path / "run.json", lambda file: file.write(text.encode()))


def fit_or_load(
    path: Path | str,
    model_name: str,
    recipe: Recipe,
    batches: Callable[[], train.Batches],
    *,
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    device: str = "auto",
    fresh: bool = False,
    observers: Sequence[train.Observer] = (),
    on_epoch: Sequence[train.Observer] = (),
    world: World = ALONE,
) -> Run:
    """The run in `path`: loaded when it is finished, resumed when it was interrupted, else trained from the start.

    `batches()` is called only when there is something to train. With `fresh` what is there is deleted first.
    Of several ranks the first alone reads and writes the folder, which the others need not be able to see.
    Raises RunError when the folder holds another run (the differing fields are named), and what `fit` raises.
    """
    wanted = Run(Path(path), model_name, recipe, seed, overrides or {}, train.History(), environment or {}, {})
    # What ranks that were started anew have to go on from is not to be deleted.
    run, resume = world.share(lambda: open_run(wanted, fresh=fresh and not world.restarted))
    if run.is_finished and resume is None:
        return run

    def store(progress: train.Progress) -> None:
        run.environment = run.environment | {"precision": str(progress.plan)}
        write_state(state_path(run.path, progress.epoch), train.capture_state(progress))
        publish(run, progress.evaluated.state_dict(), progress.history)

    run.history = train.fit(
        models.build_seeded(model_name, seed, **run.overrides),
        batches(),
        recipe,
        seed=seed,
        device=device,
        resume=resume,
        observers=observers,
        on_epoch=[store, *on_epoch],
        world=world,
    )
    return run


def open_run(wanted: Run, *, fresh: bool) -> tuple[Run, dict[str, Any] | None]:
    """The run on disk, else the one wanted, and the state to go on from: None at the start and when all is done."""
    if fresh:
        remove(wanted.path)
    if not (wanted.path / "run.json").exists():
        return wanted, None
    found = Run.load(wanted.path)
    refuse_other(found, wanted)
    done = found.is_finished and has_good_weights(found.path)
    return found, None if done else state_to_resume(found)


def state_to_resume(run: Run) -> dict[str, Any] | None:
    """The newest whole state, with weights.safetensors and run.json brought up to it: a kill may have come between."""
    state = newest_state(run.path)
    if state is not None:
        publish(run, state["model"], train.History(**state["history"]))
    elif run.epochs_done:
        raise RunError(
            f"{run.path} has {run.epochs_done} finished epochs in run.json but no whole state under epochs/ to go on "
            "from. Nothing was changed. Use --fresh to train again from the start"
        )
    return state


def publish(run: Run, weights: dict[str, Tensor], history: train.History) -> None:
    """Bring weights.safetensors and run.json up to the newest state; doing it twice changes nothing."""
    run.history = history
    if run.recipe.half:  # vectors are few, and batch norm's variances may be too small for float16
        weights = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    save_weights(run.path / "weights.safetensors", weights)
    run.save()


def refuse_other(found: Run, wanted: Run) -> None:
    """Raise RunError naming each field in which the run on disk is not the one that is asked for."""
    differing = found.recipe.differences(wanted.recipe)
    for name in ("model_name", "seed", "overrides"):
        on_disk, asked = getattr(found, name), getattr(wanted, name)
        if json.dumps(on_disk) != json.dumps(asked):  # as JSON: a tuple comes back as a list
            differing.append(f"{name}: {on_disk!r} here, {asked!r} there")
    if differing:
        raise RunError(
            f"{found.path} holds another run than the one asked for ({'; '.join(differing)}; here = on disk, "
            "there = asked for). Nothing was changed. Choose another folder with --out, or --fresh to replace it"
        )


def remove(path: Path) -> None:
    """Delete a run's own files, and nothing else that may lie in the folder."""
    shutil.rmtree(path / "epochs", ignore_errors=True)
    for name in ("run.json", "weights.safetensors", "recording.npz"):
        (path / name).unlink(missing_ok=True)


def state_path(path: Path, epoch: int) -> Path:
    """Where the state after an epoch lies."""
    return path / "epochs" / f"epoch_{epoch:03d}.state"


def stored_epochs(path: Path) -> list[int]:
    """The epochs whose state is on disk."""
    return sorted(int(file.stem.split("_")[1]) for file in (path / "epochs").glob("epoch_*.state"))


def newest_state(path: Path) -> dict[str, Any] | None:
    """The last state that is whole; a damaged one is passed over, since the one before it leads to the same end."""
    for epoch in reversed(stored_epochs(path)):
        try:
            return read_state(state_path(path, epoch))
        except RunError as error:
            warnings.warn(f"{error} Looking at the epoch before it.", stacklevel=2)
    return None


def has_good_weights(path: Path) -> bool:
    """Whether weights.safetensors is there and whole."""
    try:
        load_weights(path / "weights.safetensors")
    except RunError:
        return False
    return True
