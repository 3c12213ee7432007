"""The guide's code runs as it stands, block after block, in an empty folder."""

import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "explorer.md"


def test_every_block_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == GUIDE.read_text(encoding="utf-8").count("```python") > 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert names["recorder"].skipped == {}
    assert names["two"].skipped == names["functional"].skipped == {}
    assert list(names["functional"].recording().layers["maps"]) == ["relu", "relu_2"]
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"recording.npz", "maps.png", "maps.gif", "explorer.html", "network.html", "network.svg"}
