"""How an image was made: the counts, the provenance, the JSON."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import __version__
from ..priors.base import Prior, Wrapper

__all__ = ["Meter", "provenance", "as_json"]


@dataclass
class Meter:
    """Counts the calls of a prior and their seconds."""

    calls: int = 0
    seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)

    @contextmanager
    def on(self, prior: Prior) -> Iterator[None]:
        """Watch a prior for a while."""
        hooks = (
            prior.register_forward_pre_hook(self._before),
            prior.register_forward_hook(self._after),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def report(self) -> dict[str, Any]:
        """Return what was counted, for a result's report."""
        return {"network_calls": self.calls, "network_seconds": round(self.seconds, 2)}

    def _before(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.calls += 1
        self.seconds += time.perf_counter() - self._start


def provenance(prior: Prior, **more: Any) -> dict[str, Any]:
    """Return the report of what made an image."""
    inner = prior
    while isinstance(inner, Wrapper):
        inner = inner.inner
    return {
        "diffprior": __version__,
        "prior": getattr(inner, "name", type(inner).__name__),
        "prior_sha256": getattr(inner, "sha256", None),
        "sigma_unit": "the range [0, 1]; in [-1, 1] it is twice as much",
        "device": str(prior.like.device),
        "precision": str(getattr(prior, "precision", torch.float32)).removeprefix("torch."),
        **more,
    }


def as_json(report: dict[str, Any]) -> str:
    """Return a report as JSON, null for what is not finite."""
    return json.dumps(_finite(report), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
