"""The signature of a task, read for the command line."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import typer

from ..runtime.parameters import PARAMETERS, FromFile
from ..runtime.signature import TaskFunction
from .specs import EDIT, EVALUATE, RESTORE, Command, Inputs, Kind, Option

__all__ = ["describe", "describe_group", "describe_mounted"]

CONDITIONED = "Text-to-image and class-conditional priors"
INPUTS: dict[str, Inputs] = {"image": "images", "numbers": "numbers"}
KINDS: dict[Any, Kind] = {
    bool: "flag",
    int: "int",
    int | None: "int",
    float: "float",
    float | None: "float",
}


def describe(task: TaskFunction) -> Command:
    """Return the command of a task."""
    record = task.task
    parameters = [  # of which the annotations have the help texts
        p.replace(annotation=task.__annotations__[name])
        for name, p in inspect.signature(task).parameters.items()
    ]
    annotated = [p for p in parameters if get_origin(p.annotation) is Annotated]
    return Command(
        name=record.command,
        module=task.__module__,
        function=task.__name__,
        help=_purpose(task),
        panel=RESTORE if record.group == "restore" else EDIT,
        inputs=None if record.input is None else INPUTS[record.input],
        past=record.past,
        options=tuple(map(_option, annotated)),
        example=_example(task),
    )


def describe_group(module: str, group: typer.Typer, past: str | None = None) -> Command:
    """Return the command of a group of typer; its images may have a word in their names."""
    name, text = str(group.info.name), str(group.info.help)
    return Command(name=name, module=module, function=name, help=text, panel=EDIT, past=past)


def describe_mounted(function: Callable[..., Any], panel: str = EVALUATE) -> Command:
    """Return the command of a function that has typer annotations itself."""
    return Command(
        name=function.__name__,
        module=function.__module__,
        function=function.__name__,
        help=_purpose(function),
        panel=panel,
    )


def _purpose(function: Any) -> str:
    """Return the first paragraph of a docstring, as plain text."""
    paragraph = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0]
    return paragraph.replace("``", "")


def _example(function: Any) -> str | None:
    """Return the command of a docstring, which is a literal block of one line."""
    found = re.search(r"::\n\n +(diffprior .+)", inspect.cleandoc(function.__doc__ or ""))
    return found and found[1]


def _option(parameter: inspect.Parameter) -> Option:
    """Return the option of an annotated parameter.

    An image is a path here, and what has no literal on a command line, such as a method, a text.
    """
    base, note = get_args(parameter.annotation)[:2]
    is_image = isinstance(note, FromFile)
    shared = PARAMETERS.get(parameter.name)
    required = parameter.default is parameter.empty
    return Option(
        name=parameter.name,
        kind="path" if is_image else KINDS.get(base, "text"),
        required=required,
        default=None if required else parameter.default,
        help=note.help if is_image else note,
        panel=CONDITIONED if shared is not None and shared.panel == "prior" else None,
        several=is_image and note.several,
    )
