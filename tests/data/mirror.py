"""A machine with nothing on it and mirrors that misbehave, for the tests of finding and fetching the set.

The tiny files stand for the full ones: the same four names, under a hundredth of the size.
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fmnist_lib.data import download, sets

CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens there
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = NAMES = list(sets.TINY)
GOOD = {f"{name}.gz": (sets.TINY_FOLDER / f"{name}.gz").read_bytes() for name in NAMES}
Answer = Callable[[str], bytes | int]
Serve = Callable[[Answer], "Server"]


class Server(ThreadingHTTPServer):
    """A mirror on this machine: `answer(file)` gives a body or a status; what was asked for is noted."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        file = self.path.rpartition("/")[2]
        self.server.asked.append(file)
        answer = self.server.answer(file)
        self.send_response(answer if isinstance(answer, int) else 200)
        self.end_headers()
        if isinstance(answer, bytes):
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Serve]:
    """Give out a function that starts servers; all of them stop at the end."""
    servers: list[Server] = []

    def serve(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    try:
        yield serve
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take away every place, the network and apt-get, and work in a notebooks folder; returns the cache folder."""
    (tmp_path / "work" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "notebooks")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "commands"))
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    monkeypatch.setattr(download, "FULL", sets.TINY)
    monkeypatch.setattr(download, "PACKAGE_FOLDER", tmp_path / "system")
    monkeypatch.setattr(download, "MIRRORS", (f"{CLOSED}/one", f"{CLOSED}/two"))
    monkeypatch.setattr(sets, "_splits", sets._splits.__wrapped__)  # or later tests would get what these loaded
    return tmp_path / "home" / "fmnist_lib"


def put(folder: Path, *, unpacked: bool = False) -> Path:
    """Put a good set in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in GOOD.items():
        if unpacked:
            (folder / file).with_suffix("").write_bytes(gzip.decompress(content))
        else:
            (folder / file).write_bytes(content)
    return folder


def mnist(plain: bytes) -> bytes:
    """Another set in the same format: the header and the size of `plain`, other pixels."""
    return plain[:16] + bytes(len(plain) - 16)


def spoil(folder: Path, fault: str) -> None:
    """Damage the training images of a good set in one of the ways of FAULTS."""
    packed, plain = folder / f"{IMAGES}.gz", gzip.decompress(GOOD[f"{IMAGES}.gz"])
    packed.unlink()
    if fault in PACKED_FAULTS:
        packed.write_bytes(PACKED_FAULTS[fault](GOOD[packed.name]))
    elif fault in UNPACKED_FAULTS:
        (folder / IMAGES).write_bytes(UNPACKED_FAULTS[fault](plain))
    elif fault == "a folder instead":
        (folder / IMAGES).mkdir()


PACKED_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "truncated gz": lambda packed: packed[:5000],
    "altered gz": lambda packed: packed[:5000] + bytes([packed[5000] ^ 255]) + packed[5001:],
    "a page instead": lambda _: b"<html>404: not found</html>",
}
UNPACKED_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda plain: plain[:-1],
    "too long": lambda plain: plain + b"\0",
    "one bit altered": lambda plain: plain[:-1] + bytes([plain[-1] ^ 1]),
    "MNIST": mnist,
}
FAULTS = {  # each fault, and what the message has to say
    "missing": "is missing",
    "truncated gz": "truncated or damaged",
    "altered gz": "truncated or damaged",
    "a page instead": "truncated or another file: 27 bytes, not 392,016",
    "truncated": "truncated or another file: 392,015 bytes",
    "too long": "too long or another file: 392,017 bytes",
    "one bit altered": "another data set or an altered copy",
    "MNIST": "another data set or an altered copy",
    "a folder instead": "cannot be read",
}
