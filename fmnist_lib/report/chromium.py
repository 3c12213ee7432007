"""Paper from a page: whatever Chromium or Chrome there is on the machine prints it."""

import os
import shutil
import signal
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
PLAYWRIGHTS_OWN = (
    "chromium-*/chrome-*/chrome",
    "chromium-*/chrome-*/chrome.exe",
    "chromium-*/chrome-*/*.app/Contents/MacOS/*",
    "chromium_headless_shell-*/*/*headless*shell",
)
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
    for folder in playwright_folders():
        for pattern in PLAYWRIGHTS_OWN:
            yield from map(str, sorted(folder.glob(pattern), reverse=True))


def playwright_folders() -> list[Path]:
    """Where playwright keeps its browsers."""
    chosen = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    return [Path(chosen)] if chosen else [Path.home() / folder for folder in PLAYWRIGHT]


def print_page(page: str, *, seconds: float = SECONDS) -> bytes:
    """The PDF of a page. Raises ReportError where there is no Chromium, or it fails or hangs."""
    program = find_chromium()
    place = snap_folder(program)
    with tempfile.TemporaryDirectory(prefix="labreport-", dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source, target = folder / "page.html", folder / "page.pdf"
        source.write_text(page, encoding="utf-8")
        command = [program, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--generate-pdf-document-outline"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={target}"]
        if sys.platform == "linux" and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run as root otherwise, as in a container
        said = run([*command, source.as_uri()], folder / "said", seconds=seconds)
        content = target.read_bytes() if target.is_file() else b""
        if not content.startswith(b"%PDF") or b"%%EOF" not in content[-1024:]:
            raise ReportError(f"{program} printed nothing that is a PDF ({said}). {ADVICE}")
        return content


def run(command: list[str], log: Path, *, seconds: float) -> str:
    """Run a program to its end; returns its last words. Raises ReportError if it cannot start, or hangs.

    Chromium is many processes, and may be started by a script: what hangs is ended with all that it started.
    """
    try:
        with log.open("wb") as output:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except OSError as error:
        raise ReportError(f"{command[0]} cannot be started: {error}. {ADVICE}") from error
    try:
        code = started.wait(seconds)
    except BaseException as error:  # also Ctrl-C: it does not reach a session of its own
        end(started)
        if isinstance(error, subprocess.TimeoutExpired):
            raise ReportError(f"{command[0]} did not print the page within {seconds:.0f} s. {ADVICE}") from error
        raise
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"exit {code}: {lines[-1] if lines else 'it said nothing'}"


def end(started: "subprocess.Popen[bytes]") -> None:
    """End a program that has a session of its own, with all that it started."""
    if os.name == "posix":
        os.killpg(started.pid, signal.SIGKILL)
    else:
        started.kill()
    started.wait()


def snap_folder(program: str) -> Path | None:
    """Where a Chromium from Ubuntu's snaps can read and write, since it sees no /tmp; None for any other."""
    path = Path(program)
    is_snap = path.is_relative_to("/snap") or (path.is_file() and b"/snap/bin/chromium" in path.read_bytes()[:4096])
    folder = Path.home() / "snap" / "chromium" / "common"
    if is_snap:
        folder.mkdir(parents=True, exist_ok=True)
    return folder if is_snap else None
