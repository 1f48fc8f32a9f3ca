"""The default prior's network: its preconditioning, its files, and that it is a convolution."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffprior.errors import PriorError, SettingError
from diffprior.interop import diffusers
from diffprior.networks.nafunet import NAFUNet, deepened, load_network, save_network
from diffprior.networks.parameterizations import Karras, karras
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.network import NetworkPrior

from support.exact import random

SETTINGS = {"channels": (8, 16), "blocks": (1, 2), "embedding": 16, "sigma_data": 0.4}


def tiny(seed: int = 0, **settings) -> NAFUNet:
    """Return a small network none of whose weights are zero."""
    torch.manual_seed(seed)
    network = NAFUNet(**(SETTINGS | settings))
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval().requires_grad_(False)


def image(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


class Constant(nn.Module):
    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return torch.ones_like(x) * c_noise[:, None, None, None]


def test_karras_is_table_1() -> None:
    x, sigma, d = random(3, 3, 4, 4), torch.tensor([0.01, 0.5, 30.0]).double(), 0.5
    s = sigma[:, None, None, None]
    c_skip, c_out = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt()
    expected = c_skip * x + c_out * s.log() / 4
    torch.testing.assert_close(karras(Constant(), x, sigma, d), expected)
    asked = {}

    class Listener(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            asked["x"] = x
            return x

    karras(Listener(), x, sigma, d)
    torch.testing.assert_close(asked["x"], x / (s**2 + d**2).sqrt())


def test_karras_limits() -> None:
    """No noise: x itself. All noise: the network alone, in the width of the data."""
    x, F = random(2, 3, 4, 4), Constant()
    low, high = (torch.full((2,), s, dtype=torch.float64) for s in (1e-8, 1e8))
    torch.testing.assert_close(karras(F, x, low, 0.5), x, rtol=0, atol=1e-6)
    expected = torch.full_like(x, 0.5 * high.log()[0] / 4)
    torch.testing.assert_close(karras(F, x, high, 0.5), expected, rtol=1e-6, atol=1e-6)


def test_network_inputs_have_unit_variance() -> None:
    """x_0 of the width of the data, at any level: what the preconditioning is for."""
    d, seen = 0.5, []

    class Listener(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
            seen.append(x.var())
            return x

    for level in (0.01, 0.5, 20.0):
        x = d * random(4, 3, 32, 32) + level * random(4, 3, 32, 32, seed=1)
        karras(Listener(), x, torch.full((4,), level, dtype=torch.float64), d)
    assert all(abs(v - 1) < 4 * (2 / 12288) ** 0.5 for v in seen)


def test_a_fresh_network_predicts_nothing() -> None:
    """Its last layer is zero: D = c_skip x, the best guess that sees no image."""
    network, x = NAFUNet(**SETTINGS), image(2, 3, 16, 16)
    assert network(x, torch.zeros(2)).abs().max() == 0


def test_every_noise_level_and_row_is_its_own() -> None:
    network, x, levels = tiny(), image(3, 3, 16, 16), torch.tensor([-1.0, 0.0, 0.7])
    batch = network(x, levels)
    for i in range(3):
        alone = network(x[i : i + 1], levels[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    assert (network(x[:1], levels[1:2]) - batch[:1]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(16, 16), (32, 20), (4, 60)], ids=str)
def test_any_size_of_the_stride(size: tuple[int, int]) -> None:
    network = tiny()
    assert network.stride == 4
    out = network(image(1, 3, *size), torch.zeros(1))
    assert out.shape == (1, 3, *size) and out.isfinite().all()


def test_it_is_a_convolution() -> None:
    """Far from the border a crop gives what the whole gives: no norm over the image."""
    network, x = tiny(), image(1, 3, 128, 128)
    x[..., 100:] *= 50  # a bright corner that a global norm would see
    c = torch.zeros(1)
    whole, part = network(x, c), network(x[..., :96, :96], c)
    torch.testing.assert_close(whole[..., :48, :48], part[..., :48, :48], rtol=1e-4, atol=1e-4)
    assert (whole[..., :96, :96] - part)[..., 90:].abs().max() > 1e-3


def test_the_border_is_visible() -> None:
    """A channel of ones tells the border from black pixels."""
    out = tiny()(torch.zeros(1, 3, 64, 64), torch.zeros(1))
    assert (out[..., 0, :] - out[..., 32, :]).abs().max() > 1e-4


def equal(a: nn.Module, b: nn.Module) -> bool:
    x, c = image(2, 3, 16, 16), torch.tensor([-0.5, 0.5])
    return torch.equal(a(x, c), b(x, c))


def test_save_and_load(tmp_path: Path) -> None:
    network = tiny()
    save_network(network, tmp_path, dtype=torch.float32)
    back = load_network(tmp_path)
    assert back.settings == network.settings and equal(back, network)
    assert all(p.dtype == torch.float32 for p in back.parameters())


def test_half_precision_files_are_close(tmp_path: Path) -> None:
    network, x, c = tiny(), image(2, 3, 16, 16), torch.zeros(2)
    save_network(network, tmp_path)
    torch.testing.assert_close(load_network(tmp_path)(x, c), network(x, c), rtol=0.02, atol=0.02)


def test_other_weights_may_be_saved(tmp_path: Path) -> None:
    """The moving average stands in for the network's own."""
    one, other = tiny(0), tiny(1)
    save_network(one, tmp_path, other.state_dict(), torch.float32)
    assert equal(load_network(tmp_path), other)


def test_diffusers_reads_what_we_write(tmp_path: Path) -> None:
    network = tiny()
    save_network(network, tmp_path, dtype=torch.float32)
    theirs = diffusers.NAFUNet.from_pretrained(tmp_path)
    assert equal(theirs, network) and theirs.config["sigma_data"] == 0.4
    assert theirs.sigma_data == 0.4 and theirs.stride == 4


def test_we_read_what_diffusers_writes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = diffusers.NAFUNet(**SETTINGS)
    theirs.load_state_dict(tiny().state_dict())
    theirs.save_pretrained(tmp_path)
    ours = load_network(tmp_path)
    assert equal(ours, theirs) and ours.sigma_data == 0.4


def test_both_classes_have_the_same_settings() -> None:
    """That of diffusers takes its signature from ours."""
    ours, theirs = NAFUNet(), diffusers.NAFUNet()
    config = {k: v for k, v in theirs.config.items() if not k.startswith("_")}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()} == ours.settings


def test_a_folder_is_a_prior(tmp_path: Path) -> None:
    save_network(tiny(sigma_min=0.01, sigma_max=9.0), tmp_path)
    prior = load_prior(tmp_path)
    assert isinstance(prior, NetworkPrior) and prior.sha256 == sha256(tmp_path)
    parameterization = prior.parameterization
    assert isinstance(parameterization, Karras) and prior.multiple == 4
    assert (parameterization.sigma_data, parameterization.sigma_min) == (0.4, 0.01)
    ends = prior.diffusion.schedule(torch.tensor([0.0, 1.0]).double())[1]
    torch.testing.assert_close(ends, torch.tensor([0.01, 9.0]).double())
    x = image(1, 3, 13, 18)
    assert prior(x, torch.tensor(0.5, dtype=torch.float64)).shape == x.shape


@pytest.mark.parametrize("change", [{"channels": [8, 32]}, {"blocks": [1]}, {"colour": 3}], ids=str)
def test_a_config_that_does_not_fit_is_one_sentence(tmp_path: Path, change: dict) -> None:
    save_network(tiny(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(PriorError, match="does not hold a prior that can be opened: ") as error:
        load_prior(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_that_are_missing_or_cut_are_one_sentence(tmp_path: Path) -> None:
    save_network(tiny(), tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:200])
    for _ in range(2):
        with pytest.raises(PriorError, match="does not hold a prior that can be opened") as error:
            load_prior(tmp_path)
        assert "\n" not in str(error.value)
        file.unlink(missing_ok=True)


def test_more_blocks_compute_the_same_until_they_learn() -> None:
    network = tiny()
    deep = deepened(network, (2, 4))
    x, level = random(2, 3, 16, 16, dtype=torch.float32), torch.tensor([0.1, -0.4])
    assert torch.equal(deep(x, level), network(x, level))
    assert deep.settings["blocks"] == [2, 4] and network.settings["blocks"] == [1, 2]
    deep(x, level).square().sum().backward()
    new = [deep.encoder[0][1], deep.encoder[1][3], deep.decoder[0][1]]
    assert all(block.reduce.weight.grad.abs().max() > 0 for block in new)
    with pytest.raises(SettingError, match=r"has \[1, 2\] blocks a level, and cannot get \[1, 1\]"):
        deepened(network, (1, 1))
