"""Try to break what docs/promises.md promises, and write what came of it to benchmarks/faults.json.

    python benchmarks/faults.py            all of it, for hours; what is in the file already is not tried again
    python benchmarks/faults.py --short    a few trials of each, for a minute or two: `make test` runs these
    python benchmarks/faults.py 3 6        only these promises

A trial is what one `yield` of a promise's function gives: "" where the promise held, else what happened instead.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import fault_files
import fault_places
import fault_runs
import torch
from measuring import write_result

Trials = Callable[[int, Path], Iterator[str]]
FILE = Path(__file__).with_name("faults.json")
SHOWN = 5  # failures that a row tells of


class Promise(NamedTuple):
    """A promise of docs/promises.md: its number there, what is tried, and how often in the long and the short form."""

    number: int
    what: str
    trials: Trials
    long: int
    short: int


PROMISES = [
    Promise(1, "killed and resumed", fault_runs.kills, 300, 3),
    Promise(2, "a save that fails or is killed at each of its steps", fault_runs.failing_saves, 200, 3),
    Promise(3, "damaged and swapped files", fault_files.damages, 64, 4),
    Promise(4, "resumed at every epoch", fault_runs.boundaries, 100, 2),
    Promise(5, "interrupts and restarts of a notebook's kernel", fault_runs.kernels, 30, 1),
    Promise(6, "hostile files", fault_files.hostile_files, 1000, 24),
    Promise(7, "faulty servers", fault_places.servers, 100, 8),
    Promise(8, "two trainings in one folder", fault_runs.races, 20, 2),
    Promise(9, "odd places", fault_places.odd_places, 100, 6),
    Promise(10, "names and texts that are scripts", fault_files.scripts, 100, 21),
    Promise(11, "fuzzed files", fault_files.fuzz, 100_000, 50),
]


def measure(promise: Promise, count: int) -> dict[str, Any]:
    """Try a promise so often, as far as it has so many trials; its row of the results."""
    started, tried, failures = time.perf_counter(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for reason in promise.trials(count, Path(folder)):
            tried += 1
            if reason:
                failures.append(reason[:500])
                print(f"promise {promise.number}, trial {tried}: {reason[:500]}", file=sys.stderr, flush=True)
    return {
        "promise": promise.number,
        "what": promise.what,
        "tried": tried,
        "passed": tried - len(failures),
        "failures": failures[:SHOWN],
        "seconds": round(time.perf_counter() - started, 1),
        "asked": count,
        "date": date.today().isoformat(),
    }


def main() -> int:
    """Measure what is asked for and not there yet; returns 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("promises", type=int, nargs="*", metavar="N", help="numbers; default: all")
    parser.add_argument("--short", action="store_true", help="a few trials of each")
    parser.add_argument("--fresh", action="store_true", help="also those that are in the file already")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process that has threads cannot be forked safely
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = {row["promise"]: row for row in json.loads(options.out.read_text())["rows"]} if options.out.exists() else {}
    for promise in PROMISES:
        count = promise.short if options.short else promise.long
        is_done = rows.get(promise.number, {}).get("asked", 0) >= count
        if (options.promises and promise.number not in options.promises) or (is_done and not options.fresh):
            continue
        row = rows[promise.number] = measure(promise, count)
        write_result(options.out, {"rows": [rows[number] for number in sorted(rows)]})
        print(f"{promise.number:2} {promise.what}: {row['passed']} of {row['tried']} in {row['seconds']} s", flush=True)
    told = sum(row["tried"] - row["passed"] for row in rows.values())
    print(f"{told} of {sum(row['tried'] for row in rows.values()):,} trials failed; --fresh tries again what is done")
    return int(told > 0)


if __name__ == "__main__":
    sys.exit(main())
