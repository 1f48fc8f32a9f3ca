"""Tables of results: means of rows, written as markdown."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from ..io.ledger import Row
from ..validation import shown

__all__ = ["markdown", "mean", "numbers", "plain", "table", "unique"]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as markdown, without a line break at its end."""
    text: str = tabulate(lines, head, tablefmt="github", disable_numparse=True)
    return text


def unique(rows: Sequence[Row], field: str) -> list[str]:
    """Return the different values of a field, in the order of the rows."""
    return list(dict.fromkeys(row[field] for row in rows))


def numbers(rows: Sequence[Row], field: str) -> list[float]:
    """Return the numbers of a field; empty and "n/a" values are left out."""
    return [float(row[field]) for row in rows if row[field] not in ("", "n/a", None)]


def mean(rows: Sequence[Row], field: str) -> float:
    """Return the mean of a field over the rows that hold a number; NaN if none does."""
    values = numbers(rows, field)
    return math.fsum(values) / len(values) if values else math.nan


def table(
    rows: Sequence[Row], field: str, *, down: str, across: Sequence[str], form: str = ".2f"
) -> list[list[str]]:
    """Return the means of a field as a table of text, "n/a" where there is no number.

    Arguments:
        rows: Rows with the fields ``down``, ``across[0]`` and ``field``.
        field: Field to average.
        down: Field whose values name the lines.
        across: Field whose values name the columns, then these values in order.
        form: Format of a mean.

    Returns:
        The head, then one line for each value of ``down``. The last column is the number of rows.
    """
    key, *places = across
    lines = [[down, *places, "n"]]
    for name in unique(rows, down):
        own = [row for row in rows if row[down] == name]
        cells = []
        for place in places:
            part = [row for row in own if row[key] == place]
            cells.append(f"{mean(part, field):{form}}" if numbers(part, field) else "n/a")
        lines.append([name, *cells, str(len(own))])
    return lines


def plain(text: str) -> str:
    """Return a text of one or more lines without signs that a terminal obeys or hides."""
    lines = text.split("\n")
    return "\n".join(x if x.isprintable() else shown(x, 10 * len(x)) for x in lines)
