"""A real browser, a real JupyterLab, and recordings to look at.

Without Chromium these tests are skipped, and say so; where the environment variable CI is set they fail instead.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pages import BROWSER_OPTIONS, Lab, give_up, make_recording, start_lab

from fmnist_lib.visualisers.recording import Recording


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, started by playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        give_up("no browser tests: playwright is not installed (`pip install -e .[dev]`)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        give_up("no browser tests: no Chromium (`apt install chromium` brings it)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=BROWSER_OPTIONS)
        yield started
        started.close()


@dataclass
class Watched:
    """A page, what went wrong on it, and what it asked the network for."""

    page: Any
    errors: list[str]
    requests: list[str]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens pages, off the network unless told otherwise, and looks for errors at the end."""
    opened: list[tuple[Any, Watched]] = []

    def open_it(*, offline: bool = True, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, **options})
        context.set_offline(offline)
        context.set_default_timeout(30_000)
        watched = Watched(context.new_page(), [], [])
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        opened.append((context, watched))
        return watched

    yield open_it
    for context, watched in opened:
        context.close()
        assert watched.errors == []


@pytest.fixture(scope="session")
def recording() -> Recording:
    return make_recording()


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory, recording: Recording) -> Iterator[Lab]:
    """JupyterLab, with a recording in its folder."""
    folder = tmp_path_factory.mktemp("lab")
    recording.save(folder / "recording.npz")
    with start_lab(folder) as started:
        yield started
