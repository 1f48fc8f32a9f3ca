"""Options that several commands share.

This module imports nothing heavy.
"""

from typing import Annotated

import typer

__all__ = ["Backend", "Device", "MaxPixels", "Prior"]

Prior = Annotated[
    str | None,
    typer.Option(
        help="Prior to use: a shipped name, a folder, a file or a hub id; "
        "default: the shipped prior of photographs."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, "
        "a GPU where there is one."
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="What computes the network: torch; or openvino, which is faster on a CPU with "
        "bfloat16 and needs the extra openvino; default: torch."
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**40,
        help="The largest number of pixels of an image that is read; default: 268 million.",
    ),
]
