"""Whether six views of an image answer better than two: writes views.json beside this file.

    python benchmarks/views.py        # a minute

The logits of an image and its mirror image, averaged (flip test-time augmentation, which every run has beside its plain
accuracy), against those of six views: the two as they are, shifted by one pixel down and right, and by one up and left,
where the two that are not shifted have the weight `unshifted` together. On the validation images: the weight would be
chosen there, and the test set stays closed.
"""

from pathlib import Path
from typing import Any

import torch
from measuring import print_table, write_result
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib import data
from fmnist_lib.runs.checkpoint import Run

RESULT = Path(__file__).with_suffix(".json")
RUNS = Path(__file__).parent.parent / "checkpoints"
RECIPES, MODELS = ("fast", "best"), ("resnet18", "alexnet", "resnet34")
SHIFTS = (0, 1, -1)  # pixels down and right
WEIGHTS = (0.25, 0.5, 0.75)


def shift(images: Tensor, pixels: int) -> Tensor:
    """Bytes (N, 1, H, W) moved along the diagonal, black coming in at the edges."""
    padded = functional.pad(images, (1, 1, 1, 1))
    first = 1 - pixels
    return padded[:, :, first : first + images.shape[2], first : first + images.shape[3]]


@torch.inference_mode()
def ask(model: nn.Module, images: Tensor) -> Tensor:
    """The mean of the logits of images, bytes (N, 1, H, W), and of their mirror images: (N, K)."""
    answers = [model(x) + model(x.flip(3)) for x in data.normalise(images).split(500)]
    return torch.cat(answers) / 2


def measure(run: Run) -> dict[str, Any]:
    """Accuracy of two and of six views by weight, and how many images six of the best weight gain and lose."""
    model = run.model()
    images, labels = data.load("val", dataset=run.recipe.dataset)
    two, down, up = (ask(model, shift(images, pixels)) for pixels in SHIFTS)
    six = {weight: weight * two + (1 - weight) * (down + up) / 2 for weight in WEIGHTS}
    is_right = {name: logits.argmax(1) == labels for name, logits in {"two": two, **six}.items()}
    best = max(WEIGHTS, key=lambda weight: int(is_right[weight].sum()))
    return {
        "n": len(labels),
        "flip": is_right["two"].double().mean().item(),
        "six_by_weight_of_unshifted": {str(weight): is_right[weight].double().mean().item() for weight in WEIGHTS},
        "best_weight": best,
        "gained": int((is_right[best] & ~is_right["two"]).sum()),
        "lost": int((is_right["two"] & ~is_right[best]).sum()),
    }


def main() -> None:
    """Measure the committed runs that were trained on mirror images, write and print."""
    runs = [Run.load(RUNS / f"{model}-{recipe}") for recipe in RECIPES for model in MODELS]
    figures = {run.path.name: measure(run) for run in runs}
    write_result(RESULT, {"split": "val", "runs": figures})
    rows = [
        (name, row["flip"], *row["six_by_weight_of_unshifted"].values(), row["gained"], row["lost"])
        for name, row in figures.items()
    ]
    print_table(("run", "flip", *(f"six, {weight}" for weight in WEIGHTS), "gained", "lost"), rows)


if __name__ == "__main__":
    main()
