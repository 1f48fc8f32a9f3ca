"""Batches: an image came out otherwise beside others than alone, or the batch ended in an error."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.catalog import build
from diffprior.operators.base import Operator
from diffprior.priors.mixture import MixturePrior

X = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SIMPLE = MixturePrior(torch.ones(2), torch.stack([X[0] - 0.5, 0.5 - X[1]]), torch.full((2,), 0.1))
OTHER_AXES = (  # operators whose y has other axes than an image, and what reconstruct takes
    "hadamard(ratio=0.25)",
    "compressed(ratio=0.25)",
    "average(factor=4)",
    "fourier(keep='radial:20')",
)
MIXED = [
    (method, operator)
    for method in ("pigdm", "tmpd", "mcgdiff")
    for operator in OTHER_AXES
    if method != "mcgdiff" or not operator.startswith("compressed")  # it needs an SVD
]


def measured(operator: str) -> Tensor:
    A: Operator = build(operator, ("operators",))
    return A.for_shape(X.shape[1:])(2 * X - 1)


def reconstruct(y: Tensor, operator: str, **settings: Any) -> list[Tensor]:
    out = diffprior.reconstruct(
        y, operator, width=32, height=32, sigma=0.1, steps=2, dtype="float32", **settings
    )
    samples: list[Tensor] = out.samples
    return samples


@pytest.mark.saw("three images were mixed in silence, any other number ended in a size error")
@pytest.mark.parametrize("method, operator", MIXED)
def test_images_of_a_batch_are_not_mixed(method: str, operator: str) -> None:
    run = partial(reconstruct, operator=operator, method=method, prior=SIMPLE)
    y = measured(operator)
    alone = torch.cat([run(y[i : i + 1])[0] for i in range(3)])
    assert torch.equal(run(y)[0], alone)
    assert torch.equal(run(y[:2])[0], alone[:2])
    several = run(y[0], samples=2)
    assert not torch.equal(*several)


@pytest.mark.saw("a batch of reconstructions differed in its last digits from each of them alone")
@pytest.mark.parametrize("method", ["mmps(iterations=1)", "ddnm"])
@pytest.mark.parametrize(
    "operator", ["fourier(keep='radial:20')", "circular_blur(kernel='gaussian:2')"]
)
def test_transforms_do_not_round_by_the_batch(operator: str, method: str) -> None:
    run = partial(reconstruct, operator=operator, method=method)
    y = measured(operator)
    batch = run(y)[0]
    for i in (0, 2):
        assert torch.equal(batch[i], run(y[i : i + 1])[0][0])


HOLES = {  # rows and columns of the hole of each image; None is no hole
    "far corners": ((5, 15, 10, 15), (15, 22, 330, 340), (10, 15, 150, 160)),
    "one without a hole": ((5, 15, 10, 15), None, (10, 15, 330, 340)),
    "two alike": ((5, 15, 10, 15), (5, 15, 10, 15), (10, 15, 330, 340)),
}


@pytest.mark.saw("a hole was filled otherwise, by 29 of 255, beside an image with another hole")
@pytest.mark.parametrize(
    "holes, settings",
    [
        *((holes, {}) for holes in HOLES),
        ("far corners", {"fill": "texture"}),
        ("two alike", {"samples": 2}),
    ],
)
def test_a_hole_is_filled_as_if_alone(holes: str, settings: dict[str, Any]) -> None:
    image = torch.rand(3, 3, 24, 350, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 1, 24, 350)
    for m, hole in zip(mask, HOLES[holes], strict=True):
        if hole is not None:
            top, bottom, left, right = hole
            m[:, top:bottom, left:right] = 1
    run = partial(diffprior.inpaint, steps=1, dtype="float32", **settings)
    batch = run(image, mask)
    for i in range(3):
        alone = run(image[i : i + 1], mask[i : i + 1])
        for got, one in zip(batch.samples, alone.samples, strict=True):
            assert torch.equal(got[i], one[0])
        if batch.std is not None:
            assert torch.equal(batch.std[i], alone.std[0])
        assert torch.equal(batch.cover[i], alone.cover[0])
    kept = mask.expand_as(image) == 0
    assert torch.equal(batch.image[kept], image[kept])


@pytest.mark.saw("the report of a batch with different holes was that of one hole")
def test_the_report_of_a_batch_counts_all_of_it() -> None:
    image = torch.rand(2, 3, 24, 350, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(2, 1, 24, 350)
    mask[0, :, 5:15, 10:15] = 1
    seen: list[float] = []
    report = diffprior.inpaint(
        image, mask, steps=3, callback=lambda x, share: seen.append(share)
    ).report
    assert report["network_calls"] == 3
    assert report["sigma"] == [0.0, 0.0]
    assert "note" not in report
    assert report["method"] is not None and report["method"].startswith("DPIR(")
    assert seen == sorted(seen) and 0 < seen[0]
    empty = diffprior.inpaint(image, torch.zeros_like(mask), steps=3).report
    assert empty["method"] is None and "note" in empty
