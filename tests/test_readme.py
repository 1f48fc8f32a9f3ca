"""The README's snippets run, on the files that it names."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = [
    line.removeprefix("$ ").split(" #")[0].strip()
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [line for line in SHELL if line.startswith("diffprior ")]


@pytest.fixture
def place(tmp_path):
    """A folder with the data that the README works on."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("snippet", PYTHON, ids=range(len(PYTHON)))
def test_python(place, snippet):
    done = subprocess.run([sys.executable, "-c", snippet], cwd=place, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(place, command):
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, cwd=place, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_there_are_snippets_and_files_it_shows():
    assert len(PYTHON) >= 2 and len(COMMANDS) >= 2
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (ROOT / target).exists(), target
