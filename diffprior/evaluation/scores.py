"""What a benchmark measures of an image, and the means of it beside what others published."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..errors import MetricError
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from .datasets import Item
from .recipes import Recipe

__all__ = ["ALWAYS", "COLUMNS", "COSTS", "Line", "lines", "measure", "rows"]

Row = dict[str, Any]
COLUMNS = {  # titles and formats
    "psnr": ("PSNR, dB", ".2f"),
    "psnr_mean": ("PSNR of the mean", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "lpips": ("LPIPS", ".3f"),
    "fid": ("FID", ".1f"),
    "chi2": ("chi^2", ".2f"),
    "residual": ("residual", ".4f"),
    "coverage": ("coverage", ".2f"),
    "seconds": ("seconds", ".2f"),
    "calls": ("calls", ".0f"),
    "gradients": ("gradients", ".0f"),
    "memory": ("memory, MB", ".0f"),
}
ALWAYS = ("psnr", "ssim", "lpips", "chi2")  # a PSNR never stands alone
COSTS = ("seconds", "calls", "gradients", "memory")


@torch.no_grad()
def measure(x: Tensor, truth: Tensor, given: Likelihood[Any], lpips: bool = True) -> list[Row]:
    """Return the scores of samples ``(B, n, *shape)``, for each of the B: means over its samples.

    ``psnr_mean`` is the PSNR of the samples' mean, ``residual`` the root mean square of y - A x;
    what cannot be had is None, and ``no_lpips`` says why there is no LPIPS.
    """
    draws, why = x.unbind(1), "" if lpips else "It was not asked for."
    found: dict[str, list[Tensor]] = {"psnr": [metrics.psnr(z, truth) for z in draws]}
    found["ssim"] = [metrics.ssim(z, truth) for z in draws]
    try:
        if lpips:
            found["lpips"] = [metrics.lpips(z, truth) for z in draws]
    except MetricError as error:
        why = str(error)
    A, y = given.operator, given.y
    m = A.mask_unmeasured(torch.ones_like(y)).flatten(1).sum(1)
    squares = [A.mask_unmeasured(y - A(z)).flatten(1).square().sum(1) / m for z in draws]
    found["residual"] = [r.sqrt() for r in squares]
    if isinstance(given, GaussianLikelihood) and given.sigma > 0:
        found["chi2"] = [given.chi2(z) for z in draws]
    if len(draws) > 1:
        found["psnr_mean"] = [metrics.psnr(x.mean(1), truth)]
        found["coverage"] = [metrics.coverage(x.movedim(1, 0), truth)]
    means = {key: torch.stack(v).double().mean(0).tolist() for key, v in found.items()}
    said = {"no_lpips": why} if why else {}
    return [said | {key: v[i] for key, v in means.items()} for i in range(len(x))]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one method reached on one problem: (mean, standard error) by column, over n images.

    ``said`` tells why there is nothing, or where a published figure stands.
    """

    problem: str
    method: str
    kind: str = "ours"
    n: int = 0
    values: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    said: str = ""


def rows(out: Path) -> list[Row]:
    """Return the rows of all processes, the last of each item and method."""
    found = dict[tuple[str, str, str], Row]()
    for path in sorted(out.glob("rows.*.jsonl")):
        for text in path.read_text().split("\n")[:-1]:  # what follows the last \n is half a line
            row = json.loads(text)
            found[row["id"], row["method"], row["measurement_sha256"]] = row
    return list(found.values())


def lines(found: Sequence[Row], plan: Recipe, items: Sequence[Item]) -> list[Line]:
    """Return the lines of all problems, the published ones of each below ours."""
    out = []
    for name in dict.fromkeys(item.row["problem"] for item in items):
        here = [r for r in found if r["problem"] == name]
        for method in dict.fromkeys(r["method"] for r in here):
            out.append(_line(name, method, [r for r in here if r["method"] == method]))
        published = next(p.published for p in plan.problems if p.name == name)
        for given in published:
            values = {k: (float(given[k]), None) for k in COLUMNS if k in given}
            said = given.get("source", plan.source)
            kind = {"kind": "published", "method": given["method"]}
            out.append(Line(problem=name, values=values, said=said, **kind))
    return out


def _line(problem: str, method: str, mine: Sequence[Row]) -> Line:
    good = [r for r in mine if r["status"] == "ok"]
    values = {}
    for key in COLUMNS:
        numbers = [r[key] for r in good if r.get(key) is not None]
        if numbers:
            values[key] = statistics.fmean(numbers), _error(numbers)
    bad = [r for r in mine if r["status"] != "ok"]
    said = f"{bad[0]['status']}, {len(bad)} of {len(mine)}: {bad[0]['reason']}" if bad else ""
    return Line(problem=problem, method=method, n=len(good), values=values, said=said)


def _error(numbers: Sequence[float]) -> float | None:
    """Return the standard error of the mean, None of one number or of infinite ones."""
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return None
    return statistics.stdev(numbers) / math.sqrt(len(numbers))
