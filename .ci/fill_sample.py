"""Fill the sample with the installed command: run as ``python -I .ci/fill_sample.py``.

``-I`` keeps this repository off the path, so that the package is the installed one.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import diffprior

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "data" / "samples" / "girl.png"
MASK = ROOT / "data" / "masks" / "scratches.png"


def main() -> None:
    """Check where the package lies, run the command in an empty folder, compare the images."""
    package = Path(diffprior.__file__).resolve()
    assert package.is_relative_to(Path(sys.prefix).resolve()), f"{package} is not the installed one"
    command = Path(sys.executable).parent / "diffprior"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "filled.png"
        words = [command, "inpaint", "--mask", MASK, IMAGE, "--steps", "2", "-o", out]
        subprocess.run(words, cwd=folder, check=True)
        filled = np.asarray(Image.open(out))
    image, hole = np.asarray(Image.open(IMAGE)), np.asarray(Image.open(MASK).convert("L")) > 127
    changed = (filled != image).any(axis=-1)
    assert filled.shape == image.shape and filled.dtype == image.dtype
    assert not changed[~hole].any(), "a pixel outside the hole has changed"
    assert changed[hole].mean() > 0.5, "the hole was not filled"
    print(f"diffprior {diffprior.__version__} of {package.parent} filled {hole.sum()} pixels")


if __name__ == "__main__":
    main()
