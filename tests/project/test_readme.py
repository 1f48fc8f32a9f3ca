"""The README's snippets run, on the files that it names."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = [
    line.removeprefix("$ ").split(" #")[0].strip()
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [line for line in SHELL if line.startswith("diffprior ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the data that the README works on; its commands read what others wrote."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "data", folder / "data")
    return folder


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


def test_the_method_in_one_file(tmp_path, monkeypatch):
    """The README's own method, dropped into the folder of methods, is found, built and run."""
    import torch

    import diffprior.methods
    from diffprior.catalog import build, names
    from diffprior.likelihoods.gaussian import GaussianLikelihood
    from diffprior.operators.mask import Mask
    from diffprior.priors.mixture import MixturePrior

    (source,) = re.findall(r"```py\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "nudge.py").write_text(source)
    path = [*diffprior.methods.__path__, str(tmp_path)]
    monkeypatch.setattr(diffprior.methods, "__path__", path)
    assert "nudge" in names("methods")
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    likelihood = GaussianLikelihood(
        operator=Mask(torch.tensor([1.0, 0.0])), y=torch.tensor([[2.0, 0.0]]), sigma=0.0
    )
    none, whole = (
        build(f"nudge(strength={s})")(prior, likelihood, n=200).mean(0)[0] for s in (0.0, 1.0)
    )
    assert abs(none) < 0.3 and abs(whole - 2) < 0.05
