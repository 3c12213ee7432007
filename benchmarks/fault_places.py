"""Servers that misbehave while the data set is fetched, and odd places to train in."""

import codecs
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from children import Child, apart
from fault_runs import compare, train

from fmnist_lib import data
from fmnist_lib.data import download, sets
from fmnist_lib.training.loop import Training

SECONDS = 30.0  # until the data are there, or an error
ROOT = Path(__file__).parents[1]
# Read here: a trial may give up the rights to.
FILES = {path.name: path.read_bytes() for path in sets.TINY_FOLDER.iterdir() if path.is_file()}
Behave = Callable[[socket.socket, bytes], object]


class Server(NamedTuple):
    """A way to misbehave: what is done on a connection, given the file that is asked for."""

    name: str
    behave: Behave


def trickle(connection: socket.socket, good: bytes) -> None:
    """The good file, so slowly that another process can come between."""
    answer = body(good)
    for start in range(0, len(answer), 2000):
        connection.sendall(answer[start : start + 2000])
        time.sleep(0.01)


def body(content: bytes, *, length: int | None = None, status: str = "200 OK", more: str = "") -> bytes:
    """An answer of HTTP."""
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{more}\r\n".encode() + content


def redirect(where: str) -> Behave:
    """Send the client elsewhere."""
    return lambda connection, _: connection.sendall(body(b"", status="302 Found", more=f"Location: {where}\r\n"))


def drip(connection: socket.socket, good: bytes) -> None:
    """A byte, and then another, for ever."""
    connection.sendall(body(b"", length=len(good)))
    with suppress(OSError):
        for number in range(len(good)):
            connection.sendall(good[number : number + 1])
            time.sleep(0.2)


def pour(connection: socket.socket, start: bytes) -> None:
    """More and more."""
    connection.sendall(start)
    with suppress(OSError):
        while True:
            connection.sendall(bytes(2**20))


def alter(good: bytes) -> bytes:
    """The same size, and one pixel another."""
    plain = bytearray(gzip.decompress(good))
    plain[-1] ^= 1
    return gzip.compress(bytes(plain))


def say(make: Callable[[bytes], bytes]) -> Behave:
    """Answer with what becomes of the good file."""
    return lambda connection, good: connection.sendall(make(good))


SERVERS = [
    Server("closes at once", lambda connection, _: None),
    Server("empty", say(lambda _: body(b""))),
    Server("no HTTP", say(lambda _: b"SSH-2.0-x\r\n")),
    Server("404", say(lambda _: body(b"no", status="404 Not Found"))),
    Server("redirect to a malformed host", redirect("http://[::bad/x")),
    Server("one pixel altered", say(lambda good: body(alter(good)))),
    Server("a gzip bomb", say(lambda _: body(gzip.compress(bytes(2**27), 1)))),
    Server("cut off", say(lambda good: body(good[:99], length=len(good)))),
    Server("500", say(lambda _: body(b"", status="500 Oh"))),
    Server("status of text", say(lambda _: b"HTTP/1.1 all right\r\n\r\n")),
    Server("a portal's page", say(lambda _: body(b"<html>please log in</html>"))),
    Server("unpacked half", say(lambda good: body(gzip.decompress(good)[:5000]))),
    Server("not gzip", say(lambda good: body(b"\x1f\x8b" + bytes(500)))),
    Server("a negative length", say(lambda good: body(good, length=-1))),
    Server("a length of text", say(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n")),
    Server("broken chunks", say(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")),
    Server("redirect to itself", redirect("/")),
    Server("redirect to a file", redirect("file:///etc/hostname")),
    Server("redirect to no name", redirect("http://" + "a" * 70 + ".invalid/x")),
    Server("redirect to no port", redirect("http://127.0.0.1:99999999/x")),
    Server("redirect to bytes", redirect("http://\xff\xfe/x")),
    Server("endless body", partial(pour, start=b"HTTP/1.1 200 OK\r\n\r\n")),
    Server("endless header", partial(pour, start=b"HTTP/1.1 200 OK\r\nX: ")),
    Server("says nothing", lambda connection, _: time.sleep(60)),
    Server("stops half-way", lambda connection, good: (connection.sendall(body(good)[:5000]), time.sleep(60))),
    Server("drips", drip),
]


GOOD, DEAD = Server("good", trickle), SERVERS[0]


def listen(server: Server) -> str:
    """Start it; returns its address."""
    door = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            asked = connection.recv(65_536).split(b" ")[1:2]
            name = asked[0].decode().rpartition("/")[2] if asked else ""
            server.behave(connection, FILES.get(name, b""))

    def accept() -> None:
        while True:
            threading.Thread(target=answer, args=door.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{door.getsockname()[1]}"


def fetch(server: Server, folder: Path) -> str:
    """Look for the data on a machine that has nothing but that server; in a process of its own."""
    os.environ |= {"XDG_CACHE_HOME": str(folder), "PATH": str(folder)}
    os.environ.pop("FMNIST_DATA", None)
    os.chdir(folder)
    download.FULL, download.PACKAGE_FOLDER = sets.TINY, folder / "none"
    download.MIRRORS = (listen(server), listen(server))
    return data.find().name


CACHES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda good: good[: len(good) // 2],
    "empty": lambda _: b"",
    "altered": alter,
    "unpacked, and altered": lambda good: gzip.decompress(alter(good)),
}
RACES = 20


def servers(count: int, folder: Path) -> Iterator[str]:
    """Each faulty server as both mirrors, and the data nowhere else; bad caches; two processes that fetch at once."""
    faulty = [partial(fails_soon, server) for server in SERVERS]
    caches = [partial(mends_cache, name, spoil) for name, spoil in CACHES.items()]
    races = [partial(fetched_by_two, number / (RACES - 1)) for number in range(RACES)]
    few = [*faulty[:5], caches[0], locked_cache, races[RACES // 2]]
    for number, trial in enumerate([*few, *faulty[5:], *caches[1:], *races][:count]):
        (folder / str(number)).mkdir()
        yield trial(folder / str(number))


def fails_soon(server: Server, folder: Path) -> str:
    """A faulty server has to end in one clear error, or in the right data, which every reading verifies."""
    ended = apart(partial(fetch, server, folder), patience=2 * SECONDS)
    is_right = str(ended.result).startswith("mirror") and not is_cached(folder)
    held = (ended.is_clear or is_right) and ended.seconds < SECONDS
    return "" if held else f"{server.name}: {ended.error or ended.result} after {ended.seconds:.1f} s"


def mends_cache(name: str, spoil: Callable[[bytes], bytes], folder: Path) -> str:
    """Bad files in the cache are fetched anew, and are right from then on."""
    (folder / "fmnist_lib").mkdir()
    for file in sets.TINY:
        (folder / "fmnist_lib" / f"{file}.gz").write_bytes(spoil(FILES[f"{file}.gz"]))
    ended = apart(partial(fetch, GOOD, folder))
    fault = ended.error or ("" if ended.result.startswith("mirror") else f"taken from {ended.result}")
    return f"a cache that is {name}: {fault}" if fault else is_cached(folder)


def locked_cache(folder: Path) -> str:
    """A cache that cannot be written: the right data, or a clear error."""
    (folder / "fmnist_lib").mkdir(mode=0o555)
    for path in (folder, folder.parent):
        path.chmod(0o711)

    def act() -> str:
        if os.geteuid() == 0:  # whom rights do not stop
            codecs.lookup("idna")  # Python's own files need not be readable for somebody else
            os.seteuid(65534)
        return fetch(GOOD, folder)

    ended = apart(act)
    held = (ended.is_clear and "cannot be written" in ended.error) and ended.seconds < SECONDS
    return "" if held else f"a read-only cache: {ended.error or ended.result} after {ended.seconds:.1f} s"


def fetched_by_two(stagger: float, folder: Path) -> str:
    """Two processes fetch into one cache, the second so large a part of a fetch later: both get the right data."""
    (folder / "alone").mkdir()
    alone = apart(partial(fetch, GOOD, folder / "alone"))
    first = Child(partial(fetch, GOOD, folder))
    time.sleep(stagger * alone.seconds)
    ends = [alone, Child(partial(fetch, GOOD, folder)).wait(), first.wait()]
    faults = [end.error or f"{end.seconds:.1f} s" for end in ends if end.error or end.seconds > SECONDS]
    return f"two at once, staggered by {stagger:.2f}: {faults}" if faults else is_cached(folder)


def is_cached(folder: Path) -> str:
    """What is wrong if the data are not in the cache as they should be, when no server serves, or a part stays."""
    ended = apart(partial(fetch, DEAD, folder))
    left = [path.name for path in folder.rglob("*.part")]
    return "" if ended.result == "the cache" and not left else f"afterwards: {ended.error or ended.result}, left {left}"


NAMES = ["a b", "服装 图像", 'it\'s "quoted"', "100%25 %s", "x" * 200, "-rf", "$HOME;ls", "né à ü", "a\nb"]


def odd_places(count: int, folder: Path) -> Iterator[str]:
    """Training in folders of odd names, through a link, and on machines that lack what most have."""
    whole = apart(partial(train, folder / "whole")).result
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    places = [folder / name / "run" for name in NAMES] + [folder / "link" / "run"]
    odd: list[Callable[[], str]] = [partial(train_at, place, whole) for place in places]
    odd[1:1] = [partial(without_home, folder), partial(in_ascii, folder), partial(read_only_install, folder)]
    odd[3:3] = [partial(held, folder / "held", whole), partial(disappearing, folder, whole)]
    for act in odd[:count]:
        yield act()


def train_at(place: Path, whole: list[str]) -> str:
    """Train there, and go on from what is there."""
    apart(partial(train, place))
    return compare(apart(partial(train, place)), whole, repr(place.parent.name))


def held(path: Path, whole: list[str]) -> str:
    """A virus scanner or a sync tool holds each file for a moment before it can be renamed."""

    def act() -> list[str]:
        real, first = os.replace, dict[str, float]()

        def replace(source: str, target: str) -> None:
            begun = first.setdefault(str(source), time.monotonic())
            if time.monotonic() - begun < 0.2:
                raise PermissionError(13, "held by another process", str(target))
            real(source, target)

        os.replace = replace  # type: ignore[assignment]
        return train(path)

    return compare(apart(act), whole, "files that are held for a moment")


def disappearing(folder: Path, whole: list[str]) -> str:
    """A drive that disappears after the second epoch: an error at once that names what is safe, and then it goes on."""
    drive = folder / "drive"

    def pull(training: Training) -> None:
        if training.epoch == 2:  # and stored
            drive.rename(folder / "pulled")
            drive.write_text("nothing is mounted here")

    ended = apart(partial(train, drive / "run", on_epoch=[pull]))
    if not ended.is_clear or not ended.error.endswith("epoch 2") or ended.seconds > SECONDS:
        return f"a drive that disappears: {ended.error or 'nobody was told'}"
    drive.unlink()
    (folder / "pulled").rename(drive)
    return compare(apart(partial(train, drive / "run")), whole, "a drive that was away")


READ_ONLY = """
import sys
def refuse(event, arguments):
    is_write = event == "open" and isinstance(arguments[0], str) and arguments[2] & 3
    if (is_write or event in ("os.mkdir", "os.rename", "os.remove")) and str(arguments[0]).startswith({package!r}):
        raise PermissionError(30, "Read-only file system", arguments[0])
sys.addaudithook(refuse)
from fmnist_lib.cli import main
sys.exit(main(["train", "alexnet", "--recipe", "smoke", "--epochs", "1", "--out", {out!r}]))
"""


def read_only_install(folder: Path) -> str:
    """A library whose own folder takes no file, as a system's package."""
    script = READ_ONLY.format(package=str(ROOT / "fmnist_lib"), out=str(folder / "installed"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, cwd=folder, capture_output=True, text=True)
    held = ended.returncode == 0 and "Traceback" not in ended.stderr and (folder / "installed" / "run.json").exists()
    return "" if held else f"a read-only install: {ended.stderr[-300:]}"


def without_home(folder: Path) -> str:
    """A user whom the machine does not know, and no HOME: the data are looked for without a traceback."""

    def act() -> str:
        os.environ.pop("HOME", None)
        os.environ.pop("XDG_CACHE_HOME", None)
        Path.expanduser = lambda _: (_ for _ in ()).throw(RuntimeError("no home"))
        return str(download.cache_folder())

    ended = apart(act)
    return f"no HOME: {ended.error}" if ended.error else ""


def in_ascii(folder: Path) -> str:
    """A sweep with Chinese names where the locale knows ASCII alone."""
    text = (
        '{"runs": [{"model": "alexnet", "recipe": {"name": "服装", "dataset": "tiny", "epochs": 1, "batch_size": 50}}]}'
    )
    (folder / "扫.json").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "fmnist_lib", "sweep", str(folder / "扫.json")]
    strict = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # else Python helps itself to UTF-8
    ends = [
        subprocess.run(
            command,
            env=os.environ | {"LC_ALL": "C", "PYTHONPATH": str(ROOT)} | more,
            capture_output=True,
            text=True,
            errors="replace",
        )
        for more in ({}, strict)
    ]
    is_clear = ends[1].returncode == 0 or "Set LC_ALL=C.UTF-8" in ends[1].stderr
    held = ends[0].returncode == 0 and is_clear and "Traceback" not in ends[0].stderr + ends[1].stderr
    return "" if held else f"the C locale: {ends[0].stderr[-300:]} {ends[1].stderr[-300:]}"
