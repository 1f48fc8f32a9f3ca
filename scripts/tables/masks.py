"""Measure the masks that are found: of scratches, dust, text, paint and changes, and false alarms.

    python scripts/tables/masks.py data/samples --side 576

Recall is the share of the damage that can be seen and is in the mask, and ``precision`` the share
of the mask that is damage, each with a slack of 2 px; IoU has none. ``marked`` is the share of an
image without any damage that is marked.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from diffprior import masks
from diffprior.cli.scripts import chosen, run
from diffprior.errors import ImageError
from diffprior.evaluation import tables
from diffprior.evaluation.datasets import load
from diffprior.io import arrays, files
from diffprior.io.ledger import Row
from diffprior.operators.generators import masks as drawn

Array = np.ndarray[Any, np.dtype[Any]]
Find = Callable[[Image.Image, Image.Image], Array]  # of the photo and the damaged file
Draw = Callable[[int, int, int], Array]  # of height, width and seed
Colors = dict[str, tuple[int, int, int]]

SLACK = 2  # px
SEEN = 24  # of 255; white on white is no damage
PAINT = {"white": (255, 255, 255), "black": (0, 0, 0), "cream": (217, 204, 166)}
LETTERS = {"white": (255, 255, 255), "black": (0, 0, 0), "yellow": (255, 210, 0)}
REDS = {"red": (255, 0, 0), "red of Paint": (237, 28, 36), "red of iOS": (255, 59, 48)}
FORMATS = {"PNG": 0, "JPEG 90": 90, "JPEG 75": 75}
WORDS = ("Summer 2019", "23.08.1997", "SAMPLE PHOTO", "www.example.com", "HELLO WORLD")
NONE: Array = np.zeros((1, 1), np.bool_)
SCORES = ("recall", "precision", "iou", "marked", "seconds")


def thin(height: int, width: int, seed: int) -> Array:
    """Return eight curved lines, 1 or 2 pixels wide, bool ``(H, W)``."""
    rng = np.random.default_rng([seed, 9])
    mask = np.zeros((height, width), np.uint8)
    for _ in range(8):
        angle = rng.uniform(0, np.pi)
        points = [rng.uniform(0, (width, height))]
        for _ in range(int(rng.integers(3, 8))):
            angle += rng.normal(0, 0.12)
            points.append(points[-1] + 0.1 * width * np.array([np.cos(angle), np.sin(angle)]))
        line = np.round(points).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(mask, [line], False, (1,), int(rng.integers(1, 3)))
    return mask > 0


def dust(height: int, width: int, seed: int) -> Array:
    """Return forty spots with a radius of 1 to 3 pixels, bool ``(H, W)``."""
    rng = np.random.default_rng([seed, 10])
    mask = np.zeros((height, width), np.uint8)
    for x, y in rng.uniform(0, (width, height), (40, 2)).astype(int).tolist():
        cv2.circle(mask, (x, y), int(rng.integers(1, 4)), (1,), -1)
    return mask > 0


def caption(height: int, width: int, seed: int) -> Array:
    """Return one to three lines of words in a font of OpenCV, bool ``(H, W)``."""
    rng = np.random.default_rng([seed, 11])
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, width // 3)), int(rng.integers(40, height))
        font, scale = int(rng.integers(0, 5)), float(rng.uniform(0.6, 1.6)) * height / 576
        word = WORDS[rng.integers(len(WORDS))]
        cv2.putText(mask, word, at, font, scale, (1,), max(1, round(2 * scale)), cv2.LINE_AA)
    return mask > 0


def generated(kind: str, height: int, width: int, seed: int) -> Array:
    """Return a mask of ``diffprior.operators.generators.masks``, bool ``(H, W)``."""
    share = {"scratches": 0.04, "strokes": 0.08}
    given = {} if kind == "text" else {"share": share[kind]}
    return np.asarray(getattr(drawn, kind)(height, width, seed, **given)[0])


DAMAGES: dict[str, tuple[str, Draw, Colors]] = {
    "scratches, 3-5 px": ("scratches", partial(generated, "scratches"), PAINT),
    "scratches, 1-2 px": ("scratches", thin, PAINT),
    "dust": ("scratches", dust, PAINT),
    "lines of text": ("text", partial(generated, "text"), LETTERS),
    "caption": ("text", caption, LETTERS),
    "paint": ("color", partial(generated, "strokes"), REDS),
    "repainted": ("difference", partial(generated, "strokes"), PAINT),
}
FINDERS: dict[str, Find] = {
    "scratches": lambda photo, file: np.asarray(masks.scratches(file)),
    "text": lambda photo, file: np.asarray(masks.text(file)),
    "color": lambda photo, file: np.asarray(masks.color(file, "red")),
    "difference": lambda photo, file: np.asarray(masks.difference(photo, file)),
}


def stored(image: Image.Image, quality: int) -> Image.Image:
    """Return an image as a file holds it: a JPEG of this quality, or one without loss for 0."""
    file = BytesIO()
    image.save(file, "JPEG" if quality else "PNG", quality=quality)
    with Image.open(file) as again:
        return again.convert("RGB")


def score(mask: Array, truth: Array, seen: Array) -> dict[str, float]:
    """Return recall of what is seen, and precision, with a slack, and IoU without."""
    disc = (np.hypot(*np.ogrid[-SLACK : SLACK + 1, -SLACK : SLACK + 1]) <= SLACK).astype(np.uint8)
    wide, near = (cv2.dilate(m.astype(np.uint8), disc) > 0 for m in (mask, truth))
    return {
        "recall": (wide & seen).sum() / max(seen.sum(), 1),
        "precision": (mask & near).sum() / max(mask.sum(), 1),
        "iou": (mask & truth).sum() / max((mask | truth).sum(), 1),
    }


def rows_of(photo: Image.Image, kinds: list[str], seed: int) -> Iterator[Row]:
    """Yield the scores of one photo: with each damage, and without any."""
    for damage, (kind, draw, colors) in DAMAGES.items():
        if kind not in kinds:
            continue
        truth = draw(photo.height, photo.width, seed)
        name, color = list(colors.items())[seed % len(colors)]
        damaged = photo.copy()
        damaged.paste(color, mask=Image.fromarray(truth))
        for form, quality in FORMATS.items():
            yield {"damage": f"{damage}, {form}", "color": name} | measure(
                kind, photo, stored(damaged, quality), truth
            )
    for kind in kinds:
        for form, quality in FORMATS.items():
            if kind != "color" and (kind != "difference" or quality):
                row = measure(kind, photo, stored(photo, quality), NONE)
                yield {"damage": f"none, {kind}, {form}"} | row


def measure(kind: str, photo: Image.Image, file: Image.Image, truth: Array) -> Row:
    """Return the scores of one mask."""
    start = time.perf_counter()
    try:
        mask = FINDERS[kind](photo, file)
    except ImageError:  # no paint was found
        mask = np.zeros((photo.height, photo.width), np.bool_)
    row: Row = {name: "n/a" for name in SCORES} | {"seconds": time.perf_counter() - start}
    return row | (
        {"marked": 100 * mask.mean()}
        if truth is NONE
        else score(mask, truth, truth & _differs(photo, file))
    )


def _differs(photo: Image.Image, file: Image.Image) -> Array:
    """Return where two images differ so much that it is seen."""
    away = np.abs(np.asarray(photo, np.int16) - np.asarray(file, np.int16)).max(-1)
    return np.asarray(away > SEEN)


def main(
    images: Annotated[list[str], typer.Argument(help="Images, or folders of images.")],
    side: Annotated[int, typer.Option(help="Short side in pixels.")] = 576,
    limit: Annotated[int, typer.Option(help="Number of images of each folder.")] = 1000,
    kind: Annotated[list[str] | None, typer.Option(help="Measure only this kind.")] = None,
) -> None:
    """Print the table of masks."""
    kinds = chosen("--kind", kind, list(FINDERS))
    paths = [path for folder in images for path in files.find([folder])[:limit]]
    rows: list[Row] = []
    for seed, path in enumerate(paths):
        photo = arrays.to_pil(2 * load(path, side)[0] - 1)
        rows += rows_of(photo, kinds, seed)
    names = tables.unique(rows, "damage")
    lines = []
    for name in names:
        own = [row for row in rows if row["damage"] == name]
        cells = [f"{tables.mean(own, s):.3f}" if tables.numbers(own, s) else "" for s in SCORES]
        lines.append([name, *cells, str(len(own))])
    print(tables.markdown(["damage", *SCORES[:3], "marked, %", "seconds", "n"], lines))


if __name__ == "__main__":
    run(main)
