"""A prior is asked for its condition here: a prompt, a label, how much of it, what to avoid."""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

from .base import Prior, Wrapper
from .guided import GuidedPrior
from .labelled import LabelledPrior
from .latent import LatentPrior

__all__ = [
    "Prompted",
    "against",
    "conditioned",
    "guidance_of",
    "guided",
    "innermost",
    "inside",
    "unguided",
]

PROMPT_GUIDANCE, LABEL_GUIDANCE = 7.5, 3.0  # w where none is given


@runtime_checkable
class Prompted(Protocol):
    """What a prior of images that a text describes can do.

    Attributes:
        text: The text; None is the empty one.
    """

    text: str | None

    def prompted(self, text: str | None) -> Prior:
        """Return the prior of another text; None is the empty one."""
        ...


def conditioned(
    prior: Prior,
    *,
    prompt: str | None = None,
    negative: str | None = None,
    label: int | None = None,
    guidance: float | None = None,
) -> Prior:
    """Return a prior under its condition, inside whatever wraps it; of nothing asked, as it is.

    Arguments:
        prompt: A text, of a text-to-image prior; its own where it has one.
        negative: A text to move away from; the empty one where not given.
        label: A class, of a class-conditional prior; its own where it has one.
        guidance: w of ``GuidedPrior``, 1 being the condition alone. By default the model's own or
            7.5 of a text; 3 of a class, or 1 where the network was never trained without classes.
            A network that is told of a guidance is told of this one, if there is no ``negative``.

    Raises:
        ValueError: If the prior has nothing of what is asked; one sentence says what.
    """
    if guidance is not None and not math.isfinite(guidance):
        raise ValueError(f"guidance is a finite number, got {guidance}")
    texts = {k: v for k, v in (("prompt", prompt), ("negative", negative)) if v is not None}
    if not texts and label is None and guidance in (None, 1):
        return unguided(prior) if guidance == 1 and guided(innermost(prior)) else prior
    if texts and label is not None:
        raise ValueError(f"a prior has texts or classes, not both; got {texts} and label={label}")

    def condition(found: Prior) -> Prior:
        found = found.conditional if guided(found) else found
        if isinstance(found, Prompted) and label is None:
            return _of_text(found, prompt, negative, guidance)
        if isinstance(found, LabelledPrior) and found.classes and not texts:
            return _of_class(found, label, guidance)
        raise ValueError(_missing(prior, texts, label, guidance))

    return inside(prior, condition)


def unguided(prior: Prior) -> Prior:
    """Return a prior under its condition alone, w = 1."""
    return inside(prior, lambda p: p.conditional if guided(p) else p)


def against(prior: Prior, other: Prior) -> Prior:
    """Return a guided prior that moves away from the condition of another."""
    away = innermost(unguided(other))
    return inside(prior, lambda p: p.with_inner(p.conditional, away) if guided(p) else p)


def guidance_of(prior: Prior) -> float:
    """Return w of a prior's guidance, 1 where it is under its condition alone."""
    found: Any = innermost(prior)
    if guided(found):
        return found.scale
    if not getattr(found, "embeds", False):
        return 1.0
    return float(found.guidance if found.distilled is None else found.distilled)


def guided(prior: Prior) -> TypeGuard[GuidedPrior]:
    """Return whether this prior itself is a guided one."""
    return isinstance(prior, GuidedPrior)


def innermost(prior: Prior) -> Prior:
    """Return what all the wrappers are round."""
    while isinstance(prior, Wrapper | LatentPrior):
        prior = prior.inner
    return prior


def inside(prior: Prior, change: Callable[[Prior], Prior]) -> Prior:
    """Return a prior with its innermost one changed; names and hashes are carried over."""
    if isinstance(prior, Wrapper | LatentPrior):
        return _named(prior.with_inner(inside(prior.inner, change)), prior)
    return _named(change(prior), prior)


def _of_text(
    prior: Prompted, prompt: str | None, negative: str | None, guidance: float | None
) -> Prior:
    text = prior.text if prompt is None else prompt
    if text is None and negative is None:
        raise ValueError(f"guidance={guidance} strengthens a prompt, and none was given")
    usual: float = getattr(prior, "guidance", PROMPT_GUIDANCE)
    if negative is not None and guidance is None and usual == 1:
        raise ValueError(
            f"negative={negative!r} needs a guidance above 1, and the one of this network is 1"
        )
    scale, conditional = usual if guidance is None else guidance, prior.prompted(text)
    if negative is None and getattr(prior, "embeds", False):  # the network guides itself
        strengthened: Prior = cast(Any, conditional).strengthened(scale)
        return conditional if guidance is None else strengthened
    avoided: Prior = getattr(prior, "avoided", prior.prompted)(negative)
    return conditional if scale == 1 else GuidedPrior(conditional, avoided, scale)


def _of_class(prior: LabelledPrior, label: int | None, guidance: float | None) -> Prior:
    conditional = prior if label is None else prior.labelled(label)
    if conditional.label is None:
        raise ValueError(f"guidance={guidance} strengthens a label, and none was given")
    if guidance == 1:
        return conditional
    try:
        free = prior.labelled(None)
    except ValueError:
        if guidance is None:
            return conditional
        raise ValueError(
            f"guidance={guidance} needs a network that was trained without labels, too, "
            "and this one was not: guidance is 1"
        ) from None
    return GuidedPrior(conditional, free, LABEL_GUIDANCE if guidance is None else guidance)


def _missing(prior: Prior, texts: dict[str, str], label: int | None, guidance: float | None) -> str:
    name = getattr(prior, "name", type(innermost(prior)).__name__)
    if texts:
        key, text = next(iter(texts.items()))
        return f"{key}={text!r} needs a prior of a text-to-image model, and {name} knows no text"
    if label is not None:
        return f"label={label} needs a class-conditional prior, and {name} has no classes"
    return f"guidance={guidance} needs a prior with a prompt or a label, and {name} has neither"


def _named(prior: Prior, like: Prior) -> Prior:
    for key in ("name", "sha256"):
        if hasattr(like, key):
            setattr(prior, key, getattr(like, key))
    return prior
