"""Measure the filling of thin holes in large images: seconds, and the peak of memory.

    python scripts/tables/large.py data/samples/city.png
    python scripts/tables/large.py data/samples/city.png --megapixels 24 --hole spots --steps 1

Prints a table in Markdown. The image is enlarged by repeating it, with a little noise, so that no
two parts of it are the same. Each run is ``diffprior inpaint`` in a process of its own, from start
to end. Memory is the most that the process held at a time, in units of 10^9 bytes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image

from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables

Plane = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
ASPECT = 3 / 2  # width over height


def scratch(height: int, width: int) -> Plane:
    """Return the mask of a scratch of 12 px from corner to corner."""
    mask = np.zeros((height, width), np.uint8)
    cv2.line(mask, (0, 0), (width - 1, height - 1), 255, 12)
    return mask


def spots(height: int, width: int) -> Plane:
    """Return the mask of two spots of 120 px in two corners."""
    mask = np.zeros((height, width), np.uint8)
    for center in ((150, 150), (width - 150, height - 150)):
        cv2.circle(mask, center, 60, 255, -1)
    return mask


HOLES: dict[str, Callable[[int, int], Plane]] = {"scratch": scratch, "spots": spots}


def enlarged(image: Path, height: int, width: int) -> Image.Image:
    """Return an image of this size: the given one, mirrored over and over, with noise."""
    with Image.open(image) as opened:
        x = np.asarray(opened.convert("RGB"))
    x = np.concatenate([x, x[:, ::-1]], 1)
    x = np.concatenate([x, x[::-1]], 0)
    times = -(-height // x.shape[0]), -(-width // x.shape[1]), 1
    rng = np.random.default_rng(0)
    out = np.tile(x, times)[:height, :width]
    for top in range(0, height, 256):
        rows = slice(top, top + 256)
        noise = rng.integers(-2, 3, out[rows].shape, np.int16)
        out[rows] = np.clip(out[rows] + noise, 0, 255)
    return Image.fromarray(out)


def measured(*words: str) -> tuple[dict[str, object], float, float]:
    """Return the report of a fill, its wall time in seconds, and its peak memory in GB."""
    call = [sys.executable, "-m", "diffprior", "inpaint", *words, "--quiet", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(call, stdout=subprocess.PIPE)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"diffprior inpaint ended with code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return json.loads(text), time.perf_counter() - start, usage.ru_maxrss * unit / 1e9


def main(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    megapixels: Annotated[list[float], typer.Option(help="Sizes to measure.")] = [24, 81],  # noqa: B006
    hole: Annotated[list[str] | None, typer.Option(help="scratch or spots; default: all.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; default: those of a person.")] = None,
    samples: Annotated[int, typer.Option(help="Results of each run.")] = 1,
) -> None:
    """Print the table."""
    names = chosen("--hole", hole, list(HOLES))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in megapixels:
            height = round((size * 1e6 / ASPECT) ** 0.5)
            width = round(size * 1e6 / height)
            photo, mask = Path(folder, "photo.png"), Path(folder, "mask.png")
            enlarged(image, height, width).save(photo, compress_level=1)
            for name in names:
                Image.fromarray(HOLES[name](height, width)).save(mask)
                words = ["--mask", mask, photo, "--samples", samples, "-o", f"{folder}/", "--force"]
                words += [] if steps is None else ["--steps", steps]
                report, seconds, memory = measured(*map(str, words))
                counts = [report.get(key, 1) for key in ("boxes", "network_calls")]
                cells = [f"{size:g}", name, *counts, f"{seconds:.0f}", f"{memory:.2f}"]
                rows.append([str(cell) for cell in cells])
    head = ["megapixels", "hole", "boxes", "network calls", "seconds", "peak memory, GB"]
    print(tables.markdown(head, rows))


if __name__ == "__main__":
    run(main)
