"""What the notebooks say of this lab's data and runs holds, by what is stored; and the checks of it can fail."""

import importlib
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
import ties
import torch

NOTEBOOKS = {f"nb{path.name[:2]}": path for path in sorted((ties.ROOT / "notebooks").glob("[0-9]*.ipynb"))}
MODULES = [path.stem for path in sorted(Path(__file__).parent.glob("nb*.py"))]


@pytest.fixture(params=MODULES)
def listed(request: pytest.FixtureRequest) -> ModuleType:
    """The module of a notebook."""
    return importlib.import_module(request.param)


@pytest.fixture
def notebook(listed: ModuleType) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS[listed.__name__], as_version=4)


def test_every_notebook_has_its_list() -> None:
    assert set(NOTEBOOKS) == set(MODULES)


def test_what_is_observed_or_measured_is_listed(listed: ModuleType, notebook: nbformat.NotebookNode) -> None:
    known = {tie.sentence for tie in listed.TIES} | set(listed.GENERAL)
    said = [*ties.observed(notebook), *ties.measured(notebook)]
    assert not [sentence for sentence in said if sentence not in known]


def test_what_is_listed_is_said(listed: ModuleType, notebook: nbformat.NotebookNode) -> None:
    every = [*[tie.sentence for tie in listed.TIES], *listed.GENERAL]
    assert not [sentence for sentence, count in Counter(every).items() if count > 1]
    said = ties.stated(notebook)
    assert not [sentence for sentence in every if sentence not in said]


def test_what_is_said_holds(listed: ModuleType) -> None:
    assert not [tie.sentence for tie in listed.TIES if not tie.holds()]


def test_nothing_is_said_in_two_notebooks() -> None:
    """What is taught once need not be read twice."""
    seen: dict[str, str] = {}
    for name, path in NOTEBOOKS.items():
        for sentence in set(ties.stated(nbformat.read(path, as_version=4))):
            assert len(sentence.split()) < 7 or sentence not in seen, f"{name} and {seen[sentence]}: {sentence}"
            seen[sentence] = name


KEPT = {"epoch", "layer", "format", "seed"}  # which name a row: what is altered are its numbers


def alter(value: Any, change: Callable[[Any], Any]) -> Any:
    """All numbers of what was read, changed; the original stays."""
    if isinstance(value, dict):
        return {key: each if key in KEPT else alter(each, change) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(alter(each, change) for each in value or [0])  # nothing becomes something
    if isinstance(value, torch.Tensor):
        return change(value.long() if value.dtype == torch.uint8 else value).to(value.dtype)
    if isinstance(value, (int, float, np.ndarray)) and not isinstance(value, bool):
        return change(value)
    return number_in_text(value, change) if isinstance(value, str) else value


def number_in_text(text: str, change: Callable[[Any], Any]) -> str:
    """The numbers that a table keeps as texts."""
    try:
        return str(change(float(text)))
    except ValueError:
        return text


FACTORS = cycle([1, 1 / 2, 1 / 3, 1 / 5, 1 / 7])  # so that what is read is altered in another way each time
ALTERATIONS: dict[str, Callable[[Any], Any]] = {
    "doubled": lambda value: value * 2,
    "halved": lambda value: value // 2 if isinstance(value, int) else (value / 2),
    "negated": lambda value: -value,
    "squared": lambda value: value * value,
    "shifted": lambda value: value + 1,
    "uneven": lambda value: value * next(FACTORS),
}


def holds(tie: ties.Tie) -> bool:
    try:
        return tie.holds()
    except (ArithmeticError, LookupError, ValueError, RuntimeError, TypeError):  # of numbers that make no sense
        return False


def test_no_tie_holds_whatever_is_stored(listed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them fails at one at least of the ways in which what is stored can be altered."""
    unbroken = list(listed.TIES)
    for change in ALTERATIONS.values():
        monkeypatch.setattr(ties, "hand_on", lambda value, change=change: alter(value, change))
        unbroken = [tie for tie in unbroken if holds(tie)]
    assert not [tie.sentence for tie in unbroken]


def test_sentences() -> None:
    text = "# A title\n**Observation.** It falls by 3.5 %\n(He et al. 2015). Why?\n\nSo **much.** More:\n- one\n- two."
    assert ties.sentences(text) == [
        "It falls by 3.5 % (He et al. 2015).",
        "Why?",
        "So **much.**",
        "More:",
        "one",
        "two.",
    ]


def test_an_observation_ends_at_the_next_heading() -> None:
    cell = nbformat.v4.new_markdown_cell("Before.\n\n**Observation.** One. Two.\n\nThree.\n\n## Next\n\nFour.")
    assert ties.observed(nbformat.v4.new_notebook(cells=[cell])) == ["One.", "Two.", "Three."]
