"""Objectives: what each is least at is known, in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build, names
from diffprior.densities.levels import level_log_prob
from diffprior.diffusions import BernoulliDiffusion, GaussianDiffusion
from diffprior.errors import SettingError, UnsuitedError
from diffprior.networks.parameterizations import Parameterization, linear_table
from diffprior.objectives.base import Batch, Denoiser, Objective, second_derivatives
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior

from support.exact import random

D = 3
MEAN = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
ROOT = torch.tensor([[0.6, 0.0, 0.0], [0.2, 0.5, 0.0], [-0.1, 0.3, 0.4]], dtype=torch.float64)
GAUSSIAN = [
    "edm",
    "simple(steps=50)",
    "v(steps=50, betas='cosine')",
    "x0(steps=50)",
    "mu(steps=50)",
    "vlb(steps=50, levels=False)",
    "vlb(steps=50, levels=False, predicts='mu')",
    "vlb(steps=50, levels=False, variance='learned')",
    "hybrid(steps=50, levels=False)",
    "ncsn",
    "implicit",
    "sliced",
    "flow",
    "flow(law='logit_normal')",
]
FEW_STEPS = {  # those of test_distillation.py
    "consistency_distillation",
    "consistency_training",
    "denoising_gan",
    "guided",
    "progressive",
}


def whitened(rows: int, columns: int) -> Tensor:
    """Return numbers whose mean is exactly 0 and whose covariance is exactly the identity."""
    x = random(rows, columns)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.mT @ x / rows)).mT


def exact_batch(objective: Objective, u: float) -> Batch:
    """Return a batch at one time whose first and second moments are those of N(MEAN, C)."""
    z, noise, probe = whitened(60, 3 * D).chunk(3, 1)
    t = objective.times(torch.full((60,), u, dtype=torch.float64))
    return Batch(x_0=MEAN + z @ ROOT.mT, t=t, noise=noise, probe=probe)


@dataclass
class Affine:
    """The network whose E[x_0 | x_t] is the exact one plus x_t W + b; its variances are ``out``."""

    parameterization: Parameterization
    t: Tensor
    W: Tensor
    b: Tensor
    out: Tensor | None = None

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        own = self.parameterization
        one = torch.ones_like(x)
        x_t = x / own.inputs(one, self.t)[0]
        prior = MixturePrior(
            torch.ones(1, dtype=torch.float64),
            MEAN[None],
            (ROOT @ ROOT.mT)[None],
            GaussianDiffusion(own.schedule),
        )
        x_0 = prior(x_t, self.t) + x_t @ self.W + self.b
        start = own.denoised(x_t, self.t, 0 * one)
        out = (x_0 - start) / (own.denoised(x_t, self.t, one) - start)
        return out if self.out is None else torch.cat([out, self.out.expand_as(out)], 1)


def denoiser(objective: Objective, batch: Batch, scale: float = 0.0) -> tuple[Denoiser, Affine]:
    own = objective.parameterization(0.5)
    t = batch.t[0]
    if "EDM" in type(objective).__name__:  # its times are noise levels
        t = own.schedule.time(t)
    W, b = scale * random(D, D, seed=5), scale * random(D, seed=6)
    out = torch.zeros((), dtype=torch.float64) if objective.numbers == 2 else None
    network = Affine(own, t, W.requires_grad_(), b.requires_grad_(), out)
    return Denoiser(network=network, parameterization=own), network


@pytest.mark.parametrize("u", [0.31, 0.77])
@pytest.mark.parametrize("text", GAUSSIAN)
def test_the_exact_denoiser_is_the_minimizer(text: str, u: float) -> None:
    """Among all affine maps: the gradient is zero there, and another map costs more."""
    objective = build(text, ("objectives",))
    batch = exact_batch(objective, u)
    losses, gradients = [], []
    for scale in (0.0, 0.1):
        model, network = denoiser(objective, batch, scale)
        loss = objective.losses(model, batch).mean()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, [network.W, network.b])])
        )
        losses.append(loss.detach())
    # the times of edm are noise levels in float32
    assert gradients[0].norm() < 1e-5 * gradients[1].norm()
    assert losses[0] < losses[1]


def test_every_objective_is_tested() -> None:
    here = {text.partition("(")[0] for text in GAUSSIAN} | {"bits"}
    assert here | FEW_STEPS == {*names("objectives")}


def test_score_matching_has_three_faces() -> None:
    """Implicit and sliced loss differ from the denoising loss by a number for all networks."""
    table = {}
    for name in ("ncsn", "implicit", "sliced"):
        objective = build(name, ("objectives",))
        batch = exact_batch(objective, 0.55)
        values = []
        for scale in (0.0, 0.1, 0.3):
            model, _ = denoiser(objective, batch, scale)
            values.append(objective.losses(model, batch).mean().item())
        table[name] = torch.tensor(values) - values[0]
    torch.testing.assert_close(table["implicit"], table["ncsn"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(table["sliced"], table["ncsn"], rtol=1e-5, atol=1e-7)


def test_losses_of_one_map_are_multiples_of_each_other() -> None:
    """That of the noise is alpha / sigma times that of x_0; v has (alpha^2 + sigma^2) / sigma."""
    u, losses = 0.4, {}
    for name in ("simple", "x0", "v", "mu"):
        objective = build(f"{name}(steps=50)", ("objectives",))
        batch = exact_batch(objective, u)
        model, _ = denoiser(objective, batch, 0.2)
        losses[name] = objective.losses(model, batch)
    alpha, sigma = model.schedule(batch.t[0])
    torch.testing.assert_close(losses["simple"], (alpha / sigma) ** 2 * losses["x0"])
    factor = (alpha**2 + sigma**2) / sigma
    torch.testing.assert_close(losses["v"], factor**2 * losses["x0"])
    # of mu it is the weight of x_0 in eq. 7 of DDPM, sqrt(product before) beta / sigma^2
    before = model.schedule(batch.t[0] - 1 / 50)[0]
    weight = before * (1 - (alpha / before) ** 2) / sigma**2
    torch.testing.assert_close(losses["mu"], weight**2 * losses["x0"], rtol=1e-3, atol=0)


def test_the_bound_does_not_ask_what_the_network_says() -> None:
    """Of one denoiser: by its noise, by mu, and with v = 0 learned, at the first step, too."""
    for u in (0.001, 0.4):
        losses = []
        for settings in ("", ", predicts='mu'", ", variance='learned'"):
            objective = build(f"vlb(steps=50, levels=False{settings})", ("objectives",))
            batch = exact_batch(objective, u)
            model, network = denoiser(objective, batch, 0.2)
            network.out = None if network.out is None else network.out - 1
            losses.append(objective.losses(model, batch))
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(losses[2], losses[0], rtol=1e-6, atol=1e-9)


def test_a_term_of_the_bound_is_that_of_the_paper() -> None:
    """Value and gradient of a KL by eq. 7 of DDPM, from betas; its table has a floor of 1e-6."""
    steps = 100
    objective = build(f"vlb(steps={steps}, levels=False)", ("objectives",))
    products = linear_table(steps)
    for i in (1, 50, 98):
        batch = exact_batch(objective, (i + 0.5) / steps)
        model, network = denoiser(objective, batch, 0.2)
        loss = objective.losses(model, batch).mean()
        before, now = products[i - 1], products[i]
        beta = 1 - now / before
        x_t = now.sqrt() * batch.x_0 + (1 - now).sqrt() * batch.noise
        weight = before.sqrt() * beta / (1 - now)
        variance = (1 - before) / (1 - now) * beta
        laws = [
            torch.distributions.Normal(weight * x_0, variance.sqrt())
            for x_0 in (batch.x_0, model(x_t, batch.t))
        ]
        known = steps * torch.distributions.kl_divergence(*laws).mean() / math.log(2)
        torch.testing.assert_close(loss, known, rtol=2e-3, atol=0)
        pair = [torch.autograd.grad(x, network.W)[0] for x in (loss, known)]
        torch.testing.assert_close(*pair, rtol=5e-3, atol=1e-4 * float(pair[1].abs().max()))


def test_the_whole_bound_is_the_entropy_and_a_gap_that_is_known() -> None:
    """Of a Gaussian: sum of (SNR_s - SNR_t) mmse / 2 and L_0, in bits per dimension."""
    steps = 60
    objective = build(f"vlb(steps={steps}, levels=False)", ("objectives",))
    total = 0.0
    for i in range(steps):
        batch = exact_batch(objective, (i + 0.5) / steps)
        model, _ = denoiser(objective, batch)
        total += objective.losses(model, batch).mean().item() / steps
    assert abs(total - gaussian_bound(objective)) < 1e-6
    variances = torch.linalg.eigvalsh(ROOT @ ROOT.mT)
    entropy = float((2 * math.pi * math.e * variances).log().mean() / 2 / math.log(2))
    gaps = [
        gaussian_bound(build(f"vlb(steps={n}, levels=False)", ("objectives",))) - entropy
        for n in (60, 1000)
    ]
    assert gaps[0] > 3 * gaps[1] > 0 and gaps[1] < 0.7


def gaussian_bound(objective: Objective) -> float:
    """Return L_{t-1} and L_0 of the exact denoiser in bits per dimension, by their formula."""
    schedule = objective.parameterization(0.5).schedule
    t = torch.arange(0, objective.steps + 1, dtype=torch.float64) / objective.steps
    r2 = schedule.ratio(t) ** 2
    variances = torch.linalg.eigvalsh(ROOT @ ROOT.mT)[:, None]
    mmse = (variances * r2 / (variances + r2)).mean(0)
    terms = (1 / r2[1:-1] - 1 / r2[2:]) * mmse[2:] / 2
    first = (mmse[1] / r2[1] + (2 * math.pi * r2[1]).log()) / 2
    return float(terms.sum() + first) / math.log(2)


def test_the_code_of_levels_is_that_of_the_densities() -> None:
    """L_0 of images, at mean values inside and at both ends; the gradient is finite there."""
    objective = build("vlb(steps=10)", ("objectives",))
    x_0 = torch.tensor([[-1.0, 1.0, 1 / 255]], dtype=torch.float64)
    own = objective.parameterization(0.5)
    guess = torch.tensor([[-0.9, 1.3, 0.1]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.1], dtype=torch.float64)

    def network(x: Tensor, time: Tensor) -> Tensor:
        alpha, sigma = own.schedule(t)
        return (x - alpha * guess) / sigma

    model = Denoiser(network=network, parameterization=own)
    batch = Batch(x_0=x_0, t=t, noise=random(1, 3))
    loss = objective.losses(model, batch)
    known = -level_log_prob(x_0, guess.detach(), own.schedule.ratio(t)[0]) / 3
    torch.testing.assert_close(loss.detach(), 10 * known / math.log(2), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), guess)
    assert gradient.isfinite().all() and (gradient != 0).all()


def test_the_learned_variance_is_that_of_the_state_before() -> None:
    """Of an isotropic Gaussian, var(x_s | x_t) lies between beta_tilde and beta: v is known."""
    objective = build("hybrid(steps=20, levels=False)", ("objectives",))
    var, t = 0.4, torch.tensor(0.5, dtype=torch.float64)
    own = objective.parameterization(0.5)
    diffusion = GaussianDiffusion(own.schedule)
    s = t - 1 / 20
    (a, sigma), (a_s, sigma_s) = own.schedule(t), own.schedule(s)
    var_s, var_t = a_s**2 * var + sigma_s**2, a**2 * var + sigma**2
    truth = var_s - (a / a_s * var_s) ** 2 / var_t
    zero = torch.zeros(1, D, dtype=torch.float64)
    low, high = diffusion.bridge(zero, zero, t, s).var, diffusion.jump(zero, s, t).var
    share = (truth / low).log() / (high / low).log()
    assert 0.01 < share < 0.99
    z, noise = whitened(60, 2 * D).chunk(2, 1)
    batch = Batch(x_0=var**0.5 * z, t=t.expand(60), noise=noise)
    out = (2 * share - 1).clone().requires_grad_()

    def network(x: Tensor, time: Tensor) -> Tensor:
        x_0 = a * var / var_t * x
        return torch.cat([(x - a * x_0) / sigma, out.expand_as(x)], 1)

    def slope(value: Tensor) -> float:
        with torch.no_grad():
            out.copy_(value)
        model = Denoiser(network=network, parameterization=own)
        return float(torch.autograd.grad(objective.losses(model, batch).mean(), out)[0])

    best = 2 * share - 1
    assert abs(slope(best)) < 1e-6 * abs(slope(best + 0.2)) and slope(best + 0.2) > 0


def test_the_bound_of_a_bit_is_its_entropy() -> None:
    """By enumeration: with the exact posterior every step is exact, so nothing is lost."""
    steps, p = 12, 0.3
    objective = build(f"bits(steps={steps})", ("objectives",))
    own = objective.parameterization(0.5)
    diffusion = BernoulliDiffusion(own.schedule)
    prior = BitsPrior(
        torch.ones(1, dtype=torch.float64), torch.tensor([[p]], dtype=torch.float64), diffusion
    )
    total = 0.0
    for i in range(steps):
        t = torch.tensor((i + 1) / steps, dtype=torch.float64)

        def network(x: Tensor, time: Tensor, t: Tensor = t) -> Tensor:
            return prior((x + 1) / 2, t).logit()

        x_0 = torch.tensor([[0.0], [0.0], [1.0], [1.0]], dtype=torch.float64)
        bits = torch.tensor([[0.0], [1.0], [0.0], [1.0]], dtype=torch.float64)
        noise = torch.where(bits == 1, -20.0, 20.0).double()  # the bit 1 is drawn by a small number
        one = diffusion.noise(x_0, t).mean
        q = torch.where(x_0 == 1, p, 1 - p) * torch.where(bits == 1, one, 1 - one)
        model = Denoiser(network=network, parameterization=own)
        losses = objective.losses(model, Batch(x_0=x_0, t=t.expand(4), noise=noise))
        total += float((q[:, 0] * losses).sum()) / steps
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert abs(total - entropy) < 1e-4


@pytest.mark.parametrize("betas", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 4, 5, 8, 20, 21, 100])
def test_a_chain_of_few_steps_keeps_a_part_of_the_signal(betas: str, steps: int) -> None:
    """Betas of DDPM that are scaled to fewer than 21 steps would be above 1."""
    objective = build(f"simple(steps={steps}, betas={betas!r})", ("objectives",))
    alpha, sigma = objective.parameterization(0.5).schedule(torch.linspace(0, 1, 9).double())
    assert (alpha > 0).all() and (alpha.diff() < 0).all() and sigma.isfinite().all()
    if betas == "linear" and steps < 21:
        assert 0.006 < alpha[-1] < 0.007  # as of 1000 steps


@pytest.mark.parametrize("text", ["vlb", "vlb(variance='learned')", "hybrid"])
@pytest.mark.parametrize("steps", [2, 5, 8])
def test_the_bound_of_a_few_steps_is_that_of_the_formula(text: str, steps: int) -> None:
    """Values in closed form; with times in float32 and a wrong network, losses are finite."""
    chosen = f"{text.rstrip(')')}{', ' if '(' in text else '('}levels=False, steps={steps})"
    objective = build(chosen, ("objectives",))
    total = 0.0
    for i in range(steps):
        batch = exact_batch(objective, (i + 0.5) / steps)
        model, network = denoiser(objective, batch)
        network.out = None if network.out is None else network.out - 1  # v = 0: beta_tilde
        if text != "hybrid":
            total += objective.losses(model, batch).mean().item() / steps
        late = Batch(x_0=batch.x_0.float(), t=batch.t.float(), noise=batch.noise.float())
        w = torch.zeros((), requires_grad=True)
        wrong = Denoiser(
            network=lambda x, t, w=w: (w + x).repeat(1, objective.numbers),
            parameterization=model.parameterization,
        )
        losses = objective.losses(wrong, late)
        (gradient,) = torch.autograd.grad(losses.mean(), w)
        assert losses.isfinite().all() and gradient.isfinite().all()
    assert text == "hybrid" or abs(total - gaussian_bound(objective)) < 1e-6


def test_times_are_those_of_the_law() -> None:
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for text in ("simple(steps=8)", "bits(steps=8)"):
        t = build(text, ("objectives",)).times(u)
        assert torch.equal(t.unique(), (torch.arange(8) + 1).double() / 8)
        assert (torch.stack([(t == v).sum() for v in t.unique()]) == 125).all()
    ladder = build("ncsn(levels=4, sigma_min=0.1, sigma_max=0.8)", ("objectives",))
    sigma = ladder.parameterization(1.0).schedule(ladder.times(u))[1].unique()
    torch.testing.assert_close(sigma, torch.tensor([0.1, 0.2, 0.4, 0.8], dtype=torch.float64))
    middle = build("flow(law='logit_normal')", ("objectives",)).times(u)
    assert abs(float(((middle > 0.25) & (middle < 0.75)).double().mean()) - 0.7281) < 2e-3


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(SettingError, match="sigma_min is below sigma_max, got 1 and 0.5"):
        build("ncsn(sigma_min=1, sigma_max=0.5)", ("objectives",))
    objective = build("implicit", ("objectives",))
    x = torch.zeros(1, 3, 16, 16)
    batch = Batch(x_0=x, t=torch.zeros(1), noise=x)
    model = Denoiser(network=lambda x, t: x, parameterization=objective.parameterization(0.5))
    with pytest.raises(UnsuitedError, match="256 at most, and got 768: use sliced or ncsn"):
        objective.losses(model, batch)


def test_losses_of_derivatives_pass_attention() -> None:
    """The fast kernel of attention has one derivative; here the second is that of the formula."""
    x = random(1, 2, 5, 4).float().requires_grad_()

    def formula(x: Tensor) -> Tensor:
        return (x @ x.mT / x.shape[-1] ** 0.5).softmax(-1) @ x

    def slopes(attend: Callable[[Tensor], Tensor]) -> Tensor:
        (first,) = torch.autograd.grad(attend(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    with torch.no_grad(), second_derivatives():
        mine = slopes(lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x))
    torch.testing.assert_close(mine, slopes(formula), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text, count", [("simple", 1), ("sliced", 2), ("denoising_gan", 4)])
def test_a_batch_has_all_the_noises_that_its_objective_needs(text: str, count: int) -> None:
    """Each is standard normal, and none is another."""
    objective = build(text, ("objectives",))
    generator = torch.Generator().manual_seed(0)
    noises = [*objective.noises((500, 4), generator)]
    batch = objective.batch(torch.zeros(500, 4), torch.zeros(500), noises)
    given = [x for x in (batch.noise, batch.probe, *batch.draws) if x is not None]
    assert len(noises) == len(given) == count
    moments = torch.cov(torch.stack([x.flatten() for x in given])).reshape(count, count)
    assert (moments - torch.eye(count)).abs().max() < 4 * (2 / 2000) ** 0.5


def test_slices_are_along_a_direction_of_their_own() -> None:
    """The noise itself as the direction would bend the loss."""
    objective = build("sliced", ("objectives",))
    batch = exact_batch(objective, 0.5)
    model, _ = denoiser(objective, batch)
    with pytest.raises(UnsuitedError, match="needs a batch with a probe"):
        objective.losses(model, Batch(x_0=batch.x_0, t=batch.t, noise=batch.noise))
