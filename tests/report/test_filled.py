"""The filled report: its sentences follow the runs' files, and what is lacking is named."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from signing import edit_run

from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.report import filled, pictures
from fmnist_lib.report.details import Details
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.visualisers import plots
from fmnist_lib.visualisers.recording import Recording

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A lab with the two runs that the extension compares, and the report's pictures."""
    for name in ("resnet18-original", "resnet34-original", "alexnet-original", "plain18-original"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        for file in ("run.json", "recording.npz"):
            shutil.copy(ROOT / "checkpoints" / name / file, tmp_path / "checkpoints" / name)
        shutil.copytree(ROOT / "figures" / name, tmp_path / "figures" / name)
    shutil.copytree(ROOT / "figures" / "report", tmp_path / "figures" / "report")
    return tmp_path


def render(home: Path, language: str = "en") -> str:
    return filled.render(home, Details(), filled.tell(home), language=language)


def write(home: Path) -> list[str]:
    """Write the reports; returns what was said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        filled.write_reports(home)
    return [str(each.message) for each in told if issubclass(each.category, LabWarning)]


def alter(home: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a run's run.json."""
    edit_run(home / "checkpoints" / name, change)


def set_accuracy(accuracy: float) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["evaluation"]["test"].update(accuracy=accuracy)


@pytest.mark.parametrize(
    ("accuracy", "english", "chinese"),
    [
        (0.9114, "ResNet-34 is 0.08 points lower than ResNet-18, less than", "低 0.08 个百分点，小于误差范围"),
        (0.95, "ResNet-34 is 3.78 points higher than ResNet-18, more than", "高 3.78 个百分点，超出误差范围"),
        (0.88, "ResNet-34 is 3.22 points lower than ResNet-18, more than", "低 3.22 个百分点，超出误差范围"),
        (0.9122, "ResNet-34 and ResNet-18 are equal", "ResNet-34 与 ResNet-18 相同"),
    ],
)  # fmt: skip
def test_a_comparison_follows_the_accuracy(home: Path, accuracy: float, english: str, chinese: str) -> None:
    alter(home, "resnet34-original", set_accuracy(accuracy))
    assert english in render(home) and chinese in render(home, "zh")
    depth = {0.95: "a gain that counts over 18", 0.88: "a loss that counts over 18"}
    assert depth.get(accuracy, "no gain that counts over 18") in render(home)


def test_curves_and_confusions_follow_the_history_and_the_matrix(home: Path) -> None:
    before = render(home)
    assert before.count("lowest after the last epoch") == 3 and "Coat for Pullover (10.5%)" in before

    def change(content: dict[str, Any]) -> None:
        content["history"]["epochs"][1]["val_loss"] = 0.01
        content["evaluation"]["test"]["confusion"][8] = [500, 0, 0, 0, 0, 0, 0, 0, 500, 0]

    alter(home, "resnet18-original", change)
    after, chinese = render(home), render(home, "zh")
    assert "lowest after epoch 2 (0.0100)" in after and "Bag for T-shirt/top (50.0%)" in after
    assert "验证损失在第 2 个 epoch 最低（0.0100）" in chinese and "把包认作T恤（50.0%）" in chinese


@pytest.mark.parametrize(
    ("column", "layer", "value", "english", "chinese"),
    [
        ("zeros", "stage4.1.act2", 0.05, "falls (from 23% to 5%) in `stage4.1.act2`", "`stage4.1.act2` 由 23% 降至 5%"),
        ("zeros", "stem.act", 0.51, "hardly changes (from 51% to 51%) in `stem.act`", "基本不变（51% → 51%）"),
        ("dead", "stem.act", [1, 2, 3, 4], "4 after: the number of dead channels rises", "训练后有 4 个，有所增加"),
        ("gradient_norm", "stem.conv", 9.0, "rises (from 3.70 to", "总范数由 3.70 升至"),
        ("movement", "stem.conv", 7.77, "`stem.conv` moved by 777%; those of `stem.conv` moved most", "达 777%"),
    ],
)
def test_a_sentence_on_what_is_seen_follows_the_recording(
    home: Path, monkeypatch: pytest.MonkeyPatch, column: str, layer: str, value: Any, english: str, chinese: str
) -> None:
    load = Recording.load

    def altered(path: Path) -> Recording:
        recording = load(path)
        for row in recording.stats:
            if "resnet18" in str(path) and row["layer"] == layer and row["epoch"] == 5 and column in row:
                row[column] = value
        return recording

    assert english not in re.sub(r"\s+", " ", render(home))
    monkeypatch.setattr(Recording, "load", altered)
    assert english in re.sub(r"\s+", " ", render(home)) and chinese in render(home, "zh")


def judged(number: int, *, verdict: str | None = "supported") -> dict[str, Any]:
    """A claim as benchmarks/claims.py writes it."""
    both = {"en": f"claim {number}", "zh": f"论断 {number}"}
    part = {"what": both, "measure": {"en": "gain", "zh": "增益"}, "unit": {"en": "points", "zh": "个百分点"}}
    part |= {"effect": 1.5, "interval": [0.25, 2.75], "no_difference": 0.0, "smallest_that_matters": 0.5}
    part |= {"reason": {"en": "clear, and enough", "zh": "足够大"}, "in_short": {"en": "enough", "zh": "够"}}
    words = {"verdict_words": {"en": verdict, "zh": "得到支持"}} if verdict else {}
    return {"number": number, "claim": both, "stays_with_twelve": True, "parts": [part, part], **words}


def test_the_claims_follow_their_file(home: Path) -> None:
    path = home / "benchmarks" / "claims.json"
    path.parent.mkdir()
    assert "claimed, judged" not in render(home) and "not judged yet" not in render(home)
    path.write_text(json.dumps({"n": 5, "claims": [judged(1), judged(2, verdict="contradicted")]}))
    both = "claim 2 1.50 [0.25, 2.75], claim 2 1.50 [0.25, 2.75]"
    effects = f"gain (points, matters from 0.5): {both} (enough)"
    assert f"| 2 | claim 2 | {effects} | contradicted |" in render(home) and "on 5 seeds" in render(home)
    both = "论断 1 1.50 [0.25, 2.75]，论断 1 1.50 [0.25, 2.75]"
    effects = f"增益（个百分点，最小有意义的差值 0.5）：{both}（够）"
    assert f"| 1 | 论断 1 | {effects} | 得到支持 |" in render(home, "zh")
    censored = judged(1)
    censored["parts"] = [part | {"no_difference": 1.0, "censored": 5} for part in censored["parts"]]
    path.write_text(json.dumps({"n": 5, "claims": [censored]}))
    assert "gain (matters from 0.5): claim 1 at least 1.50, claim 1 at least 1.50 (enough)" in render(home)
    assert "论断 1 至少 1.50（够）" in render(home, "zh")
    path.write_text(json.dumps({"n": 3, "claims": [judged(1), judged(2, verdict=None)]}))
    assert "not judged yet: 3 of" in render(home) and "只完成了 3 个" in render(home, "zh")
    for damaged in ("{", "[]", '{"n": 5}', '{"n": 5, "claims": [{"verdict_words": {}}]}'):
        path.write_text(damaged)
        assert "claim" not in render(home).split("## 6 Conclusion")[1]


def test_shortcuts_are_told_with_the_verdict_over_seeds(home: Path) -> None:
    path = home / "benchmarks" / "claims.json"
    path.parent.mkdir()
    assert "Shortcuts: a gain that counts in 1 of 1 depths" in render(home) and "claim 7 below" not in render(home)
    path.write_text(json.dumps({"n": 5, "claims": [judged(7, verdict="undecided")]}))
    assert "on shortcuts at 34 layers, is undecided;" in render(home)
    assert "论断 7 为“得到支持”" in render(home, "zh")


def test_runs_that_lose_much_from_validation_to_test_are_named(home: Path) -> None:
    (home / "checkpoints" / "resnet34-fast").mkdir()
    shutil.copy(ROOT / "checkpoints" / "resnet34-fast" / "run.json", home / "checkpoints" / "resnet34-fast")
    told = "From validation to test ResNet-34 `fast` (2.96 points) lost more than chance"
    assert told not in render(home)
    alter(home, "resnet34-fast", set_accuracy(0.92))
    assert told in render(home)
    alter(home, "resnet34-fast", set_accuracy(0.945))
    assert "From validation to test" not in render(home)


def test_the_title_page_is_plain_text_whatever_it_says() -> None:
    name = "<b>Ada</b> | *x* `y` [z](q) & 😀 $a$"
    for language in filled.LANGUAGES:
        text = filled.render(ROOT, Details(name=name, course="C" * 200), filled.Story(ROOT), language=language)
        row = next(line for line in text.splitlines() if "Ada" in line)
        assert row.count("|") == 3 and not re.search(r"[<>*`\[$]", row) and "😀" in row
        assert "C" * 200 in text


def test_report_toml_chooses_the_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "report.toml").write_text('runs = ["alexnet-original"]\nname = "Ada"\n')
    monkeypatch.setattr(pictures, "draw", lambda picture, folder, language: None)
    write(home)
    text = (home / "report.md").read_text()
    assert "Inside AlexNet" in text and "Inside ResNet-18" not in text and "| Name | Ada |" in text
    assert "A comparison needs a run of resnet18 and one of resnet34" in text


def test_words_of_the_student_stay_when_a_number_changes(home: Path) -> None:
    assert write(home) == []
    path = home / "report.zh.md"
    mark = "<!-- yours: observation-kernels-resnet18-original -->\n"
    path.write_text(path.read_text().replace(mark, f"{mark}我看到了边缘。\n"))
    alter(home, "resnet18-original", set_accuracy(0.95))
    assert write(home) == []
    assert "我看到了边缘。" in path.read_text() and "95.00%" in path.read_text()


def unfinish(content: dict[str, Any]) -> None:
    del content["history"]["epochs"][3:]
    content["evaluation"] = {}


def no_run(home: Path) -> None:
    shutil.rmtree(home / "checkpoints")


GAPS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no runs": (no_run, "There is no run to report on", "目前没有可供报告的运行"),
    "a run that is missing": (
        lambda home: shutil.rmtree(home / "checkpoints" / "alexnet-original"), "there is no such run", "没有这次运行",
    ),
    "a run that is damaged": (
        lambda home: (home / "checkpoints" / "alexnet-original" / "run.json").write_text("{"),
        "cannot be read", "没有这次运行",
    ),
    "a network that cannot be built": (
        lambda home: alter(home, "alexnet-original", lambda content: content.update(overrides={"legs": 3})),
        "cannot be built", "没有这次运行",
    ),
    "a run that is not finished": (
        lambda home: alter(home, "resnet18-original", unfinish), "3 of 5 epochs are done", "训练尚未完成",
    ),
    "no epoch done": (
        lambda home: alter(home, "resnet18-original", lambda content: content["history"]["epochs"].clear()),
        "0 of 5 epochs are done", "训练尚未完成",
    ),
    "no recording": (
        lambda home: (home / "checkpoints" / "resnet18-original" / "recording.npz").unlink(),
        "no recording", "没有可读取的训练记录",
    ),
    "a damaged recording": (
        lambda home: (home / "checkpoints" / "resnet34-original" / "recording.npz").write_bytes(b"PK"),
        "damaged", "没有可读取的训练记录",
    ),
    "another run's recording": (
        lambda home: (home / "checkpoints" / "resnet34-original" / "recording.npz").write_bytes(
            (home / "checkpoints" / "resnet18-original" / "recording.npz").read_bytes()
        ),
        "belongs to another training", "没有可读取的训练记录",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "english", "chinese"), GAPS.values(), ids=GAPS)
def test_what_can_be_written_is_written_and_the_gap_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], english: str, chinese: str
) -> None:
    monkeypatch.setattr(pictures, "draw", lambda picture, folder, language: None)  # dear, and tested elsewhere
    damage(home)
    told = write(home)
    assert told and len(told) == len(set(told))
    text = (home / "report.md").read_text()
    assert english in text and chinese in (home / "report.zh.md").read_text()
    assert "## 2 Principle" in text and "yours: conclusion" in text and "Traceback" not in text


def test_a_folder_for_pictures_that_cannot_be_written_leaves_a_report_without_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("before_and_after", "side_by_side"):  # whose drawing is dear
        monkeypatch.setattr(pictures, kind, lambda *of, **more: plots.Figure())
    shutil.rmtree(home / "figures")
    (home / "figures").write_text("in the way")
    told = write(home)
    assert told and all("gap" in each for each in told)
    text = (home / "report.md").read_text()
    assert "No figure here" in text and "the picture could not be drawn" in text and "91.22%" in text


def test_a_folder_for_the_report_that_cannot_be_written_is_one_message(home: Path) -> None:
    (home / "report.md").mkdir()
    with pytest.raises(LabError, match=r"report\.md cannot be written"):
        write(home)


def test_without_a_chinese_font_figures_speak_english_and_the_report_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_chinese_font", lambda: None)
    (home / "figures" / "report" / "zh" / "resnet18-original-curves.png").unlink()
    told = write(home)
    assert len(told) == 1 and "no font on this machine has Chinese letters" in told[0]
    text = (home / "report.zh.md").read_text()
    assert "![ResNet-18：各 epoch 的损失与准确率](figures/resnet18-original/curves.png)" in text
    assert "图中文字为英文" in text


def test_a_picture_is_drawn_anew_when_what_it_shows_has_changed(home: Path) -> None:
    run = Run.load(home / "checkpoints" / "resnet18-original")
    folder = home / "figures" / "report" / "zh"

    def find() -> Path | None:
        picture = pictures.picture_run(run, None, name="ResNet-18", language="zh")[0]
        return pictures.find(picture, folder, language="zh")

    assert find() is not None
    alter(home, "resnet18-original", set_accuracy(0.5))
    assert find() is None


def test_chinese_is_written_as_chinese_is() -> None:
    text = (ROOT / "report.zh.md").read_text()
    assert not re.search(r"\d %|\d s\b|[\u4e00-\u9fff][,;:!?]|配方|失活", text)
    assert not re.search(r"[\u4e00-\u9fff] [\u4e00-\u9fff]", re.sub(r"\|.*\|", "", text))


def test_both_languages_have_the_same_places_figures_and_numbers() -> None:
    texts = [(ROOT / name).read_text() for name in ("report.md", "report.zh.md")]
    for pattern in (r"<!-- yours: (.+) -->", r"^(#+) "):
        one, other = (re.findall(pattern, text, flags=re.MULTILINE) for text in texts)
        assert one == other and one
    one, other = (len(re.findall(r"^!\[", text, flags=re.MULTILINE)) for text in texts)
    assert one == other > 10
    shares = [sorted(re.findall(r"\d+\.\d\d%", text)) for text in texts]
    assert shares[0] == shares[1]
