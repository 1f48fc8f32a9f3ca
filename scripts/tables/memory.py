"""Measure the peak memory of each task on a large photo, one process a task.

    python scripts/tables/memory.py data/samples/city.png
    python scripts/tables/memory.py data/samples/city.png --megapixels 6 --task denoise --whole

A small network with random weights stands in for the shipped one, which takes a window of the image
at a time: what it needs does not grow with the image. ``--whole`` uses the shipped one. All else
is as a person has it, with two steps in place of all; a process that takes longer than ``--limit``
seconds is stopped, and its peak until then is marked with a plus. Memory is in units of 10^9 bytes.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from fills import watch
from large import ASPECT, enlarged, scratch
from PIL import Image

from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables
from diffprior.networks.nafunet import NAFUNet, save_network

TASKS = {  # arguments; the photo and --steps are added
    "inpaint": ("inpaint", "--mask", "mask.png", "--fill", "smooth"),
    "inpaint, a wide hole": ("inpaint", "--mask", "wide.png"),
    "denoise": ("denoise", "--sigma", "0.1"),
    "deblur": ("deblur", "--kernel", "gaussian:1.5", "--sigma", "0.02"),
    "dejpeg": ("dejpeg", "--quality", "50"),
    "colorize": ("colorize",),
    "upscale": ("upscale", "--scale", "2"),
    "sdedit": ("sdedit", "--strength", "0.2"),
    "style": ("style",),
    "variations": ("variations", "--samples", "1"),
}
STEPLESS = ("denoise",)  # a single call


def disk(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the mask of a disk in the middle, a tenth as wide as the image is high."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 2, height // 2), max(1, height // 20), 255, -1)
    return mask


def main(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    megapixels: Annotated[float, typer.Option(help="Size of the result.")] = 24.0,
    task: Annotated[list[str] | None, typer.Option(help="Only this one.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of a chain.")] = 2,
    limit: Annotated[float, typer.Option(help="Seconds that a process may take.")] = 60.0,
    whole: Annotated[bool, typer.Option(help="With the shipped network.")] = False,
) -> None:
    """Print the table."""
    names = chosen("--task", task, list(TASKS))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            pixels = megapixels * 1e6 / (4 if name == "upscale" else 1)
            height = round((pixels / ASPECT) ** 0.5)
            width = round(pixels / height)
            names_of_files = ("photo.png", "mask.png", "wide.png", "network")
            photo, mask, wide, network = (Path(folder, n) for n in names_of_files)
            enlarged(image, height, width).save(photo, compress_level=1)
            Image.fromarray(scratch(height, width)).save(mask)
            Image.fromarray(disk(height, width)).save(wide)
            torch.manual_seed(0)
            save_network(NAFUNet((8, 8, 8, 8), (1, 1, 1, 1)), network)
            words = [str(Path(folder, w)) if w.endswith(".png") else w for w in TASKS[name]]
            words += [str(photo), "-o", f"{folder}/", "--force", "--quiet"]
            words += [] if name in STEPLESS else ["--steps", str(steps)]
            words += [] if whole else ["--prior", str(network)]
            cost, complaint = watch([sys.executable, "-m", "diffprior", *words], limit)
            if complaint and cost.seconds < limit:
                print(f"{name}: n/a: {complaint}", flush=True)
                continue
            more = "+" if complaint else ""
            rows.append([name, f"{cost.seconds:.0f}{more}", f"{cost.megabytes / 1e3:.2f}{more}"])
    print(tables.markdown(["task", "seconds", "peak memory, GB"], rows))


if __name__ == "__main__":
    run(main)
