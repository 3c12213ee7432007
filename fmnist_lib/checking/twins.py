"""What two folders have in common: weights, histories, texts. It is shown side by side; people judge."""

from collections.abc import Iterator
from itertools import combinations

from fmnist_lib.checking.findings import Finding
from fmnist_lib.checking.folders import Handed
from fmnist_lib.checking.runs import Work, is_like


def compare(folders: list[Handed]) -> None:
    """Add to both of any two folders what they have in common."""
    for mine, theirs in combinations(folders, 2):
        for work, other in pairs_of_runs(mine, theirs):
            if found := in_common(work, other):
                colour, reason = found
                mine.findings.append(Finding("own work", colour, work.name, f"{reason} {theirs.name}, {other.name}"))
                theirs.findings.append(Finding("own work", colour, other.name, f"{reason} {mine.name}, {work.name}"))
        shared = mine.texts.keys() & theirs.texts.keys()
        if shared:
            example = mine.texts[min(shared)]
            for one, another in ((mine, theirs), (theirs, mine)):
                reason = f"{len(shared)} texts are, word for word, also in {another.name}, such as: {example!r}"
                one.findings.append(Finding("own work", "red" if len(shared) > 2 else "amber", "texts", reason))


def pairs_of_runs(mine: Handed, theirs: Handed) -> Iterator[tuple[Work, Work]]:
    """Runs of two folders that both could be somebody's own."""
    for work in mine.works:
        for other in theirs.works:
            if work.run and other.run and not work.handed_out and not other.handed_out:
                yield work, other


def in_common(work: Work, other: Work) -> tuple[str, str] | None:
    """Colour and words for what two runs share. Equal bits alone are no proof: the same recipe and seed on the same
    kind of processor give them, but never the same seconds."""
    assert work.run is not None and other.run is not None
    mine, theirs = work.run.history.epochs, other.run.history.epochs
    same_times = bool(mine) and [row.get("seconds") for row in mine] == [row.get("seconds") for row in theirs]
    if same_times:
        return "red", "its history, seconds included, is that of"
    if work.digest == other.digest:
        return "amber", "same recipe, same seed, same bits, but other training times than"
    if is_like(work.fingerprint, other.fingerprint):
        return "red", "its weights are, rounded or rearranged, those of"
    return None
