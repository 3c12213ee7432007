"""The lab report's text, filled from the files of the runs: every number in it comes from there."""

import json
import os
import re
import string
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from fmnist_lib import data
from fmnist_lib.errors import LabError, LabWarning
from fmnist_lib.files import write_atomically
from fmnist_lib.report import measured, pictures, yours
from fmnist_lib.report.details import Details, read_details
from fmnist_lib.report.drawings import DRAWINGS
from fmnist_lib.report.pictures import MODEL_NAMES, Picture
from fmnist_lib.report.templates import open_templates
from fmnist_lib.runs import measure
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.claims import Part, read_claims
from fmnist_lib.runs.places import figures_folder, run_name
from fmnist_lib.runs.record import PROBE_IMAGES
from fmnist_lib.visualisers.figures import CURVES
from fmnist_lib.visualisers.recording import Recording

NETWORKS = ("resnet18", "alexnet", "resnet34")
TUNED = ("fast", "best")  # recipes whose runs the report shows where there are any
COMPARED = (*NETWORKS, "plain18", "plain34")  # all whose runs the notebooks read
LANGUAGES = ("en", "zh")
# What the report that this lab grew from says of its own network, which learned from all 60,000 images.
ORIGINAL = {"accuracy": 0.9001, "images": 10_000}
CLAIMS_HEAD = {
    "en": ("no.", "claim", "effect and 95% interval, and the reason of the verdict", "verdict"),
    "zh": ("序号", "论断", "效应与 95% 置信区间，以及判定的理由", "判定"),
}
SMALLEST = {"en": "matters from", "zh": "最小有意义的差值"}
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Gap:
    """What the report lacks: "missing", "unfinished", "unrecorded" or "undrawn", of what, and why."""

    what: str
    of: str
    why: str


@dataclass
class Chapter:
    """A run that the report is about, and what can be seen in it; None where its files do not tell."""

    name: str
    run: Run
    recording: Recording | None = None
    kernels: measured.Kernels | None = None
    gradients: measured.Gradients | None = None
    maps: measured.Maps | None = None

    @property
    def key(self) -> str:
        """The name of the run's folder."""
        return self.run.path.name

    @property
    def test(self) -> dict[str, Any] | None:
        """Its figures on the test images, once it was evaluated on those of validation, too."""
        return self.run.evaluation.get("test") if "val" in self.run.evaluation else None


@dataclass
class Story:
    """The runs that the report is about, and what is lacking."""

    home: Path
    chapters: list[Chapter] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def attempt(self, what: str, of: str, see: Callable[[], Seen]) -> Seen | None:
        """What `see` gives; None, and a gap, where it cannot."""
        try:
            return see()
        except (LabError, OSError) as error:
            self.note(what, of, str(error))
            return None

    def note(self, what: str, of: str, why: str) -> None:
        """Note a gap, once, with paths as they are from home: the report is handed on."""
        gap = Gap(what, of, why.replace(f"{self.home}{os.sep}", ""))
        if gap not in self.gaps:
            self.gaps.append(gap)

    def pair(self) -> tuple[Chapter, Chapter] | None:
        """The shallow residual network and the deep one, of one recipe where there are such."""
        found = [[each for each in self.chapters if each.run.model_name == name] for name in ("resnet18", "resnet34")]
        pairs = [(first, second) for first in found[0] for second in found[1]]
        same = [pair for pair in pairs if pair[0].run.recipe.name == pair[1].run.recipe.name]
        return next(iter([*same, *pairs]), None)


def write_reports(home: Path) -> dict[str, Path]:
    """Fill report.md and report.zh.md in `home` from the files of its runs; returns language -> file.

    A student's words in them are kept, see `yours`. What the report lacks is told by a LabWarning each, and in it.
    Raises ReportError, FillError.
    """
    details, story = read_details(home), tell(home)
    draw_all(home, story)
    written = {}
    for language in LANGUAGES:
        text = render(home, details, story, language=language)
        path = home / ("report.md" if language == "en" else f"report.{language}.md")
        written[language] = yours.write_filled(path, text, language=language)
    for gap in story.gaps:
        warnings.warn(LabWarning(f"the report has a gap: {gap.of}: {gap.why}"), stacklevel=2)
    return written


def render_reports(home: Path) -> dict[str, str]:
    """The report's text per language, with nothing in a student's places, as `write_reports` writes it."""
    details, story = read_details(home), tell(home)
    return {code: yours.seal(render(home, details, story, language=code), language=code) for code in LANGUAGES}


def render(home: Path, details: Details, story: Story, *, language: str) -> str:
    """The report's text, with the pictures that are there."""
    facts = report_facts(home, details, story, language=language)
    text = open_templates().get_template(f"report.{language}.md").render(facts)
    return re.sub(r"\n{3,}", "\n\n", text)


def tell(home: Path) -> Story:
    """What there is to tell of the runs that report.toml chooses, else of the course's."""
    story = Story(home)
    names = read_details(home).runs or [run_name(name, "original") for name in NETWORKS]
    for name in names:
        path = home / "checkpoints" / name
        run = story.attempt("missing", name, partial(load_run, path))
        if run is not None and run.epochs_done:
            story.chapters.append(open_chapter(run, story))
        elif run is not None:
            story.note("unfinished", name, unfinished(run))
    return story


def load_run(path: Path) -> Run:
    """A run whose network can be built. Raises RunError, ModelError."""
    run = Run.load(path)
    measured.parameters(run)
    return run


def open_chapter(run: Run, story: Story) -> Chapter:
    """A run with what is seen in it; what is lacking is noted in the story."""
    chapter = Chapter(MODEL_NAMES.get(run.model_name, run.model_name), run)
    if run.recipe.name != "original":
        chapter.name += f" ({run.recipe.name})"
    if not run.is_finished or chapter.test is None:
        story.note("unfinished", chapter.key, unfinished(run))
    recording = story.attempt("unrecorded", chapter.key, run.recording)
    if recording is not None:
        chapter.recording = recording
        chapter.kernels = story.attempt("unrecorded", chapter.key, lambda: measured.see_kernels(recording))
        chapter.gradients = story.attempt("unrecorded", chapter.key, lambda: measured.see_gradients(recording))
        chapter.maps = story.attempt("unrecorded", chapter.key, lambda: measured.see_maps(recording))
    return chapter


def unfinished(run: Run) -> str:
    """How far a run is, and how it goes on."""
    done = f"{run.epochs_done} of {run.recipe.epochs} epochs are done"
    return f"{done}, and it was not tested; `train {run.model_name} --recipe {run.recipe.name}` goes on with it"


def list_pictures(story: Story, language: str) -> dict[str, Picture]:
    """All pictures that the report shows, by their names."""
    found: list[Picture] = []
    for chapter in story.chapters:
        drawn = pictures.picture_run(chapter.run, chapter.recording, name=chapter.name, language=language)
        if chapter is not next((each for each in story.chapters if each.test), None):
            drawn = [
                picture for picture in drawn if not picture.name.endswith("-confusion")
            ]  # the first one's is shown
        has_curves = language == "en" and (figures_folder(chapter.run.path) / CURVES).is_file()
        found += [picture for picture in drawn if not (has_curves and picture.name.endswith("-curves"))]
    if (pair := story.pair()) and all(chapter.recording for chapter in pair):
        recordings = {chapter.name: chapter.recording for chapter in pair if chapter.recording}
        found += pictures.picture_pair({chapter.name: chapter.run for chapter in pair}, recordings)
    return {picture.name: picture for picture in found}


def pictures_folder(home: Path, language: str) -> Path:
    """Where the report's own pictures lie."""
    return home / "figures" / "report" / language


def draw_all(home: Path, story: Story) -> None:
    """Draw what is not there yet, or shows something else than there is now; what cannot be drawn is a gap."""
    for language in LANGUAGES:
        folder = pictures_folder(home, language)
        for name, make in DRAWINGS.items():
            file = f"{language}/{name}.svg"
            story.attempt("undrawn", file, partial(keep_drawing, folder / f"{name}.svg", make(language)))
        for picture in list_pictures(story, language).values():
            file = f"{language}/{picture.name}.png"
            story.attempt("undrawn", file, partial(pictures.draw, picture, folder, language=language))


def keep_drawing(path: Path, text: str) -> None:
    """Write an SVG unless it is there. Raises OSError."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, lambda file: file.write(text.encode()))


def report_facts(home: Path, details: Details, story: Story, *, language: str) -> dict[str, Any]:
    """What the report's templates may ask for: title page, chapters, comparisons, and helpers to print numbers."""
    all_shown = {code: list_pictures(story, code) for code in dict.fromkeys((language, "en"))}

    def picture(name: str) -> dict[str, Any] | None:
        """A picture's link and whether its words are English, None where there is none."""
        for code, shown in all_shown.items():
            folder = pictures_folder(home, code)
            curves = home / "figures" / name.removesuffix("-curves") / CURVES
            if name in shown:
                path = pictures.find(shown[name], folder, language=code)
            elif name.endswith(".svg"):
                path = folder / name
            else:
                path = curves if name.endswith("-curves") else None
            if path is not None and path.is_file():
                return {"link": path.relative_to(home).as_posix(), "is_english": code != language}
        return None

    pair = story.pair()
    for name in [*(f"{name}.svg" for name in DRAWINGS), *all_shown[language]]:
        if picture(name) is None and not any(gap.of.startswith(f"{language}/{name}") for gap in story.gaps):
            story.note("undrawn", f"{language}/{name}", "it is not there; `make report` draws it")
    return {
        "details": {name: escaped(value) for name, value in asdict(details).items() if isinstance(value, str)},
        "chapters": story.chapters,
        "tested": [chapter for chapter in story.chapters if chapter.test],
        "gaps": story.gaps,
        "names": MODEL_NAMES,
        "optimizers": {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "muon": "Muon"},
        "picture": picture,
        "place": yours.place,
        "pair": pair,
        "matches": see_pair(pair),
        "compare": measured.compare,
        "against_original": against_original(story.chapters),
        "original": ORIGINAL["accuracy"],
        "plain_runs": (without := plain_runs(home, pair)),
        "counted_gains": sum(measured.compare(other, chapter.run).verdict == "higher" for chapter, other in without),
        "tuned": (tuned := tuned_runs(home)),
        "from_validation": losses_from_validation(tuned),
        "speed": read_speed(home),
        "claims": claims_told(home, language),
        "classes": dict(zip(data.CLASSES, class_names(language), strict=True)),
        "class_names": class_names(language),
        "confusions": measured.see_confusions,
        "best_and_worst": measured.see_classes,
        "curves": measured.see_curves,
        "parameters": lambda run: f"{measured.parameters(run):,}",
        "percent": lambda share, digits=2: f"{100 * share:.{digits}f}%",
        "points": lambda difference: f"{abs(100 * difference):.2f}",
        "error": measure.standard_error,
        "least": measure.least_difference,
        "standard_errors": measure.STANDARD_ERRORS,
        "alike": measured.ALIKE,
        "resembling": measured.RESEMBLING,
        "probe_images": PROBE_IMAGES,
        "mean": f"{data.MEAN:.4f}",
        "deviation": f"{data.STD:.4f}",
        "environment_rows": environment_rows,
        "other_machines": other_machines(story.chapters),
        "table": table,
    }


def escaped(text: str) -> str:
    """Text as Markdown and HTML show it as it stands, in a table, too: no sign of it means anything."""
    return "".join(f"&#{ord(sign)};" if sign in string.punctuation else sign for sign in text)


def see_pair(pair: tuple[Chapter, Chapter] | None) -> list[measured.Match]:
    """The matching layers of the pair, none where a recording does not tell."""
    recordings = [chapter.recording for chapter in pair or () if chapter.recording is not None]
    try:
        return measured.see_pair(*recordings) if len(recordings) == 2 else []
    except LabError:  # whatever is missing is a gap of the chapters already
        return []


def against_original(chapters: Sequence[Chapter]) -> measured.Comparison | None:
    """Our light ResNet-18, trained as the original report's, against that one's network."""
    for chapter in chapters:
        if (chapter.run.model_name, chapter.run.recipe.name) == ("resnet18", "original") and chapter.test:
            least = measure.least_difference(ORIGINAL, chapter.test)
            return measured.Comparison(chapter.test["accuracy"] - ORIGINAL["accuracy"], least, 1.0, 1.0)
    return None


def plain_runs(home: Path, pair: tuple[Chapter, Chapter] | None) -> list[tuple[Chapter, Run]]:
    """Of the pair's networks each with the run without shortcuts, where both were tested."""
    found = []
    for chapter in pair or ():
        name = chapter.run.model_name.replace("resnet", "plain")
        other = find_run(home / "checkpoints" / run_name(name, chapter.run.recipe.name, seed=chapter.run.seed))
        if other is not None and chapter.test:
            found.append((chapter, other))
    return found


def tuned_runs(home: Path) -> list[Run]:
    """The finished runs of our own recipes that lie in `home`."""
    paths = [home / "checkpoints" / run_name(name, recipe) for recipe in TUNED for name in NETWORKS]
    return [run for path in paths if (run := find_run(path)) is not None]


def losses_from_validation(runs: Sequence[Run]) -> list[tuple[Run, float]]:
    """Of these the runs that are worse on the test images than on validation by a difference that counts, how much."""
    found = []
    for run in runs:
        val, test = run.evaluation["val"], run.evaluation["test"]
        lost = val["accuracy"] - test["accuracy"]
        if lost > measure.least_difference(val, test):
            found.append((run, lost))
    return found


def find_run(path: Path) -> Run | None:
    """A tested run, None where there is none that can be read."""
    try:
        run = load_run(path)
    except LabError:
        return None
    return run if {"val", "test"} <= set(run.evaluation) else None


def read_speed(home: Path) -> dict[str, float] | None:
    """Images a second in training ResNet-18, in single and in half precision, where `make bench` has measured them."""
    try:
        steps = json.loads((home / "benchmarks" / "results.json").read_text())["steps"]
        return {name: steps[f"resnet18 {name}"]["images_per_second"] for name in ("float32", "bfloat16")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def claims_told(home: Path, language: str) -> dict[str, Any] | None:
    """What benchmarks/claims.py found of the original report's claims.

    `n` seeds, `verdicts` by the claims' numbers, and `rows` for a table, which are empty as long as there are too few
    seeds for verdicts; None where there is no such file.
    """
    try:
        found = read_claims(home / "benchmarks" / "claims.json", language=language)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    told = [(claim.number, claim.words, tell_effects(claim.parts, language), claim.verdict) for claim in found.claims]
    rows = [dict(zip(CLAIMS_HEAD[language], row, strict=True)) for row in told]
    verdicts = {claim.number: claim.verdict for claim in found.claims}
    return {"n": found.seeds, "verdicts": verdicts, "rows": rows if found.are_judged else []}


def tell_effects(parts: Sequence[Part], language: str) -> str:
    """The effects by which a claim is judged, each with its interval and what the rule makes of it.

    A measure, its unit and the smallest effect that matters stand once for all parts that share them, and so does a
    reason for neighbours.
    """
    colon, stop, comma = (": ", "; ", ", ") if language == "en" else ("：", "；", "，")
    opening, closing = (" (", ")") if language == "en" else ("（", "）")
    told = []
    for (measure_words, smallest), group in groupby(parts, key=lambda part: (part.measure, part.smallest)):
        same = list(group)
        unit = "" if same[0].is_ratio else same[0].unit
        scale = comma.join([*([unit] if unit else []), f"{SMALLEST[language]} {smallest}"])
        effects = []
        for reason, judged in groupby(same, key=lambda part: part.in_short):
            effects.append(f"{comma.join(f'{part.what} {part.effect}' for part in judged)}{opening}{reason}{closing}")
        told.append(f"{measure_words}{opening}{scale}{closing}{colon}{stop.join(effects)}")
    return stop.join(told)


def class_names(language: str) -> list[str]:
    """The classes in the report's language."""
    return [pictures.words(language).get(name, name) for name in data.CLASSES]


ENVIRONMENT = {
    "system": "操作系统", "machine": "架构", "processor": "处理器", "cores": "核心数", "memory_gib": "内存 (GiB)",
    "device": "计算设备", "threads": "线程数", "python": "Python", "torch": "PyTorch", "numpy": "NumPy",
}  # fmt: skip


def environment_rows(run: Run, language: str) -> list[dict[str, Any]]:
    """A run's machine and versions as table rows."""
    head = ("item", "value") if language == "en" else ("项目", "内容")
    names = {key: key.replace("_gib", " (GiB)") if language == "en" else word for key, word in ENVIRONMENT.items()}
    return [dict(zip(head, (names[key], run.environment.get(key, "")), strict=True)) for key in ENVIRONMENT]


def other_machines(chapters: Sequence[Chapter]) -> list[str]:
    """The chapters whose runs were trained on another machine or version than the first one's."""
    keys = ("processor", "device", "threads", "torch")
    seen = [tuple(chapter.run.environment.get(key) for key in keys) for chapter in chapters]
    return [chapter.name for chapter, each in zip(chapters, seen, strict=True) if each != seen[0]]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table, in the columns of the first."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
