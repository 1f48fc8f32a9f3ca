"""What a server accepts, and the sentence that refuses the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..io import files
from ..validation import shown

__all__ = ["Limits", "Refusal", "known"]

T = TypeVar("T")

BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one server.

    Attributes:
        pixels: The most pixels of an image, checked before it is decoded.
        bytes: The most bytes of a request, checked while it arrives.
        jobs: The most jobs that wait. As many finished ones are remembered.
        images: The most images that are kept.
    """

    pixels: int = files.LIMIT
    bytes: int = BYTES
    jobs: int = 100
    images: int = 200

    @property
    def disk(self) -> int:
        """The bytes of all images that are kept; beyond it the oldest are forgotten."""
        return 16 * self.bytes


class Refusal(Exception):
    """A request that is not done.

    Arguments:
        status: The HTTP status.
        sentence: Why, in one sentence.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


def known(table: Mapping[str, T], key: str, what: str) -> T:
    """Return what is in a table under an id; `what` is the word for it.

    Raises:
        Refusal: If there is none of this id.
    """
    found = table.get(key)
    if found is None:
        raise Refusal(404, f"there is no {what} {shown(key, 40)}; it may have been forgotten")
    return found
