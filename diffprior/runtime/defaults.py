"""The methods of a problem: those of the call, or those that suit its prior."""

from dataclasses import replace
from typing import Any, cast

from ..catalog import build
from ..errors import SettingError
from ..methods.base import Method
from ..operators.base import Operator
from ..priors.base import Prior
from ..samplers.ancestral import Ancestral
from ..samplers.base import CONSISTENCY_STEPS
from .problem import Problem
from .settings import MethodSetting, Settings

__all__ = ["as_method", "choose_methods"]

LEVEL = "{level}"  # in the text of a method, the noise level of the image


def choose_methods(
    problem: Problem, prior: Prior, levels: list[float], settings: Settings
) -> list[Method[Any]]:
    """Return the method of each image.

    Arguments:
        levels: Noise level of each image, in [0, 1] units.
    """
    chosen = settings.method
    if chosen is not None:
        methods = [_with_steps(as_method(chosen), settings.steps)] * len(levels)
    elif problem.shown is not None and prior.sees_image:
        given = map(_drawn, problem.shown) if prior.consistency else problem.shown
        methods = [_with_steps(method, settings.steps) for method in given]
    else:
        one, several = problem.latent if prior.latent else (problem.one, problem.several)
        default = one if settings.samples == 1 else several
        texts = [default] * len(levels) if isinstance(default, str) else list(default)
        methods = [
            _default_method(text, level, settings.steps)
            for text, level in zip(texts, levels, strict=True)
        ]
    _check_decodable(prior, methods)
    return methods


def as_method(setting: MethodSetting) -> Method[Any]:
    """Return a method from an object, a class (with settings or without), or a text.

    Raises:
        SettingError: If it is none of these, or its settings do not suit it.
    """
    if isinstance(setting, Method):
        return setting
    if not callable(setting):
        built: Method[Any] = build(str(setting), ("methods",))
        return built
    try:
        method = setting()
    except TypeError as error:
        raise SettingError(f"the method cannot be made: {error}") from error
    if not isinstance(method, Method):
        raise SettingError(
            f"a method is a Method, its class or a text, got a {type(method).__name__}"
        )
    return method


def _default_method(text: str | Method[Any], level: float, steps: int | None) -> Method[Any]:
    if isinstance(text, str) and LEVEL in text:  # a single step from the noise of the image
        return as_method(text.replace(LEVEL, repr(2 * level)))
    return _with_steps(as_method(text), steps)


def _drawn(method: Method[Any]) -> Method[Any]:
    """Return a guidance with the sampling of consistency models, which know no flow to walk."""
    return replace(cast(Any, method), sampler=Ancestral(steps=CONSISTENCY_STEPS))


def _with_steps(method: Method[Any], steps: int | None) -> Method[Any]:
    return method if steps is None else method.with_steps(steps)


def _check_decodable(prior: Prior, methods: list[Method[Any]]) -> None:
    """Refuse methods that need more of an operator than a decoder leaves of it."""
    for method in methods if prior.latent else []:
        if (needed := method.needs.operator) is not Operator:
            raise SettingError(
                f"{type(method).__name__} needs a {needed.__name__}, and behind a decoder none is; "
                "methods for latent priors are psld, resample, daps and dps"
            )
