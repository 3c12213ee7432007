"""What a run looked like, epoch by epoch: the file that a recorder leaves.

Letters: N shown images, C channels, H height, W width, O output channels of a convolution, I its inputs.

A recording is one .npz file: 8-bit codes with a value range per tile (the last two axes), read lazily, checked by
the CRC-32 of its members, and never unpickled. Code 255 stands for a value that is not finite.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
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
FAR = 64  # interquartile ranges beyond the quartiles from where a value is an outlier
FEWEST = 16  # values that say what is usual in a tile
FORMAT = 1


class RecordingError(LabError):
    """A recording that is missing, damaged or lacks what was asked for; the message lists what there is."""


@dataclass(frozen=True)
class Tiles:
    """Pictures as 8-bit codes (..., H, W), and the range of each one, float32 (..., 4).

    A range is what the codes 0 and 254 stand for, then the lowest and the highest finite value. The two are the same
    but in a tile with outliers, where the codes 0 and 254 stand for nothing else than what lies beyond.
    """

    codes: NDArray[np.uint8]
    ranges: NDArray[np.float32]

    @classmethod
    def encode(cls, values: NDArray[np.floating]) -> "Tiles":
        """The nearest of 255 levels between each tile's lowest and highest finite value that is no outlier.

        So one value of a million does not make all others look alike. What float32 cannot hold counts as not finite.
        """
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        finite = np.isfinite(values)
        low = np.min(values, axis=(-2, -1), where=finite, initial=np.inf)
        high = np.max(values, axis=(-2, -1), where=finite, initial=-np.inf)
        ranges = np.stack([low, high, low, high], axis=-1)
        ranges = np.where(np.isfinite(ranges), ranges, np.float32(0))  # a tile without any finite value
        leave_out_outliers(values, ranges)
        bottom, top, *_ = np.moveaxis(ranges.astype(np.float64), -1, 0)[..., None, None]  # float32 could overflow below
        span = np.where(top > bottom, top - bottom, 1.0)
        levels = np.rint((np.where(finite, values, 0) - bottom) / span * (NOT_FINITE - 1))
        return cls(np.where(finite, levels.clip(0, NOT_FINITE - 1), NOT_FINITE).astype(np.uint8), ranges)

    def decode(self) -> NDArray[np.float32]:
        """The values, float32 (..., H, W), with NaN where they were not finite; the ends of a range are exact.

        Of several outliers of one tile all have the value of the farthest.
        """
        low, high, least, most = np.moveaxis(self.ranges, -1, 0)[..., None, None]
        place = self.codes / np.float64(NOT_FINITE - 1)
        values = low * (1 - place) + high * place
        values = np.where(self.codes == 0, least, np.where(self.codes == NOT_FINITE - 1, most, values))
        return np.where(self.codes == NOT_FINITE, np.nan, values).astype(np.float32)


def leave_out_outliers(values: NDArray[np.float32], ranges: NDArray[np.float32]) -> None:
    """Narrow the first two of each tile's `ranges` to what is no outlier, and to a level more at either end.

    Zeros say nothing of what is usual: after a ReLU most values may be zero. The means come first since they are quick.
    """
    with np.errstate(all="ignore"):
        sizes = np.abs(values).astype(np.float64)
        known = np.isfinite(values) & (values != 0)
        usual = sizes.sum(axis=(-2, -1), where=known) / known.sum(axis=(-2, -1))
        suspects = np.abs(ranges[..., 2:]).max(-1) > 8 * usual
    for tile in map(tuple, np.argwhere(suspects)):
        some = values[tile][known[tile]].astype(np.float64)
        first, third = np.quantile(some, (0.25, 0.75))
        reach = FAR * (third - first)
        kept = some[(some >= first - reach) & (some <= third + reach)]
        if len(some) >= FEWEST and third > first and len(kept) < len(some):
            low, high = min(kept.min(), 0.0), max(kept.max(), 0.0)
            level = (high - low) / (NOT_FINITE - 3)
            ranges[tile][:2] = (low - level, high + level)


class InMemory(zipfile.ZipFile):
    """An archive that nobody needs when it goes: closing it then would write to what may be gone before it."""

    def __del__(self) -> None:
        pass


@dataclass
class RecordingBuilder:
    """A recording while it is made: pictures and numbers come in, the bytes of a file go out.

    The fields are those of `Recording`; `members` holds the arrays of the file by their names; `channels` is how many
    of a layer's are kept, or which.
    """

    about: dict[str, Any] = field(default_factory=dict)
    epochs: list[float] = field(default_factory=list)
    layers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    stats: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    members: dict[str, NDArray[Any]] = field(default_factory=dict)
    channels: int | Sequence[int] = MAX_CHANNELS
    _added: zipfile.ZipFile = field(default_factory=lambda: InMemory(io.BytesIO(), "w"), repr=False)

    def keep(self, kind: str, layer: str, epoch: float, pictures: NDArray[np.floating]) -> None:
        """Sample the channels of (N, C, H, W) or (O, I, H, W), note which, and store the tiles; 1-D has no H."""
        sampled: dict[str, Any] = {"shape": list(pictures.shape)}
        if kind in ("kernels", "gradients"):
            sampled["channels"] = choose_channels(pictures.shape[0], self.channels)
            sampled["inputs"] = sample(pictures.shape[1], MAX_INPUTS)
            pictures = pictures[sampled["channels"]][:, sampled["inputs"]]
        else:
            sampled["channels"] = choose_channels(pictures.shape[1], self.channels)
            pictures = pictures[:, sampled["channels"]]
        self.layers[kind].setdefault(layer, sampled)
        self.store(f"{kind}/{layer}/{epoch}", pictures)

    def store(self, key: str, pictures: NDArray[np.floating]) -> None:
        """Store tiles; what has fewer than four axes gets some of one in front of its last."""
        *others, width = pictures.shape
        tiles = Tiles.encode(pictures.reshape(*others, *[1] * (4 - pictures.ndim), width))
        same = np.array_equal(tiles.ranges[..., :2], tiles.ranges[..., 2:])  # as nearly always, and in older files
        self.members[f"{key}/codes"] = tiles.codes
        self.members[f"{key}/ranges"] = np.ascontiguousarray(tiles.ranges[..., :2]) if same else tiles.ranges

    def skip(self, reasons: dict[str, str]) -> None:
        """Note why something is not recorded, once, beside what was noted of it before."""
        for name, reason in reasons.items():
            before = self.skipped.get(name, "")
            if reason not in before:
                self.skipped[name] = f"{before}; {reason}" if before else reason

    def add(self, other: "RecordingBuilder") -> None:
        """Take over what another builder holds of further epochs, compressed: there may be a thousand of them."""
        self.epochs = sorted([*self.epochs, *other.epochs])
        for kind, layers in other.layers.items():
            for layer, sampled in layers.items():
                self.layers[kind].setdefault(layer, sampled)
        self.stats += other.stats
        self.skip(other.skipped)
        for key, array in other.members.items():
            write_member(self._added, key, array)

    def pack(self) -> bytes:
        """The recording's file: equal content gives equal bytes. Raises TypeError if JSON cannot hold `about`."""
        names = ("about", "epochs", "layers", "stats", "skipped")
        header = {"format": FORMAT} | {name: getattr(self, name) for name in names}
        archive, buffer = copy_archive(self._added)
        with archive:
            write_bytes(archive, "header.json", json.dumps(header).encode())
            for key, array in self.members.items():
                write_member(archive, key, array)
        return buffer.getvalue()


def copy_archive(archive: zipfile.ZipFile) -> tuple[zipfile.ZipFile, io.BytesIO]:
    """An archive that is open for writing, and its content, as a copy to which more can be written."""
    file = archive.fp
    assert isinstance(file, io.BytesIO)  # as `RecordingBuilder` made it
    buffer, copied = io.BytesIO(file.getvalue()), copy(archive)
    copied.fp, copied.filelist, copied.NameToInfo = buffer, list(archive.filelist), dict(archive.NameToInfo)
    return copied, buffer


def write_member(archive: zipfile.ZipFile, key: str, array: NDArray[Any]) -> None:
    """Add an array to a recording's file."""
    member = io.BytesIO()
    np.lib.format.write_array(member, array, allow_pickle=False)
    write_bytes(archive, f"{key}.npy", member.getvalue())


def write_bytes(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a member, without the clock's date, which ZipInfo leaves out and the name alone would take."""
    # Level 4 takes half of the usual level's time, and a hundredth more bytes.
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, compresslevel=4)


def sample(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 .. count-1, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def choose_channels(count: int, wanted: int | Sequence[int]) -> list[int]:
    """The channels of a layer that are kept: so many, evenly spread, or those of the wanted ones that it has."""
    if isinstance(wanted, int):
        return sample(count, wanted)
    return sorted({channel for channel in wanted if channel < count}) or [count - 1]


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
            self.epochs: list[float] = header["epochs"]
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

    def tiles(self, kind: str, layer: str, epoch: float) -> Tiles:
        """The pictures of one kind, layer and epoch, as stored. Raises RecordingError."""
        self._check("kind", kind, self.kinds)
        self._check("layer", layer, list(self.layers[kind]))
        if not self.has(kind, layer, epoch):
            self._check("epoch", epoch, self.recorded_epochs(kind, layer))
        key = f"{kind}/{layer}/{epoch}"
        return self._tiles(key)

    def recorded_epochs(self, kind: str, layer: str) -> list[float]:
        """The epochs that have pictures of a layer; one that first ran later has fewer than the recording."""
        return [epoch for epoch in self.epochs if self.has(kind, layer, epoch)]

    def has(self, kind: str, layer: str, epoch: float) -> bool:
        """Whether there are pictures of one kind, layer and epoch."""
        return f"{kind}/{layer}/{epoch}/codes.npy" in self._names

    def values(self, kind: str, layer: str, epoch: float) -> NDArray[np.float32]:
        """The same as numbers; see `KINDS` for the axes."""
        return self.tiles(kind, layer, epoch).decode()

    def stored_bytes(self, kind: str, layer: str) -> int:
        """How many bytes the pictures of a layer take in the file, over all epochs."""
        names = [f"{kind}/{layer}/{epoch}/{part}.npy" for epoch in self.epochs for part in ("codes", "ranges")]
        return sum(self._archive.getinfo(name).compress_size for name in names if name in self._names)

    @property
    def inputs(self) -> NDArray[np.float32]:
        """The shown images as the model saw them, float32 (N, C, H, W)."""
        return self._tiles("inputs").decode()

    def scores(self, epoch: float) -> NDArray[np.float32]:
        """The class probabilities of the shown images, float32 (N, classes). Raises RecordingError."""
        self._check("scores at epoch", epoch, [e for e in self.epochs if f"scores/{e}.npy" in self._names])
        return self._read(f"scores/{epoch}")

    def save(self, path: Path | str) -> None:
        """Write the recording's file, atomically."""
        write_atomically(Path(path), lambda file: file.write(self._content))

    def _check(self, what: str, value: object, valid: list[Any]) -> None:
        if value not in valid:
            raise RecordingError(f"no {what} {value!r} in {self._source}: choose one of {valid}")

    def _tiles(self, key: str) -> Tiles:
        ranges = self._read(f"{key}/ranges")
        return Tiles(self._read(f"{key}/codes"), ranges if ranges.shape[-1] == 4 else np.tile(ranges, 2))

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
