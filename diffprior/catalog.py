"""The folders are the registry: a name is a module, and its first public name is the thing."""

import ast
import difflib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from operator import matmul
from pathlib import Path
from typing import Any

from .errors import CatalogError, SettingError
from .validation import ANYWHERE, Checked, check, literal, shown

__all__ = [
    "KINDS",
    "SettingError",
    "build",
    "find",
    "functions",
    "names",
    "shipped_priors",
    "spell",
    "summaries",
    "summary",
]

KINDS = (
    "tasks",
    "methods",
    "samplers",
    "inversions",
    "attention",
    "operators",
    "priors",
    "objectives",
    "architectures",
)
BUILT = ("methods", "samplers")  # the kinds that a setting may name
ALIASES = {  # names of earlier versions
    "grey": "gray",
    "adm": "network",
    "diffusers": "network",
    "edm": "network",
    "labelled": "network",
    "prompted": "text",
}

LONGEST = 4000  # characters of a text
DEEPEST = 60  # levels of its syntax tree; a name in a name takes two

Resolve = Callable[[Any, dict[str, Any]], dict[str, Any]]


def names(kind: str) -> list[str]:
    """Return the names of a kind, in order. No module of the kind is imported.

    Arguments:
        kind: One of ``KINDS``.

    Raises:
        CatalogError: If there is no such kind.
    """
    if kind not in KINDS:
        raise CatalogError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    spec = find_spec(f"diffprior.{kind}")
    folders = (spec.submodule_search_locations if spec else None) or []
    modules = (m.name for m in pkgutil.iter_modules(folders) if not m.ispkg)
    return sorted(name for name in modules if name != "base" and not name.startswith("_"))


def find(name: str, kinds: Sequence[str] = KINDS) -> Any:
    """Return the class, or the function of the task, that has this name.

    Arguments:
        name: The name of a module.
        kinds: The kinds that are searched, in this order.

    Raises:
        CatalogError: If none of the kinds has the name; the message lists the nearest names.
    """
    if not any(name in names(kind) for kind in kinds):
        name = ALIASES.get(name, name)
    for kind in kinds:
        if name in names(kind):
            module = import_module(f"diffprior.{kind}.{name}")
            return getattr(module, module.__all__[0])
    known = [name for kind in kinds for name in names(kind)]
    near = difflib.get_close_matches(name, known, 3, 0.4) or known
    what = kinds[0].removesuffix("s") if len(kinds) == 1 else "name"
    quoted = literal(name)
    raise CatalogError(f"no {what} {quoted}; the nearest are {shown(', '.join(near), 180)}")


def functions() -> dict[str, Any]:
    """Return the functions of all tasks, by their own names."""
    tasks = (find(name, ("tasks",)) for name in names("tasks"))
    return {function.__name__: function for function in tasks}


def summary(thing: Any) -> str:
    """Return the first line of the docstring of the module that defines a thing."""
    return _first_line(import_module(thing.__module__).__doc__)


def summaries(kind: str) -> dict[str, str]:
    """Return the names of a kind, each with the first line of its module's docstring.

    The sources are read, and none of them is imported.
    """
    return {name: _first_line(_docstring(f"diffprior.{kind}.{name}")) for name in names(kind)}


def shipped_priors() -> dict[str, Path]:
    """Return the folders of the priors that come with the package, by name."""
    weights = Path(__file__).parent / "priors" / "weights"
    return {config.parent.name: config.parent for config in sorted(weights.glob("*/config.json"))}


def _docstring(module: str) -> str | None:
    """Return the docstring of a module that is not imported for it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


def _first_line(docstring: str | None) -> str:
    return next(iter((docstring or "").strip().splitlines()), "")


def build(text: str, kinds: Sequence[str] = BUILT, resolve: Resolve | None = None) -> Any:
    """Build a thing from its text, such as ``"mmps(iterations=5, sampler=ddim(steps=50))"``.

    A text is a name, with or without settings. Settings are named; each is a Python literal, or
    the text of a method or a sampler. ``"decimate(factor=4) @ blur(kernel='gaussian:2')"`` is
    a composition of operators: the one on the right is applied first.

    Arguments:
        text: The text.
        kinds: The kinds in which the outermost name is searched.
        resolve: A function of the class and its settings that returns the settings to build it
            with, such as tensors for the names of files. It is called from left to right.

    Raises:
        CatalogError: If the text cannot be read, or names something that does not exist.
        SettingError: If a setting cannot have its value.
    """
    node = _parsed(str(text).strip())
    if isinstance(node, ast.Name | ast.Call):
        return _value(node, kinds, resolve)
    if isinstance(node, ast.BinOp) and _is_composition(node, kinds):
        return _compose(node, kinds, resolve)
    what = literal(text, 100)
    raise CatalogError(f"cannot read {what}; write a name, or name(setting=value)")


def _parsed(text: str) -> ast.expr | None:
    """Return the syntax tree of a text, or None if it has none."""
    if len(text) > LONGEST:
        raise CatalogError(f"a text has {LONGEST} characters at most, got {len(text)}")
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    level: list[ast.AST] = [node]
    for _ in range(DEEPEST):
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
        if not level:
            return node
    raise CatalogError(f"a text is nested {DEEPEST // 2} times at most, as in name(a=name(b=1))")


def spell(thing: Any) -> str:
    """Return the text from which ``build`` makes this thing.

    Arguments:
        thing: A literal, or a dataclass of a registry folder.
    """
    if not is_dataclass(thing):
        return repr(thing)
    settings = ", ".join(f"{f.name}={spell(getattr(thing, f.name))}" for f in fields(thing))
    return f"{type(thing).__module__.rpartition('.')[2]}({settings})"


def _is_composition(node: ast.BinOp, kinds: Sequence[str]) -> bool:
    """Return whether this is ``a @ b``, where operators are built."""
    return isinstance(node.op, ast.MatMult) and "operators" in kinds


def _compose(node: ast.BinOp, kinds: Sequence[str], resolve: Resolve | None) -> Any:
    """Return the composition of two operators, each of which may be one in turn."""
    outer, inner = (build(ast.unparse(side), kinds, resolve) for side in (node.left, node.right))
    try:
        return matmul(outer, inner)
    except (TypeError, ValueError) as error:
        what = literal(ast.unparse(node), 80)
        raise CatalogError(f"cannot compose {what}: {error}") from error


def _value(node: ast.expr, kinds: Sequence[str], resolve: Resolve | None) -> Any:
    """Return what a part of a text stands for: a thing that is built, or a literal."""
    if isinstance(node, ast.Name):
        return _make(node.id, {}, kinds, resolve)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args or any(k.arg is None for k in node.keywords):
            name = shown(node.func.id, 60)
            raise CatalogError(f"settings of {name} are named, as in {name}(a=1)")
        settings = [str(k.arg) for k in node.keywords]
        if twice := [setting for setting in set(settings) if settings.count(setting) > 1]:
            setting = literal(twice[0])
            raise CatalogError(f"{shown(node.func.id, 60)} is given its setting {setting} twice")
        values = {str(k.arg): _value(k.value, BUILT, resolve) for k in node.keywords}
        return _make(node.func.id, values, kinds, resolve)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        what = literal(ast.unparse(node))
        raise CatalogError(f"cannot read {what}; write a name or a literal") from None
    if isinstance(value, int) and abs(value) >= 2**63:
        raise CatalogError(f"a number in a text is below 2^63, got {shown(value, 40)}")
    return value


def _make(
    name: str, settings: dict[str, Any], kinds: Sequence[str], resolve: Resolve | None
) -> Any:
    """Return the thing of this name with these settings."""
    thing = find(name, kinds)
    if resolve is not None:
        settings = resolve(thing, settings)
    known = inspect.signature(thing).parameters
    for setting, value in settings.items():
        if setting not in known:
            raise CatalogError(_unknown_setting(name, setting, list(known)))
        if not issubclass(thing, Checked) and not _is_tensor(known[setting].annotation):
            check(f"{setting} of {name}", value, known[setting].annotation, ANYWHERE)
    for parameter in known.values():
        if parameter.default is parameter.empty:
            _check_required(name, parameter, settings)
    return _call(name, thing, settings)


def _call(name: str, thing: Any, settings: dict[str, Any]) -> Any:
    """Return the thing, or raise the error of this module that says why it cannot be built."""
    try:
        return thing(**settings)
    except SettingError:
        raise
    except ValueError as error:
        raise CatalogError(str(error)) from error
    except TypeError as error:
        raise CatalogError(f"{name} cannot be built: {error}") from error
    except (ArithmeticError, RuntimeError, MemoryError) as error:  # of torch, on huge numbers
        raise CatalogError(f"{name} cannot be built with these numbers: {error}") from error


def _unknown_setting(name: str, setting: str, known: Sequence[str]) -> str:
    """Return the sentence about a setting that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(setting, known, 1)
    advice = f"; did you mean {near[0]}?" if near else ""
    has = shown(", ".join(known), 160)
    return f"{name} has no setting {literal(setting, 40)}; it has {has}{advice}"


def _check_required(name: str, parameter: inspect.Parameter, settings: dict[str, Any]) -> None:
    """Check that a setting without a default is there, and that it is no literal of a tensor."""
    is_built = _is_tensor(type(settings.get(parameter.name)))
    if not is_built and (parameter.annotation is Any or _is_tensor(parameter.annotation)):
        raise CatalogError(
            f"{name} needs {parameter.name}, which no text can say: build it in Python"
        )
    if parameter.name not in settings:
        raise CatalogError(f"{name} needs {parameter.name}: write {name}({parameter.name}=...)")


def _is_tensor(annotation: Any) -> bool:
    """Return whether an annotation is ``torch.Tensor``; torch is not imported for the question."""
    return getattr(annotation, "__module__", "") == "torch" and annotation.__name__ == "Tensor"
