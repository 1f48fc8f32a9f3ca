"""The windows of a large image: chosen by its size alone, said in the report, shown on the bar."""

import numpy as np
import pytest
import torch

import diffprior
from diffprior.cli.outputs import Options
from diffprior.cli.progress import Bar
from diffprior.cli.runs import Run
from diffprior.errors import SettingError
from diffprior.networks.nafunet import NAFUNet
from diffprior.priors.network import NetworkPrior
from diffprior.priors.tiled import TiledPrior
from diffprior.runtime.placement import prepare_prior

FULL = {"dtype": "float32"}


def prior() -> NetworkPrior:
    torch.manual_seed(0)
    return NetworkPrior.of(NAFUNet((4, 4), (1, 1)))


def windows(tile: int | str | None, height: int, width: int) -> int:
    cut = prepare_prior(prior(), (3, height, width), tile_size=tile, **FULL)
    assert isinstance(cut, TiledPrior)
    return len(list(cut.windows(height, width)))


@pytest.mark.parametrize("tile", ["auto", None])
def test_auto_looks_at_the_size_of_the_image_alone(tile) -> None:
    assert windows(tile, 1536, 1536) == 1
    assert windows(tile, 1537, 1536) == 4
    assert windows(tile, 4000, 6000) == 35
    assert windows(512, 1024, 1024) == windows("512", 1024, 1024) == 9


@pytest.mark.parametrize("tile", [127, "0", "large", "", -1, float("inf"), "1e3"])
def test_a_side_that_is_none_is_refused(tile) -> None:
    with pytest.raises(SettingError, match="a tile is auto or a whole number of pixels from 128"):
        windows(tile, 64, 64)


def test_the_report_says_the_side_of_the_windows_where_there_are_any() -> None:
    image = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    cut = diffprior.denoise(image, sigma=0.1, tile_size=128, prior=prior(), **FULL)
    whole = diffprior.denoise(image, sigma=0.1, prior=prior(), **FULL)
    same = diffprior.denoise(image, sigma=0.1, prior=prior(), tile_size="auto", **FULL)
    assert cut.report["tile"] == 128 and "tile" not in whole.report
    assert np.array_equal(whole.image, same.image)


def test_the_bar_counts_windows(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Bar, "stage", lambda self, text: said.append(text))
    Run(diffprior.denoise, {}, Options(), Bar(quiet=True))._part("window", 3, 35)
    assert said == ["window 3 of 35"]
