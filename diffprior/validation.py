"""What a setting may be is its annotation, and it is checked in one place, whoever set it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import SettingError

__all__ = ["ANYWHERE", "Checked", "Positive", "Share", "Whole", "Within", "check"]


@dataclass(frozen=True)
class Within:
    """The ends of the range of a number."""

    low: float
    high: float = math.inf
    above: bool = False  # low itself is left out

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f" in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        if self.low == -math.inf:
            return ""
        return f" above {self.low:g}" if self.above else f" from {self.low:g} on"


ANYWHERE = Within(-math.inf)
USUAL = {int: Within(1), float: Within(0)}  # where an annotation says no more than the kind
Whole = Annotated[int, Within(0)]
Positive = Annotated[float, Within(0, above=True)]
Share = Annotated[float, Within(0, 1)]


class Checked:
    """A dataclass that refuses, in one sentence, settings that are not what its fields say."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, hint in _hints(cls).items():
            check(f"{name} of {cls.__name__}", getattr(self, name), hint)


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def check(name: str, value: Any, hint: Any, within: Within | None = None) -> None:
    """Refuse a value that is none of what a hint allows.

    Arguments:
        within: Where numbers lie of which the hint says nothing; by default ints from 1 on, and
            floats from 0 on.
    """
    kinds = list(_kinds(hint, within))
    if not any(_suits(value, *kind) for kind in kinds):
        accepted = " or ".join(_said(*kind) for kind in kinds)
        raise SettingError(f"{name} is {accepted}, got {value!r}")


def _kinds(hint: Any, within: Within | None = None) -> Iterator[tuple[Any, Within]]:
    """Yield what a hint allows, and where it lies if it is a number."""
    if get_origin(hint) is Annotated:
        yield from _kinds(hint.__origin__, hint.__metadata__[0])
    elif get_origin(hint) in (Union, UnionType):
        for kind in get_args(hint):
            yield from _kinds(kind, within)
    else:
        yield hint, within or USUAL.get(hint, ANYWHERE)


def _suits(value: Any, kind: Any, within: Within) -> bool:
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin is Literal:
        return value in parts
    if kind in USUAL:
        number = isinstance(value, Integral if kind is int else Real)
        return number and not isinstance(value, bool) and math.isfinite(value) and value in within
    if not isinstance(value, origin):
        return False
    if origin is not tuple:
        return True
    pairs = [next(_kinds(part)) for part in parts]
    return len(value) == len(pairs) and all(map(_suits, value, *zip(*pairs, strict=True)))


def _said(kind: Any, within: Within) -> str:
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if kind in USUAL:
        return f"a {'whole ' if kind is int else ''}number{within}"
    if origin is tuple:
        return f"a pair, each {_said(*next(_kinds(parts[0])))}"
    plain = {bool: "True or False", str: "a text", NoneType: "None"}
    return plain.get(origin) or f"a {origin.__name__}"
