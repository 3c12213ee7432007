"""What a newcomer installs: environment.yml in step with pyproject.toml, and what git carries."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()


def tracked() -> list[Path]:
    """The files in git, or a skip outside a checkout."""
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("no git checkout")
    return [ROOT / name for name in answer.stdout.split("\0") if name and (ROOT / name).exists()]


def test_environment_yml_installs_the_lab_extra_and_lists_no_package_itself() -> None:
    lines = [
        line.strip(" -") for line in (ROOT / "environment.yml").read_text().splitlines() if not line.startswith("#")
    ]
    dependencies = lines[lines.index("dependencies:") + 1 :]
    python = re.search(r'requires-python = "([^"]+)"', PROJECT)
    assert python
    assert dependencies == [f"python{python[1]}", "pip", "pip:", ".[lab]"]
    assert re.search(r"^lab = \[", PROJECT, flags=re.MULTILINE)


def test_no_rule_of_gitignore_hides_a_source_file() -> None:
    """Once `data/` hid the package's room of that name: all was well here and nothing ran on a fresh clone."""
    tracked()
    command = ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "fmnist_lib", "tests"]
    hidden = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    assert [name for name in hidden if name.endswith((".py", ".js", ".css", ".md", ".html", ".gz"))] == []


def test_nothing_too_large_is_tracked() -> None:
    files = tracked()
    assert [file for file in files if file.stat().st_size > 25_000_000] == []
    artefacts = [file for file in files if file.relative_to(ROOT).parts[0] in ("checkpoints", "figures")]
    assert sum(file.stat().st_size for file in artefacts) < 100_000_000


def test_no_data_and_no_resumable_state_is_tracked() -> None:
    names = [str(file.relative_to(ROOT)) for file in tracked()]
    assert [name for name in names if "ubyte" in name and not name.startswith("fmnist_lib/data/tiny/")] == []
    assert [name for name in names if "/epochs/" in name] == []


def test_no_home_folder_is_named_in_what_people_read() -> None:
    pattern = re.compile(r"(?<![\w.:/])/(?:home|Users|root|work)/\w+")
    for file in tracked():
        if file.suffix in (".ipynb", ".md", ".json", ".yml", ".toml") and not file.name.startswith("package"):
            assert not pattern.search(file.read_text()), file


def test_the_costs_in_the_readme_are_the_measured_ones() -> None:
    measured = json.loads((ROOT / "benchmarks" / "newcomer.json").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    minutes = {key: round(measured[f"{key}_seconds"] / 60) for key in ("make_report", "make_test", "retraining")}
    assert f"the first `make report` takes {minutes['make_report']} minutes" in text
    assert f"`make test` {minutes['make_test']} minutes" in text
    assert f"in {minutes['retraining']} minutes on two processor cores" in text
    assert f"`.venv` takes {measured['environment_megabytes'] / 1000:.1f} GB" in text
