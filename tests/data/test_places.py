"""Finding the set on this machine: the order of the places, and folders that hold something else."""

from pathlib import Path

import pytest
from mirror import CLOSED, FAULTS, IMAGES, LABELS, NAMES, bare_machine, put, spoil

from fmnist_lib import data
from fmnist_lib.data import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return bare_machine(tmp_path, monkeypatch)


def test_with_nothing_anywhere_every_place_is_listed(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.load("train")
    message, raw = str(caught.value), Path("data", "FashionMNIST", "raw")
    places = [cache, tmp_path / "work" / "notebooks" / raw, tmp_path / "work" / raw, tmp_path / "system"]
    reasons = [f"{CLOSED}/one", f"{CLOSED}/two", "2 of 2 tries", "refused", "apt-get is not on this machine"]
    advice = ["Kept", "nothing", "FMNIST_DATA", *NAMES]
    assert [str(item) for item in [*places, *reasons, *advice] if str(item) not in message] == []


@pytest.mark.parametrize("unpacked", [True, False])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("home/fmnist_lib", "the cache"),
        ("work/notebooks/data/FashionMNIST/raw", "torchvision's folder"),
        ("work/data/FashionMNIST/raw", "torchvision's folder"),
        ("system", "the system's package dataset-fashion-mnist"),
    ],
)
def test_each_place_serves(tmp_path: Path, place: str, name: str, unpacked: bool) -> None:
    put(tmp_path / place, unpacked=unpacked)
    assert data.find() == data.Location(name, tmp_path / place)


def test_the_places_are_asked_in_their_order(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Path("data", "FashionMNIST", "raw")
    order = [tmp_path / "system", tmp_path / "work" / raw, tmp_path / "work" / "notebooks" / raw, cache]
    for folder in order:  # each comes before those filled so far
        assert data.find(put(folder)).folder == folder
        assert data.find().folder == folder
    monkeypatch.setenv("FMNIST_DATA", str(put(tmp_path / "mine")))
    assert data.find() == data.Location("FMNIST_DATA", tmp_path / "mine")
    assert data.find(put(tmp_path / "other")) == data.Location("the folder given", tmp_path / "other")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_place_is_passed_over(tmp_path: Path, fault: str) -> None:
    spoil(put(tmp_path / "work" / "data" / "FashionMNIST" / "raw"), fault)
    put(tmp_path / "system")
    assert data.find().folder == tmp_path / "system"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["argument", "variable"])
def test_a_bad_folder_of_the_users_is_an_error_at_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, way: str
) -> None:
    put(cache)  # a good copy elsewhere is no reason to use another than the one asked for
    spoil(put(tmp_path / "mine"), fault)
    before = sorted((tmp_path / "mine").iterdir())
    if way == "variable":
        monkeypatch.setenv("FMNIST_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError) as caught:
        data.load("test", data_folder=tmp_path / "mine" if way == "argument" else None)
    faults, advice = str(caught.value).split("Nothing there was changed")
    assert FAULTS[fault] in faults and IMAGES in faults and str(tmp_path / "mine") in faults
    assert LABELS not in faults and LABELS in advice  # the good files are not blamed
    assert sorted((tmp_path / "mine").iterdir()) == before


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="; ".join(f"{name} is missing" for name in NAMES)):
        data.find(tmp_path / "mine")


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder given, .*mine: no such folder"):
        data.find(tmp_path / "mine")


def test_a_good_file_beside_a_bad_one_of_the_same_name_is_used(tmp_path: Path) -> None:
    (put(tmp_path / "mine") / IMAGES).write_bytes(b"left by a broken download")
    assert data.find(tmp_path / "mine").folder == tmp_path / "mine"


def test_gzip_is_told_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine")
    (folder / f"{IMAGES}.gz").rename(folder / IMAGES)
    assert data.find(folder).folder == folder


def test_home_is_understood_and_an_empty_variable_is_none(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    put(tmp_path / "mine")
    assert data.find(Path("~/mine")).folder == tmp_path / "mine"
    monkeypatch.setenv("FMNIST_DATA", "")
    put(cache)
    assert data.find().name == "the cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    put(tmp_path / ".cache" / "fmnist_lib")
    assert data.find().folder == tmp_path / ".cache" / "fmnist_lib"


def test_a_user_whom_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="the folder given, ~nosuchuser/x"):
        data.find("~nosuchuser/x")
    monkeypatch.setenv("FMNIST_DATA", "~nosuchuser/x")
    with pytest.raises(DataError, match="FMNIST_DATA, ~nosuchuser/x"):
        data.find()
