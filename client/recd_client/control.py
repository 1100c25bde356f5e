"""Control messages: framing, a version, a size cap, and a small blocking caller.

A message is a u32 little-endian length and that many bytes of UTF-8 JSON, one object::

    request   {"id": 7, "op": "attach", ...}
    reply     {"id": 7, "ok": true, ...}   or   {"id": 7, "ok": false, "error": {"code", "what", "do"}}

The first request on a connection is ``hello`` with the protocol version; another major version is
refused with a message. Samples never travel here, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .errors import DaemonNotRunningError, ProtocolError, RecdError, from_wire

PROTOCOL_MAJOR: Final = 1
PROTOCOL_MINOR: Final = 0
MAX_MESSAGE_BYTES: Final = 4 << 20
_RETRY_S: Final = 0.01
LENGTH: Final = struct.Struct("<I")
#: Bytes of a Unix socket path, its terminating NUL not counted.
MAX_SOCKET_PATH_BYTES: Final = 107
_SESSION_ID: Final = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


def new_session_id() -> str:
    """A name that sorts by time and is unique on this machine."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{stamp}-{os.urandom(3).hex()}"


def is_session_id(name: object) -> bool:
    """Whether a session may be called so."""
    return isinstance(name, str) and _SESSION_ID.fullmatch(name) is not None


def encode(message: dict[str, Any]) -> bytes:
    """The message's bytes on the wire.

    Raises
    ------
    ProtocolError
        It is larger than a message may be.
    """
    body = json.dumps(message, separators=(",", ":"), allow_nan=True).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise ProtocolError(
            f"control message of {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are allowed",
            "make metadata or options smaller",
        )
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """The message in ``body`` (without the length).

    Raises
    ------
    ProtocolError
        Not JSON, or no object.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise ProtocolError(f"control message is not JSON: {e}", "speak the recd control protocol") from None
    if not isinstance(message, dict):
        raise ProtocolError("control message is no JSON object", "speak the recd control protocol")
    return message


def check_socket_path(path: Path) -> None:
    """A clear error for a path that the system cannot bind or connect to."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise RecdError(
            f"the socket path {path} has {length} bytes, the system allows {MAX_SOCKET_PATH_BYTES}",
            "set RECD_RUNTIME_DIR to a shorter directory",
        )


class Caller:
    """A blocking connection to the daemon; one request at a time, from one thread at a time.

    Parameters
    ----------
    path : Path
        The daemon's socket.
    role : {"client", "cli", "worker"}
    version : str
        Version of the caller's distribution, for messages.
    timeout_s : float
        How long the daemon may take to answer the greeting.
    """

    def __init__(
        self, path: Path, *, role: str = "client", version: str = "", timeout_s: float = 10.0
    ) -> None:
        check_socket_path(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._next_id = 0
        try:
            self._connect(path, timeout_s)
            self.server = self.call(
                "hello",
                protocol=[PROTOCOL_MAJOR, PROTOCOL_MINOR],
                role=role,
                version=version,
                timeout_s=timeout_s,
            )
        except OSError as e:
            self._socket.close()
            if isinstance(e, RecdError):
                raise
            raise DaemonNotRunningError(f"no recd answers at {path} ({e})", "start one: recd start") from None
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, path: Path, timeout_s: float) -> None:
        """Connect; where too many wait to be accepted, wait too."""
        deadline = time.monotonic() + timeout_s
        self._socket.settimeout(timeout_s)
        while True:
            try:
                self._socket.connect(str(path))
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)

    def call(
        self, op: str, timeout_s: float | None = None, members: Mapping[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Send a request and return its reply.

        Parameters
        ----------
        op : str
        timeout_s : float, optional
            How long to wait for the reply; not sent.
        members : mapping, optional
            What the request says, with any names (``timeout_s`` too); ``fields`` adds to it.

        Raises
        ------
        RecdError
            What the daemon answered, as the same class.
        DaemonNotRunningError
            The connection broke or no reply came within ``timeout_s``; the connection is closed.
        """
        self._next_id += 1
        request = encode({**(members or {}), **fields, "id": self._next_id, "op": op})
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(request)
            while True:
                reply = decode(self._receive(LENGTH.unpack(self._receive(4, deadline))[0], deadline))
                if reply.get("id") == self._next_id:
                    break
        except OSError as e:
            self.close()
            raise DaemonNotRunningError(
                f"the daemon did not answer {op!r}: {e or type(e).__name__}", "see: recd status"
            ) from None
        except BaseException:
            self.close()  # half a reply may be left in the stream
            raise
        if not reply.get("ok"):
            raise from_wire(reply.get("error"))
        return reply

    def _receive(self, n: int, deadline: float | None) -> bytes:
        if n > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"reply of {n} bytes", "is this really recd's socket?")
        parts = bytearray()
        while len(parts) < n:
            if deadline is not None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError("timed out")
                self._socket.settimeout(left_s)
            got = self._socket.recv(n - len(parts))
            if not got:
                raise ConnectionResetError("connection closed")
            parts += got
        return bytes(parts)

    def detach(self) -> socket.socket:
        """Hand the connection over, for a peer that both asks and answers on it."""
        sock, self._socket = self._socket, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.close()
        return sock

    def hung_up(self) -> bool:
        """Whether the daemon's end is closed; never blocks."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def fileno(self) -> int:
        """The connection's descriptor, -1 when closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
