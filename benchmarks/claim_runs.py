"""The trainings that the twelve claims are judged by: networks, one change at a time, and a row of numbers from each.

All see the same 16,000 training images and the same 5,000 validation images, by the lab report's recipe (Adam, 0.001,
batches of 128, no augmentation), for 5 epochs; those that are also asked about 10 go on to 10, which changes nothing in
the first 5, since the learning rate is constant. Images and stride are what two cores allow for 12 networks and 6
seeds: the residual networks have the 7x7 kernel of stride 2 that the lab report's had. A change is made in the built
network, so that all other weights start as they do without it. float32, since where bf16 pays is found out by a clock.

The test set is never opened. Nothing here is a time: the machine is not asked to be idle.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.training.evaluation import evaluate, evaluation_mode
from fmnist_lib.training.loop import Training, fit
from fmnist_lib.training.recipes import Recipe
from fmnist_lib.visualisers import descriptors
from fmnist_lib.visualisers.hooks import capture, convolutions

IMAGES = 16_000  # the first of the training images
TRAIN_IMAGES = 5_000  # the first of those: what accuracy and loss on training images are measured on
MILESTONES = (5, 10)  # epochs after which accuracies and losses are measured; after the first, the network's inside
# An accuracy on the first validation images, asked every so many steps; each of the three networks gets there in time.
GOAL, GOAL_IMAGES, GOAL_EVERY = 0.80, 1_000, 5
GRADIENT_IMAGES = 500  # the first of the validation images
FIELD_IMAGES = 200
RANK_IMAGES = 1_000
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A network, and what is changed in it once it is built. `is_opened`: its inside is measured, too."""

    model: str
    epochs: int = 5
    batch_size: int = 128
    overrides: dict[str, Any] = field(default_factory=dict)
    change: Callable[[nn.Module], object] | None = None
    is_opened: bool = False

    @property
    def recipe(self) -> Recipe:
        """The lab report's recipe, shorter."""
        return Recipe("claims", epochs=self.epochs, batch_size=self.batch_size, overrides=self.overrides)

    def build(self, seed: int) -> models.ViewableModel:
        """The network before its training."""
        model = models.build_seeded(self.model, seed, **self.overrides)
        if self.change:
            self.change(model)
        return model

    def batches(self, seed: int, *, dataset: str = "full") -> data.Batches:
        """The first training images, in batches."""
        whole = data.batches(dataset=dataset, batch_size=self.batch_size, seed=seed)
        images, labels = whole.training
        return replace(whole, training=(images[:IMAGES], labels[:IMAGES]))


class Affine(nn.Module):
    """Batch norm without its normalisation: (N, C, H, W) times a scale plus a shift, learned for each channel."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def swap(model: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> None:
    """Put `make(module)` in the place of every module of that kind."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, make(child))


def show_raw(model: nn.Module) -> None:
    """Let the model see pixels from 0 to 1: what normalising did to them is undone."""
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0] * data.STD + data.MEAN,))


# Pooling 3/2 or 2/2 gives maps of one size, 14, 7, 4, where it is padded or its last window may be cut off.
PADDED = {"pool_padding": 1}
HALVED: dict[str, Any] = {"stem_stride": 2}
VARIANTS = {
    "resnet18": Variant("resnet18", epochs=10, overrides=HALVED, is_opened=True),
    "resnet34": Variant("resnet34", overrides=HALVED, is_opened=True),
    "alexnet": Variant("alexnet", epochs=10, is_opened=True),
    "plain18": Variant("plain18", overrides=HALVED),
    "plain34": Variant("plain34", overrides=HALVED),
    "resnet18, batch 64": Variant("resnet18", epochs=10, batch_size=64, overrides=HALVED),
    "resnet18, no norm": Variant("resnet18", overrides=HALVED, change=partial(swap, kind=nn.BatchNorm2d, make=Affine)),
    "alexnet, no dropout": Variant("alexnet", epochs=10, overrides={"dropout": 0.0}),
    "alexnet, sigmoid": Variant("alexnet", change=partial(swap, kind=nn.ReLU, make=lambda _: nn.Sigmoid())),
    "alexnet, raw pixels": Variant("alexnet", change=show_raw),
    "alexnet, padded 3/2": Variant("alexnet", overrides=PADDED),
    "alexnet, 2/2": Variant(
        "alexnet",
        overrides=PADDED,
        change=partial(swap, kind=nn.MaxPool2d, make=lambda _: nn.MaxPool2d(2, 2, ceil_mode=True)),
    ),
}


def make_row(name: str, seed: int, *, dataset: str = "full") -> Row:
    """Train the variant of that name and measure it: a line of results, without a key."""
    variant = VARIANTS[name]
    model, batches = variant.build(seed), variant.batches(seed, dataset=dataset)
    watch = Watch(batches, is_opened=variant.is_opened)
    fit(model, batches, variant.recipe, seed=seed, device="cpu", observers=[watch.step], on_epoch=[watch.epoch])
    return watch.row | {"parameters": models.count_parameters(model), "steps_per_epoch": batches.steps}


class Watch:
    """What is measured of a training while it goes on; `row` has it."""

    def __init__(self, batches: data.Batches, *, is_opened: bool) -> None:
        self.row: Row = {"steps_to_goal": None}
        self.is_opened = is_opened
        self.validation = normalised(batches.validation)
        self.training = normalised((batches.training[0][:TRAIN_IMAGES], batches.training[1][:TRAIN_IMAGES]))
        self.start: dict[str, Tensor] = {}  # the kernels before training
        self.gradient_norms: dict[str, Tensor] = {}  # summed over the steps, by filter
        self.pictures: list[Row] = []  # what the validation gradients are like, an epoch each
        self.last_norms: dict[str, Tensor] = {}

    def step(self, training: Training) -> None:
        """After backward, before the optimiser's step."""
        updates = training.epoch * training.steps_per_epoch + training.step - 1
        if self.row["steps_to_goal"] is None and updates % GOAL_EVERY == 0:
            self.look_for_goal(training.model, updates)
        if self.is_opened and training.epoch < MILESTONES[0]:
            for name, weight in kernels_of(training.model).items():
                assert weight.grad is not None
                norms = weight.grad.flatten(1).norm(dim=1)
                self.gradient_norms[name] = self.gradient_norms.get(name, 0) + norms

    def look_for_goal(self, model: nn.Module, updates: int) -> None:
        """Note the number of updates if the goal is reached."""
        x, y = (values[:GOAL_IMAGES] for values in self.validation)
        with evaluation_mode(model), torch.inference_mode():
            hits = sum(int((model(a).argmax(1) == b).sum()) for a, b in split(x, y))
        if hits >= GOAL * len(y):
            self.row["steps_to_goal"] = updates

    def epoch(self, training: Training) -> None:
        """Before the first epoch and after each."""
        if training.epoch in MILESTONES:
            self.measure_accuracy(training)
        if self.is_opened and training.epoch <= MILESTONES[0]:
            self.look_inside(training.model, training.epoch)

    def measure_accuracy(self, training: Training) -> None:
        """Accuracy and loss on training and validation images, in evaluation mode."""
        seen, last = evaluate(training.model, split(*self.training), device="cpu"), training.history.epochs[-1]
        figures = {"train_accuracy": seen.accuracy, "train_loss": seen.loss}
        figures |= {name: last[name] for name in ("val_accuracy", "val_loss")}
        self.row |= {f"{name}_{training.epoch}": round(value, 6) for name, value in figures.items()}

    def look_inside(self, model: models.ViewableModel, epoch: int) -> None:
        """Before training: what untrained kernels and maps are; after every epoch gradients; after the last all."""
        kernels = {name: weight.detach().clone() for name, weight in kernels_of(model).items()}
        if epoch == 0:
            self.start = kernels
            self.row |= measure_first_kernels(kernels, "untrained")
            self.row["probe_untrained"] = self.probe(self.capture(model))
            return
        gradients = find_gradients(model, *(values[:GRADIENT_IMAGES] for values in self.validation))
        self.pictures.append(measure_gradients(gradients))
        if epoch < MILESTONES[0]:
            return
        self.last_norms = {name: gradient.flatten(1).norm(dim=1) for name, gradient in gradients.items()}
        self.row |= {name: mean(picture[name] for picture in self.pictures) for name in self.pictures[0]}
        self.row |= measure_first_kernels(kernels, "trained") | self.measure_movement(kernels)
        maps = self.capture(model)
        self.row["probe_trained"] = self.probe(maps)
        ends = [maps[name] for name in models.stage_ends(model)[-4:]]
        self.row |= measure_maps(ends, *self.validation) | {"field": self.measure_field(model)}
        if "features.pool1" in dict(model.named_modules()):
            self.row |= measure_pooling(maps["features.act1"][:FIELD_IMAGES])

    def measure_movement(self, kernels: dict[str, Tensor]) -> Row:
        """How filters' gradients and the ways they went go together, within a layer; the mean over the layers."""
        moved = {name: (kernels[name] - start).flatten(1).norm(dim=1) for name, start in self.start.items()}
        pairs = {"moved_by_gradients": self.gradient_norms, "moved_by_picture": self.last_norms}
        return {
            name: mean(descriptors.rank_correlation(norms[layer], way) for layer, way in moved.items())
            for name, norms in pairs.items()
        }

    def capture(self, model: models.ViewableModel) -> dict[str, Tensor]:
        """The activations at the ends of the blocks, or of AlexNet's layers, for all validation images."""
        names = [place.layer for place in model.viewable if place.kind == "activation"]
        names = [name for name in names if not name.endswith("act1") or name in ("stem.act", "features.act1")]
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        with evaluation_mode(model), torch.no_grad(), capture(model, names) as seen:
            for x, _ in split(*self.validation):
                model(x)
                for name in names:
                    parts[name].append(seen[name].contiguous())
        return {name: torch.cat(part) for name, part in parts.items()}

    def probe(self, maps: dict[str, Tensor]) -> str:
        """A linear probe's accuracy layer by layer, as text for a cell of the table."""
        return json.dumps([round(descriptors.probe_accuracy(found, self.validation[1]), 4) for found in maps.values()])

    def measure_field(self, model: models.ViewableModel) -> float:
        """Effective area in pixels of what the middle of each stage's last map depends on; the mean over the stages."""
        names = models.stage_ends(model)[-4:]
        x = self.validation[0][:FIELD_IMAGES].clone().requires_grad_(True)
        with evaluation_mode(model), capture(model, names, keep_graph=True) as seen:
            model(x)
            areas = []
            for name in names:
                middle = torch.zeros_like(seen[name])
                middle[:, :, middle.shape[2] // 2, middle.shape[3] // 2] = 1
                (gradient,) = torch.autograd.grad(seen.edges[name], x, middle, retain_graph=True)
                areas.append(descriptors.effective_area(gradient))
        return mean(areas)


def normalised(pair: data.Pair) -> tuple[Tensor, Tensor]:
    """Images as the network takes them, and labels."""
    return data.normalise(pair[0]), pair[1]


def split(x: Tensor, y: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches of 500."""
    return zip(x.split(500), y.split(500), strict=True)


def mean(values: Iterable[float]) -> float:
    """To six digits."""
    numbers = list(values)
    return round(sum(numbers) / len(numbers), 6)


def kernels_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the convolutions but the shortcuts', by the convolution's name."""
    return {name: layer.weight for name, layer in convolutions(model).items() if "shortcut" not in name}


def find_gradients(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The gradient of the loss by the kernels, on images that were not trained on, in evaluation mode."""
    kernels = kernels_of(model)
    with evaluation_mode(model):
        loss = functional.cross_entropy(model(x), y)
        return dict(zip(kernels, torch.autograd.grad(loss, list(kernels.values())), strict=True))


def measure_first_kernels(kernels: dict[str, Tensor], when: str) -> Row:
    """The share of the first layer's kernels that are oriented, and their mean coherence."""
    first = next(iter(kernels.values()))[:, 0]
    return {
        f"oriented_{when}": mean(descriptors.are_oriented(first).double().tolist()),
        f"coherence_{when}": mean(descriptors.coherence(first).tolist()),
    }


def measure_gradients(gradients: dict[str, Tensor]) -> Row:
    """Spread over filters, sparsity within a filter, and relative deviation of sizes: means over the matched layers."""
    layers = [gradients[name] for name in match(list(gradients))]
    rows = [gradient.flatten(1) for gradient in layers]
    return {
        "gradient_spread": mean(float(descriptors.participation(row.square().sum(1))) for row in rows),
        "gradient_sparsity": mean(float(descriptors.gini(row).nanmean()) for row in rows),
        "gradient_deviation": mean(float(row.abs().std() / row.abs().mean()) for row in rows),
    }


def match(names: list[str]) -> list[str]:
    """The layers that ResNet-18 has, too: the stem, and the first and last block of each stage. Else all."""
    blocks = [name.split(".") for name in names if name.startswith("stage")]
    last = {stage: max(int(block) for name, block, _ in blocks if name == stage) for stage, _, _ in blocks}
    kept = [f"{stage}.{block}.{conv}" for stage, block, conv in blocks if int(block) in (0, last[stage])]
    return [name for name in names if not name.startswith("stage") or name in kept]


def measure_maps(ends: list[Tensor], images: Tensor, labels: Tensor) -> Row:
    """Diversity and selectivity of the last maps of each stage, and how far no template explains their middle."""
    middles = torch.cat([maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2] for maps in ends], 1)
    shares = descriptors.nonlinear_share(images, middles).split([maps.shape[1] for maps in ends])
    return {
        "rank": mean(descriptors.effective_rank(maps[:RANK_IMAGES]) for maps in ends),
        "selectivity": mean(float(descriptors.class_selectivity(maps, labels).nanmean()) for maps in ends),
        "nonlinear": mean(float(share.nanmean()) for share in shares),
    }


def measure_pooling(maps: Tensor) -> Row:
    """What two poolings of the same maps lose."""
    pools = {"pool_loss_3": nn.MaxPool2d(3, 2, 1), "pool_loss_2": nn.MaxPool2d(2, 2)}
    return {name: mean([float(descriptors.pooling_loss(maps, pool).nanmean())]) for name, pool in pools.items()}
