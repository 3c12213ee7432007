"""Measures against slow plain versions."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.checkpoint import checkpoint

from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.channels import mark, picture_axes
from fmnist_lib.visualisers.measures import (
    BINS,
    are_class_scores,
    choose_output,
    differentiate,
    grad_cam,
    map_row,
    weight_row,
)


@pytest.mark.parametrize("size", [(5,), (4, 3), (1, 1)])
def test_grad_cam_is_the_two_equations(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    maps, gradients = torch.randn(3, 4, *size).double(), torch.randn(3, 4, *size).double()
    cams = grad_cam(maps, gradients)
    assert cams.shape == (3, 1, *size)
    for image in range(3):
        total = torch.zeros(size).double()
        for channel in range(4):
            values = gradients[image, channel].flatten().tolist()
            total += sum(values) / len(values) * maps[image, channel]
        expected = total.clamp(min=0).float()
        torch.testing.assert_close(cams[image, 0], expected)


def norm(values: Tensor) -> float:
    """The root of the sum of squares, in double precision."""
    return math.sqrt(math.fsum(value**2 for value in values.flatten().tolist()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weight_rows(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    start, weight, gradient = torch.randn(3, 5, 2, 3, 3).to(dtype)
    row = weight_row("conv", 4, weight, gradient=gradient, start=start)
    assert (row["layer"], row["epoch"]) == ("conv", 4)
    assert row["weight_norm"] == pytest.approx(norm(weight), rel=1e-5)
    assert row["gradient_norm"] == pytest.approx(norm(gradient), rel=1e-5)
    assert row["movement"] == pytest.approx(norm(weight.double() - start.double()) / norm(start), rel=1e-5)
    assert weight_row("conv", 0, start, gradient=gradient, start=start)["movement"] == 0


def test_weight_rows_of_odd_numbers() -> None:
    zeros, broken = torch.zeros(2, 1, 3), torch.tensor([1.0, math.nan])
    assert weight_row("conv", 0, zeros, gradient=zeros, start=zeros)["movement"] == 0
    row = weight_row("conv", 0, broken, gradient=torch.tensor([math.inf, 0]), start=torch.ones(2))
    assert (row["weight_norm"], row["gradient_norm"], row["movement"]) == (None, None, None)


def plain_row(output: Tensor) -> dict[str, Any]:
    """What `map_row` measures, one number after the other."""
    values = output.flatten().tolist()
    finite = [value for value in values if math.isfinite(value)]
    mean = math.fsum(finite) / len(finite)
    low, high = min(finite), max(finite)
    counts = [0] * BINS
    for value in finite:
        counts[min(int((value - low) / (high - low) * BINS), BINS - 1)] += 1
    channels = [output[:, channel].flatten().tolist() for channel in range(output.shape[1])]
    return {
        "mean": mean,
        "std": math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (len(finite) - 1)),
        "zeros": sum(value == 0 for value in values) / len(values),
        "dead": [number for number, channel in enumerate(channels) if all(value == 0 for value in channel)],
        "low": low,
        "high": high,
        "histogram": counts,
    }


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 5, 7), (1, 2, 1, 1)])
@pytest.mark.parametrize("kind", ["plain", "relu", "dead", "broken", "channels last"])
def test_map_rows(shape: tuple[int, ...], kind: str) -> None:
    torch.manual_seed(1)
    output = torch.randn(shape)
    if kind == "relu":
        output = output.relu()
    elif kind == "dead":
        output[:, -1] = 0
        output[1:, 0] = 0  # one image wakes it
    elif kind == "broken":
        output.view(-1)[::7] = torch.tensor([math.nan, math.inf, -math.inf]).repeat(30)[: len(output.view(-1)[::7])]
        output = torch.cat([output, torch.ones_like(output)])
    elif len(shape) == 4:
        output = output.contiguous(memory_format=torch.channels_last)
    row = map_row("act", 2, output)
    assert (row.pop("layer"), row.pop("epoch")) == ("act", 2)
    if output.unique().numel() > 1:
        expected = plain_row(output)
        assert row.keys() == expected.keys()
        for key in expected:
            assert row[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
        assert sum(row["histogram"]) == int(output.isfinite().sum())


def test_map_rows_without_a_spread() -> None:
    row = map_row("act", 0, torch.full((2, 3, 2, 2), 0.5))
    assert (row["mean"], row["std"], row["zeros"], row["dead"], row["low"], row["high"]) == (0.5, 0, 0, [], 0.5, 0.5)
    assert row["histogram"] == [24] + [0] * (BINS - 1)
    row = map_row("act", 0, torch.full((2, 3, 2, 2), math.nan))
    assert (row["mean"], row["std"], row["zeros"], row["dead"], row["low"], row["high"]) == (None, None, 0, [], 0, 0)
    assert row["histogram"] == [0] * BINS
    assert map_row("act", 0, torch.ones(1, 1, 1, 1))["std"] is None


def test_gradients_by_tensors_and_by_places() -> None:
    a, b, free = (torch.randn(3, requires_grad=True) for _ in range(3))
    middle = a * b
    value = middle.sin().sum()
    inputs = {"a": a, "middle": get_gradient_edge(middle), "again": a, "free": free, "fixed": torch.ones(3)}
    gradients, reasons = differentiate(value, inputs, of="the sum", by="its numbers")
    expected = {"a": middle.cos() * b, "middle": middle.cos(), "again": middle.cos() * b}
    assert gradients.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name])
    assert reasons == dict.fromkeys(["free", "fixed"], "the sum does not depend on its numbers, as autograd sees it")
    assert a.grad is None


def test_a_gradient_that_fails_has_its_reason() -> None:
    a = torch.randn(3, requires_grad=True)
    gradients, reasons = differentiate(a * 2, {"a": a}, of="the loss", by="its weights")
    assert gradients == {}
    assert "no gradient of the loss by its weights: grad can be implicitly created only for scalar" in reasons["a"]
    assert differentiate(torch.ones(()), {"a": a}, of="x", by="y")[1].keys() == {"a"}
    assert differentiate(a.sum(), {}, of="x", by="y") == ({}, {})


@pytest.mark.parametrize(
    ("shape", "among_signals", "among_images"),
    [
        ((4, 3, 5, 5), True, True),
        ((4, 3, 5), True, False),
        ((4, 3), False, False),
        ((4, 3, 5, 5, 5), False, False),
        ((8, 3, 5, 5), False, False),  # something else than images comes first
        ((4, 0, 5, 5), False, False),
    ],
)
def test_what_is_a_picture(shape: tuple[int, ...], among_signals: bool, among_images: bool) -> None:
    outputs = {"layer": mark(torch.zeros(shape), 1)}
    for signals, expected in ((True, among_signals), (False, among_images)):
        axes, reasons = picture_axes(outputs, count=4, signals=signals, said={})
        assert axes == ({"layer": 1} if expected else {})
        assert expected or str(shape) in reasons["layer"]
    whole = {"layer": mark(torch.zeros(4, 1, 8, 8).long(), 1)}
    assert "int64" in picture_axes(whole, count=4, signals=False, said={})[1]["layer"]


def test_class_scores_and_their_labels() -> None:
    scores, labels = torch.zeros(3, 5), torch.tensor([0, 4, 2])
    assert are_class_scores(scores, labels)
    others = [(scores, labels + 1), (scores, labels - 1), (scores, labels.float()), (scores, labels[:2])]
    others += [(scores[:, :, None], labels), (scores[:, :1], labels)]
    assert not any(are_class_scores(*other) for other in others)


def test_the_one_tensor_that_there_is() -> None:
    x, labels = torch.zeros(2), torch.zeros(2).long()
    for output in (x, (x, 1), [None, x], {"aux": None, "out": x}):
        assert choose_output(output, None, labels=labels, num_classes=None) is x
    for output in (None, {}, (1, 2)):
        with pytest.raises(NotRecordable, match="no tensor"):
            choose_output(output, None, labels=labels, num_classes=None)


def test_checkpointing_the_old_way_is_named() -> None:
    """Only `backward` without inputs passes it: https://pytorch.org/docs/stable/checkpoint.html."""
    stem, body = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)
    value = checkpoint(body, stem(torch.randn(2, 1, 6, 6)), use_reentrant=True).sum()
    gradients, reasons = differentiate(value, {"stem": stem.weight}, of="the loss", by="its weights")
    assert gradients == {}
    assert "use_reentrant=True" in reasons["stem"]
