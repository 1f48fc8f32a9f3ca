"""The place of this process among several that torchrun, or ``accelerate launch``, started.

Both say it in the environment: ``RANK`` of ``WORLD_SIZE``, and ``LOCAL_RANK`` on this machine.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch

from ..errors import SettingError
from ..validation import literal

__all__ = ["Rank", "own_device"]

LONGEST = timedelta(days=30)  # that one process waits for another
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One process of several. Each takes its share of the work; the first one reports.

    Attributes:
        number: Its number, from 0 on.
        size: The number of processes.
        local: Its number among those of its machine.
        restarts: How often torchrun began again, with all of them.
    """

    number: int = 0
    size: int = 1
    local: int = 0
    restarts: int = 0

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the place of this process: the only one, if the environment says nothing.

        Raises:
            SettingError: If the environment says what cannot be.
        """
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return cls()
        number, size = (_whole(environment, name) for name in ("RANK", "WORLD_SIZE"))
        local = _whole(environment, "LOCAL_RANK", number)
        restarts = _whole(environment, "TORCHELASTIC_RESTART_COUNT", 0)
        if not number < size:
            raise SettingError(
                f"RANK is {number} and WORLD_SIZE {size} in the environment; a rank is smaller"
            )
        return cls(number=number, size=size, local=local, restarts=restarts)

    @property
    def is_first(self) -> bool:
        """Whether this process is the first one."""
        return self.number == 0

    @property
    def reports(self) -> bool:
        """Whether this process reports: the first one does, and all where they cannot meet."""
        return self.is_first or not self._meets

    @property
    def _meets(self) -> bool:
        return self.size > 1 and {"MASTER_ADDR", "MASTER_PORT"} <= {*os.environ}

    def share(self, items: Mapping[K, V]) -> dict[K, V]:
        """Return the items of this process: each item belongs to one process alone."""
        return dict(list(items.items())[self.number :: self.size])

    @contextmanager
    def handing_over(self) -> Iterator[list[str]]:
        """Give a list for lines to hand over; they arrive at the end, even that of an error."""
        lines: list[str] = []
        store = None if self.is_first else self._store()
        try:
            yield lines
        finally:
            if store is not None:
                store.set(f"lines/{self.number}", "\n".join(lines))

    def handed_over(self) -> Iterable[str]:
        """Return the lines of the other processes, once all of them are done."""
        store = self._store()
        if store is None:
            return []
        keys = [f"lines/{number}" for number in range(1, self.size)]
        store.wait(keys, LONGEST)
        texts = [store.get(key).decode() for key in keys]
        return [line for text in texts for line in text.split("\n") if line]

    def _store(self) -> Any:
        """Return where the processes meet; None if there is one only, or no place is named."""
        if not self._meets:
            return None
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, _, _ = next(rendezvous("env://", self.number, self.size, timeout=LONGEST))
        return PrefixStore(f"diffprior/{self.restarts}", store)


def own_device(name: Any, place: int) -> Any:
    """Return the device of a process that shares those of its machine with others.

    Arguments:
        name: What was asked for: a device with a number, or the CPU, stays as it is.
        place: The number of the process on its machine.
    """
    if not torch.accelerator.is_available():
        return name
    accelerator = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    kind = "" if accelerator is None else accelerator.type
    if count < 2 or str(name) not in ("None", "auto", kind):
        return name
    return f"{kind}:{place % count}"


def _whole(environment: Mapping[str, str], name: str, default: int | str = "") -> int:
    text = environment.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise SettingError(f"{name} in the environment is no whole number: {literal(text)}")
    return int(text)
