"""The comparison with azula and deepinv: their denoisers are our prior, and the script runs."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.average import Average
from diffprior.pretrained.load import load_prior
from diffprior.priors.counted import CountedPrior

from support.text import unpadded

pytest.importorskip("azula")
pytest.importorskip("deepinv")

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # torch's, of jvp

ROOT = Path(__file__).parents[2]
SHAPE = (3, 16, 16)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "peers"))
    return SimpleNamespace(
        azula=importlib.import_module("azula_peers"),
        deepinv=importlib.import_module("deepinv_peers"),
        scene=importlib.import_module("scene"),
        compare=importlib.import_module("compare"),
    )


@pytest.fixture
def model(peers):
    return CountedPrior(peers.scene.CachedPrior(load_prior().for_shape(SHAPE)))


def noisy(level: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.3 + level * torch.randn(2, *SHAPE, generator=generator)


def test_azula_sees_the_prior(peers, model) -> None:
    """x_t = alpha_t z, with the noise of z that of our prior at a time of its own."""
    denoiser = peers.azula.AzulaDenoiser(model)
    for t in torch.tensor([0.0, 0.05, 0.4, 1.0]):
        alpha_t, sigma_t = denoiser.schedule(t)
        z = noisy(float(sigma_t / alpha_t))
        u = model.diffusion.schedule.time(sigma_t / alpha_t)
        out = denoiser((alpha_t * z).flatten(1), t).mean
        torch.testing.assert_close(out, model(z, u).flatten(1), rtol=0, atol=1e-4)


def test_deepinv_sees_the_prior(peers, model) -> None:
    """Images and noise in [0, 1]; beyond the prior's noise, the same image in less of it."""
    denoiser, most = (
        peers.deepinv.DeepinvDenoiser(model),
        model.diffusion.schedule.ratio(torch.tensor(1.0)),
    )
    for sigma in (0.05, 1.0, float(most)):
        z, level = noisy(2 * sigma), min(2 * sigma, float(most))
        x_0 = model(z * level / (2 * sigma), model.diffusion.schedule.time(level))
        out = denoiser((z + 1) / 2, torch.full((2, 1, 1, 1), sigma))
        torch.testing.assert_close(2 * out - 1, x_0, rtol=0, atol=1e-4)


def test_calls_and_products_are_counted(peers, model) -> None:
    """Two images, four steps; MMPS with one iteration needs two products a step."""
    with torch.no_grad():
        A = Average(4)
        likelihood = GaussianLikelihood(operator=A, y=A(noisy(0.1)), sigma=0.05)
        scene = peers.scene.Scene(model, likelihood)
        for run, products in ((peers.azula.mmps(1, 0.0), 2), (peers.azula.diffpir(1, 1, 1), 0)):
            model.count.clear()
            assert run(scene, 4).shape == (2, *SHAPE)
            assert (model.count["calls"], model.count["vjps"]) == (8, 8 * products)


def test_the_script_runs_again_where_it_stopped(peers, tmp_path: Path, capsys) -> None:
    given = {"side": 16, "limit": 1, "calls": 4, "seeds": 1, "problem": ["box"], "prior": None}
    for _ in range(2):
        peers.compare.main(
            [str(ROOT / "data/samples")], tmp_path, method=["default", "DiffPIR", "DDRM"], **given
        )
    table = unpadded(capsys.readouterr().out)
    for package in ("azula", "deepinv"):
        assert f"| box | DiffPIR | {package}" in table
    assert "| box | DDRM | ours" in table and "| 1 of 1 |" in table and "| mean |" in table
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + 1 + 9 + 5
    assert all(line.endswith(",") for line in (tmp_path / "rows.csv").read_text().splitlines()[1:])
