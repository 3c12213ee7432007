"""The house rules: which room may import from which, and what is said in every one of them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fmnist_lib

PACKAGE = Path(__file__).parents[1] / "fmnist_lib"
FILES = sorted(PACKAGE.rglob("*.py"))
BELOW = {"errors", "files", "interrupts", "models", "data", "training", "visualisers"}

# room -> what it may import from; `explorer` is a room of its own within the visualisers'.
ROOMS = {
    "errors": set(),
    "files": {"errors"},
    "interrupts": set(),
    "models": {"errors"},
    "notebooks": {"errors", "files"},
    "data": {"errors", "files"},
    "training": {"errors", "interrupts"},
    "visualisers": {"errors", "files", "interrupts"},
    "explorer": {"errors", "files", "interrupts", "visualisers"},
    "runs": BELOW,
    "report": {*BELOW, "explorer", "notebooks", "runs"},
    # Checks need little of ours: what they compare with is computed anew.
    "course": {*BELOW, "explorer", "notebooks", "runs"},
    "checking": {*BELOW, "runs"},
    "wording": {"checking", "runs"},
    "cli": {*BELOW, "explorer", "runs", "report", "checking", "course", "wording"},
    "__main__": {"cli"},
}
# What is not the standard library, torch or numpy -> the only rooms and files that import it.
OTHERS = {
    "PIL": {"data/pictures.py", "visualisers/confusions.py", "explorer"},
    "filelock": {"data/download.py", "runs/lock.py"},
    "safetensors": {"runs/storage.py"},
    "tqdm": {"runs/progress.py"},
    "jupyter_server": {"report/menu.py"},
    "playwright": {"report/plain.py"},
    "tornado": {"report/menu.py"},
    "IPython": {"runs/progress.py", "explorer"},
    "ray": {"runs/sweep.py"},
    "matplotlib": {"visualisers/plots.py"},
    "seaborn": {"visualisers/plots.py"},
    "anywidget": {"explorer", "course/own_picture.py"},
    "ipywidgets": {"explorer"},
    "tomli": {"report/details.py"},
    "traitlets": {"explorer", "report", "course/own_picture.py"},
    "nbformat": {"report", "course", "notebooks"},
    **{name: {"report"} for name in ("bleach", "jinja2", "latex2mathml", "nbclient", "nbconvert", "pygments", "tomli")},
}


def room_of(parts: tuple[str, ...]) -> str:
    """The room that a file's path or a module's name within the package leads into."""
    return "explorer" if "explorer" in parts else parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """Full dotted names of everything imported, anywhere in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            assert all(alias.name != "*" for alias in node.names), f"{file}: no star import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(file: Path) -> tuple[str, str]:
    """A file's path within the package, and its room."""
    path = file.relative_to(PACKAGE)
    return path.as_posix(), room_of(path.parts)


def test_the_table_names_the_rooms_that_there_are() -> None:
    assert {names(file)[1] for file in FILES} - {"__init__"} == set(ROOMS)


def test_rooms_import_what_the_table_says() -> None:
    for file in FILES:
        path, room = names(file)
        for name in imports(file):
            top, *rest = name.split(".")
            if top == "fmnist_lib" and rest != ["__version__"] and room != "__init__":
                other = room_of(tuple(rest))
                assert other == room or other in ROOMS[room], f"{path} may not import {name}"


def test_a_library_is_imported_where_the_table_says() -> None:
    known = {"fmnist_lib", "torch", "numpy", *sys.stdlib_module_names}
    for file in FILES:
        path, room = names(file)
        for top in {name.split(".")[0] for name in imports(file)} - known:
            assert OTHERS.get(top, set()) & {path, room}, f"{path} may not import {top}"


def test_the_training_room_knows_no_data_set_and_no_registry() -> None:
    for file in (PACKAGE / "training").glob("*.py"):
        text = ast.unparse(ast.parse(file.read_text()))
        assert "REGISTRY" not in text and "CLASSES" not in text, file


def test_importing_the_package_imports_nothing_else() -> None:
    """So it takes no longer than torch, which is most of what a name takes when it is asked for."""
    code = "import sys, fmnist_lib; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fmnist_lib" in loaded
    assert not {"torch", "numpy", *OTHERS} & set(loaded)


def test_every_public_name_can_be_had_and_is_told_of() -> None:
    assert set(fmnist_lib.__all__) == set(fmnist_lib.HOMES)
    for name in fmnist_lib.__all__:
        value = getattr(fmnist_lib, name)
        assert value.__name__ == name and value.__doc__
        assert f"\n{name} " in (fmnist_lib.__doc__ or "")
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = fmnist_lib.nothing_of_ours


def test_every_error_of_ours_is_a_lab_error() -> None:
    """The command line catches that one alone."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    families = {"LabError", "LabWarning"}
    for _ in bases:
        families |= {name for name, of in bases.items() if of & families}
    ours = {name for name, of in bases.items() if any(base.endswith(("Error", "Exception", "Warning")) for base in of)}
    assert ours - {"LabError", "LabWarning"} <= families


def test_no_exec_and_no_silent_noqa() -> None:
    for file in FILES:
        tree = ast.parse(file.read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not called & {"exec", "eval", "globals"}, file
        for line in file.read_text().splitlines():
            if "noqa" in line:
                assert "(" in line.split("noqa", 1)[1], f"a noqa without its reason: {line.strip()}"


# What runs code that a file holds, when it is imported or called.
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml"}
UNSAFE_CALLS = {"torch.hub.load", "torch.jit.load", "torch.export.load", "os.system", "os.popen", "pd.read_pickle"}
SAFE_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
SAFE_WITH |= {"np.lib.format.read_array": ("allow_pickle", False)}


def unsafe_loads(tree: ast.Module, imported: set[str]) -> Iterator[str]:
    """What in a file would unpickle, or start what a file says, with its line."""
    yield from (name for name in imported if name.split(".")[0] in UNSAFE_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, options = ast.unparse(node.func), {it.arg: ast.unparse(it.value) for it in node.keywords}
        needed = SAFE_WITH.get(called)
        is_unsafe = needed is not None and options.get(needed[0]) != str(needed[1])
        if called in UNSAFE_CALLS or is_unsafe or options.get("shell") == "True":
            yield f"{called}, line {node.lineno}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: names(file)[0])
def test_nothing_is_loaded_that_could_run_code(file: Path) -> None:
    assert list(unsafe_loads(ast.parse(file.read_text()), set(imports(file)))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file)",
        "torch.jit.load(path)",
        "subprocess.run(words, shell=True)",
    ],
)
def test_an_unsafe_load_is_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(code)
    assert list(unsafe_loads(ast.parse(code), set(imports(tmp_path / "code.py"))))


def test_everything_public_has_a_docstring() -> None:
    for file in FILES:
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), f"{file} has no docstring"
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"
