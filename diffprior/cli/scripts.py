"""The command line of a script of the repository: what goes wrong is one sentence there too."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from ..errors import SettingError
from ..validation import literal, nearest
from . import commands, process, streams

__all__ = ["chosen", "run"]


def run(script: Callable[..., None] | typer.Typer) -> NoReturn:
    """Run a function with typer annotations, or a group of them, and exit as ``diffprior`` does."""
    if isinstance(script, typer.Typer):
        program = script
    else:
        program = typer.Typer(add_completion=False)
        program.command()(script)

    def work() -> int:
        try:
            return commands.run(program)
        except SettingError as error:
            streams.say(process.describe(error))
            return 2
        except SystemExit as end:
            if isinstance(end.code, str):  # what a script says that cannot go on
                streams.say(end.code)
            raise

    process.run(work)


def chosen(option: str, names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names that an option gives, by default all of the known ones.

    Raises:
        typer.BadParameter: If there is no such name; the message says which is near.
    """
    for name in names or ():
        if name not in known:
            wrong = literal(name)
            raise typer.BadParameter(f"{option} {wrong} is unknown; {nearest(name, known)}")
    return [*dict.fromkeys(names or known)]
