"""Weights files of small networks, in the layouts of trainers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffprior.networks.adm import ADM, Layout

SIZE = 8
SETTINGS = {"size": SIZE, "head_channels": 32}  # what no tensor of these networks shows
State = dict[str, Tensor]


def adm(seed: int = 0, **layout: Any) -> State:
    """Return the state dict of a small network, with no weight at zero."""
    torch.manual_seed(seed)
    network = ADM(
        Layout(
            **{"channels": 32, "widths": (32, 32), "blocks": 1, "attention": (1,)}
            | {"head_channels": 32}
            | layout
        )
    )
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(file: Path, content: Any) -> Path:
    torch.save(content, file)
    return file


def flips(file: Path, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield the bytes of a file, each time with one to eight of them changed, or cut short."""
    data = file.read_bytes()
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(int(torch.randint(1, 9, (), generator=rng))):
            place = int(torch.rand((), generator=rng) ** 3 * len(data))  # most at the beginning
            changed[place] ^= int(torch.randint(1, 256, (), generator=rng))
        cut = int(torch.randint(0, 10, (), generator=rng)) == 0
        yield bytes(changed[: len(data) // 2] if cut else changed)
