"""All that computes runs on a device that is not the CPU; support/device.py says how.

Each case runs on the CPU, and then on the device: nothing mixes the two, the answer lies on the
device, and it is that of the CPU up to rounding. What makes a GPU wait, and what makes a tensor of
float64 there, is in `waits.toml`, with its reason.
"""

import copy
import tomllib
import warnings
from collections import Counter
from inspect import isabstract
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.catalog import names
from diffprior.likelihoods.base import Likelihood
from diffprior.random import Noise
from diffprior.runtime.placement import prior_cache

from support import everything, tiny
from support.device import Accelerator, DeviceError, OnDevice
from support.everything import Run, leaves, mover, stay

WAITS = tomllib.loads((Path(__file__).parent / "waits.toml").read_text())
KINDS = ("cuda", "mps")  # the second has no float64
kinds = pytest.mark.parametrize("kind", KINDS)
SEEN: dict[str, set[str]] = {name: set() for name in WAITS}


class Outcome(NamedTuple):
    """What a run came to: its tensors, and what it did to the device."""

    tensors: list[Tensor]
    reads: Counter[str]
    copies: Counter[str]
    wide: Counter[str]


def on_device(run: Run, kind: str, steps: int) -> Outcome:
    with Accelerator(kind, float64=kind != "mps") as device:
        found = leaves(run(mover(kind), steps))
        assert found and all(isinstance(x, OnDevice) for x in found), "the answer left the device"
        tensors = [x.as_subclass(Tensor).clone() for x in found]
    return Outcome(tensors, device.reads, device.copies, device.wide)


def explained(table: str, places: Counter[str]) -> None:
    """Check that each place is in a table of waits.toml."""
    SEEN[table] |= set(places)
    unknown = set(places) - set(WAITS[table])
    assert not unknown, f"{table}: {', '.join(sorted(unknown))}"


def check(run: Run, kind: str, near: float = 1e-3) -> None:
    """Check that a run on a device gives what it gives on the CPU, and what it waits for."""
    expected = leaves(run(stay, 2))
    once = on_device(run, kind, 2)
    for got, wanted in zip(once.tensors, expected, strict=True):
        assert got.dtype == wanted.dtype
        scale = near * max([1.0, *wanted.abs().flatten().tolist()])
        torch.testing.assert_close(got, wanted, rtol=near, atol=scale, equal_nan=True)
    explained("reads", once.reads)
    explained("float64", once.wide)
    if kind == "cuda":
        more = on_device(run, kind, 3)
        explained("reads_each_step", more.reads - once.reads)
        explained("copies_each_step", more.copies - once.copies)


@kinds
@pytest.mark.parametrize("name", everything.OPERATORS)
def test_operators(name: str, kind: str) -> None:
    check(everything.run_operator(name), kind, near=1e-2)


@kinds
@pytest.mark.parametrize("name", everything.LIKELIHOODS)
def test_likelihoods(name: str, kind: str) -> None:
    check(everything.run_likelihood(name), kind)


@kinds
@pytest.mark.parametrize("name", everything.PRIORS)
def test_priors(name: str, kind: str) -> None:
    check(everything.run_prior(name), kind, near=3e-2 if name == "half" else 1e-3)


@kinds
@pytest.mark.parametrize("name", names("samplers"))
def test_samplers(name: str, kind: str) -> None:
    check(everything.run_sampler(name), kind)


@kinds
@pytest.mark.parametrize("name", everything.INVERSIONS)
def test_inversions(name: str, kind: str) -> None:
    worse = kind == "mps" and name == "edict"  # divides by sigma_t in float32
    check(everything.run_inversion(name), kind, near=0.1 if worse else 1e-3)


@pytest.mark.parametrize("name, operator", everything.pairs())
def test_methods(name: str, operator: str) -> None:
    kind = "mps" if operator == "compressed" and name != "ddnm" else "cuda"
    check(everything.run_method(name, operator), kind, near=1e-2)


@pytest.mark.parametrize("name", everything.BEHIND)
def test_methods_behind_a_decoder(name: str) -> None:
    check(everything.run_behind(name), "cuda", near=1e-2)


@pytest.mark.parametrize("name", everything.TASKS)
def test_tasks(name: str) -> None:
    """With ``device="cuda"`` a task gives what it gives on the CPU, as tensors of the CPU."""
    task = everything.TASKS[name]
    prior = everything.network(3)
    with warnings.catch_warnings(action="ignore"):  # random weights explain no measurement
        expected = task(prior=prior, dtype="float32")
        with Accelerator() as device:
            got = task(prior=copy.deepcopy(prior), dtype="float32", device="cuda")
    explained("task_reads", device.reads)
    explained("float64", device.wide)
    assert got.report["device"] == "cuda:0" and expected.report["device"] == "cpu"
    for a, b in zip(leaves([got.image]), leaves([expected.image]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=5e-3)


def test_a_prompt_and_its_attention(tmp_path: Path) -> None:
    """A small Stable Diffusion, opened on the device, whose attention an edit takes part in."""
    tiny.stable_diffusion(tmp_path / "pipeline")
    settings = {"prior": tmp_path / "pipeline", "dtype": "float32", "prompt": "a dog", "steps": 2}
    edited = {"source_prompt": "a cat", "attention": "refine", **settings}
    image = everything.IMAGES[0, :, :16, :16]
    with prior_cache():
        expected = diffprior.edit(image, device="cpu", **edited).image
    with Accelerator() as device, prior_cache():
        result = diffprior.edit(image, device="cuda", **edited)
    explained("task_reads", device.reads)
    assert result.report["device"] == "cuda:0"
    torch.testing.assert_close(result.image, expected, rtol=1e-3, atol=5e-3)


def test_all_there_is_is_here() -> None:
    """A new operator, method or task joins support/everything.py."""
    here = everything
    assert set(names("operators")) - {"physics"} <= set(here.OPERATORS)  # of deepinv
    assert set(names("priors")) - {"text"} <= {name.split(",")[0] for name in here.PRIORS}
    assert set(names("tasks")) == set(here.TASKS)
    assert set(names("methods")) == {name for name, _ in here.pairs()}
    modules = [getattr(diffprior.likelihoods, name) for name in diffprior.likelihoods.__all__]
    classes = {x for x in modules if isinstance(x, type) and issubclass(x, Likelihood)}
    assert {x.__name__ for x in classes if not isabstract(x)} == set(here.LIKELIHOODS)


@pytest.mark.parametrize("table", WAITS)
def test_no_line_of_the_table_is_left_over(table: str) -> None:
    """It runs last, in the process that ran the others."""
    if not all(SEEN.values()):
        pytest.skip("only a part of this file ran")
    assert set(WAITS[table]) == SEEN[table]
    assert all(why[0].isupper() and why.endswith(".") for why in WAITS[table].values())


# The device that is none


def test_the_device_refuses_what_a_gpu_refuses() -> None:
    with Accelerator() as device:
        x = torch.ones(3, 4, device="cuda")
        with pytest.raises(DeviceError, match="two devices"):
            x + torch.ones(3, 4)
        with pytest.raises(DeviceError):
            torch.nn.functional.linear(x, torch.nn.Linear(4, 2).weight)
        with pytest.raises(DeviceError):
            torch.zeros(3)[x[:, 0] > 0]
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        assert not device.reads and not device.copies
        y = 2.0 * x + torch.tensor(1.0, dtype=torch.float64)  # a number of the host is none
        assert y.device.type == "cuda" and y.dtype == torch.float32
        assert y.sum().item() == 36 and bool((y > 0).all())
        assert len(y[y > 0]) == 12 and y.cpu().device.type == "cpu"
        assert sum(device.reads.values()) == 4
        torch.ones(3).to("cuda"), torch.ones(3).to(x), y.copy_(torch.ones(3, 4))
        assert sum(device.copies.values()) == 3
    with Accelerator("mps", float64=False), pytest.raises(TypeError, match="float64"):
        torch.ones(3, device="mps").double()


def test_streams_have_the_same_bits_everywhere() -> None:
    shape = (2, 3, 40, 40)
    plain = Noise(0, ["a", "b"])
    expected = [plain.normal(torch.empty(shape)) for _ in range(3)]
    with Accelerator() as device:
        noise, like = Noise(0, ["a", "b"]), torch.empty(shape, device="cuda")
        drawn = [noise.normal(like), noise.normal(like)]
        other = copy.deepcopy(noise)  # what is drawn ahead goes with it
        drawn += [noise.normal(like), other.normal(like)]
        for got, wanted in zip(drawn, [*expected, expected[2]], strict=True):
            assert torch.equal(got.cpu(), wanted)
    assert not device.waits, "the host waits for no copy"


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_the_device_of_this_machine_is_taken(kind: str) -> None:
    with Accelerator(kind):
        assert diffprior.runtime.placement.device_of(None).type == kind
        assert diffprior.runtime.placement.device_of("auto").type == kind
        assert diffprior.runtime.placement.device_of("cpu").type == "cpu"
