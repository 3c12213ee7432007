"""Runs on disk: states to resume from, weights to hand on, and what a run was.

A run's folder holds run.json (what it was, its history, machine and figures), weights.safetensors (the last finished
epoch), recording.npz, and epochs/epoch_NNN.state (everything needed to resume; not handed on). Each file is written
atomically, carries its own checksum and says of which run and epoch it is, and run.json knows the weights and the
recording that belong to it. One process writes a folder at a time.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmnist_lib import models
from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.runs import machine, schema
from fmnist_lib.runs.lock import only_writer
from fmnist_lib.runs.places import Site, figures_folder
from fmnist_lib.runs.storage import (
    Identity,
    RunError,
    check_identity,
    damaged,
    digest_json,
    read_json,
    read_state,
    read_weights,
    save_weights,
    write,
    write_state,
)
from fmnist_lib.training import loop
from fmnist_lib.training.recipes import Recipe
from fmnist_lib.visualisers.recording import Recording, sample

FORMAT = 2
UNSEALED = 1  # before run.json had checksums: it still loads, and what cannot be verified is said
WEIGHTS, RECORDING = "weights.safetensors", "recording.npz"
RECORDED_EPOCHS = 12  # at most, the start included: a recording stays small however long the training
KEPT_WHOLE = 12  # epochs of a training that keeps all its states
NEWEST = 3  # states that a longer one keeps beside those of the recording: two may be damaged
MOMENTS = {"adam": 2, "adamw": 2, "muon": 1, "sgd": 1}  # numbers that an optimiser keeps of each weight
COMPARED = ("threads", "processor", "instructions", "torch")  # of the machine, where bits depend on it
HERE = Site()


def say_nothing(_: str) -> None:
    """For whoever need not hear."""


@dataclass
class Run:
    """One training run: (model, recipe, seed), and what came of it.

    `history` has the rows of `loop.History`; `evaluation` maps a split to its figures; `environment` is the
    machine and what was computed in; `teacher_digest` is that of the weights that the recipe's teacher answered with;
    `files` has the digest of the weights and of the recording, and under "figures" that of the recording drawn last.
    """

    path: Path
    model_name: str
    recipe: Recipe
    seed: int = 0
    history: loop.History = field(default_factory=loop.History)
    environment: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, dict[str, Any]] = field(default_factory=dict)
    teacher_digest: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """Read a run's folder. Raises RunError when it is missing, empty or damaged."""
        path = Path(path)
        content = read_json(path / "run.json")
        if content.get("format") not in (FORMAT, UNSEALED):
            raise RunError(f"{path} has format {content.get('format')!r:.40}; this version reads format {FORMAT}")
        if fault := schema.find_fault(content):
            raise damaged(path / "run.json", fault)
        if content["format"] == FORMAT and content.get("sha256") != digest_json(content):
            raise damaged(path / "run.json", "its checksum differs")
        try:
            recipe = Recipe(**content["recipe"])
            # Before the recipe was the only source, the model's arguments had a field of their own.
            recipe = replace(recipe, overrides=content.get("overrides", recipe.overrides))
        except (TypeError, LabError) as error:
            raise damaged(path / "run.json", error) from error
        return cls(
            path=path,
            model_name=content["model"],
            recipe=recipe,
            seed=content["seed"],
            history=loop.History(**content["history"]),
            environment=content["environment"],
            evaluation=content["evaluation"],
            teacher_digest=content.get("teacher_digest", ""),
            files=content.get("files", {}),
        )

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

    def identity(self, epoch: float) -> Identity:
        """What every file of this run says of itself: model, recipe, seed, and the epoch that it is of."""
        recipe = {"name": self.recipe.name, **self.recipe.settings()}
        return {"model": self.model_name, "recipe": recipe, "seed": self.seed, "epoch": epoch}

    def model(self, epoch: int | None = None) -> models.ViewableModel:
        """The network in evaluation mode: as last trained, or after `epoch` (which needs the epochs/ folder)."""
        model = self.untrained_model()
        weights = self.weights() if epoch is None else self.state(epoch)["model"]
        try:
            model.load_state_dict(weights)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise RunError(
                f"the weights in {self.path} do not belong to {self.model_name}: they are of another model or "
                "another version; train again with --fresh"
            ) from error
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """The weights as last trained. Raises RunError if they are missing, damaged or another run's."""
        path = self.path / WEIGHTS
        weights = read_weights(path)
        epoch = weights.told.get("epoch")
        # A kill may have come between the weights and run.json, which then tells of the epoch before.
        is_newer = isinstance(epoch, int) and epoch == self.epochs_done + 1
        check_identity(path, weights.told, self.identity(self.epochs_done + is_newer))
        if not is_newer and self.files.get(WEIGHTS, weights.digest) != weights.digest:
            raise RunError(
                f"{path} has other weights than those that run.json tells of. `train` brings them back from epochs/ if "
                "that is there; else restore them from a copy, or train again with --fresh."
            )
        return weights.tensors

    def recording(self) -> Recording:
        """The run's recording. Raises RecordingError if it is missing or damaged, and RunError if it is another's."""
        path = self.path / RECORDING
        recording = Recording.load(path)
        epoch = recording.epochs[-1] if recording.epochs else self.epochs_done
        if isinstance(told := recording.about.get("run"), dict):
            check_identity(path, told, self.identity(epoch))
        else:  # an older one
            check_identity(path, recording.about, self.identity(epoch) | {"recipe": self.recipe.name})
        if self.files.get(RECORDING, recording.digest) != recording.digest:
            raise RunError(
                f"{path} is another recording than the one that run.json tells of: make it again with `record`, or "
                "restore it from a copy."
            )
        return recording

    @property
    def unverified(self) -> str:
        """What cannot be verified of a run that an older version stored, in words; "" if all can."""
        if self.files:
            return ""
        return (
            f"{self.path} was stored by an older version: its weights carry their own checksum, but whether run.json "
            "was changed, and whether weights and recording are those that it was stored with, cannot be verified"
        )

    def untrained_model(self) -> models.ViewableModel:
        """The network that the recipe asks for, with the weights that training begins with. Raises ModelError."""
        return models.build_seeded(self.model_name, self.seed, **self.recipe.overrides)

    def weights_digest(self) -> str:
        """SHA-256 of the weights as last trained. Raises RunError."""
        return read_weights(self.path / WEIGHTS).digest

    def stored_epochs(self) -> list[int]:
        """The epochs that `state` and `model(epoch)` can give."""
        return stored_epochs(self.path)

    def state(self, epoch: int) -> dict[str, Any]:
        """Everything stored after `epoch`. Raises RunError."""
        path = state_path(self.path, epoch)
        if not path.exists():
            there = self.stored_epochs() or "none: epochs/ is not handed on with a run; train with --fresh to make it"
            raise RunError(f"no epoch {epoch} in {self.path}; stored epochs: {there}")
        state = read_state(path, of=self.identity(epoch))
        if fault := schema.find_fault_in_state(state):
            raise damaged(path, fault)
        return state

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
        content["files"] = self.files
        text = json.dumps(content | {"sha256": digest_json(content)}, indent=1) + "\n"
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
    Raises RunError when the folder holds another run (the differing fields are named), another process writes it or the
    disk has too little room, and what `fit` raises.
    """
    with writing(wanted.path, site):
        return fit_alone(wanted, batches, site, fresh, observers, on_epoch, tell)


@contextmanager
def writing(folder: Path, site: Site) -> Iterator[None]:
    """The folder locked by the first rank, for all of them. Raises RunError on every rank."""
    with ExitStack() as stack:
        site.world.share(lambda: stack.enter_context(only_writer(folder)))
        yield


def fit_alone(
    wanted: Run,
    batches: Callable[[Run], loop.HasBatches],
    site: Site,
    fresh: bool,
    observers: Sequence[loop.Observer],
    on_epoch: Sequence[loop.Observer],
    tell: Callable[[str], None],
) -> Run:
    """`fit_or_load` in a folder that nobody else writes."""
    world = site.world
    # What ranks that were started anew have to go on from is not to be replaced.
    is_fresh = fresh and not world.restarted
    run, resume = world.share(lambda: open_run(wanted, fresh=is_fresh))
    if run.is_finished:
        return run  # also one whose weights were just mended from its last state
    device, model = site.place(), run.untrained_model()
    own = batches(run)
    world.share(lambda: check_room(run, model, tell, stored=[] if resume is None else run.stored_epochs()))
    here = machine.describe(device) | {"ranks": world.size}
    if resume is None:
        run.environment = here
    elif world.is_first:
        warn_of_changes(run, here)
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


def warn_of_changes(run: Run, here: dict[str, Any]) -> None:
    """Name what is not as it was when the training began, and changes the bits of what comes."""
    pairs = {name: (run.environment.get(name), here[name]) for name in (*COMPARED, "ranks")}
    changed = [f"{name} {was!r} then, {now!r} now" for name, (was, now) in pairs.items() if was not in (None, now)]
    if changed:
        words = f"{run.path} began on other conditions ({'; '.join(changed)})"
        warnings.warn(LabWarning(f"{words}: its bits will differ from an unbroken training"), stacklevel=2)


def store(run: Run, training: loop.Training) -> None:
    """Keep an epoch: its state first, then what is handed on, and last make room."""
    if training.epoch == 0:
        remove(run.path)  # whatever is there belongs to no run, or is replaced now
    told = {"precision": str(training.plan), "device": machine.device_name(training.device)}
    run.environment = run.environment | told
    of = run.identity(training.epoch)
    with naming_last(training.epoch - 1):
        write_state(state_path(run.path, training.epoch), loop.capture_state(training), of=of)
    with naming_last(training.epoch):
        publish(run, training.evaluated.state_dict(), training.history)
    prune(run)


@contextmanager
def naming_last(epoch: int) -> Iterator[None]:
    """Within it an error of writing says which epoch is the last that is stored: a lost drive cannot be asked."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{error}, epoch {epoch}" if epoch >= 0 else str(error)) from error


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
    if found.is_finished and (fault := find_fault_of_weights(found)) is None:
        return found, None
    if found.is_finished:
        resume = state_to_resume(found)
        words = "was missing, damaged or another training's, and was brought back from epochs/"
        warnings.warn(LabWarning(f"{found.path / WEIGHTS} {words}: {fault}"), stacklevel=2)
        return found, resume
    return found, state_to_resume(found)


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
    state = newest_state(run)
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
    digest = save_weights(run.path / WEIGHTS, weights, of=run.identity(run.epochs_done))
    run.files = run.files | {WEIGHTS: digest}
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
    if not path.is_dir():
        return
    try:
        if (path / "epochs").is_dir():
            shutil.rmtree(path / "epochs")
        for name in ("run.json", WEIGHTS, RECORDING):
            (path / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{error.filename or path} cannot be deleted ({error.strerror}), and what is left of the old run must not "
            "mix with the new one. Delete the folder by hand, or choose another with --out"
        ) from error


def state_path(path: Path, epoch: int) -> Path:
    """Where the state after an epoch lies."""
    return path / "epochs" / f"epoch_{epoch:03d}.state"


def stored_epochs(path: Path) -> list[int]:
    """The epochs whose state is on disk; a copy made by hand or by a sync tool, or a folder, is none of ours."""
    found = [re.fullmatch(r"epoch_(\d{3,9})\.state", file.name) for file in (path / "epochs").glob("epoch_*.state")]
    epochs = {int(name[1]) for name in found if name}
    return sorted(epoch for epoch in epochs if state_path(path, epoch).is_file())


def newest_state(run: Run) -> dict[str, Any] | None:
    """The last state that is whole; a damaged one is passed over, since the one before it leads to the same end."""
    for epoch in reversed(run.stored_epochs()):
        try:
            return run.state(epoch)
        except RunError as error:
            warnings.warn(LabWarning(f"{error} Looking at the epoch before it."), stacklevel=2)
    return None


def find_fault_of_weights(run: Run) -> RunError | None:
    """What is wrong with weights.safetensors: missing, damaged or another run's; None if it is as it was stored."""
    try:
        run.model()
    except RunError as error:
        return error
    return None
