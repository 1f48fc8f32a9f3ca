"""Every method of the folder: one contract for all, exact posteriors where they are claimed."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprior.batching import silent
from diffprior.catalog import build, find, names
from diffprior.diffusions import GaussianDiffusion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Guidance, KernelGuidance, Method, Posterior
from diffprior.methods.ddnm import DDNM
from diffprior.methods.diffpir import DiffPIR
from diffprior.methods.dpir import DPIR
from diffprior.methods.dps import DPS
from diffprior.methods.mmps import MMPS
from diffprior.methods.pigdm import PiGDM
from diffprior.methods.repaint import RePaint, travel
from diffprior.methods.smc import TwistedSMC, ess, resample
from diffprior.methods.tilt import Tilt
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import Cosine, LinearBeta

from support.exact import deviations, moments, random

ALL = names("methods")
every = pytest.mark.parametrize("name", ALL)
COPIES = ("by_depth", "exemplar")  # two known entries leave no choice: test_exemplar.py has a photo
drawn = pytest.mark.parametrize("name", [name for name in ALL if name not in COPIES])
KEEP = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
T = torch.tensor(0.4, dtype=torch.float64)
S = torch.tensor(0.35, dtype=torch.float64)


BRIEF = {  # methods with loops inside their steps
    "pnp_dm": "(sampler=ancestral(steps=5, grid='karras'), iterations=20)",
    "resample": "(iterations=10)",
}


def quick(name: str, steps: int = 8) -> Method[Any]:
    made = build(name + BRIEF.get(name, ""))
    assert isinstance(made, Method)
    return made.with_steps(steps)


def three(sigma: float = 0.3) -> GaussianLikelihood[Mask]:
    """Three measurements, one of them far away."""
    y = torch.tensor([[0.5, -0.3], [30.0, -20.0], [0.01, 1.0]], dtype=torch.float64)
    y = torch.cat([y, torch.zeros_like(y)], 1)
    return GaussianLikelihood(operator=Mask(KEEP).double(), y=y, sigma=sigma)


# One contract for all


@every
def test_a_batch_is_its_rows(gaussian: MixturePrior, name: str) -> None:
    """run(batch)[i] == run([i]): norms, steps and streams are of each row."""
    method = quick(name)
    batch = method(gaussian, three(), n=2, seed=1)
    for i in range(3):
        alone = method(gaussian, three().select(torch.tensor([i])), n=2, seed=1)
        assert torch.equal(batch[i], alone)


@drawn
def test_a_batch_of_named_images_is_its_rows(gaussian: MixturePrior, name: str) -> None:
    method = quick(name)
    batch = method(gaussian, three(), n=2, ids=["a", "b", "c"])
    alone = method(gaussian, three().select(torch.tensor([1])), n=2, ids=["b"])
    assert torch.equal(batch[1], alone)
    if method.stochastic:
        other = method(gaussian, three().select(torch.tensor([1])), n=2, ids=["a"])
        assert not torch.equal(alone, other)


@every
def test_masks_of_a_batch_are_its_rows(gaussian: MixturePrior, name: str) -> None:
    """One mask for each image goes where its image goes."""
    masks = torch.stack([KEEP, 1 - KEEP, torch.tensor([0.0, 1.0, 1.0, 0.0]).double()])
    y = masks * random(3, 4)
    batch = GaussianLikelihood(operator=Mask(masks, batched=True).double(), y=y, sigma=0.3)
    method = quick(name)
    x = method(gaussian, batch, n=2, batch_size=2)
    for i in range(3):
        one = GaussianLikelihood(operator=Mask(masks[i]).double(), y=y[i : i + 1], sigma=0.3)
        torch.testing.assert_close(x[i], method(gaussian, one, n=2), rtol=1e-6, atol=1e-6)


@every
def test_more_samples_leave_the_first_alone(gaussian: MixturePrior, name: str) -> None:
    method = quick(name)
    few, many = (method(gaussian, three(), n=n) for n in (2, 5))
    if method.joint:
        assert not torch.allclose(many[:, :2], few)  # one population: say so with ``joint``
    else:
        torch.testing.assert_close(many[:, :2], few, rtol=1e-6, atol=1e-6)


@every
@pytest.mark.parametrize("rows", [1, 4])
def test_rows_at_a_time_change_nothing(gaussian: MixturePrior, name: str, rows: int) -> None:
    method = quick(name)
    parts, whole = (method(gaussian, three(), n=3, batch_size=r) for r in (rows, None))
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)


@drawn
def test_same_seed_same_bits(gaussian: MixturePrior, name: str) -> None:
    method = quick(name)
    a, b, c = (method(gaussian, three(), n=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert torch.equal(a, c) is not method.stochastic
    if not method.joint:  # particles may be copies of one another
        assert torch.equal(a[:, 0], a[:, 1]) is not method.stochastic


@every
def test_a_call_changes_nothing_it_was_given(gaussian: MixturePrior, name: str) -> None:
    likelihood = three()
    held = [likelihood.y, *likelihood.operator.buffers(), *gaussian.buffers()]
    before = [(x.clone(), x._version) for x in held]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    x = quick(name)(gaussian, likelihood, n=2)
    for now, (value, version) in zip(held, before, strict=True):
        assert torch.equal(now, value) and now._version == version
        assert not now.requires_grad and now.grad is None
    assert torch.equal(torch.get_rng_state(), state)  # no draw from the world's stream
    assert not x.requires_grad


@every
def test_shapes(gaussian: MixturePrior, name: str) -> None:
    method, batch = quick(name, 2), three()
    assert method(gaussian, batch, n=5).shape == (3, 5, 4)
    assert method(gaussian, batch).shape == (3, 1, 4)
    one = dataclasses.replace(batch, y=batch.y[0])
    x = method(gaussian, one, n=5)
    assert x.shape == (5, 4)
    assert torch.equal(x, method(gaussian, dataclasses.replace(batch, y=batch.y[:1]), n=5))


NEIGHBORS = ("textured", *COPIES)


@pytest.mark.parametrize("name", [name for name in ALL if name not in NEIGHBORS])
def test_images_are_what_vectors_are(gaussian: MixturePrior, name: str) -> None:
    """States of shape (1, 2, 2): a norm or a sum over the wrong dimensions would show."""
    likelihood, method = three(), quick(name)
    means = gaussian.means.reshape(1, 1, 2, 2)
    prior = MixturePrior(torch.ones(1, dtype=torch.float64), means, gaussian.covs())
    mask, y = Mask(KEEP.reshape(1, 2, 2)).double(), likelihood.y.reshape(3, 1, 2, 2)
    x = method(prior, dataclasses.replace(likelihood, operator=mask, y=y), n=2)
    flat = method(gaussian, likelihood, n=2)
    torch.testing.assert_close(x.flatten(2), flat, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ALL if build(name).needs.operator is not Mask])
def test_identity_is_a_mask_that_hides_nothing(gaussian: MixturePrior, name: str) -> None:
    likelihood, method = three(), quick(name)
    y = likelihood.y + torch.tensor([0.0, 0.0, 0.4, -0.9]).double()
    x, same = (
        method(gaussian, dataclasses.replace(likelihood, operator=A, y=y), n=2)
        for A in (Identity(), Mask(torch.ones(4)))
    )
    torch.testing.assert_close(x, same, rtol=1e-6, atol=1e-6)


@every
def test_dtype_is_the_priors(gaussian: MixturePrior, name: str) -> None:
    """An operator and a y of another dtype follow the prior, and are not changed themselves."""
    likelihood = three()
    x = quick(name)(gaussian.float(), likelihood, n=2)
    assert x.dtype == torch.float32 and x.isfinite().all()
    assert likelihood.operator.s.dtype == likelihood.y.dtype == torch.float64


@every
def test_a_measurement_of_another_shape_is_one_sentence(gaussian: MixturePrior, name: str) -> None:
    for y in (torch.zeros(2, 3), torch.zeros(1, 2, 2)):
        with pytest.raises(
            ValueError, match=r"^a measurement of this operator has shape \(4,\), got"
        ):
            quick(name)(gaussian, dataclasses.replace(three(), y=y))


@every
@pytest.mark.parametrize("n", [0, -3])
def test_no_samples_is_one_sentence(gaussian: MixturePrior, name: str, n: int) -> None:
    with pytest.raises(ValueError, match=f"^the number of samples is at least 1, got {n}$"):
        quick(name)(gaussian, three(), n=n)


@every
@pytest.mark.parametrize("rows", [None, 2])
def test_watch_follows_to_the_end(gaussian: MixturePrior, name: str, rows: int | None) -> None:
    shares: list[float] = []
    quick(name)(
        gaussian, three(), n=2, batch_size=rows, callback=lambda x, done: shares.append(done)
    )
    assert shares == sorted(shares) and abs(shares[-1] - 1) < 1e-12 and shares[0] > 0


@every
def test_what_a_method_needs_is_one_sentence(gaussian: MixturePrior, name: str) -> None:
    """Behind a decoder an operator is any map."""
    method, likelihood = quick(name), three().through(torch.sin)
    needed = method.needs.operator.__name__
    if isinstance(likelihood.operator, method.needs.operator):
        assert method(gaussian, likelihood).isfinite().all()
    else:
        with pytest.raises(TypeError, match=rf"^\w+ needs a {needed}, got Composed$"):
            method(gaussian, likelihood)


class Recorder(Prior):
    """A prior that remembers what it was asked."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner, self.diffusion, self.shape = inner, inner.diffusion, inner.shape
        self.asked: list[tuple[Tensor, float]] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.asked.append((x_t.detach().clone(), float(t)))
        return self.inner(x_t, t)


@pytest.mark.parametrize("name", [name for name in ALL if name != "exemplar"])  # no chain
def test_a_start_is_noise_round_the_guess(gaussian: MixturePrior, name: str) -> None:
    """The chain begins at the time of ``start``, at alpha guess + sigma eps: 4 standard errors."""
    method = dataclasses.replace(quick(name, 2), start=0.5)
    prior, guess, n = Recorder(gaussian), random(1, 4), 500 if method.stochastic else 3
    method(prior, three().select(torch.tensor([0])), n=n, guess=guess)
    x, t = prior.asked[0]
    alpha, sigma = gaussian.diffusion.schedule(torch.tensor(t, dtype=torch.float64))
    assert abs(sigma / alpha - 0.5) < 1e-9
    if method.stochastic:
        eye = torch.eye(4, dtype=torch.float64)
        assert deviations((x - alpha * guess) / sigma, torch.zeros(4).double(), eye) < 4
    else:
        torch.testing.assert_close(x, (alpha * guess).expand(n, 4))


def test_a_start_without_a_guess_is_the_least_image_or_one_sentence(gaussian) -> None:
    method = DPS(start=0.01, sampler=DDIM(steps=1), zeta=0.0)
    prior = Recorder(gaussian)
    method(prior, three().select(torch.tensor([0])))
    assert (prior.asked[0][0] - three().y[:1]).abs().max() < 0.1
    with pytest.raises(ValueError, match=r"^DPS\(start=0.01\) needs a guess to start from$"):
        method(gaussian, three().through(torch.sin))


class Tight(Recorder):
    """A prior with memory for the way back of three rows, and no more."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        x_0 = super().forward(x_t, t)
        if x_0.requires_grad:
            x_0.register_hook(self._back)
        return x_0

    def _back(self, v: Tensor) -> None:
        if len(v) > 3:
            raise torch.OutOfMemoryError("no memory")


def test_out_of_memory_on_the_way_back_halves_the_rows(gaussian: MixturePrior) -> None:
    """The very samples that there would have been, from the same streams."""
    method, given = quick("dps"), {"n": 6, "ids": ["a", "b", "c"]}
    with pytest.warns(RuntimeWarning, match="^out of memory: going on with 3 samples at a time$"):
        x = method(Tight(gaussian), three(), **given)
    torch.testing.assert_close(x, method(gaussian, three(), **given), rtol=1e-9, atol=1e-9)


# Exact where it is claimed


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm", "heun"])
def test_mmps_is_exact_for_a_gaussian(gaussian: MixturePrior, seen, sampler: str) -> None:
    """Mean and covariance; ``iterations`` is the rank of A. Others: ``test_everywhere``."""
    steps = 200 if sampler == "ancestral" else 100
    method = build(f"mmps(iterations=2, sampler={sampler}(steps={steps}))")
    x = method(gaussian, seen, n=2000)
    assert deviations(x, *moments(gaussian.posterior(seen))) < 4


@pytest.mark.parametrize("sampler", [Ancestral(steps=200), DDIM(steps=100)], ids=str)
def test_pigdm_is_exact_for_a_round_gaussian(seen, sampler) -> None:
    var = torch.tensor([0.5], dtype=torch.float64)
    prior = MixturePrior(torch.ones(1, dtype=torch.float64), random(1, 4, seed=1), var)
    x = PiGDM(var=0.5, sampler=sampler)(prior, seen, n=2000)
    assert deviations(x, *moments(prior.posterior(seen))) < 4


def test_pigdm_needs_the_right_variance(seen) -> None:
    """Guards the test above: with another var it would fail."""
    var = torch.tensor([0.5], dtype=torch.float64)
    prior = MixturePrior(torch.ones(1, dtype=torch.float64), random(1, 4, seed=1), var)
    x = PiGDM(var=5.0, sampler=DDIM(steps=100))(prior, seen, n=2000)
    assert deviations(x, *moments(prior.posterior(seen))) > 6


@pytest.mark.parametrize(
    "method",
    [
        MMPS(iterations=1, sampler=DDIM(steps=200)),
        PiGDM(sampler=DDIM(steps=200)),
        TwistedSMC(proposal=MMPS(iterations=1), steps=200),
        TwistedSMC(proposal=Guidance(), steps=200),
    ],
    ids=["mmps", "pigdm", "smc", "smc of the prior"],
)
def test_sigma_is_used(method: Method[Any]) -> None:
    """x ~ N(0, 1), y = x + noise of 0.5 = 1: the posterior is 0.8 +- 0.447, not 1 +- 0."""
    one = torch.ones(1, dtype=torch.float64)
    prior = MixturePrior(one, torch.zeros(1, 1).double(), one)
    likelihood = GaussianLikelihood(operator=Matrix(one[None]), y=one[None], sigma=0.5)
    x = method(prior, likelihood, n=2000)
    assert deviations(x, torch.tensor([0.8]).double(), torch.tensor([[0.2]]).double()) < 4


def test_smc_is_exact_for_a_gaussian(gaussian: MixturePrior, seen) -> None:
    """2000 particles that are never resampled on the way: 4 standard errors."""
    method = TwistedSMC(proposal=MMPS(iterations=2), steps=200, grid="logsnr")
    x = method(gaussian, seen, n=2000)
    assert deviations(x, *moments(gaussian.posterior(seen))) < 4


def tilted(bimodal: MixturePrior) -> tuple[GaussianLikelihood[Matrix], MixturePrior]:
    y = torch.tensor([[0.4]], dtype=torch.float64)
    likelihood = GaussianLikelihood(operator=Matrix(random(1, 2, seed=5)), y=y, sigma=0.5)
    return likelihood, bimodal.posterior(likelihood)


def responsibilities(prior: MixturePrior, x: Tensor) -> Tensor:
    """Return the mean share of each component in explaining ``x``."""
    parts = [
        MixturePrior(torch.ones(1).double(), m[None], c[None]).log_prob(x)
        for m, c in zip(prior.means, prior.covs(), strict=True)
    ]
    return (torch.stack(parts, 1) + prior.log_weights).softmax(1).mean(0)


@pytest.mark.parametrize(
    "method, resampled",
    [
        (TwistedSMC(proposal=MMPS(iterations=1), steps=200), 0),
        (TwistedSMC(proposal=DPS(zeta=1e-3), steps=200, grid="time"), 1),
        (TwistedSMC(proposal=Guidance(), steps=200), 1),
    ],
    ids=["mmps", "dps", "prior"],
)
def test_smc_weighs_the_modes(bimodal: MixturePrior, method: TwistedSMC, resampled: int) -> None:
    """Whatever proposes: moments and mode weights, to 4 standard errors a population."""
    likelihood, post = tilted(bimodal)
    x = method(bimodal, likelihood, n=2000)
    k = 4 * (1 + resampled) ** 0.5
    assert deviations(x, *moments(post)) < k
    w = post.log_weights.exp()
    assert ((responsibilities(post, x) - w).abs() < k * (w * (1 - w) / 2000).sqrt()).all()
    assert (w - bimodal.log_weights.exp()).abs().max() > 0.15  # the data have moved them


def test_smc_counts_the_last_weights(bimodal: MixturePrior) -> None:
    """Never resampled on the way, the prior's own chain becomes the posterior by weights alone."""
    likelihood, post = tilted(bimodal)
    method = TwistedSMC(proposal=Guidance(), steps=100, threshold=0.0)
    noise = Noise(0, [0], 2000)
    x_T = bimodal.diffusion.terminal((2000, 2)).sample(noise).double()
    x, log_w = method.particles(Posterior(bimodal, likelihood), x_T, noise, silent)
    torch.testing.assert_close(  # the twists telescope to p(y | x_0)
        log_w.softmax(0), likelihood.log_prob(x).softmax(0), rtol=1e-6, atol=1e-12
    )
    picked = x[resample(log_w, noise)]
    mean, cov = moments(post)
    errors = (picked.mean(0) - mean).abs() / (cov.diagonal() / ess(log_w)).sqrt()
    assert errors.max() < 4
    plain = (x.mean(0) - mean).abs() / (cov.diagonal() / ess(log_w)).sqrt()
    assert plain.max() > 6  # unweighted they are the prior


def test_smc_refuses_exact_data(gaussian: MixturePrior) -> None:
    with pytest.raises(ValueError, match=r"^exact data \(sigma = 0\) has no density"):
        quick("smc")(gaussian, three(0.0), n=4)


def test_ess() -> None:
    assert abs(ess(torch.zeros(10)) - 10) < 1e-5
    assert abs(ess(torch.tensor([0.0, -1e4, -1e4])) - 1) < 1e-6
    w = torch.tensor([0.5, 0.25, 0.25])
    assert abs(ess(w.log() + 100) - 1 / (w**2).sum()) < 1e-5


@pytest.mark.parametrize("seed", range(20))
def test_resampling_is_systematic(seed: int) -> None:
    """A particle of weight w is copied floor(N w) or ceil(N w) times."""
    w = (2 * random(100, seed=seed)).softmax(0)
    counts = torch.bincount(resample(w.log() - 50, Noise(seed, [0], 100)), minlength=100)
    assert counts.sum() == 100 and (counts >= (100 * w - 1e-9).floor()).all()
    assert (counts <= (100 * w + 1e-9).ceil()).all()


def test_resampling_is_fair() -> None:
    """Over 2000 seeds the mean count is N w: 5 standard errors of at most a half each."""
    w = random(10).softmax(0)
    draws = [resample(w.log(), Noise(seed, [0], 10)) for seed in range(2000)]
    counts = torch.bincount(torch.cat(draws), minlength=10) / 2000
    assert ((counts - 10 * w).abs() < 5 * 0.5 / 2000**0.5).all()


# Heuristic: better than no prior at all


@pytest.fixture
def smooth() -> MixturePrior:
    """Eight neighbors in a row, correlated like pixels."""
    i = torch.arange(8, dtype=torch.float64)
    cov = 0.25 * 0.95 ** (i[:, None] - i).abs()
    return MixturePrior(torch.ones(1).double(), torch.full((1, 8), 0.3).double(), cov[None])


INDEPENDENT = [name for name in ALL if not find(name, ("methods",)).joint]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_better_than_the_pseudo_inverse(smooth: MixturePrior, name: str) -> None:
    """Mean squared error over 60 problems drawn from the prior, one sample each."""
    keep = torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 1]).double()
    noise = Noise(5, range(60))
    x = smooth.sample(noise)
    y = keep * (x + 0.1 * noise.normal(x))
    likelihood = GaussianLikelihood(operator=Mask(keep), y=y, sigma=0.1)
    settings = "(jump=5, repeats=5)" if name == "repaint" else ""
    method = build(name + settings).with_steps(50)
    out = method(smooth, likelihood, ids=range(60), batch_size=1000)[:, 0]
    error, without = (out - x).square().mean(), (likelihood.operator.pinv(y) - x).square().mean()
    assert error < 0.5 * without
    seen, prior = (likelihood.residual(z).square().mean() for z in (out, smooth.sample(noise)))
    assert seen < 0.3 * prior  # and it explains the data


EXACT = ["ddnm", "ddrm", "diffpir", "dpir", "ilvr", "mcg", "mmps", "repaint", "score_sde", "tilt"]
EXACT += ["daps", "fps", "mcgdiff"]


@pytest.mark.parametrize("name", EXACT)
def test_exact_data_are_kept(smooth: MixturePrior, name: str) -> None:
    """Seen entries are y, up to the noise that the schedule itself keeps at t = 0."""
    keep = torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 1]).double()
    likelihood = GaussianLikelihood(operator=Mask(keep), y=keep * random(3, 8), sigma=0.0)
    for floor in (1e-3, 1e-7):
        smooth.diffusion = GaussianDiffusion(Cosine(sigma_min=floor))
        x = quick(name, 20)(smooth, likelihood, n=4)
        assert (keep * (x - likelihood.y[:, None])).abs().max() < 5 * floor + 1e-6


# DPS


def test_dps_is_the_papers_step(bimodal: MixturePrior) -> None:
    """loc of the bridge minus zeta d/dx_t ||y - A x_0(x_t)||, by finite differences."""
    likelihood, _ = tilted(bimodal)
    x_t, h = random(1, 2), 1e-6
    kernel = DPS(zeta=0.7).kernel(Posterior(bimodal, likelihood), x_t, T, S, 1.0)
    bridge = bimodal.kernel(x_t, T, S)

    def norm(x: Tensor) -> Tensor:
        return likelihood.residual(bimodal(x, T)).norm()

    steps = h * torch.eye(2, dtype=torch.float64)
    slope = torch.stack([norm(x_t + e) - norm(x_t - e) for e in steps]) / (2 * h)
    torch.testing.assert_close(kernel.loc, bridge.mean - 0.7 * slope, rtol=0, atol=1e-6)
    torch.testing.assert_close(kernel.var, bridge.var)


def test_dps_norm_is_of_each_image(gaussian: MixturePrior) -> None:
    """A norm over the batch makes every step of row 0 shorter when a far neighbor joins."""
    x_t = random(3, 4)
    batch = DPS().kernel(Posterior(gaussian, three()), x_t, T, S, 1.0).loc
    alone = (
        DPS().kernel(Posterior(gaussian, three().select(torch.tensor([0]))), x_t[:1], T, S, 1.0).loc
    )
    torch.testing.assert_close(batch[:1], alone, rtol=1e-10, atol=1e-10)


def test_dps_norm_is_not_squared(gaussian: MixturePrior) -> None:
    """Ten times the residual, the same step: its length knows nothing of the residual's."""
    x_t = random(1, 4)
    A_x = KEEP * gaussian(x_t, T)
    r = KEEP * random(1, 4, seed=1)
    near, far = (
        DPS()
        .kernel(Posterior(gaussian, dataclasses.replace(three(), y=A_x + c * r)), x_t, T, S, 1.0)
        .loc
        for c in (1.0, 10.0)
    )
    torch.testing.assert_close(near, far)
    assert (near - gaussian.kernel(x_t, T, S).mean).norm() > 0.01


def test_dps_does_not_count_hidden_entries(gaussian: MixturePrior) -> None:
    """Noise in masked pixels would lengthen the norm, and shorten the step."""
    x_t, y = random(1, 4), three().y[:1]
    clean, dirty = (
        DPS().kernel(
            Posterior(gaussian, dataclasses.replace(three(), y=y + c * (1 - KEEP))), x_t, T, S, 1.0
        )
        for c in (0.0, 50.0)
    )
    torch.testing.assert_close(clean.loc, dirty.loc)


# DiffPIR, DPIR, DDNM


@pytest.mark.parametrize("zeta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_diffpir_is_the_papers_step(gaussian: MixturePrior, zeta: float, sigma: float) -> None:
    """argmin_z ||y - A z||^2 / sigma^2 + weight ||z - x_0||^2 / q, then noise: by dense algebra."""
    A, weight = random(2, 4, seed=4), 7.0
    y = torch.tensor([[0.5, -0.3]], dtype=torch.float64)
    likelihood = GaussianLikelihood(operator=Matrix(A), y=y, sigma=sigma)
    x_t, schedule = random(1, 4), gaussian.diffusion.schedule
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(T), schedule(S)
    rho = weight * sigma**2 / (sigma_t / alpha_t) ** 2
    x_0 = gaussian(x_t, T)
    inverse = torch.linalg.inv(A @ A.T + rho * torch.eye(2, dtype=torch.float64))
    z = x_0 + (y - x_0 @ A.T) @ inverse @ A
    if sigma:  # the optimum: its gradient is zero
        gradient = (z @ A.T - y) @ A + rho * (z - x_0)
        assert gradient.abs().max() < 1e-12
    eps = (x_t - alpha_t * z) / sigma_t
    kernel = DiffPIR(weight=weight, zeta=zeta).kernel(
        Posterior(gaussian, likelihood), x_t, T, S, 1.0
    )
    expected = alpha_s * z + sigma_s * (1 - zeta) ** 0.5 * eps
    torch.testing.assert_close(kernel.loc, expected)
    torch.testing.assert_close(kernel.var, zeta * sigma_s**2)


def test_dpir_is_denoiser_and_data_in_turn(gaussian: MixturePrior) -> None:
    """Two levels by hand, at the noise levels of the image, whatever alpha is."""
    gaussian.diffusion = GaussianDiffusion(LinearBeta())
    method, likelihood = DPIR(start=0.5, stop=0.1, steps=2, weight=0.3), three(0.2)
    schedule, x = gaussian.diffusion.schedule, likelihood.condition(torch.zeros(3, 4).double(), 1.0)
    for level in (0.5, 0.2):  # stop is never below sigma
        t = schedule.time(level)
        x_0 = gaussian(schedule(t)[0] * x, t)
        x = (likelihood.y / 0.04 + 0.3 / level**2 * x_0) / (KEEP / 0.04 + 0.3 / level**2)
    torch.testing.assert_close(method(gaussian, likelihood)[:, 0], x_0, rtol=1e-6, atol=1e-6)


def test_ddnm_with_a_mask_is_replacement(gaussian: MixturePrior) -> None:
    x_t = random(3, 4)
    x_0 = DDNM().denoise(Posterior(gaussian, three()), x_t, T)
    expected = KEEP * three().y + (1 - KEEP) * gaussian(x_t, T)
    torch.testing.assert_close(x_0, expected)


def test_ddnm_splits_range_and_null_space(gaussian: MixturePrior, seen) -> None:
    x_t, A = random(1, 4), seen.operator.A
    x_0 = DDNM().denoise(Posterior(gaussian, seen), x_t, T)
    P = torch.linalg.pinv(A) @ A
    expected = seen.y @ torch.linalg.pinv(A).T + gaussian(x_t, T) @ (torch.eye(4) - P).T
    torch.testing.assert_close(x_0, expected)


# RePaint


@pytest.mark.parametrize(
    "settings, moves, down", [((250, 10, 10), 4570, 2410), ((250, 10, 1), 250, 250)], ids=str
)
def test_repaint_walks_as_the_paper_does(settings: tuple, moves: int, down: int) -> None:
    levels = torch.tensor(list(travel(*settings)))
    jumps = levels.diff()
    assert levels[0] == settings[0] and levels[-1] == 0 and (jumps.abs() == 1).all()
    assert len(jumps) == moves and (jumps < 0).sum() == down


def test_repaint_walks_each_stretch_as_often_as_it_says() -> None:
    levels = list(travel(12, 3, 4))
    down = [a for a, b in zip(levels[:-1], levels[1:], strict=True) if b < a]
    assert [down.count(level) for level in range(1, 13)] == [1, *[4] * 9, 1, 1]


def test_repaint_known_entries_are_at_the_level_of_the_chain(gaussian: MixturePrior) -> None:
    """At every call of the prior, after travels too: alpha_t y + sigma_t eps, 5 standard errors."""
    prior, n = Recorder(gaussian), 500
    likelihood = three(0.0).select(torch.tensor([0]))
    RePaint(steps=12, jump=3, repeats=3)(prior, likelihood, n=n)
    assert len(prior.asked) > 20
    for x, t in prior.asked:
        alpha, sigma = gaussian.diffusion.schedule(torch.tensor(t, dtype=torch.float64))
        z = ((x - alpha * likelihood.y) / sigma)[:, :2]
        if t == 1.0:
            z = z + alpha * likelihood.y[:, :2] / sigma  # pure noise: nothing is known yet
        assert (z.mean(0).abs() < 5 / n**0.5).all()
        assert ((z**2).mean(0) - 1).abs().max() < 5 * (2 / n) ** 0.5


def test_repaint_pastes_what_is_known(gaussian: MixturePrior) -> None:
    """The very y at the end, not y with the schedule's last noise."""
    x = RePaint(steps=6, jump=2, repeats=2)(gaussian, three(0.0), n=3)
    assert torch.equal(x[..., :2], three().y[:, None, :2].expand(3, 3, 2))


def test_repaint_is_for_masks(gaussian: MixturePrior, seen) -> None:
    with pytest.raises(TypeError, match="^RePaint needs a Mask, got Matrix$"):
        RePaint()(gaussian, seen)


# Tilt, and the samplers that draw kernels


KERNELS = [name for name in ALL if issubclass(find(name, ("methods",)), KernelGuidance)]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("sampler", ["heun", "dpm"])
def test_kernels_are_for_samplers_that_draw_them(gaussian, name: str, sampler: str) -> None:
    what = "conditions reverse kernels, which (Heun|DPM) does not draw; use ancestral or ddim$"
    with pytest.raises(TypeError, match=what):
        build(f"{name}(sampler={sampler})")(gaussian, three())


def test_tilt_needs_variance(gaussian: MixturePrior) -> None:
    with pytest.raises(ValueError, match="eta = 0 has none: eta > 0$"):
        Tilt(sampler=DDIM(eta=0.0))(gaussian, three())


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_tilt_is_the_product_of_two_gaussians(gaussian: MixturePrior, sigma: float) -> None:
    """1 / var = 1 / var_1 + 1 / var_2 on seen entries, nothing moved on the others."""
    x_t, likelihood = random(3, 4), three(sigma)
    p, q = (
        gaussian.kernel(x_t, T, S),
        Tilt(r="constant").kernel(Posterior(gaussian, likelihood), x_t, T, S, 1.0),
    )
    v = p.var
    loc = (sigma**2 * p.loc + v * likelihood.y) / (v + sigma**2)
    var = v * sigma**2 / (v + sigma**2)
    torch.testing.assert_close(q.loc, torch.where(KEEP > 0, loc, p.loc))
    torch.testing.assert_close(q.var, torch.where(KEEP > 0, var, v).expand_as(q.var))


def test_guidance_of_nothing_is_the_prior(gaussian: MixturePrior) -> None:
    x = Guidance(sampler=DDIM(steps=10))(gaussian, three().select(torch.tensor([0])), n=3)
    noise = Noise(0, [0], 3)
    x_T = gaussian.diffusion.terminal((3, 4)).sample(noise).double()
    torch.testing.assert_close(x, DDIM(steps=10)(gaussian, x_T))


@every
def test_a_method_says_whether_it_is_exact(name: str) -> None:
    """Exact where claimed, or heuristic, and the paper."""
    doc = find(name, ("methods",)).__doc__
    assert any(word in doc for word in ("Exact", "exact", "Heuristic", "heuristic", "converge"))
    assert "https://" in doc


def test_old_keyword_names_of_a_call_go_on_with_a_warning(gaussian: MixturePrior) -> None:
    method, shares = quick("dps"), []
    with pytest.warns(DeprecationWarning, match="names is now ids") as log:
        x = method(gaussian, three(), names=[1, 2, 3], watch=lambda x, share: shares.append(share))
    assert log[0].filename == __file__
    assert torch.equal(x, method(gaussian, three(), ids=[1, 2, 3])) and shares


def test_a_method_about_a_method_is_as_stochastic_as_it() -> None:
    assert not build("discrepancy").stochastic
    assert build("discrepancy(method=diffpir)").stochastic
    assert build("discrepancy").takes_guess and build("textured").takes_guess


@pytest.mark.parametrize("name", ["discrepancy", "textured"])
def test_a_method_about_methods_keeps_its_settings(name: str) -> None:
    """A start goes to the methods inside when they run; what was set stays as it was set."""
    assert build(name).start is None
    assert build(f"{name}(start=0.2)").start == 0.2
    part = "method" if name == "discrepancy" else "mean"
    assert getattr(build(f"{name}(start=0.2)"), part) == getattr(build(name), part)
