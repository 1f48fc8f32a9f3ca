"""The parts of one server: its folder, its files, its worker."""

import secrets
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, catalog
from ..runtime.placement import device_of
from .answers import ServerInfo
from .jobs import Worker
from .limits import Limits
from .notes import routed
from .store import Store

__all__ = ["Config", "Service"]

PATIENCE = 5.0  # s that the end waits for a step that is under way


@dataclass(frozen=True, kw_only=True)
class Config:
    """How a server is started.

    Attributes:
        host, port: Where it listens.
        token: What a request must carry; "none" for nothing.
        prior, device, backend: What the tasks work with, as of the command line.
        limits: What it accepts.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    prior: str | None = None
    device: str | None = None
    backend: str | None = None
    limits: Limits = field(default_factory=Limits)


class Service:
    """What a server works with while it is open.

    Arguments:
        config: How it is started.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store: Store
        self.worker: Worker
        self.run = secrets.token_hex(8)  # tells this run of the server from others
        self.folder: Path | None = None
        self._open = ExitStack()

    def open(self) -> None:
        """Make the folder, and start the worker, which opens the prior."""
        self._open.enter_context(routed())
        self.folder = Path(tempfile.mkdtemp(prefix="diffprior-"))
        limits = self.config.limits
        self.store = Store(self.folder, limits)
        machine = {
            "prior": self.config.prior,
            "device": self.config.device,
            "backend": self.config.backend,
        }
        self.worker = Worker(self.store, limits, machine)
        self.worker.start()

    def close(self) -> bool:
        """Cancel what is under way, and remove the folder; return whether the worker ended."""
        if self.folder is None:
            return True
        ended = self.worker.close(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None
        self._open.close()
        return ended

    @property
    def prior(self) -> Any:
        """The prior, once it is open; errors as of ``load_prior``."""
        return self.worker.ready.result()

    def describe(self) -> ServerInfo:
        """Return what the server is."""
        limits = self.config.limits
        name = str(self.prior.name)
        waiting = sum(not job.over for job in self.worker.list())
        return ServerInfo(
            run=self.run,
            version=__version__,
            prior=name,
            prior_title=_title(name),
            device=str(device_of(self.config.device)),
            max_pixels=limits.pixels,
            max_bytes=limits.bytes,
            jobs=limits.jobs,
            queue=waiting,
        )


def _title(name: str) -> str:
    """Return the heading of the card of a shipped prior, or its name."""
    folder = catalog.shipped_priors().get(name)
    if folder is None:
        return name
    lines = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), name)
