"""What each prior believes about x_0, against integration, autograd and hand-made padding."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import PriorError, SettingError
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Guidance
from diffprior.methods.dps import DPS
from diffprior.methods.mmps import MMPS
from diffprior.methods.smc import TwistedSMC
from diffprior.networks.nafunet import NAFUNet
from diffprior.networks.padding import pad_to_multiple
from diffprior.networks.parameterizations import Flow, Karras
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.bits import BitsPrior
from diffprior.priors.half import HalfPrior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import EDM, Cosine, Geometric, LinearBeta, Rectified

from support.exact import deviations, moments, random

W = torch.tensor([0.6, 0.4], dtype=torch.float64)
SCHEDULES = pytest.mark.parametrize(
    "schedule",
    [Cosine(), LinearBeta(), Geometric(), EDM(), Rectified()],
    ids=lambda s: type(s).__name__,
)
LEVELS = pytest.mark.parametrize("t", [0.0, 0.05, 0.3, 0.6, 0.95, 1.0])


def time(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


@SCHEDULES
@LEVELS
def test_mixture_is_an_integral(schedule, t: float) -> None:
    """E[x_0 | x_t] by quadrature over x_0, in one dimension."""
    means, var = torch.tensor([[-1.0], [0.7]]).double(), torch.tensor([0.09, 0.3]).double()
    prior = MixturePrior(3 * W, means, var, GaussianDiffusion(schedule))
    x_0 = torch.linspace(-6, 6, 200_001, dtype=torch.float64)[:, None]
    alpha, sigma = schedule(time(t))
    x_t = alpha * torch.tensor([[-1.2], [0.1], [0.9]]).double() + sigma * 0.5
    log_p = prior.log_prob(x_0)[None] - ((x_t - alpha * x_0.T) / sigma) ** 2 / 2
    expected = log_p.softmax(1) @ x_0
    torch.testing.assert_close(prior(x_t, time(t)), expected, rtol=0, atol=1e-6)


@SCHEDULES
@LEVELS
def test_mixture_obeys_tweedie(bimodal: MixturePrior, schedule, t: float) -> None:
    """E[x_0 | x_t] = (x_t + sigma^2 grad log q(x_t)) / alpha, with torch's own mixture density."""
    covs, w = bimodal.covs(), bimodal.log_weights.exp()
    prior = MixturePrior(w, bimodal.means, covs, GaussianDiffusion(schedule))
    alpha, sigma = schedule(time(t))
    leaf = (alpha * random(5, 2) + sigma * random(5, 2, seed=1)).requires_grad_()
    noisy = alpha**2 * covs + sigma**2 * torch.eye(2, dtype=torch.float64)
    q = MixtureSameFamily(Categorical(w), MultivariateNormal(alpha * bimodal.means, noisy))
    (score,) = torch.autograd.grad(q.log_prob(leaf).sum(), leaf)
    expected = (leaf.detach() + sigma**2 * score) / alpha
    ours = prior(leaf.detach(), time(t))
    # at t = 1 of EDM x_t is 80 and the mean near 1: 1e-6 is 1e-8 of what was subtracted
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_mixture_density_is_torchs(bimodal: MixturePrior) -> None:
    q = MixtureSameFamily(
        Categorical(bimodal.log_weights.exp()), MultivariateNormal(bimodal.means, bimodal.covs())
    )
    x = random(9, 2)
    torch.testing.assert_close(bimodal.log_prob(x), q.log_prob(x))


def test_full_diagonal_and_isotropic_covariances_agree() -> None:
    var, means = torch.tensor([0.2, 0.5]).double(), random(2, 3)
    diagonal = var[:, None].expand(2, 3)
    priors = [MixturePrior(W, means, c) for c in (var, diagonal, torch.diag_embed(diagonal))]
    x_t, x = random(5, 3), random(5, 3, seed=1)
    for prior in priors[1:]:
        torch.testing.assert_close(prior(x_t, time(0.4)), priors[0](x_t, time(0.4)))
        torch.testing.assert_close(prior.log_prob(x), priors[0].log_prob(x))
        torch.testing.assert_close(prior.covs(), priors[0].covs())


def test_states_may_be_images() -> None:
    means, covs = random(2, 12), torch.eye(12, dtype=torch.float64).expand(2, 12, 12) * 0.3
    flat = MixturePrior(W, means, covs)
    image = MixturePrior(W, means.reshape(2, 3, 2, 2), covs)
    x_t, A = random(5, 12), random(4, 12, seed=2)
    torch.testing.assert_close(
        image(x_t.reshape(5, 3, 2, 2), time(0.4)).flatten(1), flat(x_t, time(0.4))
    )
    assert image.shape == (3, 2, 2)
    x = image.sample(Noise(0, range(3)))
    torch.testing.assert_close(x.flatten(1), flat.sample(Noise(0, range(3))))
    y = random(1, 4, seed=3)
    posts = [
        p.posterior(GaussianLikelihood(operator=Matrix(A, p.shape), y=y, sigma=0.2))
        for p in (flat, image)
    ]
    torch.testing.assert_close(posts[1].means, posts[0].means)
    assert posts[1].shape == (3, 2, 2)


def test_exact_draws(bimodal: MixturePrior) -> None:
    x = bimodal.sample(Noise(0, range(8000)))
    assert deviations(x, *moments(bimodal)) < 4


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_mixture_posterior_is_bayes_on_a_grid(bimodal: MixturePrior, sigma: float) -> None:
    A = Matrix(random(1, 2, seed=5))
    likelihood = GaussianLikelihood(operator=A, y=torch.tensor([[0.4]]).double(), sigma=sigma)
    post = bimodal.posterior(likelihood)
    axis = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    log_p = bimodal.log_prob(x) + likelihood.log_prob(x)
    exact = log_p - log_p.logsumexp(0) - 2 * (axis[1] - axis[0]).log()
    near = exact > exact.max() - 20
    torch.testing.assert_close(post.log_prob(x)[near], exact[near], rtol=0, atol=1e-6)


def test_vjp_is_the_explicit_jacobian(bimodal: MixturePrior) -> None:
    """One row at a time: no row's Jacobian reaches into another's."""
    x_t, v, t = random(4, 2), random(4, 2, seed=1), time(0.4)
    x_0, vjp = denoise_vjp(bimodal, x_t, t)
    J = torch.autograd.functional.jacobian(lambda x: bimodal(x, t), x_t)  # (4, 2, 4, 2)
    torch.testing.assert_close(vjp(v), torch.einsum("bi,biaj->aj", v, J))
    torch.testing.assert_close(vjp(2 * v), 2 * vjp(v))  # it can be asked again
    assert not x_0.requires_grad and not x_t.requires_grad
    torch.testing.assert_close(x_0, bimodal(x_t, t))


class Convolution(nn.Module):
    """A network that sees its neighbors and its noise level."""

    def __init__(self, channels: int = 3, kernel: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        self.seen.append(c_noise)
        return self.conv(x) * (1 + c_noise)[:, None, None, None]


def network(**settings) -> NetworkPrior:
    return NetworkPrior(Convolution().double(), Karras(**settings), (3, 16, 16), multiple=8)


def test_network_prior_is_karras_formula() -> None:
    """D(x; s) = c_skip x + c_out F(c_in x, log(s) / 4), at the noise level of x_t / alpha_t."""
    prior = network(sigma_data=0.4, schedule=Cosine())
    x_t, t, d = random(2, 3, 16, 24), time(0.3), 0.4
    alpha, sigma = Cosine()(t)
    s, x = sigma / alpha, x_t / alpha
    F_x = prior.network(x / (s**2 + d**2).sqrt(), (s.log() / 4).expand(2))
    expected = d**2 / (s**2 + d**2) * x + s * d / (s**2 + d**2).sqrt() * F_x
    torch.testing.assert_close(prior(x_t, t), expected)


@pytest.mark.parametrize("size", [(16, 16), (13, 16), (16, 9), (21, 11), (5, 3)], ids=str)
def test_network_prior_pads_by_reflection_and_crops(size: tuple[int, int]) -> None:
    prior, (h, w) = network(), size
    x, t = random(2, 3, h, w), time(0.5)
    pad = (0, -w % 8, 0, -h % 8)
    enough = pad[1] < w and pad[3] < h  # else there is not enough to reflect
    padded = F.pad(x, pad, mode="reflect" if enough else "replicate")
    torch.testing.assert_close(prior(x, t), prior(padded, t)[..., :h, :w])
    assert pad_to_multiple(x, 8).shape[-2] % 8 == 0 == pad_to_multiple(x, 8).shape[-1] % 8


def test_network_prior_asks_for_no_level_below_its_own() -> None:
    prior = network(sigma_min=0.01, schedule=Geometric())
    prior(random(1, 3, 16, 16), time(0.0))
    prior(random(1, 3, 16, 16), time(1.0))
    low, high = (float(c) for c in prior.network.seen)
    levels = torch.tensor([0.01, 100.0], dtype=torch.float64).log() / 4
    assert abs(low - levels[0]) < 1e-12 and abs(high - levels[1]) < 1e-12


def test_network_prior_takes_any_size_but_only_its_channels() -> None:
    prior = network()
    other = prior.for_shape((3, 40, 24))
    assert other.shape == (3, 40, 24) and prior.shape == (3, 16, 16)
    assert other.network is prior.network
    with pytest.raises(ValueError, match="^this prior is one of 3 channels, not 1$"):
        prior.for_shape((1, 16, 16))
    assert not any(p.requires_grad for p in prior.parameters()) and not prior.network.training


def test_a_fixed_prior_refuses_another_shape(bimodal: MixturePrior) -> None:
    assert bimodal.for_shape((2,)) is bimodal
    with pytest.raises(ValueError, match=r"^MixturePrior is a prior of states of shape \(2,\)"):
        bimodal.for_shape((3,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_gives_the_states_dtype_back(dtype: torch.dtype) -> None:
    """bfloat16 keeps 8 bits: 2^-8 relative, a few roundings deep."""
    full = NetworkPrior(Convolution(), Karras(), (3, 16, 16), multiple=8)
    half = HalfPrior(full, dtype)
    x, t = random(2, 3, 16, 16, dtype=torch.float32), time(0.5)
    error = (half(x, t) - full(x, t)).abs().max() / full(x, t).abs().max()
    assert half(x, t).dtype == torch.float32 and 0 < error < 0.02
    assert half.for_shape((3, 8, 8)).shape == (3, 8, 8)
    x_0, vjp = denoise_vjp(half, x, t)
    assert x_0.dtype == vjp(x).dtype == torch.float32
    exact = denoise_vjp(full, x, t)[1](x)
    assert (vjp(x) - exact).abs().max() < 0.02 * exact.abs().max()


def test_half_precision_stays_inside() -> None:
    """A network that answers in bfloat16 would take the states of the whole chain with it."""

    class Layer(Prior):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.diffusion, self.shape = nn.Linear(4, 4), GaussianDiffusion(), (4,)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return self.layer(x_t)

    x = random(2, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert Layer()(x, time(0.5)).dtype == torch.bfloat16
    assert HalfPrior(Layer())(x, time(0.5)).dtype == torch.float32


def test_a_prior_says_what_its_states_are_made_of(bimodal: MixturePrior) -> None:
    assert bimodal.like.dtype == torch.float64
    assert NetworkPrior(Convolution(), Karras()).like.dtype == torch.float32


@pytest.fixture
def affine(gaussian: MixturePrior) -> tuple[LatentPrior, MixturePrior]:
    """z -> W z + 1 of a Gaussian, and the Gaussian of images that it is."""
    W = torch.eye(4, dtype=torch.float64) + random(4, 4, seed=6) / 3
    decode, encode = (lambda z: z @ W.T + 1), lambda x: (x - 1) @ torch.linalg.inv(W).T
    means, covs = gaussian.means @ W.T + 1, W @ gaussian.covs() @ W.T
    pixels = MixturePrior(torch.ones(1, dtype=torch.float64), means, covs)
    return LatentPrior(gaussian, encode, decode), pixels


def masked(sigma: float) -> GaussianLikelihood[Mask]:
    keep = torch.tensor([1.0, 1.0, 0.0, 0.0])
    y = torch.tensor([[0.5, 1.3, 0.0, 0.0]], dtype=torch.float64)
    return GaussianLikelihood(operator=Mask(keep).double(), y=y, sigma=sigma)


def test_latent_prior_forwards(affine) -> None:
    latent, _ = affine
    x_t, t = random(3, 4), time(0.4)
    torch.testing.assert_close(latent(x_t, t), latent.inner(x_t, t))
    torch.testing.assert_close(latent.encode(latent.decode(x_t)), x_t)
    with pytest.raises(TypeError, match="^MMPS needs a LinearOperator, got Composed$"):
        MMPS()(latent, masked(0.3))


def test_the_same_call_behind_a_decoder_meets_the_same_answer(affine) -> None:
    """Particles are resampled about seven times: 4 standard errors of as many fewer of them."""
    latent, pixels = affine
    x = TwistedSMC(proposal=Guidance(), steps=200)(latent, masked(0.6), n=1000)
    post = moments(pixels.posterior(masked(0.6)))
    assert x.shape == (1000, 4) and deviations(x, *post) < 4 * 7**0.5
    assert deviations(pixels.sample(Noise(0, range(1000))), *post) > 8 * 7**0.5


def test_gradients_pass_a_decoder(affine) -> None:
    """DPS behind the decoder is DPS of the images' likelihood by the chain rule: it closes in."""
    latent, _ = affine
    x = DPS(zeta=0.1, sampler=DDIM(steps=100))(latent, masked(0.1), n=50)
    gap = masked(0.1).residual(x).norm(dim=1).mean()
    assert gap < 0.3 * masked(0.1).residual(latent.decode(random(50, 4))).norm(dim=1).mean()


def test_a_closed_form_knows_the_settings_of_a_density() -> None:
    one = torch.ones(1)
    for prior in (
        MixturePrior(one, torch.zeros(1, 2), one),
        BitsPrior(one, torch.full((1, 2), 0.5)),
    ):
        x = torch.ones(1, 2)
        assert torch.equal(prior.log_prob(x, seed=3, tolerance=1e-3), prior.log_prob(x))
        with pytest.raises(SettingError, match="a density has the settings seed, ids, tolerance"):
            prior.log_prob(x, tolerence=1e-3)


def test_a_folder_that_cannot_say_how_it_was_trained_is_not_written(tmp_path: Path) -> None:
    """It would open as a prior in the preconditioning of Karras, with other answers."""
    network = NAFUNet((8, 16), (1, 1), size=16)
    prior = NetworkPrior.of(network, Flow())
    with pytest.raises(PriorError, match="and this prior has none: NetworkPrior.of"):
        prior.save_pretrained(tmp_path)
    NetworkPrior.of(network, Flow(), "flow").save_pretrained(tmp_path)
    x, t = torch.linspace(-1, 1, 768).reshape(1, 3, 16, 16), torch.tensor(0.5)
    assert torch.equal(load_prior(tmp_path)(x, t), prior(x, t))
