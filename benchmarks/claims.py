"""Twelve claims that the lab report made from one picture each, judged by a measure on five seeds.

    python benchmarks/claims.py            # about 70 minutes; a stopped one goes on with the next run
    python benchmarks/claims.py --judge    # runs nothing: claims.json anew from claims.csv

The runs and what is measured of them are in claim_runs.py; a run is a line of claims.csv. Written down here, before
any of these runs was made: what is claimed, by which measure it is judged, what difference would matter, the rule
that makes a verdict of an interval, and what a verdict will not say. What was looked at before: that ResNet-18 and
AlexNet of another seed (100) reach the goal of claims 9 and 11 in time, how accurate a linear classifier is on pixels
and on an untrained network's maps by ridge penalty, and how often drawn edges, gratings and spots under noise count as
oriented. Six seeds were planned; five were run, the fewest that a verdict takes, since the machine's time was up.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from claim_list import CLAIMS, VAL5, Claim, Part, Runs
from claim_runs import IMAGES, VARIANTS, Row, make_row
from measuring import print_table, write_result

from fmnist_lib.runs import machine
from fmnist_lib.runs.sweep import ENVIRONMENT, read_rows, settings, write_rows
from fmnist_lib.training.devices import keep_memory

HERE = Path(__file__).parent
RESULT, ROWS = HERE / "claims.json", HERE / "claims.csv"
CHINESE: dict[str, str] = json.loads((HERE / "claims.zh.json").read_text(encoding="utf-8"))  # by the English text
SEEDS = range(5)
FEWEST = 5  # seeds, for a verdict
CONFIDENCE = 0.95

SETUP = (
    "Every network is trained with the lab report's recipe (Adam, learning rate 0.001, batches of 128, no "
    "augmentation) for 5 epochs, or 10 where it is said, on the same 16,000 training images, and measured on the "
    "5,000 validation images; the test set stays closed. ResNets have 16 to 128 channels and a 7x7 kernel of stride "
    "2. One thing is changed at a time, in the built network, so that all else starts from the same weights. The "
    "subset and the stride are what two cores can train often enough to have five seeds of each."
)
RULE = (
    "Each seed gives one number, the difference between two networks (or within one) in the claim's direction. The "
    "effect is the mean over the seeds, its interval Student's t at 95 %. A part of a claim is supported when the "
    "whole interval lies beyond the value that means no difference and the effect is at least the smallest that "
    "matters; it is contradicted when both hold in the other direction; else it is not supported. A claim is "
    "supported when all its parts are, contradicted when one of them is, else not supported. Intervals speak of other"
    " seeds (first weights, order of images) on these training and validation images. With twelve claims a few errors"
    " at 95 % are to be expected; so it is said, too, which verdicts stay at 1 - 0.05 / 12 (Bonferroni)."
)
REASONS = {
    "clear": "beyond chance, and large enough to matter",
    "small": "beyond chance, but smaller than what matters",
    "negligible": "the whole interval is smaller than what matters",
    "undecided": "these seeds do not decide it",
    "clear, against": "beyond chance, and large enough to matter, but the other way round",
    "small, against": "beyond chance the other way round, but smaller than what matters",
}
IN_SHORT = {  # for a table that has little room
    "clear": "large enough",
    "small": "too small",
    "negligible": "too small",
    "undecided": "undecided",
    "clear, against": "opposite",
    "small, against": "opposite, too small",
}
UNITS = {
    "points": "percentage points",
    "index": "on a scale from 0 to 1",
    "correlation": "rank correlation, -1 to 1",
    "nats": "of the loss (nats)",
    "times": "times as many steps",
    "pixels": "pixels",
    "ratio": "",
}


class Estimate(NamedTuple):
    """A mean over seeds, its interval, and what the rule makes of it."""

    effect: float
    interval: tuple[float, float]
    verdict: str
    reason: str


def judge(values: Sequence[float], part: Part, *, confidence: float = CONFIDENCE) -> Estimate:
    """The rule: see `RULE`."""
    is_ratio = part.unit == "times"
    numbers = [math.log(value) for value in values] if is_ratio else list(values)
    smallest = math.log(part.smallest) if is_ratio else part.smallest
    mean = statistics.fmean(numbers)
    half = t_quantile(confidence, len(numbers) - 1) * statistics.stdev(numbers) / math.sqrt(len(numbers))
    low, high, effect = mean - half - part.null, mean + half - part.null, mean - part.null
    if low > 0 or high < 0:
        reason = "clear" if abs(effect) >= smallest else "small"
    else:
        reason = "negligible" if -smallest < low and high < smallest else "undecided"
    verdict = "not supported" if reason != "clear" else "supported" if low > 0 else "contradicted"
    back = math.exp if is_ratio else float
    return Estimate(back(mean), (back(mean - half), back(mean + half)), verdict, reason)


def name_reason(found: Estimate, part: Part) -> str:
    """The key of the reason, which says so when the effect lies on the other side than the claim's."""
    is_against = found.reason in ("clear", "small") and found.effect < (1.0 if part.unit == "times" else part.null)
    return f"{found.reason}, against" if is_against else found.reason


def combine(verdicts: Sequence[str]) -> str:
    """A claim's verdict by those of its parts."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "not supported"


def t_quantile(confidence: float, freedom: int) -> float:
    """Within how many standard errors of 0 Student's t stays with that probability, by halving an interval."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < confidence else (low, middle)
    return high


def t_probability(t: float, freedom: int) -> float:
    """P(|T| <= t) for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    term = total = 1.0 if freedom % 2 == 0 else math.cos(angle)
    for k in range(2 if freedom % 2 == 0 else 3, freedom, 2):
        term *= math.cos(angle) ** 2 * (k - 1) / k
        total += term
    if freedom % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))


def in_both(text: str) -> dict[str, str]:
    """The text in English and in Chinese."""
    return {"en": text, "zh": CHINESE[text] if text else ""}


def make_missing_rows() -> list[Row]:
    """Run what is not in the table yet, seed by seed, and write the table after each run."""
    rows = {row["key"]: row for row in read_rows(ROWS)}
    for seed in SEEDS:
        for name, variant in VARIANTS.items():
            key = f"{name}-{seed}"
            told = json.dumps(settings(variant.recipe) | {"images": IMAGES})
            if rows.get(key, {}).get("settings") == told:
                continue
            head = {"key": key, "variant": name, "model": variant.model, "settings": told, "seed": seed}
            where = machine.describe(torch.device("cpu"))
            row = head | make_row(name, seed) | {field: where.get(field, "") for field in ENVIRONMENT}
            rows[key] = {field: "" if value is None else str(value) for field, value in row.items()}
            write_rows(ROWS, list(rows.values()))
            print(f"{key}: validation accuracy {row[VAL5]}", flush=True)
    return list(rows.values())


def by_seed(rows: Sequence[Mapping[str, str]]) -> list[Runs]:
    """The table's rows as numbers, variant by variant, for each seed that has them all."""
    seeds: dict[str, dict[str, Row]] = {}
    for row in rows:
        numbers = {name: as_number(text) for name, text in row.items() if name not in ENVIRONMENT}
        seeds.setdefault(row["seed"], {})[row["variant"]] = numbers
    return [runs for runs in seeds.values() if runs.keys() >= VARIANTS.keys()]


def as_number(text: str) -> Any:
    """A cell: a number, a list of numbers, None where it is empty, or the text itself."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def conclude(part: Part, seeds: Sequence[Runs]) -> Row:
    """What a part comes to."""
    figures: Row = {
        "what": in_both(part.what),
        "measure": in_both(part.measure.words),
        "formula": part.measure.formula,
        "source": part.measure.source,
        "unit": in_both(UNITS[part.unit]),
        "n": len(seeds),
    }
    decides = not math.isnan(part.smallest)
    if decides:
        figures |= {"smallest_that_matters": part.smallest, "no_difference": 1.0 if part.unit == "times" else part.null}
    if len(seeds) < FEWEST:
        return figures
    values = [part.value(runs) for runs in seeds]
    found = judge(values, part)
    figures |= {"effect": round(found.effect, 4), "interval": [round(end, 4) for end in found.interval]}
    if bounds := sum(part.is_bound(runs) for runs in seeds):
        figures["censored"] = bounds  # seeds whose number is "at least", and so are the effect and its interval
    if decides:
        reason = name_reason(found, part)
        figures |= {"verdict": found.verdict, "reason": in_both(REASONS[reason]), "in_short": in_both(IN_SHORT[reason])}
        figures["verdict_of_twelve"] = judge(values, part, confidence=1 - (1 - CONFIDENCE) / len(CLAIMS)).verdict
    return figures | {"values": [round(value, 4) for value in values]}


def conclude_claim(number: int, claim: Claim, seeds: Sequence[Runs]) -> Row:
    """A claim with all that a reader needs."""
    parts = [conclude(part, seeds) for part in claim.parts]
    figures: Row = {"number": number, "claim": in_both(claim.claim)}
    if all("verdict" in part for part in parts):
        verdict = combine([part["verdict"] for part in parts])
        figures |= {"verdict": verdict, "verdict_words": in_both(verdict)}
        figures["stays_with_twelve"] = combine([part["verdict_of_twelve"] for part in parts]) == verdict
    figures |= {"limits": in_both(claim.limits), "parts": parts}
    return figures | {"beside": [conclude(part, seeds) for part in claim.beside]}


def conclude_all(seeds: Sequence[Runs]) -> Row:
    """The file: the rule, and the claims."""
    claims = [conclude_claim(number, claim, seeds) for number, claim in enumerate(CLAIMS, start=1)]
    return {"setup": in_both(SETUP), "rule": in_both(RULE), "n": len(seeds), "claims": claims}


def main() -> None:
    """Run what is missing, judge, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", action="store_true", help="run nothing")
    options = parser.parse_args()
    keep_memory()
    figures = conclude_all(by_seed(read_rows(ROWS) if options.judge else make_missing_rows()))
    write_result(RESULT, figures)
    lines = [
        (claim["number"], part["what"]["en"], part["n"], part["effect"], *part["interval"], part["verdict"])
        for claim in figures["claims"]
        for part in claim["parts"]
        if "effect" in part
    ]
    print_table(("claim", "what", "n", "effect", "from", "to", "verdict"), lines)


if __name__ == "__main__":
    main()
