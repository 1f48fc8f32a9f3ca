"""The network in a weights file, wherever a trainer put it: under names, prefixes, averages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..validation import warn
from .checkpoints import containers

__all__ = ["Network", "network_in"]

AVERAGED = re.compile(r"(?:^|[._\s-])(?:ema|averaged?|avg|swa|polyak|shadow)(?:$|[._\s\d-])", re.I)
DECAY = re.compile(r"0?\.\d+")
WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# what trainers keep beside the weights of a network, by the last part of its name
BESIDE = re.compile(
    r"(?:betas|log_?snr|logvar|lvlb_weights|sigmas|scale_factor|num_timesteps|num_updates|decay|"
    r"n_averaged|initted|(?:global_)?step|(?:p2_)?loss_weight|posterior_.*|sqrt_.*|log_one_.*|"
    r"alphas(?:_cumprod.*|_bar.*)?)"
)


@dataclass(frozen=True)
class Network:
    """The tensors of one network in a file.

    Attributes:
        state: The tensors by the names that the network gives them.
        place: The names that lead to them in the file; empty where they are the whole of it.
        averaged: Whether they are a moving average of the weights.
        table: The products of 1 - beta that lie beside them, of shape ``(N,)``; None if none do.
    """

    state: dict[str, Tensor]
    place: str = ""
    averaged: bool = False
    table: Tensor | None = None


def network_in(name: str, content: Mapping[str, Any], anchors: Sequence[str]) -> Network | None:
    """Return the network in what a file holds, with averaged weights where there are any.

    A trainer may nest the state dict, put prefixes before its names, and keep a moving average
    beside it: as tensors by name, by names without their dots (LitEma), or as a list in the order
    of the parameters. If there are both, a warning says which are taken.

    Arguments:
        name: Name of the file, for the warning.
        content: What ``checkpoints.read`` returned.
        anchors: Names of tensors that every network of the kind has; the first one that is in the
            file finds it.

    Returns:
        The network, or None if there is none of this kind.

    Raises:
        ValueError: If there are several different networks.
    """
    around = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    for anchor in anchors:
        found = [
            net
            for place, part in containers(content)
            for net in _networks(place, part, anchor, around)
        ]
        if found:
            return _chosen(name, found, content)
    return None


def _chosen(name: str, found: list[Network], content: Mapping[str, Any]) -> Network:
    raw = _distinct([net for net in found if not net.averaged])
    averaged = _distinct([net for net in found if net.averaged])
    lists = [] if averaged else list(_lists(content))
    for base in raw:
        averaged += _undotted(base, content)
        averaged += [net for place, tensors in lists for net in _in_order(base, place, tensors)]
    if not averaged:
        if lists:
            warn(
                f"{name} holds averaged weights ({lists[0][0]}) that do not match the raw ones; "
                "the raw ones are taken"
            )
        return _only(raw)
    best = max(averaged, key=lambda net: _decay(net.place))
    if not raw:
        return best
    base = raw[0]
    if best.state.keys() <= base.state.keys():  # an average has no buffers
        best = Network(base.state | best.state, best.place, True, best.table)
    warn(
        f"{name} holds averaged weights ({best.place}) and raw ones ({base.place or 'the rest'}); "
        "the averaged ones are taken"
    )
    return best


def _only(raw: list[Network]) -> Network:
    if len(raw) > 1:
        places = ", ".join(net.place or "the rest" for net in raw[:4])
        raise ValueError(f"it holds {len(raw)} networks ({places}); save the one to use alone")
    return raw[0]


def _networks(
    place: str, part: Mapping[Any, Any], anchor: str, around: Mapping[str, Tensor]
) -> Iterator[Network]:
    """Yield the networks whose tensors are in one mapping, under one prefix each."""
    tensors = {
        WRAPPERS.sub("", k): v
        for k, v in part.items()
        if isinstance(k, str) and isinstance(v, Tensor)
    }
    for name in tensors:
        if name != anchor and not name.endswith(f".{anchor}"):
            continue
        prefix = name[: -len(anchor)]
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        state = {k: v for k, v in own.items() if not BESIDE.fullmatch(k.rpartition(".")[2])}
        way = ".".join(filter(None, (place, prefix.rstrip("."))))
        yield Network(state, way, _is_averaged(way), _table({**around, **tensors}))


def _distinct(found: list[Network]) -> list[Network]:
    """Return networks without those that are the same tensors under another name."""
    kept: dict[tuple[int, ...], Network] = {}
    for net in found:
        kept.setdefault(tuple(v.data_ptr() for v in net.state.values()), net)
    return list(kept.values())


def _undotted(base: Network, content: Mapping[str, Any]) -> Iterator[Network]:
    """Yield averages whose names are those of a network without their dots."""
    ways = base.place.split(".") if base.place else []
    for place, part in containers(content):
        tensors = {k: v for k, v in part.items() if isinstance(k, str) and isinstance(v, Tensor)}
        for prefix in {k.partition(".")[0] + "." for k in tensors if "." in k} | {""}:
            way = ".".join(filter(None, (place, prefix.rstrip("."))))
            if not _is_averaged(way):
                continue
            for i in range(len(ways) + 1):
                names = {k: prefix + "".join([*ways[i:], k]).replace(".", "") for k in base.state}
                if all(short in tensors for short in names.values()):
                    state = {k: tensors[short] for k, short in names.items()}
                    yield Network(state, way, True, base.table)


def _lists(content: Any) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield the lists of averaged weights, each with the names that lead to it."""
    for place, part in containers(content):
        listed = [*part.values()] if 0 in part else []
        if listed and _is_averaged(place) and all(isinstance(v, Tensor) for v in listed):
            yield place, listed


def _in_order(base: Network, place: str, tensors: list[Tensor]) -> Iterator[Network]:
    """Yield the average that a list is, in the order of the weights, if the shapes are theirs."""
    weights = [k for k, v in base.state.items() if v.is_floating_point()]
    if [base.state[k].shape for k in weights] == [v.shape for v in tensors]:
        yield Network(dict(zip(weights, tensors, strict=True)), place, True, base.table)


def _is_averaged(place: str) -> bool:
    """Return whether names say that a network is an average; ``online`` is what it is one of."""
    return bool(AVERAGED.search(place)) and "online" not in place


def _decay(place: str) -> float:
    """Return the decay of an average that its name says, 0 for none; the largest one is taken."""
    shares = [float(text) for text in DECAY.findall(place)]
    return max((share for share in shares if share < 1), default=0.0)


def _table(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the products of 1 - beta that lie beside weights, or None."""
    found = {k.rpartition(".")[2]: v for k, v in tensors.items() if v.ndim == 1}
    if (betas := found.get("betas")) is not None:
        return (1 - betas.double()).cumprod(0)
    return None if (table := found.get("alphas_cumprod")) is None else table.double()
