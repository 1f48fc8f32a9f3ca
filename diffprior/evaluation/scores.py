"""What a benchmark measures of an image, and means of it next to published results."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from .. import metrics
from ..errors import MetricError, SettingError
from ..io import documents
from ..io.ledger import Row, read_rows
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.mask import Mask
from ..runtime.surroundings import Surroundings
from ..validation import Checked, Measured, Within, from_file
from .datasets import Item
from .recipes import BenchmarkRecipe

__all__ = ["ALWAYS", "COLUMNS", "COSTS", "KEYS", "Line", "check_row", "lines", "measure", "rows"]

KEYS = ("id", "method", "measurement_sha256")  # fields that identify a row
Count = Annotated[int, Within(0)]
COLUMNS = {  # titles and formats
    "psnr": ("PSNR, dB", ".2f"),
    "psnr_mean": ("PSNR of the mean", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "lpips": ("LPIPS", ".3f"),
    "fid": ("FID", ".1f"),
    "patches": ("patch distance", ".2f"),
    "chi2": ("chi^2", ".2f"),
    "residual": ("residual", ".4f"),
    "coverage": ("coverage", ".2f"),
    "seconds": ("seconds", ".2f"),
    "calls": ("calls", ".0f"),
    "gradients": ("gradients", ".0f"),
    "memory": ("memory, MB", ".0f"),
}
ALWAYS = ("psnr", "ssim", "lpips", "chi2")  # columns that are shown even if they are empty
COSTS = ("seconds", "calls", "gradients", "memory")


@torch.no_grad()
def measure(x: Tensor, truth: Tensor, likelihood: Likelihood[Any], lpips: bool = True) -> list[Row]:
    """Return the scores of each image: means over its samples.

    ``psnr_mean`` is the PSNR of the mean of the samples, ``residual`` the root mean square of
    y - A x, ``patches`` the patch distance in the holes of a mask. Scores that cannot be computed
    are left out; ``no_lpips`` says why LPIPS is. Of a scene that is wider than its measurement,
    behind a free blur, only the measured part is compared.

    Arguments:
        x: Samples, of shape ``(B, n, C, H, W)``.
        truth: True images, of shape ``(B, C, H, W)``.
        likelihood: Likelihood of the B measurements.
        lpips: Whether to measure LPIPS.
    """
    states = x.unbind(1)
    around = Surroundings.of(likelihood.operator)
    x, truth = around.cut(x), around.cut(truth)
    samples = x.unbind(1)
    reason = "" if lpips else "It is switched off."
    scores: dict[str, list[Tensor]] = {
        "psnr": [metrics.psnr(z, truth) for z in samples],
        "ssim": [metrics.ssim(z, truth) for z in samples],
    }
    try:
        if lpips:
            scores["lpips"] = [metrics.lpips(z, truth) for z in samples]
    except MetricError as error:
        reason = str(error)
    A, y = likelihood.operator, likelihood.y
    if isinstance(A, Mask):
        lost = (A.mask_unmeasured(torch.ones_like(y)) == 0).all(1, keepdim=True)
        scores["patches"] = [metrics.patch_distance(z, truth, lost) for z in samples]
    m = A.mask_unmeasured(torch.ones_like(y)).flatten(1).sum(1)
    squares = [A.mask_unmeasured(y - A(z)).flatten(1).square().sum(1) / m for z in states]
    scores["residual"] = [square.sqrt() for square in squares]
    if isinstance(likelihood, GaussianLikelihood) and likelihood.sigma > 0:
        scores["chi2"] = [likelihood.chi2(z) for z in states]
    if len(samples) > 1:
        scores["psnr_mean"] = [metrics.psnr(x.mean(1), truth)]
        scores["coverage"] = [metrics.coverage(x.movedim(1, 0), truth)]
    means = {key: torch.stack(v).double().mean(0).tolist() for key, v in scores.items()}
    note = {"no_lpips": reason} if reason else {}
    return [
        note | {key: v[i] for key, v in means.items() if not math.isnan(v[i])}
        for i in range(len(x))
    ]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The result of one method on one degradation.

    Arguments:
        problem: Name of the degradation.
        method: Name of the method.
        kind: "ours", or "published" for a result of others.
        n: Number of images.
        values: Mean and standard error, by column.
        remark: Why there is no result, or where a published one stands.
    """

    problem: str
    method: str
    kind: str = "ours"
    n: int = 0
    values: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class _Row(Checked):
    """The fields of a row of a benchmark."""

    id: str
    method: str
    problem: str
    picture: str
    measurement_sha256: str
    restored: str
    status: Literal["ok", "n/a", "error"]
    reason: str = ""
    no_lpips: str = ""
    psnr: Measured | None = None
    psnr_mean: Measured | None = None
    ssim: Measured | None = None
    lpips: Measured | None = None
    patches: Measured | None = None
    residual: Measured | None = None
    chi2: Measured | None = None
    coverage: Measured | None = None
    seconds: Measured | None = None
    calls: Count | None = None
    gradients: Count | None = None
    memory: Measured | None = None
    device: str = ""
    samples: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.status == "ok" and self.psnr is None:
            raise SettingError("a row without an error needs its psnr")


def check_row(row: Row) -> None:
    """Raise a ``SettingError`` for what is no row of a benchmark."""
    from_file(_Row, row, "a row")


def rows(out: Path) -> list[Row]:
    """Return the rows of all processes, the last one of each item and method."""
    latest: dict[tuple[Any, ...], Row] = {}
    for path in sorted(out.glob("rows.*.jsonl")):
        for row in read_rows(documents.inside(out, path.name), check_row):
            latest[tuple(row[k] for k in KEYS)] = row
    return list(latest.values())


def lines(current: Sequence[Row], plan: BenchmarkRecipe, items: Sequence[Item]) -> list[Line]:
    """Return the lines of all degradations, the published ones of each below ours."""
    result = []
    for name in dict.fromkeys(item.row["problem"] for item in items):
        own = [r for r in current if r["problem"] == name]
        for method in dict.fromkeys(r["method"] for r in own):
            result.append(_line(name, method, [r for r in own if r["method"] == method]))
        published = next(p.published for p in plan.problems if p.name == name)
        for figures in published:
            found = {k: getattr(figures, k, None) for k in COLUMNS}
            line = Line(
                problem=name,
                method=figures.method,
                kind="published",
                values={k: (float(v), None) for k, v in found.items() if v is not None},
                remark=plan.source if figures.source is None else figures.source,
            )
            result.append(line)
    return result


def _line(problem: str, method: str, own: Sequence[Row]) -> Line:
    good = [r for r in own if r["status"] == "ok"]
    values = {}
    for key in COLUMNS:
        numbers = [r[key] for r in good if r.get(key) is not None]
        if numbers:
            values[key] = statistics.fmean(numbers), _standard_error(numbers)
    bad = [r for r in own if r["status"] != "ok"]
    remark = f"{bad[0]['status']}, {len(bad)} of {len(own)}: {bad[0]['reason']}" if bad else ""
    return Line(problem=problem, method=method, n=len(good), values=values, remark=remark)


def _standard_error(numbers: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None for one number or infinite ones."""
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return None
    return statistics.stdev(numbers) / math.sqrt(len(numbers))
