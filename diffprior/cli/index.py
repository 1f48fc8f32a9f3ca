"""The index of the commands, which the help is printed from without importing the work.

``index.json`` is generated from the signatures of the tasks by ``scripts/generate_index.py``.
"""

import json
from functools import cache
from pathlib import Path

from .. import catalog
from .specs import Command

__all__ = ["INDEX", "commands"]

INDEX = Path(__file__).with_name("index.json")


@cache
def commands() -> dict[str, Command]:
    """Return all commands that do work, by name.

    The folder of the tasks is the registry. A task that is not in the index yet is imported and
    read from its signature.
    """
    entries = json.loads(INDEX.read_text(encoding="utf-8"))
    written = [Command.from_dict(entry) for entry in entries]
    modules = [f"diffprior.tasks.{name}" for name in catalog.names("tasks")]
    indexed = [c for c in written if c.options is None or c.module in modules]
    missing = [m for m in modules if m not in {c.module for c in indexed}]
    if missing:
        from .signatures import describe

        functions = (catalog.find(m.rpartition(".")[2], ("tasks",)) for m in missing)
        indexed += [describe(function) for function in functions]
    return {command.name: command for command in indexed}
