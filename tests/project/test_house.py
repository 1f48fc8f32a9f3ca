"""The shape of the house: imports go down only, and importing is cheap."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    f
    for folder in ("diffprior", "tasks")
    for f in ROOT.glob(f"{folder}/**/*.py")
    if not f.is_relative_to(ROOT / "diffprior" / "tasks")  # a link to tasks
)
LIBRARY = [f for f in FILES if f.is_relative_to(ROOT / "diffprior")]
HEAVY = {"cv2", "deepinv", "diffusers", "kornia", "lpips", "skimage", "transformers", "typer"}


def label(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports each by its name alone, and leaves out the second one."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contract of pyproject.toml on the packages of a folder."""
    code = "from importlinter.cli import lint_imports_command as c; c(prog_name='lint-imports')"
    command = [sys.executable, "-c", code, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_imports_go_down_only() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_the_contract_is_broken_by_an_import_that_goes_up(tmp_path: Path) -> None:
    """Guards the guard."""
    for file in FILES:
        inside = file.relative_to(ROOT)
        inside = inside if inside.parts[0] == "diffprior" else Path("diffprior") / inside
        copy = tmp_path / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert lint_imports(tmp_path).returncode == 0
    mask = tmp_path / "diffprior" / "operators" / "mask.py"
    mask.write_text(
        mask.read_text() + "\n\ndef f() -> None:\n    from ..priors import base  # noqa\n"
    )
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "diffprior.operators is not allowed to import diffprior.priors" in done.stdout


@pytest.mark.parametrize("file", LIBRARY, ids=label)
def test_nothing_in_the_library_names_a_task(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert "tasks" not in (node.module or "").split("."), label(file)
            assert "tasks" not in [alias.name for alias in node.names], label(file)
        elif isinstance(node, ast.Import):
            assert not [a for a in node.names if "tasks" in a.name.split(".")], label(file)


@pytest.mark.parametrize("file", FILES, ids=label)
def test_every_module_says_why_it_exists(file: Path) -> None:
    assert (ast.get_docstring(ast.parse(file.read_text())) or "").strip()


@pytest.mark.parametrize("file", FILES, ids=label)
def test_no_inference_mode_and_no_device_by_name(file: Path) -> None:
    """inference_mode tensors cannot enter a later gradient; .cuda() ignores the prior's device."""
    attributes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)]
    assert not [n for n in attributes if n.attr == "inference_mode"]
    on_tensors = [n for n in attributes if n.attr == "cuda" and ast.unparse(n.value) != "torch"]
    assert not on_tensors


def test_packages_are_the_folders() -> None:
    """A forgotten sub-package is missing from the wheel without a warning."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {".".join(f.relative_to(ROOT).parent.parts) for f in LIBRARY}
    inside = {".".join(f.relative_to(ROOT).parent.parts) for f in FILES if f not in LIBRARY}
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
