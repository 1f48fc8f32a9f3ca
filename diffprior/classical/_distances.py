"""Distances of pixels, the same to the bit each time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR = np.float32(1e18)  # where there is no 0 at all; its square is finite


def to_border(inside: NDArray[np.uint8]) -> Any:
    """Return the distance of each pixel ``(H, W)`` from the nearest one that is 0, in float32.

    The root that OpenCV takes has other last bits where the memory of an array begins elsewhere.
    So it is taken again: the square of a distance is a whole number.
    """
    import cv2  # takes long to import, and only masks need it

    d = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    np.minimum(d, FAR, out=d)
    np.multiply(d, d, out=d)
    return np.sqrt(np.rint(d, out=d), out=d)
