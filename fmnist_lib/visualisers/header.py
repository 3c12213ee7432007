"""What a recording's file may hold: checked before anything is made of it, since it may be a stranger's.

Nothing of a header reaches a page, a path or an array's index but as text or as a number that was checked here.
"""

import io
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2**31  # of any number that counts
LONGEST = 1000  # characters of a name
# Bytes that a file may unpack to, whatever its own size, and beside that this many times its size: recordings of ours
# unpack to three times their size, and a bomb to a thousand times.
FLOOR, FLOOR_OF_MEMBER, RATIO = 48 * 2**20, 32 * 2**20, 20
LARGEST_HEADER = 8 * 2**20  # bytes; the longest of ours has a fiftieth


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError for a file of `size` bytes that unpacks to far more than a recording does."""
    members = archive.infolist()
    if sum(member.file_size for member in members) > FLOOR + RATIO * size:
        raise ValueError(f"it would unpack to more than {RATIO} times its size")
    for member in members:
        if member.file_size > FLOOR_OF_MEMBER + RATIO * member.compress_size:
            raise ValueError(f"{member.filename[:100]} would unpack to more than {RATIO} times its size")


def check_header(header: dict[str, Any], kinds: Collection[str]) -> None:
    """Raise ValueError naming the field that is not as a recorder writes it."""
    epochs, layers = header["epochs"], header["layers"]
    if not is_list_of(epochs, is_epoch) or len(set(epochs)) != len(epochs):
        raise ValueError("its epochs are no numbers, or not all different")
    if not isinstance(header["about"], dict):
        raise ValueError("its about is no object")
    if not isinstance(layers, dict) or not set(layers) <= set(kinds):
        raise ValueError("its layers are of unknown kinds")
    for kind, known in layers.items():
        if not isinstance(known, dict) or not all(is_name(layer) for layer in known):
            raise ValueError(f"the layers of its {kind} have no names")
        for layer, sampled in known.items():
            check_sampled(kind, layer, sampled)
    check_stats(header["stats"])
    skipped = header["skipped"]
    if not isinstance(skipped, dict) or not all(isinstance(reason, str) for reason in skipped.values()):
        raise ValueError("its skipped are no reasons")


def check_sampled(kind: str, layer: str, sampled: Any) -> None:
    """Raise ValueError unless a layer's shape and the channels that were kept of it belong together."""
    is_kernel = kind in ("kernels", "gradients")
    names = {"shape", "channels", "inputs"} if is_kernel else {"shape", "channels"}
    if not isinstance(sampled, dict) or set(sampled) != names:
        raise ValueError(f"{kind} of {layer!r} have not {', '.join(sorted(names))}")
    shape = sampled["shape"]
    if not is_list_of(shape, is_count) or not 2 <= len(shape) <= 6:
        raise ValueError(f"{kind} of {layer!r} have no shape")
    axes = {"channels": 0, "inputs": 1} if is_kernel else {"channels": 1}
    for name, axis in axes.items():
        if not is_list_of(sampled[name], is_count) or any(number >= shape[axis] for number in sampled[name]):
            raise ValueError(f"{kind} of {layer!r} have {name} that the layer has not")


def check_stats(stats: Any) -> None:
    """Raise ValueError unless these are rows with a layer, an epoch, and numbers or lists of numbers."""
    if not is_list_of(stats, lambda row: isinstance(row, dict)):
        raise ValueError("its stats are no rows")
    for row in stats:
        values = [value for name, value in row.items() if name != "layer"]
        if not is_name(row.get("layer")) or not is_epoch(row.get("epoch")):
            raise ValueError("a row of its stats is of no layer or no epoch")
        if not all(value is None or is_real(value) or is_list_of(value, is_real) for value in values):
            raise ValueError("a row of its stats holds what is no number")
        has_histogram = "histogram" in row
        if has_histogram and not (
            isinstance(row["histogram"], list) and is_real(row.get("low")) and is_real(row.get("high"))
        ):
            raise ValueError("a histogram of its stats has no ends")


def read_member(content: bytes) -> NDArray[Any]:
    """An array from the bytes of a .npy file, never unpickled. Raises ValueError if it says more than there is."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("an array is not as long as it says")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def check_member(key: str, array: NDArray[Any], layers: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Raise ValueError for an array of another type or shape than the header says of it."""
    part = key.rpartition("/")[2]
    if part == "codes" and (array.dtype != np.uint8 or array.ndim < 4 or not array.size):
        raise ValueError(f"{key[:100]} are no codes")
    if part == "ranges" and (array.dtype != np.float32 or array.ndim < 3 or not np.isfinite(array).all()):
        raise ValueError(f"{key[:100]} are no ranges")
    if key.startswith("scores/") and (array.dtype != np.float32 or array.ndim != 2):
        raise ValueError(f"{key[:100]} are no scores")
    kind, _, rest = key.partition("/")
    layer = rest.rpartition("/")[0].rpartition("/")[0]
    if kind not in layers or layer not in layers[kind] or part not in ("codes", "ranges"):
        return
    expected = expected_shape(kind, layers[kind][layer])
    found = array.shape if part == "codes" else array.shape[:-1]
    if found != (expected if part == "codes" else expected[:-2]):
        raise ValueError(f"{key[:100]} have the shape {found}, which is not the layer's")


def expected_shape(kind: str, sampled: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a layer's codes: that of the layer, with the channels that were kept, and four axes at least."""
    shape = list(sampled["shape"])
    if kind in ("kernels", "gradients"):
        shape[:2] = [len(sampled["channels"]), len(sampled["inputs"])]
    else:
        shape[1] = len(sampled["channels"])
    return (*shape[:-1], *[1] * (4 - len(shape)), shape[-1])


def is_list_of(value: Any, check: Any) -> bool:
    """A list whose items are as they should be."""
    return isinstance(value, list) and all(map(check, value))


def is_number(value: Any) -> bool:
    """A whole number of moderate size."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST


def is_epoch(value: Any) -> bool:
    """A number of moderate size, with a fraction where it is within an epoch."""
    return is_number(value) or (isinstance(value, float) and abs(value) < MOST)


def is_count(value: Any) -> bool:
    """A whole number from 0."""
    return is_number(value) and value >= 0


def is_real(value: Any) -> bool:
    """A number that float holds."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def is_name(value: Any) -> bool:
    """A text of moderate length."""
    return isinstance(value, str) and len(value) <= LONGEST
