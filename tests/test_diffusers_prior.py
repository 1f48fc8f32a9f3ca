"""Networks of diffusers, against diffusers' own arithmetic and against an exact Gaussian."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import deviations, random
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from diffprior.pretrained import PriorError, load_prior, sha256
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.diffusers import HEADS, DiffusersPrior
from diffprior.random import Noise
from diffprior.samplers.ddim import DDIM

LINEAR = DDPMScheduler().alphas_cumprod
STEPS = [0, 17, 400, 998]


def unet(out_channels: int = 3) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=out_channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )


def at(step: int, steps: int = 1000) -> Tensor:
    """Return the time of a step of the table."""
    return torch.tensor((step + 1) / steps, dtype=torch.float64)


class Fake(nn.Module):
    """A network of any function of (x_t, step)."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor], channels: int = 3) -> None:
        super().__init__()
        self.f, self.steps = f, []
        self.config = {"sample_size": 8, "in_channels": channels}
        self.register_buffer("dtype", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, step: Tensor) -> SimpleNamespace:
        self.steps.append(step)
        return SimpleNamespace(sample=self.f(x, step))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("step", STEPS)
def test_x_0_is_what_diffusers_makes_of_the_same_output(head: str, step: int) -> None:
    """``pred_original_sample`` of DDPMScheduler; it has no sigma_min, hence 1e-3 at step 0."""
    scheduler = DDPMScheduler(prediction_type=head, clip_sample=False)
    network, x_t = unet(), random(2, 3, 8, 8, dtype=torch.float32)
    prior = DiffusersPrior(network, scheduler.alphas_cumprod, head)
    with torch.no_grad():
        out = network(x_t, torch.full((2,), step)).sample
        expected = scheduler.step(out, step, x_t).pred_original_sample
        ours = prior(x_t, at(step))
    near = 1e-3 if step == 0 else 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(ours, expected, rtol=0, atol=near)


@pytest.mark.parametrize("step", [0, 17, 400, 998])
def test_three_heads_that_mean_the_same_agree(step: int) -> None:
    """eps = (x_t - alpha x_0) / sigma, v = alpha eps - sigma x_0, sample = x_0."""
    t, x_t = at(step), random(2, 3, 8, 8)
    alpha, sigma = DiffusersPrior(Fake(lambda x, i: x), LINEAR).diffusion.schedule(t)
    x_0 = x_t.sin()
    eps = (x_t - alpha * x_0) / sigma
    outputs = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x_0, "sample": x_0}
    for head, out in outputs.items():
        prior = DiffusersPrior(Fake(lambda x, i, out=out: out), LINEAR, head)
        torch.testing.assert_close(prior(x_t, t), x_0, rtol=0, atol=1e-9)


def test_the_network_is_asked_for_the_step_that_it_was_trained_at() -> None:
    """t = (i + 1) / N is step i, fractions between; below the first step, step 0."""
    network = Fake(lambda x, i: x)
    prior = DiffusersPrior(network, LINEAR)
    for t in (at(0), at(17), at(999), torch.tensor(0.1235, dtype=torch.float64), 0 * at(0)):
        prior(random(2, 3, 8, 8), t)
    steps = torch.stack(network.steps)
    expected = torch.tensor([0.0, 17.0, 999.0, 122.5, 0.0]).double()[:, None].expand(5, 2)
    torch.testing.assert_close(steps, expected)


def test_learned_variance_is_cut_off() -> None:
    """Six channels: the first three are the mean; feeding six through would break silently."""
    x_t, t = random(2, 3, 8, 8), at(300)
    both = DiffusersPrior(Fake(lambda x, i: torch.cat([x.sin(), 9 * x], 1)), LINEAR)
    mean = DiffusersPrior(Fake(lambda x, i: x.sin()), LINEAR)
    assert torch.equal(both(x_t, t), mean(x_t, t))
    real = DiffusersPrior(unet(6), LINEAR)
    assert real(x_t.float(), t).shape == x_t.shape


def test_clipping_is_off_unless_asked_for() -> None:
    """Clipping x_0 biases every posterior."""
    x_t = 3 * random(2, 3, 8, 8)
    plain, clipped = (
        DiffusersPrior(Fake(lambda x, i: x), LINEAR, "sample", clip) for clip in (False, True)
    )
    assert plain(x_t, at(5)).abs().max() > 2
    assert torch.equal(clipped(x_t, at(5)), x_t.clamp(-1, 1))


def test_an_unknown_head_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match="^no head 'flow'; there are epsilon, v_prediction, sample$"
    ):
        DiffusersPrior(unet(), LINEAR, "flow")


def test_gradients_pass_and_weights_take_none() -> None:
    prior = DiffusersPrior(unet(), LINEAR)
    x_t = random(2, 3, 8, 8, dtype=torch.float32)
    x_0, vjp = denoise_vjp(prior, x_t, at(300))
    assert vjp(x_t).abs().sum() > 0 and not any(p.requires_grad for p in prior.parameters())


CONFIGS = {
    "linear": {},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero snr": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "sample": {"prediction_type": "sample"},
    "short": {"num_train_timesteps": 50},
}


def saved(folder: Path, **config) -> Path:
    unet().save_pretrained(folder / "unet")
    DDPMScheduler(**config).save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_says_how_its_network_was_trained(tmp_path: Path, name: str) -> None:
    """Schedule and head come from the scheduler's config, never from a default."""
    scheduler = DDPMScheduler(**CONFIGS[name])
    prior = load_prior(saved(tmp_path, **CONFIGS[name]))
    assert isinstance(prior, DiffusersPrior) and prior.shape == (3, 8, 8)
    assert prior.head == CONFIGS[name].get("prediction_type", "epsilon")
    n = len(scheduler.alphas_cumprod)
    t = torch.arange(1, n + 1, dtype=torch.float64) / n
    alpha, sigma = prior.diffusion.schedule(t)
    expected = scheduler.alphas_cumprod.double().clamp_min(1e-8)
    torch.testing.assert_close(alpha**2, expected, rtol=1e-5, atol=1e-9)
    x_t = random(1, 3, 8, 8, dtype=torch.float32)
    same = DiffusersPrior(unet(), scheduler.alphas_cumprod, prior.head)
    for time in (0.0, 0.4, 1.0):
        t = torch.tensor(time, dtype=torch.float64)
        ours = prior(x_t, t)
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, same(x_t, t), rtol=1e-4, atol=1e-5)


def test_a_flat_folder_loads_as_well(tmp_path: Path) -> None:
    unet().save_pretrained(tmp_path)
    DDPMScheduler().save_pretrained(tmp_path)
    prior = load_prior(tmp_path)
    assert isinstance(prior, Prior) and prior.name == tmp_path.name  # no path of a machine
    assert prior.sha256 == sha256(tmp_path) and len(prior.sha256) == 64


def test_a_weights_file_stands_for_its_folder(tmp_path: Path) -> None:
    unet().save_pretrained(tmp_path)
    DDPMScheduler().save_pretrained(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    assert load_prior(file).sha256 == sha256(tmp_path)


def test_no_scheduler_config_is_one_sentence(tmp_path: Path) -> None:
    unet().save_pretrained(tmp_path / "unet")
    with pytest.raises(PriorError, match="has no scheduler_config.json") as error:
        load_prior(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_that_are_cut_short_are_one_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PriorError, match="does not hold a prior that can be opened") as error:
        load_prior(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"{", b"[]", b"", b"\xff\xfe"])
def test_a_broken_config_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(PriorError, match="is no model config: it does not hold a JSON object$"):
        load_prior(tmp_path)


def test_no_such_prior_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="^no prior 'nowhere'; give one of"):
        load_prior("nowhere")
    with pytest.raises(PriorError, match="holds no config.json"):
        load_prior(tmp_path)


def test_configs_hold_what_this_test_says(tmp_path: Path) -> None:
    """Guards the guard: save_pretrained writes the fields that load_prior must read."""
    config = json.loads(
        (
            saved(tmp_path, rescale_betas_zero_snr=True) / "scheduler" / "scheduler_config.json"
        ).read_text()
    )
    assert config["rescale_betas_zero_snr"] and config["prediction_type"] == "epsilon"


@pytest.mark.parametrize("std", [0.3, 1.0])
def test_an_exact_network_samples_its_gaussian(std: float) -> None:
    """eps of N(0.2, std^2): DDIM meets the mean and the variance, first step's noise included."""
    table = LINEAR.double()

    def eps(x: Tensor, step: Tensor) -> Tensor:
        alpha2 = prior.diffusion.schedule((step[0] + 1) / 1000)[0] ** 2
        sigma2 = 1 - alpha2 + 1e-6
        return sigma2.sqrt() * (x - alpha2.sqrt() * 0.2) / (alpha2 * std**2 + sigma2)

    prior = DiffusersPrior(Fake(eps, 1), table)
    noise = Noise(0, range(60))
    start = prior.diffusion.terminal((60, 1, 8, 8)).sample(noise).double()
    x = DDIM(steps=200, grid="logsnr")(prior, start, noise).reshape(-1, 1)
    mean, cov = torch.tensor([0.2]).double(), torch.tensor([[std**2]]).double()
    assert deviations(x, mean, cov) < 4
