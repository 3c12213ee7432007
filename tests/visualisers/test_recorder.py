"""The recorder against plain versions; and the model and its training, which must not notice."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import DEVICES, Framed, are_same, assert_close, differentiate_weights, make_net, make_probe, read_state, record

from fmnist_lib import data, models
from fmnist_lib.training import loop
from fmnist_lib.training.recipes import find_recipe
from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.hooks import UnknownLayer
from fmnist_lib.visualisers.recorder import Probe, Recorder, default_layers
from fmnist_lib.visualisers.recording import Recording, sample


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", models.REGISTRY)
def test_every_registered_model_is_recorded_as_it_is(name: str, device: str) -> None:
    images, labels = data.load("val", dataset="tiny")
    probe = Probe(data.normalise(images[:12]), labels[:12], shown=3)
    model = models.build_seeded(name, 0).to(device, memory_format=torch.channels_last)
    recording = record(model, probe)
    model.cpu()
    places = {kind: [place.layer for place in model.viewable if place.kind == kind] for kind in ("conv", "activation")}
    assert [list(recording.layers[kind]) for kind in ("maps", "map_gradients", "cams")] == [places["activation"]] * 3
    assert set(places["conv"]) <= set(recording.layers["kernels"])
    assert recording.skipped == {}
    gradients, weights = differentiate_weights(model, probe), dict(model.named_parameters())
    for layer in recording.layers["kernels"]:
        assert_close(recording, "kernels", layer, weights[f"{layer}.weight"])
        assert_close(recording, "gradients", layer, gradients[f"{layer}.weight"])
    scores = model.eval()(probe.images[:3]).softmax(1)
    torch.testing.assert_close(torch.tensor(recording.scores(0)), scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.tensor(recording.inputs), probe.images[:3], rtol=0, atol=0.02)


def test_many_channels_are_sampled_and_it_is_said_which() -> None:
    model, probe = nn.Sequential(nn.Conv2d(6, 80, 3), nn.Tanh(), nn.Flatten(), nn.Linear(2880, 4)), make_probe(6, 8, 8)
    recording = record(model, probe)
    about = recording.layers["kernels"]["0"]
    assert (about["shape"], about["channels"], about["inputs"]) == ([80, 6, 3, 3], sample(80, 64), sample(6, 4))
    assert_close(recording, "kernels", "0", model[0].weight)
    assert_close(recording, "maps", "1", model[0](probe.images[:2]).tanh())


def test_the_layers_worth_looking_at() -> None:
    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

    probe = make_probe(1, 8, 8)
    assert default_layers(make_net(), [probe.images]) == ["act1", "act2"]
    assert default_layers(torch.compile(make_net()), [probe.images]) == ["act1", "act2"]  # type: ignore[arg-type]
    assert default_layers(Quiet(), [probe.images]) == ["conv"]
    assert default_layers(nn.Conv2d(1, 2, 3), [probe.images]) == []


PROBE = make_probe(1, 8, 8)
make = partial(Recorder, make_net())
BAD: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "layer": (UnknownLayer, "conv1, norm, act1", lambda: make(probe=PROBE, layers=["act9"])),
    "other layer": (NotRecordable, "act2 is not", lambda: make(probe=PROBE, layers=["act1"], gradient_layers=["act2"])),
    "about": (NotRecordable, "not JSON", lambda: make(probe=PROBE, about={"model": make_net()})),
    "no images": (NotRecordable, r"\(0, 1, 8, 8\)", lambda: make(probe=PROBE._replace(images=torch.zeros(0, 1, 8, 8)))),
    "videos": (NotRecordable, r"\(5, 1, 2, 8, 8\)", lambda: make(probe=make_probe(1, 2, 8, 8))),
    "labels": (NotRecordable, "4 labels for 5 images", lambda: make(probe=PROBE._replace(labels=torch.arange(4)))),
    "shown": (NotRecordable, "0 shown", lambda: make(probe=PROBE._replace(shown=0))),
    "loss": (NotRecordable, r"one number, not \(5, 4\)", lambda: make(probe=PROBE, loss=lambda x, y: x).snapshot(0)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name: str) -> None:
    error, message, act = BAD[name]
    with pytest.raises(error, match=message):
        act()


CONTEXTS: list[Callable[[], AbstractContextManager[Any]]] = [
    torch.no_grad,
    torch.inference_mode,
    partial(torch.autocast, "cpu", dtype=torch.bfloat16),
]


@pytest.mark.parametrize("context", CONTEXTS)
def test_it_does_not_matter_where_a_snapshot_is_taken(context: Callable[[], AbstractContextManager[Any]]) -> None:
    model = make_net()
    outside = Recorder(model, probe=make_probe(1, 8, 8))
    outside.snapshot(0)
    with context():
        inside = Recorder(model, probe=make_probe(1, 8, 8))
        inside.snapshot(0)
    assert inside._builder.pack() == outside._builder.pack()


def test_a_snapshot_that_fails_leaves_model_and_recording_as_they_were() -> None:
    is_broken = True

    def break_off(model: nn.Module, x: Tensor) -> Tensor:
        if is_broken and not model.training:  # the second pass, after all weights were seen
            raise ZeroDivisionError
        return model(x)

    model = Framed(make_net(), break_off).train()
    recorder, untroubled = (Recorder(model, probe=make_probe(1, 8, 8)) for _ in range(2))
    before = read_state(model)
    with pytest.raises(
        NotRecordable, match=r"Framed failed on images of shape \(\d+, 1, 8, 8\): ZeroDivisionError"
    ) as caught:
        recorder.snapshot(0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert are_same(read_state(model), before)
    assert (recorder.recording().epochs, recorder.recording().kinds) == ([], [])
    is_broken = False
    for one in (recorder, untroubled):
        one.snapshot(0)
    assert recorder._builder.pack() == untroubled._builder.pack()


def test_a_model_that_stays_the_same_looks_the_same() -> None:
    model = Framed(make_net(), lambda inner, x: inner(x.mul_(2)))  # it changes its input, not the probe
    recorder = Recorder(model, probe=PROBE)
    for epoch in (0, 1):
        recorder.snapshot(epoch)
    recording = recorder.recording()
    for kind in recording.kinds:
        for layer in recording.layers[kind]:
            assert np.array_equal(recording.values(kind, layer, 0), recording.values(kind, layer, 1))
    torch.testing.assert_close(torch.tensor(recording.inputs), PROBE.images[:2], rtol=0, atol=0.02)


def test_epochs_in_any_order_and_how_far_the_weights_moved(tmp_path: Path) -> None:
    model = make_net()
    recorder, start = Recorder(model, probe=make_probe(1, 8, 8), about={"model": "net"}), model.conv1.weight.clone()
    for epoch in (0, 5, 2):
        recorder(SimpleNamespace(epoch=epoch))
        model.conv1.weight = nn.Parameter(model.conv1.weight * 1.5)  # as load_state_dict(assign=True) does
    with pytest.raises(NotRecordable, match="epoch 5 is recorded already"):
        recorder.snapshot(5)
    recorder.save(tmp_path / "recording.npz")
    recording = Recording.load(tmp_path / "recording.npz")
    assert (recording.epochs, recording.about) == ([0, 2, 5], {"model": "net", "labels": [0, 1]})
    rows = {row["epoch"]: row for row in recording.stats if row["layer"] == "conv1"}
    assert [rows[epoch]["movement"] for epoch in (0, 5, 2)] == pytest.approx([0, 0.5, 1.25])
    assert rows[0]["weight_norm"] == pytest.approx(start.norm().item())


def test_numbers_that_are_none_are_recorded_as_such() -> None:
    model = make_net()
    nn.init.constant_(model.conv1.weight[0], float("nan"))
    recording = record(model, make_probe(1, 8, 8))
    assert np.isnan(recording.values("kernels", "conv1", 0)).any((1, 2, 3)).tolist() == [True] + [False] * 5
    rows = {row["layer"]: row for row in recording.stats}
    assert rows["conv1"]["weight_norm"] is None
    assert np.isnan(recording.values("maps", "act1", 0)[:, 0]).all()
    assert rows["act1"]["mean"] is not None


class Keeper:
    """What `fit` leaves behind at every epoch: weights, the optimiser's state and the generators."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def __call__(self, training: loop.Training) -> None:
        state = loop.capture_state(training)
        state["history"]["epochs"] = [row | {"seconds": 0} for row in state["history"]["epochs"]]
        self.kept.append(copy.deepcopy([state, torch.get_rng_state(), np.random.get_state()]))


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_training_is_bit_identical_with_and_without_a_recorder(name: str) -> None:
    recipe = find_recipe("smoke")
    images, labels = data.load("val", dataset="tiny")
    probe = Probe(data.normalise(images[:16]), labels[:16], shown=2)
    runs = []
    for is_recorded in (False, True):
        torch.manual_seed(7)
        model = models.build_seeded(name, 0, widths=(8,) * (5 if name == "alexnet" else 4))
        keeper, recorder = Keeper(), Recorder(model, probe=probe)
        batches = data.batches(dataset="tiny", batch_size=recipe.batch_size)
        observers = [recorder, keeper] if is_recorded else [keeper]
        loop.fit(model, batches, recipe, device="cpu", on_epoch=observers)
        runs.append(keeper.kept)
        assert recorder.recording().epochs == (list(range(recipe.epochs + 1)) if is_recorded else [])
    assert are_same(*runs)
