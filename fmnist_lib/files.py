"""Files that are whole: written so that a reader finds the old content or the new, and read only if they are files."""

import errno
import os
import stat
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fmnist_lib.errors import LabWarning

try:
    import fcntl
except ModuleNotFoundError:  # on Windows, where a file that is open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

HELD_SECONDS = 2.0  # that a virus scanner or a sync tool may hold a file for
HELD = {errno.EACCES, errno.EPERM, errno.EBUSY}
UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EBADF}
YOUNG_SECONDS = 1.0  # a part is locked long before
LARGEST = 2**30  # bytes: nothing that this library reads is larger

swept: set[Path] = set()  # folders that this process has looked through


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write(file)` fill a temporary file beside `path`, bring it to the disk, and rename it into place.

    A kill at any moment leaves `path` as it was or complete; a failure removes the temporary file, and the next process
    that writes into the folder what a kill left. What a share cannot do, as chmod on CIFS, is noted in a warning.
    Raises OSError (full disk, read-only folder), with `path` untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in swept:
        swept.add(path.parent)
        remove_parts(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:200]}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            lock(file.fileno())
            write(file)
            file.flush()
            os.fsync(file.fileno())
            # mkstemp makes files private, and a run is meant to be handed on.
            try_on_share(lambda: temporary.chmod(0o644), path.parent, "sets no rights of files")
            if fcntl:  # still locked: nobody takes it for what a kill left
                replace(temporary, path)
        if not fcntl:
            replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    try_on_share(lambda: sync_folder(path.parent), path.parent, "cannot be told to bring renamed files to the disk")


def replace(temporary: Path, path: Path) -> None:
    """Rename, and try again for a while where something else holds the file. Raises OSError."""
    deadline = time.monotonic() + HELD_SECONDS
    while True:
        try:
            temporary.replace(path)
            return
        except OSError as error:
            if error.errno not in HELD or path.is_dir() or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def try_on_share(act: Callable[[], object], folder: Path, what: str) -> None:
    """Do what not every file system can; where it cannot, the file is written all the same, with a warning."""
    try:
        act()
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(LabWarning(f"{folder} {what} ({error.strerror}); the files are kept as they are"), stacklevel=3)


def sync_folder(folder: Path) -> None:
    """Bring a rename itself to the disk, where the system can (Windows cannot open a folder)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(handle: int) -> bool:
    """Lock an open file until it is closed or its process ends; returns whether nobody else has it locked."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a share without locks: better a part that is left than one that is taken from its writer
        return False
    return True


def remove_parts(folder: Path) -> None:
    """Delete the parts that killed processes left in a folder; those of a running one are locked."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            if not part.is_file() or time.time() - part.stat().st_mtime < YOUNG_SECONDS:
                continue
            with part.open("r+b") as file:
                if lock(file.fileno()):
                    part.unlink(missing_ok=True)


def read_file(path: Path, *, most: int = LARGEST) -> bytes:
    """The content of a file. Raises OSError, also for a folder, a pipe (which would never end) and more than `most`."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "It is no file but a pipe or a device", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"It has {found.st_size:,} bytes, and {most:,} is the most", str(path))
        return file.read(most)
