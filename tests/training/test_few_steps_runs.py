"""Runs of few steps: what they learn is known, and what they write opens and says the same."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import PriorError, SettingError, UnsuitedError
from diffprior.networks.dit import DiT
from diffprior.networks.parameterizations import Karras
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral
from diffprior.samplers.ddim import DDIM
from diffprior.samplers.heun import Heun
from diffprior.schedules import EDM
from diffprior.training.commands import _prepare, _read
from diffprior.training.teachers import as_teacher
from diffprior.training.trainer import Trainer

from support.runs import dark_and_bright, steps

MEANS = torch.tensor([[-1.0, -0.5], [1.0, 0.5]])
VAR = 0.09
MLP = "mlp(width=64, layers=2)"


def clouds() -> MixturePrior:
    """Return two clouds of points, on the noise levels of the runs."""
    schedule = EDM(sigma_min=0.02, sigma_max=10.0)
    return MixturePrior(torch.ones(2), MEANS, VAR * torch.ones(2), GaussianDiffusion(schedule))


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = clouds().sample(Noise(0, samples=10_000)).float().numpy()
    np.save(path := tmp_path_factory.mktemp("points") / "clouds.npy", x)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_bright(tmp_path_factory.mktemp("pictures"))


def begun(
    data: Path, out: Path, objective: str, teacher: Prior | None = None, **settings
) -> Trainer:
    """Return a run before its first step."""
    torch.manual_seed(0)
    images, config = _read([data], {}, settings.get("batch", 8), 0)
    made, config = _prepare(images, config, objective, settings.get("network"), teacher)
    config = replace(config, adam_rate=settings.get("rate", config.adam_rate))
    return Trainer(made, images, config, out, teacher=teacher)


def trained(
    data: Path, out: Path, objective: str, teacher: Prior | None = None, **settings
) -> Prior:
    """Return the prior of a run, opened from what it wrote."""
    trainer = begun(data, out, objective, teacher, **settings)
    steps(trainer, settings.get("steps", 2))
    trainer.save()
    opened = load_prior(out / "weights")
    own = trainer.prior(trainer.averaged())
    assert (opened.usual_sampler, opened.consistency) == (own.usual_sampler, own.consistency)
    return opened


def starts(n: int = 200) -> Tensor:
    return clouds().diffusion.terminal((n, 2)).sample(Noise(5, samples=n)).float()


def test_the_end_of_the_flow_is_learned_from_the_exact_score(points: Path, tmp_path: Path) -> None:
    """In one call half of the points are within 0.15 of where the flow of the exact prior ends.

    The clouds are 2.2 apart. DDIM of the exact prior is 1.0 away in one step.
    """
    text = "consistency_distillation(sigma_min=0.02, sigma_max=10.0, steps=8)"
    prior = trained(points, tmp_path, text, clouds(), network=MLP, batch=256, rate=4e-3, steps=250)
    assert prior.consistency
    x_T = starts()
    end = Heun(steps=40, grid="karras")(clouds(), x_T)
    one = torch.ones((), dtype=torch.float64)
    error = (prior(x_T, one) - end).norm(dim=1).median()
    other = (DDIM(steps=1)(clouds(), x_T) - end).norm(dim=1).median()
    assert error < 0.15 and other > 0.9, (error, other)
    zero = torch.zeros((), dtype=torch.float64)
    assert torch.equal(prior(x_T, zero), x_T)


def test_the_end_of_the_flow_is_learned_from_data_alone(points: Path, tmp_path: Path) -> None:
    """By consistency training: both clouds; in so short a run they are up to twice too wide."""
    text = "consistency_training(sigma_min=0.02, sigma_max=10.0, last=40)"
    prior = trained(points, tmp_path, text, network=MLP, batch=256, rate=4e-3, steps=500)
    x = Ancestral(steps=2)(prior, starts(), Noise(0, samples=200))
    check_clouds(x, place=0.25, size=(0.6, 2.0))


def check_clouds(x: Tensor, place: float, size: tuple[float, float]) -> None:
    """Half of the points belong to each cloud, and have about its mean and its deviation."""
    upper = x.sum(1) > 0
    assert 0.3 < float(upper.float().mean()) < 0.7
    for part, mean in ((x[~upper], MEANS[0]), (x[upper], MEANS[1])):
        assert (part.mean(0) - mean).abs().max() < place, part.mean(0)
        share = part.std(0) / VAR**0.5
        assert size[0] < float(share.min()) and float(share.max()) < size[1], share


def test_a_gan_learns_both_clouds_in_three_steps(points: Path, tmp_path: Path) -> None:
    """Both modes are there; in so short a run they are too wide and too near to each other."""
    text = "denoising_gan(steps=3, penalty=0.5)"
    prior = trained(points, tmp_path, text, network=MLP, batch=128, rate=2e-3, steps=300)
    assert prior.shape == (2,) and prior.usual_sampler == "ancestral(steps=3)"
    noise = Noise(0, samples=200)
    x_T = prior.diffusion.terminal((200, 2)).sample(noise)
    check_clouds(Ancestral(steps=3)(prior, x_T, noise), place=0.6, size=(0.2, 3.0))


@pytest.fixture(scope="module")
def teacher(points: Path, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """Return the prior of a short run by edm, on points."""
    out = tmp_path_factory.mktemp("teacher")
    text = "edm(sigma_min=0.02, sigma_max=10.0)"
    return trained(points, out, text, network=MLP, batch=256, rate=5e-3, steps=200)


def test_two_steps_become_one(points: Path, teacher: Prior, tmp_path: Path) -> None:
    """A student of N = 1 ends where two steps of DDIM of its teacher end."""
    prior = trained(
        points, tmp_path, "progressive(steps=1)", teacher, batch=256, rate=2e-3, steps=200
    )
    x_T = starts()
    one, two, plain = (
        DDIM(steps=steps)(who, x_T) for who, steps in ((prior, 1), (teacher, 2), (teacher, 1))
    )
    error, before = ((x - two).norm(dim=1).median() for x in (one, plain))
    assert error < 0.1 * before, (error, before)
    assert prior.usual_sampler == "ddim(steps=1)"


TAUGHT = {
    "progressive(steps=4)": "DDIM(steps=4,",
    "guided(guidance_scale=2.0)": "DPM(steps=30,",
    "consistency_distillation(steps=4)": "Ancestral(steps=4,",
    "consistency_training": "Ancestral(steps=4,",
    "denoising_gan(steps=3)": "Ancestral(steps=3,",
}


@pytest.fixture(scope="module")
def small(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """Return a prior of pictures that has hardly begun to learn."""
    return trained(pictures, tmp_path_factory.mktemp("small"), "edm", network="nafunet")


@pytest.mark.parametrize("text", TAUGHT)
def test_what_was_trained_opens_and_generates(
    pictures: Path, small: Prior, tmp_path: Path, text: str
) -> None:
    """By its own sampler, under a class without guidance, and saved again."""
    taught = text.partition("_t")[0] not in ("consistency", "denoising_gan(steps=3)")
    prior = trained(pictures, tmp_path, text, small if taught else None)
    assert prior.shape == (1, 8, 8)
    known = prior.for_shape((1, 16, 16)).with_condition(label=1)
    assert known.guidance_scale == (3.0 if text.startswith("progressive") else 1.0)
    steps = 30 if text.startswith("guided") else None
    drawn = diffprior.generate(prior=prior.with_label(1), width=16, height=16, samples=1)
    assert drawn.report["sampler"].startswith(TAUGHT[text]), (drawn.report["sampler"], steps)
    assert torch.as_tensor(list(drawn.image.getdata())).float().std() > 0
    prior.save_pretrained(tmp_path / "again")
    again = load_prior(tmp_path / "again")
    x, one = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8), torch.ones((), dtype=torch.float64)
    assert torch.equal(again(x, one), prior(x, one))
    assert again.usual_sampler == prior.usual_sampler


def test_a_copy_says_at_first_what_its_teacher_says(
    pictures: Path, small: Prior, tmp_path: Path
) -> None:
    x, t = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8), torch.tensor(0.6, dtype=torch.float64)
    for text in ("progressive", "guided"):
        trainer = begun(pictures, tmp_path, text, small)
        assert torch.equal(trainer.prior(trainer.averaged())(x, t), small(x, t))


def test_a_stopped_run_against_a_critic_ends_with_the_same_weights(
    points: Path, tmp_path: Path
) -> None:
    """The critic and its optimizer are in the checkpoint."""
    settings = {"network": MLP, "batch": 16}
    whole = begun(points, tmp_path / "a", "denoising_gan", **settings)
    for i in range(4):
        whole.train_step(i / 4)
    part = begun(points, tmp_path / "b", "denoising_gan", **settings)
    for i in range(2):
        part.train_step(i / 4)
    part.save()
    rest = begun(points, tmp_path / "b", "denoising_gan", **settings)
    assert rest.resume()
    for i in range(2, 4):
        rest.train_step(i / 4)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name


def test_another_teacher_is_refused_when_a_run_goes_on(
    points: Path, teacher: Prior, tmp_path: Path
) -> None:
    run = begun(points, tmp_path, "progressive", teacher)
    run.save()
    with pytest.raises(SettingError, match="was begun with teacher"):
        begun(points, tmp_path, "progressive", teacher._replace(source=None)).resume()


def test_what_cannot_be_is_one_sentence(
    points: Path, pictures: Path, teacher: Prior, small: Prior, tmp_path: Path
) -> None:
    def refused(match: str, *run, kind: type = UnsuitedError, **settings) -> None:
        with pytest.raises(kind, match=match) as error:
            begun(*run, **settings)
        assert len(str(error.value)) < 300

    refused("learns from a prior: give one as a teacher", points, tmp_path, "progressive")
    refused("Simple learns from data alone; teachers", points, tmp_path, "simple", teacher)
    refused("leave --network out", points, tmp_path, "progressive", teacher, network=MLP)
    refused("has to be a nafunet, a dit or an mlp", points, tmp_path, "progressive", clouds())
    refused("has axes 3, and the", points, tmp_path, "progressive", small, kind=PriorError)
    ends = teacher._replace(consistency=True)
    refused("a teacher knows E", points, tmp_path, "consistency_distillation", ends)
    with pytest.raises(SettingError, match="guidance_scale is 1"):
        gan = begun(pictures, tmp_path, "denoising_gan", network="nafunet")
        gan.prior(gan.averaged()).with_condition(label=1, guidance_scale=2.0)


def test_a_teacher_knows_no_class_by_its_own_number(pictures: Path, tmp_path: Path) -> None:
    """A U-Net counts the class of no class among its rows, and a teacher does not."""
    out = tmp_path / "unet"
    unet = trained(pictures, out, "edm", network="unet(channels=[16], adaptive=False)")
    first = unet._replace(null_label=0, classes=3, unconditional=True)  # as others are trained
    assert unet.classes == 2
    x, t = torch.randn(3, 1, 8, 8), torch.full((3,), 0.5)
    for prior, none in ((unet, 2), (first, 3)):
        said = as_teacher(prior).denoise(x, t, torch.tensor([1, none, 1]))
        expected = torch.cat([prior.for_label(1)(x[:1], t[0]), prior(x[1:2], t[0])])
        torch.testing.assert_close(said[:2], expected, rtol=2e-2, atol=2e-2)
    teach = "consistency_distillation(steps=2)"
    assert begun(pictures, tmp_path / "run", teach, unet, network="nafunet").teacher is not None
    alone = unet._replace(null_label=None, needs_label=True)
    with pytest.raises(UnsuitedError, match="knows images of its classes alone"):
        begun(pictures, tmp_path / "run", teach, alone, network="nafunet")


def test_a_copy_for_photographs_has_crops_of_its_size(tmp_path: Path) -> None:
    """That of a dit has one, and that of a nafunet any."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        image = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{i}.png"), image)
    images, config = _read([tmp_path / "photos"], {}, 2, 0)
    dit = NetworkPrior.of(DiT(size=16, width=16, layers=1, heads=2), Karras(), "edm")
    made, small = _prepare(images, config, "progressive", None, dit)
    assert isinstance(made, DiT) and (small.patch, small.late_patch) == (16, 16)
    photo = load_prior("photo")
    made, any_size = _prepare(images, config, "progressive", None, photo)
    assert torch.equal(made.last.weight, photo.network.last.weight)
    assert (any_size.patch, any_size.late_patch) == (64, 128)
