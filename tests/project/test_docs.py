"""The docs build without a warning, and what they show is true: commands, snippets, names."""

import importlib
import inspect
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import diffprior
from diffprior import catalog
from diffprior.cli import commands as cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = {str(page.relative_to(DOCS)): page.read_text() for page in PAGES}
WORDS = [{"super_resolve": "upscale"}.get(name, name) for name in catalog.names("tasks")]
KINDS = {  # where each name of the catalog is explained
    "methods": "methods.md",
    "samplers": "samplers.md",
    "inversions": "inversions.md",
    "operators": "operators.md",
    "attention": "tasks/edit.md",
    "priors": "priors.md",
    "objectives": "training.md",
    "architectures": "training.md",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the code of this language, with the page that it is on."""
    pattern = rf"```{language}\n(.*?)```"
    return [(k, code) for k, text in TEXTS.items() for code in re.findall(pattern, text, re.S)]


def commands() -> list[tuple[str, str]]:
    """Return every command of every page."""
    lines = [(page, line) for page, code in blocks("sh") for line in code.splitlines()]
    stripped = [(page, line.split("  #")[0].strip()) for page, line in lines]
    return [(page, line) for page, line in stripped if line.startswith("diffprior ")]


@pytest.fixture(scope="module")
def parser() -> Callable[..., Any]:
    """The command line as it is, of which nothing is run: it parses one line."""
    group = typer.main.get_command(cli.app)
    context = group.make_context("diffprior", [], resilient_parsing=True)

    def parse(line: str, only: bool = False) -> Any:
        """Return the context of a line, or only its command; raise on an unknown option."""
        word, *rest = shlex.split(line)[1:]
        command = group.get_command(context, word)
        assert command is not None, f"no command {word}"
        return command if only else command.make_context(word, rest)

    return parse


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_parses(parser: Callable[..., Any], page: str, line: str) -> None:
    context = parser(line)
    kinds = {"method": "methods", "sampler": "samplers", "inversion": "inversions"}
    for option, kind in kinds.items():
        texts = context.params.get(option) or ()
        for text in (texts,) if isinstance(texts, str) else texts:
            if not text.endswith(".safetensors") and not text.startswith("classical:"):
                assert catalog.build(text, (kind,))
    if context.params.get("operator"):
        assert catalog.build(context.params["operator"], ("operators",))


@pytest.mark.parametrize(
    "page",  # the page of benchmarks names options of scripts, too
    [page for page in TEXTS if not page.startswith("api/") and page != "benchmarks.md"],
)
def test_every_option_exists(parser: Callable[..., Any], page: str) -> None:
    """Those in the text: on the page of a task those of its command, elsewhere those of any."""
    own = page.startswith("tasks/")
    lines = [f"diffprior {Path(page).stem} x --help"] if own else [f"diffprior {w}" for w in WORDS]
    known = {"--help", "--version", "--index-url", "--install-completion"}
    for line in lines + [line for p, line in commands() if p == page]:
        command = parser(line, only=True)
        for one in (command, *getattr(command, "commands", {}).values()):
            known |= {n for option in one.params for n in (*option.opts, *option.secondary_opts)}
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.S)
    code = " ".join(c for c in re.findall(r"`(.*?)`", prose) if not c.startswith("python "))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code))
    assert not named - known


def test_a_wrong_command_does_not_parse(parser: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="No such option"):
        parser("diffprior inpaint a.png --masks m.png")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sample images, as the snippets expect."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_every_python_snippet_runs(place: Path, page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


def test_the_task_of_the_extending_page_runs() -> None:
    """It is shortened from the task of that name, and gives the same image."""
    blocks = re.findall(r"```py\n(.*?)```", TEXTS["extending.md"], re.S)
    (source,) = (block for block in blocks if "@restoration" in block)
    module: dict[str, Any] = {"__name__": "shortened"}
    exec(compile(source, "extending.md", "exec"), module)
    image = torch.full((3, 32, 32), 0.5)
    image[:, ::2] += 0.1
    out = module["denoise"](image, sigma=0.1)
    assert torch.equal(out.image, diffprior.denoise(image, sigma=0.1).image)
    assert module["denoise"].task.past == "denoised"


@pytest.mark.parametrize("word", WORDS)
def test_every_task_has_a_page(word: str) -> None:
    """With its command, an image, the mathematics, the source, and a link on the home page."""
    page = f"tasks/{word}.md"
    assert any(p == page and line.split()[1] == word for p, line in commands())
    assert re.search(r"!\[.+\]\(\.\./pictures/", TEXTS[page])
    for heading in ("## Good to know", "## The mathematics", "## Source"):
        assert heading in TEXTS[page]
    assert "](https://" in TEXTS[page]
    assert f"({page})" in TEXTS["index.md"]


@pytest.mark.parametrize(("kind", "page"), KINDS.items())
def test_everything_of_a_kind_is_named(kind: str, page: str) -> None:
    text = TEXTS[page]
    assert not [name for name in catalog.names(kind) if not re.search(rf"\b{name}\b", text)]


def test_every_likelihood_is_named() -> None:
    package = importlib.import_module("diffprior.likelihoods")
    modules = [f"diffprior.likelihoods.{m.name}" for m in pkgutil.iter_modules(package.__path__)]
    things = [getattr(m, n) for m in map(importlib.import_module, modules) for n in m.__all__]
    names = {t.__name__ for t in things if inspect.isclass(t) and not inspect.isabstract(t)}
    likelihoods = {n for n in names if n.endswith("Likelihood")}
    assert len(likelihoods) >= 8
    assert not [n for n in likelihoods if f"`{n}`" not in TEXTS["operators.md"]]


def test_names_that_stand_alone_are_in_a_page() -> None:
    names = ("BitsPrior", "GammaBlur", "HDR", "PhaseRetrieval", "DeepinvDenoiser")
    written = "\n".join(text for page, text in TEXTS.items() if not page.startswith("api/"))
    assert not [name for name in names if name not in written]


OPTIONAL = {  # modules that need an extra
    "diffprior.interop.canvas": "anywidget",
    "diffprior.interop.deepinv": "deepinv",
    "diffprior.interop.mcp": "mcp",
    "diffprior.interop.toolbox": "mcp",
}


def modules() -> Iterator[types.ModuleType]:
    """Yield the public modules of the package that can be imported here."""
    for info in pkgutil.walk_packages(diffprior.__path__, "diffprior."):
        needed = OPTIONAL.get(info.name)
        if "__main__" not in info.name and (needed is None or find_spec(needed)):
            yield importlib.import_module(info.name)


def public() -> set[str]:
    """Return the names that the modules of the package export."""
    return {name for module in modules() for name in getattr(module, "__all__", ())}


@pytest.mark.parametrize(
    ("section", "modules"),
    [
        ("diffusers", ["diffusers"]),
        (
            "deepinv",
            ["deepinv.physics", "deepinv.sampling", "deepinv.models", "deepinv.optim"]
            + ["deepinv.loss.metric"],
        ),
        (
            "azula",
            ["azula.denoise", "azula.noise", "azula.sample", "azula.guidance.cfg"]
            + [f"azula.guidance.{m}" for m in ("diffpir", "dps", "mmps", "pgdm", "repaint")]
            + ["azula.guidance.tds", "azula.guidance.tmpd"],
        ),
    ],
)
def test_the_names_of_other_libraries_exist(section: str, modules: list[str]) -> None:
    """In the tables, theirs on the left and ours on the right."""
    pytest.importorskip(section, reason="the extra `peers` is not installed")
    text = re.split(rf"^## {section}$", TEXTS["coming_from.md"], flags=re.M)[1]
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", text.split("\n## ")[0], re.M)
    assert len(rows) > 10
    cells = [
        " ".join(re.findall(r"`(.*?)`", " ".join(column))) for column in zip(*rows, strict=True)
    ]
    theirs, ours = ({n for n in re.findall(r"\b[A-Z][A-Za-z0-9]{2,}\b", cell)} for cell in cells)
    there = {n for module in modules for n in dir(importlib.import_module(module))}
    assert not theirs - there - {"Generator"}
    assert not ours - public() - {"True"}


def test_images_are_small_and_used() -> None:
    shown = set(re.findall(r"pictures/([\w.-]+\.(?:jpg|png|svg|webp))", "\n".join(TEXTS.values())))
    there = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert set(there) == shown
    assert max(there.values()) < 60_000


def leaves(entries: list[Any]) -> Iterator[str]:
    """Yield the pages of a table of contents."""
    for entry in entries:
        for value in entry.values():
            yield from leaves(value) if isinstance(value, list) else (value,)


def test_every_page_is_in_the_contents_once() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text())
    assert sorted(leaves(config["project"]["nav"])) == sorted(TEXTS)


def test_the_docs_keep_to_their_words() -> None:
    """American spelling, and the standard terms."""
    odd = r"\b(colour\w*|grey(?!`)\w*|centre\w*|artefacts?|behaviour|pictures?|licence)\b"
    for page, text in TEXTS.items():
        prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|\"[^\"]*\"", "", text, flags=re.S)
        assert not re.findall(odd, prose, re.I), page


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    call = [sys.executable, "-m", "zensical", "build", "--strict"]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly in a folder of its own."""
    pytest.importorskip("zensical", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copytree(
        ROOT / "diffprior", folder / "diffprior", ignore=shutil.ignore_patterns("weights")
    )
    for name in ("zensical.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_docs_build_without_a_warning(site: Path) -> None:
    for page in TEXTS:
        name = page.removesuffix(".md").removesuffix("index")
        assert (site / name / "index.html").exists(), page


def test_the_changelog_is_included(site: Path) -> None:
    assert diffprior.__version__ in (site / "changelog" / "index.html").read_text()


def test_everything_public_is_in_the_api_reference(site: Path) -> None:
    """Every class and function that a public module of the package exports."""
    head, _, packed = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2")
    known = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    missing = [name for name in catalog.names("tasks") if f"diffprior.{name}" not in known]
    for module in modules():
        parts = module.__name__.split(".")[1:]
        if parts[0] in ("cli", "tasks") or any(p.startswith("_") for p in parts):
            continue
        if hasattr(module, "__path__"):
            continue  # a package hands on what its modules define
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            own = getattr(thing, "__module__", "") == module.__name__
            kind = inspect.isclass(thing) or inspect.isfunction(thing)
            if own and kind and thing.__doc__ and f"{module.__name__}.{name}" not in known:
                missing.append(f"{module.__name__}.{name}")
    assert not missing


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a page](absent.md)", "page does not exist"),
        ("[a heading](#absent)", "anchor"),
        ("::: diffprior.absent", "Could not collect"),
        ('--8<-- "absent.md"', "absent.md"),
    ],
)
def test_a_wrong_page_does_not_build(tmp_path: Path, text: str, complaint: str) -> None:
    pytest.importorskip("zensical", reason="the extra `docs` is not installed")
    config = (ROOT / "zensical.toml").read_text()
    config = re.sub(r"^nav = \[.*?^\]\n", "", config, flags=re.S | re.M)
    (tmp_path / "zensical.toml").write_text(config.replace('paths = ["."]', f"paths = ['{ROOT}']"))
    shutil.copytree(DOCS / "stylesheets", tmp_path / "docs" / "stylesheets")
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{text}\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr


def test_the_images_can_be_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files that the pages name are those that the script makes, or that a command makes."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("docs_pictures")
    script.inputs(tmp_path)
    for page, text in TEXTS.items():
        if not re.search(r"<!-- \S+\.jpg: ", text):
            continue
        words = [word for line in script.commands(text) for word in shlex.split(line)]
        outputs = {words[i + 1] for i, word in enumerate(words[:-1]) if word == "-o"}
        read = [w for w in words if w.endswith((".png", ".jpg", ".npy")) and w not in outputs]
        assert not [file for file in read if not (tmp_path / file).exists()], page
