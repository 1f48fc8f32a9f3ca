"""Prompt-to-prompt (Hertz et al., 2023): the target looks where the source did, in one chain."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.text_to_image import StableDiffusion
from ..priors._conditions import guided, inside
from ..priors.base import Prior, Wrapper
from ..priors.prompted import PromptedPrior, prompted
from .base import AttentionEdit, Words

__all__ = ["Sight", "attended"]


class Sight:
    """Where an edit shows: M > threshold max M of the source's words, or of the target's.

    M is the sum, over all calls so far, of what is looked at in the words, a mean over layers.

    Arguments:
        rows: Of the words, in the text of the source and in that of the target.
        shape: (h, w) of the states.
        side: As of ``AttentionEdit``, as is the threshold.
    """

    def __init__(
        self,
        rows: tuple[list[int], list[int]],
        shape: tuple[int, int],
        side: int,
        threshold: float,
    ) -> None:
        self.rows, self.shape, self.side, self.threshold = rows, shape, side, threshold
        self.M = [torch.zeros(()), torch.zeros(())]
        self.layers: list[Tensor] = []

    def look(self, which: int, A: Tensor, heads: int) -> None:
        """Note a layer's maps ``(B * heads, positions, words)`` of the source, 0, or the target."""
        if A.shape[1] > self.side**2:
            return
        h, w = self.shape
        while h * w > A.shape[1]:
            h, w = (h + 1) // 2, (w + 1) // 2
        M = A[..., self.rows[which]].float().sum(-1).reshape(-1, heads, A.shape[1]).mean(1)
        self.layers.append(F.interpolate(M.reshape(-1, 1, h, w), self.shape, mode="bilinear"))

    def close(self, which: int, x_t: Tensor) -> None:
        """Add up what was noted in a call of states, row by row or of all rows at once."""
        if x_t.shape[-2:] != self.shape or not self.layers:
            raise ValueError(
                f"words are looked for in a whole image, in states of at most {self.side} a side "
                "within its network: give a larger tile, or side"
            )
        (B, n), layers = (len(x_t), len(self.layers[0])), torch.stack(self.layers)
        M = layers.reshape(B // n, -1, n, 1, *self.shape).mean(1).flatten(0, 1)
        self.M[which], self.layers = self.M[which] + M, []

    def mask(self) -> Tensor:
        """Return where the edit shows by now, ``(B, 1, h, w)`` of bool."""
        source, target = (M > self.threshold * M.amax((1, 2, 3), keepdim=True) for M in self.M)
        return source | target


def attended(
    edit: AttentionEdit, source: Prior, target: Prior, times: Tensor
) -> tuple[Prior, Prior, Sight | None]:
    """Return two priors, of which the second looks where the first did: to be called in turn.

    What free guidance sees is left alone. Third, if the edit is a local one, is where it shows.

    Arguments:
        source, target: Priors of prompts, of one U-Net of Stable Diffusion 1, 2 or XL.
        times: Those of the chain, of shape ``(steps + 1,)``, descending.

    Raises:
        ValueError: If they are no such priors, or the prompts do not go with the edit.
    """
    before, after = _words(source), _words(target)
    (M, k), spots = edit.columns(before, after), edit.spots(before, after)
    h, w = target.shape[-2:]
    sight = Sight(spots, (h, w), edit.side, edit.threshold) if edit.local else None
    control = _Control(edit, M, k, edit.factors(after), times, sight)
    first, second = (partial(_watched, control, which) for which in (0, 1))
    return inside(source, first), inside(target, second), sight


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


def _watched(control: "_Control", which: int, prior: Prior) -> Prior:
    if guided(prior):
        return prior.with_inner(_watched(control, which, prior.conditional), prior.free)
    return _Attending(prior, control, which)


class _Attending(Wrapper):
    """A prior of a prompt whose attention is noted, or put in its place."""

    def __init__(self, inner: Prior, control: "_Control", which: int) -> None:
        super().__init__(inner)
        self.control, self.which = control, which

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert isinstance(self.inner, PromptedPrior)
        with self.control.on(self.inner.family.network, self.which, t):
            x_0 = self.inner(x_t, t)
        if self.control.sight is not None:
            self.control.sight.close(self.which, x_t)
        return x_0

    def with_inner(self, inner: Prior) -> Self:
        return type(self)(inner, self.control, self.which)


class _Control:
    """The maps of the source's call, first in, first out, and what is made of them."""

    def __init__(
        self,
        edit: AttentionEdit,
        M: Tensor,
        k: Tensor,
        c: Tensor,
        times: Tensor,
        sight: Sight | None,
    ) -> None:
        steps = len(times) - 1
        self.M, self.k, self.c, self.side, self.sight = M, k, c, edit.side, sight
        self.last = {
            True: times[round(edit.cross * steps)],
            False: times[round(edit.layout * steps)],
        }
        self.maps: deque[Tensor] = deque()

    @contextmanager
    def on(self, network: Any, which: int, t: Tensor) -> Iterator[None]:
        """Look at the attention of a network for a while."""
        from diffusers.models.attention_processor import AttnProcessor

        before, plain = network.attn_processors, AttnProcessor()
        meet = partial(self._meet, which, t)
        network.set_attn_processor({name: partial(_attend, plain, meet) for name in before})
        try:
            yield
        finally:
            network.set_attn_processor(before)

    def _meet(self, which: int, t: Tensor, A: Tensor, cross: bool, heads: int) -> Tensor:
        A = (self._put if which else self._note)(t, A, cross)
        if cross and self.sight is not None:
            self.sight.look(which, A, heads)
        return A

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
    attn.get_attention_scores = lambda *args: meet(scores(*args), cross, attn.heads)
    try:
        out: Tensor = plain(attn, hidden_states, encoder_hidden_states, *given, **more)
        return out
    finally:
        del attn.get_attention_scores
