"""Consistency functions: f(x_t) is where the flow from x_t ends, a sample and not a mean."""

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import PriorError
from diffprior.inversions.edit_friendly import EditFriendly
from diffprior.inversions.flow import FlowInversion
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Posterior
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.ddim import DDIM
from diffprior.schedules import EDM, Cosine, Rectified, Schedule

MEAN, STD, N = 0.2, 0.3, 4000


class ExactEnd(Prior):
    """The exact consistency function of N(0.2, 0.3^2)."""

    def __init__(self, schedule: Schedule, shape: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.diffusion = GaussianDiffusion(schedule)
        self.shape = shape
        self.consistency = True

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        std_t = ((alpha_t * STD) ** 2 + sigma_t**2).sqrt()
        return (MEAN + STD * (x_t - alpha_t * MEAN) / std_t).to(x_t)


def check_law(x: Tensor) -> None:
    """Within 4 standard errors of the mean and of the deviation."""
    assert abs(float(x.mean()) - MEAN) < 4 * STD / N**0.5
    assert abs(float(x.std()) - STD) < 4 * STD / (2 * N) ** 0.5


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("schedule", [EDM(), Cosine(), Rectified()], ids=lambda s: type(s).__name__)
def test_multistep_sampling_has_the_right_law(schedule: Schedule, steps: int) -> None:
    prior = ExactEnd(schedule)
    noise = Noise(0, samples=N)
    x_T = prior.diffusion.terminal((N, 1)).sample(noise)
    check_law(Ancestral(steps=steps)(prior, x_T, noise))


def test_a_solver_of_the_flow_has_not() -> None:
    """What the kernels are for: DDIM takes f for the mean."""
    prior = ExactEnd(Cosine())
    x_T = prior.diffusion.terminal((N, 1)).sample(Noise(0, samples=N))
    assert float(DDIM(steps=4)(prior, x_T).std()) > 1.2 * STD


def test_an_edit_without_a_known_pixel_has_the_right_law() -> None:
    prior = ExactEnd(Cosine())
    nothing = GaussianLikelihood(operator=Mask(torch.zeros(1)), y=torch.zeros(N, 1))
    noise = Noise(0, samples=N)
    x_T = prior.diffusion.terminal((N, 1)).sample(noise)
    method = RePaint(steps=4, jump=1, repeats=1)
    check_law(method.run(Posterior(prior, nothing), x_T, noise, lambda x, done: None))


class ImageEnd(ExactEnd):
    """The same for images of any size."""

    def for_shape(self, shape: tuple[int, ...]) -> Prior:
        return self._replace(shape=tuple(shape))


def test_generate_walks_four_steps_by_default() -> None:
    prior = ImageEnd(EDM(), (3, 16, 16))
    drawn = diffprior.generate(prior=prior, samples=8)
    assert drawn.report["sampler"].startswith("Ancestral(steps=4,")
    assert drawn.report["network_calls"] == 8 * 4
    pixels = torch.stack([torch.as_tensor(list(image.getdata())) for image in drawn.samples])
    x = pixels.double() / 127.5 - 1  # clipped at 2.7 deviations, which takes 0.3% of the deviation
    assert abs(float(x.mean()) - MEAN) < 0.01
    assert abs(float(x.std()) - STD) < 0.01


@pytest.mark.parametrize("task", ["sdedit", "blend", "style"])
def test_edits_take_four_steps_by_default(task: str) -> None:
    prior = ImageEnd(EDM(), (3, 16, 16))
    image = torch.full((3, 16, 16), 0.6)
    settings: dict = {"mask": torch.ones(16, 16)} if task == "blend" else {}
    if task == "blend":
        settings["repeats"] = 1
    if task == "style":
        settings["factor"] = 4
    done = getattr(diffprior, task)(image, prior=prior, **settings)
    assert done.report["network_calls"] == 4
    assert "steps=4" in done.report["method"]


def test_inversions_of_the_flow_refuse_a_consistency_model() -> None:
    prior = ExactEnd(Cosine())
    with pytest.raises(PriorError, match="only knows where the flow ends; use edit_friendly"):
        FlowInversion(steps=4).encode(prior, torch.zeros(2, 1))
    x = torch.tensor([[0.1], [0.4]], dtype=torch.float64)
    inversion = EditFriendly(steps=4)
    code = inversion.encode(prior, x, Noise(0, samples=2))
    torch.testing.assert_close(inversion.decode(prior, code), x)
