"""The README is short, and its snippets run on the files that it names."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support import warm

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = [
    line.removeprefix("$ ").split(" #")[0].strip()
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [  # but for the server, which goes on until it is stopped; see tests/server
    line for line in SHELL if line.startswith("diffprior ") and line != "diffprior serve"
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the data that the README works on; its commands read what others wrote.

    The images and masks are a quarter as high and wide: the commands take a 16th of the time.
    """
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "data", folder / "data")
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    for part, way in (("samples", box), ("scratched", nearest), ("masks", nearest)):
        for file in (folder / "data" / part).rglob("*.png"):
            with Image.open(file) as image:
                small = image.resize((image.width // 4, image.height // 4), way)
            small.save(file)
    return folder


@pytest.mark.parametrize("snippet", PYTHON, ids=range(len(PYTHON)))
def test_python(place, snippet):
    smaller = snippet.replace("0, 0, 128, 128", "0, 0, 64, 64")
    done = subprocess.run([sys.executable, "-c", smaller], cwd=place, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(place, command):
    done = warm.run("-m", *shlex.split(command), folder=place)
    assert done.returncode == 0, done.stderr.decode()


def test_snippets_and_linked_files_exist():
    assert len(PYTHON) >= 1 and len(COMMANDS) >= 5
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_linked_headings_exist():
    links = re.findall(r"\]\(([^)#:]+)#([^)]+)\)", TEXT)
    assert len(links) >= 3
    for target, anchor in links:
        headings = re.findall(r"^#+ (.+)$", (ROOT / target).read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_size_and_tables_are_small():
    assert len(TEXT.encode()) <= 7000
    tables = re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
    assert all(len(table.splitlines()) <= 12 for table in tables)  # ten rows below a head


def test_headline_figures_match_the_benchmarks():
    """The headline figures of the README follow from the tables that it links to."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    above = [float(x) for x in re.findall(r"\| `moment_smc.*?` \|.*\| (\d\.\d+) \| \d+ \+", page)]
    assert len(above) == 9
    assert f"{min(above):.1f} to {max(above):.1f} times" in TEXT
    best, default = (
        [float(x) for x in re.search(rf"\| {name} \|(.*)\|\n", page)[1].split("|")]
        for name in ("biharmonic", "default")
    )
    gains = [ours - theirs for ours, theirs in zip(default, best, strict=True)]
    assert f"{min(gains):.1f} to {max(gains):.1f} dB" in TEXT
    leads = [float(x) for x in re.findall(r"(\d\.\d\d) \((?:half|Gauss|motion|upscale|box)", page)]
    assert len(leads) == 5
    assert f"{sum(leads) / 5:.2f} dB ahead" in TEXT
    assert f"({min(leads):.2f} to {max(leads):.2f})" in TEXT


def test_scripts_of_the_benchmarks_exist():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    scripts = re.findall(r"^python (\S+)", page, re.MULTILINE)
    assert len(scripts) >= 7
    assert all((ROOT / script).is_file() for script in scripts)


def test_method_in_one_file(tmp_path, monkeypatch):
    """The method of the docs, dropped into the folder of methods, is found, built and run."""
    import torch

    import diffprior.methods
    from diffprior.catalog import build, names
    from diffprior.likelihoods.gaussian import GaussianLikelihood
    from diffprior.operators.mask import Mask
    from diffprior.priors.mixture import MixturePrior

    (source,) = {
        source
        for page in (ROOT / "docs").rglob("*.md")
        for source in re.findall(r"```py(?:thon)?\n(.*?)```", page.read_text(), re.DOTALL)
        if "class Nudge(" in source
    }
    (tmp_path / "nudge.py").write_text(source)
    path = [*diffprior.methods.__path__, str(tmp_path)]
    monkeypatch.setattr(diffprior.methods, "__path__", path)
    monkeypatch.setattr(diffprior.methods.__spec__, "submodule_search_locations", path)
    assert "nudge" in names("methods")
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    likelihood = GaussianLikelihood(
        operator=Mask(torch.tensor([1.0, 0.0])), y=torch.tensor([[2.0, 0.0]]), sigma=0.0
    )
    none, whole = (
        build(f"nudge(strength={s})")(prior, likelihood, n=200).mean(0)[0] for s in (0.0, 1.0)
    )
    assert abs(none) < 0.3 and abs(whole - 2) < 0.05
