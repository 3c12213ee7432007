"""fmnist_lib: train small CNNs on Fashion-MNIST and look inside them.

What a notebook or another project needs stands here by name, and is loaded when it is asked for:

load            a split of the data set as bytes and labels
build           an untrained network by its name
train_or_load   a whole run: loaded if it is there, else trained, measured and recorded
Run             a run that is on disk: its recipe, history, figures and weights
Probe           the fixed images that a recorder looks at
Recorder        records kernels, gradients and feature maps of any `nn.Module`
capture         what the layers of any `nn.Module` give out, by hooks that come off again
Explorer        sliders over a recording
compare         two recordings or more on the same sliders
explore         any array of up to five axes with sliders of your own
Diagram         a network's layers and shortcuts, as they were seen in a forward pass

The rooms, in the order in which data passes them: `data`, `models`, `training`, `runs`, `visualisers`, `report`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fmnist_lib.interrupts import held_back

if TYPE_CHECKING:
    from fmnist_lib.data import load as load
    from fmnist_lib.models import build as build
    from fmnist_lib.runs.checkpoint import Run as Run
    from fmnist_lib.runs.launch import train_or_load as train_or_load
    from fmnist_lib.visualisers.diagram import Diagram as Diagram
    from fmnist_lib.visualisers.explorer import Explorer as Explorer
    from fmnist_lib.visualisers.explorer import compare as compare
    from fmnist_lib.visualisers.explorer import explore as explore
    from fmnist_lib.visualisers.hooks import capture as capture
    from fmnist_lib.visualisers.recorder import Probe as Probe
    from fmnist_lib.visualisers.recorder import Recorder as Recorder

__version__ = "0.1.0"

HOMES = {
    "load": "data",
    "build": "models",
    "train_or_load": "runs.launch",
    "Run": "runs.checkpoint",
    "Probe": "visualisers.recorder",
    "Recorder": "visualisers.recorder",
    "capture": "visualisers.hooks",
    "Explorer": "visualisers.explorer",
    "compare": "visualisers.explorer",
    "explore": "visualisers.explorer",
    "Diagram": "visualisers.diagram",
}
__all__ = [
    "Diagram",
    "Explorer",
    "Probe",
    "Recorder",
    "Run",
    "build",
    "capture",
    "compare",
    "explore",
    "load",
    "train_or_load",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for from its home (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with held_back():  # torch cannot be imported again once its import was cut short
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
