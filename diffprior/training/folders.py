"""The files that a part of a model saves itself as, in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..pretrained.components import quiet

__all__ = ["saved_files"]


def saved_files(part: Any) -> dict[str, bytes]:
    """Return the files of a network or a tokenizer by their names, as its library writes them.

    Arguments:
        part: What has ``save_pretrained`` of diffusers or transformers.
    """
    with TemporaryDirectory() as folder, quiet():
        part.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}
