"""Comparisons, maps computed on demand, and what a page or a kernel has to carry."""

import copy
import gc
import json
import shutil
import subprocess
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sketches import CLASSES, builder, bundle_of, fill, seal, small_recording
from torch import Tensor, nn

from fmnist_lib import data
from fmnist_lib.visualisers.borrow import NotRecordable
from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare, core
from fmnist_lib.visualisers.explorer.bundle import check_size
from fmnist_lib.visualisers.explorer.page import script
from fmnist_lib.visualisers.explorer.palette import PALETTES
from fmnist_lib.visualisers.explorer.position import nearest, relative
from fmnist_lib.visualisers.recorder import Probe, Recorder, default_layers
from fmnist_lib.visualisers.recording import Recording


@pytest.fixture
def recording() -> Recording:
    return small_recording()


# Comparisons


def test_relative_places() -> None:
    assert [relative(i, 5, 3) for i in range(5)] == [0, 1, 1, 2, 2]
    assert [relative(i, 17, 33) for i in range(17)] == list(range(0, 33, 2))
    assert relative(0, 1, 9) == 0
    assert [nearest(epoch, [0, 10]) for epoch in (0, 4, 5, 6, 99)] == [0, 0, 0, 1, 1]


def test_networks_of_different_depth_and_width_meet() -> None:
    deep, shallow = builder((0, 1, 2), model="deep"), builder((0, 2, 4), model="shallow")
    for layer in range(5):
        fill(deep, "maps", f"deep{layer}", (3, 8, 4, 4), seed=layer)
    for layer in range(3):
        fill(shallow, "maps", f"shallow{layer}", (3, 4, 6, 6), seed=9 + layer)
    both = compare(seal(shallow), seal(deep), layer="deep4", epoch=4, channel=7)
    step = both._axes.step("maps", "deep4")
    assert [place.layer for place in step.places] == ["shallow2", "deep4"]
    assert [place.epochs for place in step.places] == [[0, 0, 1, 2], [0, 1, 2, 2]]
    assert [place.channels[7] for place in step.places] == [3, 7]
    alone = Explorer(seal(shallow), layer="shallow2", epoch=4, channel=3)
    assert (both.pixels(panel=0) == alone.pixels()).all()
    assert "shallow and deep" in str(both)


def test_two_layers_of_one_recording(recording: Recording) -> None:
    both = compare(Explorer(recording, layers=["act1"]), Explorer(recording, layers=["act2"]), names=["one", "two"])
    assert (both.pixels(panel=1, channel=0) == Explorer(recording, layer="act2").pixels()).all()
    assert [panel.title for panel in both.panels] == ["one", "two"]


def test_code_of_a_comparison(recording: Recording, tmp_path: Path) -> None:
    """Files by their paths; where one source is an object, a move of what was made from it."""
    path = tmp_path / "run.npz"
    recording.save(path)
    options = {"kind": ["kernels", "maps"], "names": ["a", "b"], "layers": ["conv2", "act1"]}
    for sources in ((path, str(path)), (path, recording), (recording, recording)):
        both = compare(*sources, **options, layer="conv2").move(channel=99)
        again = eval(both.code(), {"compare": compare, "explorer": compare(*sources, **options)})
        assert again.position == both.position and str(again) == str(both)
        assert (recording in sources) == ("explorer.move(" in both.code())


def test_code_of_live_and_of_explorers_names_nothing_that_may_not_be_there(recording: Recording) -> None:
    def live() -> Explorer:
        return Explorer.live(Small(), images(4), normalise=data.normalise)

    for make in (live, lambda: compare(live(), live()), lambda: compare(Explorer(recording), recording)):
        shown = make().move(channel=2, image=1)
        assert eval(shown.code(), {"explorer": make()}).position == shown.position


def test_nothing_in_common(recording: Recording) -> None:
    other = seal(fill(builder(model="other"), "gradients", "conv", (4, 1, 3, 3)))
    with pytest.raises(ExplorerError, match="small has maps; other has gradients"):
        compare(Explorer(recording), Explorer(other, kind="gradients"))
    with pytest.raises(ExplorerError, match="at least two"):
        compare(recording)
    with pytest.raises(ExplorerError, match="as many names"):
        compare(recording, recording, names=["a"])


# Live


class Small(nn.Module):
    """A convolution, a batch norm, an activation, a head."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        self.head = nn.Linear(channels, 3)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_live_shows_what_the_model_computes() -> None:
    model = Small()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act", scale="channel", view="single")
    model.eval()
    with torch.no_grad():
        x = (images(20)[13:14] / 255 - 0.2860) / 0.3530
        expected = model.act(model.norm(model.conv(x)))[0, 2]
    pixels = explorer.pixels(image=13, channel=2)
    levels = torch.round(expected / expected.max() * 254).int()
    shown = pixels[7::14, 7::14, :3]
    near = [PALETTES["sequential"][(levels + shift).clamp(0, 254)] for shift in (-1, 0, 1)]
    assert np.any([(shown == table).all(axis=2) for table in near], axis=0).all()


def test_live_leaves_the_model_as_it_was_and_computes_once() -> None:
    model = Small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    explorer.html()
    calls = model.calls
    for _ in range(3):
        explorer.html()
        explorer.move(channel=3).pixels()
    assert model.calls == calls
    assert model.training and all((value == before[name]).all() for name, value in model.state_dict().items())
    assert (torch.random.get_rng_state() == random_state).all()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def train(model: nn.Module, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD, **options: Any) -> None:
    model(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer(model.parameters(), lr=0.1, **options).step()


def load(model: nn.Module) -> None:
    model.load_state_dict(Small().state_dict())


def replace(parameter: torch.Tensor) -> None:
    parameter.data = parameter.data.flip(0)


CHANGES: dict[str, Callable[[Any], object]] = {
    "sgd": train,
    "fused AdamW": lambda model: train(model, torch.optim.AdamW, fused=True),
    "foreach SGD": lambda model: train(model, foreach=True),
    "load_state_dict": load,
    "data.mul_": lambda model: model.conv.weight.data.mul_(2),
    "data.mul_ by -1": lambda model: model.conv.weight.data.mul_(-1),
    "data =": lambda model: replace(model.conv.weight),
    "numpy": lambda model: model.conv.weight.detach().numpy().fill(0.5),
    "two channels exchanged": lambda model: model.conv.weight.data.copy_(model.conv.weight.data[[1, 0, 2, 3, 4, 5]]),
    "another parameter": lambda model: setattr(model.conv, "weight", nn.Parameter(torch.rand(6, 1, 3, 3))),
    "another module": lambda model: setattr(model, "conv", nn.Conv2d(1, 6, 3, padding=1)),
    "running mean": lambda model: model.norm.running_mean.add_(1),
    "running variance, a new one": lambda model: model.norm.register_buffer("running_var", torch.full((6,), 4.0)),
    "a forward pass in training mode": lambda model: model.train()(torch.rand(4, 1, 28, 28)),
}


def maps_of(explorer: Explorer, image: int) -> bytes:
    answer = explorer._answer(image)
    assert answer is not None
    return json.dumps(answer["panels"][0]).encode() + explorer.pixels(image=image).tobytes() + str(explorer).encode()


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_live_answers_with_the_weights_the_model_has(change: Callable[[Any], object]) -> None:
    """As an explorer that is made after the change, whatever was computed before it; and back again."""
    model = Small()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    twin = compare(explorer, explorer, names=["a", "b"])
    before = [maps_of(explorer, image) for image in (0, 15)]
    state = copy.deepcopy(model)
    change(model)
    fresh = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    after = [maps_of(explorer, image) for image in (0, 15)]
    assert after == [maps_of(fresh, image) for image in (0, 15)]
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert (twin.pixels(panel=1) == fresh.pixels()).all()
    assert bundle_of(explorer)["panels"] == bundle_of(fresh)["panels"]
    model.__dict__.update(state.__dict__)
    assert [maps_of(explorer, image) for image in (0, 15)] == before
    assert (twin.pixels(panel=1) == explorer.pixels(image=0)).all()


RECEIVE = """
const bundle = BUNDLE;
const player = Object.create(Player.prototype);
Object.assign(player, { bundle, draw() {} });
const [panel] = bundle.panels;
await loadInputs(panel);
await player.load.call({ layersHere: () => [panel.layers.maps.act], ready: player.ready });
const held = [];
for (const answer of ANSWERS) {
  await player.receive(answer);
  const { pictures } = panel.layers.maps.act;
  held.push([Object.keys(pictures).map(Number), Object.keys(panel.guesses[0]).map(Number)]);
}
console.log(JSON.stringify(held));
"""


def test_a_page_forgets_what_other_weights_gave() -> None:
    """Its eight ready images too: they are asked for again."""
    if shutil.which("node") is None:
        pytest.skip("the page's memory was not looked at: no node")
    model = Small()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    bundle = bundle_of(explorer)
    answers = [explorer._answer(15), explorer._answer(12)]
    train(model)
    answers += [explorer._answer(16), explorer._answer(3)]
    text = RECEIVE.replace("BUNDLE", json.dumps(bundle)).replace("ANSWERS", json.dumps(answers))
    module = script().replace("export default", "const exported =") + text
    done = subprocess.run(
        ["node", "--input-type=module", "-"], input=module, capture_output=True, text=True, check=True
    )
    ready = list(range(8))
    expected = [[*ready, 15], [*ready, 12, 15], [16], [3, 16]]
    assert json.loads(done.stdout) == [[held, held] for held in expected]


def test_live_runs_a_model_once_for_weights_that_stay() -> None:
    """Reading, evaluating, a gradient, another device's copy, and loading or writing the same numbers again."""
    model = Small().eval()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    explorer.html()
    explorer._answer(15)
    model(torch.rand(4, 1, 28, 28)).sum().backward()
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    model.conv.weight.data = model.conv.weight.data.clone()
    model.conv.weight.data.mul_(2).div_(2)
    model.requires_grad_(False).train()
    calls = model.calls
    explorer.html()
    explorer._answer(15)
    explorer.pixels(image=3)
    assert model.calls == calls


def test_live_refuses_a_model_that_gives_out_other_shapes_now() -> None:
    model = Small()
    explorer = Explorer.live(model, images(20), normalise=data.normalise, layer="act")
    model.__dict__.update(Small(9).__dict__)
    with pytest.raises(ExplorerError, match="make a new explorer"):
        explorer.pixels()


def test_live_answers_a_page() -> None:
    explorer = Explorer.live(
        Small(), images(20), normalise=data.normalise, layer="act", labels=[1] * 20, classes=CLASSES
    )
    answer = explorer._answer(15)
    assert answer is not None and answer["image"] == 15 and set(answer["panels"][0]["layers"]) == {"act"}
    assert explorer._answer(20) is None
    json.dumps(answer)
    assert bundle_of(explorer)["panels"][0]["ready"] == 8


def test_a_recording_has_no_further_images(recording: Recording) -> None:
    assert Explorer(recording, images=[0])._answer(1) is None


def test_live_keeps_a_bounded_number_of_images() -> None:
    explorer = Explorer.live(Small(), images(200), normalise=data.normalise, layer="act")
    for image in range(200):
        explorer._answer(image)
    assert len(explorer.panels[0]._latest) <= 72


@pytest.mark.parametrize("picture", [images(1)[0], images(1)[0, 0], images(1)[0, 0].float() / 255])
def test_ones_own_picture(picture: torch.Tensor) -> None:
    assert Explorer.live(Small(), picture, normalise=data.normalise, layer="act").position["image"] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda bytes_: bytes_.numpy(),
        lambda bytes_: bytes_.numpy()[::-1].copy()[::-1],
        lambda bytes_: list(bytes_),
        lambda bytes_: [picture[0] for picture in bytes_],
        lambda bytes_: [picture.numpy() for picture in bytes_],
        lambda bytes_: tuple(picture.numpy()[0] for picture in bytes_),
        lambda bytes_: bytes_.tolist(),
        lambda bytes_: bytes_.long(),
        lambda bytes_: bytes_.numpy().astype(np.int32),
        lambda bytes_: data.normalise(bytes_),
        lambda bytes_: data.normalise(bytes_).double().numpy(),
        lambda bytes_: data.normalise(bytes_).requires_grad_(),
    ],
)
def test_images_of_any_make(make: Callable[[torch.Tensor], Any]) -> None:
    model = Small()
    expected = Explorer.live(model, images(3), normalise=data.normalise, image=2)
    assert (
        Explorer.live(model, make(images(3)), normalise=data.normalise, image=2).pixels() == expected.pixels()
    ).all()


class Tokens(nn.Module):
    """A transformer's way: a convolution cuts patches, and then there are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 7, stride=7)
        self.mix = nn.Linear(8, 8)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.mix(self.patches(x).flatten(2).transpose(1, 2))).mean(1)


def lenet() -> nn.Module:
    body = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(864, 20), nn.ReLU(), nn.Linear(20, 3))


MLP = (nn.Flatten(), nn.Linear(784, 9), nn.ReLU(), nn.Linear(9, 3))
STRANGERS: dict[str, Callable[[], nn.Module]] = {
    "small": Small,
    "lenet": lenet,
    "mlp": lambda: nn.Sequential(*MLP),
    "tokens": Tokens,
    "no activation": lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten()),
    "nothing": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3)),
    "uncalled": lambda: nn.Sequential(nn.Conv2d(1, 3, 28), nn.ReLU(), nn.Flatten(), nn.Identity(), Idle()),
}


class Idle(nn.Module):
    """Has an activation that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("make", STRANGERS.values(), ids=list(STRANGERS))
def test_live_shows_and_skips_what_a_recorder_does(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    pictures = data.normalise(images(1))
    recorder = Recorder(model, probe=Probe(pictures, torch.zeros(1, dtype=torch.int64)))
    recorder.snapshot(0)
    recorded = recorder.recording()
    names = default_layers(model, [pictures])
    if not recorded.layers["maps"]:
        with pytest.raises(ExplorerError, match=f"no picture to show of {names[0]}: " if names else "no activation"):
            Explorer.live(model, pictures)
        return
    (panel,) = Explorer.live(model, pictures).panels
    assert panel.layers["maps"] == list(recorded.layers["maps"])
    assert panel.skipped == {layer: reason for layer, reason in recorded.skipped.items() if layer in names}
    for layer in panel.layers["maps"]:
        assert (panel.tiles("maps", layer, 0).codes == recorded.tiles("maps", layer, 0).codes).all()
    for layer in panel.skipped:
        with pytest.raises(ExplorerError, match=f"no picture to show of {layer}: "):
            Explorer.live(model, pictures, layer=layer)
        with pytest.raises(ExplorerError, match=f"no picture to show of {layer}: "):
            Explorer.live(model, pictures, layers=[*panel.layers["maps"], layer])


@pytest.mark.parametrize(
    "broken",
    [RuntimeError("sizes differ"), IndexError(), KeyError("x"), ZeroDivisionError("zero"), NotRecordable("none")],
)
def test_what_a_model_raises_is_one_error(broken: Exception) -> None:
    class Broken(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise broken

    with pytest.raises(ExplorerError, match=r"none|Broken failed on images of shape \(1, 1, 28, 28\): "):
        Explorer.live(Broken(), images(4), normalise=data.normalise)


@pytest.mark.parametrize("model", [nn.Sequential(nn.LazyConv2d(3, 3), nn.ReLU()), "resnet18", None])
def test_live_refuses_what_is_no_model(model: Any) -> None:
    with pytest.raises(ExplorerError, match=r"lazy modules|is no nn\.Module"):
        Explorer.live(model, images(4), normalise=data.normalise)


def test_live_has_the_tiles_that_a_panel_has() -> None:
    (panel,) = Explorer.live(Small(), images(12), normalise=data.normalise).panels
    assert panel.tiles("maps", "act", 0).codes.shape == (8, 6, 28, 28)
    for image in range(8):
        assert (panel.column("maps", "act", image).codes[0] == panel.tiles("maps", "act", 0).codes[image]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "act9"}, "choose one of conv, norm, act, head"),
        ({"layer": "head"}, "is no picture"),
        ({"layer": "act", "image": 4}, "0, 1, 2, 3"),
        ({"layer": "act", "channel": 6}, "0, 1, 2, 3, 4, 5"),
    ],
)
def test_live_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExplorerError, match=message):
        Explorer.live(Small(), images(4), normalise=data.normalise, **options)


def test_live_refuses_what_is_no_image() -> None:
    ragged = [torch.zeros(1, 28, 28), torch.zeros(1, 27, 28)]
    for bad in (
        torch.zeros(0, 1, 28, 28), torch.zeros(3), [1, 2, 3], [], None, "photo.png", {"image": 1}, ragged,
        [picture.numpy() for picture in ragged], torch.zeros(1, 1, 28, 28, dtype=torch.complex64),
    ):  # fmt: skip
        with pytest.raises(ExplorerError, match=r"images must be (a tensor, an array or a list|of one size)"):
            Explorer.live(Small(), bad, layer="act")
    with pytest.raises(ExplorerError, match="beyond 0 to 255"):
        Explorer.live(Small(), torch.full((1, 1, 28, 28), 256), normalise=data.normalise)


def test_live_comparison() -> None:
    both = compare(
        Explorer.live(Small(), images(12), normalise=data.normalise, layer="act"),
        Explorer.live(Small(3), images(12), normalise=data.normalise, layer="act"),
        image=10,
    )
    answer = both._answer(11)
    assert answer is not None and len(answer["panels"]) == 2
    assert both.pixels(panel=1).shape[2] == 4


# Size and memory


def large(layers: int, channels: int, *, epochs: int, images: int = 3) -> Recording:
    made = builder(tuple(range(epochs)))
    for layer in range(layers):
        fill(made, "maps", f"act{layer}", (images, channels, 28, 28), seed=layer)
    return seal(made)


def test_eleven_epochs_of_five_layers_take_two_megabytes() -> None:
    made = builder(tuple(range(11)))
    for layer, side in enumerate((28, 28, 14, 7, 4)):
        fill(made, "maps", f"act{layer}", (3, 64, side, side), seed=layer)
    explorer = Explorer(seal(made))
    assert len(explorer.html()) < 2_000_000
    assert bundle_of(explorer)["panels"][0]["ready"] >= 1


def test_too_much_is_refused_with_what_to_drop() -> None:
    recording = large(3, 64, epochs=60)
    with pytest.raises(ExplorerError, match=r"a page holds 20 MB: name fewer `layers`, .*maps of act0 \(\d"):
        Explorer(recording, images=[0, 1, 2])
    assert Explorer(recording, layers=["act1"], images=[0]).position["layer"] == "act1"


@pytest.fixture(scope="module")
def long_training() -> Recording:
    """More epochs of one layer and image than a page holds: 50 KB of noise each."""
    made, noise = builder(tuple(range(600))), np.random.default_rng(0).random((1, 64, 29, 28))
    made.store("inputs", noise[:, :1, :8, :8])
    for epoch in range(600):
        made.keep("maps", "act0", epoch, np.roll(noise, 37 * epoch, axis=-2)[..., :28, :])
    return seal(made)


def test_a_long_training_opens_with_as_many_epochs_as_fit(long_training: Recording) -> None:
    explorer = Explorer(long_training, epoch=301)
    (panel,) = explorer.panels
    assert {0, 301, 599} <= set(panel.epochs) and 270 < len(panel.epochs) < 280  # 14 MB of them
    assert np.diff(panel.epochs).max() <= 3
    page = explorer.html()
    assert len(page) < 20_000_000 and f"{len(panel.epochs)} of the 600 recorded epochs are here; epochs= " in page
    assert explorer.position["epoch"] == 301
    shown = panel.tiles("maps", "act0", 301)
    assert np.array_equal(shown.codes, long_training.tiles("maps", "act0", 301).codes)
    both = compare(long_training, long_training, names=["a", "b"])
    assert [len(panel.epochs) for panel in both.panels] == [len(Explorer(long_training).panels[0].epochs) // 2] * 2
    both.html()


def test_epochs_that_are_chosen(long_training: Recording) -> None:
    explorer = Explorer(long_training, epochs=np.arange(0, 600, 60))
    assert explorer.panels[0].epochs == list(range(0, 600, 60))
    with pytest.raises(ExplorerError, match="no epoch 600"):
        Explorer(long_training, epochs=[0, 600])
    with pytest.raises(ExplorerError, match="choose from 0 to 599"):
        Explorer(long_training, epochs=[])
    with pytest.raises(ExplorerError, match="or `epochs`, such as"):
        Explorer(long_training, epochs=range(600))
    assert "recorded epochs" not in Explorer(large(1, 4, epochs=3)).html()


def test_the_limit_is_where_it_says() -> None:
    explorer = Explorer(large(1, 4, epochs=2))
    size = explorer.panels[0].stored_bytes("maps", "act0") * 4 / 3
    check_size(explorer.panels, limit=int(size) + 1)
    with pytest.raises(ExplorerError):
        check_size(explorer.panels, limit=int(size) - 1)


def test_memory_does_not_grow(recording: Recording) -> None:
    explorer = Explorer(recording)

    def use(displays: int, moves: int) -> int:
        for _ in range(displays):
            explorer._repr_mimebundle_()
        for move in range(moves):
            explorer.widget.position = {**explorer.widget.position, "epoch": move % 4, "channel": move % 6}
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    use(2, 10)
    tracemalloc.start()
    before = use(2, 10)
    grown = use(100, 1000) - before
    tracemalloc.stop()
    assert grown < 200_000, f"{grown} bytes"


def test_a_cell_run_again_leaves_next_to_nothing(recording: Recording) -> None:
    """ipywidgets keeps every widget, and IPython every result: neither may hold the pictures."""
    kept = []
    tracemalloc.start()
    for _ in range(20):
        explorer = Explorer(recording)
        explorer._connect()
        explorer.html()
        kept.append(explorer)
    gc.collect()
    each = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert each < 100_000, f"{each} bytes, and the page has {len(explorer.html())}"
    assert len(json.dumps(explorer._connect().get_state(), default=str)) < 60_000


def test_which_of_several_outputs_is_believed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Linear(2, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = self.act(self.conv(x)).mean((2, 3))
            return features, self.head(features)

    model, image = Two().eval(), torch.randn(1, 1, 8, 8)
    expected = model(image)[1].softmax(1)
    best = int(expected.argmax())
    for options, name in (({"output": 1}, f"class {best}"), ({"classes": list("abcd")}, "abcd"[best])):
        guess = Explorer.live(model, image, **options).panels[0].guesses()[0][0]
        assert guess == (name, pytest.approx(expected.max().item(), abs=1e-3))
    with pytest.raises(ExplorerError, match=r"say which are the scores with output="):
        Explorer.live(model, image)


def test_what_a_cell_showed_and_nobody_holds_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata=None: None)
    explorer = Explorer.live(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), torch.randn(1, 1, 8, 8))
    explorer._ipython_display_()
    wire = weakref.ref(explorer.widget)
    del explorer
    gc.collect()
    assert wire() is not None
    core.SHOWN.clear()
    gc.collect()
    assert wire() is None
