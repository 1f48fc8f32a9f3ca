"""Checks of settings against their annotations, old names of keywords, and warnings."""

import difflib
import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import FrameType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import SettingError

__all__ = [
    "ANYWHERE",
    "Checked",
    "Measured",
    "Positive",
    "Share",
    "Whole",
    "Within",
    "check",
    "from_file",
    "literal",
    "nearest",
    "renamed",
    "shown",
    "warn",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Frames that no warning points at: the library's own, and those of decorators around its functions
INSIDE = {__name__.partition(".")[0], "contextlib", "functools", "torch"}


MANY = 1_000_000  # of steps and the like: what is above is a slip that would never end


@dataclass(frozen=True)
class Within:
    """The range of a number.

    Arguments:
        low, high: Its ends.
        above: Whether ``low`` itself is excluded.
        finite: Whether infinity and NaN are excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False
    finite: bool = True

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if MANY <= self.high < math.inf:
            return f" from {self.low:g} to {self.high:.0f}"
        if self.high < math.inf:
            return f" in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        if self.low == -math.inf:
            return ""
        return f" above {self.low:g}" if self.above else f" from {self.low:g} on"


ANYWHERE = Within(-math.inf)
USUAL = {int: Within(1, MANY), float: Within(0)}  # of an annotation without a range
Whole = Annotated[int, Within(0)]
Positive = Annotated[float, Within(0, above=True)]
Share = Annotated[float, Within(0, 1)]
Measured = Annotated[float, Within(-math.inf, finite=False)]  # also of what has no finite value


class Checked:
    """A dataclass whose settings are checked against the annotations of its fields.

    An ``int`` is from 1 to a million and a ``float`` from 0 on; ``Whole``, ``Positive``, ``Share``
    and ``Annotated[..., Within(low, high)]`` are other ranges.

    Raises:
        SettingError: If a setting does not fit; the message is one sentence.

    Example:
        >>> @dataclass(frozen=True)
        ... class Blend(Checked):
        ...     share: Share = 0.5
        >>> Blend(share=2.0)
        Traceback (most recent call last):
        diffprior.errors.SettingError: share of Blend is a number in [0, 1], got 2.0
    """

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, hint in _hints(cls).items():
            check(f"{name} of {cls.__name__}", getattr(self, name), hint)


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def check(name: str, value: Any, hint: Any, within: Within | None = None) -> None:
    """Raise a ``SettingError`` for a value that its annotation does not allow.

    Arguments:
        name: The name of the setting, for the message.
        hint: The annotation.
        within: The range of numbers for which the hint has none; by default ints from 1 to a
            million, and floats from 0 on.
    """
    kinds = list(_kinds(hint, within))
    if not any(_fits(value, *kind) for kind in kinds):
        accepted = " or ".join(_describe(*kind) for kind in kinds)
        raise SettingError(f"{name} is {accepted}, got {literal(value)}")


def from_file(kind: type[T], settings: object, where: str, **given: Any) -> T:
    """Return a dataclass from the settings that a file holds, each checked by its annotation.

    A field that is a dataclass, or a sequence of one, is made of the tables in the file.

    Arguments:
        kind: The dataclass.
        settings: What was read: a mapping of names to values.
        where: The file and the place in it, for messages.
        given: Values of fields that no file sets.

    Raises:
        SettingError: If a setting is unknown, is missing or does not fit; the message is one
            sentence that begins with the place.
    """
    if not isinstance(settings, Mapping):
        raise SettingError(f"{where} is a table of settings, got {literal(settings)}")
    cls: Any = kind
    known = {f.name: f for f in fields(cls) if f.name not in given}
    for name in settings:
        if name not in known:
            raise SettingError(f"{where}: no setting {literal(name)}; {nearest(name, known)}")
    for name, field in known.items():
        if name not in settings and field.default is MISSING and field.default_factory is MISSING:
            raise SettingError(f"{where}: the setting {name!r} is missing")
    hints = _hints(cls)
    values = {k: _made(f"{where}: {k}", v, hints[k]) for k, v in settings.items()}
    try:
        return kind(**values, **given)
    except ValueError as error:
        raise SettingError(f"{where}: {error}") from error


def nearest(name: object, known: Iterable[str]) -> str:
    """Return which of the known names a wrong one may mean; all of them if none is near."""
    names = [*known]
    near = difflib.get_close_matches(str(name), names, 1)
    return f"did you mean {near[0]!r}?" if near else shown(f"there are {', '.join(names)}", 120)


def _made(name: str, value: Any, hint: Any) -> Any:
    """Return the value of one field, with tables made into dataclasses."""
    part = next((a for a in get_args(hint) if is_dataclass(a)), hint)
    if not isinstance(part, type) or not is_dataclass(part):
        check(name, value, hint)
        return value
    if get_origin(hint) is not Sequence:
        return value if value is None or isinstance(value, part) else from_file(part, value, name)
    if not isinstance(value, list):
        raise SettingError(f"{name} is a list of tables, got {literal(value)}")
    return [
        v if isinstance(v, part) else from_file(part, v, f"{name} {i}")
        for i, v in enumerate(value, 1)
    ]


def literal(value: object, most: int = 60) -> str:
    """Return a value as it is written in Python, as ``shown`` shows it."""
    try:
        return shown(repr(value), most)
    except (ValueError, RecursionError):  # an integer of many digits, a list in a list in ...
        return f"a {type(value).__name__} that is too large to print"


def _kinds(hint: Any, within: Within | None = None) -> Iterator[tuple[Any, Within]]:
    """Yield the types that a hint allows, each with its range if it is a number."""
    if get_origin(hint) is Annotated:
        yield from _kinds(hint.__origin__, hint.__metadata__[0])
    elif get_origin(hint) in (Union, UnionType):
        for kind in get_args(hint):
            yield from _kinds(kind, within)
    else:
        yield hint, within or USUAL.get(hint, ANYWHERE)


def _fits(value: Any, kind: Any, within: Within) -> bool:
    origin = get_origin(kind) or kind
    parts = get_args(kind)
    if origin is Any:
        return True
    if origin is Literal:
        return value in parts
    if kind in USUAL:
        number = isinstance(value, Integral if kind is int else Real)
        return number and not isinstance(value, bool) and _is_within(value, kind, within)
    if not isinstance(value, origin) or (origin is Sequence and isinstance(value, str)):
        return False
    if origin is Sequence:
        return all(any(_fits(v, *kind) for kind in _kinds(parts[0])) for v in value)
    if origin is not tuple:
        return True
    pairs = [next(_kinds(part)) for part in parts]
    return len(value) == len(pairs) and all(map(_fits, value, *zip(*pairs, strict=True)))


def _is_within(value: Any, kind: Any, within: Within) -> bool:
    """Return whether a number is in a range, and finite where that is asked."""
    if not within.finite:
        return True
    try:
        return math.isfinite(value) and value in within
    except OverflowError:  # an integer that is too large for a float
        return kind is int and value in within


def _describe(kind: Any, within: Within) -> str:
    origin = get_origin(kind) or kind
    parts = get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if kind in USUAL:
        return f"a {'whole ' if kind is int else ''}number{within}"
    if origin is tuple:
        return f"a pair, each {_describe(*next(_kinds(parts[0])))}"
    if origin is Sequence:
        return f"a list, each {_describe(*next(_kinds(parts[0])))}"
    plain = {bool: "True or False", str: "a text", NoneType: "None", Mapping: "a table"}
    return plain.get(origin) or f"a {origin.__name__}"


def shown(text: object, most: int = 100) -> str:
    r"""Return a text from outside, such as the name of a file, in a form that is safe to print.

    What a terminal would obey or hide stands as an escape: control characters, line ends, bidi
    marks, other signs without a shape, and bytes that are not UTF-8.

    Arguments:
        most: The largest number of characters; a longer text loses its middle.

    Example:
        >>> shown("a\x1b[2J\u202egnp.exe")
        'a\\x1b[2J\\u202egnp.exe'
    """
    plain = str(text)
    head, tail = _escaped(plain[:most]), _escaped(plain[-most:])
    if len(plain) <= most and len(head) <= most:
        return head
    half = (most - 3) // 2
    return f"{head[: most - 3 - half]}...{tail[-half:]}"


def _escaped(text: str) -> str:
    return "".join(sign if sign.isprintable() else _escape(ord(sign)) for sign in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python keeps it in a name
        code -= 0xDC00
    return chr(code).encode("unicode_escape").decode()


def renamed(**old_to_new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function accept keywords by their old names, with one ``DeprecationWarning`` a call.

    The signature that ``inspect`` and type checkers see has the new names alone.

    Arguments:
        old_to_new: The new name of each old one, as in ``renamed(names="ids")``.

    Raises:
        TypeError: When the wrapped function is called with both names of a keyword.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            old_names = [name for name in old_to_new if name in kwargs]
            for old in old_names:
                new = old_to_new[old]
                if new in kwargs:
                    raise TypeError(
                        f"{function.__qualname__}() got both {new!r} and its old name {old!r}"
                    )
                kwargs[new] = kwargs.pop(old)
            if old_names:
                changes = ", ".join(f"{old} is now {old_to_new[old]}" for old in old_names)
                text = f"{function.__qualname__}(): {changes}; the next release drops the old name"
                warn(text, DeprecationWarning)
            return function(*args, **kwargs)

        return call

    return decorate


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called the library, however deep in the library this call stands."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _package(frame) in INSIDE:
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
