"""What people who have read no docstring give to a recorder: it works, or one message says what would."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo import Framed, assert_close, make_net, make_probe, record

from fmnist_lib.visualisers import figures
from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare
from fmnist_lib.visualisers.hooks import capture
from fmnist_lib.visualisers.recorder import Probe, Recorder
from fmnist_lib.visualisers.recording import Recording

PROBE = make_probe(1, 8, 8)
Pair = namedtuple("Pair", "features logits")


def features_and_scores(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features first, six of them, and scores that are the model's."""
    scores = model(x)
    return functional.pad(scores.exp(), (0, 2)), scores


def plain_scores(model: nn.Module) -> Tensor:
    return model.eval()(PROBE.images[:2]).softmax(1)


OUTPUTS: dict[str, tuple[Callable[[nn.Module, Tensor], Any], dict[str, Any]]] = {
    "the second": (features_and_scores, {"output": 1}),
    "by its key": (lambda m, x: dict(zip(("f", "s"), features_and_scores(m, x), strict=True)), {"output": "s"}),
    "by a function": (features_and_scores, {"output": lambda both: both[1]}),
    "by as many classes": (features_and_scores, {"classes": ["a", "b", "c", "d"]}),
    "called logits": (lambda m, x: Pair(*features_and_scores(m, x)), {}),
    "beside a loss": (lambda m, x: {"loss": m(x).sum(), "logits": m(x)}, {}),
    "of an object": (lambda m, x: Pair(*features_and_scores(m, x)), {"output": "logits"}),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_scores_among_several_outputs(name: str) -> None:
    frame, options = OUTPUTS[name]
    torch.manual_seed(0)
    net = make_net()
    recording = record(Framed(net, frame), PROBE, **options)
    torch.testing.assert_close(torch.tensor(recording.scores(0)), plain_scores(net), rtol=1e-4, atol=1e-5)


def test_scores_in_doubt_are_asked_for() -> None:
    model = Framed(make_net(), features_and_scores)
    with pytest.raises(NotRecordable, match=r"gives out 0 \(5, 6\), 1 \(5, 4\): say which are the scores with output="):
        Recorder(model, probe=PROBE).snapshot(0)
    for output in (2, "logits"):
        with pytest.raises(NotRecordable, match=r"is not there .*0 \(5, 6\), 1 \(5, 4\)"):
            Recorder(model, probe=PROBE, output=output).snapshot(0)
    with pytest.raises(NotRecordable, match="no tensor"):
        Recorder(Framed(make_net(), lambda m, x: "words"), probe=PROBE).snapshot(0)


def test_one_number_an_image_is_no_certainty() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 1))
    loss = lambda output, labels: functional.binary_cross_entropy_with_logits(output[:, 0], labels.float())  # noqa: E731 (short)
    recording = record(model, PROBE._replace(labels=PROBE.labels % 2), loss=loss)
    assert "no score per class" in recording.skipped["scores"]
    assert recording.kinds == ["kernels", "gradients", "maps"]


@pytest.mark.parametrize("target", ["true", "predicted", 0, 3])
def test_grad_cam_explains_the_class_that_is_asked_for(target: str | int) -> None:
    torch.manual_seed(0)
    net = make_net(activation=nn.Tanh())
    recording = record(net, PROBE, target=target)
    net.eval()
    maps = net[:3](PROBE.images[:2]).detach().requires_grad_()
    scores = net[3:](maps)
    labels = {"true": PROBE.labels[:2], "predicted": scores.argmax(1)}.get(str(target), target)
    scores[range(2), labels].sum().backward()
    assert_close(recording, "map_gradients", "act1", maps.grad)


@pytest.mark.parametrize("target", [4, -1, "false", 1.5])
def test_a_target_that_is_none(target: Any) -> None:
    with pytest.raises(NotRecordable, match="choose 'true', 'predicted' or the number of a class"):
        Recorder(make_net(), probe=PROBE, target=target, classes="abcd")


def test_a_layer_called_twice_in_a_model_with_a_hash_in_its_names() -> None:
    class Hashed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.LazyLinear(4)
            self.add_module("relu#2", nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv(x))
            x = self.relu(x - 0.1)
            return self.head(self.get_submodule("relu#2")(x).flatten(1))

    torch.manual_seed(0)
    model = Hashed()
    model(PROBE.images)
    recording = record(model, PROBE, layers=["relu", "relu#2"])
    first = model.conv(PROBE.images[:2]).relu()
    for name, expected in {
        "relu": first,
        "relu##2": (first - 0.1).relu(),
        "relu#2": (first - 0.1).relu().tanh(),
    }.items():
        assert_close(recording, "maps", name, expected)
    assert list(recording.layers["cams"]) == list(recording.layers["maps"])
    assert recording.skipped == {}


@pytest.mark.parametrize(
    "epochs", [np.arange(3), torch.arange(3), np.linspace(0, 2, 3), [np.int8(0), np.float32(1), "2"], range(3)]
)
def test_whole_epochs_of_every_kind_are_whole_numbers_in_the_file(epochs: Any, tmp_path: Path) -> None:
    recorder = Recorder(make_net(), probe=PROBE)
    for epoch in epochs:
        recorder.snapshot(epoch)
    recorder.save(tmp_path / "recording.npz")
    recording = Recording.load(tmp_path / "recording.npz")
    assert recording.epochs == [0, 1, 2]
    assert "3 epochs" in str(Explorer(recording))


def test_a_part_of_an_epoch_is_a_place_of_the_slider_and_a_picture(tmp_path: Path) -> None:
    recorder = Recorder(make_net(), probe=PROBE)
    for epoch in (0, 0.25, np.float32(0.5), 1):
        recorder.snapshot(epoch)
    recorder.save(tmp_path / "recording.npz")
    explorer = Explorer(tmp_path / "recording.npz", kind="maps", epoch=0.5)
    assert explorer.panels[0].epochs == [0, 0.25, 0.5, 1]
    assert "4 snapshots; at layer act1, epoch 0.5" in str(explorer) and 'data-frame="act1/0.5/' in explorer.html()
    explorer.move(epoch=0.25)
    assert "epoch 0.25" in str(explorer)
    assert "not recorded" not in str(Explorer(tmp_path / "recording.npz", epochs=np.linspace(0, 1, 3), epoch=1.0))
    figure = figures.kernels(Recording.load(tmp_path / "recording.npz"), 0.25)
    assert "epoch 0.25" in figure.get_suptitle()


@pytest.mark.parametrize("epoch", ["last", None, float("nan"), float("inf"), [1], torch.zeros(2), np.zeros(2)])
def test_an_epoch_that_is_no_number_is_refused_at_once(epoch: Any) -> None:
    recorder = Recorder(make_net(), probe=PROBE)
    with pytest.raises(NotRecordable, match="is no number"):
        recorder.snapshot(epoch)
    recorder.snapshot(0)
    assert recorder.recording().epochs == [0]


def test_what_is_told_of_a_run_may_be_numpys_and_is_a_copy() -> None:
    about = {"accuracy": np.float32(0.5), "best": torch.tensor(3), "rates": np.arange(2), "folder": Path("here")}
    recorder = Recorder(make_net(), probe=PROBE, about=about)
    about["later"] = object()
    recorder.snapshot(0)
    told = {"accuracy": 0.5, "best": 3, "rates": [0, 1], "folder": "here", "labels": [0, 1]}
    assert recorder.recording().about == told


@pytest.mark.parametrize("classes", [list("abcd"), dict(enumerate("abcd")), dict(zip("0123", "abcd", strict=True))])
def test_classes_in_a_list_or_by_number(classes: Any) -> None:
    assert record(make_net(), PROBE, classes=classes).about == {"classes": list("abcd"), "labels": [0, 1]}


SAME: dict[str, Callable[[Tensor, Tensor], tuple[Any, Any]]] = {
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "arrays of float64": lambda x, y: (x.double().numpy(), y.numpy()),
    "lists of tensors": lambda x, y: (list(x), list(y)),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "labels of bytes": lambda x, y: (x, y.to(torch.uint8)),
    "labels in a column": lambda x, y: (x, y[:, None]),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_probe_in_other_clothes(name: str) -> None:
    torch.manual_seed(0)
    net = make_net()
    dressed = Probe(*SAME[name](PROBE.images, PROBE.labels), shown=2)
    plain, other = (Recorder(net, probe=probe) for probe in (PROBE, dressed))
    for recorder in (plain, other):
        recorder.snapshot(0)
    assert plain._builder.pack() == other._builder.pack()


BAD_PROBES: dict[str, tuple[Any, str]] = {
    "bytes": (PROBE._replace(images=(PROBE.images * 255).byte()), "images are bytes.*fmnist_lib.data.normalise"),
    "whole numbers": (PROBE._replace(images=(PROBE.images * 9).long()), "whole numbers .torch.int64.*give floats"),
    "bytes without channels": (PROBE._replace(images=PROBE.images[:, 0].byte()), "whole numbers .torch.uint8"),
    "labels out of range": (PROBE._replace(labels=PROBE.labels + 2), "from 2 to 5, failed.*labels 0 to K-1"),
    "labels below zero": (PROBE._replace(labels=PROBE.labels - 1), "from -1 to 2, failed"),
    "float labels": (PROBE._replace(labels=PROBE.labels.float()), "torch.float32.*failed"),
    "words": (Probe("images", "labels"), "tensors or arrays|images are"),  # type: ignore[arg-type]
    "only images": (PROBE.images, "tensors or arrays|too many values"),
    "ragged": (Probe([torch.zeros(1, 8, 8), torch.zeros(1, 8, 9)], [0, 1]), "tensors or arrays"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD_PROBES)
def test_a_probe_that_cannot_be_used_is_told(name: str) -> None:
    probe, message = BAD_PROBES[name]
    with pytest.raises(NotRecordable, match=message):
        Recorder(make_net(), probe=probe).snapshot(0)


class Siamese(nn.Module):
    """Two inputs, the second by keyword alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(72, 4)

    def forward(self, left: Tensor, *, right: Tensor) -> Tensor:
        return self.head((self.act(self.conv(left)) - self.act(self.conv(right))).abs().flatten(1))


@pytest.mark.parametrize("by_name", [True, False])
def test_models_of_two_inputs(by_name: bool) -> None:
    torch.manual_seed(0)
    model, other = Siamese(), PROBE.images.flip(0)
    if by_name:
        recording = record(model, PROBE, inputs={"left": PROBE.images, "right": other})
        prefix = ""
    else:
        framed = nn.Module()
        framed.inner = model
        framed.forward = lambda left, right: model(left, right=right)  # type: ignore[assignment]
        recording = record(framed, PROBE, inputs=(PROBE.images, other))
        prefix = "inner."
    assert_close(recording, "maps", f"{prefix}act", model.conv(PROBE.images[:2]).relu())
    assert_close(recording, "maps", f"{prefix}act#2", model.conv(other[:2]).relu())


@pytest.mark.parametrize("inputs", [None, (PROBE.images,), {"left": PROBE.images}, {"links": PROBE.images}])
def test_a_model_that_wants_other_inputs_is_told_with_their_names(inputs: Any) -> None:
    with pytest.raises(NotRecordable, match=r"Siamese is called with \(left.*right.*inputs="):
        Recorder(Siamese(), probe=PROBE, inputs=inputs).snapshot(0)


def test_bytes_that_a_model_takes_are_recorded() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colour, self.conv, self.act = nn.Embedding(256, 3), nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(self.colour(x).permute(0, 3, 1, 2))).mean((2, 3))

    model, images = Takes(), torch.randint(256, (5, 8, 8))
    recording = record(model, PROBE._replace(images=images))
    assert_close(recording, "maps", "act", model.conv(model.colour(images[:2]).permute(0, 3, 1, 2)).relu())


def make_lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))


def make_hiding(name: str) -> nn.Module:
    net = make_net()
    net.__dict__[name] = [nn.ReLU()]
    return net


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "exported": (lambda: torch.export.export(make_net().eval(), (PROBE.images,)).module(), "torch.export"),
    "the program": (lambda: torch.export.export(make_net().eval(), (PROBE.images,)), "ExportedProgram is no nn.Module"),
    "on meta": (lambda: make_net().to("meta"), "meta device"),
    "lazy": (make_lazy, "call it once"),
    "a function": (lambda: functional.relu, "is no nn.Module"),
    "modules hidden": (partial(make_hiding, "modules"), "hides nn.Module.modules"),
    "train hidden": (partial(make_hiding, "train"), "hides nn.Module.train"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_run_are_refused_with_what_to_do(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(NotRecordable, match=message):
        Recorder(make(), probe=PROBE).snapshot(0)


def test_a_lazy_model_is_recorded_once_it_was_called() -> None:
    model = make_lazy()
    model(PROBE.images)
    assert record(model, PROBE).skipped == {}


@pytest.mark.parametrize("hold", [list, tuple, lambda layers: dict(enumerate(layers))])
def test_convolutions_in_a_plain_list_are_pointed_at(hold: Callable[[Any], Any]) -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = hold([nn.Conv2d(1, 2, 3), nn.ReLU()])
            self.head = nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1))

    assert "nn.ModuleList" in record(Listed(), PROBE).skipped["Listed.blocks"]


def test_a_capture_knows_which_layer_a_call_was_of() -> None:
    model = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    with capture(model, ["a", "b"]) as seen:
        model(PROBE.images)
    assert seen.layers == {"a": "a", "b": "b"}


RECORDER = Recorder(make_net(), probe=PROBE)
RECORDER.snapshot(0)
RECORDING = RECORDER.recording()
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a number of images": (lambda: Explorer(RECORDING, images=3), r"images=3: give a list, such as images=\[3\]"),  # type: ignore[arg-type]
    "no kind": (lambda: Explorer(RECORDING, kind=[]), "no kind chosen: choose from kernels"),
    "kind of None": (lambda: Explorer(RECORDING, kind=None), "kind=None: give a list"),  # type: ignore[arg-type]
    "a layer of another kind": (
        lambda: Explorer(RECORDING, layers=["conv1"]),
        "no maps of 'conv1' were recorded, but kernels, gradients: choose another kind, or one of act1, act2",
    ),
    "a layer that is none": (lambda: Explorer(RECORDING, layers=["conv9"]), "no layer 'conv9'"),
    "one of the letters": (lambda: Explorer(RECORDING, layers="act9"), "no layer 'act9'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_with_an_explorer_are_told(name: str) -> None:
    act, message = MISTAKES[name]
    with pytest.raises(ExplorerError, match=message):
        act()


def test_an_explorer_of_a_network_without_pictures_says_why() -> None:
    recording = record(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU()), PROBE)
    with pytest.raises(ExplorerError, match=r"no maps were recorded here, but nothing .*no picture per image"):
        Explorer(recording)


def test_one_layer_needs_no_list(tmp_path: Path) -> None:
    recording = record(make_net(), PROBE, layers="act1", gradient_layers="act1")
    assert list(recording.layers["maps"]) == ["act1"]
    assert Explorer(recording, layers="act1").position["layer"] == "act1"
    recording.save(tmp_path / "recording.npz")
    for explorer in (
        Explorer(tmp_path / "recording.npz", layers="act1", images=np.array([0, 1])),
        compare(*[tmp_path / "recording.npz"] * 2, layers="act1", images=np.array([0, 1]), names=("a", "b")),
    ):
        assert ", layers=['act1'], images=[0, 1]" in explorer.code()
    with capture(make_net(), "act2") as seen:
        pass
    assert seen == {}


def test_numpys_numbers_stand_where_sliders_do() -> None:
    explorer = Explorer(RECORDING, channel=np.int64(1), image=torch.tensor(1))
    assert explorer.position["channel"] == 1
    assert "np." not in explorer.code() and "tensor" not in explorer.code()
    assert type(explorer.move(channel=np.int16(2)).position["channel"]) is int


def test_the_path_of_no_recording_names_those_beside_it(tmp_path: Path) -> None:
    for name in ("resnet18-original", "alexnet-fast"):
        (tmp_path / name).mkdir()
        RECORDING.save(tmp_path / name / "recording.npz")
    with pytest.raises(ExplorerError, match=r"resnet-original: .* has alexnet-fast, resnet18-original$"):
        Explorer(tmp_path / "resnet-original")
    with pytest.raises(ExplorerError, match=r"no recording at .*none.npz$"):
        Explorer(tmp_path / "alexnet-fast" / "none.npz")


def test_one_number_an_image_is_no_certainty_in_live_either() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 1))
    assert Explorer.live(model, PROBE.images[:2]).panels[0].guesses() == [[None, None]]
