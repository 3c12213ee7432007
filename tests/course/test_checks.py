"""Checks: right answers pass, wrong ones and those that would fool a check end in one sentence with a hint."""

import contextlib
import copy
from collections.abc import Callable
from math import comb
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn
from torch.nn import functional

from fmnist_lib import capture, data, models
from fmnist_lib.course import NotYet, check, look_back, predict
from fmnist_lib.course.checks import TASKS
from fmnist_lib.course.predictions import PredictionError
from fmnist_lib.training.loop import fit
from fmnist_lib.training.recipes import Recipe


class MyBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(change + x)


def train_one_epoch(model: nn.Module, batches: Any, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def listen(model: nn.Module, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    seen = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    try:
        model(x)
    finally:
        handle.remove()
    return seen[0]


def with_sigmoid(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Sigmoid())
    return model


def sign_test(first: torch.Tensor, second: torch.Tensor) -> float:
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    total = wins + losses
    return min(1.0, 2 * sum(comb(total, k) for k in range(max(wins, losses), total + 1)) / 2**total)


def effect(changed: torch.Tensor, chosen: torch.Tensor, t: float) -> tuple[float, float]:
    differences = changed - chosen
    return differences.mean().item(), t * differences.std().item() / len(differences) ** 0.5


def learning_rate(step: int, steps: int, lr: float, warmup: float) -> float:
    return lr * min(step / (warmup * steps), (steps - step) / (steps - warmup * steps))


def interval(right: int, images: int) -> tuple[float, float]:
    accuracy = right / images
    error = (accuracy * (1 - accuracy) / images) ** 0.5
    return accuracy - 2 * error, accuracy + 2 * error


def calibration_error(certainty: torch.Tensor, right: torch.Tensor) -> float:
    bins = (certainty * 10).ceil()
    chosen = [bins == number for number in bins.unique()]
    return sum(
        ((right[rows].float().mean() - certainty[rows].mean()).abs() * rows.float().mean()).item() for rows in chosen
    )


def filter_spread(gradient: torch.Tensor) -> float:
    energies = gradient.pow(2).sum((1, 2, 3))
    return float(energies.sum() ** 2 / (len(energies) * (energies**2).sum()))


RIGHT: dict[str, Any] = {
    "count_batches": lambda count, size: (count + size - 1) // size,
    "class_averages": lambda images, labels: torch.stack([images[labels == i].float().mean(0)[0] for i in range(10)]),
    "find_suspects": lambda answers, labels: (answers == answers[0]).all(0) & (answers[0] != labels),
    "MyBlock": MyBlock,
    "train_one_epoch": train_one_epoch,
    "listen": listen,
    "pooled_size": lambda size, kernel, stride: (size - kernel) // stride + 1,
    "with_sigmoid": with_sigmoid,
    "dead_channels": lambda maps: (maps == 0).all(3).all(2).all(0),
    "came_back": lambda before, after: len(set(before) - set(after)),
    "count_layers": lambda depths: 2 * sum(depths) + 2,
    "multiplications": lambda inputs, outputs, kernel, size: inputs * outputs * kernel**2 * size**2,
    "relative_change": lambda before, after: (after - before).norm() / before.norm(),
    "filter_spread": filter_spread,
    "sign_test": sign_test,
    "effect": effect,
    "smooth_labels": lambda labels, share: (1 - share) * functional.one_hot(labels, 10) + share / 10,
    "learning_rate": learning_rate,
    "interval": interval,
    "confusion_matrix": lambda labels, answers: (10 * labels + answers).bincount(minlength=100).view(10, 10),
    "calibration_error": calibration_error,
    "ask_together": lambda probabilities: probabilities.mean(0).argmax(1),
}


class EqualToAll:
    def __eq__(self, _: object) -> bool:
        return True

    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: Any) -> Any:
        return self


class OtherBlock(MyBlock):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))  # no shortcut


def forgets(model: nn.Module, batches: Any, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for x, y in batches:
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def leaves_hook(model: nn.Module, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    model(x)
    handle.remove()
    return seen[0]


def by_library(model: nn.Module, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with capture(model, "1") as seen:
        model(x)
    return seen["1"]


def silenced(*arguments: Any) -> None:
    with contextlib.suppress(Exception):
        raise NotImplementedError


def unwritten(*arguments: Any) -> None:
    raise NotImplementedError


CHEATS = [
    None,
    7,
    EqualToAll(),
    MagicMock(),
    MagicMock(spec=nn.Module),
    lambda *_: EqualToAll(),
    lambda *_: MagicMock(),
]
CHEATS += [lambda *_: MagicMock(spec=nn.Module), silenced, unwritten, lambda *_: torch.zeros(10), exit, lambda *_: 3]


@pytest.mark.parametrize("name", TASKS)
def test_a_right_answer_passes_again_and_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        check(name, RIGHT[name])
    assert capsys.readouterr().out.count("Right") == 5


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("cheat", range(len(CHEATS)))
def test_no_check_is_fooled_and_none_ends_otherwise_than_in_a_hint(name: str, cheat: int) -> None:
    with pytest.raises(NotYet, match="Hint: ") as raised:
        check(name, CHEATS[cheat])
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("count_batches", lambda count, size: count // size, "too small"),
        ("count_batches", lambda count, size: count // size + 1, "too large"),
        ("class_averages", lambda images, labels: images[:10, 0].float(), "values differ"),
        ("find_suspects", lambda answers, labels: answers[0] != labels, "values differ"),
        ("find_suspects", lambda answers, labels: ((answers != labels).all(0)).long(), "True or False"),
        ("MyBlock", OtherBlock, "values differ"),
        ("MyBlock", lambda channels: models.ResidualBlock(channels, channels), "library"),
        ("MyBlock", lambda channels: nn.Conv2d(channels, channels, 3), "should have conv1"),
        ("train_one_epoch", forgets, "values differ"),
        ("pooled_size", lambda size, kernel, stride: size // stride, "too"),
        ("with_sigmoid", lambda model: model, "values differ"),
        ("with_sigmoid", lambda model: None, "return"),
        ("dead_channels", lambda maps: (maps[0] == 0).all(2).all(1), "values differ"),
        ("dead_channels", lambda maps: (maps == 0).all(3).all(2).all(0).float(), "True or False"),
        ("came_back", lambda before, after: len(before) - len(after), "too"),
        ("count_layers", lambda depths: 2 * sum(depths), "too small"),
        ("multiplications", lambda inputs, outputs, kernel, size: outputs * kernel**2 * size**2, "too small"),
        ("relative_change", lambda before, after: (after - before).norm() / after.norm(), "too"),
        ("listen", leaves_hook, "stays"),
        ("listen", by_library, "library"),
        ("listen", lambda model, layer, x: model[1](model[0](x)), "detach"),
        ("filter_spread", lambda gradient: float(gradient.norm()), "too large"),
        ("sign_test", lambda first, second: sign_test(first, second) / 2, "too small"),
        ("effect", lambda changed, chosen, t: (float((changed - chosen).mean()), 0.0), "the half width .* too small"),
        ("effect", lambda changed, chosen, t: float((changed - chosen).mean()), "two numbers"),
        ("smooth_labels", lambda labels, share: functional.one_hot(labels, 10).float(), "values differ"),
        ("learning_rate", lambda step, steps, lr, warmup: lr * (1 - step / steps), "at step 0 .* too large"),
        ("interval", lambda right, images: (right / images, right / images), "low of interval .* too large"),
        ("confusion_matrix", lambda labels, said: RIGHT["confusion_matrix"](said, labels), "values differ"),
        ("calibration_error", lambda certainty, right: abs(float(right.double().mean() - certainty.mean())), "small"),
        ("ask_together", lambda probabilities: probabilities[0].argmax(1), "values differ"),
    ],
)
def test_what_is_wrong_is_told(name: str, answer: Callable[..., Any], told: str) -> None:
    with pytest.raises(NotYet, match=told):
        check(name, answer)


def test_a_students_loop_is_the_library_s() -> None:
    ours = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    theirs = copy.deepcopy(ours)
    batches = data.batches(dataset="tiny", batch_size=50)
    train_one_epoch(ours, batches.train(1), torch.optim.Adam(ours.parameters(), lr=0.001))
    fit(theirs, batches, Recipe("loop", dataset="tiny", epochs=1, batch_size=50), device="cpu")
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_a_students_block_is_the_library_s() -> None:
    mine, library = MyBlock(6), models.ResidualBlock(6, 6)
    mine.load_state_dict(library.state_dict())
    x = torch.randn(3, 6, 8, 8)
    for training in (True, False):
        torch.testing.assert_close(mine.train(training)(x), library.train(training)(x))


def test_the_inputs_are_new_each_time_whatever_seed_is_set() -> None:
    given = []
    for _ in range(2):
        torch.manual_seed(0)
        check("class_averages", lambda x, y: (given.append(x), RIGHT["class_averages"](x, y))[1])
    assert given[0].shape != given[1].shape or not torch.equal(*given)


def test_a_check_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    check("listen", listen)
    assert torch.equal(torch.get_rng_state(), before)


def test_in_a_notebook_it_finds_the_answer_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell.instance()
    shell.run_cell("from fmnist_lib.course import check\ncheck('count_batches')")
    out = capsys.readouterr().out
    assert "run the cell that defines it first" in out and "Traceback" not in out
    shell.run_cell("def count_batches(n, size):\n    return -(-n // size)\ncheck('count_batches')")
    assert "Right" in capsys.readouterr().out
    InteractiveShell.clear_instance()


def test_a_prediction_is_kept_and_looked_back_at(capsys: pytest.CaptureFixture[str]) -> None:
    predict("kernels", "", choices=["noise", "edges"])
    look_back("kernels")
    predict("kernels", "edges", choices=["noise", "edges"])
    look_back("kernels")
    asked, *choices, unanswered, kept, answer = capsys.readouterr().out.splitlines()
    assert "one of these" in asked and [choice.strip() for choice in choices] == ["noise", "edges"]
    assert "no prediction" in unanswered and kept == "Kept: edges" and answer == "You expected: edges"
    with pytest.raises(PredictionError, match="noise, edges"):
        predict("kernels", "clothes", choices=["noise", "edges"])
