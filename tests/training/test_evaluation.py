"""The metrics, against slow plain versions."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from fmnist_lib import models
from fmnist_lib.training import evaluation


def small() -> nn.Module:
    return models.build_seeded("alexnet", 0, widths=(2, 2, 2, 2, 2), hidden=8)


def test_evaluate_counts_every_image_once_whatever_the_batches() -> None:
    model = small().train()
    images, labels = torch.randn(103, 1, 28, 28), torch.arange(103) % 10
    whole = evaluation.evaluate(model, [(images, labels)], device="cpu")
    parts = evaluation.evaluate(model, zip(images.split(10), labels.split(10), strict=True), device="cpu")
    assert whole.num_images == parts.num_images == 103
    assert torch.equal(whole.confusion, parts.confusion)
    assert whole.loss == pytest.approx(parts.loss, rel=1e-6)
    assert model.training


def test_evaluation_against_a_loop_over_images() -> None:
    model = small().eval()
    images, labels = torch.randn(40, 1, 28, 28), torch.arange(40) % 10
    result = evaluation.evaluate(model, [(images, labels)], device="cpu")
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    loss = 0.0
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            scores = model(image[None])[0]
            confusion[label, scores.argmax()] += 1
            loss -= scores.log_softmax(0)[label].item()
    assert torch.equal(result.confusion, confusion)
    assert result.loss == pytest.approx(loss / 40, rel=1e-4)
    assert result.accuracy == pytest.approx(confusion.trace().item() / 40)
    assert result.per_class == pytest.approx((confusion.diagonal() / 4).tolist())


def test_answers_are_in_doubt_below_the_probability_at_which_one_in_three_is_wrong() -> None:
    """Certainties in steps of 2 %, ten answers each: the less certain half has its share of errors, then none."""
    top = torch.arange(50, 100, 2).repeat_interleave(10) / 100 + 0.005
    is_wrong = torch.arange(250) % 10 < torch.where(top < 0.7, 5, 0)
    logits, labels = torch.stack([top.log(), (1 - top).log()], 1), is_wrong.long()
    pictures = logits[:, :, None, None]
    result = evaluation.evaluate(nn.Flatten(), [(pictures, labels)], device="cpu")
    wrong = [is_wrong[top < limit / 100].double().mean().item() for limit in range(100)]
    assert result.doubt_below == max(limit for limit in range(100) if wrong[limit] >= 1 / 3) / 100
    certain = evaluation.evaluate(nn.Flatten(), [(pictures, labels * 0)], device="cpu")
    assert certain.doubt_below == 0
    assert certain.certainty[:, 1].sum() == 250


def test_flip_averages_the_logits_of_both_sides() -> None:
    model = small().eval()
    images, labels = torch.randn(40, 1, 28, 28), torch.arange(40) % 10
    evaluated = evaluation.evaluate(model, [(images, labels)], device="cpu", flip=True)
    result, mirrored = (
        evaluation.evaluate(model, [(x, labels)], device="cpu", flip=True).flipped for x in (images, images.flip(3))
    )
    assert evaluated.confusion.equal(evaluation.evaluate(model, [(images, labels)], device="cpu").confusion)
    with torch.no_grad():
        logits = torch.stack([(model(x[None]) + model(x.flip(2)[None]))[0] / 2 for x in images])
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert torch.equal(result.confusion, mirrored.confusion)


def test_an_ensemble_gives_the_mean_probability() -> None:
    members = [nn.Linear(4, 3) for _ in range(3)]
    x = torch.randn(5, 4)
    together = evaluation.Ensemble(members)(x).softmax(1)
    torch.testing.assert_close(together, torch.stack([member(x).softmax(1) for member in members]).mean(0))


class Breaks(nn.Module):
    """Fails in its forward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")


@pytest.mark.parametrize("breaks", [False, True])
def test_every_submodule_gets_its_own_train_flag_back(breaks: bool) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.Flatten(), nn.Dropout(), nn.Linear(784, 10))  # a frozen norm
    model.append(Breaks() if breaks else nn.Identity())
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    with pytest.raises(RuntimeError, match="broken") if breaks else nullcontext():
        evaluation.evaluate(model, [(torch.randn(4, 1, 28, 28), torch.arange(4))], device="cpu")
    assert [module.training for module in model.modules()] == before
