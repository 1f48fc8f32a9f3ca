"""The signature of a task, read for the command line."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..runtime.conditions import FromFile, PriorSettings
from .specs import EDIT, EVALUATE, RESTORE, Command, Inputs, Kind, Option

__all__ = ["describe", "describe_mounted", "parameters"]

CONDITIONED = "Text-to-image and class-conditional priors"
INPUTS: dict[str, Inputs] = {"image": "images", "y": "numbers"}
KINDS: dict[Any, Kind] = {
    bool: "flag",
    int: "int",
    int | None: "int",
    float: "float",
    float | None: "float",
}


def describe(task: Callable[..., Any]) -> Command:
    """Return the command of a task."""
    known = parameters(task)
    annotated = {k: p for k, p in known.items() if get_origin(p.annotation) is Annotated}
    return Command(
        name=str(getattr(import_module(task.__module__), "COMMAND", task.__name__)),
        module=task.__module__,
        function=task.__name__,
        help=_purpose(task),
        panel=RESTORE if "method" in known else EDIT,
        inputs=next((INPUTS[name] for name in known if name in INPUTS), None),
        options=tuple(_option(name, parameter) for name, parameter in annotated.items()),
    )


def describe_mounted(function: Callable[..., Any]) -> Command:
    """Return the command of a function that has typer annotations itself."""
    return Command(
        name=function.__name__,
        module=function.__module__,
        function=function.__name__,
        help=_purpose(function),
        panel=EVALUATE,
    )


def parameters(task: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a task with their hints; keyword dictionaries are expanded."""
    hints = get_type_hints(task, include_extras=True)
    found: dict[str, inspect.Parameter] = {}
    for name, own in inspect.signature(task).parameters.items():
        if own.kind is not own.VAR_KEYWORD:
            found[name] = own.replace(annotation=hints[name])
            continue
        (keys,) = get_args(hints[name])
        for key, hint in get_type_hints(keys, include_extras=True).items():
            default = False if get_args(hint)[0] is bool else None
            found[key] = inspect.Parameter(key, own.KEYWORD_ONLY, default=default, annotation=hint)
    return found


def _purpose(function: Callable[..., Any]) -> str:
    """Return the first paragraph of a docstring, as plain text."""
    paragraph = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0]
    return paragraph.replace("``", "")


def _option(name: str, parameter: inspect.Parameter) -> Option:
    """Return the option of an annotated parameter.

    Images are paths; what has no literal on a command line, such as a method, is a text.
    """
    base, note = get_args(parameter.annotation)[:2]
    required = parameter.default is parameter.empty
    is_image = isinstance(note, FromFile)
    return Option(
        name=name,
        kind="path" if is_image else KINDS.get(base, "text"),
        required=required,
        default=None if required else parameter.default,
        help=note.help if is_image else str(note),
        panel=CONDITIONED if name in PriorSettings.__annotations__ else None,
    )
