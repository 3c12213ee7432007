"""The set's files: where they may lie, how they are verified whenever they are read, and how they are fetched.

`find` looks; `fetch` fills the cache from mirrors or the system's package archive, one process at a time.
"""

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from fmnist_lib.errors import LabError
from fmnist_lib.files import read_file as read_whole

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
)
PACKAGE = "dataset-fashion-mnist"  # Debian's and Ubuntu's
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TRIES = 2  # for each file of a mirror
TIMEOUT = 10.0  # seconds without an answer
SLOWEST, SLOW_SECONDS = 10_000, 8.0  # bytes a second that a mirror has to reach after so many seconds
PATIENCE = 600.0  # seconds for one file, for one command, and for another process that holds the lock
LARGEST = 64 * 2**20  # bytes: no file of ours is larger, and a gzip bomb is


class DataError(LabError):
    """A failure the user can act on: the message says what happened, what was kept and what to do."""


class Expected(NamedTuple):
    """What an unpacked file must be: its length in bytes and its SHA-256."""

    size: int
    sha256: str


Files = Mapping[str, Expected]
Contents = dict[str, bytes]
Arrivals = Iterator[tuple[str, bytes]]
Supply = Callable[[Files], Arrivals]


FULL: Files = {
    "train-images-idx3-ubyte": Expected(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": Expected(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": Expected(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": Expected(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


@dataclass(frozen=True)
class Location:
    """Where the set is: the place in words, and its folder."""

    name: str
    folder: Path


def find(data_folder: Path | str | None = None) -> Location:
    """Find and verify the full set, fetching it once into the cache if it is nowhere on this machine.

    A folder given here, or by FMNIST_DATA, is the only place looked at. Otherwise these, in this order: our cache,
    torchvision's folders, the system's package, mirrors, the package's archive. Raises DataError, which lists each
    place with the reason why it did not serve.
    """
    return locate(name_folder(data_folder))[0]


def name_folder(data_folder: Path | str | None) -> Location | None:
    """The one folder that the user named, if any."""
    chosen = data_folder or os.environ.get("FMNIST_DATA")
    if not chosen:
        return None
    name = "the folder given" if data_folder else "FMNIST_DATA"
    try:
        return Location(name, Path(chosen).expanduser().absolute())
    except RuntimeError as error:  # ~somebody whom this machine does not know
        raise DataError(f"{name}, {chosen}: {error}") from error


def _places() -> list[Location]:
    """Where the set may lie on this machine already, in the order of looking."""
    raw = Path("data", "FashionMNIST", "raw")
    return [
        Location("the cache", cache_folder()),
        Location("torchvision's folder", Path.cwd() / raw),
        Location("torchvision's folder", Path.cwd().parent / raw),  # notebooks run in notebooks/
        Location(f"the system's package {PACKAGE}", PACKAGE_FOLDER),
    ]


def cache_folder() -> Path:
    """Our folder in the user's cache: $XDG_CACHE_HOME/fmnist_lib, or ~/.cache/fmnist_lib."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "fmnist_lib"
    except RuntimeError:  # neither HOME nor an entry of this user: as in a container
        return Path(tempfile.gettempdir()) / "fmnist_lib"


def locate(named: Location | None) -> tuple[Location, Contents]:
    """Where the full set is, and its verified bytes."""
    refused: list[str] = []
    for place in [named] if named else _places():
        try:
            return place, read_set(place.folder, FULL)
        except DataError as problem:
            refused.append(f"{place.name}, {place.folder}: {problem}")
    if named:  # another copy instead of the one asked for would be a silent surprise
        raise DataError(
            f"no Fashion-MNIST in {refused[0]}. Nothing there was changed. Put the four files there"
            f" ({', '.join(FULL)}; .gz or unpacked), or name no folder, and it is found or fetched."
        )
    name, contents = fetch(cache_folder(), FULL, refused=refused)
    return Location(name, cache_folder()), contents


def verified(raw: bytes, expected: Expected) -> bytes:
    """Unpack `raw` where it is gzip, whatever its name, and hold it to its length and SHA-256; raises DataError."""
    content = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.GzipFile(fileobj=BytesIO(raw)).read(LARGEST)
        except (OSError, EOFError, zlib.error):
            raise DataError("is truncated or damaged: it cannot be unpacked") from None
    if len(content) != expected.size:
        fault = "truncated" if len(content) < expected.size else "too long"
        raise DataError(f"is {fault} or another file: {len(content):,} bytes, not {expected.size:,}")
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise DataError("is another data set or an altered copy: the right size, but not the right SHA-256")
    return content


def read_file(folder: Path, name: str, expected: Expected) -> bytes:
    """Read one file, unpacked or .gz, whichever is right; raises DataError that says what is wrong with it."""
    problems = []
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            return verified(read_whole(path, most=LARGEST), expected)
        except FileNotFoundError:
            continue
        except OSError as problem:
            problems.append(f"{path.name} cannot be read ({problem.strerror})")
        except DataError as problem:
            problems.append(f"{path.name} {problem}")
    raise DataError(", ".join(problems) or f"{name} is missing")


def read_set(folder: Path, files: Files) -> Contents:
    """Read and verify all of `files` in a folder: name -> unpacked bytes.

    Raises DataError that names every file at fault, and how.
    """
    if not folder.is_dir():
        raise DataError("no such folder")
    contents, problems = {}, []
    for name, expected in files.items():
        try:
            contents[name] = read_file(folder, name, expected)
        except DataError as problem:
            problems.append(str(problem))
    if problems:
        raise DataError("; ".join(problems))
    return contents


def fetch(folder: Path, files: Files, *, refused: Sequence[str]) -> tuple[str, Contents]:
    """Fill `folder` from the first supply that can: the mirrors, then the system's package archive.

    Returns the supply in words, and name -> unpacked bytes. Raises DataError that lists the places in `refused`,
    looked at before, and each supply, with the reason why it did not serve.
    """
    reasons = list(refused)
    supplies: list[tuple[str, Supply]] = [(f"mirror {url}", partial(_from_mirror, url)) for url in MIRRORS]
    supplies.append((f"package {PACKAGE} by apt-get", _from_package))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            _sweep(folder)
            for name, supply in supplies:
                try:
                    return name, _complete(folder, files, supply=supply, name=name)
                except DataError as problem:
                    reasons.append(f"{name}: {problem}")
    except OSError as problem:
        reasons.append(f"nothing was fetched, for {folder} cannot be written: {problem.strerror}")
    raise DataError(_nowhere(folder, files, reasons))


def _nowhere(folder: Path, files: Files, reasons: Sequence[str]) -> str:
    """The message when every place failed: what was tried, what was kept, what to do."""
    return "\n  - ".join(["the data set was not found, and could not be fetched:", *reasons]) + (
        f"\nKept in {folder}: {', '.join(_held(folder, files)) or 'nothing'}."
        f"\nTo put it there by hand, copy {', '.join(files)} (.gz or unpacked) into that folder; or set FMNIST_DATA to"
        ' a folder that holds them, or XDG_CACHE_HOME to one that can be written. dataset="tiny" needs no download.'
    )


def _complete(folder: Path, files: Files, *, supply: Supply, name: str) -> Contents:
    """Ask `supply` only for what is lacking: another process, or an earlier mirror, may have brought some."""
    contents = _held(folder, files)
    if lacking := {file: files[file] for file in files if file not in contents}:
        print(f"fetching {len(lacking)} files of the data set, once: {name}", file=sys.stderr, flush=True)
    for file, content in supply(lacking):
        _store(folder, file, content)
        contents[file] = content
    return contents


def _held(folder: Path, files: Files) -> Contents:
    """Those of the files that are there and right."""
    contents = {}
    for name, expected in files.items():
        with suppress(DataError):
            contents[name] = read_file(folder, name, expected)
    return contents


def _store(folder: Path, name: str, content: bytes) -> None:
    """Put a verified file in place of whatever bad copy was there, whole or not at all.

    Nothing is brought to the disk by fsync: every load verifies, so a power cut costs one more download.
    """
    part = folder / f"{name}.{os.getpid()}.part"
    try:
        part.write_bytes(content)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
    (folder / f"{name}.gz").unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the parts of processes that were killed; one this old is not being written."""
    for part in (part for part in folder.glob("*.part") if time.time() - part.stat().st_mtime > PATIENCE):
        part.unlink(missing_ok=True)


def _from_mirror(url: str, files: Files) -> Arrivals:
    for name, expected in files.items():
        yield name, download(f"{url}/{name}.gz", expected)


def download(url: str, expected: Expected, *, timeout: float | None = None) -> bytes:
    """Fetch one file and verify it, TRIES times at most.

    `timeout` is in seconds without an answer, TIMEOUT by default. Raises DataError with the last reason.
    """
    reason = ""
    for tried in range(1, TRIES + 1):  # noqa: B007 (it is told below)
        try:
            return verified(_request(url, timeout or TIMEOUT), expected)
        except (OSError, HTTPException, DataError, ValueError) as problem:  # ValueError: a redirect to no address
            reason = str(problem) or type(problem).__name__
            if isinstance(problem, TimeoutError) or isinstance(getattr(problem, "reason", None), TimeoutError):
                break  # whoever said nothing for so long is not asked again
    raise DataError(f"{url.rpartition('/')[2]}, {tried} of {TRIES} tries: {reason}")


def _request(url: str, timeout: float) -> bytes:
    """The body at `url`; a server that hangs or drips raises TimeoutError, one that never ends OSError."""
    body, started = bytearray(), time.monotonic()
    with urllib.request.urlopen(url, timeout=timeout) as response:
        while chunk := response.read1(2**16):
            body += chunk
            seconds = time.monotonic() - started
            if len(body) > LARGEST:
                raise OSError("it is too large")
            if seconds > PATIENCE or (seconds > SLOW_SECONDS and len(body) < SLOWEST * seconds):
                raise TimeoutError("it is too slow")
    return bytes(body)


def _from_package(files: Files) -> Arrivals:
    """The files out of the package's archive; neither command needs root or installs anything."""
    with tempfile.TemporaryDirectory() as scratch:
        _command("apt-get", "-o", f"Acquire::http::Timeout={TIMEOUT:.0f}", "download", PACKAGE, folder=scratch)
        for archive in Path(scratch).glob("*.deb"):
            _command("dpkg-deb", "-x", archive.name, ".", folder=scratch)
        for name, expected in files.items():
            yield name, read_file(Path(scratch, PACKAGE_FOLDER.relative_to("/")), name, expected)


def _command(*words: str, folder: str) -> None:
    """Run a command quietly in `folder`; raises DataError with the first error it printed."""
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        raise DataError(f"{words[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"{words[0]} did not finish in {PATIENCE:.0f} s") from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("W:")] or ["no reason given"]
        raise DataError(f"{errors[0]} (`apt-get update` as root may help)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from fetching the same; the system frees the lock of a process that dies.

    After PATIENCE, or where no file can be locked, go on: parts have names of their own, and at worst the set is
    fetched twice.
    """
    lock = FileLock(path, timeout=PATIENCE)
    with suppress(Timeout, NotImplementedError, OSError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print("waiting for another process that fetches the data set", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
