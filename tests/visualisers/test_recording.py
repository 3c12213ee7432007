"""Tiles keep what they promise, and a recording's file gives its content or an error."""

import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fmnist_lib.visualisers.recording import (
    FORMAT,
    KINDS,
    MAX_CHANNELS,
    MAX_INPUTS,
    NOT_FINITE,
    Recording,
    RecordingBuilder,
    RecordingError,
    Tiles,
    sample,
)

FLOAT = np.finfo(np.float32)


def draw(seed: int) -> NDArray[np.float32]:
    """Tiles of random size, scale and offset, from subnormal numbers to the largest."""
    generator = np.random.default_rng(seed)
    shape = (*generator.integers(1, 5, size=2), *generator.integers(1, 9, size=2))
    scale, offset = 10.0 ** generator.uniform(-42, 37, size=2) * generator.choice([0, 1, 1], size=2)
    return np.clip(generator.standard_normal(shape) * scale + offset, FLOAT.min, FLOAT.max).astype(np.float32)


@pytest.mark.parametrize("seed", range(60))
def test_a_value_is_off_by_half_a_level_at_most(seed: int) -> None:
    values = draw(seed)
    tiles = Tiles.encode(values)
    low, high = values.min((-2, -1)), values.max((-2, -1))
    assert np.array_equal(tiles.ranges, np.stack([low, high] * 2, -1))
    decoded = tiles.decode().astype(np.float64)
    half = (high.astype(np.float64) - low)[..., None, None] / (NOT_FINITE - 1) / 2
    rounding = np.spacing(np.maximum(np.abs(low), np.abs(high)))[..., None, None] / 2  # float32's own
    assert (np.abs(decoded - values) <= half * (1 + 1e-9) + rounding).all()
    assert np.array_equal(decoded.min((-2, -1)), low)
    assert np.array_equal(decoded.max((-2, -1)), high)


def test_the_largest_range_does_not_overflow() -> None:
    values = np.array([[FLOAT.min, 0, FLOAT.max]], dtype=np.float32)
    assert Tiles.encode(values).codes.tolist() == [[0, 127, 254]]
    assert np.array_equal(Tiles.encode(values).decode(), values)


@pytest.mark.parametrize("value", [0.0, -0.1, 1e-45, 3.3e38, 1 / 3])
def test_a_constant_tile_is_exact(value: float) -> None:
    values = np.full((2, 3, 4, 5), value, dtype=np.float32)
    assert np.array_equal(Tiles.encode(values).decode(), values)


@pytest.mark.parametrize("outlier", [1e6, -1e6, 3e38, 2000.0])
@pytest.mark.parametrize("relu", [False, True])
def test_an_outlier_leaves_the_levels_to_the_others(outlier: float, relu: bool) -> None:
    values = np.random.default_rng(0).standard_normal((2, 28, 28)).astype(np.float32)
    values = np.maximum(values, 0) if relu else values
    plain = values[0].copy()
    values[0, 3, 4] = outlier
    tiles = Tiles.encode(values)
    decoded = tiles.decode()
    assert decoded[0, 3, 4] == np.float32(outlier)
    others = np.ones((28, 28), bool)
    others[3, 4] = False
    assert np.abs(decoded[0] - plain)[others].max() <= np.ptp(plain) / 250 / 2
    assert tiles.codes[0, 3, 4] == (254 if outlier > 0 else 0)
    assert set(tiles.codes[0][others].tolist()).isdisjoint({0, 254}), "the ends stand for outliers alone"
    assert tiles.ranges[0, 2:].tolist() == [values[0].min(), values[0].max()], "the true range"
    assert tiles.ranges[1].tolist() == [values[1].min(), values[1].max()] * 2, "the tile beside it"
    made = RecordingBuilder(epochs=[0])
    made.keep("maps", "act", 0, values[None])
    again = Recording(made.pack()).tiles("maps", "act", 0)
    assert np.array_equal(again.ranges[0], tiles.ranges) and np.array_equal(again.codes[0], tiles.codes)


@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.5])
def test_a_sparse_map_has_no_outliers(share: float) -> None:
    """Most values are zero, and of the others some are large: that is how maps are."""
    generator = np.random.default_rng(1)
    values = np.abs(generator.standard_normal((200, 28, 28))).astype(np.float32)
    values[generator.random(values.shape) > share] = 0
    tiles = Tiles.encode(values)
    assert np.array_equal(tiles.ranges[:, :2], tiles.ranges[:, 2:])


def test_kernels_of_few_values_keep_their_largest() -> None:
    identity = np.zeros((4, 1, 3, 3), np.float32)
    identity[:, :, 1, 1] = 1.0
    identity += np.random.default_rng(0).normal(size=identity.shape).astype(np.float32) * 1e-4
    tiles = Tiles.encode(identity)
    assert np.array_equal(tiles.ranges[..., :2], tiles.ranges[..., 2:])


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_finite_comes_back_as_nan_and_harms_no_other(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((3, 2, 5, 4)).astype(np.float32)
    broken = generator.random(values.shape) < 0.3
    broken[0, 0] = True  # a tile without any finite value
    with_broken = np.where(broken, generator.choice([np.nan, np.inf, -np.inf], size=values.shape), values)
    tiles = Tiles.encode(with_broken.astype(np.float32))
    assert np.array_equal(np.isnan(tiles.decode()), broken)
    assert tiles.ranges[0, 0].tolist() == [0, 0, 0, 0]
    for place in [(0, 1), (1, 0), (2, 1)]:
        kept = values[place][~broken[place]]
        assert tiles.ranges[place].tolist() == [kept.min(), kept.max()] * 2
        assert np.abs(tiles.decode()[place][~broken[place]] - kept).max() <= np.ptp(kept) / 254 / 2 * 1.0001


def test_other_precisions() -> None:
    values = np.array([[1e300, -1e300, 2.0, 1.0]])
    assert np.array_equal(Tiles.encode(values).decode(), [[np.nan, np.nan, 2, 1]], equal_nan=True)
    assert np.array_equal(Tiles.encode(np.float16([[65504, -65504]])).decode(), [[65504, -65504]])


@pytest.mark.parametrize("most", [1, 4, 64])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 63, 64, 65, 127, 128, 1000, 2048])
def test_channels_are_sampled_evenly(count: int, most: int) -> None:
    kept = sample(count, most)
    assert kept == sorted(set(kept))
    assert len(kept) == min(count, most)
    assert kept[0] == 0
    if most > 1:
        assert kept[-1] == count - 1
        gaps = np.diff(kept)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def make_builder() -> RecordingBuilder:
    """Every kind of picture in two epochs, but for a layer that came late."""
    generator = np.random.default_rng(0)
    builder = RecordingBuilder({"model": "net"}, epochs=[3, 1], stats=[{"layer": "conv", "epoch": 1, "movement": None}])
    builder.store("inputs", generator.standard_normal((2, 1, 3, 3)))
    for epoch in builder.epochs:
        builder.members[f"scores/{epoch}"] = generator.random((2, 10), dtype=np.float32)
        for kind in KINDS:
            builder.keep(kind, "conv", epoch, generator.standard_normal((2, 3, 3, 3)))
    builder.keep("maps", "late.act", 3, generator.standard_normal((2, 3, 5)))
    builder.skip({"pool": "it has no picture"})
    return builder


def read_all(content: bytes) -> Iterator[bytes]:
    """Everything a recording shows, as bytes."""
    recording = Recording(content)
    yield json.dumps([recording.about, recording.epochs, recording.layers, recording.stats, recording.skipped]).encode()
    yield recording.inputs.tobytes()
    for epoch in recording.epochs:
        yield recording.scores(epoch).tobytes()
        for kind in recording.kinds:
            for layer in recording.layers[kind]:
                if layer != "late.act" or epoch == 3:
                    yield recording.values(kind, layer, epoch).tobytes()


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    builder, generator = RecordingBuilder(), np.random.default_rng(1)
    pictures = {kind: generator.standard_normal((70, 6, 4, 3)).astype(np.float32) for kind in KINDS}
    builder.add(RecordingBuilder(epochs=[2]))
    for kind, values in pictures.items():
        builder.keep(kind, "conv", 2, values)
        builder.keep(kind, "row", 2, values[..., 0])
    builder.store("inputs", pictures["maps"][:, :1])
    Recording(builder.pack()).save(tmp_path / "deep" / "recording.npz")
    recording = Recording.load(tmp_path / "deep" / "recording.npz")
    assert recording.kinds == list(KINDS)
    for kind, values in pictures.items():
        about = recording.layers[kind]["conv"]
        assert about["shape"] == [70, 6, 4, 3]
        if "inputs" in about:
            assert (about["channels"], about["inputs"]) == (sample(70, MAX_CHANNELS), sample(6, MAX_INPUTS))
            values = values[about["channels"]][:, about["inputs"]]
        assert np.abs(recording.values(kind, "conv", 2) - values).max() < np.ptp(values) / 254 / 2
        assert recording.values(kind, "row", 2).shape == (*values.shape[:2], 1, 4)
        assert recording.stored_bytes(kind, "conv") > recording.stored_bytes(kind, "row") > 0
    assert recording.inputs.shape == (70, 1, 4, 3)


def test_equal_content_is_equal_bytes_that_numpy_reads_too() -> None:
    content = make_builder().pack()
    assert content == make_builder().pack()
    assert {member.date_time for member in zipfile.ZipFile(io.BytesIO(content)).infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert np.load(io.BytesIO(content))["maps/conv/1/codes"].dtype == np.uint8


def test_what_a_recording_lacks_is_told_with_what_it_has() -> None:
    recording = Recording(make_builder().pack())
    asked = [("sounds", "conv", 1), ("maps", "conv9", 1), ("maps", "conv", 2), ("maps", "late.act", 1)]
    answers = ["kernels.*cams", r"\['conv', 'late.act'\]", r"\[3, 1\]", r"\[3\]"]
    for place, answer in zip(asked, answers, strict=True):
        with pytest.raises(RecordingError, match=answer):
            recording.values(*place)
    with pytest.raises(RecordingError, match=r"no scores at epoch 7.*\[3, 1\]"):
        recording.scores(7)


def test_reasons_gather_and_do_not_repeat() -> None:
    builder = RecordingBuilder()
    for reason in ("no maps", "no kernels", "no maps"):
        builder.skip({"conv": reason})
    assert builder.skipped == {"conv": "no maps; no kernels"}


def test_no_epochs_is_a_recording_too() -> None:
    recording = Recording(RecordingBuilder().pack())
    assert (recording.epochs, recording.kinds) == ([], [])


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        RecordingBuilder({"model": object()}).pack()


def pack_archive(header: Any) -> bytes:
    """Some other zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
    return buffer.getvalue()


OTHERS = {
    "empty": b"",
    "text": b"not a recording",
    "another zip": pack_archive([1, 2]),
    "half a header": pack_archive({"format": FORMAT, "about": {}}),
    "another format": pack_archive({"format": FORMAT + 1}),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_recording_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    path.write_bytes(OTHERS[name])
    with pytest.raises(RecordingError, match=str(path)):
        Recording.load(path)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    for path in (tmp_path / "recording.npz", tmp_path):
        with pytest.raises(RecordingError, match=f"no recording at {path}.*fmnist_lib record"):
            Recording.load(path)


def test_nothing_is_unpickled() -> None:
    builder = make_builder()
    content = io.BytesIO(builder.pack())
    member = io.BytesIO()
    np.lib.format.write_array(member, np.array([{}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(content, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("scores/1.npy", member.getvalue())
    with pytest.raises(RecordingError, match="damaged"):
        Recording(content.getvalue()).scores(1)


def test_damage_is_told_or_does_no_harm() -> None:
    """One bit flipped in each byte, and the file cut off at each: an error, or exactly the same pictures."""
    content, generator, errors = make_builder().pack(), random.Random(0), 0
    sound = list(read_all(content))
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.randrange(8)
        for candidate in (bytes(damaged), content[:place]):
            try:
                assert list(read_all(candidate)) == sound
            except RecordingError:
                errors += 1
    assert errors > len(content) * 1.5  # all cuts, and most flips
