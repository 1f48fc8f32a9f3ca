"""The first minute: help pages, lists and completion, without importing what computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from diffprior import catalog
from diffprior.cli import index
from diffprior.cli.commands import app

HEAVY = {
    "accelerate",
    "cv2",
    "deepinv",
    "diffusers",
    "kornia",
    "lpips",
    "numpy",
    "scipy",
    "skimage",
    "torch",
    "torchvision",
    "transformers",
}
GROUP = typer.main.get_command(app)
COMMANDS = GROUP.list_commands(None)
LISTS = ("methods", "samplers", "inversions", "attentions", "operators", "priors", "recipes")
RUN = """
import sys
from diffprior.cli import main
sys.argv[0] = "diffprior"
try:
    main()
finally:
    print(*sorted({heavy} & {{m.partition('.')[0] for m in sys.modules}}), file=sys.stderr)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line; standard error ends with the heavy libraries that it imported."""
    call = [sys.executable, "-c", RUN.format(heavy=HEAVY), *arguments]
    variables = os.environ | {"COLUMNS": "100"} | environment
    return subprocess.run(call, capture_output=True, text=True, env=variables)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("tasks",), *zip(LISTS)])
def test_nothing_heavy_is_imported_before_work_begins(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert done.stderr.strip() == ""


FORKED = """
import os, sys, typer.rich_utils
import diffprior.cli
for name in sys.argv[1:]:
    if not (child := os.fork()):
        for number, stream in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{{name}}.{{stream}}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv[1:] = [name, "--help"]
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """The exit code and the streams of each page of help, which a process of its own wrote.

    They are forked from one that has imported what all of them do, and nothing heavy.
    """
    folder = tmp_path_factory.mktemp("pages")
    call = [sys.executable, "-c", (FORKED + RUN).format(heavy=HEAVY), *COMMANDS]
    environment = os.environ | {"COLUMNS": "100"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0 and not done.stderr, done.stderr
    files = [[folder / f"{name}.{stream}" for stream in ("out", "err")] for name in COMMANDS]
    texts = [(out.read_text(), err.read_text()) for out, err in files]
    codes = done.stdout.split()
    return {k: (code, *both) for k, code, both in zip(COMMANDS, codes, texts, strict=True)}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_page_imports_anything_heavy(
    name: str, pages: dict[str, tuple[str, str, str]]
) -> None:
    code, out, err = pages[name]
    assert code == "0" and f" {name} " in out, err
    assert err.strip() == ""


def test_wrong_usage_imports_nothing_heavy_either() -> None:
    done = run("inpaint", "--masks", "m.png", "a.png")
    assert done.returncode == 2 and "--masks" in done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_an_unknown_command_names_the_nearest() -> None:
    done = run("inpiant")
    assert done.returncode == 2 and "Did you mean 'inpaint'?" in done.stderr


@pytest.mark.parametrize("word", ["", "zzz", "./a.png"])
def test_an_unknown_command_is_one_sentence(word: str) -> None:
    done = run(word)
    assert done.returncode == 2 and f"No such command '{word}'." in done.stderr
    assert "Traceback" not in done.stderr and "Did you mean" not in done.stderr


def test_the_help_has_five_panels_in_order() -> None:
    lines = run("--help").stdout.splitlines()
    titles = [line.split()[1] for line in lines if line.startswith("╭")]
    assert titles == ["Options", "Restore", "Edit", "Serve", "Inspect", "Evaluate"]
    panels = {name: GROUP.get_command(None, name).rich_help_panel for name in COMMANDS}
    assert {n for n, p in panels.items() if p == "Restore"} == {
        *("colorize", "deblur", "dejpeg", "denoise", "inpaint", "reconstruct", "restore"),
        "upscale",
    }
    assert {n for n, p in panels.items() if p == "Edit"} == {
        *("batch", "blend", "edit", "generate", "interpolate", "invert", "mask", "sdedit"),
        *("style", "variations"),
    }
    assert {n for n, p in panels.items() if p == "Inspect"} == {*LISTS, "tasks"}
    evaluate = {n for n, p in panels.items() if p == "Evaluate"}
    assert evaluate == {"bench", "certify", "corrupt", "score", "train"}


def test_new_names_of_options_stand_beside_the_old_ones() -> None:
    options = {tuple(p.opts) for p in GROUP.get_command(None, "inpaint").params}
    assert {
        ("--guidance-scale", "--guidance"),
        ("--negative-prompt", "--negative"),
        ("--control-image", "--control"),
        ("--tile-size", "--tile"),
        ("--dtype", "--precision"),
    } <= options
    flags = {tuple(p.opts) for p in GROUP.get_command(None, "restore").params}
    assert ("--gray", "--grey") in flags


@pytest.mark.parametrize("colors", [{"NO_COLOR": "1"}, {}])
def test_no_color_is_honored(colors: dict[str, str]) -> None:
    """Where colors are forced, as a terminal has them, the variable turns them off."""
    done = run("--help", FORCE_COLOR="1", **colors)
    assert ("\x1b[" in done.stdout and "\x1b[1;3" in done.stdout) is not bool(colors)


def test_the_shell_completes_commands_and_options() -> None:
    def complete(words: str) -> set[str]:
        count = str(len(words.split()) - (not words.endswith(" ")))
        variables = {"COMP_WORDS": words, "COMP_CWORD": count}
        done = run(_DIFFPRIOR_COMPLETE="complete_bash", **variables)
        assert not done.stderr.strip()
        return set(done.stdout.split())

    assert complete("diffprior in") == {"inpaint", "interpolate", "inversions", "invert"}
    assert complete("diffprior inpaint --mas") == {"--mask", "--mask-color"}


def test_completion_can_be_shown() -> None:
    disabled = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # of the shell round us
    done = run("--show-completion", "bash", **disabled)
    assert "_DIFFPRIOR_COMPLETE" in done.stdout


@pytest.mark.parametrize("kind", ["methods", "samplers", "inversions", "operators"])
def test_a_list_has_every_name_with_its_first_line(kind: str) -> None:
    lines = run(kind).stdout.splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert rows == {n: catalog.summary(catalog.find(n, (kind,))) for n in catalog.names(kind)}


def test_a_task_that_is_not_in_the_index_is_read_from_its_signature(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder stays the registry: whoever adds a task need not write the index first."""
    (tmp_path / "index.json").write_text("[]")
    indexed = index.commands()
    monkeypatch.setattr(index, "INDEX", tmp_path / "index.json")
    index.commands.cache_clear()
    try:
        read = index.commands()
    finally:
        index.commands.cache_clear()
    assert read == {k: v for k, v in indexed.items() if v.options is not None}
