"""Images a second against workers: the processes of ``--jobs``, and those of a batch.

    python scripts/tables/workers.py --images 240 --side 256

Each run is a process of its own, on copies of a sample image. Two runs with different numbers of
images tell the time that a run takes to start from the time that each further image takes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from PIL import Image

from diffprior.cli.scripts import chosen, run
from diffprior.evaluation import tables

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "city.png"
Images = Annotated[int, typer.Option(min=2, help="Images of the longer run.")]
Side = Annotated[int, typer.Option(min=8, help="Side of the images, in pixels.")]
Workers = Annotated[list[int] | None, typer.Option(help="Numbers of workers; default: 1 and 2.")]
Only = Annotated[list[str] | None, typer.Option(help="Measure only this way; can be repeated.")]
Words = Annotated[str, typer.Option(help="What denoise is called with, beside its images.")]


def measure(
    images: Images = 240,
    side: Side = 256,
    workers: Workers = None,
    words: Words = "--sigma 0.1",
    only: Only = None,
) -> None:
    """Measure runs of ``denoise`` on this machine, and print a table."""
    ways = {"--jobs": ("denoise",), "batch": ("batch", "denoise")}
    if find_spec("ray"):
        ways["batch --on ray"] = ("batch", "denoise", "--on", "ray")
    ways = {way: ways[way] for way in chosen("--only", only, list(ways))}
    rows: list[list[str]] = []
    with TemporaryDirectory() as name:
        few, many = folders(Path(name), side, max(1, images // 4), images)
        for way, command in ways.items():
            first = 0.0
            for count in workers or (1, 2):
                options = (*words.split(), "--jobs", str(count), "--quiet")
                short, long = (seconds((*command, str(folder), *options)) for folder in (few, many))
                if long < 1.5 * short:  # all but starting took too little to be measured
                    rows.append([way, str(count), "n/a", "n/a", f"{short:.1f} or less"])
                    continue
                each = (long - short) / (images - max(1, images // 4))
                first = first or each
                start = max(0.0, long - images * each)
                numbers = (f"{1 / each:.2f}", f"{first / each:.2f}", f"{start:.1f}")
                rows.append([way, str(count), *numbers])
    print(f"{images} images of {side}x{side} pixels, {os.cpu_count()} cores, {words}\n")
    if any("n/a" in row for row in rows):
        print("n/a: most of the time was the start; ask for more --images\n")
    heads = ["way", "workers", "images a second", "gain", "seconds to start"]
    print(tables.markdown(heads, rows))


def folders(place: Path, side: int, *counts: int) -> list[Path]:
    """Write folders of so many images each, all of them different crops of the sample."""
    whole = Image.open(SAMPLE).convert("RGB")
    made = []
    for count in counts:
        folder = place / str(count)
        folder.mkdir()
        for k in range(count):
            left, top = (k * 7 % max(1, n - side) for n in whole.size)
            whole.crop((left, top, left + side, top + side)).save(folder / f"{k:04}.png")
        made.append(folder)
    return made


def seconds(words: Sequence[str]) -> float:
    """Return how long a command takes, which writes to a new folder."""
    with TemporaryDirectory() as out:
        start = time.perf_counter()
        call = [sys.executable, "-m", "diffprior", *words, "-o", f"{out}/"]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"diffprior {' '.join(words)} failed: {done.stderr.strip()[-200:]}")
        return time.perf_counter() - start


if __name__ == "__main__":
    run(measure)
