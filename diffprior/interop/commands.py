"""The command for assistants: mcp.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

from pathlib import Path
from typing import Annotated

import typer

from ..cli.serving import Backend, Device, MaxPixels, Prior
from ..cli.streams import say

__all__ = ["mcp"]

ADVICE = "mcp needs the extra mcp: pip install 'diffprior[mcp]'"
PARTS = ("mcp", "mcp_types", "anyio", "jsonschema", "starlette")  # of the extra


def mcp(
    folder: Annotated[
        Path,
        typer.Option(help="The folder that is read and written in, and nothing outside of it."),
    ] = Path("."),
    prior: Prior = None,
    device: Device = None,
    backend: Backend = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Offer the tasks to assistants, as tools of the Model Context Protocol.

    An assistant starts this command and speaks to it over standard input and output. The tools take
    the names of files in the folder, write beside them, and never overwrite one.
    """
    if not folder.is_dir():
        raise typer.BadParameter(f"--folder is a folder that exists, got {str(folder)!r}")
    try:
        from .mcp import serve
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in PARTS:
            raise
        say(ADVICE)
        raise typer.Exit(2) from None
    from ..io import files
    from .toolbox import Toolbox

    machine = {"prior": prior, "device": device, "backend": backend}
    limit = files.LIMIT if max_pixels is None else max_pixels
    serve(Toolbox(root=folder.resolve(), machine=machine, limit=limit))
