"""Mixtures of Gaussians: priors whose posteriors are known exactly."""

from typing import Any

import torch
from torch import Tensor

from ..diffusions import GaussianDiffusion
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator
from ..random import Noise
from ..solvers import wide_dtype
from .base import Prior, flow_settings

__all__ = ["MixturePrior"]


class MixturePrior(Prior):
    """Sum_k w_k N(m_k, C_k), with E[x_0 | x_t] in closed form.

    Example::

        weights, means = torch.ones(2), torch.stack([-torch.ones(4), torch.ones(4)])
        prior = MixturePrior(weights, means, 0.1 * torch.ones(2))  # 4 numbers, two modes

    Arguments:
        weights: w, of shape ``(K,)``; they are normalized.
        means: m, of shape ``(K, *shape)``, D numbers each.
        covs: C: full ``(K, D, D)``, diagonal ``(K, D)`` or isotropic ``(K,)``.
        diffusion: How noise is added; by default ``GaussianDiffusion()``.
    """

    log_weights: Tensor
    means: Tensor
    eigvals: Tensor
    eigvecs: Tensor | None

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        covs: Tensor,
        diffusion: GaussianDiffusion | None = None,
    ) -> None:
        super().__init__()
        self.diffusion: GaussianDiffusion = diffusion or GaussianDiffusion()
        self.shape = tuple(means.shape[1:])
        flat = means.flatten(1)
        if covs.ndim == 3:
            eigvals, eigvecs = torch.linalg.eigh(covs)
        else:
            eigvals = covs.reshape(len(flat), -1).expand_as(flat).clone()
            eigvecs = None
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("means", flat)
        self.register_buffer("eigvals", eigvals.clamp_min(0))
        self.register_buffer("eigvecs", eigvecs)

    def _rotate(self, x: Tensor) -> Tensor:
        return x if self.eigvecs is None else torch.einsum("kde,bkd->bke", self.eigvecs, x)

    def _rotate_back(self, x: Tensor) -> Tensor:
        return x if self.eigvecs is None else torch.einsum("kde,bke->bkd", self.eigvecs, x)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        if self.eigvecs is None:
            return self._axis_aligned(x_t.flatten(1), alpha_t, sigma_t).reshape_as(x_t)
        diff = self._rotate(x_t.flatten(1)[:, None] - alpha_t * self.means)  # (B, K, D)
        var = alpha_t**2 * self.eigvals + sigma_t**2
        log_p = self.log_weights - (diff**2 / var + var.log()).sum(-1) / 2
        gain = self._rotate_back(alpha_t * self.eigvals / var * diff)
        x_0 = (log_p.softmax(-1)[..., None] * (self.means + gain)).sum(1)
        return x_0.reshape_as(x_t)

    def _axis_aligned(self, x: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> Tensor:
        """Return E[x_0 | x_t] without tensors ``(B, K, D)``: squares are multiplied out."""
        wide = wide_dtype(x)  # large squares cancel
        m = self.means.to(wide)
        C = self.eigvals.to(wide)
        z = x.to(wide)
        var = alpha_t**2 * C + sigma_t**2
        cross = z**2 @ (1 / var).mT - 2 * alpha_t * z @ (m / var).mT
        far = (alpha_t**2 * m**2 / var + var.log()).sum(1)
        r = (self.log_weights - (cross + far) / 2).softmax(-1)
        gain = alpha_t * C / var
        return (r @ ((1 - alpha_t * gain) * m) + (r @ gain) * z).to(x)

    def covs(self) -> Tensor:
        """Return the covariances, of shape ``(K, D, D)``."""
        if self.eigvecs is None:
            return torch.diag_embed(self.eigvals)
        return torch.einsum("kde,ke,kfe->kdf", self.eigvecs, self.eigvals, self.eigvecs)

    def log_prob(self, x: Tensor, t: Tensor | None = None, **settings: Any) -> Tensor:
        """Return the log-density of states in closed form, of shape ``(B,)``.

        Arguments:
            x: States, of shape ``(B, *shape)``.
            t: Their time in [0, 1]; by default they are clean, without any noise.
            settings: Those of ``density``, which a closed form does not need.

        Raises:
            SettingError: If there is no such setting.
        """
        flow_settings(settings)
        one = torch.ones((), dtype=torch.float64)
        alpha_t, sigma_t = (one, 0 * one) if t is None else self.diffusion.schedule(t)
        var = alpha_t**2 * self.eigvals + sigma_t**2
        diff = self._rotate(x.flatten(1)[:, None] - alpha_t * self.means)
        log_p = (diff**2 / var + (2 * torch.pi * var).log()).sum(-1) / 2
        return (self.log_weights - log_p).logsumexp(-1)

    def sample(self, noise: Noise) -> Tensor:
        """Draw exact clean states, one per row of ``noise``, of shape ``(B, *shape)``."""
        u = noise.uniform(self.means.new_empty(len(noise), 1))
        edges = self.log_weights.exp().cumsum(0)
        k = torch.searchsorted(edges, u).squeeze(1).clamp_max(len(edges) - 1)
        z = noise.normal(self.means[k])
        if self.eigvecs is None:
            z = self.eigvals[k].sqrt() * z
        else:  # by C^(1/2), which does not depend on the choice of eigenvectors
            Q = self.eigvecs[k]
            z = (Q @ (self.eigvals[k].sqrt()[..., None] * (Q.mT @ z[..., None])))[..., 0]
        return (self.means[k] + z).reshape(-1, *self.shape)

    def posterior(self, likelihood: GaussianLikelihood[LinearOperator]) -> "MixturePrior":
        """Return p(x_0 | y), a mixture again, for one measurement of a linear A with sigma > 0.

        With S_k = A C_k A^T + sigma^2 and G_k = C_k A^T S_k^-1: means m_k + G_k (y - A m_k),
        covariances C_k - G_k A C_k, weights w_k N(y; A m_k, S_k).
        """
        d = self.means.shape[1]
        basis = torch.eye(d).to(self.means).reshape(d, *self.shape)
        A = likelihood.operator(basis).flatten(1).mT  # (M, D)
        C = self.covs()
        S_noise = likelihood.sigma**2 * torch.eye(len(A)).to(A)
        S = A @ C @ A.mT + S_noise
        gain = torch.linalg.solve(S, A @ C).mT
        r = likelihood.y.reshape(1, -1) - self.means @ A.mT  # (K, M)
        means = self.means + torch.einsum("kdm,km->kd", gain, r)
        fit = (torch.linalg.solve(S, r[..., None])[..., 0] * r).sum(-1) + torch.logdet(S)
        covs = C - gain @ A @ C
        weights = (self.log_weights - fit / 2).softmax(0)
        shaped = means.reshape(-1, *self.shape)
        return MixturePrior(weights, shaped, (covs + covs.mT) / 2, self.diffusion)
