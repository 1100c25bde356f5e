"""The two things that a page may do to a recording: set a mark, and stop it.

Both are a POST with a JSON body. No form of another site can send one: its browser asks this server first whether it
may, and nobody answers; the token's cookie is not sent along; and its Origin is refused (:mod:`recd.ui.guard`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiohttp import web

from recd_client.control import Caller, is_session_id
from recd_client.errors import DaemonNotRunningError, NoSuchSessionError, OptionError, RecdError

from .. import __version__
from ..paths import socket_path

#: A request is refused beyond; a mark is some words.
MAX_BODY_BYTES: Final = 64 << 10
_ANSWER_S: Final = 10.0
#: What a mark may say: the daemon checks each.
_MARK: Final = ("label", "fields", "stream", "t", "seq")


def add_routes(app: web.Application, changed: Callable[[], object]) -> None:
    """Take ``POST /mark`` and ``POST /stop``; ``changed`` is called when the daemon's state is another one."""

    async def act(
        request: web.Request, op: str, asked: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="expected a body of type application/json\n")
        try:
            said = asked(_body(await request.read()))
            answer = await asyncio.to_thread(_call, op, said)
        except RecdError as e:
            return _json({"what": e.what, "do": e.do}, _STATUS.get(type(e), 409))
        changed()
        return _json(answer)

    async def mark(request: web.Request) -> web.Response:
        return await act(request, "mark", lambda b: {"session": _session(b), **_some(b, _MARK)})

    async def stop(request: web.Request) -> web.Response:
        return await act(
            request, "stop_session", lambda b: {"session": _session(b), **_some(b, ()), "by": "recd ui"}
        )

    app.router.add_post("/mark", mark)
    app.router.add_post("/stop", stop)


_STATUS: Final[dict[type[RecdError], int]] = {
    OptionError: 400,
    NoSuchSessionError: 404,
    DaemonNotRunningError: 503,
}


def _call(op: str, said: dict[str, Any]) -> dict[str, Any]:
    caller = Caller(socket_path(), role="cli", version=__version__)
    try:
        answer = caller.call(op, _ANSWER_S, said)
    finally:
        caller.close()
    return {key: value for key, value in answer.items() if key not in ("id", "ok")}


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except ValueError as e:
        raise OptionError(f"the body is no JSON: {e}", "send one JSON object") from None
    if not isinstance(body, dict):
        raise OptionError(f"the body is {body!r:.60}, expected an object", "send one JSON object")
    return body


def _session(body: dict[str, Any]) -> str:
    session = body.get("session")
    if not is_session_id(session):
        raise OptionError(f"session={session!r:.60}: expected a session's id", "see: recd status")
    return str(session)


def _some(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The members that a request may have beside its session."""
    strange = [name for name in body if name != "session" and name not in names]
    if strange:
        raise OptionError(
            f"{strange[0]!r:.60} is no part of this request", f"send: {', '.join(('session', *names))}"
        )
    return {name: body[name] for name in names if body.get(name) is not None}


def _json(told: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(told), content_type="application/json")
