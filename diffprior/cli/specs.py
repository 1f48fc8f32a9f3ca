"""What the command line shows of each command, as data that is read without importing the work.

The file ``index.json`` is generated from the signatures of the tasks by
``scripts/generate_index.py``.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from .. import catalog

__all__ = ["EVALUATE", "EDIT", "INDEX", "INSPECT", "RESTORE", "Command", "Option", "commands"]

INDEX = Path(__file__).with_name("index.json")
RESTORE, EDIT, INSPECT, EVALUATE = "Restore", "Edit", "Inspect", "Evaluate"  # panels of the help

Kind = Literal["flag", "int", "float", "text", "path"]
Inputs = Literal["images", "numbers"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a task.

    Attributes:
        name: The parameter of the task's function.
        kind: What its value is. A ``path`` is read as an image before the task is called.
        required: Whether the option must be set. If not, ``default`` is its value.
        help: The line of the help page.
        panel: The panel of the help page, None for the first one.
    """

    name: str
    kind: Kind
    required: bool
    default: bool | int | float | str | None
    help: str
    panel: str | None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command and where its function is defined.

    Attributes:
        name: The word on the command line.
        module, function: Where the function is.
        help: The first paragraph of its docstring.
        panel: The panel of the root's help page.
        inputs: What the files hold that a task reads, None if it reads none.
        options: The options of a task; None for a function that has typer annotations itself.
    """

    name: str
    module: str
    function: str
    help: str
    panel: str
    inputs: Inputs | None = None
    options: tuple[Option, ...] | None = None

    def load(self) -> Any:
        """Return the function itself."""
        return getattr(import_module(self.module), self.function)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of the index."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Command":
        """Return the command of an entry of the index."""
        options = entry["options"]
        parsed = None if options is None else tuple(Option(**option) for option in options)
        return cls(**entry | {"options": parsed})


@cache
def commands() -> dict[str, Command]:
    """Return all commands that do work, by name.

    The folder of the tasks is the registry. A task that is not in the index yet is imported and
    read from its signature.
    """
    entries = json.loads(INDEX.read_text(encoding="utf-8"))
    commands = [Command.from_dict(entry) for entry in entries]
    modules = [f"diffprior.tasks.{name}" for name in catalog.names("tasks")]
    indexed = [c for c in commands if c.options is None or c.module in modules]
    missing = [m for m in modules if m not in {c.module for c in indexed}]
    if missing:
        from .signatures import describe

        functions = (catalog.find(m.rpartition(".")[2], ("tasks",)) for m in missing)
        indexed += [describe(function) for function in functions]
    return {command.name: command for command in indexed}
