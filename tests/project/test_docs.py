"""The docs build without a warning, every task has a page, and every command in them parses."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from diffprior import catalog
from diffprior.cli import specs
from diffprior.cli.commands import app

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WORDS = [name for name, command in specs.commands().items() if command.options is not None]


def commands() -> list[tuple[str, str]]:
    """Every command of every page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            lines = (line.split("  #")[0].strip() for line in block.splitlines())
            found += [(page.stem, line) for line in lines if line.startswith("diffprior ")]
    return found


@pytest.fixture(scope="module")
def parser() -> Any:
    """The command line as it is, of which nothing is run."""
    return typer.main.get_command(app)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_parses(parser: Any, page: str, line: str) -> None:
    word, *rest = shlex.split(line)[1:]
    command = parser.get_command(None, word)
    context = command.make_context(word, rest)  # raises on what it does not know
    if page in WORDS:
        methods = [v for k, v in context.params.items() if k in ("method", "sampler") and v]
        assert all(catalog.build(text) for text in methods if isinstance(text, str))


def test_a_command_that_is_wrong_does_not_parse(parser: Any) -> None:
    """Guards the guard."""
    with pytest.raises(Exception, match="No such option"):
        parser.get_command(None, "inpaint").make_context("inpaint", ["a.png", "--masks", "m.png"])


@pytest.mark.parametrize("word", WORDS)
def test_every_task_has_a_page(word: str) -> None:
    """With the command, an image, the mathematics and the source, and a place in the contents."""
    text = (ROOT / "docs" / "tasks" / f"{word}.md").read_text()
    assert (word, True) in {(line.split()[1], page == word) for page, line in commands()}
    assert re.search(r"!\[.+\]\(\.\./pictures/", text)
    assert "## The mathematics" in text and "## Source" in text and "](https://" in text
    assert f"tasks/{word}.md" in (ROOT / "mkdocs.yml").read_text()
    assert f"(tasks/{word}.md)" in (ROOT / "docs" / "index.md").read_text()


@pytest.mark.parametrize(
    ("kind", "page"), [("methods", "methods.md"), ("inversions", "tasks/invert.md")]
)
def test_everything_of_a_kind_is_named(kind: str, page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert not [name for name in catalog.names(kind) if not re.search(rf"`{name}[`(]", text)]


def test_images_are_small_and_used() -> None:
    shown = {name for page in PAGES for name in re.findall(r"images/(\S+\.jpg)", page.read_text())}
    there = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(there) == shown
    assert max(there.values()) < 60_000


def test_the_snippets_of_python_run() -> None:
    """Those that want no file; the others are whole, at least."""
    for page in PAGES:
        for snippet in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            code = compile(snippet, page.name, "exec")
            if page.stem == "priors":
                exec(code, {})


def test_the_method_of_the_docs_is_the_readmes() -> None:
    (source,) = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert source in (ROOT / "docs" / "extending.md").read_text()


def test_the_docs_build_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tasks" / "inpaint" / "index.html").exists()


def test_the_images_can_be_made_again(monkeypatch, tmp_path: Path) -> None:
    """The files that the pages name are those that the script makes, or that a command makes."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("picture_docs")
    script.inputs(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    for page in PAGES:
        text = page.read_text()
        if not re.search(r"<!-- \S+\.jpg: ", text):
            continue
        words = [word for line in script.commands(text) for word in shlex.split(line)]
        outputs = {words[i + 1] for i, word in enumerate(words[:-1]) if word == "-o"}
        read = [w for w in words if w.endswith((".png", ".jpg", ".npy")) and w not in outputs]
        assert set(read) <= there, page
