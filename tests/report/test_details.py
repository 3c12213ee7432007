"""report.toml: what can be written in it, and what is said of what cannot."""

from pathlib import Path

import pytest

from fmnist_lib.errors import LabWarning
from fmnist_lib.report.details import Details, DetailsError, read_details

pytestmark = pytest.mark.filterwarnings("error")
WHOLE = """
name = "Ada Lovelace"
student_number = "007"
course = "机器学习"
school = "School"
teacher = "A. De Morgan"
date = 2026-11-27
language = "zh"
runs = ["resnet18-original", "mine"]
"""


def write(folder: Path, text: str | bytes) -> Path:
    (folder / "report.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_a_whole_one_is_found_from_any_folder_below(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    (tmp_path / "notebooks" / "mine").mkdir(parents=True)
    details = read_details(tmp_path / "notebooks" / "mine")
    assert details == Details(
        name="Ada Lovelace",
        student_number="007",
        course="机器学习",
        school="School",
        teacher="A. De Morgan",
        date="2026-11-27",
        language="zh",
        runs=("resnet18-original", "mine"),
    )
    assert read_details(write(tmp_path, b"\xef\xbb\xbf" + WHOLE.encode())) == details, (
        "Windows' editor puts a mark first"
    )


def test_without_one_all_is_empty(tmp_path: Path) -> None:
    assert read_details(tmp_path) == Details()


@pytest.mark.parametrize("name", ["<b>Ada</b> & *Co*", "Ада 👩🏽‍🔬", "نور", "x" * 200, 'O\'Brien "Bo"'])
def test_a_name_may_be_anything_that_can_be_printed(tmp_path: Path, name: str) -> None:
    assert read_details(write(tmp_path, WHOLE.replace('"Ada Lovelace"', f"'''{name}'''"))).name == name


def test_missing_and_unknown_fields_are_told_in_one_warning(tmp_path: Path) -> None:
    text = WHOLE.replace("teacher", "techer")
    with pytest.warns(LabWarning, match=r"has no teacher.*has 'techer'.*its fields are name, ") as told:
        assert read_details(write(tmp_path, text)).teacher == ""
    assert len(told) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"007"', "7", r'student_number is 7, and must be text in quotes: student_number = "7"'),
        ('"Ada Lovelace"', '["Ada"]', "name is .* must be text in quotes"),
        ('"Ada Lovelace"', '"Ada', "is not TOML: .*line 2"),
        ('"zh"', '"fr"', "language is 'fr', and must be one of en, zh"),
        ('["resnet18-original", "mine"]', '"mine"', "must be a list of names"),
        ('"mine"]', "3]", "must be a list of names"),
        ('"mine"]', '"../mine"]', "without a path; not '../mine'"),
        ('"School"', f'"{"x" * 201}"', "school is 201 characters long"),
        ('"School"', '"a\\u0007b"', "cannot be printed"),
    ],
)
def test_what_cannot_be_used_is_one_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(DetailsError, match=message):
        read_details(write(tmp_path, WHOLE.replace(old, new)))


def test_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(DetailsError, match="is not UTF-8"):
        read_details(write(tmp_path, WHOLE.encode("gb18030")))


def test_the_labs_own_can_be_read() -> None:
    assert read_details(Path(__file__).parents[2]).language == "en"
