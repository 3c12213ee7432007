"""The training loop, against a slow plain version."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from fmnist_lib import data, models
from fmnist_lib.data.augment import make_augment
from fmnist_lib.errors import LabWarning
from fmnist_lib.training import loop, precision
from fmnist_lib.training.parallel import World
from fmnist_lib.training.recipes import RECIPES, BadRecipe, Recipe, find_recipe

SMOKE = find_recipe("smoke")


class Few:
    """Three batches of unequal size."""

    def __init__(self, *, bad_step: int | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pairs = [
            (torch.randn(count, 1, 28, 28, generator=generator), torch.randint(0, 10, (count,), generator=generator))
            for count in (8, 8, 3)
        ]
        if bad_step is not None:
            self.pairs[bad_step - 1][0][0, 0, 0, 0] = float("nan")

    steps, smallest = 3, 3

    def train(self, epoch: int):
        return iter(self.pairs)

    def val(self):
        return iter(self.pairs)

    def to(self, device):
        return self


def small(seed: int = 0) -> nn.Module:
    return models.build_seeded("alexnet", seed, widths=(2, 2, 2, 2, 2), hidden=8, dropout=0.0)


def test_the_original_recipe_is_the_lab_reports() -> None:
    expected = Recipe("original", dataset="full", epochs=5, batch_size=128, optimizer="adam", lr=0.001, weight_decay=0)
    assert RECIPES["original"] == expected


def test_fit_does_what_a_plain_loop_does() -> None:
    recipe = replace(SMOKE, epochs=2)
    model, plain = small(), small()
    loop.fit(model, Few(), recipe, device="cpu")
    optimizer = torch.optim.Adam(plain.parameters(), lr=recipe.lr)
    for _ in range(recipe.epochs):
        for x, y in Few().pairs:
            optimizer.zero_grad()
            functional.cross_entropy(plain(x), y).backward()
            optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_history_has_a_row_per_epoch_and_points_between() -> None:
    history = loop.fit(small(), data.batches(dataset="tiny", batch_size=20), replace(SMOKE, epochs=2), device="cpu")
    assert [row["epoch"] for row in history.epochs] == [1, 2]
    columns = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"}
    assert all(set(row) == columns for row in history.epochs)
    assert [row["step"] for row in history.steps] == [10, 20, 30, 40]
    assert all(isinstance(value, (int, float)) for row in history.epochs + history.steps for value in row.values())


def test_training_metrics_are_sums_over_samples_divided_by_samples() -> None:
    frozen = replace(SMOKE, epochs=1, lr=1e-30)  # the model stays what it is
    model = small()
    history = loop.fit(model, Few(), frozen, device="cpu")
    x, y = torch.cat([x for x, _ in Few().pairs]), torch.cat([y for _, y in Few().pairs])
    with torch.no_grad():
        logits = model(x)
    row = history.epochs[0]
    assert row["train_loss"] == pytest.approx(functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert row["train_accuracy"] == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_observers_see_the_gradient_before_the_step() -> None:
    model = small()
    seen: list[tuple[int, int, bool]] = []

    def observe(training: loop.Training) -> None:
        weight = next(training.model.parameters())
        assert weight.grad is not None
        before.append(weight.detach().clone())
        seen.append((training.epoch, training.step, bool(weight.grad.any())))

    before: list[torch.Tensor] = []
    start = next(model.parameters()).detach().clone()
    loop.fit(model, Few(), replace(SMOKE, epochs=2), device="cpu", observers=[observe])
    assert seen == [(epoch, step, True) for epoch in (0, 1) for step in (1, 2, 3)]
    assert torch.equal(before[0], start)
    assert not torch.equal(before[1], start)


def test_on_epoch_is_called_before_the_first_and_after_each() -> None:
    epochs: list[tuple[int, int]] = []
    loop.fit(
        small(),
        Few(),
        replace(SMOKE, epochs=2),
        device="cpu",
        on_epoch=[lambda training: epochs.append((training.epoch, len(training.history.epochs)))],
    )
    assert epochs == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("bad_step", [1, 2, 3])
def test_a_loss_that_is_no_number_stops_the_training_and_names_the_step(bad_step: int) -> None:
    with pytest.raises(loop.TrainingError, match=rf"nan at step {bad_step} of epoch 1"):
        loop.fit(small(), Few(bad_step=bad_step), SMOKE, device="cpu")


TRICKS = {
    "plain": SMOKE,
    "sgd": replace(
        SMOKE, optimizer="sgd", lr=0.05, schedule="linear", warmup=0.3, ema=0.9, flip=True, crop=2, erase=0.5
    ),
    "adamw": replace(SMOKE, optimizer="adamw", schedule="cosine", warmup=0.1, label_smoothing=0.1),
    "muon": replace(SMOKE, optimizer="muon", lr=0.01, schedule="linear", ema=0.9, precision="bfloat16"),
}


@pytest.mark.parametrize("trick", list(TRICKS))
def test_resuming_gives_the_bits_of_an_unbroken_training(trick: str) -> None:
    recipe = TRICKS[trick]
    augment = make_augment(flip=recipe.flip, crop=recipe.crop, erase=recipe.erase)
    batches = data.batches(dataset="tiny", batch_size=50, augment=augment)
    states: dict[int, dict] = {}

    def keep(training: loop.Training) -> None:
        states[training.epoch] = copy.deepcopy(loop.capture_state(training))

    narrow = {"widths": (8, 8, 8, 8, 8), "hidden": 64}
    whole = models.build_seeded("alexnet", 0, **narrow)  # with dropout
    loop.fit(whole, batches, recipe, device="cpu", on_epoch=[keep])
    for epoch in (0, 1, 2, 3):
        resumed = models.build_seeded("alexnet", 5, **narrow)
        torch.rand(17)  # whatever happened to the random state in between
        loop.fit(resumed, batches, recipe, device="cpu", resume=states[epoch])
        for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
            assert torch.equal(one, other)


def test_what_is_kept_is_what_was_validated() -> None:
    recipe = replace(TRICKS["sgd"], epochs=2)
    batches = data.batches(dataset="tiny", batch_size=50)
    model = models.build_seeded("resnet18", 0, widths=(16, 16, 16, 16))
    history = loop.fit(model, batches, recipe, device="cpu")
    assert loop.evaluate(model, batches.val(), device="cpu").loss == pytest.approx(history.epochs[-1]["val_loss"])


@pytest.mark.parametrize("trick", ["sgd", "adamw", "muon"])
def test_every_optimiser_learns(trick: str) -> None:
    recipe = replace(TRICKS[trick], epochs=6, flip=False, crop=0, erase=0.0)
    history = loop.fit(
        models.build_seeded("resnet18", 0, widths=(16, 16, 16, 16)),
        data.batches(dataset="tiny", batch_size=25),
        recipe,
        device="cpu",
    )
    assert history.epochs[-1]["train_loss"] < 0.75 * history.epochs[0]["train_loss"]


def test_seeds_differ() -> None:
    first, second = models.build_seeded("alexnet", 0), models.build_seeded("alexnet", 0)
    batches = data.batches(dataset="tiny", batch_size=200)
    for model, seed in ((first, 0), (second, 1)):
        loop.fit(model, batches, replace(SMOKE, epochs=1), seed=seed, device="cpu")
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"batch_size": 0},
        {"lr": 0.0},
        {"optimizer": "no"},
        {"ema": 1.0},
        {"erase": -0.1},
        {"schedule": "no"},
        {"precision": "float16"},
        {"epochs": "5"},
        {"epochs": 2.5},
        {"lr": float("nan")},
        {"flip": "yes"},
        {"crop": 28},
        {"weight_decay": -1.0},
        {"overrides": {"block": nn.Linear}},
        {"overrides": 3},
    ],
)
def test_recipes_that_cannot_be_followed(change: dict) -> None:
    with pytest.raises(BadRecipe):
        replace(SMOKE, **change)


def test_an_unknown_recipe_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(BadRecipe, match=r"'fastest'.*original.*smoke"):
        find_recipe("fastest")


def test_differences_name_the_fields() -> None:
    assert SMOKE.differences(SMOKE) == []
    assert SMOKE.differences(replace(SMOKE, lr=0.1, epochs=9)) == [
        "epochs: 3 here, 9 there",
        "lr: 0.001 here, 0.1 there",
    ]


def normed() -> nn.Module:
    return models.build_seeded("alexnet", 0, widths=(2, 2, 2, 2, 2), hidden=8, norm_hidden=True)


def test_a_last_batch_of_one_image_is_refused_before_the_first_epoch_where_it_cannot_be_trained_on() -> None:
    batches = data.batches(dataset="tiny", batch_size=57)  # 400 images: seven batches, and one image that is left over
    recipe = replace(SMOKE, epochs=1, batch_size=57)
    model, states, seen = normed(), torch.get_rng_state(), []
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(loop.TrainingError, match=r"smallest batch has 1 images.*more than 1 value.*another batch_size"):
        loop.fit(model, batches, recipe, device="cpu", on_epoch=[lambda training: seen.append(training.epoch)])
    assert not seen
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(states, torch.get_rng_state())


@pytest.mark.parametrize("batch_size", [56, 57])
def test_one_image_is_no_trouble_where_there_is_no_norm_over_images_alone(batch_size: int) -> None:
    batches = data.batches(dataset="tiny", batch_size=batch_size)
    model = small() if batch_size == 57 else normed()
    history = loop.fit(model, batches, replace(SMOKE, epochs=1, batch_size=batch_size), device="cpu")
    assert len(history.epochs) == 1


@pytest.mark.parametrize(("num_images", "size", "smallest"), [(8, 1, 8), (8, 3, 2), (3, 2, 1), (2, 3, 2), (1, 4, 1)])
def test_the_smallest_shard(num_images: int, size: int, smallest: int) -> None:
    worlds = [World(rank, size) for rank in range(size)]
    x, y = torch.zeros(num_images, 1), torch.zeros(num_images)
    assert {world.smallest_shard(num_images) for world in worlds} == {smallest}
    assert min(len(world.shard(x, y).y) for world in worlds) == smallest


def test_a_model_with_nothing_to_train_is_refused() -> None:
    for model in (nn.Flatten(), small().requires_grad_(False)):
        with pytest.raises(loop.TrainingError, match="no parameter to train"):
            loop.fit(model, Few(), SMOKE, device="cpu")


def test_softmax_regression_in_bf16_by_muon_trains() -> None:
    recipe = replace(SMOKE, optimizer="muon", precision="bfloat16", lr=0.01)
    history = loop.fit(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), Few(), recipe, device="cpu")
    assert history.epochs[-1]["train_loss"] < history.epochs[0]["train_loss"]


def state_after(recipe: Recipe, epoch: int) -> dict:
    """What a training by a recipe keeps after an epoch."""
    states: list[dict] = []
    keep = [lambda training: states.append(copy.deepcopy(loop.capture_state(training)))]
    loop.fit(small(), Few(), replace(recipe, epochs=epoch), device="cpu", on_epoch=keep)
    return states[-1]


def test_a_state_of_another_device_goes_on_with_a_warning() -> None:
    state = state_after(SMOKE, 1)
    resumed, moved = small(1), small(2)
    loop.fit(resumed, Few(), SMOKE, device="cpu", resume=copy.deepcopy(state))
    with pytest.warns(LabWarning, match=r"epoch 1 was written on cuda: going on on cpu.*bits will differ"):
        loop.fit(moved, Few(), SMOKE, device="cpu", resume=state | {"device": "cuda"})
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), moved.parameters(), strict=True))


def test_muon_states_of_before_it_knew_filters_are_refused_with_the_reason() -> None:
    """They hold momenta of matrices (O, height * width * I), and torch loads them without a word."""
    recipe = replace(SMOKE, optimizer="muon", lr=0.01)
    state = state_after(recipe, 1)
    for memory in state["optimizers"][0]["state"].values():
        memory["momentum_buffer"] = memory["momentum_buffer"].movedim(1, -1).flatten(1)
    with pytest.raises(loop.TrainingError, match=r"epoch 1.*another version.*momentum_buffer.*--fresh"):
        loop.fit(small(), Few(), recipe, device="cpu", resume=state)


@pytest.mark.parametrize("missing", ["model", "optimizers", "history"])
def test_a_state_that_lacks_something_is_refused_with_the_reason(missing: str) -> None:
    state = {key: value for key, value in state_after(SMOKE, 1).items() if key != missing}
    with pytest.raises(loop.TrainingError, match=rf"another version.*{missing}"):
        loop.fit(small(), Few(), SMOKE, device="cpu", resume=state)


def test_the_largest_seed_trains() -> None:
    for seed in (20_000_000_000_000, 2**63 - 1):
        batches = data.batches(dataset="tiny", batch_size=100)
        history = loop.fit(small(), batches, replace(find_recipe("smoke"), epochs=1), seed=seed)
        assert len(history.epochs) == 1


def test_a_plan_made_on_another_device_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made = precision.Plan(mixed=False, reason="made here")
    monkeypatch.setattr(precision, "make_plan", lambda *_, **__: made)
    recipe = replace(find_recipe("smoke"), epochs=2)
    state = state_after(recipe, 1)
    state["plan"] |= {"mixed": True, "reason": "this GPU has bf16"}
    batches = data.batches(dataset="tiny", batch_size=recipe.batch_size)
    arguments = {"device": torch.device("cpu"), "resume": state}
    assert loop.start(small(), batches, recipe, **arguments).plan.mixed
    state["device"] = "cuda"
    with pytest.warns(LabWarning):
        assert loop.start(small(), batches, recipe, **arguments).plan == made
