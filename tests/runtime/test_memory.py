"""How many states go through a prior at a time, and which of them together."""

import pytest
import torch
from torch import Tensor

from diffprior.batching import Callback, batched, row_by_row
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.memory import HEAVY, WHOLE, batch_size


def prior(side: int, device: str) -> MixturePrior:
    one = torch.ones(1, device=device)
    return MixturePrior(one, torch.empty(1, 3, side, side, device=device), one)


def test_one_state_at_a_time_on_a_cpu() -> None:
    assert batch_size(prior(16, "cpu")) == 1


def test_as_many_states_as_memory_holds_elsewhere() -> None:
    """The meta device stands in for one that is no CPU."""
    image = prior(512, "meta")
    assert batch_size(image) == 2 * WHOLE // 512**2
    latent = LatentPrior(image, torch.nn.Identity(), torch.nn.Identity())
    assert batch_size(latent) == 2 * WHOLE // (512**2 * HEAVY)
    assert batch_size(prior(4096, "meta")) == 1


@pytest.mark.parametrize(
    "size, of, parts",
    [
        (4, None, [[0, 1, 2, 3], [4, 5]]),
        (4, 3, [[0, 1, 2], [3, 4, 5]]),
        (2, 3, [[0, 1], [2], [3, 4], [5]]),
        (1, 3, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_rows_of_two_images_do_not_run_together(
    size: int, of: int | None, parts: list[list[int]]
) -> None:
    seen: list[list[int]] = []

    def work(part: Tensor, noise: Noise, callback: Callback) -> Tensor:
        seen.append(part.tolist())
        assert len(noise) == len(part)
        return 10 * part

    assert batched(work, Noise(0, samples=6), None, size, of=of).tolist() == [*range(0, 60, 10)]
    assert seen == parts


def test_rows_go_one_by_one_on_a_cpu_and_together_elsewhere() -> None:
    lengths: list[int] = []

    def double(x: Tensor, y: Tensor) -> Tensor:
        lengths.append(len(x))
        return x + y

    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(row_by_row(double, x, x), 2 * x)
    assert row_by_row(double, x.to("meta"), x.to("meta")).shape == (3, 2)
    assert lengths == [1, 1, 1, 3]
