"""What is handed in, forged in every way that came to mind: none passes, and what is honest does."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import safetensors.torch
import torch
from signing import edit_run, reweigh

from fmnist_lib import cli, data
from fmnist_lib.checking import findings, handed_out
from fmnist_lib.checking.folders import check_folders
from fmnist_lib.runs import launch, storage
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training import recipes

SITE = Site("cpu")
RUN = "checkpoints/alexnet-mine"
ROOT = Path(__file__).parents[2]


def notebook(*sources: str, answered: str = "answer = 42") -> nbformat.NotebookNode:
    """A notebook that was run in order, with a task."""
    made = nbformat.v4.new_notebook()
    for count, source in enumerate((*sources, answered), start=1):
        output = nbformat.v4.new_output("stream", text="done\n")
        made.cells.append(nbformat.v4.new_code_cell(source, execution_count=count, outputs=[output]))
    made.cells[-1].metadata["nbgrader"] = {"solution": True, "grade_id": "the answer"}
    return made


def hand_in(folder: Path, run: Run) -> Path:
    """An honest student's folder: a run, a notebook, a report."""
    shutil.copytree(run.path, folder / RUN, ignore=shutil.ignore_patterns("epochs"))
    nbformat.write(notebook("import torch", "print(torch.rand(1).shape)"), folder / "work.ipynb")
    accuracy = run.evaluation["test"]["accuracy"]
    table = f"| network | validation | test |\n| --- | --- | --- |\n| alexnet | 50.0 % | {accuracy:.2%} ± 4 % |\n"
    (folder / "report.md").write_text(f"# {folder.name}\n\n{table}")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs that two students trained, with seeds of their own, long enough to know more than chance."""
    recipe = replace(recipes.find_recipe("smoke"), epochs=4)
    folder = tmp_path_factory.mktemp("trained")
    return {
        name: launch.train_run("alexnet", recipe, seed=seed, out=folder / name, site=SITE)
        for seed, name in enumerate(("alice", "bob"), start=5)
    }


@pytest.fixture
def honest(tmp_path: Path, trained: dict[str, Run]) -> Path:
    return hand_in(tmp_path / "alice", trained["alice"])


def look(*folders: Path) -> list[dict[str, Any]]:
    return check_folders(folders, site=SITE)["folders"]


def reasons(row: dict[str, Any], colour: str = "red") -> str:
    return "\n".join(
        f"{it['check']}: {it['about']}: {it['reason']}" for it in row["findings"] if it["colour"] == colour
    )


def claim(content: dict[str, Any]) -> None:
    """95.55 % on the test images, and nothing else changed."""
    content["evaluation"]["test"]["accuracy"] = 0.9555


def claim_well(content: dict[str, Any]) -> None:
    """The same, with a confusion matrix and classes that say so."""
    figures = content["evaluation"]["test"]
    confusion = [[9 if i == j else int(i == (j + 1) % 10) for j in range(10)] for i in range(10)]
    figures |= {"accuracy": 0.9, "confusion": confusion}


def no_better_than_chance(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(value) if value.is_floating_point() else value for name, value in weights.items()}


def with_nan(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    next(iter(weights.values())).flatten()[0] = float("nan")
    return weights


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)


def learn_by_heart(path: Path, split: str) -> None:
    """Weights that know a split's images, and figures, history and report that say what these reach."""
    run = Run.load(path)
    model = run.model()  # without dropout it learns by heart sooner
    images, labels = data.load(split, dataset="tiny")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    torch.manual_seed(0)
    scores = model(data.normalise(images))
    while scores.argmax(1).eq(labels).float().mean() < 0.98:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores, labels).backward()
        optimizer.step()
        scores = model(data.normalise(images))
    reweigh(path, lambda _: model.state_dict())
    run = Run.load(path)
    run.evaluation = {}
    from fmnist_lib.runs.measure import measure_run

    measure_run(run, ("val", "test"), site=SITE)
    run.history.epochs[-1]["val_accuracy"] = run.evaluation["val"]["accuracy"]
    run.save()


def cell(change: Callable[[nbformat.NotebookNode], object]) -> Callable[[Path], object]:
    """A forgery of the notebook."""

    def forge(folder: Path) -> None:
        made = nbformat.read(folder / "work.ipynb", as_version=4)
        change(made)
        nbformat.write(made, folder / "work.ipynb")

    return forge


def error_in(made: nbformat.NotebookNode) -> None:
    made.cells[1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]


def wipe(made: nbformat.NotebookNode) -> None:
    for each in made.cells:
        each.execution_count, each.outputs = None, []


def settings(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["recipe"].update(fields)


def report_says(folder: Path, percent: str) -> None:
    (folder / "report.md").write_text(f"| model | test |\n|--|--|\n| `alexnet` | **{percent}** |\n")


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {  # of run.json
    "accuracy": (claim, "its own confusion matrix"),
    "accuracy and confusion": (claim_well, "images were counted otherwise"),
    "a better end": (lambda run: run["history"]["epochs"][-1].update(val_accuracy=0.99), "it ends with 99.00%"),
    "an epoch twice": (lambda run: run["history"]["epochs"].extend(run["history"]["epochs"]), "history is not what"),
    "a loss of text": (lambda run: run["history"]["epochs"][0].update(train_loss="low"), "history is not what"),
    "negative seconds": (lambda run: run["history"]["epochs"][0].update(seconds=-1), "seconds is -1"),
    "no history": (lambda run: run.update(history={"epochs": None}), "history is not what"),
    "a name of a million letters": (settings(epochs=10**6, name="x" * 10**6), "recipe is not what"),
    "another seed": (lambda run: run.update(seed=99), "belongs to another training (seed: 5 there, 99 expected)"),
    "another recipe": (settings(lr=0.5), "belongs to another training (recipe"),
    "another model": (lambda run: run.update(model="resnet18"), "belongs to another training (model"),
    "an unknown model": (lambda run: run.update(model="../../x"), "weights:"),
    "a giant": (settings(overrides={"hidden": 200_000}), "weights:"),
}
FORGERIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "accuracy in the report": (lambda it: report_says(it, "95.55 %"), "it says 95.55% on the test images"),
    "nonsense in run.json": (lambda it: (it / RUN / "run.json").write_text("[" * 100_000), "run.json"),
    "random weights": (lambda it: reweigh(it / RUN, no_better_than_chance), "images were counted otherwise"),
    "weights that are not finite": (lambda it: reweigh(it / RUN, with_nan), "not finite"),
    "a flipped bit": (lambda it: flip_a_bit(it / RUN / "weights.safetensors"), "checksum"),
    "a pickle as weights": (
        lambda it: torch.save({"a": torch.ones(1)}, it / RUN / "weights.safetensors"),
        "is damaged",
    ),
    "no weights": (lambda it: (it / RUN / "weights.safetensors").unlink(), "no weights"),
    "trained on the test images": (lambda it: learn_by_heart(it / RUN, "test"), "as if trained on test images"),
    "trained on the validation images": (lambda it: learn_by_heart(it / RUN, "val"), "as if trained on its images"),
    "a recording of random bytes": (lambda it: (it / RUN / "recording.npz").write_bytes(os.urandom(999)), "recording:"),
    "a link to another's run": (
        lambda it: ((it / RUN / "run.json").unlink(), (it / RUN / "run.json").symlink_to(ROOT / "README.md")),
        "is a link",
    ),
    "a notebook that was not run": (cell(wipe), "it was not run"),
    "a notebook with an error": (cell(error_in), "code cell 2 ends in an error"),
    "a notebook of nonsense": (lambda it: (it / "work.ipynb").write_text('{"cells": 3}'), "cannot be read"),
    "nothing": (lambda it: [shutil.rmtree(it), it.mkdir()], "there are no runs, no notebooks, no report"),
}


def test_an_honest_folder_passes(honest: Path) -> None:
    (row,) = look(honest)
    assert reasons(row) == ""
    assert row["colours"]["accuracy"] == row["colours"]["recording"] == row["colours"]["report"] == "green"
    assert row["colours"]["own work"] == row["colours"]["tasks"] == "green"
    assert reasons(row, "amber") == "notebooks: work.ipynb: it is none of the handed-out notebooks"


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_run_json_is_red_with_and_without_its_checksum(name: str, honest: Path) -> None:
    change, reason = EDITS[name]
    edit_run(honest / RUN, change, signed=False)
    (row,) = look(honest)
    assert row["verdict"] == "red" and "run.json is damaged" in reasons(row)
    edit_run(honest / RUN, lambda _: None)
    (row,) = look(honest)
    assert row["verdict"] == "red" and reason in reasons(row)
    assert len(reasons(row)) < 2000 and "Traceback" not in reasons(row)


def test_a_run_without_checksums_is_amber(honest: Path) -> None:
    def forget(content: dict[str, Any]) -> None:
        content["format"] = 1
        del content["sha256"], content["files"]

    edit_run(honest / RUN, forget)
    (row,) = look(honest)
    assert reasons(row) == "" and "cannot be verified" in reasons(row, "amber")


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_red(name: str, honest: Path) -> None:
    forge, reason = FORGERIES[name]
    forge(honest)
    (row,) = look(honest)
    assert row["verdict"] == "red"
    assert reason in reasons(row)
    assert "Traceback" not in reasons(row)


def test_one_broken_folder_does_not_stop_the_rest(honest: Path, tmp_path: Path, trained: dict[str, Run]) -> None:
    (honest / RUN / "run.json").write_text("[" * 100_000)
    broken, sound = look(honest, hand_in(tmp_path / "bob", trained["bob"]))
    assert (broken["verdict"], reasons(sound)) == ("red", "")


COPIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "as it is": (lambda it: None, "its history, seconds included, is that of"),
    "under another name": (lambda it: (it / RUN).rename(it / "checkpoints/my-own-net"), "its history"),
    "in half precision": (
        lambda it: [
            edit_run(it / RUN, lambda run: [row.update(seconds=9.9) for row in run["history"]["epochs"]]),
            reweigh(it / RUN, lambda w: {k: v.half() if v.is_floating_point() else v for k, v in w.items()}),
        ],
        "its weights are, rounded or rearranged, those of",
    ),
    "with channels permuted": (
        lambda it: [
            edit_run(it / RUN, lambda run: [row.update(seconds=9.9) for row in run["history"]["epochs"]]),
            reweigh(it / RUN, permuted),
        ],
        "its weights are, rounded or rearranged, those of",
    ),
}


def permuted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same function with the first layer's channels in another order."""
    order = torch.randperm(len(weights["features.conv1.weight"]), generator=torch.Generator().manual_seed(1))
    for name, value in weights.items():
        if name.startswith(("features.conv1.", "features.norm1.")) and value.ndim:
            weights[name] = value[order].contiguous()
    weights["features.conv2.weight"] = weights["features.conv2.weight"][:, order].contiguous()
    return weights


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_shown_in_both_folders(name: str, honest: Path, tmp_path: Path, trained: dict[str, Run]) -> None:
    disguise, reason = COPIES[name]
    copy = hand_in(tmp_path / "copy", trained["alice"])
    disguise(copy)
    for row in look(honest, copy):
        assert reason in reasons(row)


def test_two_trainings_of_one_recipe_are_no_copies(honest: Path, tmp_path: Path, trained: dict[str, Run]) -> None:
    assert [reasons(row) for row in look(honest, hand_in(tmp_path / "bob", trained["bob"]))] == ["", ""]


def test_the_same_bits_with_other_times_are_no_proof(honest: Path, tmp_path: Path, trained: dict[str, Run]) -> None:
    again = hand_in(tmp_path / "again", trained["alice"])
    edit_run(again / RUN, lambda run: [row.update(seconds=9.9) for row in run["history"]["epochs"]])
    for row in look(honest, again):
        assert reasons(row) == ""
        assert "same recipe, same seed, same bits" in reasons(row, "amber")


def test_the_same_words_are_shown_in_both_folders(honest: Path, tmp_path: Path, trained: dict[str, Run]) -> None:
    words = "The feature maps of the deeper layers look at the outline of a garment more than at its texture."
    other = hand_in(tmp_path / "bob", trained["bob"])
    for folder in (honest, other):
        cell(lambda made: made.cells.append(nbformat.v4.new_markdown_cell(words)))(folder)
    for row in look(honest, other):
        assert "word for word" in reasons(row, "amber")


def test_handed_out_weights_are_nobodys_own(tmp_path: Path) -> None:
    mine = tmp_path / "carol" / "checkpoints" / "mine"
    shutil.copytree(ROOT / "checkpoints" / "alexnet-original", mine)
    (row,) = look(mine.parents[1])
    assert "counts as nobody's own" in reasons(row, "green") and "no run of their own" in reasons(row, "amber")
    edit_run(mine, claim)
    (row,) = look(mine.parents[1])
    assert "the handed-out weights reach 88.90%" in reasons(row)
    reweigh(mine, lambda weights: {name: value.half().float() for name, value in weights.items()})
    (row,) = look(mine.parents[1])
    assert "those of the handed-out alexnet-original, rounded or rearranged" in reasons(row)


def test_given_cells_that_were_changed_or_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "dave"
    folder.mkdir()
    given = ROOT / "notebooks" / "01_data.ipynb"
    made = nbformat.read(given, as_version=4)
    nbformat.write(made, folder / "my copy (1).ipynb")  # renamed, which is no fault
    (row,) = look(folder)
    assert row["colours"]["notebooks"] == "green"
    made.cells[0].source += "!"
    del made.cells[3]
    nbformat.write(made, folder / "my copy (1).ipynb")
    (row,) = look(folder)
    assert "given cells changed" in reasons(row, "amber") + reasons(row)
    assert "given cells deleted" in reasons(row, "amber") + reasons(row)


def test_unanswered_tasks_and_cells_out_of_order(honest: Path) -> None:
    made = notebook("a = 1", "b = 2", answered="### YOUR CODE HERE\nraise NotImplementedError()")
    made.cells[0].execution_count = 7
    nbformat.write(made, honest / "work.ipynb")
    (row,) = look(honest)
    assert "1 of 1 tasks not answered: the answer" in reasons(row, "amber")
    assert "not run in order" in reasons(row, "amber")


def test_handed_out_weights_without_a_test_figure_are_amber(tmp_path: Path) -> None:
    """As a sweep leaves them, which never opens the test set."""
    mine = tmp_path / "dave" / "checkpoints" / "mine"
    shutil.copytree(ROOT / "checkpoints" / "alexnet-original", mine)
    edit_run(mine, lambda run: run["evaluation"].pop("test"))
    (row,) = look(mine.parents[1])
    assert reasons(row) == ""
    assert "test: the handed-out weights reach 88.90%; run.json has no figure" in reasons(row, "amber")


def test_the_projects_own_folder_passes_and_is_known(tmp_path: Path) -> None:
    """What is handed out; a sweep's runs, which lie beside it where one was tried, have no test figure."""
    for name in ("checkpoints", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("epochs"))
    for name in ("report.md", "report.zh.md"):
        shutil.copy(ROOT / name, tmp_path)
    (row,) = look(tmp_path)
    assert reasons(row) == ""
    assert {row["colours"][check] for check in ("weights", "history", "accuracy", "recording", "report")} == {"green"}


def test_the_list_of_what_is_handed_out_is_up_to_date() -> None:
    import runpy

    listing = runpy.run_path(str(ROOT / "scripts" / "list_handed_out.py"))["listing"]()
    assert listing == json.loads(handed_out.FILE.read_text()), "run python scripts/list_handed_out.py"


def test_missing_folders_zips_and_the_table(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: dict[str, Run]
) -> None:
    (tmp_path / "erin.zip").write_bytes(b"PK")
    table = tmp_path / "table.csv"
    paths = [str(honest), str(tmp_path / "erin.zip"), str(tmp_path / "nobody")]
    assert cli.main(["check", *paths, "--csv", str(table), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "unpack it first" in printed and "does not exist" in printed and "Traceback" not in printed
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    assert {row["folder"] for row in rows} == set(paths)
    assert cli.main(["check", str(honest), "--device", "cpu"]) == 0
    receipt = capsys.readouterr().out
    assert storage.digest(storage.load_weights(honest / RUN / "weights.safetensors"))[:16] in receipt
    assert before_and_after(honest)


def before_and_after(folder: Path) -> bool:
    """Whether checking leaves every file as it was."""
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    look(folder)
    return files == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_no_cell_of_the_csv_is_a_formula() -> None:
    evil = findings.Finding("files", "red", "=HYPERLINK(1)", "+1")
    assert "'=HYPERLINK" in findings.as_csv([findings.as_rows("@x", [evil])])


def test_safetensors_with_a_right_checksum_of_another_network(honest: Path, trained: dict[str, Run]) -> None:
    other = {"layer.weight": torch.ones(3, 3)}
    content = safetensors.torch.save(other, metadata={"sha256": storage.digest(other)})
    (honest / RUN / "weights.safetensors").write_bytes(content)
    (row,) = look(honest)
    assert "other weights than those that run.json tells of" in reasons(row)
    digest = storage.digest(other)
    edit_run(honest / RUN, lambda run: run["files"].update({"weights.safetensors": digest}))
    (row,) = look(honest)
    assert "do not belong to alexnet" in reasons(row)
