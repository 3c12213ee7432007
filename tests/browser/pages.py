"""Pages to look at, and what several browser tests do with them."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import Recording, RecordingBuilder

BROWSER_OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
BROWSER_OPTIONS += ["--disable-component-update", "--disable-sync"]
CAPTION = "第一层的特征图随训练的变化"
CLASSES = ["T-shirt/top", "Trouser", "Pullover"]


def give_up(reason: str) -> None:
    """Skip with the reason, or fail with it where nobody would see a skip."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def make_recording(*, epochs: int = 6, seed: int = 0, channels: int = 12) -> Recording:
    """Random pictures of several kinds, one dead channel and a few values that are not finite."""
    generator = np.random.default_rng(seed)
    about = {"model": f"net{channels}", "classes": CLASSES, "labels": [0, 1, 2]}
    made = RecordingBuilder(about=about, epochs=list(range(epochs)))
    made.store("inputs", generator.normal(size=(3, 1, 28, 28)).astype(np.float32))
    for epoch in made.epochs:
        for layer, count, side in (("stem.act", channels, 28), ("stage2.act", 2 * channels, 14), ("top.act", 70, 1)):
            maps = np.maximum(generator.normal(size=(3, count, side, side)), 0) * (1 + epoch)
            maps[:, 1] = 0
            if epoch == 2:
                maps[1, 2, 0, 0] = np.nan
            made.keep("maps", layer, epoch, maps.astype(np.float32))
        made.keep("kernels", "stem.conv", epoch, generator.normal(size=(channels, 3, 5, 5)).astype(np.float32))
        made.keep("cams", "stem.act", epoch, generator.random((3, 1, 28, 28), np.float32))
        made.members[f"scores/{epoch}"] = np.full((3, 3), 1 / 3, np.float32)
    return Recording(made.pack())


def write_page(path: Path, *explorers: Explorer, twice: bool = False) -> str:
    """A page of explorers; the same HTML again where `twice`. Gives its address."""
    body = "<hr>".join(explorer.html() for explorer in explorers)
    path.write_text(f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><body>'
                    f"{body + body if twice else body}</body>", encoding="utf-8")  # fmt: skip
    return path.as_uri()


def wait_until_live(page: Any, count: int = 1) -> None:
    """Until so many players have drawn their first frame."""
    page.wait_for_function("n => document.querySelectorAll('.fmx[data-live]').length >= n", arg=count)


# A checksum of the canvas as it is, and of what it shows.
READ_CANVAS = """([root, panel]) => {
  const canvas = document.querySelectorAll('.fmx')[root].querySelectorAll('.fmx-canvas')[panel];
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  window.crcTable ??= Int32Array.from({length: 256}, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
    return n;
  });
  let crc = -1;
  for (const byte of data) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 255];
  return [canvas.height, canvas.width, (crc ^ -1) >>> 0];
}"""
SET_RANGE = """([root, name, value]) => {
  const input = document.querySelectorAll('.fmx')[root].querySelector(`input[data-axis="${name}"]`);
  if (!input) return;
  input.value = value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
}"""


def read_canvas(page: Any, root: int = 0, panel: int = 0) -> list[int]:
    return page.evaluate(READ_CANVAS, [root, panel])


def frame(page: Any, root: int = 0) -> str:
    return page.locator(".fmx").nth(root).get_attribute("data-frame")


def choose(page: Any, name: str, value: str, root: int = 0) -> None:
    select = page.locator(".fmx").nth(root).get_by_label(name, exact=True)
    if select.is_visible():
        select.select_option(value)
    else:  # a Grad-CAM has one view, and the others are chosen when something else is shown
        select.evaluate("(it, value) => { it.value = value; it.dispatchEvent(new Event('change')); }", value)


def checksum(explorer: Explorer, panel: int = 0) -> list[int]:
    pixels = explorer.pixels(panel=panel)
    return [*pixels.shape[:2], zlib.crc32(pixels.tobytes())]


def slide_to(page: Any, explorer: Explorer, root: int = 0) -> None:
    """Bring the page's sliders to the explorer's position, in an order in which each value exists."""
    position = explorer.position
    for name in ("kind", "view", "scale"):
        if page.locator(".fmx").nth(root).get_by_label(name, exact=True).count():
            choose(page, name, position[name], root)
    for axis in ("layer", "epoch", "image", "channel"):
        page.evaluate(SET_RANGE, [root, axis, explorer._indexed()[axis]])


def random_positions(explorer: Explorer, count: int) -> list[dict[str, Any]]:
    """Places all over what there is, the same ones each time."""
    generator = random.Random(0)
    axes = explorer._axes
    positions = []
    for _ in range(count):
        kind = generator.choice(axes.kinds)
        step = generator.choice(axes.steps[kind])
        places = {"epoch": axes.epochs, "channel": step.channels, "image": step.images}
        places |= {"scale": ("shared", "epoch", "channel"), "view": ("sheet", "single")}
        positions.append({name: generator.choice(values) for name, values in places.items()})
        positions[-1] |= {"kind": kind, "layer": step.layer}
    return positions


@dataclass
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    folder: Path

    def address(self, notebook: str) -> str:
        """Where a notebook opens, in a workspace of its own."""
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"

    def ask(self, path: str, method: str = "GET") -> Any:
        """The server's REST interface."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def stop_kernels(self) -> None:
        """As if the machine had been switched off over night."""
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")


@contextlib.contextmanager
def start_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab as a student starts it, on loopback, with nothing of the user's own settings."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{f"JUPYTER_{part}_DIR": str(folder / part.lower()) for part in ("CONFIG", "DATA", "RUNTIME")},
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=secret", f"--ServerApp.root_dir={folder}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    started = Lab(f"http://127.0.0.1:{port}", "secret", folder)
    try:
        wait_for_server(started, server)
        yield started
        with contextlib.suppress(OSError):
            started.stop_kernels()
    finally:
        server.terminate()
        try:
            server.wait(3)
        except subprocess.TimeoutExpired:  # it waits for its kernels as long as they like; they end with it
            server.kill()


def wait_for_server(lab: Lab, server: "subprocess.Popen[bytes]") -> None:
    """Until JupyterLab answers, at most a minute."""
    for _ in range(120):
        with contextlib.suppress(OSError):
            lab.ask("status")
            return
        if server.poll() is not None:
            break
        time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start: {(lab.folder / 'server.log').read_text()[-2000:]}")
