"""Every promise of the documentation names a test, and that test exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)


def test_every_row_of_promises_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "tests/" not in line]
    headings = ("| Promise |", "| What |", "| Exit code |", "| 0 |", "| 1 |", "| 2 |", "| 128 ")
    assert [row for row in rows if not row.startswith(headings)] == []
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_of_a_promise_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
