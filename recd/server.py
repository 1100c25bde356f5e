"""The control socket: connections, framing, who may speak. What is said is the supervisor's business."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from recd_client import control
from recd_client.errors import LimitError, ProtocolError, RecdError, VersionMismatchError, to_wire

from . import __version__
from .guests import consent
from .limits import Limits

_PEER: Final = struct.Struct("3i")
_HELLO_TIMEOUT_S: Final = 10.0
#: Who comes while so many wait to be accepted is turned away by the kernel, and tries again.
_BACKLOG: Final = 1024
#: Connections beyond the limit that are still heard, to be told so.
_UNHEARD: Final = 64

log = logging.getLogger(__name__)


class Connection:
    """One peer: a client, the command line, or a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        sock = writer.get_extra_info("socket")
        self.pid, self.uid, _ = _PEER.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        #: Set once the peer has joined as a worker: its messages go there.
        self.on_message: Callable[[dict[str, Any]], None] | None = None
        self.on_close: Callable[[], None] | None = None

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None at the end.

        Raises
        ------
        ProtocolError
            What came is no message.
        """
        try:
            (length,) = control.LENGTH.unpack(await self._reader.readexactly(control.LENGTH.size))
            if length > control.MAX_MESSAGE_BYTES:
                raise ProtocolError(
                    f"message of {length} bytes, at most {control.MAX_MESSAGE_BYTES} are allowed", "send less"
                )
            return control.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; a peer that is gone is no error."""
        if not self._writer.is_closing():
            self._writer.write(control.encode(message))

    async def drain(self) -> None:
        """Wait until the peer has taken what was sent."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


Handler = Callable[[Connection, dict[str, Any]], Awaitable[dict[str, Any]]]


class Server:
    """Accepts connections on the control socket and hands their requests to ``handler``, one at a time each.

    Parameters
    ----------
    path : Path
        The socket; the caller holds the daemon's lock, so one that is there is stale.
    handler : coroutine function
        ``(connection, request) -> reply``; an exception becomes an error reply.
    limits : Limits
    """

    def __init__(self, path: Path, handler: Handler, limits: Limits) -> None:
        self._limits = limits
        self._path = path
        self._handler = handler
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[Connection] = set()

    async def start(self) -> None:
        """Begin to listen; the socket exists, with mode 0600, when this returns."""
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            sock.bind(str(self._path))
        finally:
            os.umask(old)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, backlog=_BACKLOG)

    async def stop(self) -> None:
        """Stop listening, end all connections, remove the socket."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            await connection.drain()
            connection.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._connections.add(connection)
        try:
            if len(self._connections) > self._limits.connections + _UNHEARD:
                return
            if await self._welcome(connection):
                while (request := await connection.receive()) is not None:
                    if connection.on_message is not None:
                        connection.on_message(request)
                    else:
                        await self._answer(connection, request)
        except ProtocolError as e:
            connection.send({"id": None, "ok": False, "error": to_wire(e)})
        except asyncio.CancelledError:
            return
        finally:
            self._connections.discard(connection)
            connection.close()
            if connection.on_close is not None:
                connection.on_close()

    async def _welcome(self, connection: Connection) -> bool:
        """Answer the hello; False when this peer must not speak."""
        try:
            hello = await asyncio.wait_for(connection.receive(), _HELLO_TIMEOUT_S)
        except asyncio.TimeoutError:
            return False
        if hello is None:
            return False
        error: RecdError | None = None
        version = hello.get("protocol")
        if connection.uid not in (os.getuid(), 0):
            error = ProtocolError(f"this daemon serves uid {os.getuid()} only", "start one of your own")
        elif hello.get("op") != "hello" or not isinstance(version, list) or not version:
            error = ProtocolError("the first message must be a hello with a protocol version", "update recd")
        elif version[0] != control.PROTOCOL_MAJOR:
            error = VersionMismatchError(
                f"the client speaks control protocol {version[0]}, this daemon (recd {__version__}) "
                f"{control.PROTOCOL_MAJOR}",
                "install matching versions of recd and recd-client, then: recd restart",
            )
        else:
            error = self._too_many()
        if error is not None:
            connection.send({"id": hello.get("id"), "ok": False, "error": to_wire(error)})
            await connection.drain()
            return False
        connection.send(
            {
                "id": hello.get("id"),
                "ok": True,
                "protocol": [control.PROTOCOL_MAJOR, control.PROTOCOL_MINOR],
                "version": __version__,
                "pid": os.getpid(),
                "runtime_dir": str(self._path.parent),
                "allow_code": consent.given(),
            }
        )
        return True

    def _too_many(self) -> LimitError | None:
        """Why no further connection is welcome; None if it is."""
        try:
            self._limits.check(
                "connections", len(self._connections) - 1, 1, "connections", "close some clients"
            )
        except LimitError as e:
            return e
        return None

    async def _answer(self, connection: Connection, request: dict[str, Any]) -> None:
        try:
            reply = {"ok": True, **await self._handler(connection, request)}
        except RecdError as e:
            reply = {"ok": False, "error": to_wire(e)}
        except (KeyError, TypeError, ValueError) as e:
            log.warning("malformed %r request: %r", request.get("op"), e)
            error = ProtocolError(f"malformed {request.get('op')!r} request: {e!r}", "update recd-client")
            reply = {"ok": False, "error": to_wire(error)}
        except Exception as e:
            log.exception("request %r", request.get("op"))
            reply = {"ok": False, "error": to_wire(e)}
        connection.send({"id": request.get("id"), **reply})
        await connection.drain()
