"""Fill the hole of an image by a function of OpenCV or scikit-image.

    python scripts/peers/opencv_fill.py METHOD image.png mask.png filled.png

White in the mask is filled. The file needs nothing of diffprior, so that the Python of another
environment can run it: ``shiftmap`` and ``fsr`` need ``opencv-contrib-python``, which cannot be
installed beside ``opencv-python``.
"""

import sys
from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
contrib: Any = cv2  # with xphoto


def telea(image: Array, hole: Array) -> Array:
    """Fill by the fast marching method."""
    return cast(Array, cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA))


def navier_stokes(image: Array, hole: Array) -> Array:
    """Fill by Navier-Stokes."""
    return cast(Array, cv2.inpaint(image, hole, 3, cv2.INPAINT_NS))


def biharmonic(image: Array, hole: Array) -> Array:
    """Fill by biharmonic equations."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(image, hole > 0, channel_axis=2, split_into_regions=True)
    return cast(Array, (255 * filled.clip(0, 1)).round().astype(np.uint8))


def shiftmap(image: Array, hole: Array) -> Array:
    """Fill by dominant offsets, in the color space that OpenCV asks for."""
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2Lab)
    filled = _xphoto(lab, hole, contrib.xphoto.INPAINT_SHIFTMAP)
    return cast(Array, cv2.cvtColor(filled, cv2.COLOR_Lab2BGR))


def fsr(image: Array, hole: Array) -> Array:
    """Fill by frequency selective reconstruction, the fast one."""
    return _xphoto(image, hole, contrib.xphoto.INPAINT_FSR_FAST)


def _xphoto(image: Array, hole: Array, kind: int) -> Array:
    filled = np.zeros_like(image)
    contrib.xphoto.inpaint(image, 255 - hole, filled, kind)  # its masks are white where known
    return filled


METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
    "shiftmap": shiftmap,
    "fsr": fsr,
}


def read(path: str, flag: int) -> Array:
    """Return the pixels of a file."""
    pixels = cv2.imread(path, flag)
    if pixels is None:
        sys.exit(f"{path} cannot be read")
    return cast(Array, pixels)


def main() -> None:
    """Fill one image."""
    if len(sys.argv) != 5 or sys.argv[1] not in METHODS:
        sys.exit(f"usage: opencv_fill.py {{{','.join(METHODS)}}} image mask out")
    name, image, mask, out = sys.argv[1:]
    if name in ("shiftmap", "fsr") and not hasattr(cv2, "xphoto"):
        sys.exit(f"{name} needs opencv-contrib-python")
    hole = np.where(read(mask, cv2.IMREAD_GRAYSCALE) > 127, 255, 0).astype(np.uint8)
    if not cv2.imwrite(out, METHODS[name](read(image, cv2.IMREAD_COLOR), hole)):
        sys.exit(f"{out} cannot be written")


if __name__ == "__main__":
    main()
