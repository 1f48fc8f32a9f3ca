"""Rows of a long run in one file: a run that was stopped goes on where it was."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..validation import shown, warn
from . import documents

__all__ = ["Ledger", "Row", "read_rows"]

Row = dict[str, Any]
Check = Callable[[Row], object]
LINES = 100  # of one row of a CSV file at most; names of files can hold line ends
BOM = b"\xef\xbb\xbf"  # with which spreadsheets begin a file


class Ledger:
    """A file of rows. Each row is written as it comes, and read again when the file is opened.

    The suffix of the file selects its format. In a ``.csv`` file all values are text, and an empty
    text stands for a missing value. In a ``.jsonl`` file each line is a JSON object.

    A process that is killed may leave its last line without an end. That line is removed when the
    file is opened again, so its row counts as missing. Other damaged lines count as missing too:
    they move to a file of the same name with ``.damaged`` at its end, with a warning. Of rows with
    the same key the last one counts.

    Arguments:
        path: The file. It is created, with its folders, if it does not exist.
        fields: Columns of a CSV file. A row with further columns adds them to the file.
        keys: Number of fields, from the first on, that identify a row.
        check: Raises a ``ValueError`` for a row that cannot be used; it counts as damaged.

    Attributes:
        rows: All rows, in the order of the file.

    Raises:
        SettingError: If the file is no file of such rows; it is left as it is.
    """

    def __init__(
        self, path: Path, fields: Sequence[str] = (), keys: int = 0, check: Check | None = None
    ) -> None:
        documents.make_folder(path.parent)
        self.path = documents.inside(path.parent, path.name)
        self.keys = tuple(fields[:keys])
        content = _read(path, self.keys, check)
        _mend(path, content)
        self.fields = [*dict.fromkeys([*content.columns, *fields])]
        rows = [dict.fromkeys(self.fields, "") | row for row in content.rows]
        self.rows = rows if self._is_csv else content.rows
        if self.keys:
            self.rows = list({self._key(row): row for row in self.rows}.values())
        self._known = {self._key(row) for row in self.rows}
        if self._is_csv and self.fields != content.columns:
            self._rewrite()

    def __contains__(self, key: Sequence[object]) -> bool:
        return tuple(map(str, key)) in self._known

    def add(self, row: Row) -> Row:
        """Write a row, and return it as it was written."""
        if self._is_csv:
            return self._add_text(row)
        self._append(json.dumps(row) + "\n")
        self._keep(row)
        return row

    @property
    def _is_csv(self) -> bool:
        return self.path.suffix == ".csv"

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(str(row[k]) for k in self.keys)

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        self._known.add(self._key(row))

    def _add_text(self, row: Row) -> Row:
        added = [name for name in row if name not in self.fields]
        self.fields += added
        text = {name: str(row.get(name, "")) for name in self.fields}
        self._keep(text)
        if added:
            self._rewrite()
        else:
            self._append(_csv(self.fields, [text]))
        return text

    def _append(self, text: str) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(_encoded(text))
        except OSError as error:
            reason = error.strerror or error
            raise SettingError(f"{shown(self.path)} cannot be written: {reason}") from error

    def _rewrite(self) -> None:
        """Write the whole CSV file anew; a kill leaves the old one."""
        heads = dict(zip(self.fields, self.fields, strict=True))
        documents.write(_encoded(_csv(self.fields, [heads, *self.rows])), self.path)


def read_rows(path: Path, check: Check | None = None) -> list[Row]:
    """Return the rows of a ``.csv`` or a ``.jsonl`` file; none if the file does not exist.

    Damaged lines, and a last line without an end, are left out: another process may still be
    writing it.
    """
    return _read(path, (), check).rows


@dataclass
class _Content:
    """What a file holds: its rows, and its lines as they are.

    Attributes:
        columns: Columns of a CSV file.
        rows: The rows.
        good: The line of the columns, and those of the rows.
        damaged: Lines that are no rows.
        cut: The last line, where it has no end.
    """

    columns: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    good: list[bytes] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)
    cut: bytes = b""


def _read(path: Path, keys: Sequence[str], check: Check | None) -> _Content:
    content = _Content()
    data = documents.read_bytes(path) if path.exists() else b""
    *ended, last = data.split(b"\n")
    lines = [line + b"\n" for line in ended] + ([last] if last else [])
    if path.suffix == ".csv" and lines:
        content.columns = _columns(path, lines.pop(0), keys, content)
    for part, row in _rows(lines, content.columns, check):
        if row is not None:
            content.rows.append(row)
            content.good.append(part)
        elif not part.endswith(b"\n") and (content.columns or part.startswith(b"{")):
            content.cut = part
        else:
            content.damaged.append(part)
    return content


def _columns(path: Path, line: bytes, keys: Sequence[str], content: _Content) -> list[str]:
    """Return the columns that the first line of a CSV file names."""
    columns = _cells(line.removeprefix(BOM)) if line.endswith(b"\n") else []
    if not columns or not {*keys} <= {*columns}:
        names = f" with {', '.join(keys)}" if keys else ""
        raise SettingError(
            f"{shown(path)} does not begin with a line of columns{names}; move it elsewhere, or "
            "choose another folder"
        )
    content.good.append(line)
    return columns


def _rows(
    lines: list[bytes], columns: Sequence[str], check: Check | None
) -> Iterator[tuple[bytes, Row | None]]:
    """Yield the lines of each row with the row, None where they are damaged."""
    i = 0
    while i < len(lines):
        count = _length(lines[i : i + LINES]) if columns else 1
        part = b"".join(lines[i : i + count])
        row = _row(part, columns, check)
        if row is None and count > 1:  # a quote that does not belong there
            count = 1
            part = lines[i]
        i += count
        if part.strip():
            yield part, row


def _length(lines: list[bytes]) -> int:
    """Return the number of lines of the first row of a CSV file, in which each quote is closed."""
    quotes = 0
    for count, line in enumerate(lines, 1):
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            return count
    return 1


def _row(part: bytes, columns: Sequence[str], check: Check | None) -> Row | None:
    """Return the row that lines hold, None if they are damaged or have no end."""
    try:
        if columns:
            cells = _cells(part)
            row = dict(zip(columns, cells, strict=True)) if part.endswith(b"\n") else None
        else:
            row = json.loads(part)
        if not isinstance(row, dict):
            return None
        if check is not None:
            check(row)
    except (ValueError, RecursionError):
        return None
    return row


def _cells(part: bytes) -> list[str]:
    try:
        rows = list(csv.reader(StringIO(part.decode("utf-8", "surrogateescape"), newline="")))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 else []


def _mend(path: Path, content: _Content) -> None:
    """Remove what a kill cut off, and move damaged lines to a file of their own."""
    if content.damaged:
        aside = path.with_name(f"{path.name}.damaged")
        before = documents.read_bytes(aside) if aside.exists() else b""
        documents.write(before + b"".join(map(_ended, content.damaged)), aside)
        count = len(content.damaged)
        lines = "1 damaged line" if count == 1 else f"{count} damaged lines"
        verb = "was" if count == 1 else "were"
        warn(f"{lines} of {shown(path)} {verb} moved to {shown(aside.name)}")
    whole = [_ended(line) for line in content.good]
    if content.damaged or content.cut or whole != content.good:
        documents.write(b"".join(whole), path)


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"


def _csv(fields: Sequence[str], rows: Sequence[Row]) -> str:
    file = StringIO()
    csv.DictWriter(file, fields, restval="", lineterminator="\n").writerows(rows)
    return file.getvalue()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
