"""The lab report's own training, as its recipe reads: writes original.json beside this file.

    python benchmarks/original.py                                 # 3 seeds, 5 epochs each
    python benchmarks/original.py --epochs 1 --seeds 0 --images 512 --out /tmp/original.json      # a short check

torchvision's ResNet-18 with a first layer for one channel, torchvision's transforms on PIL images, a DataLoader
without workers, batch 128, Adam 0.001, fp32, NCHW, all 60,000 training images, since it held none out. None of
fmnist_lib's means to be faster is on. Test accuracy is looked at after each epoch to draw a curve over time; nothing
is chosen by it.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchvision
from contest import Rows, make_parser, run_seeds
from measuring import first_test_batches
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fmnist_lib import data
from fmnist_lib.data import sets
from fmnist_lib.training.evaluation import evaluate

BATCH_SIZE = 128
LEARNING_RATE = 0.001
RESULT = Path(__file__).with_suffix(".json")


class Pictures(Dataset):
    """Samples as torchvision.datasets.FashionMNIST gives them: bytes, made a PIL image, and then transformed."""

    def __init__(self, images: Tensor, labels: Tensor, *, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.transform = images.squeeze(1), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


def build_original() -> nn.Module:
    """torchvision's ResNet-18 for ten classes, its first convolution replaced by one for a single channel."""
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


def load_all(images: int | None = None) -> tuple[Tensor, Tensor]:
    """The training file's 60,000 images, our training and validation images together; or only so many of them."""
    (x, y), (held_out, held_out_labels) = data.load("train"), data.load("val")
    return torch.cat([x, held_out])[:images], torch.cat([y, held_out_labels])[:images]


def train_epoch(model: nn.Module, loader: DataLoader, *, optimizer: torch.optim.Optimizer) -> float:
    """One pass over the training images; seconds."""
    criterion = nn.CrossEntropyLoss()
    started = time.perf_counter()
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return time.perf_counter() - started


def run_original(seed: int, epochs: int, *, images: int | None = None) -> Rows:
    """Train with the original recipe; a row an epoch: epoch, training seconds so far, test accuracy (0 to 1).

    Seeds torch's global random state. A process in which `devices.keep_memory` was called is not the original's.
    """
    torch.manual_seed(seed)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((sets.MEAN,), (sets.STD,))])
    loader = DataLoader(Pictures(*load_all(images), transform=transform), batch_size=BATCH_SIZE, shuffle=True)
    model = build_original()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    rows: Rows = []
    passed = 0.0
    for epoch in range(1, epochs + 1):
        passed += train_epoch(model, loader, optimizer=optimizer)
        accuracy = evaluate(model, first_test_batches(images), device="cpu").accuracy
        rows.append({"epoch": epoch, "seconds": round(passed, 2), "test_accuracy": accuracy})
        print(f"seed {seed}, epoch {epoch}: {passed:.1f} s, test accuracy {accuracy:.4f}", flush=True)
    return rows


def main() -> None:
    """Train once a seed."""
    options = make_parser(__doc__, out=RESULT).parse_args()
    about = {
        "what": "the original recipe: torchvision ResNet-18, Adam 0.001, batch 128, fp32, NCHW, DataLoader, no workers",
        "training_images": options.images or 60_000,
        "torchvision": torchvision.__version__,
    }
    run = partial(run_original, epochs=options.epochs, images=options.images)
    run_seeds(options, run, model=build_original(), about=about)


if __name__ == "__main__":
    main()
