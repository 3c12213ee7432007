"""A student's words in the filled report: whatever was done to the file by hand, none of them is lost."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from fmnist_lib.errors import LabWarning
from fmnist_lib.report import yours

OLD = f"# Report\n\n91.22%\n\n{yours.place('kernels')}\n\nmore\n\n{yours.place('conclusion')}\n"
NEW = OLD.replace("91.22%", "92.00%")
WORDS = "Kanten, 边缘 and *edges*.\n\n    indented\nline  \n<!-- a comment of my own -->"


def refill(path: Path, text: str = NEW) -> tuple[Path, list[str]]:
    """Fill again; returns the file written and what was said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        written = yours.write_filled(path, text, language="en")
    assert all(issubclass(each.category, LabWarning) for each in told)
    return written, [str(each.message) for each in told]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A filled report with words in one place."""
    path = tmp_path / "report.md"
    assert refill(path, OLD) == (path, [])
    text = path.read_text()
    path.write_text(text.replace("yours: kernels -->\n", f"yours: kernels -->\n{WORDS}\n"))
    return path


def test_words_in_a_place_are_kept_and_the_rest_is_new(report: Path) -> None:
    assert refill(report) == (report, [])
    text = report.read_text()
    assert WORDS in text and "92.00%" in text and "91.22%" not in text
    before = report.read_bytes()
    assert refill(report) == (report, [])
    assert report.read_bytes() == before  # a second filling adds no line
    assert list(report.parent.iterdir()) == [report]


@pytest.mark.parametrize(
    "convert",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n\n", b"  \n\t\n"),
        lambda content: content.rstrip(b"\n"),
        lambda content: content + b"\n\n\n",
    ],
    ids=["CRLF", "BOM", "spaces at line ends", "no last line end", "blank lines at the end"],
)
def test_what_editors_do_to_line_ends_is_no_change(report: Path, convert: Callable[[bytes], bytes]) -> None:
    report.write_bytes(convert(report.read_bytes()))
    assert refill(report) == (report, [])
    assert "Kanten, 边缘 and *edges*." in report.read_text() and "<!-- a comment of my own -->" in report.read_text()


CHANGES: dict[str, Callable[[str], str]] = {
    "outside": lambda text: text.replace("more", "more, and my remark"),
    "a number": lambda text: text.replace("91.22%", "99.99%"),
    "above the title": lambda text: "My name\n\n" + text,
    "below the last line": lambda text: text + "A postscript\n",
    "an opening deleted": lambda text: text.replace("<!-- yours: kernels -->\n", ""),
    "an end deleted": lambda text: text.replace("<!-- /yours -->\n", "", 1),
    "both deleted": lambda text: text.replace("<!-- yours: kernels -->\n", "").replace("<!-- /yours -->\n", "", 1),
    "all markers deleted": lambda text: "\n".join(line for line in text.splitlines() if "yours" not in line),
    "renamed": lambda text: text.replace("yours: kernels", "yours: my kernels"),
    "duplicated": lambda text: text.replace("more", f"<!-- yours: kernels -->\nTwice.\n{yours.CLOSING}"),
    "in another's name": lambda text: text.replace("yours: kernels", "yours: conclusion"),
    "the seal deleted": lambda text: "\n".join(text.splitlines()[:-2]),
    "the seal changed": lambda text: text.replace("filled: en ", "filled: en 0"),
    "the seal twice": lambda text: text + text.splitlines()[-1],
    "the end within the words": lambda text: text.replace("Kanten", f"{yours.CLOSING}\nKanten"),
    "an opening within the words": lambda text: text.replace("Kanten", "<!-- yours: kernels -->\nKanten"),
    "another language's file": lambda text: yours.seal(text.rsplit("<!-- filled", 1)[0], language="zh"),
    "all but the words deleted": lambda text: WORDS,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_changed_elsewhere_stays_and_the_new_version_comes_beside_it(
    report: Path, change: Callable[[str], str]
) -> None:
    report.write_text(change(report.read_text()))
    by_hand = report.read_bytes()
    beside, (message,) = refill(report)
    assert report.read_bytes() == by_hand
    assert beside == report.with_name("report.new.md") and beside.name in message and report.name in message
    assert "92.00%" in beside.read_text()
    assert refill(report)[0] == beside  # which nobody has touched, so it is filled again
    assert yours.read_filled(beside, language="en").fault == ""


@pytest.mark.parametrize("name", ["outside", "renamed", "duplicated", "in another's name", "another language's file"])
def test_the_new_version_beside_it_has_the_words_that_can_be_told_apart(report: Path, name: str) -> None:
    report.write_text(CHANGES[name](report.read_text()))
    text = refill(report)[0].read_text()
    assert WORDS in text
    assert ("Twice." in text) == (name == "duplicated")


def test_a_version_beside_it_with_words_of_its_own_is_left_too(report: Path) -> None:
    report.write_text(CHANGES["outside"](report.read_text()))
    first = refill(report)[0]
    first.write_text(
        first.read_text().replace("yours: conclusion -->\n", "yours: conclusion -->\nDepth does not pay.\n")
    )
    kept = first.read_bytes()
    assert refill(report)[0] == report.with_name("report.new2.md")
    assert first.read_bytes() == kept


def test_the_better_version_can_take_the_name(report: Path) -> None:
    report.write_text(CHANGES["outside"](report.read_text()))
    refill(report)[0].replace(report)
    assert refill(report) == (report, [])
    assert WORDS in report.read_text()


def test_words_of_a_place_that_is_gone_are_kept_and_find_back_into_it(report: Path) -> None:
    without = NEW.replace(yours.place("kernels"), "")
    for _ in range(2):
        assert refill(report, without) == (report, [])
        text = report.read_text()
        assert text.count(WORDS) == 1 and text.count(yours.KEPT["en"]) == 1
    assert refill(report, NEW) == (report, [])
    text = report.read_text()
    assert text.index(WORDS) < text.index("more") and yours.KEPT["en"] not in text


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf\r\n"])
def test_an_emptied_file_is_filled(report: Path, content: bytes) -> None:
    report.write_bytes(content)
    assert refill(report) == (report, [])
    assert "92.00%" in report.read_text()


def test_a_file_in_another_encoding_stays(report: Path) -> None:
    report.write_bytes(report.read_text().encode("utf-16"))
    kept = report.read_bytes()
    beside, (message,) = refill(report)
    assert report.read_bytes() == kept and beside.name == "report.new.md" and "UTF-8" in message


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(yours.FillError, match=r"report\.md cannot be written"):
        refill(tmp_path / "file" / "report.md")
    (tmp_path / "report.md").mkdir()
    with pytest.raises(yours.FillError, match="Nothing in it was changed"):
        refill(tmp_path / "report.md")


def test_words_with_signs_that_have_a_meaning_elsewhere_come_out_as_they_are(report: Path) -> None:
    odd = r"\1 \g<0> C:\new $x^2$" + " a\x0cb\u2028c"
    report.write_text(report.read_text().replace("Kanten", odd))
    refill(report)
    refill(report, NEW.replace(yours.place("kernels"), ""))
    assert odd in report.read_text()
