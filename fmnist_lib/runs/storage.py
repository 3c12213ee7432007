"""The files of a run: states, weights and run.json, each written atomically, states and weights with a checksum.

Neither torch.load (pytorch#126952) nor safetensors (safetensors#220) notices a flipped bit, so both carry a SHA-256.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fmnist_lib.errors import LabError
from fmnist_lib.files import write_atomically

STATE_MAGIC = b"fmnist-state-1\n"
DIGEST_SIZE = hashlib.sha256().digest_size


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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises RunError when there is none."""
    if not path.is_file():
        what = "is empty of runs" if path.parent.is_dir() else "does not exist"
        raise RunError(f"no run in {path.parent}: the folder {what} ({path.name} is missing). `train` makes one")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, "it holds no JSON object")
    return content


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Store tensors and plain values: a magic line, the SHA-256 of the rest, and torch's zip. Raises RunError."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    write(path, lambda file: file.writelines((STATE_MAGIC, hashlib.sha256(payload).digest(), payload)))


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` stored, on the CPU; nothing but tensors and plain values is unpickled. Raises RunError."""
    content = path.read_bytes()
    start = len(STATE_MAGIC) + DIGEST_SIZE
    if not content.startswith(STATE_MAGIC) or len(content) < start:
        raise damaged(path, "it is no stored state")
    if hashlib.sha256(memoryview(content)[start:]).digest() != content[len(STATE_MAGIC) : start]:
        raise damaged(path, "its checksum differs")
    try:
        return torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise damaged(path, error) from error


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a state dict as safetensors, with its checksum in the header. Raises RunError."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = safetensors.torch.save(tensors, metadata={"sha256": digest(tensors)})
    write(path, lambda file: file.write(content))


def load_weights(path: Path) -> dict[str, Tensor]:
    """What `save_weights` wrote, on the CPU. Raises RunError."""
    if not path.is_file():
        raise RunError(f"no weights at {path}: `train` makes them")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, UnicodeDecodeError, OSError) as error:
        raise damaged(path, error) from error
    if digest(tensors) != expected:
        raise damaged(path, "its checksum differs")
    return tensors


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
