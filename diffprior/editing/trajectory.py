"""Inversions of images, and their files: a code, with what it takes to read it back."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .. import __version__, bands
from ..catalog import build, spell
from ..errors import ImageError, SettingError
from ..inversions.base import Code, Inversion
from ..io.arrays import Images, digest
from ..runtime.results import Result

__all__ = ["ADDED", "LAST", "SUFFIX", "InversionResult", "Trajectory"]

SUFFIX = ".safetensors"
FORMAT = "diffprior inversion 1"
LAST = "_T"  # ends the names of last states
ADDED = ("lora", "lora_scale", "controlnet", "control")  # in the report of its prior


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The code of an image, and how it was made.

    Attributes:
        inversion: The inversion that made it.
        code: The tensors. Those of every step (noises, corrections, texts) are in half precision;
            the last states, whose names end in _T, are in float32.
        prior: Name of the prior.
        sha256: SHA-256 of the prior's weights; None where it has none.
        condition: Condition of the image: any of prompt, negative, label, guidance.
        size: Size ``(H, W)`` of the image in pixels.
        picture: SHA-256 of the image, see ``diffprior.io.arrays.digest``.
        added: What was added to the prior, of ``ADDED``: names of weights, the LoRA scale, the
            hash of the control image.
    """

    inversion: Inversion
    code: Code
    prior: str
    sha256: str | None
    condition: dict[str, Any]
    size: tuple[int, int]
    picture: str
    added: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        short = {k: v if k.endswith(LAST) else v.half() for k, v in self.code.items()}
        object.__setattr__(self, "code", short)

    def data(self) -> bytes:
        """Return the bytes of the file."""
        tensors = {k: v.cpu().contiguous() for k, v in self.code.items()}
        return save(tensors, {"format": FORMAT, "notes": self._notes()})

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes of a file that says the same, those of a large tensor in parts."""
        if sum(v.numel() for v in self.code.values()) <= bands.MUCH:
            yield self.data()
            return
        head: dict[str, Any] = {"__metadata__": {"format": FORMAT, "notes": self._notes()}}
        end = 0
        for name, v in self.code.items():
            start, end = end, end + v.numel() * v.element_size()
            head[name] = {
                "dtype": f"F{8 * v.element_size()}",
                "shape": list(v.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % 8)
        yield len(text).to_bytes(8, "little") + text
        for v in self.code.values():
            for part in torch.split(v.cpu().contiguous().flatten(), bands.BAND):
                yield part.numpy().tobytes()
                bands.let_go(v)

    def _notes(self) -> str:
        notes = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "code"}
        return json.dumps(notes | {"inversion": spell(self.inversion), "diffprior": __version__})

    @classmethod
    def read(cls, file: str | Path) -> Self:
        """Open a file.

        Raises:
            SettingError: If it is none of an inversion, or of another version.
        """
        try:
            with safe_open(file, "pt") as data:
                metadata = data.metadata() or {}
                names = data.keys()
                much = [k for k in names if math.prod(data.get_slice(k).get_shape()) > bands.MUCH]
                code = {k: data.get_tensor(k) for k in names if k not in much}
            code |= {k: _copied(file, k) for k in much}
        except OSError as error:
            raise SettingError(f"{file} cannot be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise SettingError(f"{file} is damaged, or no safetensors file ({error})") from error
        if metadata.get("format") != FORMAT:
            raise SettingError(
                f"{file} is no inversion that this version reads ({FORMAT!r}); of itself it says "
                f"{metadata.get('format', 'nothing')!r}"
            )
        notes = json.loads(metadata["notes"])
        del notes["diffprior"]
        inversion = build(notes.pop("inversion"), ("inversions",))
        return cls(inversion=inversion, code=code, **notes | {"size": tuple(notes["size"])})

    def check(self, report: dict[str, Any], images: Images | None) -> None:
        """Refuse another prior or another image than those of the inversion.

        Arguments:
            report: The first keys of a report, which name the prior.
            images: The image; None where the file alone is in use.
        """
        own = (self.prior, self.sha256)
        other = (report["prior"], report["prior_sha256"])
        if self.sha256 != other[1] or (self.sha256 is None and own != other):
            raise SettingError(
                f"this inversion was made with the prior {_called(*own, self.added)}, "
                f"and no other can read it; got {_called(*other, report)}"
            )
        scale, got = (added.get("lora_scale", 1.0) for added in (self.added, report))
        if scale != got:
            raise SettingError(f"this inversion was made with lora_scale={scale}, and got {got}")
        if (control := self.added.get("control")) != report.get("control"):
            condition = (
                "with a control image: give the same" if control else "without a control image"
            )
            raise ImageError(f"this inversion was made {condition}")
        if images is not None and images.size != self.size:
            h, w = self.size
            height, width = images.size
            raise ImageError(f"this inversion is of an image of {w}x{h}; got {width}x{height}")
        if images is not None and digest(images) != self.picture:
            raise ImageError("this inversion is of another image of the same size")


@dataclass(frozen=True, kw_only=True, repr=False)
class InversionResult(Result[Any]):
    """The result of ``invert``.

    Attributes:
        image: The image after inversion and back.
        trajectory: The inversion, which ``edit`` takes.
    """

    trajectory: Trajectory

    def data(self) -> bytes:
        """Return the bytes of the trajectory's file."""
        return self.trajectory.data()


def _copied(file: str | Path, name: str) -> Tensor:
    """Return a large tensor of a file, which lies in another one, step by step."""
    with safe_open(file, "pt") as data:
        shape = data.get_slice(name).get_shape()
        first = data.get_slice(name)[:, :1]
    out = bands.stored(shape, first)
    for i in range(shape[1]):
        with safe_open(file, "pt") as data:  # opened anew: what was read is held until it closes
            out[:, i] = data.get_slice(name)[:, i]
        bands.let_go(out)
    return out


def _called(name: str, sha256: str | None, added: dict[str, Any]) -> str:
    more = "".join(f" with {k} {added[k]}" for k in ("lora", "controlnet") if k in added)
    return f"{name}{more} (sha256 {sha256[:12]})" if sha256 else f"{name}{more}"
