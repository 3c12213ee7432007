"""The house rules: who may import whom, and how long files and functions may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fmnist_lib"
NOTHING: set[str] = set()

# module -> (what it may import of ours, what it may import of others beyond torch, numpy and the standard library).
# `files`, `storage`, `recipes`, `machine` and `fetch` are leaves, parts of the module that the design names.
TABLE = {
    "__init__": (NOTHING, NOTHING),
    "files": (NOTHING, NOTHING),
    "fetch": (NOTHING, NOTHING),
    "data": ({"fetch"}, NOTHING),
    "pictures": (NOTHING, {"PIL"}),
    "augment": (NOTHING, NOTHING),
    "models": (NOTHING, NOTHING),
    "recipes": (NOTHING, NOTHING),
    "devices": (NOTHING, NOTHING),
    "distributed": ({"devices"}, NOTHING),
    "evaluation": ({"devices", "distributed"}, NOTHING),
    "optimizers": ({"recipes"}, NOTHING),
    "precision": (NOTHING, NOTHING),
    "train": ({"devices", "distributed", "evaluation", "optimizers", "precision", "recipes"}, NOTHING),
    "wording": (NOTHING, NOTHING),
    "machine": ({"__init__"}, NOTHING),
    "hooks": (NOTHING, NOTHING),
    "recording": ({"hooks", "files"}, NOTHING),
    "recorder": ({"hooks", "probes", "recording"}, NOTHING),
    "probes": ({"hooks"}, NOTHING),
    "storage": ({"files"}, {"safetensors"}),
    "checkpoint": ({"distributed", "models", "recipes", "train", "storage"}, {"safetensors"}),
    "plots": (NOTHING, {"matplotlib", "seaborn"}),
    "figures": ({"files", "plots", "recording"}, {"matplotlib"}),
    "progress": ({"train"}, {"tqdm"}),
    "explorer": (
        {"recording", "recorder", "hooks", "files"},
        {"ipywidgets", "anywidget", "traitlets", "PIL", "IPython"},
    ),
    "snapshots": (
        {"checkpoint", "data", "devices", "figures", "models", "plots", "recorder", "recording", "storage"},
        NOTHING,
    ),
    "lab": (
        {"augment", "checkpoint", "data", "devices", "distributed", "evaluation", "machine", "models"}
        | {"pictures", "recipes", "snapshots", "storage", "train"},
        NOTHING,
    ),
    "sweep": ({"checkpoint", "distributed", "files", "lab", "models", "recipes"}, {"ray"}),
    "live": ({"checkpoint", "lab", "plots", "progress", "recipes", "train"}, {"IPython"}),
    "report": (
        {"checkpoint", "data", "files", "lab", "models", "storage"},
        {"jinja2", "nbclient", "nbconvert", "nbformat", "pygments", "traitlets"},
    ),
}
ALWAYS = {"torch", "numpy"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Full dotted names of everything imported, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert all(alias.name != "*" for alias in node.names), "no star import"
            module = node.module or ""
            names = [alias.name for alias in node.names]
            yield from (f"{module}.{name}" for name in names) if module == "fmnist_lib" else (module,)


def module_of(file: Path) -> str:
    """A file's row in the table: the module, or the package within ours."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_table(file: Path) -> None:
    module = module_of(file)
    if module in ("__main__", "tiny"):
        return
    ours, others = TABLE[module]
    standard = __import__("sys").stdlib_module_names
    for name in imports(ast.parse(file.read_text())):
        top, _, rest = name.partition(".")
        if top == "fmnist_lib":
            part = rest.split(".")[0]
            part = part if part != "__version__" else "__init__"
            assert part == module or part in ours, f"{module} may not import fmnist_lib.{part}"
        elif top not in standard:
            assert top in ALWAYS | others, f"{module} may not import {top}"


def test_nothing_imports_the_command_line() -> None:
    for file in FILES:
        assert "fmnist_lib.__main__" not in set(imports(ast.parse(file.read_text()))), file


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function of a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield f"{file.name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_are_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 250
    assert [(name, lines) for name, lines in functions(file) if lines > 50] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_exec_no_globals_and_every_noqa_has_its_reason(file: Path) -> None:
    tree = ast.parse(file.read_text())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"exec", "eval", "globals"}
    for line in file.read_text().splitlines():
        if "noqa" in line:
            assert "(" in line.split("noqa", 1)[1], f"a noqa without its reason: {line.strip()}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_everything_public_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
