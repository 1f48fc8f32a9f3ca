"""The shape of the house: imports only go down, rooms are small, importing is cheap."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = (
    "errors",
    "schedules random solvers deep blind networks masks muon photographs blurs frequencies "
    "adm checkpoints edm families autoencoders components ledger gradients settings",
    "kernels operators attentions fills holes heads classes",
    "diffusions likelihoods hints",
    "priors chains noises jpegs",
    "samplers interop estimation automasks attention pipelines",
    "methods inversions",
    "catalog pretrained images",
    "files results measurements metrics figures deploy problems classical recipes pages films",
    "outputs",
    "walks trajectories editing_metrics certificates",
    "asking choices turns",
    "tasks runs certification datasets",
    "cli training hub scores",
    "__main__ report",
    "benchmark",
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = sorted([*ROOT.glob("diffprior/**/*.py"), *ROOT.glob("tasks/**/*.py")])
HEAVY = {"cv2", "deepinv", "diffusers", "kornia", "lpips", "skimage", "transformers", "typer"}


def label(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "diffprior" else "tasks"


def imports(file: Path) -> Iterator[tuple[str, ...]]:
    """Yield every module, in parts, that a file imports from the house, also inside functions."""
    folder = ("diffprior", "tasks") if room(file) == "tasks" else file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            stem = (*base, *(node.module.split(".") if node.module else ()))
            found = [stem if len(stem) > 1 else (*stem, alias.name) for alias in node.names]
        else:
            continue
        yield from (name for name in found if name[0] in ("diffprior", "tasks"))


parametrize = pytest.mark.parametrize("file", FILES, ids=label)


@parametrize
def test_imports_only_go_down(file: Path) -> None:
    here = room(file)
    if here == "__init__":
        assert not list(imports(file)), "the package itself loads on first use"
        return
    assert here in LEVEL, f"{here} has no floor: add it to FLOORS in {Path(__file__).name}"
    for name in imports(file):
        assert name[0] == "diffprior", "`tasks` is a second copy of diffprior.tasks"
        if len(name) > 1 and name[1] != "__version__" and name[1] != here:
            assert LEVEL.get(name[1], 99) < LEVEL[here], (
                f"{here} imports {'.'.join(name)}, which is above"
            )


@parametrize
def test_nothing_in_the_library_names_a_task(file: Path) -> None:
    if room(file) != "tasks":
        assert not [name for name in imports(file) if "tasks" in name[:2]]


def test_the_walk_sees_an_arrow_that_points_up(tmp_path: Path, monkeypatch) -> None:
    """Guards the guard: relative imports inside folders and inside functions are resolved."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "diffprior" / "operators" / "bad.py"
    file.parent.mkdir(parents=True)
    file.write_text("def f():\n    from ..priors.base import Prior\n    from .. import methods\n")
    assert list(imports(file)) == [("diffprior", "priors", "base"), ("diffprior", "methods")]


@parametrize
def test_every_module_says_why_it_exists(file: Path) -> None:
    assert (ast.get_docstring(ast.parse(file.read_text())) or "").strip()


@parametrize
def test_no_file_is_longer_than_300_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{prefix}.{child.name}"
            if isinstance(child, ast.FunctionDef):
                yield name, child
            yield from functions(child, name)
        else:
            yield from functions(child, prefix)


def code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """Count lines of code: no signature, no docstring, no comment, no blank line."""
    body = function.body[ast.get_docstring(function) is not None :]
    if not body:
        return 0
    rows = lines[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for row in rows if row.strip() and not row.strip().startswith("#"))


def long_functions() -> dict[str, int]:
    found = {}
    for file in FILES:
        text = file.read_text()
        place = ".".join(file.relative_to(ROOT).with_suffix("").parts).removeprefix("diffprior.")
        for name, function in functions(ast.parse(text), place):
            found[name] = code_lines(function, text.splitlines())
    return {name: count for name, count in found.items() if count > 25}


def test_no_function_is_longer_than_25_lines() -> None:
    assert not long_functions()


@parametrize
def test_no_inference_mode_and_no_device_by_name(file: Path) -> None:
    """inference_mode tensors cannot enter a later gradient; .cuda() ignores the prior's device."""
    attributes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)]
    assert not [n for n in attributes if n.attr == "inference_mode"]
    on_tensors = [n for n in attributes if n.attr == "cuda" and ast.unparse(n.value) != "torch"]
    assert not on_tensors


def test_packages_are_the_folders() -> None:
    """A forgotten sub-package is missing from the wheel without a warning."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {".".join(f.relative_to(ROOT).parent.parts) for f in FILES if room(f) != "tasks"}
    inside = {".".join(f.relative_to(ROOT).parent.parts) for f in FILES if room(f) == "tasks"}
    assert set(settings["packages"]) == folders | {f"diffprior.{name}" for name in inside}
    for folder in inside:
        assert settings["package-dir"][f"diffprior.{folder}"] == folder.replace(".", "/")
    assert all((f.parent / "__init__.py").exists() for f in FILES)


def test_tasks_can_be_imported_here() -> None:
    """Else this checkout is not installed, and the tests would run without its tasks."""
    assert importlib.util.find_spec("diffprior.tasks") is not None


@pytest.mark.parametrize("statement", ["import diffprior", "import diffprior.catalog"])
def test_importing_is_cheap(statement: str) -> None:
    code = f"{statement}; import sys; print(*{HEAVY} & {{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def texts() -> Iterator[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    yield from (ROOT / name for name in done.stdout.decode().split("\0") if name)


def test_no_path_of_a_machine() -> None:
    needles = [f"/{folder}/".encode() for folder in ("work", "root", "home")]
    guilty = []
    for file in texts():
        if not file.is_file() or file == Path(__file__):
            continue
        data = file.read_bytes()
        if b"\0" not in data[:4096] and any(needle in data for needle in needles):
            guilty.append(label(file))
    assert not guilty
