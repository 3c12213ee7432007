"""Learning from a teacher, against the plain formula, and through a whole run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fmnist_lib import data, models
from fmnist_lib.data import make_augment, sets
from fmnist_lib.runs import checkpoint, launch, measure, storage
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.runs.storage import RunError
from fmnist_lib.runs.teacher import ask_teacher
from fmnist_lib.training import loop, precision
from fmnist_lib.training.recipes import BadRecipe, Recipe, find_recipe

SMOKE = replace(find_recipe("smoke"), overrides={"widths": [4, 4, 4, 4, 4], "hidden": 32})


def finished(recipe: Recipe) -> loop.History:
    """The history of a training that was never run."""
    names = ("train_loss", "train_accuracy", "lr", "seconds", "val_loss", "val_accuracy")
    return loop.History([{"epoch": epoch} | dict.fromkeys(names, 0.5) for epoch in range(1, recipe.epochs + 1)])


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("flip", [False, True])
def test_answers_are_labels_and_the_teachers_by_their_share(home: Path, share: float, flip: bool) -> None:
    recipe = replace(SMOKE, overrides={"widths": [16, 16, 16, 16]})
    model = models.build_seeded("resnet18", 1, widths=(16, 16, 16, 16)).eval()
    storage.save_weights(home / "checkpoints" / "t" / "weights.safetensors", model.state_dict())
    Run(home / "checkpoints" / "t", "resnet18", recipe, 1, finished(recipe)).save()
    images, labels = (part[:7] for part in data.load("val", dataset="tiny"))
    run = Run(home / "run", "alexnet", replace(SMOKE, flip=flip, teacher="t", teacher_share=share))
    answers = ask_teacher(run, images, labels, device="cpu")
    assert answers.shape == (2, 7, 10)
    for view, seen in enumerate((images, images.flip(3) if flip else images)):
        for row, label in enumerate(labels):
            probabilities = model((seen[row : row + 1] / 255 - sets.MEAN) / sets.STD).softmax(1)[0]
            for k in range(10):
                expected = share * probabilities[k] + (1 - share) * (k == label)
                torch.testing.assert_close(answers[view, row, k], expected.detach())
    assert not answers.requires_grad


def test_each_image_comes_with_its_own_answer_and_a_mirror_image_with_the_mirror_images() -> None:
    plain = data.batches(dataset="tiny", batch_size=57, augment=make_augment(flip=True))
    images, labels = plain.training
    numbers = torch.arange(2 * len(labels)).view(2, len(labels), 1).expand(-1, -1, 10).float()
    taught = replace(plain, answers=numbers)
    seen = 0
    for (x, y), (other_x, other_y) in zip(taught.train(3), plain.train(3), strict=True):
        assert torch.equal(x, other_x)
        for image, number, label in zip(x, y[:, 0].long(), other_y, strict=True):
            view, row = divmod(int(number), len(labels))
            original = images[row].flip(2) if view else images[row]
            assert torch.equal(image, data.normalise(original))
            assert labels[row] == label
            seen += 1
    assert seen == len(labels)


def test_the_student_learns_what_it_is_given_and_is_validated_by_the_labels() -> None:
    batches = data.batches(dataset="tiny", batch_size=50)
    three = torch.eye(10)[3].expand(2, batches.num_images, 10)
    student = models.build_seeded("resnet18", 0, widths=(16, 16, 16, 16))
    history = loop.fit(student, replace(batches, answers=three), SMOKE, device="cpu")
    assert measure.predict(student, batches.training[0]).argmax(1).eq(3).all()
    assert history.epochs[-1]["train_accuracy"] > 0.9  # agreement with what it was given
    val_labels = batches.validation[1]
    assert history.epochs[-1]["val_accuracy"] == pytest.approx(val_labels.eq(3).float().mean().item(), abs=0.05)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    return tmp_path


def fit(path: Path, recipe: Recipe, **more) -> Run:
    return launch.fit_run(Run(path, "alexnet", recipe), site=Site("cpu"), **more)


def taught_recipe() -> Recipe:
    return replace(SMOKE, name="taught", flip=True, precision="bfloat16", teacher="alexnet-smoke", teacher_share=0.8)


def test_a_taught_run_ends_with_the_same_bits_after_an_interruption(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock decides what is computed in bf16, and on a busy machine otherwise for each of the runs.
    monkeypatch.setattr(precision, "make_plan", lambda *_, **__: precision.Plan(mixed=True))
    fit(home / "checkpoints" / "alexnet-smoke", SMOKE)
    whole = fit(home / "whole", taught_recipe())
    plain = fit(home / "plain", replace(taught_recipe(), teacher="", teacher_share=0))

    def interrupt(progress: loop.Training) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(home / "cut", taught_recipe(), on_epoch=[interrupt])
    cut = fit(home / "cut", taught_recipe())
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (whole, cut, plain)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_run_goes_on_with_the_teacher_that_it_began_with_alone(home: Path) -> None:
    teacher = fit(home / "checkpoints" / "alexnet-smoke", SMOKE)
    run = fit(home / "run", taught_recipe())
    assert Run.load(run.path).teacher_digest == teacher.weights_digest()
    checkpoint.state_path(run.path, 3).unlink()
    (run.path / "weights.safetensors").unlink()
    weights = teacher.model().state_dict()
    storage.save_weights(teacher.path / "weights.safetensors", {name: value * 1.01 for name, value in weights.items()})
    with pytest.raises(RunError, match=r"other weights of alexnet-smoke.*Nothing was changed.*--fresh"):
        fit(home / "run", taught_recipe())
    storage.save_weights(teacher.path / "weights.safetensors", weights)
    assert fit(home / "run", taught_recipe()).is_finished


def test_a_missing_teacher_is_named_and_nothing_is_written(home: Path) -> None:
    with pytest.raises(RunError, match=r"learns from the run alexnet-smoke.*trained first.*does not exist"):
        fit(home / "run", taught_recipe())
    assert not (home / "run").exists()


def test_a_teacher_that_has_not_finished_is_refused(home: Path) -> None:
    run = fit(home / "checkpoints" / "alexnet-smoke", SMOKE)
    run.history.epochs.pop()
    run.save()
    with pytest.raises(RunError, match="stopped after epoch 2 of 3"):
        fit(home / "run", taught_recipe())


@pytest.mark.parametrize("changes", [{"teacher": "x"}, {"teacher_share": 0.5}, {"teacher": "x", "teacher_share": 1.5}])
def test_teacher_and_share_come_together(changes: dict) -> None:
    with pytest.raises(BadRecipe, match="teacher_share"):
        replace(SMOKE, **changes)
