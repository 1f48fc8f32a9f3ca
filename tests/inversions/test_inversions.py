"""Inversions, where the flow is known in closed form, and on a photograph."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.catalog import build, names
from diffprior.inversions.base import Inversion
from diffprior.io import files
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.schedules import grid

from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
ALL = [name for name in names("inversions") if name != "null_text"]  # which needs a prompt
EXACT = ["direct", "edict", "edit_friendly", "ddim_inversion(rounds=30)", "flow(rounds=6)"]


def inversion(text: str) -> Inversion:
    found: Inversion = build(text, ("inversions",))
    return found


@pytest.fixture
def states(bimodal: MixturePrior) -> Tensor:
    return bimodal.sample(Noise(5, range(40)))


def back(prior: MixturePrior, x: Tensor, text: str) -> Tensor:
    method = inversion(text)
    return method.decode(prior, method.encode(prior, x, Noise(0, range(len(x)))))


@pytest.mark.parametrize("text", EXACT)
def test_what_is_exact_comes_back_to_rounding(bimodal, states: Tensor, text: str) -> None:
    assert (back(bimodal, states, text) - states).abs().max() < 1e-7


def test_rounds_bring_ddim_inversion_back(bimodal: MixturePrior, states: Tensor) -> None:
    """Each round is worth a factor, here of more than 3."""
    errors = [
        float((back(bimodal, states, f"ddim_inversion(rounds={k})") - states).abs().max())
        for k in (0, 2, 4, 8)
    ]
    assert errors[0] > 1e-2
    assert errors[1] < errors[0] / 9 and errors[2] < errors[1] / 9 and errors[3] < errors[2] / 81


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("ddim_inversion(rounds=20, steps={})", 1),
        ("flow(steps={})", 2),
        ("flow(sampler=heun, steps={})", 2),
    ],
)
def test_the_code_is_where_the_flow_leads(text: str, order: int) -> None:
    """Of N(m, v) the flow is linear: x_T - alpha_T m grows as the deviation of x_t does."""
    one, m, v = torch.ones(1, dtype=torch.float64), 0.7, 0.3
    prior = MixturePrior(one, m * torch.ones(1, 3, dtype=torch.float64), v * one)
    x_0, ends = random(4, 3), torch.tensor([0.0, 1.0], dtype=torch.float64)
    (a_0, a_T), (s_0, s_T) = prior.diffusion.schedule(ends)
    growth = ((a_T**2 * v + s_T**2) / (a_0**2 * v + s_0**2)).sqrt()
    exact = a_T * m + (x_0 - a_0 * m) * growth
    errors = []
    for steps in (80, 160):
        method = inversion(text.format(steps))
        errors.append(float((method.encode(prior, x_0)["x_T"] - exact).abs().max()))
    slope = torch.tensor(errors[0] / errors[1]).log2()
    assert errors[1] < 0.2 and abs(slope - order) < 0.3


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_noise_of_an_edit_friendly_code_has_its_variance(eta: float) -> None:
    """Of one image as prior, z has variance (2 - tau) / tau, tau dev's share of sigma_s^2."""
    one = torch.ones(1, dtype=torch.float64)
    prior = MixturePrior(one, torch.zeros(1, 2000, dtype=torch.float64), 1e-12 * one)
    method = inversion(f"edit_friendly(steps=6, eta={eta})")
    z = method.encode(prior, torch.zeros(1, 2000).double(), Noise(3))["z"][0]
    times = grid(prior.diffusion.schedule, "logsnr", 6)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        prior.diffusion.schedule(u) for u in (times[:-1], times[1:])
    )
    tau = eta**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
    expected = ((2 - tau) / tau)[:-1]  # the last step ends at the image itself
    assert ((z[:-1].var(1) / expected - 1).abs() < 4 * (2 / 2000) ** 0.5).all()


@pytest.mark.parametrize("text", ALL)
def test_a_batch_is_its_images(bimodal: MixturePrior, states: Tensor, text: str) -> None:
    method = inversion(f"{text}(steps=5)")
    batch = method.encode(bimodal, states[:3], Noise(0, ["a", "b", "c"]))
    alone = method.encode(bimodal, states[1:2], Noise(0, ["b"]))
    assert all(torch.equal(batch[key][1:2], alone[key]) for key in alone)
    assert all(len(value) == 3 for value in batch.values())


@pytest.mark.parametrize(
    ("text", "bar"),
    [("ddim_inversion(rounds=4)", 50), ("flow", 45), ("edict", 50), ("edit_friendly", 50)],
)
def test_a_photograph_comes_back(text: str, bar: float) -> None:
    """PSNR in dB after 50 steps up and 50 down, with the shipped prior."""
    x = files.read(SAMPLES / "dog.png").images.tensor()[..., 118:150, 248:280]
    prior, method = diffprior.load_prior().for_shape((3, 32, 32)), inversion(text)
    code = method.encode(prior, x, Noise(0))
    assert metrics.psnr(method.decode(prior, code), x).item() > bar


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("edict(p=0.4)", r"^p of EDICT is a number in \(0\.5, 1\], got 0\.4$"),
        ("edit_friendly(eta=0.0)", r"is a number in \(0, 1\], got 0"),
    ],
)
def test_wrong_settings_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        inversion(text)


def test_noise_is_asked_for(bimodal: MixturePrior, states: Tensor) -> None:
    with pytest.raises(TypeError, match="draws noise: give it a stream"):
        inversion("edit_friendly").encode(bimodal, states)
