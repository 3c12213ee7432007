"""The lab report's twelve claims and their verdicts as a table in a notebook."""

import html

from fmnist_lib.runs.claims import Claim, read_claims
from fmnist_lib.runs.places import stored

HEAD = ("", "claim", "compared", "measure", "effect", "smallest that matters", "reason", "verdict")
LEFT = ' style="text-align: left"'
OF_CLAIM = (0, 1, len(HEAD) - 1)  # the columns that speak of a claim with all its parts


class Verdicts:
    """Some of the claims, by their numbers, or all: shown by Jupyter as a table. Raises LabError where none are kept.

    `rows` has a line for each part of a claim, with a cell for each of `HEAD`. A claim whose runs are not complete has
    no verdict yet, and says so.
    """

    def __init__(self, *numbers: int) -> None:
        kept = read_claims(stored("benchmarks/claims.json"))
        chosen = kept._replace(claims=[claim for claim in kept.claims if not numbers or claim.number in numbers])
        self.seeds, self.claims = chosen
        self.rows = [row for claim in self.claims for row in list_parts(claim)]
        self.is_complete = chosen.are_judged

    def __repr__(self) -> str:
        return "\n".join(" | ".join(row) for row in self.rows) + f"\n{self.note}"

    @property
    def note(self) -> str:
        """How many seeds there are, and what that means."""
        if self.is_complete:
            return f"{self.seeds} seeds each; intervals of 95 % (Student's t)."
        return f"Not complete: {self.seeds} seeds so far, and a verdict takes 5. Run `python benchmarks/claims.py`."

    def _repr_html_(self) -> str:
        head = "".join(f"<th{LEFT}>{name}</th>" for name in HEAD)
        body = "".join(map(lay_out, self.claims))
        return f"<table><tr>{head}</tr>{body}</table><p>{html.escape(self.note)}</p>"


def list_parts(claim: Claim) -> list[list[str]]:
    """The lines of a claim; its number, words and verdict stand in the first alone."""
    lines = []
    for part in claim.parts:
        effect = f"{part.effect} {part.unit}".strip() if part.effect else "not yet"
        lines.append(["", "", part.what, part.measure, effect, part.smallest, part.reason, ""])
    lines[0][:2], lines[0][-1] = [str(claim.number), claim.words], claim.verdict or "not yet"
    return lines


def lay_out(claim: Claim) -> str:
    """The lines as rows of an HTML table, in which what speaks of the claim stands beside all its parts."""
    first, *more = list_parts(claim)
    height = len(claim.parts)
    rows = [[lay_out_cell(cell, height if place in OF_CLAIM else 1) for place, cell in enumerate(first)]]
    rows += [[lay_out_cell(cell, 1) for place, cell in enumerate(line) if place not in OF_CLAIM] for line in more]
    return "".join(f"<tr>{''.join(row)}</tr>" for row in rows)


def lay_out_cell(text: str, height: int) -> str:
    """A cell so many rows high."""
    rows = f' rowspan="{height}"' if height > 1 else ""
    return f"<td{rows}{LEFT}>{html.escape(text)}</td>"
