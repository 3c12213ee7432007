"""A file that is no notebook ends in one message, whoever reads it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist_lib.course.handout import make_handout
from fmnist_lib.notebooks import NotebookError, read_notebook

DAMAGED: dict[str, bytes | Callable[[Path], object]] = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "half": b'{"cells": [{"cell_type": "code", "source"',
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells of nothing": b'{"cells": null, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells of numbers": b'{"cells": [1], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "a later format": b'{"cells": [], "nbformat": 9, "nbformat_minor": 0, "metadata": {}}',
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
}


@pytest.fixture(params=DAMAGED)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path, content = tmp_path / "02_mine.ipynb", DAMAGED[request.param]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def test_a_damaged_notebook_is_told_of(damaged: Path) -> None:
    with pytest.raises(NotebookError, match=r"02_mine\.ipynb is no notebook, or a damaged one .*bring it back from"):
        read_notebook(damaged)


def test_a_handout_of_a_damaged_notebook_writes_nothing(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="is no notebook"):
        make_handout(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["labreport", "labreport-pdf"])
def test_nbconvert_ends_with_the_message(target: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.ipynb"
    path.write_bytes(DAMAGED["half"])  # type: ignore[arg-type]
    command = [sys.executable, "-m", "nbconvert", "--to", target, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: {path} is no notebook")
    assert [each.name for each in tmp_path.iterdir()] == ["mine.ipynb"]
