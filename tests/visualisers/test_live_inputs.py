"""What `Explorer.live` takes: pictures in any form, signals, words; and what it says of mistakes."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from zoo import Words

from fmnist_lib.visualisers.explorer import Explorer, ExplorerError
from fmnist_lib.visualisers.explorer.live import LivePanel


def take(model: nn.Module, given: Any, **options: Any) -> np.ndarray:
    """What the model is shown of what it is given."""
    (panel,) = Explorer.live(model, given, **options).panels
    assert isinstance(panel, LivePanel)
    return panel.batch.numpy()


def convolve(*channels: int, kind: Callable[..., nn.Module] = nn.Conv2d) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(kind(*channels, 3, padding=1), nn.ReLU())


def as_floats(batch: torch.Tensor) -> torch.Tensor:
    assert batch.dtype == torch.uint8 and batch.ndim == 4
    return batch / 255


COLOURS = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)  # (N, H, W, C)
PICTURES: dict[str, Any] = {
    "NHWC": COLOURS,
    "NCHW": COLOURS.transpose(0, 3, 1, 2),
    "tensor NHWC": torch.tensor(COLOURS),
    "list of HWC": list(COLOURS),
    "list of CHW tensors": [torch.tensor(picture).permute(2, 0, 1) for picture in COLOURS],
    "PIL": [Image.fromarray(picture) for picture in COLOURS],
    "PIL with opacity": [Image.fromarray(picture).convert("RGBA") for picture in COLOURS],
}


@pytest.mark.parametrize("form", PICTURES)
def test_live_takes_colour_pictures_in_any_form(form: str) -> None:
    expected = COLOURS.transpose(0, 3, 1, 2).astype(np.float32) / 255
    model = convolve(3, 4)
    assert np.allclose(take(model, PICTURES[form], normalise=as_floats), expected)
    assert np.allclose(take(model, PICTURES[form][1], normalise=as_floats), expected[1:2])  # one of them
    explorer = Explorer.live(model, PICTURES[form], normalise=as_floats)
    shown = explorer.panels[0].column("maps", "1", 2).decode()[0]
    assert np.allclose(shown, model(torch.tensor(expected[2:]))[0].detach().numpy(), atol=0.01)
    assert explorer.panels[0].pictures().shape == (3, 6, 5, 3)


def test_live_takes_grey_pictures_in_any_form() -> None:
    grey = COLOURS[..., 0]
    expected = grey[:, None].astype(np.float32) / 255
    for given in (grey, grey[..., None], grey[:, None], list(grey), [Image.fromarray(picture) for picture in grey]):
        assert np.allclose(take(convolve(1, 4), given, normalise=as_floats), expected)
        assert np.allclose(take(convolve(1, 4), given[0], normalise=as_floats), expected[:1])
    photo = Image.fromarray(COLOURS[0])
    assert np.allclose(take(convolve(1, 2), photo, normalise=as_floats)[0, 0], np.asarray(photo.convert("L")) / 255)


def test_live_takes_signals_and_words() -> None:
    signals, model = np.random.default_rng(0).normal(size=(3, 2, 9)), convolve(2, 4, kind=nn.Conv1d)
    for given in (signals, signals.transpose(0, 2, 1), list(signals), torch.tensor(signals)):
        assert np.allclose(take(model, given), signals)
    assert np.allclose(take(model, signals[0]), signals[:1])
    assert np.allclose(take(convolve(1, 4, kind=nn.Conv1d), signals[:, 0]), signals[:, :1])
    explorer = Explorer.live(model, signals)
    expected = model(torch.tensor(signals).float())[1].detach().numpy()
    assert np.allclose(explorer.panels[0].column("maps", "1", 1).decode()[0, :, 0], expected, atol=0.02)
    assert explorer.panels[0].pictures().shape == (3, 2, 9, 1) or explorer.panels[0].pictures().shape == (3, 1, 9, 1)
    assert explorer.html()
    words = torch.randint(9, (3, 7))
    for sentence in (words, words.numpy(), words.tolist()):
        assert (take(Words(), sentence) == words.numpy()).all()
    assert (take(Words(), words[0]) == words[:1].numpy()).all() and Explorer.live(Words(), words).html()


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "bytes": (COLOURS, {}, "images are bytes.*normalise="),
    "no function": (COLOURS, {"normalise": True}, "images are bytes.*normalise="),
    "sizes": ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], {}, r"of one size, not \(4, 4, 3\), \(5, 4, 3\)"),
    "channels": (torch.zeros(1, 2, 8, 8), {}, r"failed on images of shape \(1, 2, 8, 8\).*3 channels"),
    "axes": (torch.zeros(1, 1, 3, 8, 8), {}, "images must be"),
    "path": ("photo.png", {}, "images must be"),
    "labels": (torch.zeros(1, 3, 8, 8), {"labels": ["cat"]}, "labels must be whole numbers"),
    "too many labels": (torch.zeros(1, 3, 8, 8), {"labels": [0, 1]}, "2 labels for 1 image:"),
    "unnamed": (torch.zeros(1, 3, 8, 8), {"labels": [2], "classes": ["a"]}, "labels from 2 to 2, and 1 classes"),
    "classes": (torch.zeros(1, 3, 8, 8), {"classes": 4}, "classes=4: give the names"),
    "layer": (torch.zeros(1, 3, 8, 8), {"layer": "conv"}, "unknown layer 'conv'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_live_says_what_was_wrong(name: str) -> None:
    given, options, message = MISTAKES[name]
    with pytest.raises(ExplorerError, match=message) as raised:
        Explorer.live(convolve(3, 4), given, **options)
    assert "\n" not in str(raised.value)


def test_live_takes_classes_by_number() -> None:
    explorer = Explorer.live(
        convolve(3, 4), torch.zeros(2, 3, 8, 8), labels=torch.tensor([1, 0]), classes={0: "a", 1: "b"}
    )
    assert explorer.panels[0].image_names() == ["b", "a"]


@pytest.mark.parametrize("box", [ipywidgets.VBox, ipywidgets.Tab])
def test_a_box_takes_the_widget_and_its_error_says_so(box: Callable[..., Any]) -> None:
    explorer = Explorer.live(convolve(3, 4), torch.zeros(2, 3, 8, 8))
    with pytest.raises(Exception, match=r"use explorer\.widget"):
        box([explorer])
    assert box([explorer.widget]).children == (explorer.widget,)
