"""Where runs lie, and where they are computed."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from fmnist_lib.errors import LabError
from fmnist_lib.runs.storage import RunError
from fmnist_lib.training.parallel import ALONE, World


@dataclass(frozen=True)
class Site:
    """Where a run is computed: on which device, with the data set in which folder, and among which ranks.

    `data_folder` None means that the set is found or fetched.
    """

    device: str = "auto"
    data_folder: Path | str | None = None
    world: World = ALONE

    def place(self) -> torch.device:
        """This process's device. Raises DeviceError."""
        return self.world.place(self.device)


def home() -> Path:
    """The folder that holds checkpoints/ and figures/: FMNIST_HOME, else the nearest one above that has them."""
    if chosen := os.environ.get("FMNIST_HOME"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # ~somebody whom this machine does not know
            raise RunError(f"FMNIST_HOME, {chosen}: {error}") from error
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "checkpoints").is_dir()), here)


def stored(path: str) -> Path:
    """A part of the lab, such as benchmarks/claims.json: in `home`, else beside the library. Raises LabError."""
    places = [home() / path, Path(__file__).parents[2] / path]
    if found := next((place for place in places if place.exists()), None):
        return found
    raise LabError(f"{path} comes with the lab and is not in {places[0].parent}: start Jupyter in the lab's folder")


def run_name(model_name: str, recipe_name: str, *, seed: int = 0) -> str:
    """MODEL-RECIPE, with -seedN for seeds other than 0. Raises RunError for what is no name of a folder."""
    if not recipe_name or len(recipe_name) > 100 or set(recipe_name) & set("/\\\0:") or not recipe_name.isprintable():
        raise RunError(f"{recipe_name!r:.120} cannot be a recipe's name, since folders are called after it")
    return f"{model_name}-{recipe_name}" + (f"-seed{seed}" if seed else "")


def run_folder(model_name: str, recipe_name: str, *, seed: int = 0) -> Path:
    """Where a run lies unless it is told otherwise: checkpoints/RUN in `home`."""
    return home() / "checkpoints" / run_name(model_name, recipe_name, seed=seed)


def shown(text: object) -> str:
    """A message or a path without what leads to `home`, as a notebook that is handed on should show it."""
    return str(text).replace(f"{home()}{os.sep}", "")


def figures_folder(run_path: Path) -> Path:
    """figures/RUN beside checkpoints/, or figures/ inside a run's folder that lies elsewhere."""
    path = run_path.absolute()
    return path.parent.parent / "figures" / path.name if path.parent.name == "checkpoints" else path / "figures"
