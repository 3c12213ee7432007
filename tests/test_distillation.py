"""Learning from a teacher, against the plain formula, and through a whole run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_precision import net as net_with_a_wrong_layer
from torch import nn

from fmnist_lib import data, lab, models, train
from fmnist_lib.distillation import Taught
from fmnist_lib.recipes import BadRecipe, Recipe, find_recipe
from fmnist_lib.storage import RunError

SMOKE = find_recipe("smoke")
X = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([3, 1, 4, 1, 5, 9])


def tiny() -> data.Batches:
    return data.batches(dataset="tiny", batch_size=50)


def teacher() -> nn.Module:
    return models.build_seeded("resnet18", 1, widths=(16, 16, 16, 16)).eval()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_targets_are_labels_and_answers_by_their_share(share: float) -> None:
    targets = Taught(tiny(), teacher(), share).targets(X, Y)
    answers = teacher()(X).softmax(1)
    for row, (answer, label) in enumerate(zip(answers, Y, strict=True)):
        for k in range(10):
            expected = share * answer[k] + (1 - share) * (k == label)
            torch.testing.assert_close(targets[row, k], expected.detach())
    assert not targets.requires_grad


def test_the_batches_are_handed_through() -> None:
    plain, taught = tiny(), Taught(tiny(), teacher(), 0.5)
    assert taught.steps == plain.steps
    for mine, theirs in ((taught.train(2), plain.train(2)), (taught.val(), plain.val())):
        for (x, y), (other_x, other_y) in zip(mine, theirs, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)


@pytest.mark.parametrize(("network", "sound"), [(teacher, True), (net_with_a_wrong_layer, False)])
def test_bf16_is_used_only_where_the_answers_stay_the_same(network, sound: bool) -> None:
    taught = Taught(tiny(), network().eval(), 1.0)
    exact = taught.targets(X, Y)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = taught.targets(X, Y)
    assert taught.sound is sound
    assert torch.equal(mixed, exact) is not sound
    torch.testing.assert_close(mixed, exact, atol=0.02, rtol=0)


class AlwaysThree(nn.Module):
    """A teacher of one answer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(10)[3].mul(20).expand(len(x), 10)


def test_the_student_learns_what_the_teacher_says_and_is_judged_by_the_labels() -> None:
    student = models.build_seeded("resnet18", 0, widths=(16, 16, 16, 16))
    history = train.fit(student, Taught(tiny(), AlwaysThree(), 1.0), SMOKE, device="cpu")
    images, labels = data.load("train", dataset="tiny")
    assert lab.predict(student, images).argmax(1).eq(3).all()
    assert history.epochs[-1]["train_accuracy"] == pytest.approx(labels.eq(3).float().mean().item(), abs=0.02)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    return tmp_path


def taught_recipe() -> Recipe:
    return replace(SMOKE, name="taught", flip=True, precision="bfloat16", teacher="alexnet-smoke", teacher_share=0.8)


def test_a_taught_run_ends_with_the_same_bits_after_an_interruption(home: Path) -> None:
    lab.fit_run("alexnet", SMOKE, seed=0, out=home / "checkpoints" / "alexnet-smoke")
    whole = lab.fit_run("alexnet", taught_recipe(), seed=0, out=home / "whole")
    plain = lab.fit_run("alexnet", replace(taught_recipe(), teacher="", teacher_share=0), seed=0, out=home / "plain")

    def interrupt(progress: train.Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.fit_run("alexnet", taught_recipe(), seed=0, out=home / "cut", on_epoch=[interrupt])
    cut = lab.fit_run("alexnet", taught_recipe(), seed=0, out=home / "cut")
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (whole, cut, plain)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_missing_teacher_is_named_and_nothing_is_written(home: Path) -> None:
    with pytest.raises(RunError, match=r"learns from the run alexnet-smoke.*trained first.*does not exist"):
        lab.fit_run("alexnet", taught_recipe(), seed=0, out=home / "run")
    assert not (home / "run").exists()


def test_a_teacher_that_has_not_finished_is_refused(home: Path) -> None:
    run = lab.fit_run("alexnet", SMOKE, seed=0, out=home / "checkpoints" / "alexnet-smoke")
    run.history.epochs.pop()
    run.save()
    with pytest.raises(RunError, match="stopped after epoch 2 of 3"):
        lab.fit_run("alexnet", taught_recipe(), seed=0, out=home / "run")


@pytest.mark.parametrize("changes", [{"teacher": "x"}, {"teacher_share": 0.5}, {"teacher": "x", "teacher_share": 1.5}])
def test_teacher_and_share_come_together(changes: dict) -> None:
    with pytest.raises(BadRecipe, match="teacher_share"):
        replace(SMOKE, **changes)
