"""Muon, the optimizer of the convolution kernels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalize"]


def orthogonalize(x: Tensor) -> Tensor:
    """Return approximations of the nearest orthogonal matrices of a batch ``(n, r, c)``.

    Four Newton-Schulz steps with the coefficients of "Muon: An optimizer for hidden layers in
    neural networks" (Jordan et al., 2024), https://kellerjordan.github.io/posts/muon/. The steps
    are computed on the Gram matrix, so that the products are small and square, and on all matrices
    of one shape at once; both make them fast on a CPU.
    """
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.mT).mT
    a = 3.4445
    b = -4.7750
    c = 2.0315
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    gram = x @ x.mT
    product = None
    eye = torch.eye(x.shape[1], device=x.device)
    for _ in range(4):
        z = a * eye + b * gram + c * gram @ gram
        product = z if product is None else z @ product
        gram = z @ gram @ z
        gram = (gram + gram.mT) / 2
    return product @ x  # type: ignore[operator]


class Muon(torch.optim.Optimizer):
    """Muon for convolution kernels, which ``torch.optim.Muon`` does not support.

    The update is the orthogonalized Nesterov momentum of the gradient, kernels read as matrices of
    their output channels.

    Arguments:
        params: Parameters of shape ``(out, in, height, width)``.
        lr: Learning rate.
        momentum: Factor of the momentum.
    """

    def __init__(self, params: Sequence[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                self.state[p].setdefault("momentum", torch.zeros_like(p))
                shapes.setdefault(tuple(p.shape), []).append(p)
            for shape, ps in shapes.items():
                update = []
                for p in ps:
                    assert p.grad is not None
                    m = self.state[p]["momentum"].mul_(group["momentum"]).add_(p.grad)
                    update.append(p.grad.add(m, alpha=group["momentum"]).reshape(shape[0], -1))
                x = orthogonalize(torch.stack(update))
                rate = group["lr"] * max(1.0, x.shape[1] / x.shape[2]) ** 0.5
                for p, u in zip(ps, x, strict=True):
                    p.add_(u.reshape(shape), alpha=-rate)
