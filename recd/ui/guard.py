"""Who may look: the one who holds the token, from a page of ours, under a name of ours.

- The *token* proves the user: it lies in a file that only the user can read. The address that ``recd ui`` prints
  carries it once; the browser then keeps it in a cookie that scripts cannot read and other sites cannot use.
- The *Host* header must be a number, this machine's name, or what ``--host`` was given: a foreign name that was made to
  point here (DNS rebinding) is refused.
- The *Origin* of a WebSocket, and of anything that is not a plain GET, must be the page itself. What changes a
  recording must say one, unless it brings the token in a header, as no browser does: see :mod:`recd.ui.actions`.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from recd_client.errors import OutputError

from ..paths import state_dir

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,200}")
_COOKIE_AGE_S: Final = 365 * 86400
#: Nothing but our own files, and nobody may put the page into a frame.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def user_token() -> str:
    """The user's token, made on first use; it stays, so that addresses and cookies go on to hold.

    Raises
    ------
    OutputError
        It cannot be written, or others can read it.
    """
    path = state_dir() / "ui-token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(fd, "w") as f:
                f.write(secrets.token_urlsafe(24))
        found = path.stat()
        token = path.read_text().strip()
    except OSError as e:
        raise OutputError(
            f"the token of recd ui at {path}: {e.strerror}", "set XDG_STATE_HOME to a directory of your own"
        ) from None
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not _TOKEN.fullmatch(token):
        raise OutputError(f"the token at {path} is damaged, or others can read it", f"remove it: rm {path}")
    return token


class Guard:
    """Checks every request.

    Parameters
    ----------
    token : str
    host : str
        What the server listens on.
    port : int
        Cookies are shared by all ports of a host: the name tells them apart.
    """

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token
        self._cookie = f"recd-{port}"
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse, let in, or take the token out of the address into a cookie."""
        if not self.knows_host(request.host):
            raise web.HTTPMisdirectedRequest(text=f"no such host here: {request.host}\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="only the page of this server may ask\n")
        if origin is None and request.method not in ("GET", "HEAD", "POST"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        given = request.query.get("token")
        if given is None and request.path == "/enter" and request.method == "POST":
            given = str((await request.post()).get("token", ""))
        if given is not None:
            if not self._is_token(given):
                raise web.HTTPForbidden(
                    text=_ENTER.format("This token is not valid here."), content_type="text/html"
                )
            answer = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(
                self._cookie, given, max_age=_COOKIE_AGE_S, httponly=True, samesite="Lax", path="/"
            )
            return answer
        bearer = self._is_bearer(request)
        if origin is None and request.method == "POST" and not bearer:
            raise web.HTTPForbidden(text="only the page of this server may ask\n")
        if not self._is_token(request.cookies.get(self._cookie, "")) and not bearer:
            if request.path == "/":
                raise web.HTTPForbidden(text=_ENTER.format(""), content_type="text/html")
            raise web.HTTPForbidden(text="the token is missing; the address with it: recd ui --url\n")
        return await handler(request)

    def knows_host(self, host: str) -> bool:
        """Whether a Host header means this server: a number cannot be rebound, a name must be ours."""
        name = urlsplit(f"//{host}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _is_bearer(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and self._is_token(given)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer has them."""
    response.headers.update(HEADERS)


_ENTER: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>recd: token needed</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:1rem;color-scheme:light dark
}}
input,button{{font:inherit;padding:.4rem .6rem}} input{{width:100%;box-sizing:border-box;margin:.5rem 0}}</style>
<h1>recd: token needed</h1>
<p>Open the address that this prints, where the simulation runs:</p><pre>recd ui --url</pre>
<form method="post" action="/enter"><label for="token">or enter the token, the part behind <code>token=</code></label>
<input id="token" name="token" type="password" autocomplete="current-password" required><button>Open</button></form>
<p role="alert">{}</p></html>
"""
