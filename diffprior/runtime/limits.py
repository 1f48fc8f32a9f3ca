"""How large a result may be: bounds that are checked before memory is taken."""

from ..errors import TaskError
from ..io.arrays import Images

__all__ = ["LARGEST", "check_result"]

LARGEST = 178_956_970  # pixels, the most that Pillow opens
TOGETHER = 8 * LARGEST  # pixels of all samples


def check_result(
    size: tuple[int | None, int | None], images: Images | None, samples: int = 1
) -> None:
    """Check the size of a result. That of an image which was read is always allowed.

    Arguments:
        size: Its size ``(H, W)``; None where it is that of the prior's own images.
        images: The images of the call.
        samples: The number of results of each image.

    Raises:
        TaskError: If the result, or all samples of it, would have too many pixels.
    """
    height, width = (1 if side is None else side for side in size)
    pixels = height * width
    own = 0 if images is None else images.size[0] * images.size[1]
    if pixels > max(LARGEST, own):
        raise TaskError(
            f"a result of {_count(width)} x {_count(height)} pixels is too large: it may have "
            f"{LARGEST // 10**6} megapixels"
        )
    if samples > 1 and samples * pixels > TOGETHER:
        raise TaskError(
            f"{samples} samples of {width} x {height} pixels are too many: together they may have "
            f"{TOGETHER // 10**6} megapixels, which is {max(1, TOGETHER // pixels)} samples"
        )


def _count(side: int) -> str:
    return str(side) if side < 10**9 else "over a billion"
