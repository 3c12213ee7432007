"""Bringing the set here over real sockets and from a real package archive, and what goes wrong on the way."""

import errno
import gzip
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mirror
import pytest
from filelock import FileLock
from mirror import GOOD, IMAGES, LABELS, NAMES, Serve

from fmnist_lib import data
from fmnist_lib.data import DataError, download, sets

COMMANDS = os.environ["PATH"]
CHILD = """
import sys
from pathlib import Path
from fmnist_lib import data
from fmnist_lib.data import download, sets
download.MIRRORS, download.FULL, download.PACKAGE_FOLDER = (sys.argv[1],), sets.TINY, Path("nowhere")
print(data.load("test")[0].long().sum().item(), data.find().name)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return mirror.bare_machine(tmp_path, monkeypatch)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with mirror.serving() as start:
        yield start


def assert_cached(cache: Path) -> None:
    """Exactly the four right files, and no part of one."""
    assert {path.name for path in cache.iterdir()} == {*NAMES, "lock"}
    assert all((cache / name).read_bytes() == gzip.decompress(GOOD[f"{name}.gz"]) for name in NAMES)


def start_child(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.parametrize("fault", mirror.FAULTS)
def test_a_bad_file_in_the_cache_is_replaced(
    cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, fault: str
) -> None:
    mirror.spoil(mirror.put(cache), fault)
    server = serve(GOOD.__getitem__)
    monkeypatch.setattr(download, "MIRRORS", (server.url,))
    if fault == "a folder instead":  # not ours to remove: it may hold anything
        with pytest.raises(DataError, match="cannot be written"):
            data.find()
        return
    assert data.find() == data.Location(f"mirror {server.url}", cache)
    assert server.asked == [f"{IMAGES}.gz"]  # the three good files were kept
    assert data.find().name == "the cache" and not (cache / f"{IMAGES}.gz").exists()


def hang(_: str) -> bytes:
    time.sleep(1.5)
    return b""


BAD_MIRRORS: dict[str, tuple[mirror.Answer, str]] = {
    "without the file": (lambda _: 404, "404"),
    "broken": (lambda _: 500, "500"),
    "behind a portal": (lambda _: b"<html>please log in</html>", "another file"),
    "empty": (lambda _: b"", "another file: 0 bytes"),
    "cut off": (lambda file: GOOD[file][:80], "truncated"),
    "of another set": (lambda file: gzip.compress(mirror.mnist(gzip.decompress(GOOD[file]))), "another data set"),
    "a gzip bomb": (lambda _: gzip.compress(bytes(2**22)), "too long or another file: 1,048,576"),
    "endless": (lambda _: bytes(2**22), "too large"),
    "hanging": (hang, "timed out"),
}


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_a_bad_mirror_is_passed_over(cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, kind: str) -> None:
    answer, reason = BAD_MIRRORS[kind]
    bad, good = serve(answer), serve(GOOD.__getitem__)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "LARGEST", 2**20)
    monkeypatch.setattr(download, "MIRRORS", (bad.url, good.url))
    start = time.monotonic()
    assert data.find().name == f"mirror {good.url}"
    assert time.monotonic() - start < 5
    tries = 1 if kind == "hanging" else 2  # then no more of its files
    assert bad.asked == [f"{IMAGES}.gz"] * tries
    assert_cached(cache)
    with pytest.raises(DataError, match=reason):
        download.download(f"{bad.url}/{IMAGES}.gz", sets.TINY[IMAGES], timeout=0.2)


def test_a_mirror_that_fails_once_is_asked_again(cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    server = serve(lambda file: 503 if len(server.asked) == 1 else GOOD[file])
    monkeypatch.setattr(download, "MIRRORS", (server.url,))
    assert data.find().name == f"mirror {server.url}"
    assert_cached(cache)


def test_what_a_failing_mirror_brought_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    cache.mkdir(parents=True)
    (cache / mirror.TEST_LABELS).write_bytes(b"bad, and so not counted as kept")
    half, good = serve(lambda file: GOOD[file] if "train" in file else 404), serve(GOOD.__getitem__)
    monkeypatch.setattr(download, "MIRRORS", (half.url,))
    with pytest.raises(DataError, match=f"Kept in .*: {IMAGES}, {LABELS}\\."):
        data.find()
    monkeypatch.setattr(download, "MIRRORS", (good.url,))
    data.find()
    assert good.asked == [f"{mirror.TEST_IMAGES}.gz", f"{mirror.TEST_LABELS}.gz"]


def test_two_processes_fetch_the_set_once(cache: Path, serve: Serve) -> None:
    def answer(file: str) -> bytes:
        time.sleep(0.2)  # long enough for the other to come along
        return GOOD[file]

    server = serve(answer)
    children = [start_child(server.url) for _ in range(2)]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert said == [f"{data.load('test', dataset='tiny')[0].long().sum().item()} the cache\n"] * 2
    assert sorted(server.asked) == sorted(GOOD)
    assert_cached(cache)


def test_a_killed_process_leaves_no_half_file_and_no_lock(
    cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    reached, ended = threading.Event(), threading.Event()

    def answer(file: str) -> bytes:
        if file == f"{mirror.TEST_IMAGES}.gz" and not reached.is_set():
            reached.set()
            ended.wait(30)
        return GOOD[file]

    server = serve(answer)
    child = start_child(server.url)
    assert reached.wait(60)
    child.kill()
    child.communicate()
    ended.set()
    assert {path.name for path in cache.iterdir()} == {IMAGES, LABELS, "lock"}
    monkeypatch.setattr(download, "MIRRORS", (server.url,))
    data.find()
    assert_cached(cache)


def test_a_full_disk_leaves_no_part_and_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server = serve(GOOD.__getitem__)
    monkeypatch.setattr(download, "MIRRORS", (server.url,))
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(DataError, match="No space left"):
        data.find()
    assert {path.name for path in cache.iterdir()} == {"lock"}


def test_parts_of_the_dead_are_swept_and_those_of_the_living_are_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    cache.mkdir(parents=True)
    old, new = cache / f"{IMAGES}.1.part", cache / f"{IMAGES}.2.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    monkeypatch.setattr(download, "MIRRORS", (serve(GOOD.__getitem__).url,))
    data.find()
    assert new.exists() and not old.exists()


def test_a_cache_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    cache.parent.write_bytes(b"a file where the folder should be")
    server = serve(GOOD.__getitem__)
    monkeypatch.setattr(download, "MIRRORS", (server.url,))
    with pytest.raises(DataError, match=r"nothing was fetched, for .* cannot be written(.|\n)*XDG_CACHE_HOME"):
        data.find()
    assert server.asked == []  # nothing is fetched that could not be kept


def test_a_lock_that_is_never_given_back_does_not_stop_us(
    cache: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    cache.mkdir(parents=True)
    monkeypatch.setattr(download, "MIRRORS", (serve(GOOD.__getitem__).url,))
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    with FileLock(cache / "lock"):
        data.find()
    assert_cached(cache)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that hands out a real archive of the tiny files; every other command is the system's."""
    if not shutil.which("dpkg-deb", path=COMMANDS):
        pytest.skip("needs dpkg-deb, as Debian and Ubuntu have it")
    tree, commands = tmp_path / "tree", tmp_path / "commands"
    mirror.put(tree / download.PACKAGE_FOLDER.relative_to("/"))
    control = f"Package: {download.PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(f"{control}Description: the tiny set\n")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{COMMANDS}")
    subprocess.run(["dpkg-deb", "-b", tree, tmp_path / "package.deb"], check=True, capture_output=True)
    commands.mkdir()
    (commands / "apt-get").write_text(f'#!/bin/sh\necho "W: unsandboxed" >&2\ncp {tmp_path}/package.deb .\n')
    (commands / "apt-get").chmod(0o755)
    return commands / "apt-get"


def test_the_package_archive_comes_last_and_serves(cache: Path, apt: Path) -> None:
    assert data.find() == data.Location("package dataset-fashion-mnist by apt-get", cache)
    assert_cached(cache)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'W: old' >&2; echo 'E: Unable to locate package' >&2; exit 100", "E: Unable to locate package .*update"),
        ("exit 1", "no reason given"),
        ("echo not an archive > x.deb", "dpkg-deb|archive"),
        ("exit 0", "no such folder|is missing"),
        ("exec sleep 5", "did not finish"),
    ],
)
def test_an_apt_get_that_fails_is_reported(
    apt: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    apt.write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(download, "PATIENCE", 1.0)
    with pytest.raises(DataError, match=f"by apt-get: .*({reason})"):
        data.find()
