"""What edits share: chains over rows, as many at a time as memory holds."""

import pytest
import torch
from torch import Tensor

from diffprior.editing import chains
from diffprior.editing.chains import run_chain
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise


def test_a_walk_that_runs_out_of_memory_goes_on_with_half_the_rows(monkeypatch) -> None:
    """A failed part has drawn noise; its rows start again with theirs; progress is sent once."""
    prior, seen = MixturePrior(torch.ones(1), torch.zeros(1, 1, 1, 2), torch.ones(1)), list[float]()

    def chain(part: Tensor, z: Tensor, noise: Noise, callback) -> Tensor:
        x = z + noise.normal(z)
        if len(part) > 2:
            raise torch.OutOfMemoryError("no memory")
        if callback is not None:
            callback(x, 1.0)
        return x + noise.normal(z)

    monkeypatch.setattr(chains, "batch_size", lambda prior: 4)  # on a CPU it is one
    z = torch.arange(8.0).reshape(4, 1, 1, 2)
    with pytest.warns(RuntimeWarning, match="^out of memory: going on with 2 samples"):
        x, report = run_chain(
            prior, z, chain, Noise(0, range(4)), lambda x, done: seen.append(done)
        )
    noise = Noise(0, range(4))
    assert torch.equal(x, z + noise.normal(z) + noise.normal(z))
    assert seen == [1.0] and report["network_calls"] == 0
