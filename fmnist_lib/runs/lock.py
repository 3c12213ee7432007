"""One writer for a run's folder: a second training, or a recording, into the same folder is refused."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fmnist_lib.errors import LabWarning
from fmnist_lib.runs.storage import RunError

LOCK = "run.lock"
held: dict[Path, int] = {}  # by the thread that holds it, which need not ask itself


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Within it no other process writes the run in `folder`. Raises RunError at once where one does.

    The system frees the lock of a process that dies. A folder that is empty afterwards but for the lock is removed.
    """
    place, thread = folder.absolute(), threading.get_ident()
    if held.get(place) == thread:
        yield
        return
    made = [parent for parent in (place, *place.parents) if not parent.exists()]
    lock = acquire(place)
    held[place] = thread
    try:
        yield
    finally:
        del held[place]
        release(lock, place, made)


def acquire(folder: Path) -> FileLock | None:
    """The lock of a folder; None where none can be had, as where nothing can be written either. Raises RunError."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        while not (folder / LOCK).exists():  # whoever had it took it away with the folder
            lock.release()
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise RunError(
            f"another process is working on the run in {folder}. Nothing was changed. Wait until it is done, or choose "
            "another folder with --out"
        ) from None
    except NotImplementedError:
        warnings.warn(LabWarning(f"{folder} knows no locks: do not start a second training there"), stacklevel=3)
        return None
    except OSError:
        return None  # whatever is to be written will say why it cannot
    return lock


def release(lock: FileLock | None, folder: Path, made: list[Path]) -> None:
    """Give the lock back, and leave no folder that was made for nothing but the lock."""
    if lock is None:
        return
    with suppress(OSError):
        if made and [file.name for file in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            for parent in made:
                parent.rmdir()
    lock.release()
