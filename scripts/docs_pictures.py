"""Make the images of the docs: run the commands of a page, and put their results in a row.

    python scripts/docs_pictures.py docs/tasks/inpaint.md

A comment of the page names the files that an image shows: ``<!-- fill.jpg: before.png after.png
-->``; ``photo.png+mask.png`` shows the mask in red over the photo. The commands run in a temporary
folder with the folder ``data`` and small images, which are made of those in data/samples from fixed
seeds.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from PIL import Image, ImageDraw

from diffprior.catalog import build
from diffprior.evaluation.datasets import load
from diffprior.io.arrays import to_pil
from diffprior.operators.blur import Blur
from diffprior.operators.generators import masks
from diffprior.operators.gray import Gray
from diffprior.random import Noise

ROOT = Path(__file__).parent.parent
SIDE, QUALITY, GAP = 192, 88, 4
LARGEST, WIDEST = 256, 880  # px of larger images, and of a row of them
RED, STRENGTH = (255, 0, 0), 0.6  # of a mask over a photo
NAMES = ("city", "dog", "flowers", "girl", "grass", "haze", "house", "mc1", "mc2")
Stroke = tuple[tuple[int, ...], int, list[tuple[int, int]]]  # color, width and points
STROKES: dict[str, list[Stroke]] = {  # by file
    "paint.png": [
        ((70, 40, 20, 255), 7, [(60, 150), (60, 95)]),
        ((40, 90, 30, 255), 34, [(44, 84), (60, 66), (76, 84)]),
        ((235, 200, 90, 255), 16, [(150, 34), (151, 34)]),
    ],
    "scribble.png": [
        ((220, 180, 120, 255), 4, [(90, 60), (120, 150)]),
        ((220, 180, 120, 255), 4, [(165, 115), (180, 170)]),
        ((40, 80, 30, 255), 4, [(8, 45), (45, 15)]),
        ((60, 90, 40, 255), 4, [(8, 135), (30, 180)]),
        ((40, 80, 30, 255), 4, [(165, 15), (180, 45)]),
        ((230, 110, 130, 255), 3, [(66, 134), (74, 138)]),
    ],
}


def through_camera(name: str, kernel: str) -> torch.Tensor:
    """Return an image cut out of a scene that was blurred whole, ``(1, 3, SIDE, SIDE)``."""
    blur = Blur(kernel, "free")
    left, right, _, _ = blur.reach
    wide = load(ROOT / "data" / "samples" / f"{name}.png", SIDE + left + right)
    return blur(2 * wide - 1)


def inputs(folder: Path) -> None:
    """Write the input images of the commands."""
    (folder / "data").symlink_to(ROOT / "data")
    x = {name: 2 * load(ROOT / "data" / "samples" / f"{name}.png", SIDE) - 1 for name in NAMES}
    for name, image in x.items():
        to_pil(image[0]).save(folder / f"{name}.png")
    eps = Noise(0).normal(x["dog"])
    lost = masks.scratches(SIDE, SIDE, 0)
    old = Gray("luminance")(through_camera("girl", "gaussian:1")).expand(-1, 3, -1, -1) + 0.04 * eps
    images = {
        "scratched": torch.where(lost, 1.0, x["girl"]),
        "noisy": x["dog"] + 50 / 255 * eps,
        "blurred": through_camera("city", "motion:9,30"),
        "old": torch.where(lost, 1.0, old),
        "scratches": 2 * lost[None].float().expand(-1, 3, -1, -1) - 1,
        "region": region(),
        "worn": torch.where(masks.scratches(SIDE, SIDE, 1, 0.03), 1.0, x["dog"]),
    }
    for name, image in images.items():
        to_pil(image[0]).save(folder / f"{name}.png")
    small = cv2.resize(np.asarray(to_pil(x["mc1"][0])), (48, 48), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(folder / "small.png")
    to_pil(x["flowers"][0]).save(folder / "poor.jpg", quality=12)
    A = build("fourier(keep='radial:20')", ("operators",)).for_shape((3, SIDE, SIDE))
    np.save(folder / "y.npy", A(x["house"])[0].numpy())
    for name, strokes in STROKES.items():
        paint(strokes).save(folder / name)


def region() -> torch.Tensor:
    """Return a mask of an ellipse, in [-1, 1]."""
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).ellipse((80, 64, 116, 116), fill=255)
    return torch.from_numpy(np.asarray(image) / 127.5 - 1).expand(1, 3, -1, -1).float()


def paint(strokes: list[Stroke]) -> Image.Image:
    """Return a transparent image with strokes."""
    layer = Image.new("RGBA", (SIDE, SIDE))
    for color, width, points in strokes:
        ImageDraw.Draw(layer).line(points, fill=color, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            r = width // 2
            ImageDraw.Draw(layer).ellipse((x - r, y - r, x + r, y + r), fill=color)
    return layer


def commands(text: str) -> list[str]:
    """Return the commands of a page, except those on files that do not exist."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.splitlines())
    return [x for x in lines if x.startswith("diffprior ") and "path/to" not in x]


def panel(folder: Path, name: str) -> Image.Image:
    """Return the image of a file; transparent parts are gray, and a mask after a + is red."""
    file, _, mask = name.partition("+")
    with Image.open(folder / file) as image:
        ground = Image.new("RGBA", image.size, (200, 200, 200, 255))
        ground.alpha_composite(image.convert("RGBA"))
    if mask:
        with Image.open(folder / mask) as image:
            weight = image.convert("L").point(lambda level: STRENGTH * level)
        ground.paste((*RED, 255), (0, 0), weight)
    return ground.convert("RGB")


def row(images: list[Image.Image]) -> Image.Image:
    """Return images in a row; small ones are enlarged, and large ones reduced."""
    largest = min(LARGEST, WIDEST // len(images))
    height = max(SIDE, min(largest, max(image.height for image in images)))
    panels = []
    for image in images:
        size = round(image.width * height / image.height), height
        is_large = image.height > height
        way = Image.Resampling.LANCZOS if is_large else Image.Resampling.NEAREST
        panels.append(image.resize(size, way))
    whole = Image.new("RGB", (sum(p.width + GAP for p in panels) - GAP, height), "white")
    left = 0
    for each in panels:
        whole.paste(each, (left, 0))
        left += each.width + GAP
    return whole


def main(
    pages: Annotated[list[Path], typer.Argument(help="Markdown files.")],
    out: Annotated[Path, typer.Option(help="Folder of the images.")] = ROOT / "docs" / "pictures",
) -> None:
    """Make the images of pages of the docs."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder)
        for page in pages:
            text = page.read_text()
            shown = re.findall(r"<!-- (\S+\.jpg): (.+?) -->", text)
            for command in commands(text) if shown else []:
                call = [sys.executable, "-m", *shlex.split(command), "--force"]
                subprocess.run(call, cwd=folder, check=True)
            for target, files in shown:
                image = row([panel(folder, name) for name in files.split()])
                image.save(out / target, quality=QUALITY)
                print(target)


if __name__ == "__main__":
    typer.run(main)
