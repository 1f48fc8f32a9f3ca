"""Benchmarks: every method on every item of a corrupted dataset; a stopped run goes on."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from .. import catalog
from ..classical import baselines
from ..errors import CatalogError, SettingError
from ..io import documents, files
from ..io.arrays import to_pil
from ..io.ledger import Ledger, Row
from ..likelihoods.base import Likelihood
from ..methods.base import Method
from ..networks.backends import check_backend
from ..pretrained.load import load_prior
from ..priors.base import Prior
from ..priors.counted import CountedPrior
from ..runtime.memory import batch_size
from ..runtime.placement import device_of, dtype_of, prepare_prior
from ..validation import Checked, Whole, Within, literal, nearest, shown
from . import recipes, report, scores
from .datasets import Item, likelihood, manifest

__all__ = ["Options", "benchmark"]

Key = tuple[str, str, str]
PIXELS = {"cpu": 512**2}  # at a time: more helps a CPU little, and a kill costs more work
MORE_PIXELS = 4096**2  # at a time on other devices


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """How a benchmark runs.

    Arguments:
        samples: Posterior samples of each item; 2 or more for coverage.
        seed: Seed of the methods. The measurements have their own.
        dtype: Number format of the network: "auto", "float32", "bfloat16" or "float16".
        backend: What computes the network: "torch" or "openvino"; by default torch.
        lpips: Whether to measure LPIPS, which takes longer than all else for a small image.
        device: Device of the prior; by default the fastest that is available.
        batch: Images at a time, of the same operator, noise and size; by default what fits.
        rank: Number of this process.
        world: Number of processes that share the work.
    """

    samples: Annotated[int, Within(1, 10_000)] = 1
    seed: Whole = 0
    dtype: str = "auto"
    backend: str | None = None
    lpips: bool = True
    device: str | None = None
    batch: int | None = None
    rank: Whole = 0
    world: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        dtype_of(self.dtype, torch.device("cpu"))
        if self.backend is not None:
            check_backend(self.backend)
        if not 0 <= self.rank < self.world:
            raise SettingError(f"rank must be in 0 ... {self.world - 1}, got {self.rank}")


def benchmark(
    data: Path,
    out: Path,
    methods: Sequence[str],
    options: Options = Options(),  # noqa: B008 (frozen)
    *,
    prior: Prior | str | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run methods on a corrupted dataset; return how many rows of ``out`` are errors.

    A row is written after its image in ``out/images``, and is then never computed again, unless
    it is an error. Each process computes its share and writes a file of its own; the process that
    ends last writes the reports of all: ``table.md``, ``table.csv`` and ``report.html``.

    Arguments:
        data: Folder that ``datasets.corrupt`` wrote.
        out: Folder of the rows, images and reports.
        methods: Texts for ``catalog.build``, or names of ``baselines.METHODS``.
        options: How to run.
        prior: Prior, or what ``load_prior`` takes.
        say: Receives one line for each row.

    Raises:
        SettingError: If a method does not exist, the dataset is none, the folder holds rows of
            other settings, or another run is writing to it.
    """
    items = manifest(data)
    check_recipe(data, items)
    built = {name: _method(name) for name in methods}
    device = device_of(options.device)
    with documents.locked(out / f".rows.{options.rank}.lock"):
        model = prior if isinstance(prior, Prior) else load_prior(prior, device)
        if options.backend is not None:
            model = model.with_backend(options.backend)
        settings = _settings(model, options)
        _check_settings(documents.inside(out, "run.json"), settings)
        path = out / f"rows.{options.rank}.jsonl"
        ledger = Ledger(path, scores.KEYS, len(scores.KEYS), scores.check_row)
        done = {_key(row) for row in scores.rows(out) if _is_done(out, row)}
        share = sorted(items, key=lambda item: item.form)[options.rank :: options.world]
        runner = _Runner(model, built, options)
        for text, batch in runner.batches(share, done):
            for row, x in runner.attempt(batch, text):
                if x is not None:
                    _save_image(documents.inside(out, row["restored"]), x)
                ledger.add(row)
                result = row["reason"] if x is None else f"{row['psnr']:.2f} dB"
                say(f"{shown(row['id'])}, {text}: {result}")
        rows = report.write(out, items, list(built), settings)
    return sum(row["status"] == "error" for row in rows)


def check_recipe(data: Path, items: Sequence[Item]) -> None:
    """Check, before any work, that the recipe of a dataset names all its degradations."""
    path = documents.inside(data, "recipe.toml")
    known = [problem.name for problem in recipes.read(path).problems]
    for item in items:
        if item.row["problem"] not in known:
            name = item.row["problem"]
            raise SettingError(f"{shown(path)} has no problem {name!r}; {nearest(name, known)}")


def _is_done(out: Path, row: Row) -> bool:
    """Return whether a row needs no work: it is no error, and its image is there."""
    if row["status"] == "ok":
        return (out / report.restored(row["id"], row["method"])).is_file()
    return bool(row["status"] != "error")


def _method(name: str) -> Method[Any] | None:
    """Return a method, None for a classical one."""
    if not name.startswith("classical:"):
        method: Method[Any] = catalog.build(name, ("methods",))
        return method
    if name not in baselines.METHODS:
        raise CatalogError(f"no method {literal(name)}; {nearest(name, baselines.METHODS)}")
    return None


def _settings(model: Prior, options: Options) -> dict[str, Any]:
    """Return what all rows of a folder have in common."""
    return {
        "prior": model.name,
        "prior_sha256": model.sha256,
        "samples": options.samples,
        "seed": options.seed,
        "precision": options.dtype,
        "lpips": options.lpips,
        **({} if options.backend is None else {"backend": options.backend}),
    }


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a folder, or refuse other ones than it has."""
    text = json.dumps(settings, indent=1)
    if not path.exists():
        documents.write(text.encode(), path)
    elif documents.read_text(path) != text:
        raise SettingError(
            f"{shown(path)} has other settings{_difference(path, settings)}; choose another folder "
            "for this run"
        )


def _difference(path: Path, settings: Mapping[str, Any]) -> str:
    """Return the first setting that a folder has with another value, with both values."""
    before = documents.read_json(documents.read_text(path), shown(path))
    if isinstance(before, Mapping):
        for name, value in settings.items():
            if name in before and before[name] != value:
                values = literal(before[name], 40), literal(value, 40)
                return f", {name} {values[0]} and not {values[1]}"
    return ""


def _key(row: Row) -> Key:
    return row["id"], row["method"], row["measurement_sha256"]


@dataclass(frozen=True)
class _Runner:
    """Runs methods on batches of items."""

    prior: Prior
    methods: Mapping[str, Method[Any] | None]
    options: Options

    def batches(self, items: Sequence[Item], done: set[Key]) -> Iterator[tuple[str, list[Item]]]:
        """Yield the names of methods with batches of the items that are left to do."""
        for form in dict.fromkeys(item.form for item in items):
            alike = [item for item in items if item.form == form]
            size = self.options.batch or self._batch_size(alike[0].row["shape"])
            for text in self.methods:
                left = [item for item in alike if _key(_head(item, text)) not in done]
                for i in range(0, len(left), size):
                    yield text, left[i : i + size]

    def _batch_size(self, shape: Sequence[int]) -> int:
        pixels = PIXELS.get(self.prior.like.device.type, MORE_PIXELS)
        return max(1, pixels // (shape[-2] * shape[-1] * self.options.samples))

    def attempt(self, items: list[Item], text: str) -> list[tuple[Row, Tensor | None]]:
        """Return the rows of a batch and its samples; after a failure, of each item alone.

        A refusal of the method, which is a sentence, has the status "n/a"; all other failures are
        errors.
        """
        try:
            posterior = likelihood(items)
            truth = torch.stack([item.truth() for item in items])
        except Exception as error:  # a damaged file must not stop the others
            status = "error"
            cause = error
        else:
            try:
                return self._solve(items, text, posterior, truth)
            except (TypeError, ValueError) as error:
                status = "n/a"
                cause = error
            except Exception as error:
                status = "error"
                cause = error
        if len(items) > 1:
            return [result for item in items for result in self.attempt([item], text)]
        reason = " ".join(str(cause).split()) or type(cause).__name__
        return [(_head(items[0], text) | {"status": status, "reason": reason}, None)]

    def _solve(
        self, items: Sequence[Item], text: str, posterior: Likelihood[Any], truth: Tensor
    ) -> list[tuple[Row, Tensor | None]]:
        """Return the rows of a batch, and its samples ``(n, C, H, W)``.

        The names of the noise streams differ from those of the measurements.
        """
        options = self.options
        method = self.methods[text]
        ready = prepare_prior(
            self.prior, truth.shape[1:], dtype=options.dtype, backend=options.backend
        )
        prior = CountedPrior(ready)
        memory = PeakMemory(prior.like.device)
        start = time.perf_counter()
        n = options.samples if method is not None and method.stochastic else 1
        if method is None:
            x = baselines.restore(text, posterior)
        else:
            ids = [f"{item.id} restored" for item in items]
            rows = batch_size(prior)
            x = method(prior, posterior, n, options.seed, ids=ids, batch_size=rows)
        x = x.cpu().float().reshape(len(items), n, *truth.shape[1:])
        if not x.isfinite().all():
            raise FloatingPointError("the restored image holds NaN or infinity")
        costs = {
            "seconds": (time.perf_counter() - start) / len(items),
            "calls": prior.count["calls"] // (len(items) * n),
            "gradients": prior.count["vjps"] // (len(items) * n),
            "memory": memory.megabytes(),
            "device": str(prior.like.device),
            "samples": n,
        }
        measured = scores.measure(x, truth, posterior, options.lpips)
        heads = (_head(item, text) | {"status": "ok"} for item in items)
        return [(head | row | costs, z) for head, row, z in zip(heads, measured, x, strict=True)]


def _head(item: Item, text: str) -> Row:
    """Return the fields of a row that are known before it is computed."""
    same = {k: item.row[k] for k in ("problem", "picture", "measurement_sha256")}
    return {"id": item.id, "method": text, **same, "restored": report.restored(item.id, text)}


def _save_image(path: Path, x: Tensor) -> None:
    """Write the first of the samples ``(n, 3, H, W)``."""
    documents.write(files.encode(np.asarray(to_pil(x[0])), None, ".png"), path)


class PeakMemory:
    """The peak of memory since this object was created, of a GPU, or of this process on Linux."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def megabytes(self) -> float | None:
        """Return the peak in MB, None where it is not known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3
