"""Fourier transforms of images that do not depend on the batch, to the last bit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..batching import row_by_row

__all__ = ["convolve", "fft2"]


def fft2(x: Tensor) -> Tensor:
    """Return the orthonormal transform of images, real or complex, over the last two axes.

    It is taken in one memory layout: of images with the channels last, as a network may return
    them, one alone would round differently.
    """
    z: Tensor = torch.fft.fft2(x.contiguous(), norm="ortho")
    return z


def convolve(x: Tensor, kernel: Tensor, size: Sequence[int], adjoint: bool = False) -> Tensor:
    """Return images ``(B, C, H, W)`` convolved with a kernel on a torus, or the adjoint of that.

    Real transforms and complex products round by the size of the batch on a CPU, so that each
    image goes alone there.

    Arguments:
        kernel: Of shape ``(h, w)``, or ``(B, h, w)`` with one for each image.
        size: (H, W) of the torus, of the images or larger; they are zero beyond their border.
    """
    kernels = kernel.reshape(-1, 1, *kernel.shape[-2:])
    k_hat = row_by_row(lambda k: torch.fft.rfft2(k, s=size), kernels)
    k_hat = k_hat.conj() if adjoint else k_hat
    rows = max(len(x), len(k_hat))

    def product(x: Tensor, k_hat: Tensor) -> Tensor:
        y: Tensor = torch.fft.irfft2(torch.fft.rfft2(x.contiguous(), s=size) * k_hat, s=size)
        return y

    return row_by_row(product, *(part.expand(rows, -1, -1, -1) for part in (x, k_hat)))
