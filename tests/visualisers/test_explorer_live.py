"""Comparisons, maps computed on demand, and what a page or a kernel has to carry."""

import gc
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from sketches import CLASSES, builder, bundle_of, fill, seal, small_recording
from torch import nn

from fmnist_lib import data
from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare
from fmnist_lib.visualisers.explorer.bundle import check_size
from fmnist_lib.visualisers.explorer.palette import PALETTES
from fmnist_lib.visualisers.explorer.position import nearest, relative
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


def test_code_of_a_comparison(recording: Recording) -> None:
    both = compare(recording, recording, kind="kernels", layer="conv2", names=["a", "b"])
    again = eval(both.code(), {"compare": compare, "a": recording, "b": recording})
    assert again.position == both.position and str(again) == str(both)


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
    for bad in (torch.zeros(0, 1, 28, 28), torch.zeros(3), [1, 2, 3]):
        with pytest.raises(ExplorerError, match="images must be a tensor"):
            Explorer.live(Small(), bad, layer="act")


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
    with pytest.raises(ExplorerError, match=r"a page holds 20 MB: name fewer `layers`.*maps of act0 \(\d"):
        Explorer(recording, images=[0, 1, 2])
    assert Explorer(recording, layers=["act1"], images=[0]).position["layer"] == "act1"


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
