"""Objectives of few steps: what a teacher tells, against what is known in closed form."""

import math

import pytest
import torch
from torch import Tensor, nn

from diffprior.catalog import build
from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import UnsuitedError
from diffprior.networks.mlp import MLP
from diffprior.networks.parameterizations import Consistency, Drawn, Karras, cosine_table
from diffprior.objectives.base import Batch, Denoiser, Teacher
from diffprior.objectives.guided import guided
from diffprior.objectives.progressive import two_steps
from diffprior.priors.denoising_gan import DenoisingGANPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import EDM, Cosine, Rectified, Schedule, Tabulated
from diffprior.training.teachers import as_teacher

from support.exact import deviations, moments, random, three_components

SCHEDULES = [Cosine(), EDM(), Rectified(), Tabulated(alphas_cumprod=cosine_table(500))]


def exact_teacher(schedule: Schedule) -> tuple[MixturePrior, Teacher]:
    mixture = three_components()
    prior = MixturePrior(
        mixture.log_weights.exp(), mixture.means, mixture.covs(), GaussianDiffusion(schedule)
    )
    return prior, as_teacher(prior)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_target_is_two_ddim_steps(schedule: Schedule) -> None:
    """Rows at times of their own; one step with the target ends where two of the teacher end."""
    prior, teacher = exact_teacher(schedule)
    t = torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64)
    s = t - 0.25
    alpha, sigma = schedule(t[:, None])
    x_t = alpha * random(4, 2) + sigma * random(4, 2, seed=1)
    target = two_steps(teacher, x_t, (t, s))
    one = prior.diffusion.bridge(x_t, target, t[:, None], s[:, None], 0.0).mean
    for i in range(4):
        two = DDIM(steps=2)(prior, x_t[i : i + 1], start=t[i], stop=s[i])
        torch.testing.assert_close(one[i : i + 1], two, rtol=1e-6, atol=1e-6)


def test_halving_twice_is_four_steps_in_one() -> None:
    prior, teacher = exact_teacher(Cosine())

    def half(inner: Teacher, steps: int) -> Teacher:
        def denoise(x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            return two_steps(inner, x_t, (t, t - 1 / steps), labels)

        return Teacher(denoise=denoise, schedule=teacher.schedule)

    student = half(half(teacher, 2), 1)
    x_T, one = random(5, 2), torch.ones(5, dtype=torch.float64)
    end = torch.zeros((), dtype=torch.float64)
    x_0 = student.denoise(x_T, one, None)
    x = prior.diffusion.bridge(x_T, x_0, one[0], end, 0.0).mean
    torch.testing.assert_close(x, DDIM(steps=4)(prior, x_T), rtol=1e-6, atol=1e-6)


def test_a_student_of_the_target_has_no_loss_and_another_has_its_square() -> None:
    """The weight is max(1, alpha^2 / sigma^2), row by row."""
    _, teacher = exact_teacher(EDM(sigma_min=0.01, sigma_max=5.0))
    objective = build("progressive(steps=4)", ("objectives",))
    t = objective.times(torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64))
    assert torch.equal(t, torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
    batch = Batch(x_0=random(4, 2), t=t, noise=random(4, 2, seed=1))
    own = Karras(schedule=teacher.schedule)
    sigma = teacher.schedule(t)[1]
    x_t = batch.x_0 + sigma[:, None] * batch.noise
    target = two_steps(teacher, x_t, (t, t - 0.25))

    def losses(off: float) -> Tensor:
        start = own.denoised(x_t, t[:, None], 0 * x_t)
        scale = own.denoised(x_t, t[:, None], 0 * x_t + 1) - start
        out = (target + off - start) / scale
        model = Denoiser(network=lambda x, time: out, parameterization=own, teacher=teacher)
        return objective.losses(model, batch)

    assert losses(0.0).max() < 1e-12
    torch.testing.assert_close(losses(0.3), (1 / sigma**2).clamp_min(1) * 0.09)


def classed(seed: int = 0) -> NetworkPrior:
    torch.manual_seed(seed)
    network = MLP(size=2, width=16, layers=1, classes=3)
    nn.init.normal_(network.last.weight)
    return NetworkPrior.of(network, Karras(0.01, 5.0, 1.0))


@pytest.mark.parametrize("scale", [1.0, 3.0, -0.5])
def test_the_target_of_guided_is_the_guided_teacher(scale: float) -> None:
    """Rows of all classes, of no class, and of times of their own."""
    prior = classed()
    x, labels = random(4, 2, dtype=torch.float32), torch.tensor([0, 2, 1, 3])
    t = torch.tensor([0.2, 0.5, 0.8, 0.6])
    answers = guided(as_teacher(prior), x, t, labels, scale)
    for i, label in enumerate(labels.tolist()):
        known = prior if label == 3 else prior.with_condition(label=label, guidance_scale=scale)
        row = known(x[i : i + 1], t[i].double())
        torch.testing.assert_close(answers[i : i + 1], row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [Consistency(), Consistency(0.005, 20.0, 0.7, 0.25)])
def test_at_the_least_noise_a_consistency_function_is_the_identity(
    own: Consistency, dtype: torch.dtype
) -> None:
    """To the last bit, whatever the network says."""
    x, t = random(6, 2, dtype=dtype), torch.zeros(6, 1, dtype=dtype)
    assert torch.equal(own.denoised(x, t, 1e3 * random(6, 2, seed=1, dtype=dtype)), x)
    assert not torch.equal(own.denoised(x, t + 0.1, random(6, 2, seed=1, dtype=dtype)), x)


def test_a_consistency_model_begins_as_a_copy_of_a_karras_network() -> None:
    """The network takes what it took: only c_skip and c_out differ, and little for much noise."""
    x_t, t = 5 * random(3, 2), torch.tensor(0.9, dtype=torch.float64)
    karras, ends = Karras(0.005, 20.0, 0.7), Consistency(0.005, 20.0, 0.7, 0.25)
    for ours, theirs in zip(ends.inputs(x_t, t), karras.inputs(x_t, t), strict=True):
        torch.testing.assert_close(ours, theirs)
    out = random(3, 2, seed=1)
    pair = [own.denoised(x_t, t, out) for own in (ends, karras)]
    torch.testing.assert_close(*pair, rtol=2e-3, atol=2e-3)


MEAN, STD = 0.3, 0.5


def gaussian(schedule: Schedule) -> MixturePrior:
    return MixturePrior(
        torch.ones(1, dtype=torch.float64),
        torch.full((1, 2), MEAN, dtype=torch.float64),
        torch.full((1,), STD**2, dtype=torch.float64),
        GaussianDiffusion(schedule),
    )


def end_of_flow(x: Tensor, low: float, sigma: Tensor | float) -> Tensor:
    """Return where the flow of N(MEAN, STD^2) from x at a noise level is at the level ``low``."""
    ratio = math.sqrt(STD**2 + low**2) / (STD**2 + torch.as_tensor(sigma) ** 2).sqrt()
    return MEAN + (x - MEAN) * ratio


@pytest.mark.parametrize("solver, order", [("euler", 2), ("heun", 3)])
@pytest.mark.parametrize("schedule", [Cosine(), EDM()], ids=lambda s: type(s).__name__)
def test_the_earlier_state_lies_on_the_flow(schedule: Schedule, solver: str, order: int) -> None:
    """The error of one step falls by its order; the teacher may have another schedule."""
    errors = []
    for steps in (20, 40):
        text = f"consistency_distillation(steps={steps}, solver={solver!r}, sigma_max=5.0)"
        objective = build(text, ("objectives",))
        own = objective.parameterization(STD)
        model = Denoiser(
            network=lambda x, time: x,
            parameterization=own,
            teacher=as_teacher(gaussian(schedule)),
        )
        t = torch.full((6,), 0.6, dtype=torch.float64)
        x_t, (high, low) = random(6, 2), (own.schedule(v)[1][0] for v in (t, t - 1 / steps))
        x_s = objective._earlier(model, x_t, t, t - 1 / steps)
        errors.append((x_s - end_of_flow(x_t, float(low), high)).norm())
    slope = float((errors[0] / errors[1]).log2())
    assert abs(slope - order) < 0.25, slope


def test_the_exact_consistency_function_has_almost_no_loss() -> None:
    """By distillation from the exact score; another function has a hundred times as much."""
    objective = build("consistency_distillation(steps=40)", ("objectives",))
    own = objective.parameterization(STD)
    t = objective.times((torch.arange(40, dtype=torch.float64) + 0.5) / 40)
    batch = Batch(x_0=MEAN + STD * random(40, 2), t=t, noise=random(40, 2, seed=1))
    teacher = as_teacher(gaussian(EDM(sigma_min=0.005, sigma_max=20.0)))
    losses = {}
    for off in (0.0, 0.1):

        def network(x: Tensor, time: Tensor, off: float = off) -> Tensor:
            sigma = (time[:, None] / 0.25).exp()
            x = x * (sigma**2 + STD**2).sqrt()
            place = torch.log(sigma / 0.005) / math.log(20.0 / 0.005)
            v = (20.0 ** (1 / 7) - 0.005 ** (1 / 7)) ** -1
            u = ((sigma ** (1 / 7)) - 0.005 ** (1 / 7)) * v
            f = end_of_flow(x, 0.005, sigma) + off * place
            start = own.denoised(x, u, 0 * x)
            return (f - start) / (own.denoised(x, u, 0 * x + 1) - start).clamp_min(1e-12)

        model = Denoiser(network=network, parameterization=own, teacher=teacher)
        losses[off] = float(objective.losses(model, batch)[1:].mean())
    assert losses[0.0] < 0.01 * losses[0.1], losses


def test_consistency_training_compares_two_levels_of_one_noise() -> None:
    """The grid doubles in the course of a run; the pair differs by one of its steps."""
    objective = build("consistency_training(first=10, last=80)", ("objectives",))
    shares = (0.0, 0.24, 0.26, 0.51, 0.99, 1.0)
    assert [objective.steps(share) for share in shares] == [10, 10, 20, 40, 80, 80]
    u = (torch.arange(999, dtype=torch.float64) + 0.5) / 999
    sigma = objective.parameterization(1.0).schedule(objective.times(u))[1]
    assert abs(float(sigma[499].log()) + 1.1) < 1e-3  # the median of the log-normal law
    seen = []

    def network(x: Tensor, time: Tensor) -> Tensor:
        sigma = (time / 0.25).exp()
        seen.append((sigma, x * (sigma[:, None] ** 2 + 0.25).sqrt()))
        return x

    batch = Batch(x_0=random(4, 2), t=objective.times(u[100::250]), noise=random(4, 2, seed=1))
    own = objective.parameterization(0.5)
    objective.losses(Denoiser(network=network, parameterization=own), batch)
    (low, x_s), (high, x_t) = seen
    torch.testing.assert_close(x_t - x_s, (high - low)[:, None] * batch.noise)
    places = [own.schedule.time(level) * 10 for level in (low, high)]
    torch.testing.assert_close(places[1] - places[0], torch.ones(4, dtype=torch.float64))


class Posterior(nn.Module):
    """G that draws x_0 from p(x_0 | x_t) of a mixture itself, by the component and its Gaussian.

    Each number of a state is a draw of its own, so that one stream draws the noise of all of them.
    """

    def __init__(self, exact: MixturePrior, steps: int) -> None:
        super().__init__()
        self.exact, self.steps = exact, steps

    def forward(self, pair: Tensor, time: Tensor) -> Tensor:
        x_t, z = pair.chunk(2, 1)
        alpha, sigma = self.exact.diffusion.schedule(time[0].double() / self.steps)
        means, var = self.exact.means[:, 0], float(self.exact.covs()[0, 0, 0])
        total = alpha**2 * var + sigma**2
        logits = -((x_t[..., None] - alpha * means) ** 2) / (2 * total)
        share = logits.softmax(-1)[..., 0]
        # one number is two: which component, and where in it
        u = torch.special.ndtr(z.double()).clamp(1e-12, 1 - 1e-12)
        first = u < share
        rest = torch.where(first, u / share, (u - share) / (1 - share)).clamp(1e-12, 1 - 1e-12)
        mean = torch.where(first, means[0], means[1])
        gain = alpha * var / total
        loc = mean + gain * (x_t - alpha * mean)
        x_0 = loc + (var * (1 - gain * alpha)).sqrt() * torch.special.ndtri(rest)
        return torch.cat([x_0, z], 1)


def two_modes(steps: int, count: int = 1) -> tuple[MixturePrior, DenoisingGANPrior]:
    own = Drawn(steps)
    exact = MixturePrior(
        torch.ones(2, dtype=torch.float64) / 2,
        torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        torch.full((2,), 0.04, dtype=torch.float64),
        GaussianDiffusion(own.schedule),
    )
    prior = DenoisingGANPrior(Posterior(exact, steps), own, (count,))
    prior.usual_sampler = f"ancestral(steps={steps})"
    return exact, prior


@pytest.mark.parametrize("steps", [1, 2])
def test_steps_with_modes_have_the_right_law_where_gaussian_ones_have_not(steps: int) -> None:
    """With the exact draw of x_0 the chain is exact at any number of steps."""
    exact, prior = two_modes(steps, 2000)
    noise = Noise(0)
    x_T = exact.diffusion.terminal((1, 2000)).sample(noise).double()
    x = Ancestral(steps=steps)(prior, x_T, noise).mT
    assert deviations(x, *moments(exact)) < 4
    assert abs(float((x.abs() - 1).square().mean()) - 0.04) < 0.005
    x_T = x_T[:, :500]
    gaussian = Ancestral(steps=steps)(exact, x_T.mT, Noise(1, samples=500))
    assert float((gaussian.abs() - 1).square().mean()) > 0.1


def test_a_step_is_the_posterior_of_the_chain() -> None:
    """Moments of draws at one x_t: by eq. 7 of DDPM, with the spread of x_0 added."""
    exact, prior = two_modes(4, 4000)
    n, t, s = 4000, *torch.tensor([0.5, 0.25], dtype=torch.float64)
    states = torch.full((1, n), 0.1, dtype=torch.float64)
    kernel = prior.kernel(states, t, s)
    x_s, x_t = kernel.sample(Noise(0)).mT, states.mT[:1]
    (a_t, sigma_t), (a_s, sigma_s) = (exact.diffusion.schedule(v) for v in (t, s))
    beta = sigma_t**2 - (a_t / a_s) ** 2 * sigma_s**2
    to_0, to_t = a_s * beta / sigma_t**2, a_t / a_s * sigma_s**2 / sigma_t**2
    x_0 = exact(x_t, t)
    spread = exact_variance(exact, x_t, t)
    mean = to_0 * x_0 + to_t * x_t
    var = (beta * sigma_s**2 / sigma_t**2 + to_0**2 * spread).reshape(1, 1)
    assert deviations(x_s, mean[0], var) < 4
    answers = prior(states, t)  # each is the mean of four draws
    assert abs(float(answers.mean() - x_0)) < 4 * float(spread / 4 / n) ** 0.5
    assert abs(float(answers.var() / spread) - 0.25) < 0.03
    torch.testing.assert_close(kernel.mean, to_0 * answers + to_t * states)
    with pytest.raises(UnsuitedError, match=r"4 steps, and knows no other times: use ancestral"):
        prior.kernel(states, torch.tensor(0.4, dtype=torch.float64), s).sample(Noise(0))
    with pytest.raises(UnsuitedError, match="whose steps are draws"):
        prior.kernel(states, t, s, 0.0)


def exact_variance(exact: MixturePrior, x_t: Tensor, t: Tensor) -> Tensor:
    """Return var(x_0 | x_t) = sigma^2 / alpha dE[x_0 | x_t] / dx_t."""
    alpha, sigma = exact.diffusion.schedule(t)
    leaf = x_t.clone().requires_grad_()
    (slope,) = torch.autograd.grad(exact(leaf, t).sum(), leaf)
    return sigma**2 / alpha * slope


def test_the_critic_sees_pairs_of_the_chain_and_those_of_the_exact_draw_alike() -> None:
    """Moments of (x_s, x_t) of both; a critic that knows nothing has the loss 2 log 2."""
    exact, prior = two_modes(2)
    objective = build("denoising_gan(steps=2)", ("objectives",))
    n = 4000
    rows = exact.sample(Noise(1, samples=n)).double()
    t = torch.full((n,), 1.0, dtype=torch.float64)
    batch = Batch(
        x_0=rows, t=t, noise=random(n, 1), draws=[random(n, 1, seed=k) for k in (1, 2, 3)]
    )
    seen = []

    def critic(x_s: Tensor, x_t: Tensor, t: Tensor, labels: None) -> Tensor:
        seen.append(torch.cat([x_s, x_t], 1).detach())
        return 0 * x_s[:, 0] + 0 * x_s.square().sum(1)

    model = Denoiser(network=prior.network, parameterization=prior.parameterization, critic=critic)
    losses = objective.critic_losses(model, batch)
    torch.testing.assert_close(losses.detach(), torch.full_like(losses, 2 * math.log(2)))
    real, made = seen
    middle = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = exact.diffusion.schedule(middle)
    var = alpha**2 * 1.04 + sigma**2
    for pairs in (real, made):
        assert abs(float(pairs[:, 0].var()) / float(var) - 1) < 0.08
        assert abs(float(pairs[:, 0].mean())) < 4 * float(var / n) ** 0.5
    both = [torch.cov(pairs.mT)[0, 1] for pairs in (real, made)]
    assert abs(float(both[0] - both[1])) < 0.06
    loss = objective.losses(model, batch)
    torch.testing.assert_close(loss.detach(), torch.full_like(loss, math.log(2)))


def test_what_is_missing_is_one_sentence() -> None:
    x = random(2, 2)
    batch = Batch(x_0=x, t=torch.ones(2), noise=x, draws=[x, x, x])
    for text, words in {
        "progressive": "learns from a prior, and no teacher was given",
        "guided": "guidance of classes, and these data have none",
        "consistency_distillation": "learns from a prior",
        "denoising_gan": "needs a critic, and there is none",
    }.items():
        objective = build(text, ("objectives",))
        model = Denoiser(network=lambda x, t: x, parameterization=Karras())
        with pytest.raises(UnsuitedError, match=words):
            objective.losses(model, batch)
    for text in ("progressive", "guided"):
        with pytest.raises(UnsuitedError, match="has the form of its teacher, and there is none"):
            build(text, ("objectives",)).parameterization(0.5)
