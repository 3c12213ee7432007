"""The original lab report's twelve claims, as benchmarks/claims.py judged them: what is told of them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

# Said behind a verdict that would be another if the twelve were judged together, with the chance of one error for all.
NOT_TOGETHER = {"en": " (not when all twelve are judged together)", "zh": "（十二项一并判定时则不然）"}


class Part(NamedTuple):
    """One effect of a claim: what is compared by which measure, and mean and interval; "" as long as runs lack."""

    what: str
    measure: str
    unit: str
    is_ratio: bool  # of what, the measure says
    effect: str


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
    parts = [
        Part(
            what=part["what"][language],
            measure=part["measure"][language],
            unit=part["unit"][language].strip("（）"),
            is_ratio=part["no_difference"] == 1,
            effect=tell_interval(part["effect"], *part["interval"]) if "effect" in part else "",
        )
        for part in claim["parts"]
    ]
    verdict = claim["verdict_words"][language] if "verdict_words" in claim else ""
    note = NOT_TOGETHER[language] if verdict and not claim["stays_with_twelve"] else ""
    return Claim(claim["number"], claim["claim"][language], parts, verdict + note)


def tell_interval(effect: float, low: float, high: float) -> str:
    """An effect and its interval, as many digits after the point as its ends need."""
    digits = 1 if max(abs(low), abs(high)) >= 10 else 2
    return f"{effect:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
