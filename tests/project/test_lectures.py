"""Every file, test and page that the table of the lectures names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/lectures.md").read_text(encoding="utf-8")
HERE = PAGE.partition("## What is not here")[0].partition("## Processes")[2]
TESTS = sorted(set(re.findall(r"`(\w+/\S+\.py)(?:::(\w+))?`", PAGE)))
PROOFS = [(file, name) for file, name in TESTS if Path(file).name.startswith("test_")]
PLACES = sorted(set(re.findall(r"`(\w+(?:/\w+)*(?:/|\.py))`", HERE)) - {file for file, _ in PROOFS})


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_there(place: str) -> None:
    assert (ROOT / "diffprior" / place).exists()


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_proof_is_there(file: str, name: str) -> None:
    assert functions(file) >= ({name} if name else set())


def test_each_row_of_what_is_here_names_a_place_and_a_proof() -> None:
    rows = [
        line for line in HERE.splitlines() if line.startswith("| ") and "| lecture |" not in line
    ]
    assert len(rows) > 70
    for row in rows:
        _, what, letters, place, proof, _ = row.split("|")
        assert what.strip() and set(letters) <= set("ABCDE, al") and "`" in place
        assert "test_" in proof
