"""Images with the texts that describe them, cut to one size."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..io import documents
from ..validation import shown
from .image_files import Entry, Image, Skipped, entries, pixels_of
from .labelled import ClassedImages, numbered

__all__ = ["Captioned", "CaptionedImages", "Picture", "read_captioned", "read_pairs"]

LONGEST = 2**16  # bytes of a caption
LISTED = 2**28  # bytes of the file of all captions of a folder
LIST = "metadata.jsonl"
HELD_OUT = 20  # one image of so many is held out, for validation ...
MOST_HELD_OUT = 256  # ... and no more than so many


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with its text.

    Attributes:
        name: Name of its file, without the suffix.
        text: What it shows.
        pixels: uint8, of shape ``(3, H, W)``.
    """

    name: str
    text: str
    pixels: Tensor


@dataclass(eq=False)
class Captioned:
    """Images of one size, each with its text.

    Attributes:
        pictures: The images.
        skipped: What was passed over.
    """

    pictures: list[Picture]
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def texts(self) -> list[str]:
        """The text of each image."""
        return [picture.text for picture in self.pictures]

    @property
    def images(self) -> Tensor:
        """The images in [-1, 1], float32 of shape ``(N, 3, H, W)``."""
        return torch.stack([picture.pixels for picture in self.pictures]).float() / 127.5 - 1


def read_captioned(
    paths: Sequence[Path], size: tuple[int, int], prompt: str | None = None
) -> Captioned:
    """Return the images of folders, each cut to a size in its middle.

    The text of ``dog.png`` is that of the file ``dog.txt`` beside it; or of the line
    ``{"file_name": "dog.png", "text": "a dog"}`` of ``metadata.jsonl`` in its folder or in one
    above it, as data sets of Hugging Face have it; or otherwise the prompt.

    Arguments:
        paths: Folders of images.
        size: (H, W) of the images that are returned.
        prompt: What images show that have no text of their own.

    Raises:
        ImageError: If there is no image.
        SettingError: If a path is no folder, or an image has no text.
    """
    found = Captioned([])
    for path in paths:
        if not path.is_dir():
            raise SettingError(f"{shown(path)} is no folder; images with a prompt are in folders")
        listed = {} if prompt == "" else _listed(path)
        for entry in entries(path):
            if not entry.is_image:
                found.skipped.others += not entry.name.endswith((".txt", LIST))
                continue
            try:
                pixels = _cut(pixels_of(entry), size)
            except ImageError as error:
                found.skipped.images.append(f"{shown(entry.name, 60)} ({shown(error, 60)})")
                continue
            text = _text(entry, listed, prompt)
            found.pictures.append(Picture(Path(entry.name).stem, text, pixels))
    if not found.pictures:
        reason = f"; {found.skipped}" if str(found.skipped) else ""
        raise ImageError(f"no image in {shown(', '.join(map(str, paths)), 60)}{reason}")
    return found


def read_pairs(of: Captioned, folder: Path, size: tuple[int, int], what: str) -> Tensor:
    """Return the images of a folder that have the names of others, in their order.

    Arguments:
        of: The others.
        folder: The folder.
        size: (H, W) of the images that are returned.
        what: What these images are, for messages.

    Returns:
        The images in [-1, 1], of shape ``(N, 3, H, W)``.

    Raises:
        SettingError: If one is missing.
    """
    there = {picture.name: picture for picture in read_captioned([folder], size, "").pictures}
    if missing := [picture.name for picture in of.pictures if picture.name not in there]:
        raise SettingError(
            f"{shown(folder)} has no {what} of the name {shown(missing[0], 60)}: each image has "
            "one of its own name there"
        )
    return Captioned([there[picture.name] for picture in of.pictures]).images


def _listed(folder: Path) -> dict[Path, str]:
    """Return the texts of the images that the lists of a folder, and of those in it, name."""
    found: dict[Path, str] = {}
    for file in sorted(folder.rglob(LIST)):
        documents.regular(file, LISTED)
        for i, line in enumerate(documents.read_text(file, LISTED).split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                name, text = row["file_name"], row["text"]
                if not isinstance(name, str) or not isinstance(text, str):
                    raise TypeError(name)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise SettingError(
                    f"line {i} of {shown(file, 100)} is to be an object with texts file_name and "
                    "text"
                ) from error
            found[file.parent / name] = text.strip()
    return found


def _text(entry: Entry, listed: Mapping[Path, str], prompt: str | None) -> str:
    """Return the text of an image."""
    beside = Path(entry.name).with_suffix(".txt")
    if beside.is_file() and prompt != "":
        documents.regular(beside, LONGEST)
        return documents.read_text(beside).strip()
    if (text := listed.get(Path(entry.name), prompt)) is None:
        raise SettingError(
            f"{shown(entry.name, 80)} has no text: give --prompt, or a file "
            f"{shown(beside.name, 60)} beside it, or a line of {LIST}"
        )
    return text


class CaptionedImages(ClassedImages):
    """Square images of folders, each with a text, in memory; the label is the number of its text.

    Arguments:
        paths: Folders, as of ``read_captioned``, or one ``.npz`` file of small images whose
            ``y_train`` holds texts.
        side: Side in pixels, to which images of folders are cut.
        prompt: What images of folders show that have no text of their own.

    Attributes:
        captions: The texts there are; ``labels`` counts in it.

    Raises:
        ImageError: If there are no images.
        SettingError: If an image has no text.
    """

    def __init__(self, paths: Sequence[Path], side: int = 64, prompt: str | None = None) -> None:
        if paths[0].suffix == ".npz":
            super().__init__(paths[0])
            if not self.captions:
                raise SettingError(
                    f"y_train of {shown(paths[0])} holds the numbers of classes; with --text it "
                    "holds a text for each image"
                )
            return
        found = read_captioned(paths, (side, side), prompt)
        pixels = torch.stack([picture.pixels for picture in found.pictures])
        self.captions, self.labels = numbered(found.texts)
        held_out = slice(HELD_OUT - 1, HELD_OUT * MOST_HELD_OUT, HELD_OUT)
        self.validation = [x.permute(1, 2, 0).numpy() for x in pixels[held_out]]
        kept = torch.ones(len(pixels), dtype=torch.bool)
        kept[held_out] = False
        self.pixels, self.labels = pixels[kept], self.labels[kept]
        self.skipped = found.skipped
        self.sources = {path.name: [*range(len(self.pixels))] for path in paths[:1]}

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Number of captions."""
        return len(self.captions)


def _cut(image: Image, size: tuple[int, int]) -> Tensor:
    """Return the middle of an image, scaled so that it is filled, uint8 ``(3, H, W)``."""
    height, width = size
    factor = max(height / image.shape[0], width / image.shape[1])
    h, w = (max(n, round(factor * m)) for n, m in zip(size, image.shape[:2], strict=True))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (w, h), interpolation=way) if factor != 1 else image
    top, left = (h - height) // 2, (w - width) // 2
    part = scaled[top : top + height, left : left + width]
    return torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)
