"""What a run looked like, epoch by epoch: the file that a recorder leaves.

Letters: N shown images, C channels, H height, W width, O output channels of a convolution, I its inputs.

A recording is one .npz file: 8-bit codes with a value range per tile (the last two axes), read lazily, checked by
the CRC-32 of its members, and never unpickled. Code 255 stands for a value that is not finite.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_lib.errors import LabError
from fmnist_lib.files import read_file, write_atomically
from fmnist_lib.visualisers.header import LARGEST_HEADER, check_archive, check_header, check_member, read_member

KINDS = {
    "kernels": "convolution kernels, (O, I, H, W)",
    "gradients": "gradient of the loss with respect to the kernels, (O, I, H, W)",
    "maps": "feature maps in evaluation mode, (N, C, H, W)",
    "map_gradients": "gradient of the true class's score with respect to the maps, (N, C, H, W)",
    "cams": "Grad-CAM: where the true class's score comes from, (N, 1, H, W)",
}
MAX_CHANNELS = 64  # of a layer; more are sampled evenly, and the recording says which
MAX_INPUTS = 4  # input channels of a kernel
NOT_FINITE = 255  # the code; 0 to 254 span a tile's range
FORMAT = 1


class RecordingError(LabError):
    """A recording that is missing, damaged or lacks what was asked for; the message lists what there is."""


@dataclass(frozen=True)
class Tiles:
    """Pictures as 8-bit codes (..., H, W), and each one's lowest and highest finite value, float32 (..., 2)."""

    codes: NDArray[np.uint8]
    ranges: NDArray[np.float32]

    @classmethod
    def encode(cls, values: NDArray[np.floating]) -> "Tiles":
        """The nearest of 255 levels between each tile's lowest and highest finite value.

        What float32 cannot hold counts as not finite.
        """
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        finite = np.isfinite(values)
        low = np.min(values, axis=(-2, -1), where=finite, initial=np.inf)
        high = np.max(values, axis=(-2, -1), where=finite, initial=-np.inf)
        ranges = np.stack([low, high], axis=-1)
        ranges = np.where(np.isfinite(ranges), ranges, np.float32(0))  # a tile without any finite value
        bottom, top = np.moveaxis(ranges.astype(np.float64), -1, 0)[..., None, None]  # float32 could overflow below
        span = np.where(top > bottom, top - bottom, 1.0)
        levels = (np.where(finite, values, 0) - bottom) / span * (NOT_FINITE - 1)
        return cls(np.where(finite, np.rint(levels), NOT_FINITE).astype(np.uint8), ranges)

    def decode(self) -> NDArray[np.float32]:
        """The values, float32 (..., H, W), with NaN where they were not finite; the ends of a range are exact."""
        low, high = self.ranges[..., 0, None, None], self.ranges[..., 1, None, None]
        place = self.codes / np.float64(NOT_FINITE - 1)
        values = low * (1 - place) + high * place
        return np.where(self.codes == NOT_FINITE, np.nan, values).astype(np.float32)


@dataclass
class RecordingBuilder:
    """A recording while it is made: pictures and numbers come in, the bytes of a file go out.

    The fields are those of `Recording`; `members` holds the arrays of the file by their names.
    """

    about: dict[str, Any] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    layers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    stats: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    members: dict[str, NDArray[Any]] = field(default_factory=dict)

    def keep(self, kind: str, layer: str, epoch: int, pictures: NDArray[np.floating]) -> None:
        """Sample the channels of (N, C, H, W) or (O, I, H, W), note which, and store the tiles; 1-D has no H."""
        sampled: dict[str, Any] = {"shape": list(pictures.shape)}
        if kind in ("kernels", "gradients"):
            sampled["channels"] = sample(pictures.shape[0], MAX_CHANNELS)
            sampled["inputs"] = sample(pictures.shape[1], MAX_INPUTS)
            pictures = pictures[sampled["channels"]][:, sampled["inputs"]]
        else:
            sampled["channels"] = sample(pictures.shape[1], MAX_CHANNELS)
            pictures = pictures[:, sampled["channels"]]
        self.layers[kind].setdefault(layer, sampled)
        self.store(f"{kind}/{layer}/{epoch}", pictures)

    def store(self, key: str, pictures: NDArray[np.floating]) -> None:
        """Store tiles; what has fewer than four axes gets some of one in front of its last."""
        *others, width = pictures.shape
        tiles = Tiles.encode(pictures.reshape(*others, *[1] * (4 - pictures.ndim), width))
        self.members[f"{key}/codes"], self.members[f"{key}/ranges"] = tiles.codes, tiles.ranges

    def skip(self, reasons: dict[str, str]) -> None:
        """Note why something is not recorded, once, beside what was noted of it before."""
        for name, reason in reasons.items():
            before = self.skipped.get(name, "")
            if reason not in before:
                self.skipped[name] = f"{before}; {reason}" if before else reason

    def add(self, other: "RecordingBuilder") -> None:
        """Take over what another builder holds of further epochs."""
        self.epochs = sorted([*self.epochs, *other.epochs])
        for kind, layers in other.layers.items():
            for layer, sampled in layers.items():
                self.layers[kind].setdefault(layer, sampled)
        self.stats += other.stats
        self.skip(other.skipped)
        self.members |= other.members

    def pack(self) -> bytes:
        """The recording's file: equal content gives equal bytes. Raises TypeError if JSON cannot hold `about`."""
        names = ("about", "epochs", "layers", "stats", "skipped")
        header = {"format": FORMAT} | {name: getattr(self, name) for name in names}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            # ZipInfo's own date is fixed, where the name alone would take the clock's.
            archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header), zipfile.ZIP_DEFLATED)
            for key, array in self.members.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{key}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def sample(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 .. count-1, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


class Recording:
    """A recording on disk or in memory, read member by member as it is asked for.

    `about` holds what the recorder was told about the run and the images; `layers[kind]` the layers recorded for
    a kind, each with the channels it has and the ones that were kept; `stats` a row of plain numbers per layer
    and epoch; `skipped` what could not be recorded (a layer, or a kind of pictures as a whole) and why.
    """

    def __init__(self, content: bytes, *, source: str = "the recording") -> None:
        self._content = content
        self._source = source
        self.digest = hashlib.sha256(content).hexdigest()
        with self._naming_damage():
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self._names = set(self._archive.namelist())
            if self._archive.getinfo("header.json").file_size > LARGEST_HEADER:
                raise ValueError("its header is far too long")
            header = json.loads(self._archive.read("header.json"))
            written_by = header["format"]
        if written_by != FORMAT:
            raise RecordingError(f"{source} has format {written_by}, this version reads {FORMAT}: remake it")
        with self._naming_damage():
            check_header(header, KINDS)
            self.about: dict[str, Any] = header["about"]
            self.epochs: list[int] = header["epochs"]
            self.layers: dict[str, dict[str, dict[str, Any]]] = header["layers"]
            self.stats: list[dict[str, Any]] = header["stats"]
            self.skipped: dict[str, str] = header["skipped"]

    @classmethod
    def load(cls, path: Path | str) -> "Recording":
        """Open a recording's file. Raises RecordingError."""
        path = Path(path)
        if not path.exists() or path.is_dir():
            raise RecordingError(f"no recording at {path}: `python -m fmnist_lib record {path.parent}` makes one")
        try:
            content = read_file(path)
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error
        recording = cls(content, source=str(path))
        with recording._naming_damage():
            check_archive(recording._archive, len(content))
        return recording

    @property
    def kinds(self) -> list[str]:
        """The kinds of pictures that there are."""
        return [kind for kind in KINDS if self.layers.get(kind)]

    def tiles(self, kind: str, layer: str, epoch: int) -> Tiles:
        """The pictures of one kind, layer and epoch, as stored. Raises RecordingError."""
        self._check("kind", kind, self.kinds)
        self._check("layer", layer, list(self.layers[kind]))
        if not self.has(kind, layer, epoch):
            self._check("epoch", epoch, self.recorded_epochs(kind, layer))
        key = f"{kind}/{layer}/{epoch}"
        return Tiles(self._read(f"{key}/codes"), self._read(f"{key}/ranges"))

    def recorded_epochs(self, kind: str, layer: str) -> list[int]:
        """The epochs that have pictures of a layer; one that first ran later has fewer than the recording."""
        return [epoch for epoch in self.epochs if self.has(kind, layer, epoch)]

    def has(self, kind: str, layer: str, epoch: int) -> bool:
        """Whether there are pictures of one kind, layer and epoch."""
        return f"{kind}/{layer}/{epoch}/codes.npy" in self._names

    def values(self, kind: str, layer: str, epoch: int) -> NDArray[np.float32]:
        """The same as numbers; see `KINDS` for the axes."""
        return self.tiles(kind, layer, epoch).decode()

    def stored_bytes(self, kind: str, layer: str) -> int:
        """How many bytes the pictures of a layer take in the file, over all epochs."""
        members = self._archive.infolist()
        return sum(member.compress_size for member in members if member.filename.startswith(f"{kind}/{layer}/"))

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The shown images as the model saw them, float32 (N, C, H, W)."""
        return Tiles(self._read("inputs/codes"), self._read("inputs/ranges")).decode()

    def scores(self, epoch: int) -> NDArray[np.float32]:
        """The class probabilities of the shown images, float32 (N, classes). Raises RecordingError."""
        self._check("scores at epoch", epoch, [e for e in self.epochs if f"scores/{e}.npy" in self._names])
        return self._read(f"scores/{epoch}")

    def save(self, path: Path | str) -> None:
        """Write the recording's file, atomically."""
        write_atomically(Path(path), lambda file: file.write(self._content))

    def _check(self, what: str, value: object, valid: list[Any]) -> None:
        if value not in valid:
            raise RecordingError(f"no {what} {value!r} in {self._source}: choose one of {valid}")

    def _read(self, key: str) -> NDArray[Any]:
        with self._naming_damage():
            array = read_member(self._archive.read(f"{key}.npy"))
            check_member(key, array, self.layers)
            return array

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Turn whatever goes wrong while bytes are read, a dozen kinds of exception by experience, into one."""
        try:
            yield
        except Exception as error:
            advice = "make it again with `record`, or restore the file"
            raise RecordingError(f"{self._source} is damaged ({error}): {advice}") from error
