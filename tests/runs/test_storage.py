"""Files that carry their checksum: every flipped bit is noticed, and a failed write changes nothing."""

import os
import random
from pathlib import Path

import pytest
import torch

from fmnist_lib.files import write_atomically
from fmnist_lib.runs import storage
from fmnist_lib.runs.storage import RunError

STATE = {"epoch": 2, "model": {"weight": torch.arange(12.0).reshape(3, 4)}, "history": {"epochs": [{"loss": 0.5}]}}
WEIGHTS = {"weight": torch.randn(4, 3), "counter": torch.tensor(7), "half": torch.randn(3).bfloat16()}


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return (
        torch.equal(one, other) if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) else one == other
    )


def test_a_state_comes_back(tmp_path: Path) -> None:
    storage.write_state(tmp_path / "a.state", STATE)
    assert same(storage.read_state(tmp_path / "a.state"), STATE)


def test_weights_come_back_and_any_safetensors_reader_reads_them(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    storage.save_weights(tmp_path / "w.safetensors", WEIGHTS)
    assert same(storage.load_weights(tmp_path / "w.safetensors"), WEIGHTS)
    assert same(load_file(tmp_path / "w.safetensors"), WEIGHTS)


def test_channels_last_weights_come_back_as_numbers(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    storage.save_weights(tmp_path / "w.safetensors", {"weight": weight})
    assert torch.equal(storage.load_weights(tmp_path / "w.safetensors")["weight"], weight)


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("a.state", lambda path: storage.write_state(path, STATE), storage.read_state),
        ("a.safetensors", lambda path: storage.save_weights(path, WEIGHTS), storage.load_weights),
    ],
)
def test_every_flipped_bit_is_noticed(tmp_path: Path, name: str, write, read) -> None:
    path = tmp_path / name
    write(path)
    good, before = path.read_bytes(), read(path)
    draw = random.Random(0)
    bits = {draw.randrange(len(good) * 8) for _ in range(400)}
    for bit in sorted(bits):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            content = read(path)
        except RunError:
            continue
        assert same(content, before), f"bit {bit} changed the content unnoticed"


@pytest.mark.parametrize("keep", [0, 5, 40, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, keep: float) -> None:
    for path, write, read in (
        (tmp_path / "a.state", lambda path: storage.write_state(path, STATE), storage.read_state),
        (tmp_path / "a.safetensors", lambda path: storage.save_weights(path, WEIGHTS), storage.load_weights),
    ):
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
        with pytest.raises(RunError, match="damaged"):
            read(path)


def test_a_state_that_holds_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    storage.write_state(tmp_path / "evil.state", {"epoch": Evil()})
    with pytest.raises(RunError, match="damaged"):
        storage.read_state(tmp_path / "evil.state")
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file) -> None:
        file.write(b"new, but only half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"could not write .*No space left on device.*kept.*--out"):
        storage.write(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def write(file) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="could not write"):
        storage.save_weights(tmp_path / "file" / "w.safetensors", WEIGHTS)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1', "\x00\x01"])
def test_run_json_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        storage.read_json(tmp_path / "run.json")
