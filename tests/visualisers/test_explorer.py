"""The explorer without a browser: what is displayed, where the sliders stand, what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sketches import CLASSES, builder, bundle_of, seal, small_recording

from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare
from fmnist_lib.visualisers.explorer.core import WIDGET_VIEW
from fmnist_lib.visualisers.recording import Recording


@pytest.fixture
def recording() -> Recording:
    return small_recording()


# What is displayed


def test_display_bundle_has_a_form_for_every_place(recording: Recording) -> None:
    explorer = Explorer(recording)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {WIDGET_VIEW, "text/html", "image/png", "text/plain"}
    assert bundle[WIDGET_VIEW]["model_id"] == explorer.widget.model_id
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == str(Explorer(recording)), "not deterministic"


def test_a_notebook_stores_no_widget_view(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    Explorer(recording)._ipython_display_()
    assert [set(data) for data in shown] == [{"text/html", "image/png", "text/plain"}]


def test_the_page_asks_for_nothing_but_itself(recording: Recording) -> None:
    page = Explorer(recording, kind=["maps", "kernels", "cams"], caption="x").html()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", page)
    addresses = set(re.findall(r"\bhttps?://[^\s\"'<]+", page))
    assert not addresses


def test_text_cannot_break_out_of_the_page(recording: Recording) -> None:
    page = Explorer(recording, caption="特征图 </script><script>alert(1)</script>").html()
    assert "alert(1)</script>" not in page
    assert "特征图 &lt;/script&gt;" in page
    assert bundle_of(Explorer(recording))["panels"][0]["names"][2] == CLASSES[2]


def test_text_says_what_is_in_sight() -> None:
    made = builder((0,))
    maps = np.ones((3, 4, 5, 5), np.float32)
    maps[:, 1] = 0
    maps[0, 2, 0, 0], maps[0, 2, 0, 1] = np.nan, np.inf
    made.keep("maps", "act", 0, maps)
    text = str(Explorer(seal(made)))
    assert "1 of 4 channels dead" in text
    assert "2 values not finite" in text


# State


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "kernels", "layer": "conv2", "channel": 99, "image": 5, "scale": "channel"},
        {"kind": ["maps", "kernels"], "epoch": 1, "view": "single", "layers": ["act1", "conv1"], "images": [2, 0]},
    ],
)
def test_code_brings_the_state_back(recording: Recording, options: dict[str, Any]) -> None:
    explorer = Explorer(recording, **options).move(epoch=2)
    again = eval(explorer.code(), {"Explorer": Explorer, "recording": recording})
    assert again.position == explorer.position
    assert (again.pixels() == explorer.pixels()).all()
    assert str(again) == str(explorer)


def test_code_of_another_kind_opens_with_that_kind(recording: Recording) -> None:
    explorer = Explorer(recording, kind=["maps", "kernels"]).move(kind="kernels", layer="conv2")
    again = eval(explorer.code(), {"Explorer": Explorer, "recording": recording})
    assert again.position == explorer.position


def test_code_names_the_file(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "run.npz")
    again = eval(Explorer(tmp_path / "run.npz").code(), {"Explorer": Explorer})
    assert again.position == Explorer(recording).position


def test_starts_at_the_last_epoch(recording: Recording) -> None:
    assert Explorer(recording).position["epoch"] == 5


def test_a_page_moves_python_and_python_moves_a_page(recording: Recording) -> None:
    explorer = Explorer(recording)
    wire = explorer.widget
    wire.position = {**wire.position, "layer": 1, "epoch": 0, "channel": 63, "image": 2, "scale": "epoch"}
    assert explorer.position == {
        "kind": "maps", "layer": "act2", "epoch": 0, "channel": 99, "image": 2, "scale": "epoch", "view": "sheet",
    }  # fmt: skip
    explorer.move(layer="act1", epoch=5)
    assert (wire.position["layer"], wire.position["epoch"], wire.position["channel"]) == (0, 3, 0)


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({"kind": "fibres"}, "kernels, gradients, maps"),
        ({"kind": "gradients"}, "kernels, maps, cams"),
        ({"layer": "conv9"}, "act1, act2"),
        ({"layers": ["act1", "conv9"]}, "act1, act2"),
        ({"layers": []}, "act1, act2"),
        ({"epoch": 3}, "0, 1, 2, 5"),
        ({"channel": 6}, "0, 1, 2, 3, 4, 5"),
        ({"image": 3}, "0, 1, 2"),
        ({"images": [3]}, "0, 1, 2"),
        ({"images": []}, "0 to 2"),
        ({"kind": "kernels", "layer": "conv2", "image": 7}, "0, 2, 3, 5"),
        ({"scale": "log"}, "shared, epoch, channel"),
        ({"view": "film"}, "sheet, single"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    recording: Recording, options: dict[str, Any], listed: str
) -> None:
    with pytest.raises(ExplorerError, match=listed):
        Explorer(recording, **options)


def test_what_is_no_recording_and_no_slider(recording: Recording) -> None:
    with pytest.raises(ExplorerError, match="needs a Recording or the path of one, not ndarray"):
        Explorer(np.zeros(3))
    with pytest.raises(ExplorerError, match="'depth': choose one of kind, layer, epoch, channel, image, scale, view"):
        compare(recording, recording, depth=3)


def test_a_move_to_nowhere_changes_nothing(recording: Recording) -> None:
    explorer = Explorer(recording)
    before = explorer.position
    with pytest.raises(ExplorerError, match="0, 1, 2, 5"):
        explorer.move(epoch=77)
    assert explorer.position == before
