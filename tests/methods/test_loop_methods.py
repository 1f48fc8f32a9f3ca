"""Methods that are loops of their own: their data step, their exact laws, their papers' steps."""

import dataclasses

import pytest
import torch
from torch import Tensor

from diffprior.likelihoods.data_step import draw
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Method
from diffprior.methods.daps import DAPS
from diffprior.methods.dpir import DPIR
from diffprior.methods.fps import FPS
from diffprior.methods.mcgdiff import MCGDiff
from diffprior.methods.pnp_dm import PnPDM
from diffprior.methods.red_diff import REDDiff
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
from diffprior.schedules import grid

from support.exact import deviations, moments, random

ONE = torch.ones(1, dtype=torch.float64)
INNERS = ["exact", "langevin", "hmc"]


def round_prior(var: float, d: int = 4) -> MixturePrior:
    """N(m, var I)."""
    return MixturePrior(ONE, random(1, d, seed=1), var * ONE)


def rows(likelihood: GaussianLikelihood, n: int) -> GaussianLikelihood:
    return dataclasses.replace(likelihood, y=likelihood.y.expand(n, -1))


class Plain(LinearOperator):
    """A matrix that keeps its SVD to itself."""

    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.A = A

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.A.mT

    def adjoint(self, y: Tensor) -> Tensor:
        return y @ self.A


# The data step


@pytest.mark.parametrize(
    "inner, var", [("exact", 0.5), ("exact", 20.0), ("langevin", 0.5), ("hmc", 0.5), ("hmc", 3.0)]
)
def test_a_draw_is_of_the_product(seen, inner: str, var: float) -> None:
    """N(x_0, var I) p(y | x), mean and covariance, at 4 standard errors."""
    n, prior = 200, round_prior(var)
    x_0 = prior.means.expand(n, -1)
    r2 = torch.tensor(var, dtype=torch.float64)
    x = draw(rows(seen, n), x_0, r2, Noise(0, [0], n), inner, 200)
    assert deviations(x, *moments(prior.posterior(seen))) < 4


def test_a_draw_by_cg_is_the_draw_by_svd(seen) -> None:
    x_0, r2 = random(5, 4), torch.tensor(0.7, dtype=torch.float64)
    plain = dataclasses.replace(seen, operator=Plain(seen.operator.A))
    a, b = (draw(rows(data, 5), x_0, r2, Noise(3, [0], 5)) for data in (seen, plain))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_draw_for_exact_data_keeps_them(seen) -> None:
    """A x = y, and the variance of what is unseen is var: 4 standard errors."""
    n, r2 = 2000, torch.tensor(0.7, dtype=torch.float64)
    data = rows(dataclasses.replace(seen, sigma=0.0), n)
    x = draw(data, torch.zeros(n, 4).double(), r2, Noise(0, [0], n))
    assert data.residual(x).abs().max() < 1e-10
    free = x @ torch.linalg.svd(seen.operator.A).Vh[2:].T
    assert deviations(free, torch.zeros(2).double(), 0.7 * torch.eye(2).double()) < 4


@pytest.mark.parametrize("inner", ["langevin", "hmc"])
def test_a_chain_is_right_for_a_curved_likelihood(inner: str) -> None:
    """y = sin(2 x) + noise of 0.2 under x ~ N(0.3, 0.5): moments by quadrature, 4 errors."""
    n, y = 200, torch.tensor([[0.6]], dtype=torch.float64)
    data = GaussianLikelihood(operator=Identity(), y=y, sigma=0.2).through(lambda x: (2 * x).sin())
    x_0 = torch.full((n, 1), 0.3, dtype=torch.float64)
    data = dataclasses.replace(data, y=y.expand(n, -1))
    x = draw(data, x_0, torch.tensor(0.5).double(), Noise(0, [0], n), inner, 200)
    z = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    p = (-((z - 0.3) ** 2) - ((0.6 - (2 * z).sin()) / 0.2) ** 2 / 2).exp()
    p = p / p.sum()
    for power in (1, 2):
        true = (p * z**power).sum()
        error = ((p * z ** (2 * power)).sum() - true**2).sqrt() / n**0.5
        assert ((x**power).mean() - true).abs() < 4 * error


@pytest.mark.parametrize("inner", ["langevin", "hmc"])
def test_a_chain_is_stable_whatever_the_stiffness(inner: str) -> None:
    """var / sigma^2 = 10^8: a fixed step of the scale of var would diverge."""
    n, data = 20, GaussianLikelihood(operator=Identity(), y=random(20, 4), sigma=1e-3)
    x_0 = 3 * random(n, 4, seed=1)
    x = draw(data, x_0, torch.tensor(1e2).double(), Noise(0, [0], n), inner, 1000)
    assert (data.chi2(x) < 1e-3 * data.chi2(x_0)).all()


@pytest.mark.parametrize("inner", ["langevin", "hmc"])
def test_steps_are_of_each_row(seen, inner: str) -> None:
    """A neighbor a thousand times as far changes no bit."""
    x_0, r2 = random(2, 4) * torch.tensor([[1.0], [1e3]]).double(), torch.tensor(0.7).double()
    both = draw(rows(seen, 2), x_0, r2, Noise(0, ["a", "b"]), inner, 40)
    alone = draw(rows(seen, 1), x_0[:1], r2, Noise(0, ["a"]), inner, 40)
    torch.testing.assert_close(both[:1], alone, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_drawn_is_one_sentence(gaussian: MixturePrior, seen) -> None:
    with pytest.raises(
        ValueError, match="^inner of DAPS is one of 'exact', 'langevin', 'hmc' or N"
    ):
        DAPS(steps=2, inner="mh")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^an exact data step needs .* GaussianLikelihood and Com"):
        PnPDM(steps=2, inner="exact")(gaussian, seen.through(torch.sin))
    with pytest.raises(ValueError, match=r"^exact data \(sigma = 0\) has no density"):
        exact = dataclasses.replace(seen, sigma=0.0)
        DAPS(steps=2, inner="hmc")(gaussian, exact)
    with pytest.raises(ValueError, match="^var of DAPS is a number above 0, got 0.0$"):
        DAPS(var=0.0)
    with pytest.raises(ValueError, match="^anneal of PnPDM is a number above 0, got 0.0$"):
        PnPDM(anneal=0.0)


# Exact where it is claimed


@pytest.mark.parametrize(
    "method",
    [
        DAPS(var=1.0, steps=12),
        DAPS(var=1.0, steps=12, inner="hmc"),
        PnPDM(steps=15, rho=(1.0, 0.1), anneal=0.5, sampler=Ancestral(steps=40, grid="karras")),
        MCGDiff(steps=300),
    ],
    ids=["daps", "daps hmc", "pnp_dm", "mcgdiff"],
)
def test_sigma_is_used(method: Method) -> None:
    """x ~ N(0, 1), y = x + noise of 0.5 = 1: the posterior is 0.8 +- 0.447; not 1, not +- 0.07."""
    prior = MixturePrior(ONE, torch.zeros(1, 1).double(), ONE)
    data = GaussianLikelihood(operator=Matrix(ONE[None]), y=ONE[None], sigma=0.5)
    x = method(prior, data, n=200)
    assert deviations(x, torch.tensor([0.8]).double(), torch.tensor([[0.2]]).double()) < 4


@pytest.mark.parametrize("inner", INNERS)
def test_daps_is_exact_for_a_round_gaussian(seen, inner: str) -> None:
    prior = round_prior(0.5)
    x = DAPS(steps=5, var=0.5, stop=1e-3, inner=inner, iterations=60)(prior, seen, n=150)
    assert deviations(x, *moments(prior.posterior(seen))) < 4


@pytest.mark.parametrize(
    "change",
    [{"var": 1e12}, {"flow": DDIM(steps=5, grid="karras")}],
    ids=["the paper's r_t", "the paper's flow"],
)
def test_daps_of_the_paper_is_a_heuristic(seen, change) -> None:
    """Guards the test above, and says why these are not the defaults: too wide, 6 errors."""
    prior = round_prior(0.5)
    method = dataclasses.replace(DAPS(steps=8, var=0.5, stop=0.1), **change)
    x = method(prior, seen, n=2000)
    mean, cov = moments(prior.posterior(seen))
    assert deviations(x, mean, cov) > 6
    assert x.var(0).sum() > cov.trace()


def test_daps_hides_no_fault_of_the_prior(gaussian: MixturePrior, seen) -> None:
    """What is not a number stays so, rather than becoming a gray image."""
    gaussian.means[:] = torch.nan
    assert DAPS(steps=2)(gaussian, seen).isnan().all()


@pytest.mark.parametrize("inner", ["langevin", "hmc"])
def test_daps_goes_behind_a_decoder(inner: str) -> None:
    """Latents N(m, var I) behind a linear decoder: the images' exact posterior, 4 errors."""
    D, A = random(4, 2, seed=6), random(2, 4, seed=4)
    prior = round_prior(0.5, 2)
    latent = LatentPrior(prior, lambda x: x @ torch.linalg.pinv(D).T, lambda z: z @ D.T)
    y = torch.tensor([[0.5, -0.3]], dtype=torch.float64)
    data = GaussianLikelihood(operator=Matrix(A), y=y, sigma=0.3)
    post = prior.posterior(dataclasses.replace(data, operator=Matrix(A @ D)))
    x = DAPS(steps=5, var=0.5, stop=1e-3, inner=inner, iterations=60)(latent, data, n=150)
    assert x.shape == (150, 4)
    assert deviations(x @ torch.linalg.pinv(D).T, *moments(post)) < 4


def test_daps_goes_behind_a_network() -> None:
    """A small MLP decodes: the residual is that of the noise, and far from that of the prior."""
    W, V = random(8, 3, seed=7), random(4, 8, seed=8) / 3
    prior = round_prior(1.0, 3)
    latent = LatentPrior(prior, lambda x: x[:, :3], lambda z: (z @ W.T).tanh() @ V.T)
    x, other = (latent.decode(prior.sample(Noise(k, range(10)))) for k in (0, 1))
    keep = torch.tensor([1.0, 1.0, 1.0, 0.0]).double()
    blank = GaussianLikelihood(operator=Mask(keep).double(), sigma=0.1)
    data = blank.measure(x, Noise(2, range(10)))
    out = DAPS(steps=8, var=1.0, iterations=120)(latent, data, n=2, ids=range(10), batch_size=1000)
    chi2 = torch.cat([data.chi2(out[:, k]) for k in range(2)]).mean()
    assert 0.2 < chi2 < 2 and data.chi2(other).mean() > 10


def smoothed(data: GaussianLikelihood[Matrix], rho: float) -> GaussianLikelihood[Matrix]:
    """Return the same measurement with noise of covariance sigma^2 + rho^2 A A^T, whitened."""
    A = data.operator.A
    S = data.sigma**2 * torch.eye(len(A)).to(A) + rho**2 * A @ A.T
    W = torch.linalg.inv(torch.linalg.cholesky(S))
    return GaussianLikelihood(operator=Matrix(W @ A), y=data.y @ W.T, sigma=1.0)


def test_pnp_dm_draws_from_the_smoothed_posterior(gaussian: MixturePrior, seen) -> None:
    """Gibbs at a fixed rho has a known law: 4 standard errors; the posterior itself is far."""
    sampler = Ancestral(steps=80, grid="karras")
    x = PnPDM(steps=6, rho=(1.0, 1.0), sampler=sampler)(gaussian, seen, n=400)
    assert deviations(x, *moments(gaussian.posterior(smoothed(seen, 1.0)))) < 4
    assert deviations(x, *moments(gaussian.posterior(seen))) > 6


def test_pnp_dm_wants_a_chain_that_draws(gaussian: MixturePrior, seen) -> None:
    """Guards the test above: a flow from z forgets what x could have been."""
    x = PnPDM(steps=6, rho=(1.0, 1.0), sampler=DDIM(steps=30, grid="karras"))(gaussian, seen, n=400)
    assert deviations(x, *moments(gaussian.posterior(smoothed(seen, 1.0)))) > 8


def test_pnp_dm_levels(gaussian: MixturePrior) -> None:
    """The paper's 0.9 a round over 44 of 200, then 0.1; never above a start."""
    rho = PnPDM().levels(gaussian)
    assert len(rho) == 199 and rho[0] == 10 and abs(rho[-1] - 0.1) < 1e-12
    assert ((rho[1:44] / rho[:43] - 0.9).abs() < 1e-3).all() and (rho[44:] - 0.1).abs().max() < 1e-9
    assert PnPDM(start=0.5).levels(gaussian).max() <= 0.5 + 1e-9


# Particles: drawn again at every step, they are worth fewer than they are

K = 4 * 2**0.5


def test_mcgdiff_is_exact_for_a_gaussian(gaussian: MixturePrior, seen) -> None:
    x = MCGDiff(steps=200)(gaussian, seen, n=250)
    assert deviations(x, *moments(gaussian.posterior(seen))) < K


def test_mcgdiff_sees_each_entry_at_its_own_level(gaussian: MixturePrior) -> None:
    """Singular values 3 and 0.05: noise levels of 0.1 and 6, each held down to its own."""
    U, V = (torch.linalg.qr(random(4, 4, seed=k))[0] for k in (8, 9))
    A = U[:2, :2] @ torch.diag(torch.tensor([3.0, 0.05]).double()) @ V[:2]
    data = GaussianLikelihood(operator=Matrix(A), y=random(1, 2, seed=3), sigma=0.3)
    x = MCGDiff(steps=200)(gaussian, data, n=250)
    assert deviations(x, *moments(gaussian.posterior(data))) < K
    assert deviations(x, *moments(gaussian)) > 2 * K


def test_mcgdiff_keeps_a_level_between_two_times(gaussian: MixturePrior) -> None:
    """12 steps from 1000 to 0.001: rounding sigma to the grid would triple it."""
    prior = round_prior(1e-8)  # known: the steps are exact, so that only y could move x
    data = GaussianLikelihood(operator=Identity(), y=prior.means + 0.5, sigma=0.3)
    x = MCGDiff(steps=12)(prior, data, n=50)
    assert (x - prior.means).abs().max() < 0.01


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the sliced Wasserstein-2 distance of two populations ``(N, D)``."""
    slices = torch.nn.functional.normalize(random(a.shape[1], 200, seed=9), dim=0)
    gap = (a @ slices).sort(0).values - (b @ slices).sort(0).values
    return gap.square().mean().sqrt()


@pytest.fixture
def far() -> tuple[MixturePrior, GaussianLikelihood[Matrix]]:
    """Nine modes eight apart in four dimensions, and two noisy mixed measurements."""
    sides = [-8.0, 0.0, 8.0]
    means = torch.tensor([[a, b, a, b] for a in sides for b in sides], dtype=torch.float64)
    prior = MixturePrior(random(9, seed=10) ** 2, means, torch.ones(9).double())
    A = torch.linalg.qr(random(4, 2, seed=11))[0].T * torch.tensor([[0.9], [0.3]]).double()
    y = torch.tensor([[1.5, 0.4]], dtype=torch.float64)
    return prior, GaussianLikelihood(operator=Matrix(A), y=y, sigma=0.6)


def test_mcgdiff_converges_with_its_particles(far) -> None:
    """Towards the floor of two exact draws: populations of 8 are further off than one of 240."""
    prior, data = far
    post = prior.posterior(data)
    truth = post.sample(Noise(1, ["truth"], 240))
    floor = distance(post.sample(Noise(2, ["floor"], 240)), truth)
    few = torch.cat([MCGDiff(steps=60)(prior, data, n=8, seed=seed) for seed in range(30)])
    many = MCGDiff(steps=60)(prior, data, n=240)
    assert distance(many, truth) < 2 * floor
    assert distance(few, truth) > 1.3 * distance(many, truth)
    assert distance(prior.sample(Noise(0, [0], 240)), truth) > 5 * floor


def test_fps_is_exact_for_exact_data(gaussian: MixturePrior, seen) -> None:
    """A x = y, and what is unseen has its own posterior."""
    data = dataclasses.replace(seen, sigma=0.0)
    x = FPS(steps=150)(gaussian, data, n=250)
    assert data.residual(x).abs().max() < 0.01
    mean, cov = moments(gaussian.posterior(dataclasses.replace(seen, sigma=1e-5)))
    free = torch.linalg.svd(seen.operator.A).Vh[2:]
    assert deviations(x @ free.T, free @ mean, free @ cov @ free.T) < K


def test_fps_is_too_sure_of_noisy_data(gaussian: MixturePrior, seen) -> None:
    """As the docstring says: the spread of what is seen is below its posterior's."""
    x = FPS(steps=100)(gaussian, seen, n=200)
    _, cov = moments(gaussian.posterior(seen))
    A = seen.operator.A
    assert (x @ A.T).var(0).sum() < 0.5 * (A @ cov @ A.T).trace()


# RED-diff


class Recorder(Prior):
    """A prior that remembers what it was asked."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner, self.diffusion, self.shape = inner, inner.diffusion, inner.shape
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.asked.append((x_t, t))
        return self.inner(x_t, t)


def test_red_diff_is_the_papers_step(gaussian: MixturePrior, seen) -> None:
    """Three steps beside torch's own Adam on the paper's loss, eps and all."""
    seen, n = rows(seen, 5), 5
    prior, schedule = Recorder(gaussian), gaussian.diffusion.schedule
    x = REDDiff(steps=3)(prior, seen.select(torch.tensor([0])), n=n)
    mu = seen.condition(torch.zeros(n, 4).double(), 1.0).requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99))
    for x_t, t in prior.asked:
        alpha_t, sigma_t = schedule(t)
        eps = (x_t - alpha_t * mu.detach()) / sigma_t
        eps_hat = (x_t - alpha_t * gaussian(x_t, t)) / sigma_t
        prior_loss = 0.25 * sigma_t / alpha_t * ((eps_hat - eps) * mu).mean(1)
        loss = prior_loss + seen.residual(mu).square().mean(1) / 2
        adam.zero_grad()
        (4 * loss).sum().backward()
        adam.step()
    torch.testing.assert_close(x, mu.detach(), rtol=1e-6, atol=1e-6)
    assert (x - seen.condition(torch.zeros(n, 4).double(), 1.0)).abs().min() > 0.03


def test_red_diff_asks_at_the_scale_of_the_diffusion(gaussian: MixturePrior, seen) -> None:
    """Fresh noise at every call: alpha_t mu + sigma_t eps has variance sigma_t^2 round mu."""
    prior, n = Recorder(gaussian), 1000
    REDDiff(steps=6, rate=0.0)(prior, seen, n=n)
    mu = rows(seen, n).condition(torch.zeros(n, 4).double(), 1.0)
    draws = []
    for x_t, t in prior.asked:
        alpha_t, sigma_t = gaussian.diffusion.schedule(t)
        draws.append((x_t - alpha_t * mu) / sigma_t)
        assert deviations(draws[-1], torch.zeros(4).double(), torch.eye(4).double()) < 4.5
    assert abs((draws[0] * draws[1]).mean()) < 4 / (4 * n) ** 0.5


@pytest.fixture
def blurred() -> tuple[MixturePrior, Tensor, GaussianLikelihood[Matrix]]:
    """Sixteen smooth neighbors behind a Gaussian blur of no practical inverse, with noise."""
    i = torch.arange(16, dtype=torch.float64)
    cov = 0.25 * 0.95 ** (i[:, None] - i).abs()
    prior = MixturePrior(ONE, torch.zeros(1, 16).double(), cov[None])
    K = (-((i[:, None] - i) ** 2) / 8).exp()
    x = prior.sample(Noise(0, range(100)))
    blank = GaussianLikelihood(operator=Matrix(K / K.sum(1, keepdim=True)), sigma=0.05)
    return prior, x, blank.measure(x, Noise(1, range(100)))


@pytest.mark.parametrize("method", [REDDiff(), DPIR(), PnPDM(steps=40), DAPS(steps=60)], ids=str)
def test_a_blur_of_no_inverse_is_undone(blurred, method: Method) -> None:
    """A^+ y is noise alone; one answer beats y, one sample twice y: its own error is in it."""
    prior, x, data = blurred
    out = method(prior, data, ids=range(100), batch_size=1000)[:, 0]
    error, blur = (out - x).square().mean(), (data.y - x).square().mean()
    assert (data.operator.pinv(data.y) - x).square().mean() > 100 * blur
    single = isinstance(method, REDDiff | DPIR)
    assert error < (0.9 if single else 1.8) * blur
    assert (data.chi2(out) < 2).float().mean() > 0.8


# DPIR


def test_dpir_for_exact_masks_is_the_loop_it_was(gaussian: MixturePrior) -> None:
    """The very bits: it is the default that fills holes."""
    keep = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()
    y, guess, schedule = keep * random(3, 4), random(3, 4, seed=1), gaussian.diffusion.schedule
    data = GaussianLikelihood(operator=Mask(keep).double(), y=y, sigma=0.0)
    x, end = guess, schedule.time(0.01)
    for t in grid(schedule, "logsnr", 29, float(schedule.time(0.4)), end):
        alpha_t, sigma_t = schedule(t)
        x = data.condition(gaussian(alpha_t * x, t), (sigma_t / alpha_t) ** 2 / 0.23)
    assert torch.equal(DPIR(start=0.4, steps=30)(gaussian, data, guess=guess)[:, 0], x)


def test_dpir_begins_at_49_of_255_and_ends_at_the_noise(gaussian: MixturePrior, seen) -> None:
    """49 / 255 of [0, 1] is twice that of [-1, 1]; sigma is in units of [-1, 1] already."""
    for sigma, first, last in ((0.05, 98 / 255, 0.05), (0.001, 98 / 255, 0.01), (0.6, 0.6, 0.6)):
        prior = Recorder(gaussian)
        DPIR()(prior, dataclasses.replace(seen, sigma=sigma))
        levels = [gaussian.diffusion.schedule.ratio(t) for _, t in prior.asked]
        assert len(levels) == 30 and abs(levels[0] - first) < 1e-9 and abs(levels[-1] - last) < 1e-9
        assert all(b < a + 1e-12 for a, b in zip(levels[:-1], levels[1:], strict=True))


def test_dpir_is_the_papers_data_step(gaussian: MixturePrior, seen) -> None:
    """(A^T A + rho) x = A^T y + rho x_0, rho = lambda sigma^2 / r^2, for a dense A: two rounds."""
    A, schedule = seen.operator.A, gaussian.diffusion.schedule
    eye = torch.eye(4, dtype=torch.float64)
    x = torch.linalg.solve(A.T @ A + 0.09 * eye, seen.y @ A, left=False)
    for r in (0.5, 0.3):
        t = schedule.time(r)
        x_0 = gaussian(schedule(t)[0] * x, t)
        rho = 0.23 * 0.3**2 / r**2
        x = torch.linalg.solve(A.T @ A + rho * eye, seen.y @ A + rho * x_0, left=False)
    for operator in (seen.operator, Plain(A)):
        data = dataclasses.replace(seen, operator=operator)
        out = DPIR(start=0.5, steps=2)(gaussian, data)
        torch.testing.assert_close(out, x_0, rtol=1e-5, atol=1e-5)
