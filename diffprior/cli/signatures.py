"""The signature of a task, read for the command line."""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .specs import EDIT, EVALUATE, RESTORE, Command, Inputs, Kind, Option

__all__ = ["describe", "describe_mounted", "parameters"]

CONDITIONED = "Text-to-image and class-conditional priors"
INPUTS: dict[str | None, Inputs] = {
    "image": "images",
    "numbers": "numbers",
    "y": "numbers",  # the parameter of a task without a record
}
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
    conditioned = _condition_names()
    options = (_option(name, p, name in conditioned) for name, p in annotated.items())
    record = getattr(task, "task", None)
    if record is not None:
        name = record.command
        panel = RESTORE if record.group == "restore" else EDIT
        inputs = INPUTS.get(record.input)
    else:
        name = getattr(import_module(task.__module__), "COMMAND", task.__name__)
        panel = RESTORE if "method" in known else EDIT
        inputs = next((INPUTS[name] for name in known if name in INPUTS), None)
    return Command(
        name=name,
        module=task.__module__,
        function=task.__name__,
        help=_purpose(task),
        panel=panel,
        inputs=inputs,
        options=tuple(options),
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


def _condition_names() -> frozenset[str]:
    """Return the parameters about texts, classes and added weights, which have their own panel."""
    if find_spec("diffprior.runtime.parameters"):
        shared = import_module("diffprior.runtime.parameters").PARAMETERS
        return frozenset(name for name, p in shared.items() if p.panel == "prior")
    settings = import_module("diffprior.runtime.conditions").PriorSettings
    return frozenset(settings.__annotations__)


def _option(name: str, parameter: inspect.Parameter, is_conditioned: bool) -> Option:
    """Return the option of an annotated parameter.

    A note that is more than a text marks an image, which is a path here. What has no literal on a
    command line, such as a method, is a text.
    """
    base, note = get_args(parameter.annotation)[:2]
    is_image = not isinstance(note, str)
    required = parameter.default is parameter.empty
    return Option(
        name=name,
        kind="path" if is_image else KINDS.get(base, "text"),
        required=required,
        default=None if required else parameter.default,
        help=note.help if is_image else note,
        panel=CONDITIONED if is_conditioned else None,
    )
