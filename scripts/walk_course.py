"""Walk through the course as a student does, in a real JupyterLab and Chromium, and say what was seen.

    python scripts/walk_course.py [01 02 ...]      # about fifteen minutes; pictures of every explorer go to build/walk/

The lab is cloned, and its notebooks are replaced by the students' version. Cell after cell is run; at each task the
unsolved cell has to say so, then its solution is typed in. In the end every check has to say "Right", every slider is
moved to both its ends, in 07 a picture is drawn and one dropped, and the notebook is saved. What differs from that is
printed, and the exit status is 1.
"""

import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from conftest import BROWSER_OPTIONS, start_lab  # noqa: E402 (the tests' own helpers)
from playwright.sync_api import sync_playwright  # noqa: E402
from test_own_picture import DROP, answer, draw, forget, shirt  # noqa: E402

from fmnist_lib.course.handout import make_handout  # noqa: E402
from fmnist_lib.report.chromium import find_chromium  # noqa: E402
from notebooks import Opened, open_notebook  # noqa: E402

SECONDS = 600  # that a cell may take
PICTURES = ROOT / "build" / "walk"
# Cells far from the window are not in the page otherwise.
SETTINGS = ("lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings", '{"windowingMode": "none"}')
BAD = "[data-mime-type*=error], [data-mime-type*=stderr]"  # outputs that no cell should have
# Moves every slider of one explorer to its end, its beginning and back; says which of them changed no picture.
MOVE = """root => {
  const picture = () => [...root.querySelectorAll('.fmx-canvas')].map(it => it.toDataURL()).join();
  const stuck = [];
  for (const slider of root.querySelectorAll('input[type=range]')) {
    if (slider.disabled || slider.offsetParent === null || slider.max === slider.min) continue;
    const before = slider.value, seen = new Set();
    for (const place of [slider.max, slider.min, before]) {
      slider.value = place;
      slider.dispatchEvent(new Event('input', {bubbles: true}));
      seen.add(picture());
    }
    if (seen.size < 2) stuck.push(slider.getAttribute('aria-label') || slider.dataset.axis);
  }
  return stuck;
}"""


def main() -> int:
    """Walk through the notebooks that are named, or all; 1 where something was not as it should be."""
    wanted = sys.argv[1:] or ["0"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name) / "lab"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        handed = make_handout(ROOT / "notebooks", folder / "notebooks")
        (folder / "config" / SETTINGS[0]).parent.mkdir(parents=True)
        (folder / "config" / SETTINGS[0]).write_text(SETTINGS[1])
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=BROWSER_OPTIONS)
        with start_lab(folder) as lab:
            for path in handed:
                if any(path.name.startswith(each) for each in wanted):
                    page, errors = open_notebook(browser, lab, f"notebooks/{path.name}")
                    page.set_default_timeout(SECONDS * 1000)
                    opened = Opened(page, errors, lab, None, None)  # type: ignore[arg-type]
                    faults += [f"{path.name}: {fault}" for fault in walk(opened, path.name)]
                    page.context.close()
                    lab.stop_kernels()
    print("\n".join(faults) or "all as it should be")
    return int(bool(faults))


def walk(opened: Opened, name: str) -> list[str]:
    """One notebook; what was not as it should be."""
    page = opened.page
    solved = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    cells = [cell for cell in solved.cells if cell.cell_type == "code"]
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
    faults, rights, tasks = [], 0, 0
    for number, cell in enumerate(cells):
        is_task = cell.metadata.get("nbgrader", {}).get("solution", False)
        if is_task:
            tasks += 1
            said = [opened.run_cell(number), opened.run_cell(number + 1)]
            if "NotImplementedError" not in said[0] and "NotYet" not in said[1]:
                faults.append(f"task {tasks}: unsolved, it says {said[1][:200]!r}")
            page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
            page.keyboard.press("Control+a")
            page.keyboard.insert_text(cell.source)
        told = opened.run_cell(number)
        rights += told.startswith("Right")
        if page.locator(".jp-CodeCell").nth(number).locator(BAD).count():
            faults.append(f"cell {number}: {told[-300:]}")
    if rights != tasks:
        faults.append(f"{tasks} tasks, and {rights} checks say Right")
    faults += look_at_explorers(page, name)
    if name.startswith("07"):
        faults += try_own_picture(page)
    opened.save()
    print(f"{name}: {len(cells)} cells, {tasks} tasks, {page.locator('.fmx').count()} explorers", flush=True)
    return faults + opened.errors


def look_at_explorers(page: Any, name: str) -> list[str]:
    """Move every slider, and take a picture of every explorer."""
    faults = []
    players = page.locator(".fmx[data-live]")
    for index in range(players.count()):
        player = players.nth(index)
        player.scroll_into_view_if_needed()
        stuck = player.evaluate(MOVE)
        if stuck:
            faults.append(f"explorer {index}: {', '.join(stuck)} changes no picture")
        player.screenshot(path=PICTURES / f"{Path(name).stem}-{index}.png")
    if players.count() != page.locator(".fmx").count():
        faults.append(f"{players.count()} of {page.locator('.fmx').count()} explorers are alive")
    return faults


def try_own_picture(page: Any) -> list[str]:
    """Drop a picture and draw one; both have to be answered."""
    page.locator(".own-picture canvas").scroll_into_view_if_needed()
    page.evaluate(DROP, base64.b64encode(shirt()).decode())
    said = [answer(page)]
    page.locator(".own-picture").screenshot(path=PICTURES / "07-dropped.png")
    forget(page)
    draw(page)
    said.append(answer(page))
    page.locator(".own-picture").screenshot(path=PICTURES / "07-drawn.png")
    return [f"a picture of one's own: {text[:200]!r}" for text in said if not re.search(r"\d %|\d%", text)]


if __name__ == "__main__":
    sys.exit(main())
