"""Serves the pages of a site, and nothing else: no path of the disk, no method that changes.

Who may ask is decided for every request before anything is looked up:

- the ``Host`` must be this machine, so that a foreign name that was made to point here (DNS
  rebinding) gets nothing;
- a request that a page of another origin sends is refused (``Origin``, ``Sec-Fetch-Site``);
- where the server listens beyond this machine, a token must be known.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import platform
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from steep.base.extras import named
from steep.cli.watch import pages
from steep.cli.watch.site import Site
from steep.spec.load import QuestionError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8484
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_TYPES = {"css": "text/css", "js": "text/javascript", "json": "application/json"}


@dataclass(frozen=True)
class AccessPolicy:
    """Who may come in."""

    names: frozenset[str]
    """Host names of this machine, lower case, besides its addresses."""
    beyond: bool = False
    """Whether it listens beyond this machine: any address of it is a ``Host`` then."""
    token: str | None = None
    """What a visitor must know; None: nothing."""
    cookie: str = "steep"

    def refuses(self, headers: Mapping[str, list[str]], query: Mapping[str, list[str]]) -> str:
        """Why a request is refused; '' if it is not. ``headers`` have lower-case names."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            return "This server answers only under the name of its own machine."
        origins = headers.get("origin", [])
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return "This server answers only to its own pages."
        if headers.get("sec-fetch-site", ["none"])[0] in ("cross-site", "same-site"):
            navigates = headers.get("sec-fetch-mode", [""])[0] == "navigate"
            if not navigates or headers.get("sec-fetch-dest", [""])[0] != "document":
                return "This server answers only to its own pages."
        if self.token is not None and not self._knows(headers, query):
            return "This page needs its token: open the address that 'steep watch' printed."
        return ""

    def _is_here(self, host: str) -> bool:
        """Whether the ``Host`` header names this machine. Its port does not matter: a tunnel may
        have another."""
        name = host.strip().lower()
        name = name[1 : name.find("]")] if name.startswith("[") else name.partition(":")[0]
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.beyond

    def _knows(self, headers: Mapping[str, list[str]], query: Mapping[str, list[str]]) -> bool:
        jar: SimpleCookie = SimpleCookie()
        with suppress(CookieError):
            jar.load("; ".join(headers.get("cookie", [])))
        given = list(query.get("token", []))
        if self.cookie in jar:
            given.append(jar[self.cookie].value)
        for text in headers.get("authorization", []):
            kind, _, value = text.partition(" ")
            given += [value] if kind.lower() == "bearer" else []
        wanted = (self.token or "").encode()
        return any(hmac.compare_digest(one.encode(), wanted) for one in given)


def access_policy(host: str, port: int, token: str | None) -> AccessPolicy:
    """Who may come in where the server listens on ``host``; ``token`` only counts beyond this
    machine."""
    beyond = not _is_loopback(host)
    names = {"localhost"}
    if beyond:
        names |= {platform.node().lower(), socket.getfqdn().lower(), host.lower()} - {""}
    return AccessPolicy(frozenset(names), beyond, token if beyond else None, f"steep-{port}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int | None) -> socket.socket:
    """A socket on ``host``; without a ``port``, on the usual one or, if that is taken, on any.

    Raises QuestionError if it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port or DEFAULT_PORT, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror:
        raise QuestionError(f"--host {host}: this machine has no such address") from None
    for candidate in (port,) if port is not None else (DEFAULT_PORT, 0):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], candidate, *address[2:]))
        except OSError as error:
            listener.close()
            reason = error.strerror
            continue
        listener.listen(64)
        return listener
    raise QuestionError(f"{host} port {port or DEFAULT_PORT} cannot be listened on: {reason}")


Scope = dict[str, Any]


def application(site: Site, access: AccessPolicy) -> Callable[[Scope, Any, Any], Awaitable[None]]:
    """The site as an ASGI application."""
    with named():
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, content, more = await run_in_threadpool(respond, scope, site, access)
        response = Response(content, status, HEADERS | more)
        await response(scope, receive, send)

    return app


Answer = tuple[int, str, dict[str, str]]


def respond(scope: Scope, site: Site, access: AccessPolicy) -> Answer:
    """The answer to a request: status, content, and headers besides ``HEADERS``."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if scope["method"] not in ("GET", "HEAD"):
        return _plain(405, "Nothing can be changed here.", {"Allow": "GET, HEAD"})
    if reason := access.refuses(headers, query):
        return _plain(401 if "token" in reason else 403, reason)
    if access.token is not None and "token" in query:  # out of the address bar, into a cookie
        rest = urlencode({k: v for k, v in query.items() if k != "token"}, doseq=True)
        place = scope["raw_path"].decode("latin-1") + (f"?{rest}" if rest else "")
        cookie = f"{access.cookie}={access.token}; HttpOnly; SameSite=Strict; Path=/"
        return _plain(303, "", {"Location": _local(place), "Set-Cookie": cookie})
    return page(scope["path"], query.get("part", [None])[0], site)


def _local(place: str) -> str:
    """A path that cannot lead to another machine: '//name' would."""
    return "/" + place.lstrip("/\\")


def page(path: str, part: str | None, site: Site) -> Answer:
    """A page, its state, one of its parts, or what pages load."""
    path = path.removeprefix("/")
    if path == "" or path.endswith("/"):
        path += "index.html"
    stem, _, ending = path.rpartition(".")
    if path in pages.assets():
        kind = {"Content-Type": f"{_TYPES[ending]}; charset=utf-8"}
        return 200, pages.assets()[path], kind
    view = site.view(stem) if ending in ("html", "json") else None
    if view is None:
        return _plain(404, "There is no such page.")
    if ending == "json":
        text = json.dumps(view.state(), allow_nan=False)
        return 200, text, {"Content-Type": "application/json; charset=utf-8"}
    kind = {"Content-Type": "text/html; charset=utf-8"}
    if part is None:
        return 200, pages.html_of(view, path, served=True), kind
    parts = {one.name: one for one in view.parts}
    # a part that has gone since the page listed it is no error
    return (200, str(parts[part].html), kind) if part in parts else (204, "", {})


def _plain(status: int, text: str, more: Mapping[str, str] | None = None) -> Answer:
    return status, text, {"Content-Type": "text/plain; charset=utf-8"} | dict(more or {})


def serve(site: Site, listener: socket.socket, access: AccessPolicy) -> None:
    """Answer requests until the process is interrupted."""
    with named():
        import uvicorn

    config = uvicorn.Config(
        application(site, access),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
