"""How much memory a task takes for each pixel of a large image, beyond what it begins with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SIDE = 2400  # px: 5.8 megapixels, which are taken in bands
COPY = 12  # bytes of a pixel in float32
MOST = {"denoise": 5.5, "sdedit": 8.0}  # copies of the image

PROGRAM = """
import json, sys
import numpy as np
import torch
import diffprior
from diffprior.diffusions import GaussianDiffusion
from diffprior.priors.base import Prior

class Shrinks(Prior):
    def __init__(self, shape=(3, 64, 64)):
        super().__init__()
        self.diffusion, self.shape = GaussianDiffusion(), shape

    def forward(self, x_t, t):
        return 0.9 * x_t

    def for_shape(self, shape):
        return Shrinks(tuple(shape))

def kilobytes(what):
    line = next(l for l in open("/proc/self/status") if l.startswith(what))
    return int(line.split()[1])

side = int(sys.argv[1])
tasks = {
    "denoise": lambda x: diffprior.denoise(x, sigma=0.1, prior=Shrinks()),
    "sdedit": lambda x: diffprior.sdedit(x, strength=0.2, steps=2, prior=Shrinks()),
}
x = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
taken = {}
for name, task in tasks.items():
    task(x[:64, :64])
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    task(x)
    taken[name] = 1024 * (kilobytes("VmHWM") - before) / side**2
print(json.dumps(taken))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_a_pixel_of_a_large_image_takes_few_bytes() -> None:
    """A denoised photograph held ten copies in float32, and an edited one twelve."""
    call = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(SIDE)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout)

    assert taken.keys() == MOST.keys()
    for name, most in MOST.items():
        assert taken[name] < most * COPY, name
