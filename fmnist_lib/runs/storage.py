"""The files of a run: states, weights and run.json, each written atomically, with a checksum and with whose it is.

Neither torch.load (pytorch#126952) nor safetensors (safetensors#220) notices a flipped bit, so both carry a SHA-256.
Whose a file is, its identity, is a dictionary of plain values: model, recipe, seed and epoch. Files of older versions
of this library say no more than their checksum.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from fmnist_lib.errors import LabError
from fmnist_lib.files import read_file, write_atomically

Identity = dict[str, Any]
STATE_MAGIC = b"fmnist-state-1\n"
DIGEST_SIZE = hashlib.sha256().digest_size
LARGEST_JSON = 2**24  # bytes: the longest training of ours takes a hundredth
LARGEST_WEIGHTS = 2**28  # bytes: those of ours take a twentieth
LARGEST_STATE = 2**30


class RunError(LabError):
    """A run's folder that cannot be used; the message says why, what is kept and what to do."""


def damaged(path: Path, why: object) -> RunError:
    """The error for a file that is there but cannot be trusted."""
    return RunError(f"{path} is damaged ({why}). Restore it from a copy, or train again with --fresh.")


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a run's file atomically. Raises RunError that says what is kept."""
    try:
        write_atomically(path, fill)
    except OSError as error:
        raise RunError(
            f"could not write {path}: {error.strerror or error}. Every file written before is kept as it was. Free "
            "some space or choose a folder that can be written with --out, and run the same command again: it goes on "
            "from the last stored epoch"
        ) from error


def read(path: Path, *, most: int) -> bytes:
    """A file of a run as bytes. Raises RunError."""
    try:
        return read_file(path, most=most)
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises RunError when there is none."""
    if not path.exists():
        what = "is empty of runs" if path.parent.is_dir() else "does not exist"
        raise RunError(f"no run in {path.parent}: the folder {what} ({path.name} is missing). `train` makes one")
    try:
        content = json.loads(read(path, most=LARGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "it holds no JSON object")
    return content


def digest_json(content: dict[str, Any]) -> str:
    """SHA-256 over all fields of a JSON object but "sha256", whatever their order and white space."""
    plain = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_identity(path: Path, told: Identity, expected: Identity) -> None:
    """Raise RunError naming each field in which a file is not what it is taken for; older files tell less."""
    differing = [name for name in expected if name in told and told[name] != expected[name]]
    if differing:
        words = "; ".join(f"{name}: {told[name]!r:.200} there, {expected[name]!r:.200} expected" for name in differing)
        raise RunError(
            f"{path} belongs to another training ({words}). Bring the right file back, or train again with --fresh."
        )


def write_state(path: Path, state: dict[str, Any], *, of: Identity | None = None) -> None:
    """Store tensors and plain values: a magic line, the SHA-256 of the rest, and torch's zip. Raises RunError."""
    buffer = io.BytesIO()
    torch.save(state | {"of": of or {}}, buffer)
    payload = buffer.getbuffer()
    write(path, lambda file: file.writelines((STATE_MAGIC, hashlib.sha256(payload).digest(), payload)))


def read_state(path: Path, *, of: Identity | None = None) -> dict[str, Any]:
    """What `write_state` stored, on the CPU; nothing but tensors and plain values is unpickled.

    Raises RunError, also for a state of something else than `of`.
    """
    content = read(path, most=LARGEST_STATE)
    start = len(STATE_MAGIC) + DIGEST_SIZE
    if not content.startswith(STATE_MAGIC) or len(content) < start:
        raise damaged(path, "it is no stored state")
    if hashlib.sha256(memoryview(content)[start:]).digest() != content[len(STATE_MAGIC) : start]:
        raise damaged(path, "its checksum differs")
    try:
        members = zipfile.ZipFile(io.BytesIO(content[start:])).infolist()
        if sum(member.file_size for member in members) > len(content):  # torch compresses nothing
            raise damaged(path, "it would unpack to more than it is")
        state = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
        told = {**state.pop("of", {}), "epoch": state["epoch"]}
    except RunError:
        raise
    except Exception as error:  # what unpickling raises at bytes that somebody made up, of a dozen kinds
        raise damaged(path, error) from error
    check_identity(path, told, of or {})
    return state


class Weights(NamedTuple):
    """A file of weights: its tensors, whose they are as far as it says, and the digest of the tensors."""

    tensors: dict[str, Tensor]
    told: Identity
    digest: str


def save_weights(path: Path, weights: dict[str, Tensor], *, of: Identity | None = None) -> str:
    """Write a state dict as safetensors, with checksum and identity in the header; returns the tensors' digest.

    Raises RunError. Checksum and identity are one entry, since safetensors writes several in any order.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    found = digest(tensors)
    told = {"sha256": found, "of": of or {}}
    content = safetensors.torch.save(tensors, metadata={"fmnist_lib": json.dumps(told, sort_keys=True)})
    write(path, lambda file: file.write(content))
    return found


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of what `save_weights` wrote, on the CPU. Raises RunError."""
    return read_weights(path).tensors


def read_weights(path: Path) -> Weights:
    """What `save_weights` wrote, on the CPU. Raises RunError, also where a number is none."""
    if not path.exists():
        raise RunError(f"no weights at {path}: `train` makes them")
    content = read(path, most=LARGEST_WEIGHTS)
    try:
        tensors, about = safetensors.torch.load(content), read_metadata(content)
        told, expected, found = dict(about.get("of", {})), about["sha256"], digest(tensors)
        broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    except Exception as error:  # what safetensors and torch raise at bytes that somebody made up, of a dozen kinds
        raise damaged(path, error) from error
    if found != expected:
        raise damaged(path, "its checksum differs")
    if broken:
        raise damaged(path, f"{', '.join(broken[:3])} hold values that are not finite")
    return Weights(tensors, told, found)


def read_metadata(content: bytes) -> dict[str, Any]:
    """Our entry in the header of a safetensors file. Older files have the checksum alone."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return json.loads(metadata["fmnist_lib"]) if "fmnist_lib" in metadata else metadata


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
