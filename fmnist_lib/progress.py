"""How a training shows itself on a terminal while it runs: a bar, and a line per epoch that stays."""

import sys

from tqdm import tqdm  # type: ignore[import-untyped]

from fmnist_lib.train import Progress


class TerminalBar:
    """Loss, accuracy, images per second and time left, on stderr. `step` is for observers=, `epoch` for on_epoch=."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def step(self, progress: Progress) -> None:
        """Move the bar; it is drawn anew at most ten times a second."""
        if self.bar is None:
            label = f"{self.title} {progress.epoch + 1}/{progress.recipe.epochs}"
            total = progress.steps_per_epoch
            # Without a terminal a bar would fill the log with its copies.
            self.bar = tqdm(total=total, desc=label, unit="step", leave=False, disable=not sys.stderr.isatty())
        self.bar.update()
        if progress.history.steps:
            row = progress.history.steps[-1]
            text = f"loss {row['loss']:.3f}, {row['accuracy']:.1%}, {progress.images_per_second:.0f} images/s"
            self.bar.set_postfix_str(text, refresh=False)

    def epoch(self, progress: Progress) -> None:
        """Close the epoch's bar and say how it ended; before the first, what is computed in."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if progress.epoch == 0:
            print(f"{self.title} computes in {progress.plan}", file=sys.stderr, flush=True)
            return
        print(f"{self.title} {epoch_line(progress)}", file=sys.stderr, flush=True)


def epoch_line(progress: Progress) -> str:
    """Where the training stands, in a line."""
    if not progress.history.epochs:
        return f"step {progress.step} of {progress.steps_per_epoch} of the first epoch"
    row = progress.history.epochs[-1]
    return (
        f"epoch {row['epoch']:.0f} of {progress.recipe.epochs}: loss {row['train_loss']:.3f}, "
        f"validation {row.get('val_loss', float('nan')):.3f} and {row.get('val_accuracy', float('nan')):.2%}, "
        f"{row['seconds']:.0f} s"
    )
