"""The command of the server: serve.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

from typing import Annotated

import typer

from ..cli.serving import Backend, Device, MaxPixels, Prior
from ..cli.streams import say

__all__ = ["serve"]

ADVICE = "serve needs the extra app: pip install 'diffprior[app]'"


def serve(  # noqa: PLR0913 (the options of the command)
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; default: 8080, or the next one that is free."),
    ] = None,
    open: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    prior: Prior = None,
    device: Device = None,
    backend: Backend = None,
    max_pixels: MaxPixels = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**40, help="The largest number of bytes of a request; default: 512 MB."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="Jobs that may wait.")] = 100,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DIFFPRIOR_TOKEN",
            help="Token that requests must carry; default: a random one. "
            '"none" asks for none, for programs on this machine that know none.',
        ),
    ] = None,
) -> None:
    """Open a page in the browser to work on images, which programs can speak to, too.

    The page is on this machine alone, and needs no internet. Its address, with the token that it
    asks for, is printed on standard output. Ctrl-C stops the server; what it kept is removed.
    """
    try:
        from .run import run
    except ImportError as error:
        if error.name not in ("fastapi", "pydantic", "python_multipart", "starlette", "uvicorn"):
            raise
        say(ADVICE)
        raise typer.Exit(2) from None
    from ..io import files
    from .limits import BYTES, Limits
    from .service import Config

    limits = Limits(
        pixels=files.LIMIT if max_pixels is None else max_pixels,
        bytes=BYTES if max_bytes is None else max_bytes,
        jobs=jobs,
    )
    given = {} if token is None else {"token": token}
    config = Config(
        host=host,
        port=port or 0,
        prior=prior,
        device=device,
        backend=backend,
        limits=limits,
        **given,
    )
    raise typer.Exit(run(config, open_page=open))
