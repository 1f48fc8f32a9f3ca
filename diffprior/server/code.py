"""The command line, and the Python, that do what a job did."""

import shlex
from collections.abc import Iterator
from typing import Any

from .jobs import Order
from .store import Image, Upload

__all__ = ["as_command", "as_python"]


def as_command(order: Order) -> str:
    """Return the line for a shell, of files in its folder."""
    form = order.form
    words = ["diffprior", form.name]
    if order.source is not None:
        words.append(_file(order.source.name))
    for name, value in _changed(order):
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = value.name if isinstance(value, Upload) else str(value)
            words += [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
    name = order.name(0, 1)
    if order.suffix != _usual(order):
        words += ["-o", _file(name)]
    return shlex.join(words)


def as_python(order: Order) -> str:
    """Return a program that makes the same pixels from files in its folder."""
    form = order.form
    arguments = []
    uploads = []
    if order.source is not None:
        arguments.append("image")
    for name, value in _changed(order):
        if isinstance(value, Image):
            uploads.append(f"{name} = read(Path({value.name!r})).images")
            arguments.append(f"{name}={name}")
        else:
            plain = value.name if isinstance(value, Upload) else value
            arguments.append(f"{name}={plain!r}")
    if order.source is not None and form.command.load().task.ids:
        arguments.append(f"ids=[{order.source.name!r}]")
    lines = ["from pathlib import Path", "", "import diffprior"]
    if isinstance(order.source, Image) or uploads:
        lines.append("from diffprior.io import read")
    elif order.source is not None:
        lines.append("from diffprior.io.numbers import read")
    lines.append("")
    if isinstance(order.source, Image):
        lines.append(f"image = read(Path({order.source.name!r})).images")
    elif order.source is not None:
        lines.append(f"image = read(Path({order.source.name!r})).array")
    lines += uploads
    call = f"diffprior.{form.command.function}"
    lines.append(f"result = {call}({', '.join(arguments)})")
    lines.append("print(result)  # result.image holds the pixels, result.report how it was made")
    return "\n".join(lines) + "\n"


def _changed(order: Order) -> Iterator[tuple[str, Any]]:
    """Yield the settings that differ from their defaults, in the order of the task."""
    for option in order.form.command.options or ():
        if option.name in order.given and order.given[option.name] != option.default:
            yield option.name, order.given[option.name]


def _usual(order: Order) -> str:
    """Return the suffix that the command line gives a result."""
    suffix = order.form.command.load().task.suffix
    return ".png" if suffix is None else str(suffix)


def _file(name: str) -> str:
    """Return the name of a file as a word that is no option."""
    return f"./{name}" if name.startswith("-") else name
