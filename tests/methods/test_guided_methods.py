"""Methods that change the denoiser or the kernel: their formulas, laws, limits and old faults."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from diffprior.batching import silent
from diffprior.catalog import build
from diffprior.diffusions import GaussianDiffusion
from diffprior.kernels import GaussianKernel, RotatedKernel, SplicedKernel
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.ald import ALD
from diffprior.methods.base import Posterior
from diffprior.methods.ddnm import DDNM
from diffprior.methods.ddrm import DDRM
from diffprior.methods.dps import DPS
from diffprior.methods.ilvr import ILVR
from diffprior.methods.mcg import MCG
from diffprior.methods.mmps import MMPS
from diffprior.methods.pigdm import PiGDM
from diffprior.methods.psld import PSLD
from diffprior.methods.resample import ReSample
from diffprior.methods.score_sde import ScoreSDE
from diffprior.methods.tmpd import TMPD
from diffprior.operators.base import LinearOperator
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.priors.base import Prior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.ddim import DDIM
from diffprior.samplers.dpm import DPM
from diffprior.schedules import LinearBeta

from support.exact import deviations, moments, random

KEEP = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
EYE = torch.eye(4, dtype=torch.float64)
T = torch.tensor(0.4, dtype=torch.float64)
S = torch.tensor(0.35, dtype=torch.float64)
N = 4000


class Known(Prior):
    """A prior that has seen the image."""

    def __init__(self, x_0: Tensor, diffusion: GaussianDiffusion) -> None:
        super().__init__()
        self.x_0, self.diffusion, self.shape = x_0, diffusion, tuple(x_0.shape[1:])

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.x_0.expand_as(x_t)


class Plain(LinearOperator):
    """A matrix that keeps its SVD to itself."""

    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.shape = (A.shape[1],)
        self.register_buffer("A", A)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.A.mT


def turned(*s: float) -> Tensor:
    """A square matrix of these singular values, in no basis of its own."""
    d = len(s)
    U, V = (torch.linalg.qr(random(d, d, seed=seed))[0] for seed in (11, 12))
    return U @ torch.diag(torch.tensor(s, dtype=torch.float64)) @ V.T


def round_prior(var: float = 0.5, *, scale: Tensor | None = None) -> MixturePrior:
    covs = torch.tensor([var]).double() if scale is None else scale[None]
    return MixturePrior(torch.ones(1).double(), random(1, 4, seed=1), covs)


def covariance(kernel: Any, n: int = 4) -> Tensor:
    """The covariance of a rotated or a spliced kernel, column by column."""
    zero = kernel.tilt(torch.zeros(1, n).double()).mean
    return torch.cat([kernel.tilt(e[None]).mean - zero for e in torch.eye(n).double()])


def draw(mean: Tensor, deviation: Tensor | float, seed: int) -> Tensor:
    return mean + deviation * random(N, mean.shape[-1], seed=seed)


# The two kernels


@pytest.fixture(params=["rotated", "spliced"])
def kernel(request) -> tuple[Any, Tensor, Tensor]:
    """A kernel, its mean and its covariance by dense algebra."""
    Q = torch.linalg.qr(random(4, 4, seed=9))[0]
    u, v = random(1, 4, seed=1), random(1, 4, seed=2)
    if request.param == "rotated":
        var = torch.tensor([0.1, 0.5, 1.0, 2.0]).double()
        inner = GaussianKernel(u, var)
        made = RotatedKernel(inner, lambda x: x @ Q, lambda z: z @ Q.T)
        return made, (u @ Q.T)[0], Q @ var.diag() @ Q.T
    P, seen, rest = Q[:, :2] @ Q[:, :2].T, torch.tensor(0.3).double(), torch.tensor(1.4).double()
    made = SplicedKernel(GaussianKernel(u, seen), GaussianKernel(v, rest), lambda x: x @ P)
    return made, (u @ P + v @ (EYE - P))[0], seen * P + rest * (EYE - P)


def test_a_kernel_is_its_gaussian(kernel) -> None:
    """Mean, draws at 4 standard errors, differences of log_prob, tilt = mean += cov score."""
    made, mean, cov = kernel
    torch.testing.assert_close(made.mean[0], mean)
    many = dataclasses.replace(
        made,
        **{
            f.name: GaussianKernel(k.loc.expand(N, 4), k.var)
            for f in dataclasses.fields(made)
            if isinstance(k := getattr(made, f.name), GaussianKernel)
        },
    )
    assert deviations(many.sample(Noise(0, range(N))), mean, cov) < 4
    x, exact = random(5, 4, seed=3), MultivariateNormal(mean, cov)
    log_p = made.log_prob(x) - exact.log_prob(x)
    torch.testing.assert_close(log_p, log_p[:1].expand(5))
    if isinstance(made, RotatedKernel):
        assert log_p.abs().max() < 1e-10
    torch.testing.assert_close(made.tilt(x[:1]).mean[0], mean + cov @ x[0])


# DDRM and DDNM+: what is drawn has the noise that the prior was trained on


SIGMA = 0.2


@pytest.mark.parametrize("schedule", [None, LinearBeta()], ids=["cosine", "linear"])
@pytest.mark.parametrize("eta, eta_b", [(0.85, 1.0), (0.0, 0.4), (1.0, 0.7)])
def test_ddrm_states_have_the_noise_of_their_time(eta, eta_b, schedule) -> None:
    """Knowing x_0: x_s ~ N(alpha_s x_0, sigma_s^2) over y and x_t, in all three cases of eq. 8.

    A threshold at s > sigma, or noise divided by sqrt(2), would show: 4 standard errors.
    """
    A, x_0 = turned(2.0, 0.5, 0.1, 0.0), random(1, 4)
    diffusion = GaussianDiffusion(schedule) if schedule else GaussianDiffusion()
    (alpha_t, sigma_t), (alpha_s, sigma_s) = diffusion.schedule(T), diffusion.schedule(S)
    assert SIGMA / 0.5 < sigma_s / alpha_s < SIGMA / 0.1
    y = draw(x_0 @ A.T, SIGMA, 2)
    likelihood = GaussianLikelihood(operator=Matrix(A), y=y, sigma=SIGMA)
    x_t = draw(alpha_t * x_0, sigma_t, 3)
    kernel = DDRM(eta=eta, eta_b=eta_b).kernel(
        Posterior(Known(x_0, diffusion), likelihood), x_t, T, S, 1.0
    )
    x_s = kernel.sample(Noise(0, range(N)))
    assert deviations(x_s, alpha_s * x_0[0], sigma_s**2 * EYE) < 4.5


@pytest.mark.parametrize("eta", [0.0, 0.85, 1.0])
def test_ddnm_plus_states_have_the_noise_of_their_time(eta: float) -> None:
    """The same, from states that hold y already where it is cleaner than they are.

    One entry is above its level at both times, one crosses it, one is below, one is not seen.
    """
    diffusion, x_0 = GaussianDiffusion(), random(1, 4)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = diffusion.schedule(T), diffusion.schedule(S)
    r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
    A = Matrix(turned(2.0, float(2 * SIGMA / (r_t + r_s)), 0.1, 0.0))
    y = draw(A(x_0), SIGMA, 2)
    r_y = torch.where(A.s > 1e-9, SIGMA / A.s, torch.inf)
    assert (r_y < torch.stack([r_s, r_t, r_t])[:, None]).sum(0).shape == (4,)
    assert (r_y[0] < r_s) and (r_s < r_y[1] < r_t) and (r_y[2] > r_t)
    clean, fresh = A.to_spectrum(x_0), random(N, 4, seed=3)
    held = A.to_left(y) / A.s + (r_t**2 - r_y**2).sqrt() * fresh
    x_t = alpha_t * A.from_spectrum(torch.where(r_y < r_t, held, clean + r_t * fresh))
    likelihood = GaussianLikelihood(operator=A, y=y, sigma=SIGMA)
    kernel = DDNM().kernel(Posterior(Known(x_0, diffusion), likelihood), x_t, T, S, eta)
    x_s = kernel.sample(Noise(0, range(N)))
    assert deviations(x_s, alpha_s * x_0[0], sigma_s**2 * EYE) < 4.5


def test_ddrm_is_equation_8(gaussian: MixturePrior) -> None:
    """Each direction by hand: not seen, noisier than the state, cleaner than it."""
    A, y, eta, eta_b = Matrix(turned(2.0, 0.5, 0.1, 0.0)), random(1, 4, seed=1), 0.6, 0.8
    likelihood = GaussianLikelihood(operator=A, y=y, sigma=SIGMA)
    x_t, schedule = random(1, 4), gaussian.diffusion.schedule
    r_t, r_s, alpha_s = schedule.ratio(T), schedule.ratio(S), schedule(S)[0]
    x_0, z = A.to_spectrum(gaussian(x_t, T))[0], A.to_spectrum(x_t)[0] / schedule(T)[0]
    ybar = A.to_left(y)[0] / A.s
    loc, var = x_0.clone(), torch.full_like(x_0, eta**2) * r_s**2
    loc[3] += (1 - eta**2) ** 0.5 * r_s * (z[3] - x_0[3]) / r_t
    loc[2] += (1 - eta**2) ** 0.5 * r_s * (ybar[2] - x_0[2]) / (SIGMA / 0.1)
    loc[:2] = (1 - eta_b) * x_0[:2] + eta_b * ybar[:2]
    var[:2] = r_s**2 - SIGMA**2 / A.s[:2] ** 2 * eta_b**2
    kernel = DDRM(eta=eta, eta_b=eta_b).kernel(Posterior(gaussian, likelihood), x_t, T, S, 1.0)
    assert isinstance(kernel, RotatedKernel)
    torch.testing.assert_close(kernel.inner.loc[0], alpha_s * loc)
    torch.testing.assert_close(kernel.inner.var, alpha_s**2 * var)
    conditioned, eps = SimpleNamespace(kernel=lambda *_: kernel), Noise(0).normal(loc[None])[0]
    for k in (1.0, 0.7):  # the temperature scales the noise, and nothing else
        x_s, _ = Ancestral(temperature=k).step(conditioned, x_t, T, S, None, Noise(0))
        torch.testing.assert_close(A.to_spectrum(x_s)[0], alpha_s * (loc + k * var.sqrt() * eps))


def test_ddrm_of_noise_alone_is_the_posterior_mean(bimodal: MixturePrior) -> None:
    """A = 1: at the time whose noise is sigma the state is y, and E[x_0 | x_s] = E[x_0 | y]."""
    likelihood = GaussianLikelihood(operator=Identity().double(), y=random(1, 2), sigma=0.6)
    s = bimodal.diffusion.schedule.time(0.6)
    t = (1 + s) / 2
    kernel = DDRM().kernel(Posterior(bimodal, likelihood), random(1, 2, seed=1), t, s, 1.0)
    x_s = kernel.sample(Noise(0))
    mean, _ = moments(bimodal.posterior(likelihood))
    torch.testing.assert_close(bimodal(x_s, s)[0], mean, rtol=1e-6, atol=1e-6)


def test_ddrm_has_the_papers_settings() -> None:
    assert DDRM() == DDRM(eta=0.85, eta_b=1.0, sampler=Ancestral(steps=20))
    for name, share in (("eta", 1.2), ("eta_b", -0.1)):
        with pytest.raises(ValueError, match=rf"^{name} of DDRM is a number in \[0, 1\], got "):
            DDRM(**{name: share})


# DDNM


def test_ddnm_of_exact_data_is_the_bridge_to_its_estimate(gaussian: MixturePrior, seen) -> None:
    """Bit for bit; and DDNM+ of next to no noise is close to it."""
    exact = dataclasses.replace(seen, sigma=0.0)
    x_t, A = random(1, 4), seen.operator
    x_0 = gaussian(x_t, T)
    x_0 = x_0 + A.pinv(seen.y - A(x_0))
    kernel, bridge = (
        DDNM().kernel(Posterior(gaussian, exact), x_t, T, S, 0.85),
        gaussian.diffusion.bridge(x_t, x_0, T, S, 0.85),
    )
    assert torch.equal(kernel.loc, bridge.loc) and torch.equal(kernel.var, bridge.var)
    near = DDNM().kernel(
        Posterior(gaussian, dataclasses.replace(seen, sigma=1e-9)), x_t, T, S, 0.85
    )
    torch.testing.assert_close(near.mean, bridge.loc)
    torch.testing.assert_close(covariance(near), bridge.var * EYE, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "bimodal"])
def test_ddnm_plus_is_exact_where_all_is_seen(request, name: str) -> None:
    """A rotation, sigma = 0.4: reverse sampling from y, at 4 standard errors of 1000 draws."""
    prior = request.getfixturevalue(name)
    d = prior.means.shape[1]
    A = Matrix(turned(*[1.0] * d))
    likelihood = GaussianLikelihood(operator=A, y=random(1, d), sigma=0.4)
    x = DDNM(sampler=Ancestral(steps=250, grid="logsnr"))(prior, likelihood, n=1000)
    assert deviations(x, *moments(prior.posterior(likelihood))) < 4


@pytest.fixture
def smooth() -> MixturePrior:
    """Sixteen neighbors in a row, correlated like pixels."""
    i = torch.arange(16, dtype=torch.float64)
    cov = 0.25 * 0.95 ** (i[:, None] - i).abs()
    return MixturePrior(torch.ones(1).double(), torch.full((1, 16), 0.3).double(), cov[None])


def blurred(prior: MixturePrior, sigma: float, kind: type[LinearOperator] = Matrix):
    """A Gaussian blur of condition 1e6, and noise: 100 problems with their truth."""
    i = torch.arange(16, dtype=torch.float64)
    A = (-((i[:, None] - i) ** 2) / 4.5).exp()
    A = A / A.sum(1, keepdim=True)
    noise = Noise(3, range(100))
    x = prior.sample(noise)
    y = x @ A.T
    y = y + sigma * noise.normal(y)
    return x, GaussianLikelihood(operator=kind(A), y=y, sigma=sigma)


@pytest.mark.parametrize("steps", [20, 100, 400])
def test_ddnm_plus_does_not_copy_the_noise(smooth: MixturePrior, steps: int) -> None:
    """Residual chi2 near 1, however fine the grid; by the paper's lambda it falls to 0.01."""
    noise = Noise(3, range(100))
    x = smooth.sample(noise)
    y = x + 0.1 * noise.normal(x)
    likelihood = GaussianLikelihood(operator=Identity().double(), y=y, sigma=0.1)
    out = build(f"ddnm(sampler=ddim(steps={steps}, eta=0.85, grid='logsnr'))")(
        smooth, likelihood, ids=range(100), batch_size=1000
    )
    assert 0.5 < likelihood.chi2(out[:, 0]).mean() < 1.3


NOISY = [
    "ddrm",
    "ddnm(sampler=ddim(steps=40, eta=0.85))",
    "pigdm(var=0.25)",
    "resample(sampler=ancestral(steps=20))",
]


@pytest.mark.parametrize("method", NOISY)
@pytest.mark.parametrize("kind", [Matrix, Plain])
def test_a_noisy_blur_does_not_blow_up(smooth: MixturePrior, method: str, kind: type) -> None:
    """A^+ y is off by thousands; a sample is closer than one of the prior by a factor of two."""
    if method == "ddrm" and kind is Plain:
        with pytest.raises(TypeError, match="^DDRM needs a SVDOperator, got Plain$"):
            build(method)(smooth, blurred(smooth, 0.05, kind)[1])
        return
    x, likelihood = blurred(smooth, 0.05, kind)
    out = build(method)(smooth, likelihood, ids=range(100), batch_size=1000)[:, 0]
    free = smooth.sample(Noise(9, range(100)))
    assert (out - x).square().mean() < 0.5 * (free - x).square().mean()
    assert likelihood.chi2(out).mean() < 3 and likelihood.chi2(free).mean() > 100
    naive = likelihood.y @ torch.linalg.pinv(likelihood.operator.A, rtol=1e-12).T
    assert (naive - x).square().mean() > 1e3


# Invariances


ROTATING = [DDRM(), DDNM(), DPS(), ILVR(), MCG(), PiGDM(), MMPS(iterations=2), PSLD(), ReSample()]


@pytest.mark.parametrize("method", ROTATING, ids=lambda m: type(m).__name__)
def test_a_rotated_measurement_is_the_same_one(gaussian: MixturePrior, seen, method) -> None:
    """(Q A, Q y) for (A, y): the kernels have the same mean and the same covariance."""
    Q, x_t = torch.linalg.qr(random(2, 2, seed=6))[0], random(1, 4)
    other = dataclasses.replace(seen, operator=Matrix(Q @ seen.operator.A), y=seen.y @ Q.T)
    a, b = (method.kernel(Posterior(gaussian, one), x_t, T, S, 0.9) for one in (seen, other))
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(covariance(a), covariance(b))
    far = dataclasses.replace(seen, y=seen.y @ Q.T)
    assert (
        method.kernel(Posterior(gaussian, far), x_t, T, S, 0.9).mean - a.mean
    ).abs().max() > 1e-3


# TMPD


def test_tmpd_is_exact_for_a_diagonal_covariance() -> None:
    """Entries of their own variances behind a mask: 4 standard errors of 2000 draws."""
    prior = round_prior(scale=torch.tensor([0.1, 1.5, 0.5, 0.3]).double())
    mask = Mask(torch.tensor([1.0, 1.0, 0.0, 1.0])).double()
    likelihood = GaussianLikelihood(operator=mask, y=random(1, 4, seed=2), sigma=0.3)
    x = TMPD(sampler=DPM(steps=50))(prior, likelihood, n=2000)
    post = prior.posterior(dataclasses.replace(likelihood, y=mask.mask_unmeasured(likelihood.y)))
    assert deviations(x, *moments(post)) < 4


def test_tmpd_is_its_row_sums(gaussian: MixturePrior, seen) -> None:
    """Dense algebra, with the covariance of x_0 given x_t."""
    x_t, A = random(1, 4), seen.operator.A
    alpha_t, sigma_t = gaussian.diffusion.schedule(T)
    C = gaussian.covs()[0]
    V = C - alpha_t**2 * C @ torch.linalg.inv(alpha_t**2 * C + sigma_t**2 * EYE) @ C
    M, x_0 = A @ V @ A.T, gaussian(x_t, T)
    r = seen.y - x_0 @ A.T
    v = r / (seen.sigma**2 + M.sum(1).abs())
    step = ((v * r).sum() / (v @ M @ v.T + seen.sigma**2 * (v * v).sum())).clamp_max(1)
    expected = x_0 + step * v @ A @ V
    torch.testing.assert_close(TMPD().denoise(Posterior(gaussian, seen), x_t, T), expected)


def test_tmpd_of_one_number_is_mmps(gaussian: MixturePrior, seen) -> None:
    one = dataclasses.replace(seen, operator=Matrix(random(1, 4, seed=4)), y=seen.y[:, :1])
    a, b = (
        m.denoise(Posterior(gaussian, one), random(3, 4), T) for m in (TMPD(), MMPS(iterations=1))
    )
    torch.testing.assert_close(a, b)


def test_tmpd_takes_no_negative_variance() -> None:
    """The second row of [[1, -0.99], [-0.99, 0.985]] sums to less than 0: its size counts."""
    cov = torch.tensor([[1.0, -0.99], [-0.99, 0.985]]).double()
    prior = MixturePrior(torch.ones(1).double(), torch.zeros(1, 2).double(), cov[None])
    t, y = torch.tensor(0.95).double(), torch.tensor([[0.5, -0.5]]).double()
    x_t, q = random(1, 2), prior.diffusion.schedule.ratio(t) ** 2
    V = q * cov @ torch.linalg.inv(cov + q * torch.eye(2))
    rows = V.sum(1)
    assert rows[0] > 0 and rows[1] < -0.001
    for sigma in (0.0, 0.03):
        likelihood = GaussianLikelihood(operator=Identity().double(), y=y, sigma=sigma)
        x_0 = prior(x_t, t)
        v = (y - x_0) / (sigma**2 + rows.abs())
        step = (v * (y - x_0)).sum() / (v * (v @ V + sigma**2 * v)).sum()
        assert step < 1  # the diagonal says too little
        out = TMPD().denoise(Posterior(prior, likelihood), x_t, t)
        torch.testing.assert_close(out, x_0 + step * v @ V)
    nothing = GaussianLikelihood(operator=Mask(torch.zeros(2)).double(), y=y, sigma=0.0)
    torch.testing.assert_close(TMPD().denoise(Posterior(prior, nothing), x_t, t), prior(x_t, t))


def test_tmpd_does_not_blow_up_where_rows_cancel(smooth: MixturePrior) -> None:
    """Eight random rows of both signs: without its step the method leaves all bounds."""
    A, noise = random(8, 16, seed=4), Noise(3, range(50))
    x = smooth.sample(noise)
    y = x @ A.T + 0.1 * random(50, 8)
    likelihood = GaussianLikelihood(operator=Matrix(A), y=y, sigma=0.1)
    out = TMPD()(smooth, likelihood, ids=range(50), batch_size=1000)[:, 0]
    free = smooth.sample(Noise(9, range(50)))
    assert (out - x).square().mean() < 0.5 * (free - x).square().mean()


# PiGDM


@pytest.mark.parametrize("kind", [Matrix, Plain])
def test_pigdm_has_the_noise_inside(gaussian: MixturePrior, kind: type) -> None:
    """J^T A^T (r^2 A A^T + sigma^2)^-1 r for a tall A of rank 3, with an SVD and without."""
    A = random(6, 3, seed=4) @ random(3, 4, seed=5)
    likelihood = GaussianLikelihood(operator=kind(A), y=random(1, 6), sigma=0.3)
    x_t, var = random(1, 4), 0.7
    alpha_t, sigma_t = gaussian.diffusion.schedule(T)
    q = (sigma_t / alpha_t) ** 2
    C = gaussian.covs()[0]
    J = alpha_t * C @ torch.linalg.inv(alpha_t**2 * C + sigma_t**2 * EYE)
    S_y = var * q / (var + q) * A @ A.T + 0.09 * torch.eye(6).double()
    x_0 = gaussian(x_t, T)
    r = likelihood.y - x_0 @ A.T
    expected = x_0 + sigma_t**2 / alpha_t * r @ torch.linalg.inv(S_y) @ A @ J
    out = PiGDM(var=var).denoise(Posterior(gaussian, likelihood), x_t, T)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


# MCG, ILVR and Score-SDE: data noised and put in


@pytest.mark.parametrize("method", [MCG(zeta=0.7), ILVR()], ids=["mcg", "ilvr"])
@pytest.mark.parametrize("kind", [Matrix, Plain])
def test_the_range_is_of_the_data_and_the_rest_of_the_prior(
    gaussian: MixturePrior, seen, method, kind: type
) -> None:
    """phi A^+ y alpha_s + (1 - phi) x_s', covariance sigma_s^2 phi + var (1 - phi), by pinv.

    The reference of MCG projects with (1 - A^T A) y - A x, the wrong way round.
    """
    x_t, A = random(1, 4), seen.operator.A
    likelihood = dataclasses.replace(seen, operator=kind(A))
    base = gaussian.kernel(x_t, T, S)
    if isinstance(method, MCG):
        base = DPS(zeta=0.7).kernel(Posterior(gaussian, likelihood), x_t, T, S, 1.0)
    alpha_s, sigma_s = gaussian.diffusion.schedule(S)
    pinv = torch.linalg.pinv(A)
    phi = pinv @ A
    kernel = method.kernel(Posterior(gaussian, likelihood), x_t, T, S, 1.0)
    expected = alpha_s * seen.y @ pinv.T + base.loc @ (EYE - phi)
    torch.testing.assert_close(kernel.mean, expected, rtol=1e-5, atol=1e-5)
    cov = sigma_s**2 * phi + base.var * (EYE - phi)
    torch.testing.assert_close(covariance(kernel), cov, rtol=1e-5, atol=1e-5)


def test_ilvr_lets_go_at_its_stop(gaussian: MixturePrior, seen) -> None:
    for stop, free in ((0.0, False), (0.35, False), (0.36, True)):
        kernel = ILVR(stop=stop).kernel(Posterior(gaussian, seen), random(1, 4), T, S, 1.0)
        assert isinstance(kernel, GaussianKernel) is free
    assert ILVR().sampler == Ancestral(steps=100)


def test_ilvr_keeps_the_means_of_blocks(smooth: MixturePrior) -> None:
    """Averages of four neighbors from the reference, the rest from the prior."""
    A = torch.kron(torch.eye(4), torch.full((1, 4), 0.25)).double()
    reference = smooth.sample(Noise(2, [0]))
    likelihood = GaussianLikelihood(operator=Matrix(A), y=reference @ A.T)
    x = ILVR()(smooth, likelihood, n=200)
    assert (x @ A.T - likelihood.y).abs().max() < 5e-3
    inside = (x - (x @ A.T).repeat_interleave(4, 1)).square().mean()
    true = smooth.covs()[0]
    phi = 4 * A.T @ A
    expected = ((torch.eye(16) - phi) @ true @ (torch.eye(16) - phi)).diagonal().mean()
    assert 0.7 < inside / expected < 1.4


def test_score_sde_corrector_leaves_its_law_alone(gaussian: MixturePrior) -> None:
    """Small Langevin steps keep alpha_t x_0 + sigma_t eps what it is: 4 standard errors.

    Steps divided by the norm of each row's score do not: they are off by 10.
    """
    noise = Noise(0, range(6000))
    alpha_t, sigma_t = gaussian.diffusion.schedule(T)
    x = gaussian.diffusion.noise(gaussian.sample(noise), T).sample(noise)
    mean, cov = alpha_t * gaussian.means[0], alpha_t**2 * gaussian.covs()[0] + sigma_t**2 * EYE
    pair = x
    for _ in range(15):
        x = ScoreSDE(snr=0.05).correct(gaussian, x, T).sample(noise)
    assert deviations(x, mean, cov) < 4
    assert (x - pair).norm(dim=1).mean() > 0.3  # and they do move


def test_score_sde_step_is_of_each_image(gaussian: MixturePrior) -> None:
    """N(x + h g, 2 h), h = 2 (snr sigma_t)^2; the reference takes norms over the batch."""
    x_t = torch.cat([random(1, 4), 50 * random(1, 4, seed=1)])
    kernel = ScoreSDE(snr=0.1).correct(gaussian, x_t, T)
    alpha_t, sigma_t = gaussian.diffusion.schedule(T)
    g = (alpha_t * gaussian(x_t, T) - x_t) / sigma_t**2
    torch.testing.assert_close(kernel.var, 4 * 0.01 * sigma_t**2)
    torch.testing.assert_close(kernel.loc, x_t + kernel.var / 2 * g)


def test_score_sde_leaves_no_noise_and_keeps_the_data(gaussian: MixturePrior) -> None:
    """The reference returns the last state before its noise is taken off."""
    likelihood = GaussianLikelihood(operator=Mask(KEEP).double(), y=KEEP * random(1, 4))
    gaussian.diffusion = GaussianDiffusion(LinearBeta(sigma_min=0.2))
    x = ScoreSDE(steps=40)(gaussian, likelihood, n=50)
    torch.testing.assert_close(KEEP * x, (KEEP * likelihood.y).expand(50, 4))


def test_score_sde_corrections_bring_the_unseen_nearer(gaussian: MixturePrior) -> None:
    """Putting in data alone is not conditioning on them: the corrector mixes, and the error falls.

    ||mean of 400 draws - E[x_0 | y]||, of exact data: less than half with four corrections.
    """
    likelihood = GaussianLikelihood(operator=Mask(KEEP).double(), y=2 * KEEP)
    cheat = dataclasses.replace(likelihood, sigma=1e-4)
    mean, _ = moments(gaussian.posterior(cheat))
    errors = [
        (
            ScoreSDE(steps=60, corrections=k, snr=0.3)(gaussian, likelihood, n=400).mean(0) - mean
        ).norm()
        for k in (0, 4)
    ]
    assert errors[1] < errors[0] / 2


# ALD


def test_ald_comes_to_the_posterior() -> None:
    """A round prior, two of four rotated entries: 4 standard errors of 200 draws."""
    prior, Q = round_prior(), turned(1.0, 1.0, 1.0, 1.0)[:2]
    likelihood = GaussianLikelihood(operator=Matrix(Q), y=random(1, 2), sigma=0.3)
    x = ALD(start=3.0)(prior, likelihood, n=200)
    assert deviations(x, *moments(prior.posterior(likelihood))) < 4


def test_ald_step_is_the_papers(gaussian: MixturePrior, seen) -> None:
    """One level, one step by hand: the annealed variance is sigma^2 + gamma_t^2."""
    method = ALD(steps=1, repeats=1, step=0.05, gamma=2.0, start=0.7)
    t = torch.tensor(method.start_time(gaussian), dtype=torch.float64)
    x_T, A = random(1, 4), seen.operator.A
    out = method.run(Posterior(gaussian, seen), x_T, Noise(0), silent)
    alpha, sigma = gaussian.diffusion.schedule(t)
    x, r = x_T / alpha, sigma / alpha
    score = (gaussian(alpha * x, t) - x) / r**2
    data = (seen.y - x @ A.T) @ A / (seen.sigma**2 + (2.0 * r) ** 2)
    h = 0.05 * r**2
    x = x + h * (score + data) + (2 * h).sqrt() * Noise(0).normal(x)
    torch.testing.assert_close(out, gaussian(alpha * x, t))


# DPS with a constant step


def test_dps_constant_step_is_that_of_half_the_square(gaussian: MixturePrior, seen) -> None:
    """By finite differences; ten times the residual makes ten times the step."""
    x_t, h, method = random(1, 4), 1e-6, DPS(zeta=0.3, constant=True)
    kernel, bridge = (
        method.kernel(Posterior(gaussian, seen), x_t, T, S, 1.0),
        gaussian.kernel(x_t, T, S),
    )

    def half(x: Tensor) -> Tensor:
        return seen.residual(gaussian(x, T)).square().sum() / 2

    slope = torch.stack([half(x_t + h * e) - half(x_t - h * e) for e in EYE]) / (2 * h)
    torch.testing.assert_close(kernel.loc, bridge.mean - 0.3 * slope, rtol=0, atol=1e-6)
    r, A_x = random(1, 2, seed=8), seen.operator(gaussian(x_t, T))
    near, far = (
        method.kernel(
            Posterior(gaussian, dataclasses.replace(seen, y=A_x + c * r)), x_t, T, S, 1.0
        ).mean
        for c in (1.0, 10.0)
    )
    torch.testing.assert_close(far - bridge.mean, 10 * (near - bridge.mean))


# Behind a decoder


class Coder(nn.Module):
    """Latents of four numbers, images of six: D z = tanh(W z) + W z, E its left inverse of W."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = bend
        self.register_buffer("W", torch.linalg.qr(random(6, 4, seed=21))[0])

    def decode(self, z: Tensor) -> Tensor:
        x = z @ self.W.T
        return x + self.bend * x.tanh()

    def encode(self, x: Tensor) -> Tensor:
        return x @ self.W


@pytest.fixture(params=[0.0, 0.2], ids=["linear", "bent"])
def latent(request, gaussian: MixturePrior) -> LatentPrior:
    coder = Coder(request.param)
    return LatentPrior(gaussian, coder.encode, coder.decode)


def problem(prior: LatentPrior, n: int, sigma: float = 0.05):
    """Three of six numbers of ``n`` decoded latents."""
    noise = Noise(1, range(n))
    x = prior.decode(prior.inner.sample(noise))
    mask = Mask(torch.tensor([1.0, 0, 1, 1, 0, 0])).double()
    return x, GaussianLikelihood(
        operator=mask, y=mask.mask_unmeasured(x + sigma * noise.normal(x)), sigma=sigma
    )


BEHIND = [
    PSLD(omega=0.3, sampler=DDIM(steps=100, eta=1.0)),
    ReSample(sampler=Ancestral(steps=20), iterations=15, rate=0.1),
    DPS(zeta=0.3),
    ALD(steps=100),
]


@pytest.mark.parametrize("method", BEHIND, ids=lambda m: type(m).__name__)
def test_latents_explain_the_image(latent: LatentPrior, method) -> None:
    """100 problems: half the error of the pseudo-inverse, a tenth of the prior's residual."""
    x, likelihood = problem(latent, 100)
    out = method(latent, likelihood, ids=range(100), batch_size=1000)[:, 0]
    naive = likelihood.operator.pinv(likelihood.y)
    assert (out - x).square().mean() < 0.5 * (naive - x).square().mean()
    free = latent.decode(latent.inner.sample(Noise(9, range(100))))
    seen, without = (likelihood.residual(z).square().mean() for z in (out, free))
    assert seen < 0.1 * without


def test_psld_is_the_papers_step(latent: LatentPrior) -> None:
    """loc of the bridge minus the slope of both norms, by finite differences."""
    _, likelihood = problem(latent, 1)
    A, y, omega, gamma, h = likelihood.operator, likelihood.y, 0.4, 0.7, 1e-6
    x_t = random(1, 4)

    def cost(x: Tensor) -> Tensor:
        z = latent(x, T)
        image = latent.decode(z)
        glued = A.adjoint(y) + image - A.adjoint(A(image))
        return omega * (y - A(image)).norm() + gamma * (z - latent.encode(glued)).norm()

    slope = torch.stack([cost(x_t + h * e) - cost(x_t - h * e) for e in EYE]) / (2 * h)
    behind = likelihood.through(latent.decode)
    kernel = PSLD(omega=omega, gamma=gamma).kernel(Posterior(latent, behind), x_t, T, S, 1.0)
    bridge = latent.kernel(x_t, T, S)
    torch.testing.assert_close(kernel.mean, bridge.mean - slope, rtol=0, atol=1e-6)


def test_psld_refuses_what_has_no_pseudo_inverse(latent: LatentPrior) -> None:
    likelihood = GaussianLikelihood(operator=Plain(random(3, 6)), y=random(1, 3))
    with pytest.raises(TypeError, match="^PSLD needs an SVDOperator of images, got Plain$"):
        PSLD()(latent, likelihood)
    two = dataclasses.replace(likelihood, operator=Plain(random(3, 6)) @ Plain(random(6, 6)))
    with pytest.raises(TypeError, match="of images, got LinearComposed$"):  # no decoder
        PSLD()(latent, two)


def test_resample_is_a_product_of_two_gaussians(gaussian: MixturePrior, seen) -> None:
    """N(alpha_s z, sigma_s^2) times N(x_s', v); the variance v is that of the paper for VP."""
    x_t, method = random(1, 4), ReSample(gamma=3.0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = map(gaussian.diffusion.schedule, (T, S))
    v = 3.0 * sigma_s**2 / alpha_t**2 * (1 - alpha_t**2 / alpha_s**2)
    z = method.fit(seen, gaussian(x_t, T))
    x_s = gaussian.kernel(x_t, T, S, 0.0).mean
    var = 1 / (1 / sigma_s**2 + 1 / v)
    kernel = method.kernel(Posterior(gaussian, seen), x_t, T, S, 1.0)
    near = {"rtol": 1e-4, "atol": 1e-4}  # the schedule's sigma^2 is 1 - alpha^2 up to its floor
    torch.testing.assert_close(kernel.mean, var * (alpha_s * z / sigma_s**2 + x_s / v), **near)
    torch.testing.assert_close(kernel.var, var, **near)


def test_resample_fits_up_to_the_noise(gaussian: MixturePrior, seen) -> None:
    """Each image stops once its chi2 is 1; one that has it already is not touched."""
    x_0 = torch.cat([random(1, 4), seen.operator.pinv(seen.y)])
    batch = dataclasses.replace(seen, y=seen.y.expand(2, 2))
    z = ReSample(iterations=400).fit(batch, x_0)
    chi2 = batch.chi2(z)
    assert batch.chi2(x_0)[0] > 2 and 0.8 < chi2[0] <= 1
    assert torch.equal(z[1], x_0[1])
