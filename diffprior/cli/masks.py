"""Settings that are images: one file for all inputs, a folder with one for each, or a list."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError, SettingError
from ..io import files, masks
from ..io.arrays import Images
from ..validation import shown
from .inputs import folder_images
from .naming import identity
from .outputs import Input

__all__ = [
    "ImageFolder",
    "ImageList",
    "open_setting",
    "read_setting",
    "settings_of",
    "unused",
    "without_masks",
]

ENDINGS = ((".mask", "_mask", "-mask"), ("",))  # after the name of the input; the first ones first
SHOWN = ".mask.shown"  # of the images that `diffprior mask` writes beside its masks


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder with an image for each input, as ``a.mask.png``, ``a_mask.png`` or ``a.png``.

    Names that differ in case alone, or in how they write an accent, are one where none is the same.
    Where ``a.jpg`` and ``a.png`` are both worked on, ``a.jpg.mask.png`` is that of the first.

    Attributes:
        folder: The folder.
        paths: The images in it.
    """

    folder: Path
    paths: Sequence[Path]

    @classmethod
    def of(cls, folder: Path) -> "ImageFolder":
        """Return a folder with the images in it; there must be one at least."""
        paths = files.find([str(folder)])
        return cls(folder=folder, paths=[p for p in paths if not p.stem.endswith(SHOWN)])

    def path_for(self, source: Input) -> Path:
        """Return the image for an input.

        Raises:
            ImageError: If there is none, or more than one.
        """
        if not isinstance(source, Path):
            raise ImageError(f"{shown(self.folder)} is a folder; for standard input give a file")
        own = identity(source)
        for same in (str, _alike):
            for names in _names(source):
                wanted = {same(name) for name in names}
                named = [path for path in self.paths if same(path.stem) in wanted]
                found = [path for path in named if identity(path) != own]
                if len(found) > 1:
                    two = " and ".join(shown(path.name) for path in found[:2])
                    raise ImageError(f"{shown(self.folder)} holds {two} for it; leave one of them")
                if found:
                    return found[0]
        raise ImageError(
            f"{shown(self.folder)} holds no image for it; name one {shown(source.stem)}.png"
        )


def _names(source: Path) -> Iterator[list[str]]:
    """Yield what images for an input may be called, without their suffix: the likeliest first."""
    for endings in ENDINGS:
        for name in (source.name, source.stem):
            yield [name + ending for ending in endings]


def _alike(name: str) -> str:
    """Return a name as file systems know it that tell neither case nor kinds of accents apart."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """Images that all inputs have in common, but that none of them is to itself.

    Attributes:
        images: The files, and what they hold once they are read.
    """

    images: Mapping[Path, Images | None]

    @classmethod
    def of(cls, words: Sequence[Path]) -> "ImageList":
        """Return the images that files and folders stand for, without results and masks there."""
        found: dict[str, Path] = {}
        for word in words:
            for path in folder_images(word) if word.is_dir() else [word]:
                found.setdefault(identity(path), path)
        return cls(images=dict.fromkeys(found.values()))

    def read(self, limit: int) -> "ImageList":
        """Return the list with what the files hold."""
        return ImageList(images={path: masks.read_mask(path, limit) for path in self.images})

    def images_for(self, source: Input) -> list[Images] | None:
        """Return all images but an input; None for none."""
        own = identity(source) if isinstance(source, Path) else None
        found = [x for path, x in self.images.items() if x is not None and identity(path) != own]
        return found or None


def open_setting(value: Any) -> Any:
    """Return a setting; of a folder, or of files and folders, the images are listed.

    Raises:
        SettingError: If a folder holds none.
    """
    try:
        if isinstance(value, list):
            return ImageList.of(value)
        return ImageFolder.of(value) if isinstance(value, Path) and value.is_dir() else value
    except ImageError as error:
        raise SettingError(str(error)) from error


def read_setting(setting: Path | ImageList, limit: int) -> Images | ImageList:
    """Return the image in a file, or the list with what its files hold.

    Arguments:
        limit: The most pixels of an image that is read.

    Raises:
        SettingError: If it cannot be read.
    """
    try:
        if isinstance(setting, ImageList):
            return setting.read(limit)
        return masks.read_mask(setting, limit)
    except ImageError as error:
        raise SettingError(str(error)) from error


def settings_of(values: Mapping[str, Any], source: Input, limit: int) -> dict[str, Any]:
    """Return the settings for one input: of each folder the image for it, of a list the others.

    Raises:
        ImageError: If a folder has none, or it cannot be read.
    """
    settings = dict(values)
    for name, value in values.items():
        if isinstance(value, ImageFolder):
            settings[name] = masks.read_mask(value.path_for(source), limit)
        elif isinstance(value, ImageList):
            settings[name] = value.images_for(source)
    return settings


def without_masks(values: Mapping[str, Any], inputs: Sequence[Input]) -> Sequence[Input]:
    """Return the inputs without the masks of the others, by their names, in the same folder."""
    left_out: set[str] = set()
    for value in values.values():
        if isinstance(value, ImageFolder):
            for source in inputs:
                with suppress(ImageError):  # said when its turn comes
                    path = value.path_for(source)
                    if _alike(path.stem).endswith(ENDINGS[0]):
                        left_out.add(identity(path))
    return [s for s in inputs if not (isinstance(s, Path) and identity(s) in left_out)]


def unused(values: Mapping[str, Any], inputs: Sequence[Input]) -> Iterator[str]:
    """Yield what to say of the images in folders that belong to no input, nor are one."""
    sources = [path for path in inputs if isinstance(path, Path)]
    known = {_alike(name) for path in sources for names in _names(path) for name in names}
    own = {identity(path) for path in sources}
    for value in values.values():
        if isinstance(value, ImageFolder):
            for path in value.paths:
                if _alike(path.stem) not in known and identity(path) not in own:
                    yield f"{shown(path)} belongs to no input"
