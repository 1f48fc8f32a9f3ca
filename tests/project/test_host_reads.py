"""Where the package takes numbers from a device to the host, which makes a GPU wait.

`host_reads.toml` names each place with its reason, a folder whose whole work is on the host as
`folder/`. tests/devices runs the package on a device that is none, and sees which of them are met.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED: dict[str, str] = tomllib.loads((Path(__file__).parent / "host_reads.toml").read_text())
METHODS = {"item", "cpu", "numpy", "tolist", "nonzero"}  # of a tensor
NUMBERS = {"float", "int", "bool"}
REDUCED = {  # methods of a tensor that return one number of it, as a tensor
    *("any", "all", "max", "min", "amax", "amin", "mean", "sum", "std", "var", "norm", "median"),
    *("prod", "detach", "quantile", "ratio", "time", "schedule", "square", "abs", "argmax"),
}


def files() -> Iterator[Path]:
    for folder in ("diffprior", "tasks"):
        for file in sorted(ROOT.glob(f"{folder}/**/*.py")):
            if not file.is_relative_to(ROOT / "diffprior" / "tasks"):  # a link to tasks
                yield file


def reads(node: ast.AST) -> bool:
    """Return whether a piece of code looks like a tensor that the host reads."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return any(_is_reduced(part) for part in _conditions(node.test))
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in METHODS and not node.args
    if isinstance(node.func, ast.Name) and node.func.id in NUMBERS and node.args:
        return any(_is_reduced(part) for part in ast.walk(node.args[0]))
    return False


def _conditions(test: ast.expr) -> list[ast.expr]:
    if isinstance(test, ast.BoolOp):
        return [part for value in test.values for part in _conditions(value)]
    if isinstance(test, ast.UnaryOp):
        return _conditions(test.operand)
    return [test]


def _is_reduced(node: ast.AST) -> bool:
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_method and node.func.attr in REDUCED  # type: ignore[union-attr,attr-defined]


def places(tree: ast.AST, name: str = "") -> Iterator[str]:
    """Yield the name of the function around each read, such as ``Class.function``."""
    for child in ast.iter_child_nodes(tree):
        scope = isinstance(child, ast.FunctionDef | ast.ClassDef)
        inside = f"{name}.{child.name}".lstrip(".") if scope else name  # type: ignore[attr-defined]
        if reads(child):
            yield inside
        yield from places(child, inside)


def found() -> set[str]:
    hits = set()
    for file in files():
        inside = file.relative_to(ROOT)
        path = str(inside).removeprefix("diffprior/")
        hits |= {f"{path}:{name}" for name in places(ast.parse(file.read_text()))}
    return hits


def entry(place: str) -> str | None:
    """Return the line of the table that explains a place."""
    folders = [line for line in ALLOWED if line.endswith("/") and place.startswith(line)]
    return place if place in ALLOWED else next(iter(folders), None)


def test_each_place_is_explained() -> None:
    unknown = sorted(place for place in found() if entry(place) is None)
    assert not unknown, "\n".join(unknown)


def test_no_line_is_left_over() -> None:
    assert set(ALLOWED) == {entry(place) for place in found()} - {None}
    assert all(why[0].isupper() and why.endswith(".") for why in ALLOWED.values())


@pytest.mark.parametrize(
    ("code", "is_read"),
    [
        ("x.item()", True),
        ("x.detach().cpu()", True),
        ("float(x.mean())", True),
        ("if going.any(): pass", True),
        ("if a and not x.all(): pass", True),
        ("float(text)", False),
        ("x.mean()", False),
        ("table.numpy", False),
        ("any(x for x in y)", False),
    ],
)
def test_what_a_read_looks_like(code: str, is_read: bool) -> None:
    assert bool(list(places(ast.parse(code)))) is is_read
