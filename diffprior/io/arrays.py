"""Images and arrays to tensors in [-1, 1], and back. No other module converts ranges."""

__all__ = [
    "LUMA",
    "ImageError",
    "Images",
    "as_images",
    "as_rgb",
    "as_stored",
    "digest",
    "is_lossy",
    "pil_array",
    "to_pil",
    "upright",
]

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import EllipsisType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike
from PIL import Image
from torch import Tensor

from ..bands import let_go
from ..errors import ImageError
from . import exif

LUMA = (0.299, 0.587, 0.114)  # the weights of R, G and B in ITU-R BT.601
INVISIBLE = 2 / 255  # of full opacity, and less
LEAST_SIDE = 32  # px; of a part of an image that says how noisy it is
SLACK = 1e-6  # how far rounding may take a float past [0, 1], as an FFT or a resize does
BAND = 2**20  # pixels that are blended at a time

# EXIF orientations whose rows and columns are swapped, and which axes are reversed after that.
TRANSPOSED = (5, 6, 7, 8)
UPSIDE_DOWN = (3, 4, 7, 8)
MIRRORED = (2, 3, 6, 7)
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")  # formats, by Pillow's names

Pixels = TypeVar("Pixels", np.ndarray, Tensor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """A batch of images of one size, with their original values.

    Arguments:
        values: Gray or RGB values of shape ``(B, H, W, C)`` with C = 1 or 3: uint8, uint16 (full
            range), or float32 or float64 in [0, 1].
        alpha: The opacity of shape ``(B, H, W)`` in the same dtype, or None.
        rebuild: A function of values (of any size and C) and alpha that returns an object of the
            original kind. If the original had an alpha, None stands for opaque; if it had none,
            alpha is ignored.
        orientation: The EXIF orientation that the original had before it was turned upright, from
            1 (upright as it is) to 8.
        lossy: Whether the original was compressed with loss, as JPEG is.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    rebuild: Callable[[np.ndarray, np.ndarray | None], Any]
    orientation: int = 1
    lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """The size ``(H, W)`` in pixels."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def level(self) -> float:
        """One level of 8 bits, in the unit of the values."""
        return _top(self.values.dtype) / 255

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Sequence[int]) -> "Images":
        """Return some images of the batch, in this order."""
        alpha = None if self.alpha is None else self.alpha[rows]
        return replace(self, values=self.values[rows], alpha=alpha)

    def tensor(self) -> Tensor:
        """Return the images as float32 ``(B, 3, H, W)`` in [-1, 1]; gray is repeated.

        The colors of invisible pixels mean nothing: those of the nearest visible ones stand there.
        """
        lost = None if self.alpha is None else _invisible(self.alpha)
        values = self.values if lost is None or not lost.any() else _extended(self.values, lost)
        height, width = self.size
        out = np.empty((len(self), 3, height, width), np.float32)
        for rows in _bands(height, width):  # all at once would take several times the image
            x = _unit(values[:, rows]).astype(np.float32, copy=False)
            x *= 2
            x -= 1
            out[:, :, rows] = np.moveaxis(x, -1, 1)
        return torch.from_numpy(out)

    def holes(self) -> Tensor | None:
        """Return 1 - alpha as float32 ``(B, 1, H, W)`` in [0, 1], or None if all is opaque."""
        if self.alpha is None or (self.alpha == _top(self.alpha.dtype)).all():
            return None
        return torch.from_numpy(1 - _unit(self.alpha[:, None]).astype(np.float32))

    def invisible(self) -> Tensor:
        """Return where nothing of the images is seen, bool ``(B, 1, H, W)``."""
        if self.alpha is None:
            return torch.zeros(len(self), 1, *self.size, dtype=torch.bool)
        return torch.from_numpy(_invisible(self.alpha)[:, None])

    def opaque_part(self, i: int) -> "Images":
        """Return the largest square of image i that is all visible, and that without its alpha.

        Of an image that hides nothing, or has no such square of ``LEAST_SIDE`` pixels, it is the
        whole.
        """
        import cv2  # takes long to import, and few images need it

        hidden = self.invisible()[i, 0].numpy()
        framed = np.pad(~hidden, 1).astype(np.uint8)
        reach = cv2.distanceTransform(framed, cv2.DIST_C, cv2.DIST_MASK_3)[1:-1, 1:-1]
        row, column = divmod(int(reach.argmax()), hidden.shape[1])
        half = int(reach[row, column]) - 1
        whole = (slice(0, n) for n in hidden.shape)
        square = (slice(at - half, at + half) for at in (row, column))  # wavelets fit even sides
        rows, columns = square if hidden.any() and 2 * half >= LEAST_SIDE else whole
        return replace(self, values=self.values[i : i + 1, rows, columns], alpha=None)

    def opacity(self, size: Sequence[int]) -> np.ndarray | None:
        """Return alpha at a size ``(H, W)``, or None if there is none."""
        if self.alpha is None or tuple(size) == self.size:
            return self.alpha
        import cv2  # takes long to import, and few images need it

        return np.stack([cv2.resize(a, (size[1], size[0])) for a in self.alpha])

    def blend(self, x: Tensor, mask: Tensor | None = None, clip: bool = False) -> np.ndarray:
        """Return the values with x blended over them, in their own dtype, ``(B', H, W, C)``.

        Arguments:
            x: New images ``(B', 3, H, W)`` in [-1, 1], clipped. B' = B * n: first the n fillings
                of the first image, then those of the second. Gray images take the BT.601 luma.
            mask: The weight of x, ``(1 or B or B', 1, H, W)`` in [0, 1]. Where it is 0 the values
                stay bit for bit; where it is 1 they are those of x. None is 1 everywhere, and then
                x may have any size.
            clip: Whether infinity is clipped as other values are.

        Raises:
            ImageError: If x holds NaN or infinity where its weight is not 0.
            ValueError: If B' is no multiple of B.
        """
        if len(x) % len(self) or not len(x):
            raise ValueError(f"{len(x)} fillings cannot be shared out to {len(self)} images")
        height, width = x.shape[-2:]
        count, channels = len(x), self.values.shape[-1]
        out = np.empty((count, height, width, channels), self.values.dtype)
        for rows in _bands(height, width):
            part = x[..., rows, :]
            part = part.clamp(-1, 1) if clip else part
            weight = None if mask is None else mask[..., rows, :]
            out[:, rows] = self._blend_band(part, weight, rows)
            let_go(x)
        return out

    def _blend_band(self, x: Tensor, mask: Tensor | None, rows: slice) -> np.ndarray:
        """Return some rows of `blend`; all at once would take several times the image."""
        work = np.result_type(self.values, np.float32)
        dtype = self.values.dtype
        m = _channels_last(torch.ones_like(x[:, :1]) if mask is None else mask, work)
        m = np.repeat(m, len(x) // len(m), axis=0)
        fill = np.where(m > 0, _channels_last(x, work), 0)
        if not np.isfinite(fill).all():
            raise ImageError("the filling holds NaN or infinity")
        unit = np.clip(((_luma(fill) if self.values.shape[-1] == 1 else fill) + 1) / 2, 0, 1)
        if mask is None:
            return _scaled(unit, dtype)
        kept = np.repeat(self.values[:, rows], len(x) // len(self), axis=0)
        return np.where(m > 0, _scaled((1 - m) * _unit(kept) + m * unit, dtype), kept)

    def restore_kind(
        self, values: np.ndarray, alpha: np.ndarray | EllipsisType | None = ...
    ) -> Any:
        """Return an object of the original kind with other values and alpha (None is opaque)."""
        return self.rebuild(values, self.alpha if isinstance(alpha, EllipsisType) else alpha)


def as_images(image: Any, what: str = "image") -> Images:
    """Return an image, or a batch of images, as `Images`.

    ``Images.restore_kind`` returns the same kind, dtype, number of axes and device. There are two
    exceptions: bool becomes uint8, and a PIL image becomes L, LA, RGB, RGBA, I;16 or F, with 8 bits
    where PIL has no deeper mode.

    Arguments:
        image: One of

            - `Images`, which are returned as they are;
            - a PIL image of any mode, which is turned upright by its EXIF orientation;
            - a numpy array ``(H, W)`` or ``(H, W, C)`` with C = 1 (gray), 2 (gray, alpha), 3 (RGB)
              or 4 (RGB, alpha), of bool, uint8, uint16, or float32 or float64 in [0, 1];
            - a tensor ``(C, H, W)`` or ``(B, C, H, W)`` with C = 1, 3 or 4, of the same dtypes or
              of half precision.
        what: What it is, for the messages.

    Raises:
        ImageError: If it is none of these, is empty, holds NaN, or leaves its range.
    """
    return image if isinstance(image, Images) else _as_images(image, what)


def to_pil(x: Tensor) -> Image.Image:
    """Return x ``(3, H, W)``, clipped to [-1, 1], as an 8-bit RGB image."""
    return Image.fromarray(_scaled((_channels_last(x[None], np.float32)[0] + 1) / 2))


def _as_images(image: Any, what: str) -> Images:
    if isinstance(image, Image.Image):
        icc = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
        try:
            array = pil_array(image)  # which turns a TIFF upright by itself
        except Exception as error:  # decoders raise anything on damaged data
            raise ImageError(f"the {what} cannot be read: {error}") from error
        turn = exif.of_image(image)
        return replace(
            _split(upright(array, turn, axes=(0, 1)), what, partial(_pil_image, icc)),
            orientation=turn,
            lossy=is_lossy(image),
        )
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)):
            raise _shape_error(image.shape, what, "(H, W) or (H, W, C) with C = 1 to 4")
        flat = image.ndim == 2
        return _split(image, what, lambda a: a[0, ..., 0] if flat and a.shape[-1] == 1 else a[0])
    if isinstance(image, Tensor):
        return _from_torch(image, what)
    kind = type(image).__name__
    raise ImageError(f"a {kind} is no {what}; give a PIL image, a numpy array or a torch tensor")


def pil_array(image: Image.Image) -> np.ndarray:
    """Return the values of a PIL image as it is stored, ``(H, W)`` or ``(H, W, C)``."""
    if image.mode[0] not in "IF":
        colors = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        mode = f"{colors}A" if image.has_transparency_data else colors
        return np.asarray(image if image.mode == mode else image.convert(mode))
    array = np.asarray(image)
    clear = image.info.get("transparency")
    if array.dtype.kind == "i" and array.min(initial=0) >= 0 and array.max(initial=0) <= 65535:
        array = array.astype(np.uint16)
    if array.dtype.kind != "u" or clear is None:
        return array
    return np.stack([array, np.where(array == clear, 0, 65535).astype(np.uint16)], axis=-1)


def _pil_image(icc: bytes | None, batch: np.ndarray) -> Image.Image:
    image = Image.fromarray(batch[0, ..., 0] if batch.shape[-1] == 1 else _scaled(_unit(batch[0])))
    image.info.update({} if icc is None else {"icc_profile": icc})
    return image


def _from_torch(x: Tensor, what: str) -> Images:
    if x.ndim not in (3, 4) or x.shape[-3] not in (1, 3, 4):
        raise _shape_error(x.shape, what, "(C, H, W) or (B, C, H, W) with C = 1, 3 or 4")
    ndim = x.ndim
    device = x.device
    dtype = torch.uint8 if x.dtype == torch.bool else x.dtype
    x = (x.float() if dtype in (torch.float16, torch.bfloat16) else x).detach().cpu()

    def restore(batch: np.ndarray) -> Tensor:
        y = torch.from_numpy(_channels_first(batch)).to(device, dtype)
        return y if ndim == 4 else y[0]

    return _split((x if ndim == 4 else x[None]).movedim(1, -1).numpy(), what, restore)


def _split(array: np.ndarray, what: str, restore: Callable[[np.ndarray], Any]) -> Images:
    full = _checked(array if array.ndim == 4 else np.atleast_3d(array)[None], what)
    if full.shape[-1] % 2:
        return Images(values=full, alpha=None, rebuild=lambda values, alpha: restore(values))

    def rebuild(values: np.ndarray, alpha: np.ndarray | None) -> Any:
        a = np.full(values.shape[:3], _top(values.dtype), values.dtype) if alpha is None else alpha
        return restore(np.concatenate([values, a[..., None]], axis=-1))

    return Images(values=full[..., :-1], alpha=full[..., -1], rebuild=rebuild)


def _checked(array: np.ndarray, what: str) -> np.ndarray:
    native = array.dtype.newbyteorder("=")
    if array.size == 0:
        raise ImageError(f"the {what} holds no pixels; give at least one")
    if native == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if native not in (np.uint8, np.uint16, np.float32, np.float64):
        raise ImageError(f"the {what} holds {native}; give uint8, uint16, float32 or float64")
    if native.kind != "f":
        return array.astype(native, copy=False)
    if not np.isfinite(array).all():
        raise ImageError(f"the {what} holds NaN or infinity; give numbers in [0, 1]")
    low, high = array.min(), array.max()
    if 0 <= low <= high <= 1:
        return array.astype(native, copy=False)
    if low < -SLACK or high > 1 + SLACK:
        raise ImageError(f"the {what} holds floats from {low:g} to {high:g}; give them in [0, 1]")
    return array.astype(native).clip(0, 1)


def _shape_error(shape: Sequence[int], what: str, accepted: str) -> ImageError:
    return ImageError(f"the {what} has the shape {tuple(shape)}; give {accepted}")


def _top(dtype: np.dtype) -> int:
    """Return the value of white in a dtype."""
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _unit(array: np.ndarray) -> np.ndarray:
    """Return values as floats in [0, 1]."""
    unit: np.ndarray = np.divide(array, _top(array.dtype), dtype=np.result_type(array, np.float32))
    return unit


def _scaled(unit: np.ndarray, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """Return floats, clipped to [0, 1], as values of a dtype."""
    top = _top(np.dtype(dtype))
    clipped: np.ndarray = np.clip(unit, 0, 1)
    return (clipped if top == 1 else np.rint(top * clipped)).astype(dtype)


def _invisible(alpha: np.ndarray) -> np.ndarray:
    """Return where an opacity is that of nothing, or of a last trace without a color."""
    return np.asarray(alpha <= INVISIBLE * _top(alpha.dtype))


def _extended(values: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return values ``(B, H, W, C)`` with those of the nearest known pixel where ``lost`` is."""
    import cv2  # takes long to import, and few images need it

    out = values.copy()
    for image, hole in zip(out, lost, strict=True):
        if not hole.any() or hole.all():
            continue
        _, nearest = cv2.distanceTransformWithLabels(
            hole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        colors = np.zeros((nearest.max() + 1, image.shape[-1]), image.dtype)
        colors[nearest[~hole]] = image[~hole]
        image[hole] = colors[nearest[hole]]
    return out


def _luma(x: np.ndarray) -> np.ndarray:
    """Return the luma, in an order of operations that returns grays bit for bit."""
    r = x[..., :1]
    g = x[..., x.shape[-1] // 2, None]
    b = x[..., -1:]
    red, _, blue = LUMA
    return np.asarray(g + red * (r - g) + blue * (b - g))


def _bands(height: int, width: int) -> list[slice]:
    """Return the rows of bands of an image."""
    step = max(1, BAND // width)
    return [slice(top, top + step) for top in range(0, height, step)]


def _channels_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def _channels_last(x: Tensor, dtype: DTypeLike) -> np.ndarray:
    plain = x.detach().cpu() if x.dtype == torch.float64 else x.detach().cpu().float()
    return np.moveaxis(plain.numpy(), 1, -1).astype(dtype, copy=False)


def digest(images: Images) -> str:
    """Return the SHA-256 of the values of images, with their dtype and shape."""
    head = f"{images.values.dtype.str} {images.values.shape} ".encode()
    return hashlib.sha256(head + images.values.tobytes()).hexdigest()


def as_rgb(images: Images) -> Images:
    """Return images with three channels each, so that results are in color."""
    repeats = 3 // images.values.shape[-1]
    return replace(images, values=np.repeat(images.values, repeats, axis=-1))


def is_lossy(image: Image.Image, data: bytes = b"") -> bool:
    """Return whether a PIL image comes from a file that was compressed with loss.

    Arguments:
        data: The bytes of the file, which say it of WebP.
    """
    lossless = image.format == "WEBP" and (not data or b"VP8L" in data)
    return image.format in LOSSY and not lossless


def upright(pixels: Pixels, orientation: int, axes: tuple[int, int] = (-2, -1)) -> Pixels:
    """Return the pixels of a file turned upright.

    Arguments:
        pixels: An array or a tensor with rows and columns as they are stored.
        orientation: The EXIF orientation of the file, from 1 (upright) to 8.
        axes: The axes of the rows and the columns.
    """
    turned = pixels.swapaxes(*axes) if orientation in TRANSPOSED else pixels
    return _flip(turned, orientation, axes)


def as_stored(pixels: Pixels, orientation: int, axes: tuple[int, int] = (-2, -1)) -> Pixels:
    """Return upright pixels as a file of this orientation stores them: undo `upright`."""
    flipped = _flip(pixels, orientation, axes)
    return flipped.swapaxes(*axes) if orientation in TRANSPOSED else flipped


def _flip(pixels: Pixels, orientation: int, axes: tuple[int, int]) -> Pixels:
    """Return pixels mirrored as the two flips of an orientation say; the flips commute."""
    rows, columns = axes
    reversed_axes = [
        axis
        for axis, orientations in ((rows, UPSIDE_DOWN), (columns, MIRRORED))
        if orientation in orientations
    ]
    if isinstance(pixels, Tensor):
        return pixels.flip(reversed_axes)
    return np.flip(pixels, tuple(reversed_axes))
