"""A prior in the latents of an autoencoder that was trained first, beside its ablations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LDMPipeline

import diffprior
from diffprior.pretrained.load import load_prior
from diffprior.priors.latent import LatentPrior
from diffprior.training.autoencoder import AutoencoderConfig, AutoencoderRun, colored
from diffprior.training.labelled import ClassedImages
from diffprior.training.latents import JointRun, Latents
from diffprior.training.runs import RunConfig
from diffprior.training.stages import new_unet

from support.runs import call, refused, steps

ROOT = Path(__file__).parents[2]
SMALL = AutoencoderConfig(widths=(16, 16), batch=16, rate=5e-3, warmup=2)
V = "v(steps=100, betas='cosine')"
FAST = RunConfig(batch=16, rate=3e-3, warmup=2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept images of fashion at 8x8 pixels."""
    with np.load(ROOT / "data" / "fashion" / "pictures.npz") as kept:
        order = np.random.default_rng(0).permutation(200)
        x, y = kept["x"][order, 2:26, 2:26], kept["y"][order]
    x = x.reshape(-1, 8, 3, 8, 3).mean((2, 4)).round().astype(np.uint8)
    path = tmp_path_factory.mktemp("latents") / "small.npz"
    np.savez(path, x_train=x[:160], y_train=y[:160], x_test=x[160:])
    return path


@pytest.fixture(scope="module")
def first(file: Path) -> AutoencoderRun:
    """An autoencoder after a few steps."""
    torch.manual_seed(0)
    run = AutoencoderRun(ClassedImages(file), 8, SMALL, file.parent / "first")
    steps(run, 30)
    return run


def joint(first: AutoencoderRun, folder: Path, frozen: bool = False) -> JointRun:
    """Return the second stage, whose autoencoder is that of the first one, or stays."""
    torch.manual_seed(0)
    again = AutoencoderRun(first.images, 8, SMALL, folder)
    again.vae.load_state_dict(first.vae.state_dict())
    latents = Latents(first.images, again.settle(), 8)
    network = new_unet("unet(channels=[16])", V, latents, 8)
    run = JointRun(latents, network, V, FAST, folder)
    run.vae.requires_grad_(not frozen)
    return run


def test_the_autoencoder_keeps_more_than_the_mean(first: AutoencoderRun) -> None:
    """Of held-out images, in dB above the mean image; latents then have a deviation of 1."""
    x = colored(torch.from_numpy(np.stack(first.images.validation)).movedim(-1, 1))
    mean = colored(first.images.pixels).mean(0)
    trivial = float(-10 * ((x - mean).square().mean((1, 2, 3)) / 4).log10().mean())
    assert first.measured()["PSNR"] > trivial + 1.0
    latents = Latents(first.images, first.settle(), 8)
    z, labels = latents.batch(np.random.default_rng(0), 64, 8)
    assert z.shape == (64, 4, 4, 4) and labels is not None
    assert 0.8 < float(z.std()) < 1.4


def test_a_critic_teaches_and_is_taught(file: Path, tmp_path: Path) -> None:
    """It is heard in the second half alone, and its own loss never reaches the decoder."""
    torch.manual_seed(0)
    config = AutoencoderConfig(widths=(16, 16), batch=4, adversarial=1.0)
    run = AutoencoderRun(ClassedImages(file), 8, config, tmp_path)
    x = colored(run.images.pixels[:4])
    y = x.flip(-1).requires_grad_()
    assert run.critic is not None
    run._heard(run.critic, x, y, 0.1).sum().backward()
    assert y.grad is None
    critic = [p.grad.clone() for p in run.critic.parameters()]
    run.critic.zero_grad()
    run._heard(run.critic, x, y, 0.9).sum().backward()
    assert y.grad is not None and y.grad.abs().max() > 0
    again = [p.grad for p in run.critic.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(critic, again, strict=True))


def test_a_joint_training_beats_its_ablations(first: AutoencoderRun, tmp_path: Path) -> None:
    """The bound of held-out images: below that of a prior that was not trained, or alone."""
    together, apart = joint(first, tmp_path / "a"), joint(first, tmp_path / "b", frozen=True)
    untrained = together.measured()["bound"]
    steps(together, 10)
    steps(apart, 10)
    alone, both = apart.measured()["bound"], together.measured()["bound"]
    print(untrained, alone, both)
    assert both < alone - 0.2 and alone < untrained - 0.05


def test_the_command_makes_a_latent_prior(file: Path, tmp_path: Path) -> None:
    """It generates, restores and has classes; diffusers opens it, and says the same."""
    words = (file, "--out", tmp_path, "--latent", 2, "--steps", 2, "--batch", 4)
    done = call(*words, "--network", "unet(channels=[16])")
    assert done.exit_code == 0, done.output
    prior = load_prior(tmp_path / "weights")
    assert isinstance(prior, LatentPrior) and prior.shape == (2, 2, 2) and prior.classes == 10
    assert prior.innermost.objective == "v(betas='cosine')"
    pipe = LDMPipeline.from_pretrained(tmp_path / "weights")
    z = torch.linspace(-1, 1, 8).reshape(1, 2, 2, 2)
    with torch.no_grad():
        theirs = pipe.vqvae.decode(z / pipe.vqvae.config.scaling_factor).sample
        torch.testing.assert_close(prior.decode(z), theirs, rtol=1e-5, atol=1e-6)
        said = pipe.unet(z, 49, class_labels=torch.tensor([3])).sample
    t = (torch.tensor(50.0)) / len(pipe.scheduler.alphas_cumprod)
    alpha, sigma = prior.diffusion.schedule(t)
    expected = (alpha * z - sigma * said) / (alpha**2 + sigma**2)
    torch.testing.assert_close(prior.for_label(3)(z, t), expected.float(), rtol=1e-4, atol=1e-5)
    assert prior.with_condition(label=3, guidance_scale=2.0)(z, t).isfinite().all()
    gray = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    out = diffprior.denoise(
        gray, sigma=0.1, prior=prior, method="dps(sampler=ddim(steps=2))", device="cpu"
    )
    assert out.image.shape[-2:] == (16, 16)
    other = call(*words, "--joint", "--objective", "flow")
    refused(other, "--joint trains by the bound of a chain")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--joint"], "--joint is an option of --latent"),
        (["--adversarial", "1"], "--adversarial is an option of --latent"),
        (["--latent", "0"], "channels of LatentWish"),
        (["--latent", "4", "--network", "mlp"], "has a unet for its network"),
        (["--latent", "4", "--objective", "denoising_gan"], "no networks that say a draw"),
        (["--latent", "4", "--holes", "2"], "--holes is for a prior of one part"),
        (["--latent", "4", "--compile"], "--compile is for a prior of one part"),
        (["--latent", "4", "--init", "photo"], "--latent is for a new prior"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    out = ("--out", tmp_path / "run", "--steps", 2, "--batch", 2)
    refused(call(file, *out, *words), message)
    assert not (tmp_path / "run" / "autoencoder").exists()  # before any work
