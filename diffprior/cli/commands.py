"""The command line: the commands of the tasks, the lists of the catalog, and the evaluation.

Nothing that computes is imported until a command begins its work.
"""

import inspect
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__, catalog
from ..errors import ImageError
from ..validation import shown
from . import index, specs
from .progress import Bar
from .specs import EDIT, EVALUATE, INSPECT, RESTORE, SERVE
from .streams import MOST, emit, say

__all__ = ["EMPTY", "SHARED", "app", "run", "with_options"]

UsageError: Any = typer.BadParameter.__mro__[2]  # ClickException, of the click that typer has

PANELS = (RESTORE, EDIT, SERVE, INSPECT, EVALUATE)
EMPTY = inspect.Parameter.empty
VALUES = {  # what a value may be, by the kinds of faults of pydantic
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "a number from {ge} on",
    "less_than_equal": "a number up to {le}",
}
SAMPLES = 8  # that --uncertainty draws if --samples is not set
WIDTH = 200  # columns of a list that no terminal shows

IMAGES = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE", help="Image files, folders or glob patterns; - reads standard input."
    ),
]
NUMBERS = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Files of numbers (.npy); - reads standard input."),
]
OUTPUT = (
    "Where the result goes: a file, a folder/, or - for standard output. "
    "Several samples get the names FILE-1, FILE-2 and so on."
)
FORCE = "Overwrite files that exist."
SKIP = "Leave out inputs whose results exist, so that a run that was stopped goes on."
COMPARE = "Also write the image before and after, side by side."
UNCERTAINTY = (
    "Also write a map of the standard deviation of the samples. "
    f"Draws {SAMPLES} samples if --samples is not set."
)
JSON = "Print one line of JSON for each file."
QUIET = "Do not show a progress bar."
STRIP = "Leave out date, place, camera and other metadata, and the report; colors stay right."
JOBS = (
    "Processes that share the files. The results are the same. Each process holds the prior, and "
    "has its share of the cores, or a GPU of its own where there are several."
)
MAX_PIXELS = (
    "The limit: the largest number of pixels of an image that is read; default: 268 million. "
    "Each million takes up to 90 MB of memory."
)

# Two names of one parameter: the option has both, whichever of them the task uses.
ALIASES = (
    ("guidance_scale", "guidance"),
    ("source_guidance_scale", "source_guidance"),
    ("negative_prompt", "negative"),
    ("control_image", "control"),
    ("tile_size", "tile"),
    ("dtype", "precision"),
    ("gray", "grey"),
)


def _shared(kind: Any, *flags: str, help: str) -> Any:
    return Annotated[kind, typer.Option(*flags, help=help, rich_help_panel="Output")]


SHARED: dict[str, tuple[Any, Any]] = {
    "output": (_shared(str | None, "-o", "--output", help=OUTPUT), None),
    "force": (_shared(bool, "--force", help=FORCE), False),
    "skip_existing": (_shared(bool, "--skip-existing", help=SKIP), False),
    "compare": (_shared(bool, "--compare", help=COMPARE), False),
    "uncertainty": (_shared(bool, "--uncertainty", help=UNCERTAINTY), False),
    "json": (_shared(bool, "--json", help=JSON), False),
    "quiet": (_shared(bool, "-q", "--quiet", help=QUIET), False),
    "strip_metadata": (_shared(bool, "--strip-metadata", help=STRIP), False),
    "jobs": (
        Annotated[
            int, typer.Option("--jobs", min=1, max=1024, help=JOBS, rich_help_panel="Output")
        ],
        1,
    ),
    "max_pixels": (
        Annotated[
            int | None, typer.Option(min=1, max=2**40, help=MAX_PIXELS, rich_help_panel="Output")
        ],
        None,
    ),
}


class Commands(TyperGroup):
    """A group that builds the command of a task when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, panel by panel."""
        known = index.commands()
        panels = {name: known[name].panel for name in known}
        for name, command in self.commands.items():
            panels.setdefault(name, getattr(command, "rich_help_panel", None) or INSPECT)
        return sorted(panels, key=lambda name: PANELS.index(panels[name]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is no such command."""
        command = index.commands().get(cmd_name)
        if cmd_name not in self.commands and command is not None:
            _check_working_folder()
            self.commands[cmd_name] = _build(command)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments begin with; an unknown one names the nearest."""
        names = self.list_commands(ctx)
        word = args[0] if args else ""
        if not ctx.resilient_parsing and word not in names and not word.startswith("-"):
            near = [repr(name) for name in get_close_matches(word, names)]
            advice = f" Did you mean {', '.join(near)}?" if near else ""
            ctx.fail(f"No such command {word!r}.{advice}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    help="Inverse problems and image editing with diffusion priors.",
)


def run(program: typer.Typer = app) -> int:
    """Run the command line, or that of a script; return its exit code. Wrong usage is one line."""
    with _plain_warnings():
        try:
            code = typer.main.get_command(program).main(standalone_mode=False)
        except UsageError as error:
            return _report_usage(error)
    return code if isinstance(code, int) else 0


def _report_usage(error: Any) -> int:
    """Say what is wrong with the words of a command line, and return the exit code."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        emit(context.get_help())
    else:
        path = "diffprior" if context is None else context.command_path.replace("python -m ", "")
        message = " ".join(_plainly(error).format_message().split())
        say(f"{shown(message, MOST - 20 - len(path))} (see {path} --help)")
    return int(error.exit_code)


def _plainly(error: Any) -> Any:
    """Return an error of wrong usage that says in plain words what a value may be."""
    for fault in getattr(error.__cause__, "errors", list)():  # of pydantic, which typer checks by
        if words := VALUES.get(fault["type"]):
            value = shown(fault["input"], 40)
            error.message = f"give {words.format(**fault.get('ctx', {}))}, got {value}"
    return error


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print each warning as one line."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say(message)
        yield


def _check_working_folder() -> None:
    """Check that there is a working folder, without which torch ends the process."""
    try:
        os.getcwd()
    except OSError as error:
        raise ImageError("the working folder is gone; go to another one") from error


def _build(command: specs.Command) -> Any:
    """Return the typer command of an entry of the index."""
    function = command.load() if command.options is None else _task_function(command)
    if isinstance(function, typer.Typer):  # a command with commands of its own
        group = typer.main.get_command(function)
        group.rich_help_panel = command.panel  # type: ignore[attr-defined]
        return group
    single = typer.Typer(
        add_completion=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    register = single.command(command.name, help=command.about, rich_help_panel=command.panel)
    register(function)
    return typer.main.get_command(single)


def _task_function(command: specs.Command) -> Callable[..., None]:
    """Return a function with the options of a task and the shared ones, for typer to read."""
    offered = {
        "compare": command.inputs == "images",
        "uncertainty": any(option.name == "samples" for option in command.options or ()),
        "jobs": command.inputs is not None,
    }
    shared = {k: v for k, v in SHARED.items() if offered.get(k, True)}

    def function(context: typer.Context, **settings: Any) -> None:
        bar = Bar(settings["quiet"])
        with bar.run():
            from .batch import run
            from .outputs import Options

            files = settings.pop("files", None)
            options = Options(**{k: settings.pop(k, default) for k, (_, default) in SHARED.items()})
            source = context.get_parameter_source("samples")
            is_default = source is not None and source.name == "DEFAULT"
            if options.uncertainty and is_default and settings["samples"] == 1:
                settings["samples"] = SAMPLES
            code = run(command.load(), files, settings, options, bar)
        raise typer.Exit(code)

    files = {"files": (IMAGES if command.inputs == "images" else NUMBERS, EMPTY)}
    return with_options(function, command, files if command.inputs is not None else {}, shared)


def with_options(
    function: Callable[..., None],
    command: specs.Command,
    arguments: Mapping[str, tuple[Any, Any]],
    shared: Mapping[str, tuple[Any, Any]],
) -> Callable[..., None]:
    """Give a function of a context and of settings the options of a task, for typer to read.

    Arguments:
        function: The function.
        command: The command of the task.
        arguments: What stands before the options of the task: annotations and defaults by name.
        shared: What stands after them.
    """
    own = {option.name: _option(option) for option in command.options or ()}
    signature = [_parameter("context", typer.Context, EMPTY)]
    signature += [_parameter(k, *v) for k, v in {**arguments, **own, **shared}.items()]
    function.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in signature}
    return function


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _option(option: specs.Option) -> tuple[Any, Any]:
    """Return the typer annotation of an option, and its default."""
    kinds = {"flag": bool, "int": int, "float": float, "text": str, "path": Path}
    kind: Any = list[Path] if option.several else kinds[option.kind]
    if not option.required and option.default is None:
        kind = kind | None
    path: dict[str, Any] = {"parser": _path, "metavar": "PATH"} if option.kind == "path" else {}
    note = typer.Option(
        *_flags(option),
        **path,
        help=option.help,
        rich_help_panel=option.panel,
        show_default=option.default is not False and "default" not in option.help.lower(),
    )
    default = EMPTY if option.required else option.default
    return Annotated[kind, note], default


def _path(text: str) -> Path:
    """Return the path of an option; an empty text would be the working folder."""
    if not text:
        raise typer.BadParameter("an empty name is no file")
    return Path(text)


def _flags(option: specs.Option) -> list[str]:
    """Return the flags of an option that has two names; none for one that has its own only."""
    names = next((pair for pair in ALIASES if option.name in pair), ())
    flags = [name.replace("_", "-") for name in names]
    return [f"--{f}/--no-{f}" if option.kind == "flag" else f"--{f}" for f in flags]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        emit(f"diffprior {__version__}")
        raise typer.Exit


def _list(kind: str) -> None:
    _print_table(catalog.summaries(kind))


def _print_table(rows: Mapping[str, str]) -> None:
    """Print names and what they are, in two columns."""
    first = max(map(len, rows), default=0)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    width = max(columns, first + 2 + 20)
    for name, text in rows.items():
        lines = textwrap.wrap(text, width - first - 2) or [""]
        emit(f"{name:<{first}}  {lines[0]}".rstrip())
        for line in lines[1:]:
            emit(f"{'':<{first}}  {line}")


@app.command("methods", help="List the methods.", rich_help_panel=INSPECT)
def _methods() -> None:
    _list("methods")


@app.command("samplers", help="List the samplers.", rich_help_panel=INSPECT)
def _samplers() -> None:
    _list("samplers")


@app.command("inversions", help="List the inversions that edits use.", rich_help_panel=INSPECT)
def _inversions() -> None:
    _list("inversions")


@app.command("attentions", help="List the attention edits of a prompt.", rich_help_panel=INSPECT)
def _attentions() -> None:
    _list("attention")


@app.command(
    "operators", help="List the operators that reconstruct can use.", rich_help_panel=INSPECT
)
def _operators() -> None:
    _list("operators")


@app.command(
    "priors",
    help="List the shipped priors, and the kinds of priors that can be opened.",
    rich_help_panel=INSPECT,
)
def _priors() -> None:
    rows = {}
    for name, folder in catalog.shipped_priors().items():
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").splitlines()
        rows[name] = "shipped: " + next(x for x in card if x and not x.startswith(("#", "-")))
    _print_table(rows | catalog.summaries("priors"))


@app.command("tasks", help="List the tasks.", rich_help_panel=INSPECT)
def _tasks() -> None:
    tasks = [c for c in index.commands().values() if c.options is not None]
    lines = catalog.summaries("tasks")
    _print_table({c.name: lines[c.module.rpartition(".")[2]] for c in tasks})


@app.command("recipes", help="List the recipes of corrupted datasets.", rich_help_panel=INSPECT)
def _recipes() -> None:
    from ..evaluation.commands import recipes

    _print_table(recipes())
