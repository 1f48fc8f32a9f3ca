"""How the words of two prompts belong together, so that one's attention serves the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import punctuation

import torch
from torch import Tensor

from ..validation import Checked, Share

__all__ = ["AttentionEdit", "Words", "take_words"]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A prompt: its words, and which rows of the network's text each of them is.

    Attributes:
        words: In their order.
        spans: First row of each, and the one after its last.
        length: Rows of the text, with its beginning, its end and what fills it up.
    """

    words: Sequence[str]
    spans: Sequence[tuple[int, int]]
    length: int

    @classmethod
    def of(cls, text: str, tokens: Callable[[str], Sequence[int]], length: int) -> "Words":
        """Return the words of a text, each as many rows as it has tokens, after one that begins."""
        words, spans, at = text.split(), [], 1
        for word in words:
            count = len(tokens(word))
            spans.append((min(at, length - 1), min(at + count, length - 1)))
            at += count
        return cls(words=words, spans=spans, length=length)

    @property
    def end(self) -> int:
        """Return the row that ends the text."""
        return self.spans[-1][1] if self.spans else 1

    def rows(self, *named: str) -> list[int]:
        """Return the rows of these words, wherever they stand, with what they are punctuated by."""
        spans = zip((word.strip(punctuation) for word in self.words), self.spans, strict=True)
        return [row for word, span in spans if word in named for row in range(*span)]


@dataclass(frozen=True, kw_only=True)
class AttentionEdit(Checked, ABC):
    """A_target = (A_source M + A_target diag(k)) diag(c), A being what each pixel looks at.

    M takes columns of words over, k keeps columns, and c makes more or less of them.
    "Prompt-to-Prompt Image Editing with Cross Attention Control" (Hertz et al., 2023),
    https://arxiv.org/abs/2208.01626. With ``local`` the edit shows where its words are looked for
    by the source or the target; elsewhere the states are the source's ("local editing").

    Arguments:
        cross: Share of the steps, from noise on, of which attention to words is so.
        layout: That of which attention of pixels to pixels is the source's.
        side: The side of the largest state of which it, and ``local``, is, in positions of the
            network.
        weights: c of words of the target, such as ``{"fluffy": 2.0}``; 1 of all others.
        local: Words of the prompts, such as ``"cat dog"``; none is everywhere.
        threshold: Share of the most that they are looked for, above which the edit shows.
    """

    cross: Share = 0.8
    layout: Share = 0.4
    side: int = 32
    weights: Mapping[str, float] = field(default_factory=dict)
    local: str = ""
    threshold: Share = 0.3

    @abstractmethod
    def columns(self, source: Words, target: Words) -> tuple[Tensor, Tensor]:
        """Return M, of shape ``(rows, rows)`` of the texts, and k, of shape ``(rows,)``."""

    def factors(self, target: Words) -> Tensor:
        """Return c, of shape ``(rows,)``."""
        c = torch.ones(target.length)
        for word, weight in self.weights.items():
            if not (rows := target.rows(word)):
                raise ValueError(f"no word {word!r} to weigh in {' '.join(target.words)!r}")
            c[rows] = weight
        return c

    def spots(self, source: Words, target: Words) -> tuple[list[int], list[int]]:
        """Return the rows of the words of ``local`` in both prompts."""
        named = self.local.split()
        for word in named:
            if not source.rows(word) and not target.rows(word):
                raise ValueError(
                    f"no word {word!r} to look for in {' '.join(source.words)!r} or "
                    f"{' '.join(target.words)!r}"
                )
        return source.rows(*named), target.rows(*named)


def take_words(source: Words, target: Words, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return the M that takes over the words of these pairs of numbers, and all but words.

    Words of as many rows take row for row; of others, each shares in all.
    """
    M = torch.zeros(source.length, target.length)
    M[0, 0] = 1
    rows = torch.arange(target.end, target.length)
    M[(rows - target.end + source.end).clamp_max(source.length - 1), rows] = 1
    for i, j in pairs:
        (a, b), (c, d) = source.spans[i], target.spans[j]
        same = b - a == d - c
        M[a:b, c:d] = torch.eye(b - a) if same else torch.ones(b - a, d - c) / max(d - c, 1)
    return M
