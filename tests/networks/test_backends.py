"""Backends: OpenVINO against torch."""

import copy
import pickle
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.errors import ExtraError, SettingError
from diffprior.evaluation.datasets import load
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.dps import DPS
from diffprior.networks.backends import OpenVINONetwork
from diffprior.networks.mlp import MLP
from diffprior.networks.nafunet import NAFUNet
from diffprior.networks.parameterizations import Karras
from diffprior.operators.generators.masks import draw
from diffprior.operators.identity import Identity
from diffprior.priors.half import HalfPrior
from diffprior.priors.network import NetworkPrior
from diffprior.samplers.ddim import DDIM

from support import command

TIME = torch.tensor(0.3, dtype=torch.float64)


def need_openvino() -> None:
    """Skip where OpenVINO is not installed, without importing it."""
    if find_spec("openvino") is None:
        pytest.skip("needs the extra openvino")


@pytest.fixture(scope="module")
def prior() -> NetworkPrior:
    """A tiny network with classes and random weights, computed by torch."""
    torch.manual_seed(0)
    network = NAFUNet((8, 12), (1, 1), embedding=16, classes=3, size=16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return NetworkPrior.of(network)


@pytest.fixture(scope="module")
def fast(prior: NetworkPrior) -> NetworkPrior:
    """The same, computed by OpenVINO; its slow number format is known to the tests."""
    need_openvino()
    made = prior.with_backend("openvino")
    assert isinstance(made, NetworkPrior)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made(torch.zeros(1, 3, 16, 16), TIME)
    return made


def error(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


def test_images_of_any_size_and_classes_are_those_of_torch(
    prior: NetworkPrior, fast: NetworkPrior
) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for size in ((16, 16), (21, 40)):
            x = torch.randn(2, 3, *size)
            assert error(fast(x, TIME), prior(x, TIME)) < 1e-5
        one = fast.for_label(1)(x, TIME)
        assert error(one, prior.for_label(1)(x, TIME)) < 1e-5
        assert error(one, prior.for_label(2)(x, TIME)) > 1e-2


def test_in_bfloat16_rows_alone_are_the_batch_to_the_bit_on_any_threads(
    prior: NetworkPrior, fast: NetworkPrior
) -> None:
    torch.manual_seed(2)
    half, x = HalfPrior(fast), torch.randn(3, 3, 24, 16)
    threads = torch.get_num_threads()
    with torch.no_grad():
        batch = half(x, TIME)
        assert error(batch, prior(x, TIME)) < 0.02
        half(torch.randn(1, 3, 40, 40), TIME)
        assert torch.equal(batch, torch.cat([half(row[None], TIME) for row in x]))
        assert torch.equal(batch[1:2], fast_of(fast)(x[1:2], TIME))  # converted anew
        try:
            torch.set_num_threads(threads + 1)
            assert torch.equal(batch, half(x, TIME))
        finally:
            torch.set_num_threads(threads)


def fast_of(prior: NetworkPrior) -> HalfPrior:
    """Return a prior with a copy of the network, which shares no compiled model."""
    network = copy.deepcopy(prior.with_backend("torch"))
    return HalfPrior(network.with_backend("openvino"))


def test_derivatives_are_those_of_torch_and_said_once(
    prior: NetworkPrior, fast: NetworkPrior
) -> None:
    y = torch.full((1, 3, 16, 16), 0.2)
    method = DPS(sampler=DDIM(steps=2))
    known = GaussianLikelihood(y=y, operator=Identity(), sigma=0.1)
    with pytest.warns(UserWarning, match="torch computes these calls") as said:
        got = method(fast, known, 1, 0)
        method(fast, known, 1, 0)
    assert len(said) == 1
    torch.testing.assert_close(got, method(prior, known, 1, 0))


def test_a_prior_says_its_backend_and_goes_back(prior: NetworkPrior, fast: NetworkPrior) -> None:
    assert (prior.backend, fast.backend, HalfPrior(fast).backend) == ("torch", *["openvino"] * 2)
    assert fast.with_backend("openvino").backend == "openvino"
    assert fast.with_backend("torch").network is prior.network  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(fast))
    assert again.backend == "openvino" and isinstance(again.network, OpenVINONetwork)


def test_a_folder_of_a_fast_prior_is_that_of_torch(
    fast: NetworkPrior, prior: NetworkPrior, tmp_path: Path
) -> None:
    fast.save_pretrained(tmp_path / "fast")
    prior.save_pretrained(tmp_path / "plain")
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "fast" / file.name).read_bytes() == file.read_bytes()


def test_a_fill_by_the_shipped_prior_is_that_of_torch_within_0_05_db() -> None:
    need_openvino()
    truth = load(Path("data/samples/dog.png"), 96)[..., :64, :64].contiguous()
    hole = draw("strokes", 64, 64, 0)[None]
    call = {"fill": "smooth", "steps": 4, "dtype": "bfloat16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a CPU that has no bfloat16
        fast = [
            diffprior.inpaint(truth * ~hole, hole, backend="openvino", **call) for _ in range(2)
        ]
    plain = diffprior.inpaint(truth * ~hole, hole, **call)
    assert torch.equal(fast[0].image, fast[1].image)
    assert (plain.report["backend"], fast[0].report["backend"]) == ("torch", "openvino")
    psnr = [metrics.psnr(2 * r.image - 1, 2 * truth - 1, hole).item() for r in (plain, fast[0])]
    assert abs(psnr[1] - psnr[0]) < 0.05


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("abacus", "no backend 'abacus'; there are torch and openvino"),
        ("openvino", "computes a NAFUNet, such as that of the shipped priors, and this "),
    ],
)
def test_another_backend_or_network_is_refused(asked: str, said: str) -> None:
    prior = NetworkPrior(MLP(), Karras(sigma_data=0.5), (2,))
    with pytest.raises(SettingError, match=said) as refused:
        prior.with_backend(asked)
    assert len(str(refused.value)) < 300
    assert prior.with_backend("torch").backend == "torch"


def test_other_devices_and_number_formats_are_refused(fast: NetworkPrior) -> None:
    with pytest.raises(SettingError, match="on the device cpu, got float32 on meta"):
        fast.with_backend("torch").to("meta").with_backend("openvino")
    with pytest.raises(SettingError, match="float32 or bfloat16, not in float16"), torch.no_grad():
        HalfPrior(fast, torch.float16)(torch.zeros(1, 3, 16, 16), TIME)


def test_no_use_is_reported(fast: NetworkPrior) -> None:
    assert fast.backend == "openvino" and "openvino_telemetry" not in sys.modules


def test_without_its_package_it_says_how_to_install_it(
    prior: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExtraError, match=r"pip install 'diffprior\[openvino\]'"):
        prior.with_backend("openvino")


ADVICE = "pip install 'diffprior[openvino]'"
DENOISE = ("denoise", "photo.png", "photo.png", "--sigma", "0.1", "-o", "results/")


@pytest.mark.parametrize(
    ("words", "backend", "said"),
    [
        (DENOISE, "abacus", "no backend 'abacus'"),
        (DENOISE, "openvino", ADVICE),
        (("score", "photo.png"), "abacus", "no backend 'abacus'"),
        (("score", "photo.png"), "openvino", ADVICE),
        (("bench", "data", "out", "--method", "ddnm"), "abacus", "no backend 'abacus'"),
    ],
)
def test_commands_say_what_is_missing(
    words: tuple[str, ...],
    backend: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    Image.new("RGB", (16, 16), "gray").save("photo.png")
    ended = command.run(monkeypatch, capsys, *words, "--backend", backend)
    assert ended.code == 2 and len(ended.said) == 1 and said in ended.said[0], ended
