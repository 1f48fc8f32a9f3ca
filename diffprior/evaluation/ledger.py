"""The rows of a long run in a CSV file: what is done is never done again."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Ledger", "Row"]

Row = dict[str, str]


class Ledger:
    """Rows, those of a file first, each of them written as it comes.

    A line that a kill left without its end is taken back, and its row is missing again.

    Arguments:
        path: The file, made where there is none.
        fields: Its columns.
        keys: How many of them, from the first on, tell a row from the others.

    Attributes:
        rows: All rows, as text.
    """

    def __init__(self, path: Path, fields: Sequence[str], keys: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self.path, self.fields = path, tuple(fields)
        self.keys = self.fields[:keys]
        self.rows: list[Row] = list(csv.DictReader(whole.splitlines()))
        if not whole:
            self._write(dict(zip(self.fields, self.fields, strict=True)))

    def __contains__(self, key: Sequence[object]) -> bool:
        wanted = tuple(map(str, key))
        return any(tuple(row[k] for k in self.keys) == wanted for row in self.rows)

    def add(self, row: dict[str, Any]) -> Row:
        """Write a row, empty where it has no value, and return it as text."""
        text = {k: str(row.get(k, "")) for k in self.fields}
        self._write(text)
        self.rows.append(text)
        return text

    def _write(self, row: Row) -> None:
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.fields, lineterminator="\n").writerow(row)
