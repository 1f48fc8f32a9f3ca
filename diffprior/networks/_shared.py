"""What the networks of this library share: their settings, the class of no class, their configs."""

import json
from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["json_bytes", "or_no_class", "settings_in"]


def settings_in(kind: type[nn.Module], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a class of networks, by which a network like it can be made.

    Arguments:
        kind: The class.
        values: The arguments among others, such as the locals of ``__init__``.
    """
    own = {name: values[name] for name in signature(kind).parameters}
    return {k: [*v] if isinstance(v, list | tuple) else v for k, v in own.items()}


def or_no_class(labels: Tensor | None, time: Tensor, classes: int) -> Tensor:
    """Return the labels of a batch, ``(B,)``; without any, the number ``classes``, which is none.

    Arguments:
        labels: The class of each row, or None for the whole batch.
        time: The time of each row, of shape ``(B,)``.
        classes: Number of classes.
    """
    return torch.full_like(time, classes, dtype=torch.long) if labels is None else labels


def json_bytes(config: Mapping[str, Any]) -> bytes:
    """Return a config as the bytes of its file."""
    return (json.dumps(config, indent=2) + "\n").encode()
