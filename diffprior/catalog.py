"""The folders are the registry: a name is a module, and its first public name the thing."""

import ast
import difflib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from .errors import CatalogError, SettingError
from .validation import ANYWHERE, Checked, check

__all__ = ["SettingError", "build", "find", "functions", "names", "summary"]

KINDS = ("tasks", "methods", "samplers", "inversions", "attention", "operators", "priors")
ALIASES = {  # names of earlier versions
    "grey": "gray",
    "adm": "network",
    "diffusers": "network",
    "edm": "network",
    "labelled": "network",
    "prompted": "text",
}


def names(kind: str) -> list[str]:
    """Return the names of a kind: one of ``KINDS``."""
    if kind not in KINDS:
        raise CatalogError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    package = import_module(f"diffprior.{kind}")
    modules = (m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg)
    return sorted(name for name in modules if name != "base" and not name.startswith("_"))


def find(name: str, kinds: Sequence[str] = KINDS) -> Any:
    """Return the class, or the task's function, of this name."""
    name = ALIASES.get(name, name)
    for kind in kinds:
        if name in names(kind):
            module = import_module(f"diffprior.{kind}.{name}")
            return getattr(module, module.__all__[0])
    known = [name for kind in kinds for name in names(kind)]
    near = difflib.get_close_matches(name, known, 3, 0.4) or known
    what = kinds[0].removesuffix("s") if len(kinds) == 1 else "name"
    raise CatalogError(f"no {what} {name!r}; the nearest are {', '.join(near)}")


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions of all tasks, by their own names."""
    found = (find(name, ("tasks",)) for name in names("tasks"))
    return {function.__name__: function for function in found}


def summary(thing: Any) -> str:
    """Return the first line of the docstring of the module that a thing lives in."""
    return (import_module(thing.__module__).__doc__ or "").strip().splitlines()[0]


def build(text: str, kinds: Sequence[str] = ("methods", "samplers")) -> Any:
    """Build ``"mmps(iterations=5, sampler=ddim(steps=50))"``: names and literals.

    Arguments:
        text: A name, with settings or without. Settings are named, and may be built in turn.
        kinds: Where the outermost name is looked for.
    """
    try:
        node = ast.parse(str(text).strip(), mode="eval").body
    except SyntaxError:
        node = None
    if not isinstance(node, ast.Name | ast.Call):
        raise CatalogError(f"cannot read {text!r}; write a name, or name(setting=value)")
    return _value(node, kinds)


def _value(node: ast.expr, kinds: Sequence[str]) -> Any:
    if isinstance(node, ast.Name):
        return _make(node.id, {}, kinds)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args or any(k.arg is None for k in node.keywords):
            raise CatalogError(f"settings of {node.func.id} are named, as in {node.func.id}(a=1)")
        given = [str(k.arg) for k in node.keywords]
        if twice := [setting for setting in set(given) if given.count(setting) > 1]:
            raise CatalogError(f"{node.func.id} is given its setting {twice[0]!r} twice")
        settings = {str(k.arg): _value(k.value, ("methods", "samplers")) for k in node.keywords}
        return _make(node.func.id, settings, kinds)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CatalogError(
            f"cannot read {ast.unparse(node)!r}; write a name or a literal"
        ) from None


def _make(name: str, settings: dict[str, Any], kinds: Sequence[str]) -> Any:
    thing = find(name, kinds)
    known = inspect.signature(thing).parameters
    for setting, value in settings.items():
        if setting not in known:
            raise CatalogError(f"{name} has no setting {setting!r}; it has {', '.join(known)}")
        if not issubclass(thing, Checked) and known[setting].annotation is not Tensor:
            check(f"{setting} of {name}", value, known[setting].annotation, ANYWHERE)
    for wanted in known.values():
        if wanted.default is wanted.empty:
            _demand(name, wanted, settings)
    try:
        return thing(**settings)
    except SettingError:
        raise
    except ValueError as error:
        raise CatalogError(str(error)) from error
    except TypeError as error:
        raise CatalogError(f"{name} cannot be built: {error}") from error


def _demand(name: str, wanted: inspect.Parameter, settings: dict[str, Any]) -> None:
    """Refuse to go without a setting that has no default, or with one that no text can say."""
    if wanted.annotation in (Any, Tensor):
        raise CatalogError(f"{name} needs {wanted.name}, which no text can say: build it in Python")
    if wanted.name not in settings:
        raise CatalogError(f"{name} needs {wanted.name}: write {name}({wanted.name}=...)")
