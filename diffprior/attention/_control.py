"""Prompt-to-prompt (Hertz et al., 2023): the edit attends as the source does, in one chain."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.text_to_image import StableDiffusion
from ..priors.base import Prior, Wrapper
from ..priors.guided import GuidedPrior
from ..priors.text import TextPrior, text_prior
from .base import AttentionEdit, Words

__all__ = ["Sight", "attended"]

Edit = Callable[[Tensor, bool, int], Tensor]  # (maps, whether they attend to words, heads) -> maps


class Sight:
    """Where an edit shows: M > threshold max M, for the words of the source or of the target.

    M is the sum over all calls so far of the attention to the words, a mean over layers.

    Arguments:
        rows: Rows of the words, in the embedding of the source prompt and of the target prompt.
        shape: (h, w) of the states.
        side: As in ``AttentionEdit``, like the threshold.
    """

    def __init__(
        self,
        rows: tuple[list[int], list[int]],
        shape: tuple[int, int],
        side: int,
        threshold: float,
    ) -> None:
        self.rows = rows
        self.shape = shape
        self.side = side
        self.threshold = threshold
        self.M = [torch.zeros(()), torch.zeros(())]
        self.layers: list[Tensor] = []

    def look(self, which: int, A: Tensor, heads: int) -> None:
        """Note the maps of a layer.

        Arguments:
            which: 0 for the source, 1 for the target.
            A: The maps, of shape ``(B * heads, positions, words)``.
        """
        if A.shape[1] > self.side**2:
            return
        h, w = self.shape
        while h * w > A.shape[1]:
            h, w = (h + 1) // 2, (w + 1) // 2
        M = A[..., self.rows[which]].float().sum(-1).reshape(-1, heads, A.shape[1]).mean(1)
        self.layers.append(F.interpolate(M.reshape(-1, 1, h, w), self.shape, mode="bilinear"))

    def close(self, which: int, x_t: Tensor) -> None:
        """Add up the maps of one call of states, which came row by row or all at once."""
        if x_t.shape[-2:] != self.shape or not self.layers:
            raise ValueError(
                f"words are looked for in a whole image, in states of at most {self.side} a side "
                "within its network: set a larger tile, or side"
            )
        B, n = (len(x_t), len(self.layers[0]))
        layers = torch.stack(self.layers)
        M = layers.reshape(B // n, -1, n, 1, *self.shape).mean(1).flatten(0, 1)
        self.M[which] = self.M[which] + M
        self.layers = []

    def mask(self) -> Tensor:
        """Return where the edit shows after the calls so far, ``(B, 1, h, w)`` of bool."""
        source, target = (M > self.threshold * M.amax((1, 2, 3), keepdim=True) for M in self.M)
        return source | target


def attended(
    edit: AttentionEdit, source: Prior, target: Prior, times: Tensor
) -> tuple[Prior, Prior, Sight | None]:
    """Return the two priors with the attention of the second edited; they are called in turn.

    The part of guidance without a condition is left alone. The third value is where the edit
    shows, if it is a local one.

    Arguments:
        source, target: Priors of prompts, with the same U-Net of Stable Diffusion 1, 2 or XL.
        times: The times of the chain, of shape ``(steps + 1,)``, descending.

    Raises:
        ValueError: If they are no such priors, or the prompts do not suit the edit.
    """
    before, after = _words(source), _words(target)
    (M, k), spots = edit.columns(before, after), edit.spots(before, after)
    h, w = target.shape[-2:]
    sight = Sight(spots, (h, w), edit.side, edit.threshold) if edit.local else None
    control = _Control(edit, M, k, edit.factors(after), times, sight)
    first, second = (partial(_watched, control, which) for which in (0, 1))
    return source.map_inner(first), target.map_inner(second), sight


def _words(prior: Prior) -> Words:
    leaf = text_prior(prior)
    if leaf is None or not isinstance(leaf.family, StableDiffusion):
        raise ValueError("attention is that of a U-Net of Stable Diffusion 1, 2 or XL to prompts")
    if leaf.text is None:
        raise ValueError("attention is taken over from prompt to prompt, and one is missing")
    tokenizer = leaf.family.pipe.tokenizer

    def tokens(word: str) -> list[int]:
        ids: list[int] = tokenizer(word, add_special_tokens=False).input_ids
        return ids

    return Words.of(leaf.text, tokens, tokenizer.model_max_length)


def _watched(control: "_Control", which: int, prior: Prior) -> Prior:
    if isinstance(prior, GuidedPrior):
        return prior.with_inner(_watched(control, which, prior.conditional), prior.free)
    return _Attending(prior, control, which)


class _Attending(Wrapper):
    """A prior of a prompt whose attention maps are noted (the source) or edited (the target)."""

    def __init__(self, inner: Prior, control: "_Control", which: int) -> None:
        super().__init__(inner)
        self.control = control
        self.which = which

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert isinstance(self.inner, TextPrior)
        with self.control.on(self.inner.family.network, self.which, t):
            x_0 = self.inner(x_t, t)
        if self.control.sight is not None:
            self.control.sight.close(self.which, x_t)
        return x_0

    def with_inner(self, inner: Prior) -> Self:
        return type(self)(inner, self.control, self.which)


class _Control:
    """The maps of the source's call, first in, first out, and how they edit the target's."""

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
        self.M = M
        self.k = k
        self.c = c
        self.side = edit.side
        self.sight = sight
        self.last = {
            True: times[round(edit.cross * steps)],
            False: times[round(edit.layout * steps)],
        }
        self.maps: deque[Tensor] = deque()

    @contextmanager
    def on(self, network: Any, which: int, t: Tensor) -> Iterator[None]:
        """Give the transformer blocks of a network our processor for the time of a call."""
        before = network.attn_processors
        editing = _Processor(partial(self._edit, which, t))
        network.set_attn_processor(
            {
                name: editing if _is_plain(network, name) else processor
                for name, processor in before.items()
            }
        )
        try:
            yield
        finally:
            network.set_attn_processor(before)

    def _edit(self, which: int, t: Tensor, A: Tensor, cross: bool, heads: int) -> Tensor:
        A = (self._put if which else self._note)(t, A, cross)
        if cross and self.sight is not None:
            self.sight.look(which, A, heads)
        return A

    def _note(self, t: Tensor, A: Tensor, cross: bool) -> Tensor:
        if self._applies(t, A, cross):
            self.maps.append(A)
        return A

    def _put(self, t: Tensor, A: Tensor, cross: bool) -> Tensor:
        if not self._applies(t, A, cross):
            return A
        source = self.maps.popleft()
        if not cross:
            return source
        M, k, c = (v.to(A) for v in (self.M, self.k, self.c))
        return (source @ M + A * k) * c

    def _applies(self, t: Tensor, A: Tensor, cross: bool) -> bool:
        return bool(t > self.last[cross]) and (cross or A.shape[1] <= self.side**2)


class _Processor:
    """An attention processor of diffusers: softmax attention whose maps pass through an edit.

    Arguments:
        edit: Gets maps ``(B * heads, positions, keys)``, whether the keys are words, and the number
            of heads; returns maps.
    """

    def __init__(self, edit: Edit) -> None:
        self.edit = edit

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *unused: Any,
        **more: Any,
    ) -> Tensor:
        cross = encoder_hidden_states is not None
        keys = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = attn.prepare_attention_mask(attention_mask, keys.shape[1], len(hidden_states))
        Q = attn.head_to_batch_dim(attn.to_q(hidden_states))
        K, V = (attn.head_to_batch_dim(layer(keys)) for layer in (attn.to_k, attn.to_v))
        A = self.edit(attn.get_attention_scores(Q, K, mask), cross, attn.heads)
        linear, dropout = attn.to_out
        out: Tensor = dropout(linear(attn.batch_to_head_dim(torch.bmm(A, V))))
        return out


def _is_plain(network: Any, name: str) -> bool:
    """Return whether an attention layer is that of a transformer block, without norms of its own.

    Others attend to no words, and keep their processors.
    """
    attn = network.get_submodule(name.removesuffix(".processor"))
    norms = (attn.group_norm, attn.spatial_norm, attn.norm_cross)
    return all(norm is None for norm in norms) and not attn.residual_connection
