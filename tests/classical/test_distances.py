"""Distances: those of scipy, and the same bits wherever the memory of an array begins."""

import numpy as np
from scipy.ndimage import distance_transform_edt

from diffprior.classical._distances import to_border


def test_they_are_those_of_scipy_to_the_bit_wherever_memory_begins() -> None:
    rng = np.random.default_rng(0)
    inside = (rng.random((96, 97)) < 0.995).astype(np.uint8)
    right = distance_transform_edt(inside).astype(np.float32)
    for start in range(64):
        memory = np.empty(inside.size + 64, np.uint8)[start:]
        plane = memory[: inside.size].reshape(inside.shape)
        plane[:] = inside
        assert np.array_equal(to_border(plane), right), start
