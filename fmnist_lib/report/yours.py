"""A student's own words in the filled report: the places for them, and how they outlive the next filling.

A place is what stands between the lines `<!-- yours: NAME -->` and `<!-- /yours -->`. The last line of a filled file,
`<!-- filled: LANGUAGE DIGEST -->`, has the digest of everything outside the places: by it a change is noticed that was
made by hand elsewhere. Such a file is never overwritten; the new version is put beside it.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path

from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.files import write_atomically

OPENING = re.compile(r"<!-- yours: (.+) -->")
CLOSING = "<!-- /yours -->"
SEAL = re.compile(r"<!-- filled: (\w+) ([0-9a-f]{64}) -->")
KEPT = {
    "en": "## Your words of an earlier version\n\nThis version has no place of that name for them; move them or delete "
    "them.",
    "zh": "## 旧版本中您写的文字\n\n新版本中已没有对应的位置。请自行移动或删除。",
}


class FillError(LabError):
    """A report that cannot be read or written; the message says what was kept and what to do."""


@dataclass(frozen=True)
class Filled:
    """What a file holds: a student's words by the names of their places, and whether the rest is as we wrote it.

    `fault` says why it is not, and is empty where it is.
    """

    words: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def write_filled(path: Path, text: str, *, language: str) -> Path:
    """Write the report's new text, with the words that the file there has in its places; returns the file written.

    That is another one, beside it, when `path` was changed by hand elsewhere; a LabWarning says so.
    Raises FillError, with every file left as it was.
    """
    try:
        there = read_filled(path, language=language)
        fresh = seal(fill(text, there.words, language=language), language=language)
        target = free_place(path, there.words) if there.fault else path
        write_atomically(target, lambda file: file.write(fresh.encode()))
    except OSError as error:
        raise FillError(
            f"{path} cannot be written: {error}. Nothing in it was changed. Make the folder writable, or copy the lab "
            "to one that is and set FMNIST_HOME to it"
        ) from error
    if there.fault:
        warnings.warn(
            LabWarning(
                f"{path.name} {there.fault}, so it was left as it is; the new version is {target.name}. Take over what "
                f"you want from one into the other, and keep the better one as {path.name}"
            ),
            stacklevel=2,
        )
    return target


def read_filled(path: Path, *, language: str) -> Filled:
    """What a file holds; one that is not there, or blank, holds nothing that could be lost. Raises OSError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return Filled()
    except UnicodeDecodeError:
        return Filled(fault="is not UTF-8 text")
    if not text.strip():
        return Filled()
    outside, words = split(text)
    seals = [found for line in outside if (found := SEAL.fullmatch(line))]
    if [found[2] for found in seals] != [digest(outside)]:
        return Filled(words, "was changed by hand outside the places for your words")
    if seals[0][1] != language:
        return Filled(words, f"holds the report in another language ({seals[0][1]})")
    return Filled(words)


def split(text: str) -> tuple[list[str], dict[str, str]]:
    """The lines outside all places, those that open and close one included, and the words inside, by name.

    Words of two places with one name are joined. A place without its end has no words that can be told from the rest.
    """
    outside: list[str] = []
    words: dict[str, str] = {}
    name, inside = "", list[str]()
    for line in re.split(r"\r?\n", text):  # not splitlines(), which also takes signs within words for line ends
        mark = line.strip()
        opening = OPENING.fullmatch(mark)
        if opening or not name:
            outside.append(line.rstrip())
            name, inside = (opening[1], []) if opening else ("", [])
        elif mark == CLOSING:
            outside.append(mark)
            told = [words.get(name, ""), trim(inside)]
            words[name] = "\n\n".join(each for each in told if each)
            name = ""
        else:
            inside.append(line)
    return outside, {place: told for place, told in words.items() if told}


def trim(lines: list[str]) -> str:
    """Lines as one text, without the blank ones before and after."""
    return re.sub(r"\A(?:[ \t]*\n)+|(?:\n[ \t]*)+\Z", "", "\n".join(lines)) if any(map(str.strip, lines)) else ""


def digest(outside: list[str]) -> str:
    """SHA-256 of the lines outside the places, but for the seal: line ends and blank lines at the end do not count."""
    return sha256("\n".join(line for line in outside if not SEAL.fullmatch(line)).strip().encode()).hexdigest()


def place(name: str) -> str:
    """An empty place."""
    return f"<!-- yours: {name} -->\n\n{CLOSING}"


def fill(text: str, words: Mapping[str, str], *, language: str) -> str:
    """The text with words in its places; those of a place that it lacks come at its end, in one of their own."""
    left = dict(words)

    def put(found: re.Match[str]) -> str:
        told = left.pop(found[1], "")
        return f"<!-- yours: {found[1]} -->\n\n" + (f"{told}\n\n" if told else "") + CLOSING

    filled = re.sub(rf"{OPENING.pattern}\s*{re.escape(CLOSING)}", put, text).rstrip()
    if left:
        kept = [place(name).replace("\n\n", f"\n\n{told}\n\n") for name, told in left.items()]
        filled = "\n\n".join([filled, KEPT[language], *kept])
    return filled + "\n"


def seal(text: str, *, language: str) -> str:
    """The text with its last line, by which `read_filled` knows it again."""
    outside, _ = split(text)
    return f"{text.rstrip()}\n\n<!-- filled: {language} {digest(outside)} -->\n"


def free_place(path: Path, words: Mapping[str, str]) -> Path:
    """A file beside `path` for its new version: not there yet, or an earlier version that nobody has touched."""
    return next(each for each in names_beside(path) if can_be_replaced(each, words))


def names_beside(path: Path) -> Iterator[Path]:
    """report.new.md, report.new2.md, ..."""
    for number in count(1):
        yield path.with_name(f"{path.stem}.new{number if number > 1 else ''}{path.suffix}")


def can_be_replaced(path: Path, words: Mapping[str, str]) -> bool:
    """Whether a file holds nothing but what we wrote and these words."""
    if not path.exists():
        return True
    for language in KEPT:
        there = read_filled(path, language=language)
        if not there.fault:
            return there.words.items() <= words.items()
    return False
