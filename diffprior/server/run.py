"""The process of a server: its port, its signals, its end."""

import asyncio
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

import python_multipart  # noqa: F401 (forms need it)
import uvicorn

from ..cli.process import describe
from ..cli.streams import emit, say
from ..errors import DiffpriorError, SettingError
from ..validation import literal
from .app import create_app
from .security import OPEN
from .service import Config, Service

__all__ = ["run"]

PORT = 8080
TRIES = 50  # ports that are tried
GRACE = 6  # s that answers under way have at the end
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def run(config: Config, *, open_page: bool) -> int:
    """Serve until a signal comes; return the exit code.

    Arguments:
        config: How the server is started. Port 0 is 8080, or the next one that is free.
        open_page: Whether the page is opened in the browser.
    """
    if not config.token or not config.token.isascii() or not config.token.isprintable():
        say("a token is one or more plain characters (ASCII)")
        return 2
    try:
        listener = _listen(config.host, config.port)
    except DiffpriorError as error:
        say(describe(error))
        return 2
    config = replace(config, port=listener.getsockname()[1])
    service = Service(config)
    server = _server(service)
    with _signals(server, service):
        try:
            service.open()
            _wait(service)
        except (DiffpriorError, OSError) as error:
            service.close()
            say(describe(error))
            return 2
        except KeyboardInterrupt:
            service.close()
            say("stopped")
            return 0
        _announce(config, open_page)
        asyncio.run(server.serve([listener]))
        ended = service.close()
    say("stopped")
    if not ended:  # a step is under way, which no one can stop
        sys.stdout.flush()
        os._exit(0)
    return 0


def _server(service: Service) -> uvicorn.Server:
    """Return the server, which leaves the signals of the process alone."""
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)


def _wait(service: Service) -> None:
    """Wait for the prior; a signal ends the wait."""
    while True:
        with suppress(TimeoutError):
            service.worker.ready.result(timeout=0.2)
            return


@contextmanager
def _signals(server: uvicorn.Server, service: Service) -> Iterator[None]:
    """Let a signal end the server, and a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if not server.started:
            raise KeyboardInterrupt
        server.force_exit = server.should_exit
        server.should_exit = True
        threading.Thread(target=service.worker.close, args=(0.0,), daemon=True).start()

    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    server.capture_signals = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port, or on the first one from 8080 on that is free.

    Raises:
        SettingError: If it cannot be listened on.
    """
    wanted = [port] if port else range(PORT, PORT + TRIES)
    reason: OSError | None = None
    for number in wanted:
        try:
            listener = _bound(host, number)
        except OSError as error:
            reason = error
            continue
        if not port and number != PORT:
            say(f"port {PORT} is taken; {number} is used")
        return listener
    text = getattr(reason, "strerror", None) or reason
    where = f"port {port}" if port else f"ports {PORT} to {PORT + TRIES - 1}"
    raise SettingError(f"{where} of {literal(host, 60)} cannot be listened on: {text}")


def _bound(host: str, port: int) -> socket.socket:
    kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(kind, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _announce(config: Config, open_page: bool) -> None:
    """Say where the server is, and open its page."""
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host
    name = f"[{host}]" if ":" in host else host
    question = "" if config.token == OPEN else f"?token={config.token}"
    address = f"http://{name}:{config.port}/{question}"
    emit(address)
    if config.host not in ("127.0.0.1", "localhost", "::1"):
        say("other machines can reach the server; the token goes over the network unencrypted")
    say("the server runs; open the address, and stop it with Ctrl-C")
    if open_page:
        threading.Thread(target=_open, args=(address,), daemon=True).start()


def _open(address: str) -> None:
    with suppress(Exception):  # without a browser the address is there to be opened
        webbrowser.open(address)
