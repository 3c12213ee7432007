"""The explorer without a browser: what is displayed, where the sliders stand, what is refused."""

import gc
import json
import random
import re
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from sketches import CLASSES, builder, bundle_of, fill, seal, small_recording

from fmnist_lib.visualisers.explorer import Explorer, ExplorerError, compare
from fmnist_lib.visualisers.explorer.core import WIDGET_VIEW
from fmnist_lib.visualisers.explorer.page import script
from fmnist_lib.visualisers.recording import KINDS, Recording


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
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata=None: shown.append(data))
    Explorer(recording)._ipython_display_()
    assert [set(data) for data in shown] == [{"image/png", "text/plain"}, {"text/html", "text/plain"}]


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
@pytest.mark.parametrize("is_file", [True, False])
def test_code_brings_the_state_back(
    recording: Recording, options: dict[str, Any], is_file: bool, tmp_path: Path
) -> None:
    """A file by its path, an object, whose name in the notebook nobody knows, by moving the explorer."""
    recording.save(tmp_path / "run.npz")
    source = tmp_path / "run.npz" if is_file else recording
    explorer = Explorer(source, **options).move(epoch=2)
    names = {"Explorer": Explorer} if is_file else {"explorer": Explorer(source, **options)}
    again = eval(explorer.code(), names)
    assert again.position == explorer.position
    assert (again.pixels() == explorer.pixels()).all()
    assert str(again) == str(explorer)


@pytest.mark.parametrize("is_file", [True, False])
def test_code_of_another_kind_opens_with_that_kind(recording: Recording, is_file: bool, tmp_path: Path) -> None:
    recording.save(tmp_path / "run.npz")
    source = tmp_path / "run.npz" if is_file else recording
    made = Explorer(source, kind=["maps", "kernels"])
    explorer = Explorer(source, kind=["maps", "kernels"]).move(kind="kernels", layer="conv2")
    again = eval(explorer.code(), {"Explorer": Explorer} if is_file else {"explorer": made})
    assert again.position == explorer.position


def test_a_runs_folder_stands_for_its_recording(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(ExplorerError, match=rf"no recording at {tmp_path}/recording\.npz.* record {tmp_path}`"):
        Explorer(tmp_path)
    recording.save(tmp_path / "recording.npz")
    for source in (tmp_path, str(tmp_path)):
        again = eval(Explorer(source).code(), {"Explorer": Explorer})
        assert again.position == Explorer(recording).position
    assert compare(tmp_path, tmp_path / "recording.npz").position == compare(recording, recording).position


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
    assert (wire.position["layer"], wire.position["epoch"], wire.position["channel"]) == (0, 3, 5)


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


def all_kinds() -> Recording:
    """Layers of every kind, of different numbers, depths and widths; none of a kind's names is in all others."""
    made = builder()
    for kind, widths in {"maps": (6, 100, 9), "map_gradients": (6, 100), "cams": (1, 1, 1, 1)}.items():
        for layer, width in enumerate(widths):
            fill(made, kind, f"act{layer}", (3, width, 2, 2))
    for kind in ("kernels", "gradients"):
        for layer, (width, inputs) in enumerate([(6, 1), (80, 6), (9, 80), (4, 3), (7, 2)]):
            fill(made, kind, f"conv{layer}", (width, inputs, 3, 3))
    return seal(made)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_have_a_scale_for_each_epoch_unless_somebody_says_otherwise(kind: str) -> None:
    default = "epoch" if "gradients" in kind else "shared"
    recording = all_kinds()
    assert Explorer(recording, kind=kind).position["scale"] == default
    assert compare(recording, recording, kind=kind).position["scale"] == default
    assert Explorer(recording, kind=kind, scale="channel").position["scale"] == "channel"
    for other in KINDS:
        explorer = Explorer(recording, kind=[other, kind], scale="channel")
        assert explorer.move(kind=kind).position["scale"] == (default if other != kind else "channel")
        assert explorer.move(kind=other, scale="shared").position["scale"] == "shared"


PLAYER = """
const bundle = BUNDLE;
const player = Object.create(Player.prototype);
Object.assign(player, { bundle, state: { ...bundle.position }, send() {}, draw() {}, layersHere: () => [] });
console.log(JSON.stringify(MOVES.map((move) => { player.move(move); return player.state; })));
"""


def play(explorer: Explorer, moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where the page's own code stands after each move."""
    if shutil.which("node") is None:
        pytest.skip("the page's rule was not compared: no node")
    text = PLAYER.replace("BUNDLE", json.dumps(bundle_of(explorer))).replace("MOVES", json.dumps(moves))
    module = script().replace("export default", "const exported =") + text
    done = subprocess.run(["node", "-"], input=module, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_python_moves_as_the_page_does() -> None:
    """A thousand moves of one or several sliders, told to both, the page's by their places."""
    explorer, generator = Explorer(all_kinds(), kind=list(KINDS)), random.Random(0)
    told, moves, expected = explorer._indexed(), [], []
    page = Explorer(all_kinds(), kind=list(KINDS))
    for _ in range(1000):
        kind = generator.choice([told["kind"], told["kind"], *KINDS])
        choices: dict[str, list[Any]] = {"epoch": explorer._axes.epochs, "view": ["sheet", "single"]}
        if kind == told["kind"]:
            choices |= {"scale": ["shared", "epoch", "channel"], "layer": explorer._axes.layers(kind)}
            step = explorer._axes.step(kind, explorer.position["layer"])
            choices |= {"channel": step.channels, "image": step.images}
        name = generator.choice([*choices, "layer"] if kind == told["kind"] else list(choices))
        index = generator.randrange(len(choices[name]))
        explorer.move(kind=kind, **{name: choices[name][index]})
        moves.append({"kind": kind, name: index if name not in ("view", "scale") else choices[name][index]})
        told = explorer._indexed()
        expected.append(told)
    assert play(page, moves) == expected


def test_an_image_and_a_channel_that_still_exist_are_kept(recording: Recording) -> None:
    explorer = Explorer(recording, channel=4, image=2).move(layer="act2")
    assert (explorer.position["channel"], explorer.position["image"]) == (
        recording.layers["maps"]["act2"]["channels"][4],
        2,
    )
    assert explorer.move(channel=99).move(layer="act1").position["channel"] == 5


def test_a_move_to_nowhere_changes_nothing(recording: Recording) -> None:
    explorer = Explorer(recording)
    before = explorer.position
    with pytest.raises(ExplorerError, match="0, 1, 2, 5"):
        explorer.move(epoch=77)
    assert explorer.position == before


# Lives


@pytest.mark.parametrize("use", ["widget", "_connect", "_repr_mimebundle_", "_ipython_display_", "nothing"])
def test_a_dropped_explorer_goes_with_its_wire(recording: Recording, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata=None: None)
    gc.collect()  # what tests before left
    known = set(ipywidgets.widgets.widget._instances)
    explorer = Explorer(recording)
    if use != "nothing":
        made = getattr(explorer, use)
        made = made() if callable(made) else made
        del made
    ends = [weakref.ref(explorer), *([weakref.ref(explorer._wire)] if explorer._wire else [])]
    gc.collect()
    assert all(end() for end in ends)
    del explorer
    gc.collect()
    assert not any(end() for end in ends)
    assert set(ipywidgets.widgets.widget._instances) <= known


def test_a_box_keeps_the_explorer_whose_widget_it_holds(recording: Recording) -> None:
    box = ipywidgets.VBox([Explorer(recording).widget])
    (wire,) = box.children
    gc.collect()
    explorer = weakref.ref(wire.listener)
    wire.position = {**wire.position, "epoch": 0}
    assert explorer().position["epoch"] == 0
    box.close()
    del box, wire
    gc.collect()
    assert explorer() is None


def test_a_page_opened_again_finds_the_wires(recording: Recording) -> None:
    explorer = Explorer(recording)
    wire = explorer.widget
    state = ipywidgets.Widget.get_manager_state()["state"]
    assert state[wire.model_id]["state"]["key"] == explorer._key
    message = {"content": {"data": {"method": "update", "state": {"position": {**wire.position, "epoch": 1}}}}}
    wire.comm.handle_msg(message)
    assert explorer.position["epoch"] == 1
