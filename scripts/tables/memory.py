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
    "inpaint, texture": ("inpaint", "--mask", "mask.png", "--fill", "texture"),
    "inpaint, a wide hole": ("inpaint", "--mask", "wide.png"),
    "inpaint, a wide hole, texture": ("inpaint", "--mask", "wide.png", "--fill", "texture"),
    "inpaint, 2 samples": ("inpaint", "--mask", "mask.png", "--samples", "2"),
    "inpaint, a wide hole, 2 samples": ("inpaint", "--mask", "wide.png", "--samples", "2"),
    "denoise": ("denoise", "--sigma", "0.1"),
    "denoise, 2 samples": ("denoise", "--sigma", "0.1", "--samples", "2"),
    "denoise, a sepia photo": ("denoise", "--sigma", "0.1"),
    "sdedit, 4 samples": ("sdedit", "--strength", "0.2", "--samples", "4"),
    "deblur": ("deblur", "--kernel", "gaussian:1.5", "--sigma", "0.02"),
    "deblur, circular": ("deblur", "--kernel", "gaussian:1.5", "--boundary", "circular"),
    "deblur, 2 samples": (
        ("deblur", "--kernel", "gaussian:1.5", "--sigma", "0.02", "--samples", "2")
    ),
    "dejpeg": ("dejpeg", "--quality", "50"),
    "dejpeg, 2 samples": ("dejpeg", "--quality", "50", "--samples", "2"),
    "colorize": ("colorize",),
    "colorize, 2 samples": ("colorize", "--samples", "2"),
    "colorize, strokes": ("colorize", "--scribble", "strokes.png"),
    "upscale": ("upscale", "--scale", "2"),
    "upscale, 2 samples": ("upscale", "--scale", "2", "--samples", "2"),
    "restore": ("restore", "--scratches", "mask.png"),
    "restore, blurred and gray": (
        ("restore", "--scratches", "mask.png", "--gray")
        + ("--blur", "gaussian:1.5", "--boundary", "reflect", "--sigma", "0.02")
    ),
    "restore, 2 samples": ("restore", "--scratches", "mask.png", "--gray", "--samples", "2"),
    "reconstruct": ("reconstruct", "--operator", "average(factor=4)", "--sigma", "0.02"),
    "sdedit": ("sdedit", "--strength", "0.2"),
    "blend": ("blend", "--mask", "wide.png", "--repeats", "1"),
    "style": ("style",),
    "invert": ("invert",),
    "edit": ("edit", "--mask", "wide.png"),
    "interpolate": ("interpolate", "--to", "other.png"),
    "variations": ("variations",),
    "variations, 1 sample": ("variations", "--samples", "1"),
    "generate": ("generate",),
    "mask scratches": ("mask", "scratches"),
    "mask text": ("mask", "text"),
}
STEPLESS = (  # a single call, or none
    "denoise",
    "denoise, a sepia photo",
    "mask scratches",
    "mask text",
)
GRAINS = 4  # pixels a side that reconstruct knows the means of
SEPIA = np.array([1.0, 0.8, 0.55])  # of the gray of a photo, in R, G and B


def disk(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the mask of a disk in the middle, a tenth as wide as the image is high."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 2, height // 2), max(1, height // 20), 255, -1)
    return mask


def stroke(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a layer of paint with a red line across the image."""
    layer = np.zeros((height, width, 4), np.uint8)
    cv2.line(layer, (0, height // 2), (width - 1, height // 2), (200, 40, 30, 255), 40)
    return layer


def write_inputs(image: Path, height: int, width: int, name: str, folder: Path) -> None:
    """Write the files that a task reads, and the small network."""
    photo = enlarged(image, height, width)
    if name == "reconstruct":
        x = np.asarray(photo, np.float32).transpose(2, 0, 1) / 127.5 - 1
        h, w = height // GRAINS, width // GRAINS
        means = x[:, : h * GRAINS, : w * GRAINS].reshape(3, h, GRAINS, w, GRAINS).mean((2, 4))
        np.save(folder / "photo.npy", means)
    if "sepia" in name:
        gray = np.asarray(photo.convert("L"))
        planes = [np.rint(gray * share).astype(np.uint8) for share in SEPIA]
        photo = Image.fromarray(np.stack(planes, 2))
    pictures = {
        "photo": lambda: photo,
        "other": lambda: photo.transpose(Image.Transpose.ROTATE_180),
        "mask": lambda: Image.fromarray(scratch(height, width)),
        "wide": lambda: Image.fromarray(disk(height, width)),
        "strokes": lambda: Image.fromarray(stroke(height, width)),
    }
    for stem in ("photo", *pictures):
        if stem == "photo" or f"{stem}.png" in TASKS[name]:
            pictures[stem]().save(folder / f"{stem}.png", compress_level=1)
    torch.manual_seed(0)
    save_network(NAFUNet((8, 8, 8, 8), (1, 1, 1, 1)), folder / "network")


def command(name: str, size: tuple[int, int], steps: int, whole: bool, folder: Path) -> list[str]:
    """Return the words of the command of a task.

    Arguments:
        size: Height and width of the photo.
    """
    words = [str(folder / w) if w.endswith(".png") else w for w in TASKS[name]]
    if words[0] in ("generate", "reconstruct"):
        height, width = (n // GRAINS * GRAINS for n in size)
        words += ["--height", str(height), "--width", str(width)]
    if words[0] != "generate":
        words.append(str(folder / ("photo.npy" if words[0] == "reconstruct" else "photo.png")))
    words += ["-o", f"{folder}/", "--force"]
    words += [] if name in STEPLESS else ["--steps", str(steps)]
    if words[0] == "mask":
        return words
    return [*words, "--quiet", *([] if whole else ["--prior", str(folder / "network")])]


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
    for name in names:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            pixels = megapixels * 1e6 / (4 if name.startswith("upscale") else 1)
            height = round((pixels / ASPECT) ** 0.5)
            width = round(pixels / height)
            write_inputs(image, height, width, name, folder)
            words = command(name, (height, width), steps, whole, folder)
            cost, complaint = watch([sys.executable, "-m", "diffprior", *words], limit)
        if complaint and cost.seconds < limit:
            print(f"{name}: n/a: {complaint}", flush=True)
            continue
        more = "+" if complaint else ""
        rows.append([name, f"{cost.seconds:.0f}{more}", f"{cost.megabytes / 1e3:.2f}{more}"])
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(tables.markdown(["task", "seconds", "peak memory, GB"], rows))


if __name__ == "__main__":
    run(main)
