"""Operators give an image of a batch the bits that it gets alone, in any memory layout."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from diffprior.operators.average import Average
from diffprior.operators.base import LinearOperator, Operator, SVDOperator, stack
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.compressed import Compressed
from diffprior.operators.decimate import Decimate
from diffprior.operators.fourier import Fourier
from diffprior.operators.gamma_blur import GammaBlur
from diffprior.operators.gray import Gray
from diffprior.operators.hadamard import Hadamard
from diffprior.operators.hdr import HDR
from diffprior.operators.jpeg import JPEG
from diffprior.operators.mask import Mask
from diffprior.operators.phase_retrieval import PhaseRetrieval
from diffprior.operators.quantize import Quantize

from support.exact import random

SKEW = torch.tensor([[0.0, 0.2, 0.1], [0.1, 0.3, 0.0], [0.05, 0.05, 0.2]])
KERNELS = torch.stack([SKEW, SKEW.T, SKEW.flip(0)])
ODD = (3, 17, 23)
EVEN = (3, 32, 32)
PLANE = (1, 128, 131)  # from 64 rows on, real transforms round by the batch
CASES: dict[str, tuple[Operator, tuple[int, ...]]] = {
    "average": (Average(2), EVEN),
    "bicubic": (Bicubic(2), ODD),
    "blur": (Blur(SKEW), PLANE),
    "blur, a kernel each": (Blur(KERNELS, "zero"), ODD),
    "circular_blur": (CircularBlur(SKEW), PLANE),
    "circular_blur, a kernel each": (CircularBlur(KERNELS), ODD),
    "compressed": (Compressed(0.1), ODD),
    "decimate of a blur": (Decimate(2) @ Blur(SKEW), EVEN),
    "fourier": (Fourier("radial:9"), PLANE),
    "fourier, a mask each": (Fourier((random(3, 17, 23) > 0).float()), ODD),
    "gamma_blur": (GammaBlur(0.5), ODD),
    "gray": (Gray(), ODD),
    "hadamard": (Hadamard(0.25), EVEN),
    "hdr": (HDR(), ODD),
    "jpeg": (JPEG(50), ODD),
    "jpeg, a quality each": (JPEG([10, 50, 80]), EVEN),
    "mask": (Mask((random(1, 17, 23) > 0).float()), ODD),
    "phase_retrieval": (PhaseRetrieval(), (3, 65, 67)),
    "quantize": (Quantize(3), ODD),
    "stack": (stack(Gray(), Mask((random(1, 17, 23) > 0).float())), ODD),
}


def maps(A: Operator, x: Tensor, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield everything that an operator makes of states and of measurements."""
    yield "A x", A(x)
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        yield "gradient", torch.autograd.grad(A(leaf).square().sum(), leaf)[0]
    if isinstance(A, LinearOperator):
        yield "A^T y", A.adjoint(y)
        yield "A^+ y", A.pinv(y)
    if isinstance(A, SVDOperator):
        z = A.to_spectrum(x)
        yield "V^T x", z
        yield "V z", A.from_spectrum(z)
        yield "U^T y", A.to_left(y)
        yield "U z", A.from_left(z)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_an_operator_does_not_look_at_the_batch(name: str, layout: torch.memory_format) -> None:
    A, shape = CASES[name]
    A = A.for_shape(shape)
    x = random(3, *shape, dtype=torch.float32).contiguous(memory_format=layout)
    y = A(x)
    y = y.contiguous(memory_format=layout) if y.ndim == 4 else y
    batch = list(maps(A, x, y))
    for i in range(3):
        own = A.select(torch.tensor([i]))
        for (what, got), (_, alone) in zip(
            batch, maps(own, x[i : i + 1], y[i : i + 1]), strict=True
        ):
            assert torch.equal(got[i], alone[0]), what
