"""The web server of the page: its files, the WebSocket with what is live, and what was recorded before."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from importlib import resources
from typing import Any, Final

import orjson
from aiohttp import WSMsgType, web

from recd_client.errors import ProtocolError, RecdError

from . import actions, past
from .feed import Channels
from .guard import Guard, add_headers
from .messages import checked_view
from .state import State
from .viewer import Viewer

#: Time from one round of messages to the next.
ROUND_S: Final = 1 / 40
#: Rounds that a page may have been sent and not drawn.
_AHEAD: Final = 2
_STATE_S: Final = 0.5
#: While no page is open, how often it is looked for rings to let go of.
_TIDY_S: Final = 5.0
_MAX_MESSAGE_BYTES: Final = 1 << 20
_HEARTBEAT_S: Final = 15.0
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain",
}

log = logging.getLogger(__name__)


class Server:
    """The page's server; everything runs in one event loop.

    Parameters
    ----------
    guard : Guard
    """

    def __init__(self, guard: Guard) -> None:
        self._state = State()
        self._channels = Channels()
        self._sockets: set[web.WebSocketResponse] = set()
        #: The daemon's state as text, new each time it is asked.
        self._told = ""
        self._asked = asyncio.Condition()
        #: The state is to be asked for at once: a page was opened, or something was done.
        self._opened = asyncio.Event()
        self._files = dict(_packaged())
        self.app = web.Application(middlewares=[guard.middleware], client_max_size=actions.MAX_BODY_BYTES)
        self.app.on_response_prepare.append(add_headers)
        self.app.router.add_get("/", self._file)
        self.app.router.add_get("/static/{name:.+}", self._file)
        self.app.router.add_get("/live", self._live)
        past.add_routes(self.app)
        actions.add_routes(self.app, self._opened.set)
        self.app.cleanup_ctx.append(self._asking)
        self.app.on_shutdown.append(self._hang_up)

    # --- files -----------------------------------------------------------------------------------
    async def _file(self, request: web.Request) -> web.Response:
        """A file of the page. They are known by name: no path is ever made from what a request says."""
        found = self._files.get(request.match_info.get("name", "index.html"))
        if found is None:
            raise web.HTTPNotFound
        body, kind = found
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    # --- the daemon's state ----------------------------------------------------------------------
    async def _asking(self, app: web.Application) -> Any:
        task = asyncio.create_task(self._ask())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        self._state.close()
        self._channels.close()

    async def _ask(self) -> None:
        while True:
            if self._sockets:
                try:
                    state = await asyncio.to_thread(self._state.ask)
                    self._channels.set_live(self._state.live, self._state.marks)
                    self._told = orjson.dumps(state).decode()
                except Exception:
                    log.exception("the daemon's state")
                async with self._asked:
                    self._asked.notify_all()
            wait_s = _STATE_S if self._sockets else _TIDY_S if self._channels.tidy() else None
            self._opened.clear()
            with suppress(asyncio.TimeoutError):  # a page that is opened need not wait
                await asyncio.wait_for(self._opened.wait(), wait_s)

    # --- live ------------------------------------------------------------------------------------
    async def _live(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_MAX_MESSAGE_BYTES, compress=False
        )
        await socket.prepare(request)
        page = _Page(socket, Viewer(self._channels))
        self._sockets.add(socket)
        tasks = [asyncio.create_task(page.rounds()), asyncio.create_task(self._states(page))]
        await asyncio.sleep(0)  # it waits for the state before that is asked for
        self._opened.set()
        try:
            await page.listen()
        finally:
            self._sockets.discard(socket)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return socket

    async def _states(self, page: _Page) -> None:
        while True:
            async with self._asked:
                await self._asked.wait()
            await page.send(self._told)

    async def _hang_up(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"the server ends")


class _Page:
    """One WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        self._socket = socket
        self._viewer = viewer
        self._round = self._drawn = 0
        self._wake = asyncio.Event()

    async def listen(self) -> None:
        """Take what the page says, until it is gone."""
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                break
            try:
                self._take(message.data)
            except ProtocolError as e:
                await self.send(orjson.dumps({"type": "error", "what": e.what, "do": e.do}).decode())

    def _take(self, text: str) -> None:
        try:
            said = orjson.loads(text)
            op = said["op"]
        except (ValueError, KeyError, TypeError) as e:
            raise ProtocolError(f"malformed message: {e!r}", "reload the page") from None
        if op == "view":
            self._viewer.show(checked_view(said))
        elif op == "drawn":
            drawn = said.get("round")
            if isinstance(drawn, int) and self._drawn < drawn <= self._round:
                self._drawn = drawn
            self._wake.set()
        else:
            raise ProtocolError(f"unknown message {op!r}", "reload the page")

    async def rounds(self) -> None:
        """Send what is new, round by round, never more than two that the page has not drawn."""
        clock = asyncio.get_running_loop().time
        next_s = clock()
        while True:
            next_s = max(next_s + ROUND_S, clock())
            await asyncio.sleep(next_s - clock())
            while self._round - self._drawn >= _AHEAD:
                self._wake.clear()
                await self._wake.wait()
            try:
                any_sent = False
                async for message in self._viewer.messages():
                    await self.send(message)
                    any_sent = True
            except RecdError as e:
                log.warning("%s", e)
                continue
            if any_sent:
                self._round += 1
                await self.send(f'{{"type":"round","round":{self._round}}}')

    async def send(self, message: str | bytes) -> None:
        """Send, waiting while the connection is full; a page that is gone is no error."""
        with suppress(ConnectionError):
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)


def _packaged() -> list[tuple[str, tuple[bytes, str]]]:
    """The page's files, with their types."""
    found = []
    top = resources.files(__package__) / "static"
    for folder in (top, top / "vendor"):
        for file in folder.iterdir():
            suffix = f".{file.name.rpartition('.')[2]}"
            if file.is_file() and suffix in _TYPES:
                name = file.name if folder is top else f"vendor/{file.name}"
                found.append((name, (file.read_bytes(), _TYPES[suffix])))
    return found
