"""Arithmetic on large images a few rows of pixels at a time, so that memory holds few copies.

An expression such as ``a * x + b * y`` makes a tensor of the size of the image at every step. On a
photograph of 24 megapixels each is 288 MB. Band by band the steps are small, and the result alone
is large. Each pixel has the bits that it has all at once. Small tensors, and those whose gradient
is asked for, are taken all at once.

What is finished and waits for the rest, such as the samples of a large image, lies in a file.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

__all__ = [
    "LARGE",
    "bands",
    "in_bands",
    "is_large",
    "let_go",
    "put_down",
    "rows_of",
    "stored",
    "take_up",
]

LARGE = 2**23  # elements of a batch, from which on it is taken in bands: 2.8 megapixels in color
BAND = 2**20  # elements of a band, about
MUCH = 2**27  # elements; more of what is finished lie in a file: 0.5 GB in float32

_files: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # by the address of the data


def is_large(x: Tensor) -> bool:
    """Return whether a batch is one of large images ``(B, C, H, W)``, to be taken in bands."""
    return x.ndim == 4 and x.numel() > LARGE and not _is_watched(x)


def _is_watched(x: Tensor) -> bool:
    """Return whether a gradient is asked for."""
    return x.requires_grad and torch.is_grad_enabled()


def bands(x: Tensor, grain: int = 1) -> Iterator[slice]:
    """Yield the rows of pixels of each band of images ``(B, C, H, W)``.

    Arguments:
        grain: Bands begin at multiples of this row.
    """
    height = x.shape[-2]
    rows = max(1, BAND * height // (x.numel() * grain)) * grain
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))
        let_go(x)


def in_bands(
    function: Callable[..., Tensor], *tensors: Tensor, into: Tensor | None = None
) -> Tensor:
    """Return what a function of pixels makes of images, in bands where they are large.

    Arguments:
        function: Gets as many tensors; each pixel of its result depends on this pixel of theirs.
        tensors: The first one has the height of the result; those of another height, such as
            numbers, go to the function as they are.
        into: One of them that nobody else looks at: of large images it becomes the result.
    """
    first = tensors[0]
    if not any(map(is_large, tensors)) or any(map(_is_watched, tensors)):
        return function(*tensors)
    out = into
    for rows in bands(max(tensors, key=Tensor.numel)):
        part = function(*(_cut(x, rows, first.shape[-2]) for x in tensors))
        if out is None:
            out = part.new_empty(*part.shape[:-2], first.shape[-2], part.shape[-1])
        out[..., rows, :] = part
        for x in tensors:
            let_go(x)
    assert out is not None, "an image has a row at least"
    return out


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """Return some rows of a batch, in this order; they may repeat. All of it is not copied.

    Arguments:
        index: Their numbers, on the CPU.
    """
    if len(index) == len(x) and index.tolist() == list(range(len(x))):
        return x
    rows = x[index]
    let_go(x)
    return rows


def stored(shape: Sequence[int], like: Tensor, least: int | None = None) -> Tensor:
    """Return an empty tensor for what is finished, of the dtype of another one.

    On a CPU a large one is mapped to a file without a name, in the folder for temporary files
    (TMPDIR). Where that has no room for it, it is in memory.

    Arguments:
        least: Elements from which on it lies in a file; default: ``MUCH``.
    """
    count = math.prod(shape)
    if count <= (MUCH if least is None else least) or like.device.type != "cpu":
        return like.new_empty(tuple(shape))
    try:
        mapped = _mapped(count * like.element_size())
    except OSError:
        return like.new_empty(tuple(shape))
    x = torch.frombuffer(mapped, dtype=like.dtype).reshape(tuple(shape))
    _files[x.untyped_storage().data_ptr()] = mapped
    return x


def put_down(x: Tensor) -> Tensor:
    """Return images that are not looked at for long: large ones of a CPU in a file."""
    if not is_large(x) or x.device.type != "cpu":
        return x
    out = stored(x.shape, x, least=0)
    out.copy_(x)
    let_go(out)
    return out


def take_up(x: Tensor) -> Tensor:
    """Return images that were put down; large ones of a CPU as a copy in memory."""
    if not is_large(x) or x.device.type != "cpu":
        return x
    out = x.clone()
    let_go(x)
    return out


def let_go(x: Tensor) -> None:
    """Let the memory go that holds parts of a tensor of ``stored``: the file still has them."""
    if not _files or not hasattr(mmap, "MADV_DONTNEED"):
        return
    mapped = _files.get(x.untyped_storage().data_ptr())
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def _mapped(size: int) -> mmap.mmap:
    """Return the bytes of a new file that vanishes with them.

    Raises:
        OSError: If there is no room for it.
    """
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            zeros = bytes(BAND)
            for start in range(0, size, BAND):
                file.write(zeros[: size - start])
            file.flush()
        return mmap.mmap(file.fileno(), size)


def _cut(x: Tensor, rows: slice, height: int) -> Tensor:
    return x[..., rows, :] if x.ndim >= 2 and x.shape[-2] == height else x
