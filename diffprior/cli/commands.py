"""The command line: one command a task, made from the task's own signature."""

import inspect
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from .. import __version__, catalog
from ..evaluation import commands as evaluation
from ..runtime.parameters import PARAMETERS, RENAMED
from .batch import run
from .outputs import Options

__all__ = ["app", "main", "parameters"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    help="Inverse problems and image editing with diffusion priors.",
)

IMAGES = Annotated[
    list[str], typer.Argument(help="Images, folders or globs; - for standard input.")
]
NUMBERS = Annotated[
    list[str], typer.Argument(help="Files of numbers (.npy); - for standard input.")
]
LISTS = "Catalog and checks"
STEERED = "Priors of texts and classes"
UNCERTAIN = 8  # samples that --uncertainty draws where --samples does not say
FILE = "A file, FILE-1, FILE-2 and so on of several samples; a folder/; or - for standard output."
DEVIATION = f"Also write the deviation of the samples, {UNCERTAIN} where --samples does not say."


def _shared(kind: Any, *names: str, help: str) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, rich_help_panel="Output")]


SHARED: dict[str, tuple[Any, Any]] = {
    "output": (_shared(str | None, "-o", "--output", help=FILE), None),
    "force": (_shared(bool, "--force", help="Overwrite what is there."), False),
    "compare": (
        _shared(bool, "--compare", help="Also write before and after side by side."),
        False,
    ),
    "uncertainty": (
        _shared(bool, "--uncertainty", help=DEVIATION),
        False,
    ),
    "json": (_shared(bool, "--json", help="Print a line of JSON a file."), False),
    "quiet": (_shared(bool, "-q", "--quiet", help="No progress bar."), False),
}


def main() -> None:
    """Run the command line; exit with 0, with 1 if a file failed, with 2 for wrong usage."""
    warnings.showwarning = _warn  # type: ignore[assignment]
    for function in catalog.functions().values():
        app.command(_word(function), help=_purpose(function))(_command(function))
    app.registered_commands.sort(key=lambda command: command.rich_help_panel == LISTS)
    app()


def _word(function: Callable[..., Any]) -> str:
    """Return the command of a task: its function's name, where its module says no other."""
    return str(getattr(import_module(function.__module__), "COMMAND", function.__name__))


def _purpose(function: Callable[..., Any]) -> str:
    """Return the first paragraph of a task's docstring, as text."""
    return inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("``", "")


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"diffprior: {message}", file=sys.stderr)


def _command(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a command of the task's own parameters and the shared ones."""
    own = parameters(function)
    options = {
        name: (_option(name, parameter.annotation), parameter.default)
        for name, parameter in own.items()
        if get_origin(parameter.annotation) is Annotated
    }
    inputs = {"image": IMAGES, "y": NUMBERS}
    given = next((inputs[name] for name in own if name in inputs), None)
    has = {"compare": given is IMAGES, "uncertainty": "samples" in own}
    shared = {k: v for k, v in SHARED.items() if has.get(k, True)}

    def command(context: typer.Context, **given: Any) -> None:
        images = given.pop("images", None)
        common = Options(**{k: given.pop(k, False) for k in SHARED})
        said = context.get_parameter_source("samples")
        if common.uncertainty and given["samples"] == 1 and said and said.name == "DEFAULT":
            given["samples"] = UNCERTAIN
        raise typer.Exit(run(function, images, given, common))

    empty = inspect.Parameter.empty
    made = [_parameter("context", typer.Context, empty)]
    made += [_parameter("images", given, empty)] if given is not None else []
    made += [_parameter(k, *v) for k, v in {**options, **shared}.items()]
    command.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in made}
    return command


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _option(name: str, hint: Any) -> Any:
    """Return a typer annotation for a task's: paths for images, text for what text can build."""
    base, note = get_args(hint)
    shared = PARAMETERS.get(name)
    panel = STEERED if shared is not None and shared.panel == "prior" else None
    old = [key for key, new in RENAMED.items() if new == name]
    flags = [f"--{key.replace('_', '-')}" for key in (name, *old)] if old else []
    if not isinstance(note, str):
        return Annotated[Path | None, typer.Option(*flags, help=note.help, rich_help_panel=panel)]
    plain = (bool, int, float, int | None, float | None)
    kind = base if base in plain else str | None
    return Annotated[kind, typer.Option(*flags, help=note, rich_help_panel=panel)]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"diffprior {__version__}")
        raise typer.Exit


def _list(kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name in catalog.names(kind):
        thing = catalog.find(name, (kind,))
        table.add_row(_word(thing) if kind == "tasks" else name, catalog.summary(thing))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


@app.command("methods", help="List the methods.", rich_help_panel=LISTS)
def _methods() -> None:
    _list("methods")


@app.command("samplers", help="List the samplers.", rich_help_panel=LISTS)
def _samplers() -> None:
    _list("samplers")


@app.command("inversions", help="List the inversions that edits start from.", rich_help_panel=LISTS)
def _inversions() -> None:
    _list("inversions")


@app.command(
    "attentions", help="List what an edit of a prompt may take over.", rich_help_panel=LISTS
)
def _attentions() -> None:
    _list("attention")


@app.command("tasks", help="List the tasks.", rich_help_panel=LISTS)
def _tasks() -> None:
    _list("tasks")


@app.command(
    "priors",
    help="List the shipped priors, and the kinds that can be opened.",
    rich_help_panel=LISTS,
)
def _priors() -> None:
    for name, folder in import_module("diffprior.pretrained.load").shipped().items():
        card = (folder / "MODEL_CARD.md").read_text().splitlines()
        print(f"{name}  shipped: {next(x for x in card if x and not x.startswith(('#', '-')))}")
    _list("priors")


app.command("certify", rich_help_panel=LISTS)(evaluation.certify)


def parameters(task: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a task, with their hints, and each key of ``Asked`` as one."""
    hints, found = get_type_hints(task, include_extras=True), dict[str, inspect.Parameter]()
    for name, own in inspect.signature(task).parameters.items():
        if own.kind is not own.VAR_KEYWORD:
            found[name] = own.replace(annotation=hints[name])
            continue
        (keys,) = get_args(hints[name])
        for key, hint in get_type_hints(keys, include_extras=True).items():
            default = False if get_args(hint)[0] is bool else None
            found[key] = inspect.Parameter(key, own.KEYWORD_ONLY, default=default, annotation=hint)
    return found
