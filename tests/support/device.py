"""An accelerator for machines without one: its tensors hold true numbers, in the host's memory.

torch's ``FakeTensorMode`` knows what an operation on CUDA tensors may mix, on which device its
result lies, and whether it has to read the device; but its tensors have no numbers, so that code
which looks at a result stops there. Here each operation is put to ``FakeTensorMode`` first, and
then computed on the host. Operations that a GPU would refuse are refused, and the rest goes on with
the numbers that a GPU would have, up to rounding.

What would make a GPU wait is noted, with its place in the package::

    with Accelerator() as device:
        x = torch.zeros(3, device="cuda") + 1
        print(x.sum().item())
    print(device.reads)  # {"tests/...:function": 1}
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)  # it logs refusals
ROOT = Path(__file__).parents[2]
HERE = str(Path(__file__).relative_to(ROOT))
CUDA = torch.device("cuda", 0)
READS = {  # operations that return numbers to Python, so that the host waits for the device
    *("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__complex__"),
    *("equal", "allclose", "is_nonzero", "__contains__"),
}
MOVES = {"to", "cpu", "cuda", "type_as", "_to_copy"}
METADATA = {  # what is known without an operation
    *("size", "dim", "stride", "numel", "nelement", "element_size", "storage_offset"),
    *("is_contiguous", "is_floating_point", "is_complex", "__len__", "__hash__", "__format__"),
    *("untyped_storage", "data_ptr", "register_hook", "requires_grad_", "__repr__"),
    *("backward", "grad", "retain_grad", "is_same_size", "has_names", "_is_view", "dense_dim"),
    *("get_device", "result_type", "can_cast", "is_tensor", "broadcast_shapes", "split_with_sizes"),
}


def _told(name: str, answer: Any) -> Callable[..., Any]:
    """Return a function that answers the package and its tests so, and others with the truth."""
    module, _, last = name.rpartition(".")
    truth = getattr(sys.modules[module], last)

    def told(*args: Any, **kwargs: Any) -> Any:
        asked_here = _inside(sys._getframe(1).f_code.co_filename)
        return answer if asked_here else truth(*args, **kwargs)

    return told


class DeviceError(RuntimeError):
    """What a GPU would have refused."""


class OnDevice(Tensor):
    """A tensor that says it is on the accelerator."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if Accelerator.active is None:
            raise DeviceError(f"{func.__name__} of a tensor of a device that is gone")
        return Accelerator.active.call(func, args, kwargs or {})


@cache
def _inside(filename: str) -> str:
    """Return the path of a file of the repository, and nothing for another file."""
    file = Path(filename)
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else ""


def place(frame: FrameType | None) -> str:
    """Return the innermost place in the package, as ``folder/file.py:Class.function``."""
    first = ""
    while frame is not None:
        file = _inside(frame.f_code.co_filename)
        if file and file != HERE:
            name = f"{file}:{frame.f_code.co_qualname}".replace(".<locals>", "")
            if file.startswith(("diffprior/", "tasks/")):
                return name.removeprefix("diffprior/")
            first = first or name
        frame = frame.f_back
    return first


def _flat(values: Any) -> Iterator[Any]:
    """Yield the values of arguments, and of the lists in them."""
    for x in values:
        if isinstance(x, list | tuple):
            yield from _flat(x)
        else:
            yield x


class Accelerator(TorchFunctionMode):
    """A device named ``cuda`` for as long as this context is open.

    Arguments:
        kind: What ``torch.device.type`` of its tensors is.
        float64: Whether it computes in float64; MPS refuses to, as it has none.

    Attributes:
        reads: How often each place of the package made the host wait for numbers of the device.
        copies: How often each place copied numbers of the host to the device.
        waits: Of these, the copies that the host waited for.
        wide: How often each place made a tensor of float64 on the device.
    """

    active: "Accelerator | None" = None
    known: dict[Any, Any] = {}  # where the results of operations lie, as torch said before

    def __init__(self, kind: str = "cuda", float64: bool = True) -> None:
        super().__init__()
        self.device = torch.device(kind, 0)
        self.float64 = float64
        self.reads: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.wide: Counter[str] = Counter()
        self.fake = FakeTensorMode(allow_non_fake_inputs=False)
        self.stack = ExitStack()

    def __enter__(self) -> "Accelerator":
        assert Accelerator.active is None
        Accelerator.active = self
        for change in self._changes():
            self.stack.enter_context(change)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.stack.close()
        Accelerator.active = None

    def _changes(self) -> Iterator[Any]:
        """Yield what torch says of its accelerator, changed."""
        for name, answer in {
            "torch.accelerator.is_available": True,
            "torch.accelerator.current_accelerator": self.device,
            "torch.accelerator.device_count": 1,
            "torch.cuda.is_bf16_supported": True,
        }.items():
            yield patch(name, _told(name, answer))
        stream = SimpleNamespace(synchronize=lambda: None)
        yield patch("torch.cuda.current_stream", lambda *_: stream)
        autocast = torch.autocast

        def on_host(kind: str, *args: Any, **settings: Any) -> Any:
            return autocast("cpu" if kind == self.device.type else kind, *args, **settings)

        yield patch("torch.autocast", on_host)
        grad = torch.autograd.grad

        def marked(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            return self._wrapped(grad(outputs, inputs, *args, **kwargs), like=inputs)

        yield patch("torch.autograd.grad", marked)
        yield patch("torch.autograd.has_torch_function", lambda tensors: False)
        yield patch.dict(  # inside an operation tensors say where they truly are
            "torch.utils.checkpoint._allowed_determinism_checks_to_fns",
            {"default": lambda x: {"shape": x.shape, "dtype": x.dtype}},
        )
        yield _overwritten_parameters()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return self.call(func, args, kwargs or {})

    def call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Return what a function of torch returns on this machine with its accelerator."""
        name = getattr(func, "__name__", "")
        with torch._C.DisableTorchFunction():
            leaves = [*_flat(args), *_flat(kwargs.values())]
            here = any(isinstance(x, OnDevice) for x in leaves)
            named = any(self._is_this(x) for x in leaves)
            if func is torch.device:
                return func(*args, **kwargs)
            if name == "_parse_to":
                device, *rest = func(*args, **kwargs)
                return (self.device if here else device, *rest)
            if not here and not named:
                return func(*args, **_unpinned(kwargs))
            if name == "__get__" or name == "__set__":
                return self._attribute(func, name, args)
            if name == "__deepcopy__":
                return self._copied(args[0])
            if name in METADATA:
                return self._wrapped(func(*args, **kwargs))
            if name in ("numpy", "__array__"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            if name in MOVES:
                return self._moved(func, args, kwargs)
            if name in READS:
                self.reads[place(sys._getframe())] += 1
                return func(*args, **kwargs)
            return self._computed(func, args, kwargs)

    def _copied(self, x: Tensor) -> Tensor:
        out = x.detach().clone().as_subclass(OnDevice).requires_grad_(x.requires_grad)
        if getattr(x, "_is_param", False):
            out._is_param = True
        return out

    def _is_this(self, x: Any) -> bool:
        """Return whether an argument names this device."""
        if isinstance(x, str):
            return x.partition(":")[0] == self.device.type
        return isinstance(x, torch.device) and x.type == self.device.type

    def _attribute(self, func: Any, name: str, args: Any) -> Any:
        which = getattr(func.__self__, "__name__", "")
        if name == "__get__":
            known = {"device": self.device, "is_cuda": self.device.type == "cuda", "is_cpu": False}
            if which in known:
                return known[which]
            return self._wrapped(func(*args))
        if which == "data" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
            raise DeviceError("the data of a tensor cannot change their device")
        return func(*args)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return a tensor on the device that it was asked for on."""
        source = args[0]
        to_here = self._target(func, args, kwargs)
        blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[-1] is True))
        args, kwargs = tree_map(self._host, (args, kwargs))
        out = func(*args, **kwargs)
        there = isinstance(source, OnDevice)
        if there and not to_here:
            self.reads[place(sys._getframe())] += 1
            return out.as_subclass(Tensor).clone()
        if to_here and not there:
            self._note_copy(blocking)
            out = out.clone() if out is source else out
        return self._marked(out) if to_here else out

    def _target(self, func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        """Return whether a tensor is to be on this device."""
        source, *rest = args
        if func.__name__ == "cpu":
            return False
        if func.__name__ == "cuda":
            return True
        for x in (*rest, *kwargs.values()):
            if isinstance(x, Tensor):
                return isinstance(x, OnDevice)
            if self._is_this(x):
                return True
            if isinstance(x, torch.device) or x == "cpu":
                return False
        return isinstance(source, OnDevice)

    def _note_copy(self, blocking: bool) -> None:
        where = place(sys._getframe())
        self.copies[where] += 1
        if blocking:
            self.waits[where] += 1

    def _computed(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return the result of an operation, on the device that torch says it is on."""
        if func.__name__ in ("__getitem__", "__setitem__") and not isinstance(args[0], OnDevice):
            raise DeviceError("indices are on the CPU, or where the tensor is that they index")
        verdict = self._judged(func, args, kwargs)
        if verdict == "reads":
            self.reads[place(sys._getframe())] += 1
        if func.__name__ in ("tensor", "as_tensor", "copy_", "asarray", "__setitem__"):
            self._note_numbers(func, args, blocking=not kwargs.get("non_blocking"))
        if any(map(self._is_this, (*args, *kwargs.values()))):
            args, kwargs = tree_map(self._host, (args, kwargs))
        out = func(*args, **kwargs)
        return self._marked(out) if verdict else self._unmarked(out)

    def _note_numbers(self, func: Any, args: Any, blocking: bool) -> None:
        """Note numbers of the host that an operation takes to the device."""
        given = args[-1] if args else None
        if isinstance(given, OnDevice):
            return
        if isinstance(given, Tensor) and given.ndim == 0 and func.__name__ == "__setitem__":
            return
        if func.__name__ == "__setitem__" and not isinstance(given, Tensor):
            return
        self._note_copy(blocking)

    def _judged(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return whether the result is on the device, or "reads" where the host has to wait."""
        key = _signature(func, args, kwargs)
        if key in self.known:
            return self.known[key]
        try:
            self.known[key] = self._asked(func, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            self.known[key] = "reads"
        except (RuntimeError, TypeError, ValueError) as error:
            if "device" not in str(error):
                return True  # an error of its own, which the operation itself raises
            raise DeviceError(f"{func.__name__}: {error}") from None
        return self.known[key]

    def _asked(self, func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        with self.fake, torch.no_grad():
            fakes = tree_map(self._twin, (args, kwargs))
            found = func(*fakes[0], **fakes[1])
        tensors = [x for x in tree_flatten(found)[0] if isinstance(x, Tensor)]
        return any(x.device.type == "cuda" for x in tensors)

    def _twin(self, x: Any) -> Any:
        """Return the tensor without numbers, on a true name of a device."""
        if not isinstance(x, Tensor):
            return CUDA if self._is_this(x) and not isinstance(x, str) else self._named(x)
        on = CUDA if isinstance(x, OnDevice) else "cpu"
        if x.dtype.is_floating_point or x.dtype.is_complex or x.ndim or isinstance(x, OnDevice):
            return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=on)
        return torch.empty_strided((), (), dtype=x.dtype, device=on)

    def _named(self, x: Any) -> Any:
        return "cuda" if isinstance(x, str) and self._is_this(x) else x

    def _host(self, x: Any) -> Any:
        if not isinstance(x, Tensor) and self._is_this(x):
            return torch.device("cpu")
        return x

    def _marked(self, out: Any) -> Any:
        def mark(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            if x.dtype in (torch.float64, torch.complex128):
                self.wide[place(sys._getframe())] += 1
                if not self.float64:
                    raise TypeError("this device has no float64")
            return x if isinstance(x, OnDevice) else x.as_subclass(OnDevice)

        return _mapped(mark, out)

    def _unmarked(self, out: Any) -> Any:
        return tree_map(lambda x: x.as_subclass(Tensor) if isinstance(x, OnDevice) else x, out)

    def _wrapped(self, out: Any, like: Any = None) -> Any:
        """Return tensors on the device; those in a row with others where these are on it."""
        if like is not None and not any(isinstance(x, OnDevice) for x in tree_flatten(like)[0]):
            return out

        def wrap(x: Any) -> Any:
            plain = isinstance(x, Tensor) and not isinstance(x, OnDevice)
            return x.as_subclass(OnDevice) if plain else x

        return _mapped(wrap, out)


def _mapped(change: Callable[[Any], Any], out: Any) -> Any:
    """Return a result with its tensors changed; one without tensors, such as a shape, as it is."""
    if isinstance(out, Tensor):
        return change(out)
    has_tensors = any(isinstance(x, Tensor) for x in tree_flatten(out)[0])
    return tree_map(change, out) if has_tensors else out


def _unpinned(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function without pinned memory, which needs a true device."""
    return {k: v for k, v in kwargs.items() if k != "pin_memory"}


def _signature(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return what the device of the result can depend on: where tensors are, not their shape."""

    def kind(x: Any) -> Any:
        if isinstance(x, Tensor):
            return isinstance(x, OnDevice), x.ndim > 0, x.dtype
        return x if isinstance(x, torch.device | torch.dtype | str) else type(x)

    return func, tuple(kwargs), tuple(map(kind, (*_flat(args), *_flat(kwargs.values()))))


@contextmanager
def _overwritten_parameters() -> Iterator[None]:
    """Parameters of a module that moves become new ones, as they change their class."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
