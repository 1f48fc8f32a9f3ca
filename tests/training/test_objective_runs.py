"""Runs of every objective and every network: they learn what is known, and open again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import PriorError, SettingError, UnsuitedError
from diffprior.pretrained.load import load_prior
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.training.commands import _prepare, _read
from diffprior.training.points import Points
from diffprior.training.trainer import Trainer

from support.runs import call, dark_and_bright, refused
from support.runs import steps as take_steps

MEANS = torch.tensor([[-1.0, -0.5], [1.0, 0.5]])
VAR = 0.09


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of two clouds of points."""
    rng = np.random.default_rng(0)
    which = rng.integers(2, size=20_000)
    x = MEANS.numpy()[which] + VAR**0.5 * rng.standard_normal((20_000, 2))
    np.save(path := tmp_path_factory.mktemp("points") / "clouds.npy", x.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_bright(tmp_path_factory.mktemp("pictures"))


def trained(data: Path, out: Path, objective: str, network: str, steps: int, **settings) -> Trainer:
    """Return a run that has ended; the learning rate of points may be high."""
    torch.manual_seed(0)
    images, config = _read([data], {}, settings.get("batch", 8), 0)
    made, config = _prepare(images, config, objective, network)
    config = replace(config, adam_rate=settings.get("rate", config.adam_rate))
    trainer = Trainer(made, images, config, out)
    take_steps(trainer, steps)
    return trainer


def clouds(diffusion: GaussianDiffusion) -> MixturePrior:
    return MixturePrior(torch.ones(2), MEANS, VAR * torch.ones(2), diffusion)


@pytest.mark.parametrize(
    "objective",
    [
        "edm",
        "simple",
        "mu(steps=20)",
        "vlb(steps=100, levels=False)",
        "hybrid(steps=100, levels=False)",
        "ncsn(sigma_min=0.1, sigma_max=3.0)",
        "sliced(sigma_min=0.1, sigma_max=3.0)",
        "implicit(sigma_min=0.1, sigma_max=3.0)",
        "flow",
    ],
)
def test_a_network_of_points_learns_the_denoiser(
    points: Path, tmp_path: Path, objective: str
) -> None:
    """In a second: its error is a small part of the least error that any denoiser has.

    The bound and the slices are noisy: their networks need longer.
    """
    network, part = "mlp(width=64, layers=2)", 0.3 if objective[:2] in ("vl", "sl") else 0.1
    run = trained(points, tmp_path, objective, network, 250, batch=256, rate=5e-3)
    prior = run.prior(run.averaged())
    exact = clouds(prior.diffusion)
    x_0 = exact.sample(Noise(seed=1, ids=range(500)))
    t = prior.diffusion.schedule.time(0.7)
    x_t = prior.diffusion.noise(x_0, t).sample(Noise(seed=2, ids=range(500))).float()
    error = (prior(x_t, t) - exact(x_t, t)).square().mean()
    least = (exact(x_t, t) - x_0).square().mean()
    assert error < part * least, f"{error / least:.3f}"


def test_bits_learn_their_entropy(tmp_path: Path) -> None:
    """Three bits that depend on each other: the loss comes near the bound of the exact answer."""
    probs = torch.tensor([[0.9, 0.9, 0.1], [0.1, 0.2, 0.9]], dtype=torch.float64)
    exact = BitsPrior(torch.ones(2, dtype=torch.float64), probs)
    rng = np.random.default_rng(0)
    which = rng.integers(2, size=20_000)
    np.save(tmp_path / "bits.npy", rng.random((20_000, 3)) < probs.numpy()[which])
    run = trained(
        tmp_path / "bits.npy",
        tmp_path,
        "bits(steps=20)",
        "mlp(width=64)",
        400,
        batch=256,
        rate=4e-3,
    )
    prior = run.prior(run.averaged())
    noise = Noise(seed=1, ids=range(500))
    x_0 = torch.from_numpy(rng.random((500, 3)) < probs.numpy()[rng.integers(2, size=500)])
    for t in (torch.tensor(0.2), torch.tensor(0.6)):
        x_t = prior.diffusion.noise(x_0.float(), t).sample(noise)
        errors = (prior(x_t, t) - exact(x_t.double(), t.double())).abs()
        assert errors.mean() < 0.03, errors.mean()
    run.save()
    opened = load_prior(tmp_path / "weights")
    assert torch.equal(opened(x_t, t), prior(x_t, t))
    kernel = opened.kernel(x_t, torch.tensor(0.6), torch.tensor(0.5))
    assert type(kernel).__name__ == "BernoulliKernel"


@pytest.mark.parametrize(
    "objective, network",
    [
        ("edm", "nafunet"),
        ("v", "nafunet"),
        ("hybrid(steps=100)", "nafunet"),
        ("simple(steps=100)", "unet(channels=[16, 16])"),
        ("hybrid(steps=100)", "unet(channels=[16, 16])"),
        ("flow", "unet(channels=[16], adaptive=False)"),
        ("edm", "unet(channels=[16])"),
        ("ncsn", "unet(channels=[16, 16], time='fourier')"),
        ("sliced", "unet(channels=[16], time='fourier')"),
        ("implicit(levels=2)", "dit(width=16, layers=1, heads=2)"),
        ("x0(betas='cosine')", "dit(width=32, layers=1, heads=2)"),
        ("vlb(steps=50)", "dit(width=32, layers=1, heads=2)"),
        ("vlb(steps=50, predicts='mu', variance='learned')", "nafunet"),
    ],
)
def test_what_was_trained_opens_and_says_the_same(
    pictures: Path, tmp_path: Path, objective: str, network: str
) -> None:
    """With a class and without; weights of images are float16 in a nafunet alone."""
    run = trained(pictures, tmp_path, objective, network, 2)
    run.save()
    own = run.prior(run.averaged())
    opened = load_prior(tmp_path / "weights")
    assert (opened.objective, opened.classes) == (own.objective, 2)
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    near = {"rtol": 2e-2, "atol": 2e-2} if "nafunet" in network else {"rtol": 1e-4, "atol": 1e-4}
    for prior in (own, own.for_label(1)):
        mine = opened if prior is own else opened.for_label(1)
        # a scheduler of diffusers has its own grid of times: the noise levels are the same
        for level in (0.1, 0.5):
            ends = [p.diffusion.schedule.time(level) for p in (prior, mine)]
            torch.testing.assert_close(mine(x, ends[1]), prior(x, ends[0]), **near)
    config = json.loads((tmp_path / "weights" / "config.json").read_text())
    assert config["_class_name"] in ("NAFUNet", "UNet2DModel", "DiT")
    if "unet(" not in network:
        opened.save_pretrained(tmp_path / "again")
        again = load_prior(tmp_path / "again")
        assert torch.equal(again(x, ends[1]), opened(x, ends[1]))


def test_a_unet_opens_in_diffusers(pictures: Path, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    run = trained(pictures, tmp_path, "hybrid(steps=100)", "unet(channels=[16, 16])", 1)
    run.save()
    unet = diffusers.UNet2DModel.from_pretrained(tmp_path / "weights")
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / "weights")
    assert unet.config.out_channels == 2 and scheduler.config.variance_type == "learned_range"
    products = run.task.schedule.alphas_cumprod  # type: ignore[attr-defined]
    torch.testing.assert_close(scheduler.alphas_cumprod, products.float(), rtol=1e-4, atol=1e-6)
    assert "AttnDownBlock2D" in unet.config.down_block_types  # 8 pixels are fewer than 16


@pytest.mark.parametrize(
    "objective, said",
    [
        ("mu", "mu"),
        ("vlb(predicts='mu')", "mu"),
        ("consistency_training", "the end of the flow"),
        ("denoising_gan", "a draw"),
    ],
)
def test_diffusers_has_no_network_that_says_it(
    pictures: Path, tmp_path: Path, objective: str, said: str
) -> None:
    """So a run says before its first step, and not when it is to be saved."""
    with pytest.raises(UnsuitedError, match=f"no networks that say {said}: use nafunet or dit"):
        trained(pictures, tmp_path, objective, "unet(channels=[16, 16])", 0)


def test_a_run_goes_on_with_its_own_network_alone(pictures: Path, tmp_path: Path) -> None:
    """The weights of two heads have the shapes of those of four."""
    trained(pictures, tmp_path, "edm", "dit(width=16, layers=1, heads=2)", 0).save()
    assert trained(pictures, tmp_path, "edm", "dit(width=16, layers=1, heads=2)", 0).resume()
    other = trained(pictures, tmp_path, "edm", "dit(width=16, layers=1, heads=4)", 0)
    with pytest.raises(SettingError, match="was begun with heads of DiT 2, not 4"):
        other.resume()


def test_attention_is_where_an_image_has_16_pixels_a_side() -> None:
    from diffprior.networks.unet import UNet

    kinds = UNet(size=64, channels=(8, 8, 8, 8)).unet.config.down_block_types
    assert kinds == ("DownBlock2D",) * 2 + ("AttnDownBlock2D",) * 2


def test_the_command_trains_on_points(points: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (points, "--out", out, "--steps", 20, "--objective")
    done = call(*words, "flow")
    assert done.exit_code == 0, done.output
    prior = load_prior(out / "weights")
    assert prior.shape == (2,) and len((out / "curve.csv").read_text().splitlines()) == 2
    with Image.open(out / "curve.png") as curve:
        assert min(curve.size) > 100
    refused(call(*words, "simple"), "was begun with objective 'flow', not")


@pytest.mark.parametrize(
    "settings, message",
    [
        (["--objective", "noise"], "no objective 'noise'; the nearest are"),
        (["--objective", "simple(steps=0)"], "steps of Simple is a whole number"),
        (["--network", "resnet"], "no architecture 'resnet'; the nearest are"),
        (["--network", "unet"], "unet is a network of images, and these are points: use mlp"),
        (["--objective", "bits"], "bits is the objective of an .npy file of booleans"),
        (["--init", "somewhere"], "--init is the folder of a nafunet"),
        (["--source", "clouds=2"], "--source is for folders and ZIP files of images"),
    ],
)
def test_the_command_refuses_what_does_not_fit(
    points: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    refused(call(points, "--out", tmp_path / "run", "--steps", 1, *settings), message)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros((3, 2)), "all numbers of .* are equal"),
        (np.array([[1.0, np.nan]]), "are not finite"),
        (np.arange(4), "an array .N, D. of floats or booleans"),
        (np.array(["a"]), "an array .N, D. of floats or booleans"),
    ],
)
def test_a_file_of_no_points_is_one_sentence(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=message):
        Points(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="cannot be read as an .npy file"):
        Points(tmp_path / "y.npy")


def test_a_damaged_folder_is_one_sentence(points: Path, tmp_path: Path) -> None:
    run = trained(points, tmp_path, "flow", "mlp(width=8)", 1)
    run.save()
    file = tmp_path / "weights" / "config.json"
    config = json.loads(file.read_text())
    for change, message in (
        ({"_objective": "flew"}, "no objective 'flew'"),
        ({"_objective": "hybrid"}, "needs 2 outputs a number"),
        ({"width": 9}, "does not hold a prior that can be opened"),
        ({"depth": 9}, "its config has 'depth'; a MLP has"),
    ):
        file.write_text(json.dumps(config | change))
        with pytest.raises(PriorError, match=message):
            load_prior(tmp_path / "weights")
    del config["_objective"]
    file.write_text(json.dumps(config))
    with pytest.raises(PriorError, match="has no _objective, which says how it was trained"):
        load_prior(tmp_path / "weights")
