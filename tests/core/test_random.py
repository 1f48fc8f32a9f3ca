"""A stream is a function of (seed, name, sample): nothing else in a batch can move it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from diffprior.random import BLOCK, Noise

from support.exact import random


def normal(noise: Noise, size: int = 3) -> Tensor:
    return noise.normal(torch.empty(len(noise), size))


def test_same_numbers_whatever_else_is_in_the_batch() -> None:
    alone = normal(Noise(3, ["b"], 2))
    batch = normal(Noise(3, ["a", "b", "c"], 2))
    more = normal(Noise(3, ["b"], 5))
    assert torch.equal(batch[2:4], alone) and torch.equal(more[:2], alone)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("cuts", [(3, 5000), (5000, 3), (1,) * 40, (BLOCK, 1), (BLOCK + 1, 7)])
def test_same_numbers_whatever_the_sizes_they_are_taken_in(kind: str, cuts: tuple) -> None:
    whole = getattr(Noise(0), kind)(torch.empty(1, sum(cuts)))
    noise = Noise(0)
    parts = [getattr(noise, kind)(torch.empty(1, n)) for n in cuts]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_numbers_are_those_of_numpy() -> None:
    """They stay what they are: a seed of an old report draws the same image."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 0, 0, 0))))
    expected = rng.standard_normal(3000, np.float32)
    noise = Noise(7)
    assert np.array_equal(normal(noise, 2500)[0].numpy(), expected[:2500])
    assert np.array_equal(normal(noise, 500)[0].numpy(), expected[2500:])


def test_normal_and_uniform_do_not_disturb_each_other() -> None:
    plain, mixed = Noise(0), Noise(0)
    mixed.uniform(torch.empty(1, 50))
    assert torch.equal(normal(plain), normal(mixed))


def test_seeds_names_and_samples_differ() -> None:
    rows = [
        normal(Noise(seed, [name], 2), 20)
        for seed in (0, 1)
        for name in (0, 1, "0", "1", "a.png", "b.png")
    ]
    assert len(torch.cat(rows).unique(dim=0)) == 24


def test_a_name_is_a_stream() -> None:
    a, b, c = normal(Noise(0, ["x", "y", "x"]))
    assert torch.equal(a, c) and not torch.equal(a, b)


def test_rows_are_shared_not_copied() -> None:
    noise, fresh = Noise(0, range(4)), normal(Noise(0, range(4)), 6)
    first = normal(noise.rows([2, 0]))
    assert torch.equal(first, fresh[[2, 0], :3])
    assert torch.equal(normal(noise)[[0, 2]], fresh[[0, 2], 3:])
    assert len(noise.rows([])) == 0


def test_moments() -> None:
    """A million numbers: mean, variance and fourth moment to 4 standard errors."""
    z = Noise(0, range(10)).normal(torch.empty(10, 100_000, dtype=torch.float64)).flatten()
    u = Noise(0, range(10)).uniform(torch.empty(10, 100_000, dtype=torch.float64)).flatten()
    se = len(z) ** -0.5
    assert abs(z.mean()) < 4 * se and abs(z.var() - 1) < 4 * 2**0.5 * se
    assert abs((z**4).mean() - 3) < 4 * 96**0.5 * se
    assert abs(u.mean() - 0.5) < 4 * se / 12**0.5 and u.min() >= 0 and u.max() < 1
    assert abs(u.var() - 1 / 12) < 4 * se / 180**0.5


def test_streams_are_independent() -> None:
    z = normal(Noise(0, ["a", "b"], 2), 100_000).double()
    off = torch.corrcoef(z) - torch.eye(4)
    assert off.abs().max() < 4.5 / 100_000**0.5


def test_shape_dtype_and_values_follow_like() -> None:
    like = random(2, 3, 4, 5)
    z = Noise(0, range(2)).normal(like)
    assert z.shape == like.shape and z.dtype == torch.float64
    assert torch.equal(z.float(), Noise(0, range(2)).normal(like.float()))


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="^a seed is an integer from 0 on, got -1$"):
        Noise(-1)
    with pytest.raises(ValueError, match="^2 streams of noise cannot fill a batch of 3$"):
        Noise(0, range(2)).normal(torch.empty(3, 1))
