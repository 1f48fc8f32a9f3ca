"""Who may speak to the server, checked before anything of a request is read.

A page of another origin can send requests to this machine, and a name that it owns can be made to
point here (DNS rebinding). So the Host header must be the server's own, what changes something must
come from the server's own page or from a program, and all but the first address needs a token.
"""

import ipaddress
import secrets
import socket
from collections.abc import Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Refusal

__all__ = ["OPEN", "Guard", "hosts_of"]

OPEN = "none"  # the token of a server that asks for none
ANYWHERE = ("0.0.0.0", "::")
LOCAL = ("127.0.0.1", "localhost", "[::1]")
HEALTH = "/healthz"
SAFE = ("GET", "HEAD", "OPTIONS")
OWN_SITE = (None, "same-origin", "none")  # of Sec-Fetch-Site
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def hosts_of(host: str, port: int) -> frozenset[str]:
    """Return the Host headers that are those of a server."""
    own = f"[{host}]" if ":" in host else host
    names = {*LOCAL, own.lower()}
    if host in ANYWHERE:
        name = socket.gethostname().lower()
        names |= {name, f"{name}.local"}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


class Guard:
    """The checks in front of an application.

    Arguments:
        app: The application.
        token: What a request must carry; `OPEN` for nothing.
        host, port: Where the server listens. On all addresses of the machine (0.0.0.0) each
            number of an address is its own, at any port: only names can be made to point here.
        most: The most bytes of a request.
    """

    def __init__(self, app: ASGIApp, *, token: str, host: str, port: int, most: int) -> None:
        self.app = app
        self.token = token
        self.cookie = f"diffprior_token_{port}"  # cookies of all ports of a host are in one place
        self.anywhere = host in ANYWHERE
        self.hosts = hosts_of(host, port)
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        try:
            answer = self._check(scope, headers)
        except Refusal as refusal:
            answer = _refused(scope, refusal)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _complete(message)
            await send(message)

        if answer is not None:
            return await answer(scope, receive, send_with_headers)
        try:
            await self.app(scope, _counted(receive, self.most), send_with_headers)
        except Refusal as refusal:  # of the body, in a place that lets nothing else through
            if started:
                raise
            await _refused(scope, refusal)(scope, receive, send_with_headers)

    def _check(self, scope: Scope, headers: Headers) -> Response | None:
        """Return an answer that needs no application; refuse what may not be asked."""
        host = headers.get("host", "").lower()
        if host not in self.hosts and not (self.anywhere and _is_number(host)):
            raise Refusal(421, "this name is not that of the server; open the address that it said")
        if scope["path"] == HEALTH:
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        offered = query.get("token", [None])[0] if scope["method"] in SAFE else None
        if scope["path"] == "/" and offered is not None and self._fits(offered):
            return self._enter(query)
        self._check_token(headers, offered)
        self._check_origin(scope, headers, host)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.most:
            raise too_large(self.most)
        return None

    def _enter(self, query: dict[str, list[str]]) -> Response:
        """Return the answer that keeps the token in a cookie, and takes it out of the address."""
        rest = urlencode({k: v for k, v in query.items() if k != "token"}, doseq=True)
        answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return answer

    def _check_token(self, headers: Headers, offered: str | None) -> None:
        if self.token == OPEN:
            return
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [offered, bearer.strip() if kind.lower() == "bearer" else None]
        given += _cookies(headers.getlist("cookie"), self.cookie)
        if not any(self._fits(token) for token in given if token):
            raise Refusal(
                401,
                "a token is needed: open the address that `diffprior serve` printed, or send it "
                "as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def _check_origin(self, scope: Scope, headers: Headers, host: str) -> None:
        """Refuse what a page of another origin sends, or embeds."""
        site = headers.get("sec-fetch-site")
        navigates = scope["path"] == "/" and scope["method"] in SAFE  # a link to the page
        if site not in OWN_SITE and not navigates:
            raise Refusal(403, "a page of another origin may not ask this")
        if scope["method"] in SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refusal(403, "a page of another origin may not ask this")
        if origin is None and site is None and "cookie" in headers and not _is_program(headers):
            raise Refusal(403, "a browser says where such a request comes from; this one does not")


def too_large(most: int) -> Refusal:
    """Return the refusal of a request that is too long."""
    return Refusal(
        413, f"the request has more than {most} bytes; --max-bytes of diffprior serve allows more"
    )


def _is_program(headers: Headers) -> bool:
    """Return whether a request carries its token itself, as no browser does unasked."""
    return "authorization" in headers


def _is_number(host: str) -> bool:
    """Return whether a Host header names a machine by the number of its address."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _cookies(lines: Iterable[str], name: str) -> Sequence[str]:
    """Return the values of a cookie."""
    found = []
    for line in lines:
        try:
            jar: SimpleCookie = SimpleCookie(line)
        except CookieError:
            continue
        if name in jar:
            found.append(jar[name].value)
    return found


def _counted(receive: Receive, most: int) -> Receive:
    """Return a source of the body of a request that refuses to go on after so many bytes."""
    left = most

    async def count() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large(most)
        return message

    return count


def _complete(message: Message) -> None:
    """Add the headers that every answer has."""
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")


def _refused(scope: Scope, refusal: Refusal) -> Response:
    """Return the answer of a refusal: JSON, and a page for a person who opens the address."""
    if scope["path"] == "/" and scope["method"] == "GET":
        page = f"<!doctype html><title>diffprior</title><p>{refusal.sentence}.</p>"
        return HTMLResponse(page, refusal.status, refusal.headers)
    return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)
