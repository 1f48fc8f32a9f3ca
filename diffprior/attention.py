"""Prompt-to-prompt (Hertz et al., 2023): the target looks where the source did, in one chain."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from torch import Tensor

from .attentions.base import AttentionEdit, Words
from .families import StableDiffusion
from .priors.base import Prior, Wrapper
from .priors.conditions import guided, inside
from .priors.prompted import PromptedPrior, prompted

__all__ = ["attended"]


def attended(
    edit: AttentionEdit, source: Prior, target: Prior, times: Tensor
) -> tuple[Prior, Prior]:
    """Return two priors, of which the second looks where the first did: to be called in turn.

    What free guidance sees is left alone.

    Arguments:
        source, target: Priors of prompts, of one U-Net of Stable Diffusion 1, 2 or XL.
        times: Those of the chain, of shape ``(steps + 1,)``, descending.

    Raises:
        ValueError: If they are no such priors, or the prompts do not go with the edit.
    """
    before, after = _words(source), _words(target)
    M, k = edit.columns(before, after)
    control = _Control(edit, M, k, edit.factors(after), times)
    return inside(source, partial(_watched, control, True)), inside(
        target, partial(_watched, control, False)
    )


def _words(prior: Prior) -> Words:
    leaf = prompted(prior)
    if leaf is None or not isinstance(leaf.family, StableDiffusion):
        raise ValueError("attention is that of a U-Net of Stable Diffusion 1, 2 or XL to prompts")
    if leaf.text is None:
        raise ValueError("attention is taken over from prompt to prompt, and one is missing")
    tokenizer = leaf.family.pipe.tokenizer

    def tokens(word: str) -> list[int]:
        found: list[int] = tokenizer(word, add_special_tokens=False).input_ids
        return found

    return Words.of(leaf.text, tokens, tokenizer.model_max_length)


def _watched(control: "_Control", first: bool, prior: Prior) -> Prior:
    if guided(prior):
        return prior.rewrap(_watched(control, first, prior.conditional), prior.free)
    return _Attending(prior, control, first)


class _Attending(Wrapper):
    """A prior of a prompt whose attention is noted, or put in its place."""

    def __init__(self, inner: Prior, control: "_Control", first: bool) -> None:
        super().__init__(inner)
        self.control, self.first = control, first

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert isinstance(self.inner, PromptedPrior)
        with self.control.on(self.inner.family.network, self.first, t):
            return self.inner(x_t, t)

    def rewrap(self, inner: Prior) -> Self:
        return type(self)(inner, self.control, self.first)


class _Control:
    """The maps of the source's call, first in, first out, and what is made of them."""

    def __init__(self, edit: AttentionEdit, M: Tensor, k: Tensor, c: Tensor, times: Tensor) -> None:
        steps = len(times) - 1
        self.M, self.k, self.c, self.side = M, k, c, edit.side
        self.last = {
            True: times[round(edit.cross * steps)],
            False: times[round(edit.layout * steps)],
        }
        self.maps: deque[Tensor] = deque()

    @contextmanager
    def on(self, network: Any, first: bool, t: Tensor) -> Iterator[None]:
        """Look at the attention of a network for a while."""
        from diffusers.models.attention_processor import AttnProcessor

        before, plain = network.attn_processors, AttnProcessor()
        meet = partial(self._note if first else self._put, t)
        network.set_attn_processor({name: partial(_attend, plain, meet) for name in before})
        try:
            yield
        finally:
            network.set_attn_processor(before)

    def _note(self, t: Tensor, A: Tensor, cross: bool) -> Tensor:
        if self._holds(t, A, cross):
            self.maps.append(A)
        return A

    def _put(self, t: Tensor, A: Tensor, cross: bool) -> Tensor:
        if not self._holds(t, A, cross):
            return A
        source = self.maps.popleft()
        if not cross:
            return source
        M, k, c = (v.to(A) for v in (self.M, self.k, self.c))
        return (source @ M + A * k) * c

    def _holds(self, t: Tensor, A: Tensor, cross: bool) -> bool:
        return bool(t > self.last[cross]) and (cross or A.shape[1] <= self.side**2)


def _attend(
    plain: Any,
    meet: Any,
    attn: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    *given: Any,
    **more: Any,
) -> Tensor:
    """Attend as a network does by itself, but for what becomes of its maps."""
    cross, scores = encoder_hidden_states is not None, attn.get_attention_scores
    attn.get_attention_scores = lambda *args: meet(scores(*args), cross)
    try:
        out: Tensor = plain(attn, hidden_states, encoder_hidden_states, *given, **more)
        return out
    finally:
        del attn.get_attention_scores
