"""The table of verdicts says what its file says, and when that is not complete."""

import json
from pathlib import Path
from typing import Any

import pytest

from fmnist_lib.course.claims import Verdicts
from fmnist_lib.errors import LabError
from fmnist_lib.runs.claims import read_part, tell_interval

CLEAR = {"reason": {"en": "clear"}, "in_short": {"en": "yes"}}


def part(**more: Any) -> dict[str, Any]:
    words = {"what": {"en": "A < B"}, "measure": {"en": "accuracy"}, "unit": {"en": "points"}}
    return words | {"no_difference": 0, "smallest_that_matters": 0.5, **more}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one claim that is decided, one that holds alone, one without runs, and one whose runs were cut."""
    found, supported = part(effect=1.2345, interval=[0.5, 1.9], **CLEAR), {"verdict_words": {"en": "supported"}}
    cut = found | {"no_difference": 1, "censored": 5}
    claims = [
        {"number": 1, "claim": {"en": "One."}, **supported, "stays_with_twelve": True, "parts": [found]},
        {"number": 2, "claim": {"en": "Two."}, **supported, "stays_with_twelve": False, "parts": [found] * 2},
        {"number": 3, "claim": {"en": "Three."}, "parts": [part()]},
        {"number": 4, "claim": {"en": "Four."}, **supported, "stays_with_twelve": True, "parts": [cut]},
    ]
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "claims.json").write_text(json.dumps({"n": 6, "claims": claims}))
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    return tmp_path


def test_effect_interval_and_verdict_are_those_of_the_file(kept: Path) -> None:
    one, two, more = Verdicts(1, 2).rows
    assert one == ["1", "One.", "A < B", "accuracy", "1.23 [0.50, 1.90] points", "0.5", "clear", "supported"]
    assert two[:2] == ["2", "Two."] and two[-1] == "supported (not when all twelve are judged together)"
    assert more == ["", "", "A < B", "accuracy", "1.23 [0.50, 1.90] points", "0.5", "clear", ""]
    assert Verdicts(1, 2).is_complete and "6 seeds" in Verdicts(1).note


def test_an_effect_whose_runs_ended_before_the_goal_has_no_interval(kept: Path) -> None:
    (row,) = Verdicts(4).rows
    assert row[4] == "at least 1.23 points"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(-3.6, 15.97, "1.0 [-3.6, 16.0]"), (-0.02, 0.6, "1.00 [-0.02, 0.60]"), (0.0014, 0.11, "1.000 [0.001, 0.110]")],
)
def test_as_many_digits_as_an_interval_needs(low: float, high: float, told: str) -> None:
    assert tell_interval(1, low, high) == told


def test_a_value_other_than_0_for_no_difference_moves_what_matters() -> None:
    """A loss of up to half a point is hardly any; a ratio counts from its own smallest on, and not from that plus 1."""
    assert read_part(part(no_difference=-0.5, smallest_that_matters=0.0), "en").smallest == "-0.5"
    assert read_part(part(no_difference=1.0, smallest_that_matters=1.25), "en").smallest == "1.25"


def test_the_page_has_a_claims_words_and_verdict_once_beside_all_its_parts(kept: Path) -> None:
    page = Verdicts(2)._repr_html_()
    assert page.count('<td rowspan="2"') == 3 and page.count("Two.") == 1 and page.count("A &lt; B") == 2
    cells = [row.count("<t") for row in page.split("<tr>")[1:]]
    assert cells == [8, 8, 5]


def test_what_is_missing_is_said(kept: Path) -> None:
    table = Verdicts(3)
    assert not table.is_complete and "Not complete" in repr(table) and "Not complete" in table._repr_html_()
    assert table.rows == [["3", "Three.", "A < B", "accuracy", "not yet", "0.5", "", "not yet"]]
    assert "A &lt; B" in table._repr_html_()


def test_the_labs_own_file_is_found_and_all_twelve_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_HOME", str(tmp_path))
    assert [row[0] for row in Verdicts().rows if row[0]] == [str(number) for number in range(1, 13)]


def test_without_the_file_it_says_where_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmnist_lib.runs.places.Path.exists", lambda _: False)
    with pytest.raises(LabError, match=r"claims\.json comes with the lab .* start Jupyter in the lab's folder"):
        Verdicts()
