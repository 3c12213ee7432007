"""The lab report's twelve claims and their verdicts as a table in a notebook."""

import html

from fmnist_lib.runs.claims import Claim, read_claims
from fmnist_lib.runs.places import stored


class Verdicts:
    """Some of the claims, by their numbers, or all: shown by Jupyter as a table. Raises LabError where none are kept.

    `rows` has a line for each part of a claim: its number, claim, what is compared, measure, effect with interval,
    and verdict. A claim whose runs are not complete has no verdict yet, and says so.
    """

    def __init__(self, *numbers: int) -> None:
        kept = read_claims(stored("benchmarks/claims.json"))
        self.seeds = kept.seeds
        self.claims = [claim for claim in kept.claims if not numbers or claim.number in numbers]
        self.rows = [row for claim in self.claims for row in list_parts(claim)]
        self.is_complete = all(claim.verdict for claim in self.claims)

    def __repr__(self) -> str:
        return "\n".join(" | ".join(row) for row in self.rows) + f"\n{self.note}"

    @property
    def note(self) -> str:
        """How many seeds there are, and what that means."""
        if self.is_complete:
            return f"{self.seeds} seeds each; intervals of 95 % (Student's t)."
        return f"Not complete: {self.seeds} seeds so far, and a verdict takes 5. Run `python benchmarks/claims.py`."

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("", "claim", "compared", "measure", "effect", "verdict"))
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{body}</table><p>{html.escape(self.note)}</p>"


def list_parts(claim: Claim) -> list[list[str]]:
    """The lines of a claim; its number, words and verdict stand in the first alone."""
    lines = [
        ["", "", part.what, part.measure, f"{part.effect} {part.unit}".strip() if part.effect else "not yet", ""]
        for part in claim.parts
    ]
    lines[0][:2], lines[0][-1] = [str(claim.number), claim.words], claim.verdict or "not yet"
    return lines
