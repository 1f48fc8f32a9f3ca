"""The processes of one training run: each has a part of every batch, all have the same weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from ..runtime.ranks import Rank

__all__ = ["Processes", "together"]

LONGEST = timedelta(days=1)  # that the others wait while the first process validates
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as this one of them sees them; by default it is alone.

    Attributes:
        rank: The place of this process among them.
    """

    rank: Rank = Rank()

    def rows(self, n: int) -> slice:
        """Return the rows of this process, of a batch that has ``n`` rows for each process."""
        return slice(self.rank.number * n, (self.rank.number + 1) * n)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one message."""
        if self.rank.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.rank.size
        means = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def agree(self, value: float) -> float:
        """Return the value that the first process has: clocks differ."""
        return self._sent([value])[0]

    def copy(self, data: bytes | None) -> bytes | None:
        """Return the bytes that the first process has."""
        return self._sent([data])[0]

    def _sent(self, values: list[T]) -> list[T]:
        if self.rank.size > 1:
            torch.distributed.broadcast_object_list(values, src=0)
        return values


@contextmanager
def together(rank: Rank, device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun or ``accelerate launch`` started, for one run.

    Arguments:
        rank: The place of this process.
        device: Its device, which no other process shares.
    """
    if rank.size == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, rank=rank.number, world_size=rank.size, timeout=LONGEST
    )
    try:
        yield Processes(rank)
    finally:
        torch.distributed.destroy_process_group()
