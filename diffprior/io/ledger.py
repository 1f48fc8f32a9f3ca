"""Rows of a long run in one file: a run that was stopped goes on where it was."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Ledger", "Row", "read_rows"]

Row = dict[str, Any]


class Ledger:
    """A file of rows. Each row is written as it comes, and read again when the file is opened.

    The suffix of the file selects its format. In a ``.csv`` file all values are text, and an empty
    text stands for a missing value. In a ``.jsonl`` file each line is a JSON object.

    A process that is killed may leave its last line without an end. That line is removed when the
    file is opened again, so its row counts as missing.

    Arguments:
        path: The file. It is created, with its folders, if it does not exist.
        fields: Columns of a CSV file. A row with further columns adds them to the file.
        keys: Number of fields, from the first on, that identify a row.

    Attributes:
        rows: All rows, in the order of the file.
    """

    def __init__(self, path: Path, fields: Sequence[str] = (), keys: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        self.path = path
        self.keys = tuple(fields[:keys])
        self.rows = read_rows(path)
        self.fields = list(self.rows[0]) if self._is_csv and self.rows else list(fields)
        if self._is_csv and self.fields and not self.rows:
            self._rewrite()

    def __contains__(self, key: Sequence[object]) -> bool:
        wanted = tuple(map(str, key))
        return any(tuple(str(row[k]) for k in self.keys) == wanted for row in self.rows)

    def add(self, row: Row) -> Row:
        """Write a row, and return it as it was written."""
        if not self._is_csv:
            self._append(json.dumps(row) + "\n")
            self.rows.append(row)
            return row
        added = [name for name in row if name not in self.fields]
        self.fields += added
        text = {name: str(row.get(name, "")) for name in self.fields}
        self.rows.append(text)
        if added:
            self._rewrite()
        else:
            with self.path.open("a", newline="") as file:
                self._writer(file).writerow(text)
        return text

    @property
    def _is_csv(self) -> bool:
        return self.path.suffix == ".csv"

    def _append(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def _rewrite(self) -> None:
        """Write the whole CSV file anew; a kill leaves the old one."""
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("w", newline="") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(self.rows)
        part.replace(self.path)

    def _writer(self, file: Any) -> "csv.DictWriter[str]":
        return csv.DictWriter(file, self.fields, restval="", lineterminator="\n")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a ``.csv`` or a ``.jsonl`` file; none if the file does not exist.

    A last line without an end is left out: another process may still be writing it.
    """
    text = path.read_text() if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].split("\n")[:-1]
    return list(csv.DictReader(lines)) if path.suffix == ".csv" else [*map(json.loads, lines)]
