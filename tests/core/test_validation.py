"""Old names of keywords, and the lines that warnings point at."""

import inspect
import warnings

import pytest
import torch

from diffprior import validation
from diffprior.validation import renamed, shown, warn


@renamed(names="ids", watch="callback")
def sample(count: int, *, ids: str | None = None, callback: int | None = None):
    """Return what came in."""
    return count, ids, callback


def test_old_keyword_names_reach_the_new_ones_with_one_warning_at_the_callers_line():
    with pytest.warns(DeprecationWarning, match="names is now ids, watch is now callback") as log:
        assert sample(1, names="a", watch=2) == (1, "a", 2)
    assert len(log) == 1
    assert log[0].filename == __file__
    assert "names=" in line(log[0])


def test_new_keyword_names_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sample(3, ids="b", callback=4) == (3, "b", 4)


def test_both_names_of_a_keyword_are_refused():
    with pytest.raises(TypeError, match="both 'ids' and its old name 'names'"):
        sample(1, names="a", ids="b")


def test_a_renamed_function_keeps_its_signature_and_docstring():
    assert list(inspect.signature(sample).parameters) == ["count", "ids", "callback"]
    assert sample.__doc__ == "Return what came in."
    assert sample.__wrapped__(1) == (1, None, None)


def inside(function):
    """Return the function as one of a module of the library."""
    scope = {"__name__": "diffprior.any", "function": function}
    exec("def call(*args, **kwargs):\n    return function(*args, **kwargs)", scope)
    return scope["call"]


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_a_warning_points_outside_the_library_at_any_depth(depth):
    call = warn
    for _ in range(depth):
        call = torch.no_grad()(inside(call))
    with pytest.warns(RuntimeWarning, match="a text") as log:
        call("a text", RuntimeWarning)  # this line
    assert log[0].filename == __file__
    assert "this line" in line(log[0])


def test_a_deprecated_keyword_inside_decorators_points_at_the_caller():
    function = torch.no_grad()(inside(sample))
    with pytest.warns(DeprecationWarning) as log:
        function(1, names="a")  # this line
    assert "this line" in line(log[0])


def test_the_library_itself_is_inside():
    assert "diffprior" in validation.INSIDE


def line(warning) -> str:
    with open(warning.filename) as file:
        return file.read().splitlines()[warning.lineno - 1]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a photo (1).png", "a photo (1).png"),
        ("h\u00fcbsch \u6f22\u5b57 \U0001f600.png", "h\u00fcbsch \u6f22\u5b57 \U0001f600.png"),
        ("a\x1b[2J\x07b\x7f\x9b31m", r"a\x1b[2J\x07b\x7f\x9b31m"),
        ("two\nlines\r\tx\u2028", r"two\nlines\r\tx\u2028"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_text_from_outside_is_shown_without_what_a_terminal_obeys(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize("sign", ["x", "\x1b", "\U000e0001"])
@pytest.mark.parametrize("most", [10, 99, 100])
def test_a_long_text_is_shown_without_its_middle(sign, most):
    short = shown(f"begin{sign * 1000}end", most)
    assert len(short) == most and short.startswith("be") and short.endswith("nd")
    assert "..." in short
