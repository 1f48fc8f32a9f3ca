"""Networks of diffusers, against diffusers' own arithmetic and against an exact Gaussian."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    ScoreSdeVeScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffprior.errors import PriorError, SettingError
from diffprior.networks.parameterizations import KINDS, Discrete, Flow, Score
from diffprior.pretrained.diffusers import NetworkSettings, unet_prior
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.samplers.ddim import DDIM

from support import shell
from support.exact import deviations, random

LINEAR = DDPMScheduler().alphas_cumprod
STEPS = [0, 17, 400, 998]


def unet(out_channels: int = 3, **more) -> UNet2DModel:
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
        **more,
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


@pytest.mark.parametrize("head", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_x_0_is_what_diffusers_makes_of_the_same_output(head: str, step: int) -> None:
    """``pred_original_sample`` of DDPMScheduler; it has no sigma_min, hence 1e-3 at step 0."""
    scheduler = DDPMScheduler(prediction_type=head, clip_sample=False)
    network, x_t = unet(), random(2, 3, 8, 8, dtype=torch.float32)
    prior = unet_prior(network, Discrete(scheduler.alphas_cumprod, head))
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
    alpha, sigma = unet_prior(Fake(lambda x, i: x), Discrete(LINEAR)).diffusion.schedule(t)
    heads: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "epsilon": lambda x, i: (x - alpha * x.sin()) / sigma,
        "v_prediction": lambda x, i: alpha * (x - alpha * x.sin()) / sigma - sigma * x.sin(),
        "sample": lambda x, i: x.sin(),
    }
    for head, out in heads.items():
        prior = unet_prior(Fake(out), Discrete(LINEAR, head))
        torch.testing.assert_close(prior(x_t, t), x_t.sin(), rtol=0, atol=1e-9)


def test_the_network_is_asked_for_the_step_that_it_was_trained_at() -> None:
    """t = (i + 1) / N is step i, fractions between; below the first step, step 0."""
    network = Fake(lambda x, i: x)
    prior = unet_prior(network, Discrete(LINEAR))
    for t in (at(0), at(17), at(999), torch.tensor(0.1235, dtype=torch.float64), 0 * at(0)):
        prior(random(2, 3, 8, 8), t)
    steps = torch.cat(network.steps)  # on a CPU row by row, elsewhere at once
    expected = torch.tensor([0.0, 17.0, 999.0, 122.5, 0.0]).double().repeat_interleave(2)
    torch.testing.assert_close(steps, expected)


def test_learned_variance_is_cut_off() -> None:
    """Six channels: the first three are the mean; feeding six through would break silently."""
    x_t, t = random(2, 3, 8, 8), at(300)
    both = unet_prior(Fake(lambda x, i: torch.cat([x.sin(), 9 * x], 1)), Discrete(LINEAR))
    mean = unet_prior(Fake(lambda x, i: x.sin()), Discrete(LINEAR))
    assert torch.equal(both(x_t, t), mean(x_t, t))
    real = unet_prior(unet(6), Discrete(LINEAR))
    assert real(x_t.float(), t).shape == x_t.shape


def test_clipping_is_off_unless_asked_for() -> None:
    """Clipping x_0 biases every posterior."""
    x_t = 3 * random(2, 3, 8, 8)
    plain, clipped = (
        unet_prior(Fake(lambda x, i: x), Discrete(LINEAR, "sample"), NetworkSettings(clip=clip))
        for clip in (False, True)
    )
    assert plain(x_t, at(5)).abs().max() > 2
    assert torch.equal(clipped(x_t, at(5)), x_t.clamp(-1, 1))


def test_an_unknown_head_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match="^no prediction 'flow'; there are epsilon, v_prediction, sample$"
    ):
        Discrete(LINEAR, "flow")


def test_gradients_pass_and_weights_take_none() -> None:
    prior = unet_prior(unet(), Discrete(LINEAR))
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
    assert isinstance(prior, NetworkPrior) and prior.shape == (3, 8, 8)
    assert prior.parameterization.kind == CONFIGS[name].get("prediction_type", "epsilon")
    n = len(scheduler.alphas_cumprod)
    t = torch.arange(1, n + 1, dtype=torch.float64) / n
    alpha, sigma = prior.diffusion.schedule(t)
    expected = scheduler.alphas_cumprod.double().clamp_min(1e-8)
    torch.testing.assert_close(alpha**2, expected, rtol=1e-5, atol=1e-9)
    x_t = random(1, 3, 8, 8, dtype=torch.float32)
    same = unet_prior(unet(), Discrete(scheduler.alphas_cumprod, prior.parameterization.kind))
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

    prior = unet_prior(Fake(eps, 1), Discrete(table))
    noise = Noise(0, range(60))
    start = prior.diffusion.terminal((60, 1, 8, 8)).sample(noise).double()
    x = DDIM(steps=200, grid="logsnr")(prior, start, noise).reshape(-1, 1)
    mean, cov = torch.tensor([0.2]).double(), torch.tensor([[std**2]]).double()
    assert deviations(x, mean, cov) < 4


def ncsnpp(**more) -> UNet2DModel:
    """The layout of the published ``ncsnpp-*``, small: Fourier times, skips, centered inputs."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 32),
        center_input_sample=True,
        time_embedding_type="fourier",
        freq_shift=0,
        flip_sin_to_cos=True,
        mid_block_scale_factor=2**0.5,
        norm_eps=1e-6,
        norm_num_groups=None,
        attention_head_dim=None,
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        **more,
    )


def folder_of(folder: Path, network: UNet2DModel, scheduler) -> Path:
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize("time", [0.0, 0.3, 0.7, 1.0])
def test_a_score_network_of_ncsnpp_folders(tmp_path: Path, time: float) -> None:
    """x_0 = x + sigma^2 score, of images in [0, 1]: noise there is half of that in [-1, 1]."""
    network = ncsnpp()
    scheduler = ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=348.0)
    prior = load_prior(folder_of(tmp_path, network, scheduler)).double()
    t, z = torch.tensor(time, dtype=torch.float64), random(2, 3, 8, 8)
    sigma = 0.01 * (348 / 0.01) ** time
    unit = 0.5 + sigma * z  # in [0, 1]
    alpha, twice = prior.diffusion.schedule(t)
    assert alpha == 1 and abs(twice / (2 * sigma) - 1) < 1e-12
    with torch.no_grad():
        score = network.eval().double()(unit, torch.full((2,), sigma, dtype=torch.float64)).sample
    expected = 2 * (unit + sigma**2 * score) - 1
    torch.testing.assert_close(prior(2 * unit - 1, t), expected, rtol=1e-9, atol=1e-9)


def test_an_exact_score_gives_the_exact_mean() -> None:
    """Images N(0.6, 0.1^2) in [0, 1] are N(0.2, 0.2^2) in [-1, 1]."""
    network = Fake(lambda x, s: (0.6 - x) / (0.1**2 + s[:, None, None, None] ** 2))
    prior = unet_prior(network, Score(0.01, 50.0))
    for time in (0.0, 0.2, 0.5, 0.9):
        t, x_t = torch.tensor(time, dtype=torch.float64), 3 * random(2, 3, 8, 8)
        sigma2 = prior.diffusion.schedule(t)[1] ** 2
        expected = (0.2**2 * x_t + sigma2 * 0.2) / (0.2**2 + sigma2)
        torch.testing.assert_close(prior(x_t, t), expected, rtol=1e-9, atol=1e-9)


KARRAS = {"sigma_min": 0.01, "sigma_max": 50.0, "sigma_data": 0.4}


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("cls", [EDMEulerScheduler, EDMDPMSolverMultistepScheduler])
def test_edm_schedulers_precondition_their_network(tmp_path: Path, cls: type, kind: str) -> None:
    """Against the scheduler's own arithmetic of inputs, times and outputs."""
    network, scheduler = unet(), cls(prediction_type=kind, **KARRAS)
    prior = load_prior(folder_of(tmp_path, network, scheduler))
    for time in (0.0, 0.4, 1.0):
        t = torch.tensor(time, dtype=torch.float64)
        sigma = prior.diffusion.schedule(t)[1]
        x_t = float(sigma) * random(2, 3, 8, 8, dtype=torch.float32)
        with torch.no_grad():
            c_noise = scheduler.precondition_noise(sigma).float()
            out = network(scheduler.precondition_inputs(x_t, sigma), c_noise).sample
            expected = scheduler.precondition_outputs(x_t, out, sigma)
        torch.testing.assert_close(prior(x_t, t), expected, rtol=1e-4, atol=1e-5)
    low, high = prior.diffusion.schedule(torch.tensor([0.0, 1.0]).double())[1]
    assert abs(low - 0.01) < 1e-9 and abs(high - 50) < 1e-9


def test_consistency_models_answer_by_their_boundary_condition(tmp_path: Path) -> None:
    """f(x, sigma) of the paper, with scheduler's own scalings; f(x, sigma_min) = x."""
    network = unet()
    scheduler = CMStochasticIterativeScheduler(clip_denoised=False)
    prior = load_prior(folder_of(tmp_path, network, scheduler))
    assert prior.consistency
    for time in (0.0, 0.4, 0.9):
        t = torch.tensor(time, dtype=torch.float64)
        sigma = prior.diffusion.schedule(t)[1]
        x_t = float(sigma) * random(2, 3, 8, 8, dtype=torch.float32)
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
        with torch.no_grad():
            scaled = x_t / (sigma**2 + 0.25).sqrt()
            step = torch.tensor(scheduler.sigma_to_t(sigma.numpy()), dtype=torch.float32)
            out = network(scaled, step).sample
        expected = x_t if time == 0 else c_skip * x_t + c_out * out
        torch.testing.assert_close(prior(x_t, t), expected, rtol=1e-4, atol=1e-5)


def test_flow_matching_networks_predict_velocities(tmp_path: Path) -> None:
    """An exact velocity eps - x_0 of N(0.2, 0.3^2): exact means."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    folder = folder_of(tmp_path, unet(), scheduler)
    assert isinstance(load_prior(folder).parameterization, Flow)

    def velocity(x: Tensor, step: Tensor) -> Tensor:
        s = step[0] / 1000
        gain = (s - (1 - s) * 0.3**2) / ((1 - s) ** 2 * 0.3**2 + s**2)
        return gain * (x - (1 - s) * 0.2) - 0.2

    prior = unet_prior(Fake(velocity), Flow())
    for time in (0.0, 0.2, 0.5, 0.9, 1.0):
        t, x_t = torch.tensor(time, dtype=torch.float64), random(2, 3, 8, 8)
        alpha, sigma = prior.diffusion.schedule(t)
        var = alpha**2 * 0.3**2 + sigma**2
        expected = 0.2 + alpha * 0.3**2 / var * (x_t - alpha * 0.2)
        torch.testing.assert_close(prior(x_t, t), expected, rtol=0, atol=1e-9)


TABLES = [
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
    LCMScheduler,
]


@pytest.mark.parametrize("cls", TABLES)
def test_any_scheduler_with_a_table_says_the_same(tmp_path: Path, cls: type) -> None:
    """A sampler's config is saved with a network that DDPM trained; also with fields left out."""
    network = unet()
    scheduler = cls(beta_schedule="scaled_linear", beta_start=0.001, beta_end=0.015)
    prior = load_prior(folder_of(tmp_path, network, scheduler))
    assert prior.consistency == (cls is LCMScheduler)
    betas = torch.linspace(0.001**0.5, 0.015**0.5, 1000, dtype=torch.float64) ** 2
    same = unet_prior(network, Discrete((1 - betas).cumprod(0)))
    x_t = random(1, 3, 8, 8, dtype=torch.float32)
    torch.testing.assert_close(prior(x_t, at(500)), same(x_t, at(500)), rtol=1e-4, atol=1e-4)
    file = tmp_path / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": cls.__name__}))
    own = cls().alphas_cumprod[500].double()  # LCM's defaults are not those of DDPM
    alpha = load_prior(tmp_path).diffusion.schedule(at(500))[0]
    assert abs(alpha**2 - own) < 1e-6


def test_schedulers_that_say_nothing_are_one_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    file = folder / "scheduler" / "scheduler_config.json"
    for name, said in (
        ("NoSuchScheduler", "its scheduler is a 'NoSuchScheduler', by which no network can be"),
        ("VQDiffusionScheduler", "its scheduler is a 'VQDiffusionScheduler', by which no"),
    ):
        file.write_text(json.dumps({"_class_name": name, "num_vec_classes": 8}))
        with pytest.raises(PriorError, match=said):
            load_prior(folder)


def test_networks_with_classes_are_given_one(tmp_path: Path) -> None:
    network = unet(num_class_embeds=4)
    folder = folder_of(tmp_path, network, DDPMScheduler())
    prior, x_t = load_prior(folder, label=2), random(2, 3, 8, 8, dtype=torch.float32)
    alpha, sigma = prior.diffusion.schedule(at(400))
    for one, label in ((prior, 2), (prior.for_label(0), 0)):
        with torch.no_grad():
            eps = network.eval()(x_t, 400, torch.tensor([label, label])).sample
        expected = (x_t - sigma * eps) / alpha
        torch.testing.assert_close(one(x_t, at(400)), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(SettingError, match="4 classes: label is one of 0 ... 3, got None$"):
        load_prior(folder)(x_t, at(400))
    with pytest.raises(PriorError, match="4 classes: label is one of 0 ... 3, got 4$"):
        load_prior(folder, label=4)
    with pytest.raises(PriorError, match="no setting 'size'; it has label, null_label, clip$"):
        load_prior(folder, size=8)


def test_half_precision_folders_are_cast(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, unet().half(), DDPMScheduler())
    assert load_prior(folder).like.dtype == torch.float32
    file = next((folder / "unet").glob("*.safetensors"))
    file.rename(file.with_suffix(".fp16.safetensors"))  # as save_pretrained(variant="fp16")
    assert load_prior(folder).like.dtype == torch.float32


def test_a_network_of_another_kind_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({"_class_name": "UNet1DModel"}))
    with pytest.raises(PriorError, match="holds a UNet1DModel; a folder holds one of NAFUNet, DiT"):
        load_prior(folder)


def test_partial_and_foreign_weights_are_one_sentence(tmp_path: Path) -> None:
    """diffusers would draw what is missing at random, with a warning."""
    folder = saved(tmp_path)
    file = next((folder / "unet").glob("*.safetensors"))
    state = load_file(file)
    part = {k: v for k, v in state.items() if not k.startswith("up_blocks.1.resnets.0.conv1.")}
    save_file(part, file, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"lacks 2 tensors, first those of up_blocks.1.resnets.0"):
        load_prior(folder)
    save_file(state | {"extra.weight": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"adds 1 tensors, first those of extra \(extra.weight\)"):
        load_prior(folder)
    wrong = state | {"conv_in.weight": torch.ones(8, 3, 5, 5)}
    save_file(wrong, file, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"conv_in.weight") as error:
        load_prior(folder)
    assert "\n" not in str(error.value) and "ignore_mismatched_sizes" not in str(error.value)


def test_bad_weights_are_one_line_of_the_command(tmp_path: Path) -> None:
    """diffusers would say beside it that it draws what is missing."""
    folder = folder_of(tmp_path, unet(), DDPMScheduler())
    file = next((folder / "unet").glob("*.safetensors"))
    state = load_file(file)
    save_file({k: state[k] for k in sorted(state)[1:]}, file, metadata={"format": "pt"})
    done = shell.texts("generate", "--prior", folder, folder=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "it lacks 1 tensors, first those of" in line


def test_the_first_ncsnpp_files_hold_one_tensor_twice(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ncsnpp(), ScoreSdeVeScheduler())
    file = next((folder / "unet").glob("*.safetensors"))
    state = load_file(file)
    twice = state | {"time_proj.W": state["time_proj.weight"].clone()}
    save_file(twice, file, metadata={"format": "pt"})
    assert load_prior(folder).shape == (3, 8, 8)
