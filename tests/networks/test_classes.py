"""Networks with classes: what they are told, what is dropped, and how they are opened."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffprior.errors import PriorError
from diffprior.networks.critic import Critic
from diffprior.networks.dit import DiT
from diffprior.networks.mlp import MLP
from diffprior.networks.nafunet import NAFUNet, save_network
from diffprior.networks.parameterizations import karras
from diffprior.networks.text_unet import TextUNet
from diffprior.networks.unet import UNet
from diffprior.objectives import edm as module
from diffprior.pretrained.load import load_prior
from diffprior.priors.network import NetworkPrior
from diffprior.training.labelled import ClassedImages
from diffprior.training.trainer import Trainer, TrainingConfig

from support.exact import random

SMALL = {"channels": (8, 16), "blocks": (1, 1), "embedding": 16, "image_channels": 1}
CONFIG = TrainingConfig(batch=64, patch=8, late_patch=8, warmup=2)


@pytest.fixture
def images(tmp_path: Path) -> ClassedImages:
    """Three classes, each of its own gray: 40, 120, 200."""
    y = np.repeat(np.arange(3), 20)
    x = np.broadcast_to((40 + 80 * y).astype(np.uint8)[:, None, None], (60, 8, 8))
    np.savez(tmp_path / "small.npz", x_train=x, y_train=y, x_test=x[::6], y_test=y[::6])
    return ClassedImages(tmp_path / "small.npz")


def network(classes: int = 3) -> NAFUNet:
    torch.manual_seed(0)
    made = NAFUNet(**SMALL, classes=classes, size=8)
    for p in made.parameters():  # zeros would hide what a condition does
        torch.nn.init.normal_(p, std=0.3)
    return made.eval()


def test_images_come_with_their_classes(images: ClassedImages) -> None:
    x, y = images.batch(np.random.default_rng(0), 300, 8)
    assert x.shape == (300, 1, 8, 8) and x.dtype == torch.uint8 and images.classes == 3
    assert torch.equal(x[:, 0, 0, 0].long(), 40 + 80 * y) and len(y.unique()) == 3
    assert [v.shape for v in images.validation] == [(8, 8, 1)] * 10


@pytest.mark.parametrize("fault", ["missing", "float", "lengths"])
def test_another_file_is_one_sentence(tmp_path: Path, fault: str) -> None:
    x, y = np.zeros((4, 8, 8), np.uint8), np.zeros(4, np.int64)
    held = {"x_train": x, "y_train": y, "x_test": x}
    if fault == "missing":
        del held["y_train"]
    else:
        held |= {"x_train": x / 2} if fault == "float" else {"y_train": y[:3]}
    np.savez(tmp_path / "other.npz", **held)
    with pytest.raises(
        ValueError, match=r"has no y_train$|^x_train must be uint8 .* in .*other.npz$"
    ):
        ClassedImages(tmp_path / "other.npz")


def test_a_class_changes_the_network_and_none_is_the_last_row() -> None:
    f, x, c_noise = network(), random(3, 1, 8, 8).float(), torch.zeros(3)
    told = f(x, c_noise, torch.tensor([0, 1, 2]))
    for i in range(3):
        alone = f(x[i : i + 1], c_noise[:1], torch.tensor([i]))
        torch.testing.assert_close(told[i : i + 1], alone)
    free = f(x, c_noise)
    assert torch.equal(free, f(x, c_noise, torch.full((3,), 3)))
    assert all((told[i] - free[i]).abs().max() > 1e-3 for i in range(3))


def test_a_share_of_the_classes_is_dropped(
    images: ClassedImages, tmp_path: Path, monkeypatch
) -> None:
    """1280 labels: a tenth to 4 standard errors; the rest are those of their images."""
    told: list[tuple] = []
    monkeypatch.setattr(
        module, "karras", lambda f, x, s, d, y: told.append(y) or karras(f, x, s, d, y)
    )
    trainer = Trainer(network(), images, CONFIG, tmp_path)
    for i in range(20):
        trainer.train_step(i / 20)
    labels = torch.cat(told)
    share = (labels == 3).double().mean()
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 1280) ** 0.5
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_a_network_learns_its_classes(images: ClassedImages, tmp_path: Path) -> None:
    """From pure noise each class is its gray, and no class their mean, to 0.15 of 2."""
    torch.manual_seed(0)
    trainer = Trainer(NAFUNet(**SMALL, classes=3, size=8), images, CONFIG, tmp_path)
    for i in range(300):
        trainer.train_step(i / 300)
    x, t = random(64, 1, 8, 8).float(), torch.tensor(1.0, dtype=torch.float64)
    prior = NetworkPrior.of(trainer.averaged())
    x_T = prior.diffusion.schedule(t)[1].float() * x
    for label, gray in ((0, 40), (1, 120), (2, 200), (None, 120)):
        found = prior.for_label(label)(x_T, t).mean()
        assert abs(found - (gray / 127.5 - 1)) < 0.15, label


def test_a_folder_says_classes_and_size(tmp_path: Path) -> None:
    save_network(network(), tmp_path / "classed", dtype=torch.float32)
    prior = load_prior(tmp_path / "classed", label=2)
    assert prior.shape == (1, 8, 8) and prior.classes == 3 and prior.label == 2
    x, t = random(2, 1, 8, 8).float(), torch.tensor(0.5, dtype=torch.float64)
    assert not torch.equal(prior(x, t), prior.for_label(1)(x, t))
    with pytest.raises(PriorError, match="3 classes: label is one of 0 ... 2, got 3$"):
        load_prior(tmp_path / "classed", label=3)
    with pytest.raises(PriorError, match="no classes, so there is no label=3$"):
        load_prior(label=3)


def test_colors_are_states_of_a_gray_prior_by_their_mean() -> None:
    prior = NetworkPrior.of(network(0))
    x = random(2, 3, 8, 8).float()
    torch.testing.assert_close(prior.encode(x), x.mean(1, keepdim=True))
    assert torch.equal(prior.encode(x[:, :1]), x[:, :1])


def test_a_critic_without_labels_judges_no_class() -> None:
    """Not the first one: the last row of its table is that of no class."""
    torch.manual_seed(0)
    critic, t = Critic((2,), classes=3), torch.tensor([0.4, 0.7])
    x, y = torch.randn(2, 2, 2)
    none, first = torch.full((2,), 3), torch.zeros(2, dtype=torch.long)
    assert torch.equal(critic(x, y, t), critic(x, y, t, none))
    assert not torch.equal(critic(x, y, t), critic(x, y, t, first))


@pytest.mark.parametrize(
    "network",
    [
        NAFUNet((8, 16), [1, 1], classes=2),
        UNet(8, channels=(8,), classes=2, seen=3),
        DiT(8, width=16, layers=1, heads=2),
        MLP(3, width=8),
        TextUNet(torch.zeros(2, 4, dtype=torch.long), 5, (0, 1), 8, channels=(8,)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_settings_make_a_network_again(network: torch.nn.Module) -> None:
    again = type(network)(**network.settings)
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (network, again)]
    assert shapes[0] == shapes[1] and again.settings.keys() == network.settings.keys()
