"""Ctrl-C, held back while it would do harm: raised at the end of the block instead of within it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Let a short block come to its end, and raise a KeyboardInterrupt that came meanwhile after it.

    What is imported by halves cannot be imported again in that process, and an interrupt that hits a callback of a
    drawing library is printed and forgotten. A second Ctrl-C is not held back.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # only the main thread is interrupted, and only where Python listens to the signal
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            before(number, frame)
        came.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(came[0], None)
