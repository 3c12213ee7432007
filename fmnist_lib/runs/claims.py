"""The original lab report's twelve claims, as benchmarks/claims.py judged them: what is told of them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

# Said behind a verdict that would be another if the twelve were judged together, with the chance of one error for all.
AT_LEAST = {"en": "at least", "zh": "至少"}  # said of an effect for which runs ended before they reached the goal
NOT_TOGETHER = {"en": " (not when all twelve are judged together)", "zh": "（十二项一并判定时则不然）"}


class Part(NamedTuple):
    """One effect of a claim: what is compared by which measure, from which effect on it matters, and what came out.

    `effect` is mean and interval, `reason` why the rule decides of this part as it does: both "" as long as runs lack.
    """

    what: str
    measure: str
    unit: str
    is_ratio: bool  # of what, the measure says
    smallest: str
    effect: str
    reason: str
    in_short: str  # the reason, where there is little room


class Claim(NamedTuple):
    """A claim in words, its effects, and its verdict, "" as long as runs lack."""

    number: int
    words: str
    parts: list[Part]
    verdict: str


class Claims(NamedTuple):
    """All claims, and on how many seeds each was tried."""

    seeds: int
    claims: list[Claim]

    @property
    def are_judged(self) -> bool:
        """Whether every one has its verdict."""
        return all(claim.verdict for claim in self.claims)


def read_claims(path: Path, *, language: str = "en") -> Claims:
    """What the file says, in one of its languages. Raises OSError, and the errors of values that are not there."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Claims(int(kept["n"]), [read_claim(claim, language) for claim in kept["claims"]])


def read_claim(claim: dict[str, Any], language: str) -> Claim:
    """A claim of the file."""
    parts = [read_part(part, language) for part in claim["parts"]]
    verdict = claim["verdict_words"][language] if "verdict_words" in claim else ""
    note = NOT_TOGETHER[language] if verdict and not claim["stays_with_twelve"] else ""
    return Claim(claim["number"], claim["claim"][language], parts, verdict + note)


def read_part(part: dict[str, Any], language: str) -> Part:
    """A part of a claim of the file."""
    is_ratio = part["no_difference"] == 1
    smallest = part["smallest_that_matters"] + (0 if is_ratio else part["no_difference"])
    return Part(
        what=part["what"][language],
        measure=part["measure"][language],
        unit=part["unit"][language].strip("（）"),
        is_ratio=is_ratio,
        smallest=f"{smallest:g}",
        effect=tell_effect(part, language) if "effect" in part else "",
        reason=part["reason"][language] if "effect" in part else "",
        in_short=part["in_short"][language] if "effect" in part else "",
    )


def tell_effect(part: dict[str, Any], language: str) -> str:
    """A part's effect with its interval; the least that it may be, without one, where runs ended before the goal.

    The interval would then be the spread of the other runs alone.
    """
    told = tell_interval(part["effect"], *part["interval"])
    return f"{AT_LEAST[language]} {told.split(' ')[0]}" if "censored" in part else told


def tell_interval(effect: float, low: float, high: float) -> str:
    """An effect and its interval, as many digits after the point as its ends need."""
    larger = max(abs(low), abs(high))
    digits = 1 if larger >= 10 else 2 if larger >= 0.2 else 3
    return f"{effect:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
