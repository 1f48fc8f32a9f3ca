"""What the command line shows of each command, as data."""

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal

__all__ = ["EVALUATE", "EDIT", "INSPECT", "RESTORE", "SERVE", "Command", "Option"]

RESTORE, EDIT, INSPECT, EVALUATE = "Restore", "Edit", "Inspect", "Evaluate"  # panels of the help
SERVE = "Serve"

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
        several: Whether it may be given several times; a ``path`` of a folder is all images in it.
    """

    name: str
    kind: Kind
    required: bool
    default: bool | int | float | str | None
    help: str
    panel: str | None
    several: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command and where its function is defined.

    Attributes:
        name: The word on the command line.
        module, function: Where the function is.
        help: The first paragraph of its docstring.
        panel: The panel of the root's help page.
        inputs: What the files hold that a task reads, None if it reads none.
        past: The word in the names of results; None for a command that writes none.
        options: The options of a task; None for a function that has typer annotations itself.
        example: A whole command, from the docstring; None for a command that has none.
    """

    name: str
    module: str
    function: str
    help: str
    panel: str
    inputs: Inputs | None = None
    past: str | None = None
    options: tuple[Option, ...] | None = None
    example: str | None = None

    @property
    def about(self) -> str:
        """What the command is for, with its example."""
        return self.help if self.example is None else f"{self.help}\n\n{self.example}"

    def load(self) -> Any:
        """Return the function itself."""
        return getattr(import_module(self.module), self.function)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of the index, which leaves out what few options have."""
        entry = asdict(self)
        for option in entry["options"] or ():
            if not option["several"]:
                del option["several"]
        return entry

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Command":
        """Return the command of an entry of the index."""
        options = entry["options"]
        parsed = None if options is None else tuple(Option(**option) for option in options)
        return cls(**entry | {"options": parsed})
