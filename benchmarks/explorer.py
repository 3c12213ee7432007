"""How fast the explorer is, and what else could have been used: writes explorer.json beside this file.

    python benchmarks/explorer.py            # about six minutes on an idle machine, with Chromium
    pip install plotly                       # first, to have Plotly in the comparison

A move is a real key on a slider in Debian's Chromium. Its time runs from the key's own time stamp to the moment after
the next frame was handed to the compositor. Letters: E epochs, C channels, H height, W width.
"""

import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
from pages import BROWSER_OPTIONS, start_lab, wait_until_live, write_page

from fmnist_lib import data, models
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recorder import Probe, Recorder
from fmnist_lib.visualisers.recording import Recording

MOVES = 200
EPOCHS = 11
LAYERS = ["stem.act", "stage1.1.act2", "stage2.1.act2", "stage3.1.act2", "stage4.1.act2"]
RESULT = Path(__file__).with_suffix(".json")

# Notes for every key the time until the frame after the picture's change is on its way to the screen.
WATCH = """(selector) => {
  window.moves = [];
  let pressed = null;
  addEventListener('keydown', (event) => { pressed = event.timeStamp; }, true);
  window.changed = () => {
    if (pressed === null) return;
    const since = pressed;
    pressed = null;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => moves.push(performance.now() - since);
      channel.port2.postMessage(0);
    });
  };
  const isPicture = (node) => node.matches?.('img, image') || node.querySelector?.('img, image');
  const seen = (records) => {
    const isNew = (one) => ['data-frame', 'src', 'href'].includes(one.attributeName);  // href: an image within SVG
    if (records.some((one) => isNew(one) || [...one.addedNodes].some(isPicture))) changed();
  };
  for (const place of document.querySelectorAll(selector)) {
    new MutationObserver(seen).observe(place, {subtree: true, childList: true, attributes: true});
  }
}"""


def record() -> Recording:
    """A ResNet-18 of 64 to 512 channels on real images; another seed stands for each epoch."""
    images, labels = data.load("val", dataset="tiny")
    model = models.build("resnet18", widths=(64, 128, 256, 512))
    probe = Probe(data.normalise(images[:10]), labels[:10], shown=3)
    about = {"model": "resnet18", "classes": list(data.CLASSES), "labels": labels[:3].tolist()}
    recorder = Recorder(model, probe=probe, layers=LAYERS, about=about)
    for epoch in range(EPOCHS):
        drawn = models.build_seeded("resnet18", epoch, widths=(64, 128, 256, 512))
        model.load_state_dict(drawn.state_dict())
        recorder.snapshot(epoch)
    return recorder.recording()


def build_figures(recording: Recording) -> dict[str, Any]:
    """Seconds from a recording to the display bundle, and the sizes of its parts."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        explorer = Explorer(recording)
        page, sheet = explorer.html(), explorer._contact()
        seconds.append(time.perf_counter() - start)
    return {
        "build_seconds_median": round(statistics.median(seconds), 3),
        "html_bytes": len(page),
        "png_bytes": len(sheet),
        "images_on_the_page": len(explorer.panels[0].shown),
    }


@contextmanager
def open_browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_OPTIONS)
        yield browser
        browser.close()


def spread(times: list[float]) -> dict[str, Any]:
    """Median and 95th percentile of milliseconds."""
    if not times:
        return {"moves": 0}
    p50, p95 = np.percentile(times, [50, 95])
    return {"moves": len(times), "p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}


def press_keys(page: Any, slider: Any, count: int) -> list[float]:
    """Keys to and fro along a slider, each after the one before has been shown."""
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(1000)
    page.evaluate("moves.length = 0")
    way = ["ArrowRight"] * 4 + ["ArrowLeft"] * 4
    for move in range(count):
        page.keyboard.press(way[move % len(way)])
        try:
            page.wait_for_function("n => moves.length > n", arg=move, polling="raf", timeout=5000)
        except Exception:
            break
    return page.evaluate("moves")


def burst(page: Any, slider: Any) -> float:
    """Milliseconds from the first of ten keys, sent without waiting, until the last picture is there."""
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(500)
    page.evaluate("""() => { window.settled = [];
      new MutationObserver(() => requestAnimationFrame(() => settled.push(performance.now())))
        .observe(document.querySelector('.fmx'), {attributeFilter: ['data-frame']}); }""")
    start = page.evaluate("performance.now()")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1000)
    return round(page.evaluate("settled.at(-1)") - start, 1)


def measure_exported(browser: Any, recording: Recording, folder: Path) -> dict[str, Any]:
    """The page without a kernel: with 1, 4 and 8 explorers, and with each kind of slider and of picture."""
    figures: dict[str, Any] = {}
    for number in (1, 4, 8):
        page = browser.new_page()
        page.goto(write_page(folder / "page.html", *[Explorer(recording) for _ in range(number)]))
        wait_until_live(page, number)
        opened = page.evaluate("performance.now()")
        page.evaluate(WATCH, ".fmx")
        slider = page.get_by_role("slider", name="epoch", exact=True).first
        figures[f"{number} on a page"] = {"open_ms": round(opened), **spread(press_keys(page, slider, MOVES))}
        if number == 1:
            for axis in ("channel", "layer"):
                other = page.get_by_role("slider", name=axis, exact=True).first
                figures[f"slider {axis}"] = spread(press_keys(page, other, MOVES))
            figures["burst_of_ten_keys_ms"] = burst(page, slider)
        page.close()
    for kind in ("kernels", "gradients", "map_gradients", "cams"):
        page = browser.new_page()
        page.goto(write_page(folder / "page.html", Explorer(recording, kind=kind)))
        wait_until_live(page)
        page.evaluate(WATCH, ".fmx")
        slider = page.get_by_role("slider", name="epoch", exact=True)
        figures[f"kind {kind}"] = spread(press_keys(page, slider, MOVES))
        page.close()
    return figures


INTERACT = """
import matplotlib.pyplot as plt
import ipywidgets
from fmnist_lib.visualisers.recording import Recording
recording = Recording.load("recording.npz")
values = [recording.values("maps", "stem.act", epoch)[0] for epoch in recording.epochs]
top = max(v.max() for v in values)
@ipywidgets.interact(epoch=ipywidgets.IntSlider(value=10, min=0, max=10))
def show(epoch):
    figure, axes = plt.subplots(8, 8, figsize=(5, 5))
    for axis, tile in zip(axes.flat, values[epoch]):
        axis.imshow(tile, vmin=0, vmax=top)
        axis.axis("off")
    plt.show()
"""
LIVE = """
from fmnist_lib.visualisers.explorer import Explorer
from fmnist_lib.visualisers.recording import Recording
recording = Recording.load("recording.npz")
Explorer(recording)
"""


def measure_in_lab(browser: Any, recording: Recording, folder: Path) -> dict[str, Any]:
    """In a running JupyterLab: the explorer with its wire to Python, and ipywidgets' interact with matplotlib."""
    figures = {}
    recording.save(folder / "recording.npz")
    with start_lab(folder) as lab:
        for name, text, moves in (("explorer", LIVE, MOVES), ("interact + matplotlib", INTERACT, 40)):
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)])
            notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(notebook, folder / "bench.ipynb")
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.goto(lab.address("bench.ipynb"))
            page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
            page.get_by_role("menuitem", name="Run", exact=True).first.click()
            page.get_by_text("Run All Cells", exact=True).click()
            selector = ".fmx[data-live]" if name == "explorer" else ".jp-OutputArea .jp-RenderedImage img"
            page.wait_for_selector(selector, timeout=60_000)
            page.wait_for_timeout(3000)
            page.evaluate(WATCH, ".jp-OutputArea" if name != "explorer" else ".fmx")
            is_ours = name == "explorer"
            slider = page.get_by_role("slider", name="epoch", exact=True) if is_ours else page.locator(".noUi-handle")
            figures[name] = spread(press_keys(page, slider.first, moves))
            page.close()
            lab.stop_kernels()
    return figures


def measure_plotly(browser: Any, recording: Recording, folder: Path) -> dict[str, Any]:
    """An animation of the first layer's sheet with Plotly's own slider, as one page."""
    if util.find_spec("plotly") is None:
        return {"not measured": "plotly is not installed"}
    import plotly.express as express

    sheets = np.stack([sheet_of(recording.values("maps", "stem.act", epoch)[0]) for epoch in recording.epochs])
    start = time.perf_counter()
    figure = express.imshow(sheets, animation_frame=0)
    page_text = figure.to_html(include_plotlyjs=True)
    built = time.perf_counter() - start
    (folder / "plotly.html").write_text(page_text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.goto((folder / "plotly.html").as_uri())
    page.wait_for_selector(".slider-container")
    page.evaluate(WATCH, ".js-plotly-plot")
    rail = page.locator(".slider-rail-touch-rect").bounding_box()
    for move in range(MOVES):  # Plotly's slider takes no keys: clicks along its rail
        page.evaluate("dispatchEvent(new KeyboardEvent('keydown'))")
        page.mouse.click(rail["x"] + 5 + (rail["width"] - 10) * (move % EPOCHS) / (EPOCHS - 1), rail["y"] + 5)
        page.wait_for_timeout(60)
    times = page.evaluate("moves")
    page.close()
    return {"build_seconds": round(built, 3), "html_bytes": len(page_text), "by": "mouse clicks", **spread(times)}


def sheet_of(maps: np.ndarray) -> np.ndarray:
    """(64, H, W) -> (8 * H, 8 * W)."""
    _, height, width = maps.shape
    return maps.reshape(8, 8, height, width).transpose(0, 2, 1, 3).reshape(8 * height, 8 * width)


def describe_machine() -> dict[str, Any]:
    names = ("jupyterlab", "ipywidgets", "anywidget", "playwright", "matplotlib", "torch", "numpy")
    versions = {name: metadata.version(name) for name in names}
    machine = {"system": platform.platform(), "cores": torch.get_num_threads(), "python": platform.python_version()}
    return machine | versions


def main() -> None:
    recording = record()
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        folder = Path(name)
        result = {
            "what": f"{EPOCHS} epochs, 64 channels, {len(LAYERS)} layers of a ResNet-18; times from key to new pixels",
            "machine": describe_machine() | {"browser": browser.version},
            "build": build_figures(recording),
            "exported page": measure_exported(browser, recording, folder),
            "running JupyterLab": measure_in_lab(browser, recording, folder),
            "plotly animation": measure_plotly(browser, recording, folder),
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
