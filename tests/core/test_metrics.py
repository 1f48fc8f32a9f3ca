"""Metrics, against their definitions and scikit-image."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffprior import metrics
from diffprior.random import Noise


def pair(n=2, side=40):
    x = Noise(0, samples=n).uniform(torch.empty(n, 3, side, side)) * 2 - 1
    y = (x + 0.1 * Noise(1, samples=n).normal(x)).clamp(-1, 1)
    return y, x


def test_psnr_is_that_of_the_unit_range():
    y, x = pair()
    expected = peak_signal_noise_ratio((x[0].numpy() + 1) / 2, (y[0].numpy() + 1) / 2, data_range=1)
    assert metrics.psnr(y, x)[0].item() == pytest.approx(expected, abs=1e-4)


def test_psnr_over_a_mask_sees_nothing_else():
    y, x = pair()
    mask = torch.zeros(2, 1, 40, 40)
    mask[..., :20] = 1
    other = y.clone()
    other[..., 20:] = 1 - x[..., 20:]
    assert torch.allclose(metrics.psnr(y, x, mask), metrics.psnr(other, x, mask))
    left = metrics.psnr(y[..., :20], x[..., :20])
    assert torch.allclose(metrics.psnr(y, x, mask), left, atol=1e-5)


def test_images_are_clipped_and_alone():
    y, x = pair()
    assert torch.equal(metrics.psnr(y * 1.5, x), metrics.psnr((y * 1.5).clamp(-1, 1), x))
    for metric in (metrics.psnr, metrics.ssim):
        assert torch.allclose(metric(y, x)[1:], metric(y[1:], x[1:]))


def test_ssim_is_that_of_scikit_image():
    y, x = pair()
    expected = structural_similarity(
        *((v[0].double().numpy() + 1) / 2 for v in (y, x)),
        channel_axis=0,
        data_range=1,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    full = metrics.ssim(y, x, torch.ones(2, 1, 40, 40))
    inner = torch.zeros(2, 1, 40, 40)
    inner[..., 5:-5, 5:-5] = 1  # scikit-image leaves the window's margin out of its mean
    assert metrics.ssim(y, x, inner)[0].item() == pytest.approx(expected, abs=1e-6)
    assert abs(full[0].item() - expected) < 0.02


def test_coverage_of_honest_and_narrow_posteriors():
    samples = Noise(2, samples=400).normal(torch.empty(400, 1, 2000))
    truth = Noise(3).normal(torch.empty(1, 2000))
    assert abs(metrics.coverage(samples, truth).item() - 0.9) < 4 * (0.9 * 0.1 / 2000) ** 0.5
    assert metrics.coverage(samples / 2, truth).item() < 0.7


def test_gradient_energy_of_a_ramp():
    ramp = torch.arange(10.0).expand(1, 3, 10, 10) / 10
    mask = torch.zeros(1, 1, 10, 10)
    mask[..., 2:7, 2:7] = 1
    assert metrics.gradient_energy(ramp, mask).item() == pytest.approx(0.01 / 2)


def test_lpips_without_its_weights_says_so_in_one_line(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    metrics._lpips_network.cache_clear()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(metrics.MetricError, match="needs the weights") as error:
        metrics.lpips(*pair(1, 64))
    assert "\n" not in str(error.value)
    assert np.isfinite(metrics.psnr(*pair())).all()


def test_the_frechet_distance_is_its_formula():
    """By scipy's root of a matrix, also for fewer rows than features; 0 of a set to itself."""
    x = Noise(0, samples=1).normal(torch.empty(1, 300, 6)).double()[0]
    a, b = x[:200] @ torch.diag(torch.arange(1.0, 7.0).double()), x[200:] @ x[:6] + 0.5
    for a_, b_ in ((a, b), (a[:4], b[:5])):
        covs = [np.cov(v.numpy().T) for v in (a_, b_)]
        shift = ((a_.mean(0) - b_.mean(0)) ** 2).sum().item()
        values = np.linalg.eigvals(covs[0] @ covs[1]).astype(complex)
        expected = shift + np.trace(covs[0] + covs[1]) - 2 * np.sqrt(values).real.sum()
        assert metrics.frechet_distance(a_, b_).item() == pytest.approx(expected, rel=1e-6)
    root = sqrtm(np.cov(a.numpy().T) @ np.cov(b.numpy().T)).real
    known = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(
        np.cov(a.numpy().T) + np.cov(b.numpy().T) - 2 * root
    )
    assert metrics.frechet_distance(a.float(), b.float()).item() == pytest.approx(known, rel=1e-5)
    assert metrics.frechet_distance(a, a).item() < 1e-9
