"""Files that are damaged, swapped, hostile or mutated at random, and names that are scripts."""

import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from children import Ended, apart, memory_of
from fault_runs import TINY, compare, digest, outcome, train
from nbformat import v4
from PIL import Image

from fmnist_lib import cli, data
from fmnist_lib.data.sets import parse_idx
from fmnist_lib.errors import LabError
from fmnist_lib.runs import measure, record
from fmnist_lib.runs.checkpoint import RECORDING, WEIGHTS, Run, state_path
from fmnist_lib.runs.places import Site
from fmnist_lib.runs.storage import digest_json
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.explorer.page import whole_page
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder

ROOT = Path(__file__).parents[1]
SECONDS, GIGABYTES = 10.0, 2.0  # that a hostile file may take


def make_run(path: Path, *, seed: int = 0) -> list[str]:
    """A whole run with its recording, but without figures, which take long."""
    record.draw_run = lambda *_: []
    train(path, seed=seed)
    run = Run.load(path)
    measure.measure_run(run, ("val", "test"), site=Site("cpu"))
    record.record_run(run, most=2, site=Site("cpu"))
    return outcome(run)


def damages(count: int, folder: Path) -> Iterator[str]:
    """So many flipped bits, half as many truncations, nothing, and another run's file, for each file of a run."""
    path, other, random_ = folder / "run", folder / "other", random.Random(0)
    whole = apart(partial(make_run, path)).result
    apart(partial(make_run, other, seed=1))
    last = state_path(path, TINY.epochs)
    for file in (path / "run.json", path / WEIGHTS, path / RECORDING, last):
        good, expected = file.read_bytes(), digest(read_all(path))
        for number, bad in enumerate(damaged(good, count, random_, (other / file.relative_to(path)).read_bytes())):
            file.write_bytes(bad)
            yield silent(path, expected, f"{file.name}, damage {number}")
            if file.name in (WEIGHTS, last.name) and number % 16 == 0:
                (path / WEIGHTS).unlink()  # so that `train` has to look at the states
                yield compare(apart(partial(train, path)), whole, f"train after damage {number} of {file.name}")
            file.write_bytes(good)


def damaged(good: bytes, count: int, random_: random.Random, swapped: bytes) -> Iterator[bytes]:
    """A file's content in every way in which it gets damaged."""
    for _ in range(count):
        bad = bytearray(good)
        bad[random_.randrange(len(bad))] ^= 1 << random_.randrange(8)
        yield bytes(bad)
    for _ in range(count // 2):
        yield good[: random_.randrange(len(good))]
    yield b""
    yield swapped


def read_all(path: Path) -> list[Any]:
    """Everything that is stored of a run."""
    run = Run.load(path)
    recording = run.recording()
    values = [[recording.values(kind, layer, epoch).tobytes() for epoch in recording.epochs]
              for kind in ("kernels", "maps") for layer in recording.layers[kind]]  # fmt: skip
    return [vars(run).items(), run.weights(), values, run.state(run.epochs_done)]


def silent(path: Path, expected: str, what: str) -> str:
    """Whether a damaged run loads with other values than it was stored with."""
    try:
        return "" if digest(read_all(path)) == expected else f"{what}: loads with other values"
    except LabError:
        return ""
    except Exception as error:  # any other is what the promise rules out
        return f"{what}: {type(error).__name__}: {error}"


class Bomb:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def png(width: int, height: int, *, depth: int = 16) -> bytes:
    """A black picture that is small as a file, however many pixels it has."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + width * depth // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    size = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bomb_zip(**members: bytes) -> bytes:
    """A zip file with these members beside 1 GB of zeros, as a .npz."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with archive.open("inputs.npy", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(2**24))
    return buffer.getvalue()


DEEP = "[" * 100_000
ANY_FILE: dict[str, bytes | Callable[[Path], object]] = {  # in the place of any file that is read
    "empty": b"",
    "zeros": bytes(4096),
    "deep": DEEP.encode(),
    "a pickle": pickle.dumps(Bomb()),
    "not UTF-8": b"\xff\xfe{}",
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
}
RUN_JSON: dict[str, Callable[[dict[str, Any]], object]] = {  # with a checksum that is right
    "seed 10^30": lambda run: run.update(seed=10**30),
    "seed as text": lambda run: run.update(seed="0"),
    "model a list": lambda run: run.update(model=["alexnet"]),
    "model a path": lambda run: run.update(model="../../x"),
    "overrides unknown": lambda run: run["recipe"].update(overrides={"x": 1}),
    "overrides negative": lambda run: run["recipe"].update(overrides={"hidden": -1}),
    "overrides wide": lambda run: run["recipe"].update(overrides={"hidden": 10**5}),
    "overrides a tower": lambda run: run["recipe"].update(overrides={"widths": [4096] * 5}),
    "overrides text": lambda run: run["recipe"].update(overrides="all"),
    "recipe a list": lambda run: run.update(recipe=[]),
    "recipe unknown": lambda run: run["recipe"].update(more=1),
    "epochs infinite": lambda run: run["recipe"].update(epochs=float("inf")),
    "batch of 10^18": lambda run: run["recipe"].update(batch_size=10**18),
    "data set a list": lambda run: run["recipe"].update(dataset=["tiny"]),
    "history null": lambda run: run.update(history=None),
    "history of nothing": lambda run: run["history"].update(epochs=[{}]),
    "history of text": lambda run: run["history"].update(epochs="all"),
    "evaluation a list": lambda run: run.update(evaluation=[]),
    "environment a number": lambda run: run.update(environment=1),
    "format 10^9": lambda run: run.update(format=10**9),
    "files of anything": lambda run: run.update(files={"../x": "y"}),
    "another seed": lambda run: run.update(seed=5),
}
SWEEPS: dict[str, Any] = {
    "a list": [],
    "runs a number": {"runs": 1},
    "a run a text": {"runs": ["alexnet"]},
    "no model": {"runs": [{"recipe": "smoke"}]},
    "model a list": {"runs": [{"model": ["alexnet"], "recipe": "smoke"}]},
    "recipe a number": {"runs": [{"model": "alexnet", "recipe": 1}]},
    "a path": {"runs": [{"model": "alexnet", "recipe": {"name": "x/../../../Y", "dataset": "tiny"}}]},
    "seeds a text": {"runs": [{"model": "alexnet", "recipe": "smoke", "seeds": "all"}]},
    "seeds 10^30": {"runs": [{"model": "alexnet", "recipe": "smoke", "seeds": [10**30]}]},
    "seeds negative": {"runs": [{"model": "alexnet", "recipe": "smoke", "seeds": [-1]}]},
    "changes a list": {"runs": [{"model": "alexnet", "recipe": "smoke", "changes": [1]}]},
    "changes unknown": {"runs": [{"model": "alexnet", "recipe": "smoke", "changes": {"x": 1}}]},
    "lr infinite": {"runs": [{"model": "alexnet", "recipe": "smoke", "changes": {"lr": float("inf")}}]},
    "test a text": {"runs": [], "test": "yes"},
}
PICTURES = {
    "16 bits, many pixels": partial(png, 13_000, 13_000),
    "8 bits, more pixels": partial(png, 20_000, 20_000, depth=8),
    "starts a program": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n",
    "truncated": lambda: png(500, 500)[:60],
    "header alone": lambda: png(10, 10)[:33],
}
CELL = b'{"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": 1}'
NOTEBOOKS = {  # as the cells of a notebook
    "nothing": b"null",
    "numbers": b"[1, 2]",
    "deep": CELL.replace(b'"1"', DEEP.encode()),
    "a count of 10^30": b"[" + CELL.replace(b": 1}", b": 1e30}") + b"]",
    "outputs a number": b"[" + CELL.replace(b"[]", b"1") + b"]",
    "a source of 50 MB": b"[" + CELL.replace(b'"1"', b'"' + b"a " * 25_000_000 + b'"') + b"1]",
    "a million": b"[" + (CELL + b",") * 500_000 + b"1]",
}
RECORDINGS = {
    "a bomb": lambda: bomb_zip(**{"header.json": b'{"format": 1}'}),
    "no header": lambda: bomb_zip(),
}


def hostile_files(count: int, folder: Path) -> Iterator[str]:
    """Each hostile file given to a command that reads it: no code runs, a clear error soon, in little memory."""
    path = folder / "run"
    apart(partial(make_run, path))
    shutil.rmtree(path / "epochs")
    Image.new("L", (60, 60)).save(folder / "picture.png")
    (folder / "set").mkdir()
    places = {
        "evaluate": path / "run.json",
        "predict": path / WEIGHTS,
        "record": path / RECORDING,
        "sweep": folder / "sweep.json",
        "data": folder / "set" / "train-images-idx3-ubyte",
        "handout": folder / "notebooks" / "01.ipynb",
        "check": folder / "handed" / "01.ipynb",
    }
    for name in ("handout", "check"):
        places[name].parent.mkdir()
    calls = {name: [name, str(path)] for name in ("evaluate", "predict", "record")}
    calls |= {"sweep": ["sweep", str(places["sweep"])], "data": ["data", "--data", str(folder / "set")]}
    calls |= {"handout": ["handout", "--out", str(folder / "out")], "check": ["check", str(folder / "handed")]}
    calls["predict"].append(str(folder / "picture.png"))
    cases = list(hostile(places, folder / "picture.png"))
    few = cases[:: -(-len(cases) // count)]
    for command, file, name, content in few:
        with replaced(file, content):
            yield judge(calls[command], folder, f"{command}, {file.name}: {name}")
    yield from hostile_states(folder / "resumed", folder, most=len(ANY_FILE) if few == cases else 1)


def hostile_states(path: Path, folder: Path, *, most: int) -> Iterator[str]:
    """Hostile files in the place of the last state of a run whose weights are lost: it goes on from the one before,
    or says why not."""
    whole = apart(partial(train, path)).result
    for name, content in list(ANY_FILE.items())[:most]:
        (path / WEIGHTS).unlink()
        with replaced(state_path(path, TINY.epochs), content):
            ended = apart(partial(train, path), patience=4 * SECONDS)
        fault = "" if ended.is_clear else compare(ended, whole, f"train, a state: {name}")
        fault = fault or too_much(ended)
        yield f"{fault}; ran code" if (folder / "executed").exists() else fault


def hostile(places: dict[str, Path], picture: Path) -> Iterator[tuple[str, Path, str, Any]]:
    """Command, file, name and content of each."""
    for command, file in places.items():
        for name, content in ANY_FILE.items():
            yield command, file, name, content
    for name, content in ANY_FILE.items():
        yield "predict", picture, name, content
    for name, change in RUN_JSON.items():
        yield "evaluate", places["evaluate"], name, edited(places["evaluate"], change)
    for name, told in SWEEPS.items():
        yield "sweep", places["sweep"], name, json.dumps(told).encode()
    for name, make in PICTURES.items():
        yield "predict", picture, name, make()
    for name, make in RECORDINGS.items():
        yield "record", places["record"], name, make()
    for name, cells in NOTEBOOKS.items():
        for command in ("check", "handout"):
            told = b'{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": ' + cells + b"}"
            yield command, places[command], f"cells: {name}", told


def edited(file: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A run.json with other values and a right checksum."""
    content = json.loads(file.read_text())
    change(content)
    return json.dumps(content | {"sha256": digest_json(content)}).encode()


class replaced:
    """Within it a file is another one, or something that is no file."""

    def __init__(self, path: Path, content: bytes | Callable[[Path], object]) -> None:
        self.path, self.aside, self.content = path, path.with_name("aside"), content

    def __enter__(self) -> None:
        with suppress(FileNotFoundError):
            self.path.replace(self.aside)
        if isinstance(self.content, bytes):
            self.path.write_bytes(self.content)
        else:
            self.content(self.path)

    def __exit__(self, *_: object) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.aside.replace(self.path)


def judge(call: list[str], folder: Path, what: str) -> str:
    """What a command, called in that folder, does with a hostile file that it should not."""

    def act() -> int:
        os.chdir(folder)
        return cli.main(call)

    ended = apart(act, patience=4 * SECONDS)
    # To `check` a bad file is a finding, and no failure.
    is_told = ended.printed.startswith(("error: ", "note: "))
    is_told |= call[0] == "check" and ("red" in ended.printed or "amber" in ended.printed)
    faults = []
    if ended.error or "Traceback" in ended.printed:
        faults.append(f"ends in {ended.error or ended.printed[-300:]}")
    elif ended.result != (call[0] != "check") or not is_told:
        faults.append(f"exit {ended.result}: {ended.printed[-300:]}")
    if fault := too_much(ended):
        faults.append(fault)
    if (folder / "executed").exists():
        faults.append("ran code")
    return f"{what}: {'; '.join(faults)}" if faults else ""


def too_much(ended: Ended) -> str:
    """Whether a child took longer, or more memory, than a hostile file may make it take."""
    is_much = ended.seconds > SECONDS or ended.memory > GIGABYTES
    return f"takes {ended.seconds:.1f} s and {ended.memory:.1f} GiB" if is_much else ""


SCRIPTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onclick=`alert(1)",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<base href='https://example.org/'>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<form action='https://example.org/'><button>x",
    "<math><mtext><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028</script >\u2029<script >alert(1)</script >",
]


SCRIPT = re.compile(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", re.DOTALL)


class Structure(HTMLParser):
    """The elements of a page and the names of their attributes, without any text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, sorted(name for name, _ in attrs)))


def page_of(name: str) -> str:
    """An explorer's page of a recording in which every name is this one."""
    about = {"model": name, "recipe": name, "classes": [name] * 3, "labels": [0, 1, 2]}
    made = RecordingBuilder(about=about, epochs=[0, 1])
    values = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    made.store("inputs", values[:, :1])
    for epoch in made.epochs:
        made.keep("maps", name, epoch, values)
        made.members[f"scores/{epoch}"] = np.full((3, 3), 1 / 3, np.float32)
    explorer = Explorer(Recording(made.pack()), caption=name)
    return whole_page(explorer.html(), title=name)


def notebook_page(text: str) -> str:
    """The lab report of a notebook whose name, comments, outputs and errors are this text."""
    from fmnist_lib.report.exporters import LabReportExporter  # the lab extra has it

    outputs = [
        v4.new_output("stream", text=text),
        v4.new_output("stream", name="stderr", text=text),
        v4.new_output("execute_result", {"text/plain": text}, execution_count=1),
        v4.new_output("error", ename=text, evalue=text, traceback=[text]),
    ]
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell(f"# {text}", outputs=outputs, execution_count=1)]
    resources = {"metadata": {"name": text, "path": str(ROOT)}}
    page, _ = LabReportExporter().from_notebook_node(v4.new_notebook(cells=cells), resources)
    return str(page)


def scripts(count: int, folder: Path) -> Iterator[str]:
    """Names and texts that are scripts, and what the pages of our own notebooks say of the machine."""
    pages = {"an explorer": page_of, "a notebook": notebook_page}
    plain = {name: Structure(make("plain")).found for name, make in pages.items()}
    for script in SCRIPTS[:count]:
        changed = [name for name, make in pages.items() if Structure(make(script)).found != plain[name]]
        yield f"{script!r} changed the elements of the page of {' and '.join(changed)}" if changed else ""
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))[: max(0, count - len(SCRIPTS))]:
        yield tells_nothing(path)


def tells_nothing(path: Path) -> str:
    """What a notebook's page says of who made it where, and what runs in it beside our own scripts."""
    from fmnist_lib.report.exporters import LabReportExporter

    page = LabReportExporter().from_filename(str(path))[0]
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>|data:[\w/+;,=]*", "", page, flags=re.DOTALL)
    private = [str(ROOT), f"{Path.home()}/", "/home/", "/root/", "/Users/", "/tmp/"]
    told = [word for word in private if word in text]
    told += re.findall(rf"\b{re.escape(socket.gethostname())}\b", text)
    page_of_nothing, explorer = notebook_page(""), page_of("plain")
    known = {script.strip() for made in (page_of_nothing, explorer) for script in SCRIPT.findall(made)}
    strange = [script[:80] for script in SCRIPT.findall(page) if script.strip() and script.strip() not in known]
    return f"{path.name}: tells {told}, runs {strange}" if told or strange else ""


def fuzz(count: int, folder: Path) -> Iterator[str]:
    """Mutated IDX files, run.json, recordings and pictures: the right answer or a clear error, within two seconds.

    And in less than a GiB more than the process had before.
    """
    path = folder / "run"
    apart(partial(make_run, path))
    Image.effect_noise((40, 40), 90).save(folder / "picture.png")
    run_json, picture = path / "run.json", folder / "picture.png"

    def through(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
        def act(content: bytes) -> object:
            file.write_bytes(content)
            return read()

        return act

    readers = {
        "an IDX file": (b"\0\0\x08\x03\0\0\0\x02\0\0\0\x03\0\0\0\x04" + bytes(range(24)), parse_idx),
        "run.json": (run_json.read_bytes(), through(run_json, lambda: Run.load(path))),
        "a recording": ((path / RECORDING).read_bytes(), read_recording),
        "a picture": (picture.read_bytes(), through(picture, lambda: data.read_picture(picture))),
    }
    random_, before = random.Random(0), memory_of(resource.getrusage(resource.RUSAGE_SELF))
    for name, (good, read) in readers.items():
        for number in range(count):
            bad = mutate(good, random_) if name != "run.json" else resigned(good, random_)
            started, fault = time.perf_counter(), ""
            try:
                read(bad)
            except LabError:
                pass
            except Exception as error:  # any other is what the promise rules out
                fault = f"{type(error).__name__}: {error}"
            seconds = time.perf_counter() - started
            memory = memory_of(resource.getrusage(resource.RUSAGE_SELF)) - before
            fault = fault or (f"took {seconds:.1f} s and {memory:.1f} GiB" if seconds > 2 or memory > 1 else "")
            yield f"{name}, mutation {number}: {fault}" if fault else ""


def read_recording(content: bytes) -> None:
    """Everything in a recording."""
    recording = Recording(content)
    for kind, layers in recording.layers.items():
        for layer in layers:
            for epoch in recording.epochs:
                if recording.has(kind, layer, epoch):
                    recording.values(kind, layer, epoch)


def mutate(good: bytes, random_: random.Random) -> bytes:
    """Bytes with some changed, cut out, doubled or put in."""
    bad = bytearray(good)
    for _ in range(random_.choice((1, 1, 2, 8))):
        start = random_.randrange(len(bad) + 1)
        end = min(len(bad), start + random_.choice((0, 1, 1, 4, 50)))
        bad[start:end] = random_.choice((random_.randbytes(end - start), bytes(end - start), b"", bad[start:end] * 2))
    return bytes(bad)


VALUES = (None, True, -1, 0, 1.5, 10**30, float("nan"), "", "x", "\ud800", [], [[]], {}, {"x": 1}, "9" * 5000)


def resigned(good: bytes, random_: random.Random) -> bytes:
    """A run.json in which some values are others, half of the time with a checksum that is right."""
    content = json.loads(good)
    for _ in range(random_.choice((1, 1, 2))):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = random_.choice(keys)
            if not isinstance(place[key], (dict, list)) or not place[key] or random_.random() < 0.3:
                place[key] = deepcopy(random_.choice(VALUES))
                break
            place = place[key]
    with suppress(ValueError):
        content["sha256"] = digest_json(content) if random_.random() < 0.5 else content["sha256"]
    return json.dumps(content).encode()
