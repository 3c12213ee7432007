"""Notebooks in a real JupyterLab: written, opened, run, saved and exported."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pages import Lab

from fmnist_lib.visualisers.explorer import Explorer


def write_notebook(path: Path, *cells: str, text: str = "") -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    if text:
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


@dataclass
class Opened:
    """A notebook in JupyterLab, its errors, and the explorers that it shows."""

    page: Any
    errors: list[str]
    lab: Lab
    first: Explorer
    second: Explorer
    saving: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Know which savings the server has not answered yet."""
        self.page.on("request", lambda it: self.saving.add(it) if it.method == "PUT" else None)
        self.page.on("requestfinished", lambda it: self.saving.discard(it))
        self.page.on("requestfailed", lambda it: self.saving.discard(it))

    def menu(self, *names: str) -> None:
        """Choose from the menu bar."""
        self.page.get_by_role("menuitem", name=names[0], exact=True).first.click()
        for name in names[1:]:
            item = self.page.locator(".lm-Menu-item").filter(has_text=re.compile(name))
            item.first.hover()
            item.first.click()

    def run_all(self) -> None:
        """All cells, once the kernel is there."""
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
        self.menu("Run", "^Run All Cells$")

    def run_cell(self, number: int) -> str:
        """Run one cell; its text output when the kernel is idle again."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        before = cell.locator(".jp-InputPrompt").inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "([n, before]) => { const now = document.querySelectorAll('.jp-CodeCell')[n]"
            ".querySelector('.jp-InputPrompt').innerText; return now !== before && /[0-9]/.test(now); }",
            arg=[number, before],
        )
        return cell.locator(".jp-Cell-outputArea").inner_text().strip()

    def save(self) -> None:
        """Save, and wait until the tab says so and the server is done: it empties the file before it writes it, and
        JupyterLab's own saving, every two minutes, may be under way."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function("!document.querySelector('.lm-TabBar-tab.jp-mod-current.jp-mod-dirty')")
        while self.saving:
            self.page.wait_for_timeout(20)


def open_notebook(browser: Any, lab: Lab, name: str) -> tuple[Any, list[str]]:
    """A notebook in a fresh JupyterLab window, with all that goes wrong in it."""
    page = browser.new_context(viewport={"width": 1300, "height": 1000}, accept_downloads=True).new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(lab.address(name))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    return page, errors


def export(opened: Opened, path: Path, *, entry: str = "HTML", sanitised: bool = False) -> None:
    """File, Save and Export Notebook As, HTML, where JupyterLab 4.6 asks whether to sanitise, and proposes to; or File
    and our own entry."""
    context = opened.page.context
    downloads: list[Any] = []
    context.on("page", lambda tab: tab.on("download", lambda it: downloads.append(it)))
    opened.page.on("download", lambda it: downloads.append(it))
    submenu = ["Save and Export Notebook As"] if entry == "HTML" else []
    opened.menu("File", *submenu, f"^{re.escape(entry)}$")
    dialog, answered = opened.page.locator(".jp-Dialog"), False
    for _ in range(1200):
        if not answered and dialog.count():
            assert dialog.get_by_role("checkbox").is_checked(), "the default"
            dialog.get_by_role("checkbox").set_checked(sanitised)
            dialog.get_by_role("button", name="Ok").click()
            answered = True
        if downloads and sanitised and not answered:
            pytest.skip("this JupyterLab does not sanitise what it exports")
        if downloads:
            return downloads[0].save_as(path)
        opened.page.wait_for_timeout(50)
    pytest.fail("no download")
