"""Pages that show what benchmarks measured: their numbers are those of the file, and a prediction is arithmetic."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGES = {"scaling": ROOT / "docs" / "cluster.md", "results": ROOT / "README.md"}

sys.path.insert(0, str(BENCHMARKS))
import race  # noqa: E402 (benchmarks are no package)
from network import LATENCY, Step, bytes_sent, fit_line  # noqa: E402 (the same)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_the_measured_numbers(tmp_path: Path, name: str) -> None:
    page = tmp_path / "page.md"
    shutil.copy(PAGES[name], page)
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--page", str(page)]
    subprocess.run(command, check=True, env=os.environ)
    assert page.read_text() == PAGES[name].read_text(), f"run python benchmarks/{name}.py --page"


def test_the_race_is_drawn_with_every_contestant() -> None:
    figure = race.draw(json.loads((BENCHMARKS / "race.json").read_text())["runs"])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(race.LABELS.values())


def test_the_race_shows_every_run_however_slow_or_bad() -> None:
    runs = json.loads((BENCHMARKS / "race.json").read_text())["runs"]
    runs["sprint/resnet18"] += [run | {"test_accuracy": 0.5, "seconds": 4000} for run in runs["sprint/resnet18"]]
    axes = race.draw(runs).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    dots = [line.get_xydata() for line in axes.lines if line.get_marker() in race.MARKERS]
    assert sum(map(len, dots)) == sum(len(run.get("epochs", [run])) for run in runs["original"]) + sum(
        len(each) for name, each in runs.items() if name != "original"
    )
    assert all(left < x < right and bottom < y < top for points in dots for x, y in points)


def test_a_rank_that_is_timed_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "scaling_rank.py"), "resnet18", "--batch", "32", "--steps", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert figures["images_per_second"] == pytest.approx(32 / figures["step_seconds"])


@pytest.mark.parametrize("machines", [2, 3, 5])
def test_bytes_sent_are_those_of_a_ring(machines: int) -> None:
    """By passing parts on, one by one, until every machine has every sum."""
    values = [[float(machine * machines + part) for part in range(machines)] for machine in range(machines)]
    expected = [sum(column) for column in zip(*values, strict=True)]
    sent = 0
    for round_number in range(2 * (machines - 1)):
        adds = round_number < machines - 1
        parts = [(machine - round_number) % machines for machine in range(machines)]
        moving = [values[machine][part] for machine, part in enumerate(parts)]
        for machine, part in enumerate(parts):
            target = (machine + 1) % machines
            values[target][part] = moving[machine] + (values[target][part] if adds else 0)
        sent += 1  # part of each machine
    assert values == [expected] * machines
    assert bytes_sent(machines, machines) == pytest.approx(sent)


def test_the_limit_is_where_sending_takes_as_long_as_computing() -> None:
    step = Step(fixed=0.0, per_image=0.001, batch=128, gradient_bytes=10**6)
    prediction = step.predict(1.0)
    limit = prediction["machines_at_limit"]
    seconds = {machines: (step.compute(machines), step.exchange(machines, gigabits=1.0)) for machines in range(2, 129)}
    assert all(computing > sending for machines, (computing, sending) in seconds.items() if machines < limit)
    assert seconds[limit][0] <= seconds[limit][1]
    row = prediction["rows"][0]
    assert row["exchange_ms"] == pytest.approx(8.0 + 2 * LATENCY * 1e3)  # 1 MB at 1 Gbit/s, and two messages
    assert row["speedup"] == pytest.approx(128 / (64 + row["exchange_ms"]), abs=0.01)


def test_a_line_is_found() -> None:
    assert fit_line({batch: 0.004 + 0.0005 * batch for batch in (32, 64, 512)}) == pytest.approx((0.004, 0.0005))
