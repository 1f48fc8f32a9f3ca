"""Chains on every core of a CPU: what each gives, and who is at work when."""

from collections.abc import Iterator
from functools import partial
from threading import Barrier, get_ident
from typing import cast

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.networks.nafunet import NAFUNet
from diffprior.priors.network import NetworkPrior
from diffprior.turns import aside, in_turns, joint_callbacks


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch compute with two threads, however many cores this process may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prior() -> NetworkPrior:
    """A small prior with random weights."""
    torch.manual_seed(0)
    network = NAFUNet((16, 32), (1, 1), size=32)
    torch.nn.init.normal_(network.last.weight, std=0.02)
    return NetworkPrior.of(network)


@pytest.mark.usefixtures("two_threads")
def test_two_are_aside_at_once_and_one_is_elsewhere() -> None:
    both, inside = Barrier(2, timeout=20), []

    def piece(i: int) -> tuple[int, int]:
        inside.append(i)
        assert len(inside) == 1 and torch.get_num_threads() == 2
        inside.remove(i)
        with aside():
            assert torch.get_num_threads() == 1
            both.wait()  # ends only where another piece is here, too
        assert torch.get_num_threads() == 2 and not torch.is_grad_enabled()
        return i, get_ident()

    with torch.no_grad():
        results = in_turns([partial(piece, i) for i in range(4)])
    assert [i for i, _ in results] == [0, 1, 2, 3]
    assert len({thread for _, thread in results}) == 2 and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_first_failure_ends_the_others() -> None:
    ended = []

    def piece(i: int) -> None:
        for _ in range(100_000):
            with aside():
                pass
            if i == 1:
                raise ZeroDivisionError
        ended.append(i)

    with pytest.raises(ZeroDivisionError):
        in_turns([partial(piece, i) for i in range(5)])
    assert not ended


def test_one_thread_works_in_the_thread_of_the_caller() -> None:
    assert in_turns([get_ident, get_ident], 1) == [get_ident()] * 2


def test_joint_callbacks_tell_the_share_of_all_the_work() -> None:
    told: list[float] = []
    first, second = joint_callbacks(lambda x, share: told.append(share), 2)
    assert first is not None and second is not None
    for report, share in ((first, 0.5), (second, 0.5), (second, 1.0), (first, 1.0)):
        report(torch.empty(0), share)
    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_of_a_batch_has_the_bits_that_it_has_alone(prior: NetworkPrior, dtype: str) -> None:
    x = torch.rand(3, 3, 40, 33, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros(3, 1, 40, 33, dtype=torch.bool)
    for i in range(3):
        hole[i, :, 5 + 3 * i : 30, 4 + i :: 5] = True
    told: list[float] = []

    def seen(states: Tensor, share: float) -> None:
        told.append(share)

    for samples in (1, 2):
        call = partial(diffprior.inpaint, prior=prior, dtype=dtype, samples=samples, steps=3)
        together = call(x, hole, ids=[7, 7, 7], callback=seen)
        alone = [call(x[i : i + 1], hole[i : i + 1], ids=[7]) for i in range(3)]
        for k in range(samples):
            own = torch.cat([one.samples[k] for one in alone])
            assert torch.equal(together.samples[k], own)
        calls = [one.report["network_calls"] for one in alone]
        assert together.report["network_calls"] == sum(calls)
        assert together.report["network_seconds"] <= together.report["seconds"] + 0.01
        assert told == sorted(told) and told[-1] == pytest.approx(1.0)
        told.clear()


@pytest.mark.usefixtures("two_threads")
def test_a_call_in_half_precision_has_the_same_bits_on_one_thread_and_on_two() -> None:
    network = cast(NetworkPrior, diffprior.load_prior()).network
    x = torch.randn(1, 3, 80, 64, generator=torch.Generator().manual_seed(2))
    outs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            outs.append(network(x, torch.tensor([-0.4])))
    assert torch.equal(*outs)
