"""Settings that are images: one file for all inputs, or a folder with one for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError, SettingError
from ..io import files, masks
from ..io.arrays import Images
from ..validation import shown
from .outputs import Input

__all__ = ["ImageFolder", "read_setting", "settings_of", "unused"]

ENDINGS = ("", "_mask", "-mask", ".mask")  # after the name of the input, in the order of preference
SHOWN = ".mask.shown"  # of the pictures that `diffprior mask` writes beside its masks


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder with an image for each input: ``a.png`` or ``a_mask.png`` for ``a.jpg``.

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
        for ending in ENDINGS:
            found = [path for path in self.paths if path.stem == source.stem + ending]
            if len(found) > 1:
                names = " and ".join(shown(path.name) for path in found[:2])
                raise ImageError(f"{shown(self.folder)} holds {names} for it; leave one of them")
            if found:
                return found[0]
        raise ImageError(
            f"{shown(self.folder)} holds no image for it; name one {shown(source.stem)}.png"
        )


def read_setting(path: Path, limit: int) -> Images | ImageFolder:
    """Return the image in a file, or the images in a folder.

    Arguments:
        limit: The most pixels of an image that is read.

    Raises:
        SettingError: If nothing can be read there.
    """
    try:
        return ImageFolder.of(path) if path.is_dir() else masks.read_mask(path, limit)
    except ImageError as error:
        raise SettingError(str(error)) from error


def settings_of(values: Mapping[str, Any], source: Input, limit: int) -> dict[str, Any]:
    """Return the settings for one input: of each folder the image for it.

    Raises:
        ImageError: If a folder has none, or it cannot be read.
    """
    settings = dict(values)
    for name, value in values.items():
        if isinstance(value, ImageFolder):
            settings[name] = masks.read_mask(value.path_for(source), limit)
    return settings


def unused(values: Mapping[str, Any], inputs: Sequence[Input]) -> Iterator[str]:
    """Yield what to say of the images in folders that belong to no input."""
    stems = {path.stem + ending for path in inputs if isinstance(path, Path) for ending in ENDINGS}
    for value in values.values():
        if isinstance(value, ImageFolder):
            for path in value.paths:
                if path.stem not in stems:
                    yield f"{shown(path)} belongs to no input"
