"""How a training shows itself in a notebook: a curve that grows and stays as one still picture."""

import time

from IPython.display import DisplayHandle, display

from fmnist_lib import lab, plots
from fmnist_lib.checkpoint import Run
from fmnist_lib.progress import epoch_line
from fmnist_lib.recipes import Recipe
from fmnist_lib.train import History, Progress

REDRAW_SECONDS = 3.0


def train_or_load(model_name: str, recipe: Recipe, *, seed: int = 0, device: str = "auto") -> Run:
    """`lab.train_run` in a notebook: the stored run in a second, or a training with its curve; one figure stays."""
    curve = NotebookCurve(f"{model_name}, recipe {recipe.name}")
    run = lab.train_run(model_name, recipe, seed=seed, device=device, observers=[curve.step], on_epoch=[curve.epoch])
    curve.draw(run.history, note=f"validation accuracy {run.history.epochs[-1]['val_accuracy']:.2%}")
    return run


class NotebookCurve:
    """Loss and accuracy in a cell. `step` is for observers=, `epoch` for on_epoch=."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.handle: DisplayHandle | None = None
        self.drawn_at = 0.0

    def step(self, progress: Progress) -> None:
        """Redraw now and then."""
        if time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            self.epoch(progress)

    def epoch(self, progress: Progress) -> None:
        """Redraw."""
        self.draw(progress.history, note=epoch_line(progress))

    def draw(self, history: History, *, note: str) -> None:
        """Put the figure in the place of the one before."""
        figure = plots.curves(history.epochs, history.steps, title=f"{self.title}: {note}")
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn_at = time.monotonic()
