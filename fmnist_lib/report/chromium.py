"""Paper from a page: whatever Chromium or Chrome there is on the machine prints it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fmnist_lib.report.details import ReportError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
PLAYWRIGHT = (".cache/ms-playwright", "Library/Caches/ms-playwright", "AppData/Local/ms-playwright")
SECONDS = 180  # for a page; ours take under ten
ADVICE = (
    "A PDF is printed by Chromium or Chrome. Install one (Debian and Ubuntu: apt install chromium), name one in the "
    "environment variable CHROMIUM, or open the HTML in any browser and print it"
)


def find_chromium() -> str:
    """The program that prints. Raises ReportError, which says how to get one."""
    for name in candidates():
        if found := shutil.which(name):
            return found
    raise ReportError(f"no Chromium was found. {ADVICE}")


def candidates() -> Iterator[str]:
    """Where one may be: as the user says, on the path, where systems put it, where playwright puts it."""
    if named := os.environ.get("CHROMIUM"):
        yield named
        return
    yield from (*NAMES, *PLACES)
    for folder in PLAYWRIGHT:
        for pattern in ("chromium-*/chrome-*/chrome", "chromium-*/chrome-*/Chromium.app/Contents/MacOS/Chromium"):
            yield from map(str, sorted(Path.home().glob(f"{folder}/{pattern}"), reverse=True))


def print_page(page: str, *, seconds: float = SECONDS) -> bytes:
    """The PDF of a page. Raises ReportError where there is no Chromium, or it fails or hangs."""
    program = find_chromium()
    with tempfile.TemporaryDirectory(prefix="labreport-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source, target = folder / "page.html", folder / "page.pdf"
        source.write_text(page, encoding="utf-8")
        command = [program, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--generate-pdf-document-outline"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={target}"]
        if sys.platform == "linux" and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run as root otherwise, as in a container
        try:
            done = subprocess.run([*command, source.as_uri()], capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise ReportError(f"{program} did not print the page within {seconds:.0f} s. {ADVICE}") from error
        except OSError as error:
            raise ReportError(f"{program} cannot be started: {error}. {ADVICE}") from error
        if not target.is_file():
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise ReportError(f"{program} printed nothing (exit {done.returncode}: {last}). {ADVICE}")
        return target.read_bytes()
