"""The table of verdicts says what its file says, and when that is not complete."""

import json
from pathlib import Path
from typing import Any

import pytest

from fmnist_lib.course.claims import Verdicts
from fmnist_lib.errors import LabError


def part(**more: Any) -> dict[str, Any]:
    words = {"what": {"en": "A < B"}, "measure": {"en": "accuracy"}, "unit": {"en": "points"}}
    return words | {"no_difference": 0, **more}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one claim that is decided, one that holds alone, and one without runs."""
    found, supported = part(effect=1.2345, interval=[0.5, 1.9]), {"verdict_words": {"en": "supported"}}
    claims = [
        {"number": 1, "claim": {"en": "One."}, **supported, "stays_with_twelve": True, "parts": [found]},
        {"number": 2, "claim": {"en": "Two."}, **supported, "stays_with_twelve": False, "parts": [found] * 2},
        {"number": 3, "claim": {"en": "Three."}, "parts": [part()]},
    ]
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "claims.json").write_text(json.dumps({"n": 6, "claims": claims}))
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    return tmp_path


def test_effect_interval_and_verdict_are_those_of_the_file(kept: Path) -> None:
    one, two, more = Verdicts(1, 2).rows
    assert one == ["1", "One.", "A < B", "accuracy", "1.23 [0.50, 1.90] points", "supported"]
    assert two[:2] == ["2", "Two."] and two[-1] == "supported (not when all twelve are judged together)"
    assert more == ["", "", "A < B", "accuracy", "1.23 [0.50, 1.90] points", ""]
    assert Verdicts(1, 2).is_complete and "6 seeds" in Verdicts(1).note


def test_what_is_missing_is_said(kept: Path) -> None:
    table = Verdicts()
    assert not table.is_complete and "Not complete" in repr(table) and "Not complete" in table._repr_html_()
    assert table.rows[-1][-2:] == ["not yet", "not yet"]
    assert "A &lt; B" in table._repr_html_()


def test_the_labs_own_file_is_found_and_all_twelve_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    assert [row[0] for row in Verdicts().rows if row[0]] == [str(number) for number in range(1, 13)]


def test_without_the_file_it_says_where_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmnist_lib.runs.places.Path.exists", lambda _: False)
    with pytest.raises(LabError, match=r"claims\.json comes with the lab .* start Jupyter in the lab's folder"):
        Verdicts()
