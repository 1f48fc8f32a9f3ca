"""Backends: what computes a network. That is torch, or OpenVINO on a CPU, an optional package.

OpenVINO runs the layers of a network on one another's output while it is in the cache of a core.
https://docs.openvino.ai
"""

import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import ExtraError, SettingError
from ..validation import literal, warn
from .nafunet import NAFUNet

__all__ = ["BACKENDS", "OpenVINONetwork", "check_backend", "in_torch", "on_openvino"]

BACKENDS = ("torch", "openvino")
KEPT = 4  # compiled models of one network, the last ones that were used
PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
SLOW = (
    "the backend openvino computes in float32 here, in which it is slower than torch: it is faster "
    "in bfloat16, on a CPU with AMX or AVX-512 BF16 (--dtype bfloat16)"
)
DERIVED = (
    "this asks for derivatives of the network, and torch computes these calls: the backend "
    "openvino computes only calls without derivatives"
)


def check_backend(name: str) -> str:
    """Return the name of a backend.

    Raises:
        SettingError: If there is no such backend.
    """
    if name not in BACKENDS:
        raise SettingError(f"no backend {literal(name, 40)}; there are {' and '.join(BACKENDS)}")
    return name


def in_torch(network: nn.Module) -> nn.Module:
    """Return the network of torch that a backend computes, or a network of torch as it is."""
    return network.network if isinstance(network, OpenVINONetwork) else network


def on_openvino(network: nn.Module) -> "OpenVINONetwork":
    """Return a network that OpenVINO computes.

    Raises:
        ExtraError: If OpenVINO is not installed.
        SettingError: If the network is no NAFUNet, or is not in float32 on a CPU.
    """
    if isinstance(network, OpenVINONetwork):
        return network
    if not isinstance(network, NAFUNet):  # OpenVINO 2026.4 ends the process on a UNet
        raise SettingError(
            "the backend openvino computes a NAFUNet, such as that of the shipped priors, and this "
            f"network is a {type(network).__name__}: use the backend torch"
        )
    _openvino()
    _check_input(next(network.parameters()))
    return OpenVINONetwork(network)


class OpenVINONetwork(nn.Module):
    """A NAFUNet, computed by OpenVINO where no derivative is asked.

    A call in which torch records derivatives is computed by torch, and the first one says so. The
    number format is that of torch.autocast, float32 without; the threads are as many as those of
    torch. The result of a row is the same to the bit in every batch and on any number of threads.

    The first call converts the network, and the first one of each size compiles it for images of
    this size, which makes a call faster by a seventh or more. Weights that change later have no
    effect.

    Arguments:
        network: The network, in float32 on a CPU.
    """

    def __init__(self, network: NAFUNet) -> None:
        super().__init__()
        self.network = network
        self.local = network.local

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of the network, in float32."""
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            _models(self.network).say(DERIVED)
            out: Tensor = self.network(*inputs)
            return out
        _check_input(inputs[0])
        rows = zip(*(torch.split(x, 1) for x in inputs), strict=True)
        return torch.cat([_models(self.network)(self.network, row) for row in rows])


class _Models:
    """The compiled models of a network, and what has been said about them."""

    def __init__(self) -> None:
        self._converted: dict[int, Any] = {}  # by number of inputs: with classes or without
        self._compiled: OrderedDict[tuple[Any, ...], Callable[..., Any]] = OrderedDict()
        self._said: set[str] = set()
        self._lock = Lock()  # a compiled model answers one call at a time

    def __call__(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the output for inputs of one row each."""
        half = torch.is_autocast_enabled("cpu")
        precision = _precision(torch.get_autocast_dtype("cpu") if half else torch.float32)
        if precision == "f32":
            self.say(SLOW)
        key = precision, torch.get_num_threads(), len(inputs), inputs[0].shape
        with self._lock:
            if key not in self._compiled:
                if len(inputs) not in self._converted:
                    self._converted[len(inputs)] = _convert(network, inputs)
                model = self._converted[len(inputs)].clone()
                model.reshape({i: [*x.shape] for i, x in enumerate(inputs)})
                self._compiled[key] = _compile(model, precision)
            self._compiled.move_to_end(key)
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            out = self._compiled[key]([x.detach().contiguous().numpy() for x in inputs])[0]
            return torch.from_numpy(out.copy())  # the model writes its next answer to the same

    def say(self, message: str) -> None:
        """Warn, once for a network."""
        if message not in self._said:
            self._said.add(message)
            warn(message)


_known: WeakKeyDictionary[nn.Module, _Models] = WeakKeyDictionary()


def _models(network: nn.Module) -> _Models:
    """Return the compiled models of a network, which all priors that share it use."""
    return _known.setdefault(network, _Models())


def _openvino() -> Any:
    """Return the package, which is imported without the part that reports its use to its maker."""
    known = sys.modules.get("openvino")
    if known is not None:
        return known
    reports = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = cast(Any, None)  # as if it were not installed
    try:
        return import_module("openvino")
    except ImportError as error:
        raise ExtraError(
            "the backend openvino needs a package: pip install 'diffprior[openvino]'"
        ) from error
    finally:
        del sys.modules["openvino_telemetry"]
        if reports is not None:
            sys.modules["openvino_telemetry"] = reports


def _check_input(x: Tensor) -> None:
    """Refuse what OpenVINO does not compute here."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        kind = str(x.dtype).removeprefix("torch.")
        raise SettingError(
            "the backend openvino computes networks with float32 weights on the device cpu, got "
            f"{kind} on {x.device}; the backend torch takes any"
        )


def _precision(dtype: torch.dtype) -> str:
    """Return the number format of a compiled model; float32 where the CPU has no other."""
    if dtype not in PRECISIONS:
        kind = str(dtype).removeprefix("torch.")
        raise SettingError(
            f"the backend openvino computes in float32 or bfloat16, not in {kind}: set dtype"
        )
    has = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return PRECISIONS[dtype] if "BF16" in has else "f32"


def _convert(network: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Return a network as a model of OpenVINO for images of any size."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer of torch, the one that OpenVINO reads
        traced = torch.jit.trace(network, inputs, check_trace=False)  # type: ignore[no-untyped-call]
        return _openvino().convert_model(traced, example_input=inputs)


def _compile(model: Any, precision: str) -> Callable[..., Any]:
    """Return a model as a function of arrays, on as many threads as torch has now."""
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,  # processes that share cores would all take the first ones
    }
    compiled: Callable[..., Any] = _openvino().Core().compile_model(model, "CPU", settings)
    return compiled
