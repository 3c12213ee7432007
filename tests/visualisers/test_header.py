"""Headers and members as strangers may write them: each is an error, and none reaches a page or a path."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sketches import small_recording

from fmnist_lib.visualisers.recording import Recording, RecordingError

SCRIPT = '"><img src=x onerror=alert(1)>'


def repack(path: Path, change: Any = None, members: dict[str, np.ndarray] | None = None) -> Path:
    """A good recording with another header, or with some other arrays, and right checksums."""
    source = zipfile.ZipFile(io.BytesIO(small_recording()._content))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == "header.json" and change:
                header = json.loads(content)
                change(header)
                content = json.dumps(header).encode()
            if name in (members or {}):
                buffer = io.BytesIO()
                np.save(buffer, members[name])
                content = buffer.getvalue()
            archive.writestr(name, content)
    return path


def put(*keys: Any, value: Any) -> Any:
    """A change of one value deep in a header."""

    def change(header: dict) -> None:
        *way, last = keys
        for key in way:
            header = header[key]
        header[last] = value

    return change


HEADERS = {
    "a script as a channel": put("layers", "maps", "act1", "channels", value=[SCRIPT]),
    "a script as an input": put("layers", "kernels", "conv1", "inputs", value=[SCRIPT]),
    "a channel that is not there": put("layers", "maps", "act1", "channels", value=[99]),
    "a negative channel": put("layers", "maps", "act1", "channels", value=[-1]),
    "a shape of text": put("layers", "maps", "act1", "shape", value=["3", 6, 8, 8]),
    "a shape without an end": put("layers", "maps", "act1", "shape", value=[3, 6, 8, 10**30]),
    "a layer of nothing": put("layers", "maps", "act1", value=None),
    "a layer more": put("layers", "maps", "act1", "more", value=1),
    "another kind": put("layers", "sounds", value={}),
    "no layers": put("layers", value=[]),
    "a path as an epoch": put("epochs", 0, value="../../../X"),
    "an epoch twice": put("epochs", 0, value=1),
    "a huge epoch": put("epochs", 0, value=10**30),
    "an endless epoch": put("epochs", 0, value=float("inf")),
    "an epoch that is none": put("epochs", 0, value=float("nan")),
    "no epochs": put("epochs", value=None),
    "about of text": put("about", value="text"),
    "stats of text": put("stats", value=["text"]),
    "stats without a layer": put("stats", value=[{"epoch": 0}]),
    "stats with a script": put("stats", value=[{"layer": "act1", "epoch": 0, "dead": [SCRIPT]}]),
    "half a histogram": put("stats", value=[{"layer": "act1", "epoch": 0, "histogram": [1, 2]}]),
    "a number without an end": put("stats", value=[{"layer": "act1", "epoch": 0, "mean": 10**400}]),
    "skipped without words": put("skipped", value={"a": 1}),
    "skipped in a list": put("skipped", value=[]),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match="is damaged"):
        Recording.load(repack(tmp_path / "recording.npz", HEADERS[name]))


MEMBERS = {
    "floats": np.zeros((3, 6, 8, 8), np.float32),
    "another shape": np.zeros((3, 6, 8, 9), np.uint8),
    "fewer channels": np.zeros((3, 5, 8, 8), np.uint8),
    "flat": np.zeros(10, np.uint8),
    "nothing": np.zeros((3, 6, 8, 0), np.uint8),
    "text": np.array(["a"]),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_codes_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    path = repack(tmp_path / "recording.npz", members={"maps/act1/1/codes.npy": MEMBERS[name]})
    with pytest.raises(RecordingError, match="is damaged"):
        Recording.load(path).values("maps", "act1", 1)


def test_an_array_that_says_it_is_longer_than_it_is(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (10**12,)})
    path = repack(tmp_path / "recording.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("scores/9.npy", member.getvalue())
    recording = Recording.load(path)
    with pytest.raises(RecordingError, match="not as long as it says"):
        recording._read("scores/9")


@pytest.mark.parametrize("parts", [1, 3])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, parts: int) -> None:
    path = repack(tmp_path / "recording.npz")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for part in range(parts):
            archive.writestr(f"scores/{part + 9}.npy", bytes((60 if parts == 1 else 25) * 2**20))
    with pytest.raises(RecordingError, match="would unpack to more than 20 times its size"):
        Recording.load(path)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recording.npz")
    with pytest.raises(RecordingError, match="a pipe or a device"):
        Recording.load(tmp_path / "recording.npz")


@pytest.mark.parametrize("labels", [SCRIPT, ["a", None, {}], [99, -1, 0], {"0": 1}])
@pytest.mark.parametrize("classes", [[], {"0": "zero"}, "text", 7, [SCRIPT] * 3])
def test_odd_labels_and_classes_are_text_at_most(tmp_path: Path, labels: Any, classes: Any) -> None:
    from fmnist_lib.visualisers.explorer import Explorer

    def change(header: dict) -> None:
        header["about"] = {"model": SCRIPT, "labels": labels, "classes": classes}

    page = Explorer(Recording.load(repack(tmp_path / "recording.npz", change)), kind="maps").html()
    assert "<img src=x" not in page
