"""On a true GPU: the answers of the CPU, in any batch, in any number format, in any stream.

Bits are those of the CPU for streams of noise alone. Sums of a GPU have another order, and it
changes with the size of a batch: a result in a batch is that of its image alone within ``NEAR``,
not to the bit. ``python scripts/gpu_minutes.py`` runs these tests first.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.batching import batched
from diffprior.catalog import names
from diffprior.priors.half import HalfPrior
from diffprior.random import Noise

from support import everything
from support.everything import Run, leaves, mover, network, rand, stay

HERE = torch.cuda.is_available()
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not HERE, reason="there is no CUDA device")]
NEAR = 1e-3  # of the largest number of a result
CHAOTIC = 3e-2  # behind many steps, which make differences grow


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Products in float32, as on the CPU: TF32 would round them to eleven bits."""
    with warnings.catch_warnings(action="ignore"):  # newer versions have another name for it
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
    yield
    with warnings.catch_warnings(action="ignore"):
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def installed() -> Iterator[None]:
    """Skip a test that needs a library which is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")


def check(run: Run, near: float = NEAR) -> None:
    with installed():
        expected, found = leaves(run(stay, 2)), leaves(run(mover("cuda"), 2))
    for got, wanted in zip(found, expected, strict=True):
        assert got.device.type == "cuda" and got.dtype == wanted.dtype
        scale = near * max([1.0, *wanted.abs().flatten().tolist()])
        torch.testing.assert_close(got.cpu(), wanted, rtol=near, atol=scale, equal_nan=True)


@pytest.mark.parametrize("name, operator", everything.pairs())
def test_methods(name: str, operator: str) -> None:
    check(everything.run_method(name, operator), CHAOTIC)


@pytest.mark.parametrize("name", everything.BEHIND)
def test_methods_behind_a_decoder(name: str) -> None:
    check(everything.run_behind(name), CHAOTIC)


@pytest.mark.parametrize("name", everything.PRIORS)
def test_priors(name: str) -> None:
    check(everything.run_prior(name), CHAOTIC if name == "half" else NEAR)


@pytest.mark.parametrize("name", names("samplers"))
def test_samplers(name: str) -> None:
    check(everything.run_sampler(name))


@pytest.mark.parametrize("name", everything.INVERSIONS)
def test_inversions(name: str) -> None:
    check(everything.run_inversion(name))


@pytest.mark.parametrize("name", everything.OPERATORS)
def test_operators(name: str) -> None:
    check(everything.run_operator(name), 1e-2)


@pytest.mark.parametrize("name", everything.LIKELIHOODS)
def test_likelihoods(name: str) -> None:
    check(everything.run_likelihood(name))


@pytest.mark.parametrize("name", everything.TASKS)
def test_tasks(name: str) -> None:
    prior = network(3)
    with installed(), warnings.catch_warnings(action="ignore"):  # the weights are random
        expected, got = (
            everything.TASKS[name](prior=copy.deepcopy(prior), dtype="float32", device=place)
            for place in ("cpu", "cuda")
        )
    for a, b in zip(leaves([got.image]), leaves([expected.image]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_streams_have_the_bits_of_the_cpu() -> None:
    shape = (3, 3, 64, 64)
    host, device = Noise(0, range(3)), Noise(0, range(3))
    for draw in ("normal", "uniform", "normal"):
        wanted = getattr(host, draw)(torch.empty(shape))
        got = getattr(device, draw)(torch.empty(shape, device="cuda"))
        assert torch.equal(got.cpu(), wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_batch_is_its_images(dtype: str) -> None:
    """Within a tolerance: half a level of 255 in float32, and of two levels in bfloat16."""
    prior = network().to("cuda")
    images = torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(48, 48)
    hole[10:30, 12:30] = 1
    together = diffprior.inpaint(images, hole, prior=prior, dtype=dtype).image
    for image, filled in zip(images, together, strict=True):
        alone = diffprior.inpaint(image, hole, prior=prior, dtype=dtype).image
        assert (alone - filled).abs().max() < (0.5 if dtype == "float32" else 2) / 255


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_no_nan(dtype: torch.dtype) -> None:
    """At every noise level, and near the float32 answer."""
    prior = diffprior.load_prior(device="cuda").for_shape((3, 64, 64))
    half = HalfPrior(prior, dtype)
    for t in torch.linspace(0, 1, 9, dtype=torch.float64):
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        x = (alpha_t * rand(2, 3, 64, 64).clamp(-1, 1) + sigma_t * rand(2, 3, 64, 64, seed=1)).to(
            "cuda"
        )
        with torch.no_grad():
            exact, got = prior(x, t), half(x, t)
        assert got.isfinite().all() and (got - exact).abs().mean() < 0.02


def test_compiled_is_eager() -> None:
    prior = network().for_shape((3, 32, 32)).to("cuda")
    compiled = copy.deepcopy(prior)
    compiled.network.compile()
    x = rand(2, 3, 32, 32).to("cuda")
    with torch.no_grad():
        wanted, got = prior(x, everything.T), compiled(x, everything.T)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_a_call_can_be_captured_in_a_graph() -> None:
    """So nothing of a call waits for the device, or copies from the host."""
    prior = network().for_shape((3, 32, 32)).to("cuda")
    x = rand(2, 3, 32, 32).to("cuda")
    with torch.no_grad():
        wanted = prior(x, everything.T)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            got = prior(x, everything.T)
        graph.replay()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_two_streams() -> None:
    """Two fills at once, each in a stream of its own, are those of one after the other."""
    prior = network().for_shape((3, 32, 32)).to("cuda")
    run = [everything.run_method(name, "mask") for name in ("ddnm", "mmps")]
    wanted = [leaves(each(mover("cuda"), 4))[0] for each in run]
    streams = [torch.cuda.Stream() for _ in run]
    got: list[Tensor] = []
    for each, stream in zip(run, streams, strict=True):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            got.append(leaves(each(mover("cuda"), 4))[0])
    torch.cuda.synchronize()
    assert prior.like.device.type == "cuda"
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    """The device has room for two rows at a time, and no more."""
    sizes: list[int] = []
    free, _ = torch.cuda.mem_get_info()

    def work(part: Tensor, noise: Noise, callback: Any) -> Tensor:
        sizes.append(len(part))
        room = torch.empty(len(part), int(0.4 * free), dtype=torch.uint8, device="cuda")
        return noise.normal(torch.empty(len(part), 4, device="cuda")) + room[:, :4] * 0

    with pytest.warns(RuntimeWarning, match="out of memory: going on with"):
        got = batched(work, Noise(0, range(8)), None, 8)
    torch.cuda.empty_cache()
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert torch.equal(got.cpu(), Noise(0, range(8)).normal(torch.empty(8, 4)))
