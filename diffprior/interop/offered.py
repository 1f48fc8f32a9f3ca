"""The tasks that other programs offer, with their settings: read from the index, as all forms."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..cli import specs
from ..server.forms import PRIVATE, Field, Form, forms

__all__ = ["NUMBERS", "given", "offered", "settings"]

LEFT_OUT = ("invert",)  # its result is a trajectory, which no image is
MACHINE = "Prior and machine"
NUMBERS: Mapping[str, type[int] | type[float]] = {"int": int, "float": float}


def offered() -> Mapping[str, Form]:
    """Return the tasks, by name, that make images of an image."""
    return {k: f for k, f in forms().items() if f.input == "image" and k not in LEFT_OUT}


def settings(form: Form) -> Sequence[Field]:
    """Return the settings of a task, and those of the machine that it runs on."""
    machine = [o for o in form.command.options or () if o.name in PRIVATE]
    return (*form.fields, *map(_field, machine))


def _field(option: specs.Option) -> Field:
    assert option.kind != "path", "a setting of the machine is no image"
    return Field(
        name=option.name,
        label=option.name.replace("_", " ").capitalize(),
        kind=option.kind,
        required=option.required,
        default=option.default,
        help=option.help,
        group=MACHINE,
        common=False,
    )


def given(form: Form, values: Mapping[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a form that were set.

    Arguments:
        values: What the program sends, by name.
        empty: What its form shows, by kind, where the default of a setting is None.
    """
    known = {field.name: field for field in settings(form)}
    return {
        name: value
        for name, value in values.items()
        if value is not None
        and not (known[name].default is None and value == empty.get(known[name].kind))
    }
