"""Benchmarks: every method on every item of a corrupted dataset, through any number of kills."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import catalog
from ..catalog import SettingError
from ..classical import baselines
from ..errors import CatalogError
from ..io import files
from ..io.arrays import to_pil
from ..likelihoods.base import Likelihood
from ..methods.base import Method
from ..pretrained.load import load_prior
from ..priors.base import Prior
from ..priors.counted import CountedPrior
from ..runtime.memory import batch_size
from ..runtime.placement import device_of, prepare_prior
from . import report, scores
from .datasets import Item, likelihood, manifest

__all__ = ["Settings", "benchmark"]

Row = dict[str, Any]
Image = tuple[Row, Tensor | None]
ROOM = {"cpu": 512**2}  # px at a time: a CPU gains little by more, and a kill costs more


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all rows of a folder have in common.

    Arguments:
        samples: How many a method draws of each posterior; 2 or more for coverage.
        seed: Of the methods; the measurements have their own.
        precision: Of the network, as for ``deploy.ready``.
        lpips: Whether LPIPS is measured, which takes longer than all else of a small image.
    """

    prior: str
    prior_sha256: str | None
    samples: int = 1
    seed: int = 0
    precision: str = "auto"
    lpips: bool = True


def benchmark(
    data: Path,
    out: Path,
    methods: Sequence[str],
    *,
    prior: Prior | str | None = None,
    samples: int = 1,
    seed: int = 0,
    device: str | None = None,
    precision: str = "auto",
    lpips: bool = True,
    batch: int | None = None,
    rank: int = 0,
    world: int = 1,
    say: Callable[[str], None] = print,
) -> int:
    """Run methods on a dataset; return how many rows of ``out`` are errors.

    A row is written when its image lies in ``out/pictures``, whole, and is then never done
    again; errors are. Of ``world`` processes each takes its share and writes a file of its own;
    the one that ends last writes the reports of all.

    Arguments:
        data: A folder that ``datasets.corrupt`` wrote.
        methods: Texts for ``catalog.build``, or names of ``classical.METHODS``.
        batch: Images at a time, of the same operator, noise and size; what the device holds
            where not given.

    Raises:
        SettingError: If a method is not there, or the folder holds rows of other settings.
    """
    if samples < 1 or not 0 <= rank < world:
        raise SettingError(f"samples are 1 or more and 0 <= rank < world, got {samples}, {rank}")
    items, built = manifest(data), {name: _method(name) for name in methods}
    model = prior if isinstance(prior, Prior) else load_prior(prior, device_of(device))
    settings = Settings(
        **_known(model), samples=samples, seed=seed, precision=precision, lpips=lpips
    )
    _same(out / "run.json", settings)
    path = out / f"rows.{rank}.jsonl"
    _mend(path)
    done = {_key(row) for row in scores.rows(out) if row["status"] != "error"}
    share = sorted(items, key=lambda item: item.form)[rank::world]
    with path.open("a", buffering=1) as file:
        for text, part in _plan(share, built, done, model, settings, batch):
            for row, x in _attempt(part, text, built[text], model, settings):
                if x is not None:
                    _keep(out / row["restored"], x)
                file.write(json.dumps(row) + "\n")
                told = row["reason"] if x is None else f"{row['psnr']:.2f} dB"
                say(f"{row['id']}, {text}: {told}")
    found = report.write(out, items, list(built), asdict(settings))
    return sum(row["status"] == "error" for row in found)


def _method(name: str) -> Method[Any] | None:
    """Return a method, None for a classical one."""
    if not name.startswith("classical:"):
        method: Method[Any] = catalog.build(name, ("methods",))
        return method
    if name not in baselines.METHODS:
        raise CatalogError(f"no method {name!r}; there are {', '.join(baselines.METHODS)}")
    return None


def _known(model: Prior) -> dict[str, Any]:
    name, digest = getattr(model, "name", type(model).__name__), getattr(model, "sha256", None)
    return {"prior": name, "prior_sha256": digest}


def _same(path: Path, settings: Settings) -> None:
    """Write the settings of a folder, or refuse other ones than it has."""
    text = json.dumps(asdict(settings), indent=1)
    if path.exists() and path.read_text() != text:
        raise SettingError(f"{path} tells of other settings; give another folder for this run")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(text.encode(), path, force=True)


def _mend(path: Path) -> None:
    """Cut off a line that a kill left half-written."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def _key(row: Row) -> tuple[str, str, str]:
    return row["id"], row["method"], row["measurement_sha256"]


def _plan(
    items: Sequence[Item],
    built: dict[str, Method[Any] | None],
    done: set[tuple[str, str, str]],
    model: Prior,
    settings: Settings,
    batch: int | None,
) -> Iterator[tuple[str, list[Item]]]:
    """Yield methods with batches of what is left to do, form by form."""
    for form in dict.fromkeys(item.form for item in items):
        alike = [item for item in items if item.form == form]
        size = batch or _room(model, alike[0].row["shape"], settings.samples)
        for text in built:
            left = [item for item in alike if _key(_head(item, text)) not in done]
            for i in range(0, len(left), size):
                yield text, left[i : i + size]


def _room(model: Prior, shape: Sequence[int], samples: int) -> int:
    room = ROOM.get(model.like.device.type, 4096**2)
    return max(1, room // (shape[-2] * shape[-1] * samples))


# One batch


def _attempt(
    items: list[Item], text: str, method: Method[Any] | None, model: Prior, settings: Settings
) -> list[Image]:
    """Return the rows of a batch; where it fails, each of its items is tried alone.

    What a method refuses, in a sentence, is "n/a": all else that goes wrong is an error.
    """
    try:
        given, truth = likelihood(items), torch.stack([item.truth() for item in items])
    except Exception as error:  # whatever a damaged file leads to, the others are to go on
        found, status = error, "error"
    else:
        try:
            return _solve(items, text, method, given, truth, model, settings)
        except (TypeError, ValueError) as error:
            found, status = error, "n/a"
        except Exception as error:
            found, status = error, "error"
    if len(items) > 1:
        alone = ([item] for item in items)
        return [p for one in alone for p in _attempt(one, text, method, model, settings)]
    reason = " ".join(str(found).split()) or type(found).__name__
    return [(_head(items[0], text) | {"status": status, "reason": reason}, None)]


def _solve(
    items: Sequence[Item],
    text: str,
    method: Method[Any] | None,
    given: Likelihood[Any],
    truth: Tensor,
    model: Prior,
    settings: Settings,
) -> list[Image]:
    """Return rows and images; streams are not those of the measurements' noise."""
    prior = CountedPrior(prepare_prior(model, truth.shape[1:], dtype=settings.precision))
    n, start, memory = 1, time.perf_counter(), Memory(prior.like.device)
    if method is None:
        x = baselines.restore(text, given)
    else:
        n, names = (
            settings.samples if method.stochastic else 1,
            [f"{item.id} restored" for item in items],
        )
        x = method(prior, given, n, settings.seed, ids=names, batch_size=batch_size(prior))
    x = x.cpu().float().reshape(len(items), n, *truth.shape[1:])
    if not x.isfinite().all():
        raise FloatingPointError("the restored image holds NaN or infinity")
    spent = {
        "seconds": (time.perf_counter() - start) / len(items),
        "calls": prior.count["calls"] // (len(items) * n),
        "gradients": prior.count["vjps"] // (len(items) * n),
        "memory": memory.peak(),
        "device": str(prior.like.device),
        "samples": n,
    }
    found = scores.measure(x, truth, given, settings.lpips)
    heads = (_head(item, text) | {"status": "ok"} for item in items)
    return [(head | row | spent, z) for head, row, z in zip(heads, found, x, strict=True)]


def _head(item: Item, text: str) -> Row:
    slug = re.sub(r"[^\w.-]+", "_", text)[:40] + "-" + sha256(text.encode()).hexdigest()[:8]
    same = {k: item.row[k] for k in ("problem", "picture", "measurement_sha256")}
    return {"id": item.id, "method": text, **same, "restored": f"images/{slug}/{item.id}.png"}


def _keep(path: Path, x: Tensor) -> None:
    """Write the first of the samples ``(n, 3, H, W)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(files.encode(np.asarray(to_pil(x[0])), None, ".png"), path, force=True)


class Memory:
    """The peak of memory in MB since it was made: the device's, or this process's on Linux."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> float | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
