"""How a training shows itself while it goes on: a bar and a line per epoch on a terminal, a curve in a notebook."""

import sys
import time
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from fmnist_lib.interrupts import held_back
from fmnist_lib.training.loop import History, Training

REDRAW_SECONDS = 3.0


class TerminalBar:
    """Loss, accuracy, images per second and time left, on stderr. `step` is for observers=, `epoch` for on_epoch=."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def step(self, training: Training) -> None:
        """Move the bar; it is drawn anew at most ten times a second."""
        if self.bar is None:
            label = f"{self.title} {training.epoch + 1}/{training.recipe.epochs}"
            total = training.steps_per_epoch
            # Without a terminal a bar would fill the log with its copies.
            self.bar = tqdm(total=total, desc=label, unit="step", leave=False, disable=not sys.stderr.isatty())
        self.bar.update()
        if training.history.steps:
            row = training.history.steps[-1]
            text = f"loss {row['loss']:.3f}, {row['accuracy']:.1%}, {training.images_per_second:.0f} images/s"
            self.bar.set_postfix_str(text, refresh=False)

    def epoch(self, training: Training) -> None:
        """Close the epoch's bar and say how it ended; before the first, what is computed in."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if training.epoch == 0:
            print(f"{self.title} computes in {training.plan}", file=sys.stderr, flush=True)
            return
        print(f"{self.title} {epoch_line(training)}", file=sys.stderr, flush=True)


def epoch_line(training: Training) -> str:
    """Where the training stands, in a line."""
    if not training.history.epochs:
        return f"step {training.step} of {training.steps_per_epoch} of the first epoch"
    row = training.history.epochs[-1]
    return (
        f"epoch {row['epoch']:.0f} of {training.recipe.epochs}: loss {row['train_loss']:.3f}, "
        f"validation {row.get('val_loss', float('nan')):.3f} and {row.get('val_accuracy', float('nan')):.2%}, "
        f"{row['seconds']:.0f} s"
    )


def in_notebook() -> bool:
    """Whether cells can show figures: IPython runs this, and not in a plain terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"


class NotebookCurve:
    """Loss and accuracy in a cell. `step` is for observers=, `epoch` for on_epoch=."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.handle: Any = None  # of the figure that is shown
        self.drawn_at = 0.0

    def step(self, training: Training) -> None:
        """Redraw now and then."""
        if time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            self.draw(training.history, note=epoch_line(training), steps_per_epoch=training.steps_per_epoch)

    def epoch(self, training: Training) -> None:
        """Redraw."""
        self.draw(training.history, note=epoch_line(training), steps_per_epoch=training.steps_per_epoch)

    def draw(self, history: History, *, note: str, steps_per_epoch: int | None = None) -> None:
        """Put the figure in the place of the one before."""
        from IPython.display import display  # where there is no notebook, it need not be installed

        from fmnist_lib.visualisers import plots

        with held_back():
            title = f"{self.title}: {note}"
            figure = plots.curves(history.epochs, history.steps, title=title, steps_per_epoch=steps_per_epoch)
            if self.handle is None:
                self.handle = display(figure, display_id=True)
            else:
                self.handle.update(figure)
        self.drawn_at = time.monotonic()
