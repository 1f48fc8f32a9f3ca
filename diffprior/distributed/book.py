"""The ledger of a batch: what is done, what failed, and what is left after a stop."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import SettingError
from ..io.ledger import Ledger, Row
from ..validation import shown

__all__ = ["Book", "Entry"]

FIELDS = ("input", "state", "outputs", "seconds", "worker", "error", "warnings")
SETTINGS = ""  # the input of the row that holds the settings

Entry = dict[str, Any]  # a row about an input


class Book:
    """The rows of a batch, one for each input; of one that was tried again the last one counts.

    Arguments:
        path: The file, ``.csv``.
        settings: What the results depend on. A ledger of other settings is refused.

    Raises:
        SettingError: If the file is no ledger, or that of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        if path.suffix != ".csv":
            raise SettingError(f"a ledger is a .csv file, got {shown(path)}")
        self.path = path
        self.is_new = not path.exists()
        self._ledger = Ledger(path, FIELDS, 1)
        self._rows: dict[str, Row] = {row["input"]: row for row in self._ledger.rows}
        self._check(json.dumps(settings, sort_keys=True, default=str))

    def _check(self, settings: str) -> None:
        before = self._rows.pop(SETTINGS, None)
        if before is None:
            self.is_new = True
            self._ledger.add({"input": SETTINGS, "state": "settings", "outputs": settings})
        elif before["outputs"] != settings:
            raise SettingError(
                f"{shown(self.path)} is of a batch with other settings; give the same ones, "
                "another --ledger or another folder"
            )

    def add(self, entry: Entry) -> None:
        """Write what became of an input."""
        self._rows[entry["input"]] = self._ledger.add(entry)

    def count(self, state: Literal["done", "failed"]) -> int:
        """Return how many inputs are in a state."""
        return sum(row["state"] == state for row in self._rows.values())

    def warned(self) -> int:
        """Return of how many inputs there are warnings."""
        return sum(bool(row["warnings"]) for row in self._rows.values())

    def failures(self) -> list[tuple[str, str]]:
        """Return the inputs that failed, and why, in the order of their names."""
        rows = sorted(self._rows.items())
        return [(name, row["error"]) for name, row in rows if row["state"] == "failed"]

    def left(self, names: Iterable[str], written: Iterable[str] = ()) -> list[str]:
        """Return the inputs that are not done. One whose results are gone is done again.

        Arguments:
            names: All inputs.
            written: The files that there are among the results.
        """
        there = set(written)
        return [name for name in names if not self._is_done(name, there)]

    def _is_done(self, name: str, there: set[str]) -> bool:
        row = self._rows.get(name)
        if row is None or row["state"] != "done":
            return False
        outputs: Sequence[str] = json.loads(row["outputs"])
        return there.issuperset(outputs)
