"""``.ci/run`` with stand-ins for its tools: what fails ends it, also beside the other steps."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = ("pip", "ruff", "mypy", "lint-imports", "wheel", "pytest")
TOOL = """#!/bin/sh
name=$(basename "$0")
echo "$name $* ${PYTHONDONTWRITEBYTECODE-compiles into $(basename "$PYTHONPYCACHEPREFIX")}"
[ $name != wheel ] || sleep 0.1
[ "$FAILS" != $name ]
"""
VENV = """#!/bin/sh
for folder; do :; done
mkdir -p "$folder/bin" && : > "$folder/bin/activate"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the script, with tools that only say how they were called."""
    (tmp_path / "repository" / ".ci").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "scratch").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "repository" / ".ci" / "run")
    texts = {tmp_path / "tools" / "python3": VENV, tmp_path / "repository" / ".ci" / "wheel": TOOL}
    for name in ("chromium", *STEPS):
        if name != "wheel":
            texts[tmp_path / "tools" / name] = TOOL
    for file, text in texts.items():
        file.write_text(text)
        file.chmod(0o755)
    return tmp_path


def ran(place: Path, fails: str) -> tuple[int, str]:
    """Return the exit code and the output, where one of the tools fails."""
    env = os.environ | {
        "PATH": f"{place / 'tools'}:{os.environ['PATH']}",
        "TMPDIR": str(place / "scratch"),
        "FAILS": fails,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["bash", str(place / "repository" / ".ci" / "run")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_fails_the_run(place: Path, step: str) -> None:
    code, said = ran(place, step)
    assert code == 1 and f"{step} " in said
    assert ("pytest " in said) == (step == "pytest")  # no test is run before all else is right
    assert not list((place / "scratch").iterdir())


def test_each_step_is_run_once_and_compiles_into_one_folder(place: Path) -> None:
    code, said = ran(place, "none")
    words = [line.split()[0] for line in said.splitlines()]
    assert code == 0
    assert words == ["pip", "ruff", "ruff", "mypy", "lint-imports", "wheel", "pytest"]
    assert all(line.endswith("compiles into compiled") for line in said.splitlines())
    assert not list((place / "scratch").iterdir())
