"""The one page server of a runtime directory: who serves, and where."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiohttp import web

from recd_client.errors import IncompleteRecordingWarning, OutputError

from ..paths import ensure_runtime_dir, runtime_dir
from .guard import Guard
from .server import Server

_FILE: Final = "ui.json"
#: A page that is open holds the server up no longer than this when it ends.
_GRACE_S: Final = 1.0


class Served(NamedTuple):
    """A server that runs."""

    pid: int
    host: str
    port: int


def served() -> Served | None:
    """The server of this runtime directory; None if none runs."""
    try:
        with (runtime_dir() / _FILE).open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                told = json.loads(file.read())
                return Served(int(told["pid"]), str(told["host"]), int(told["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or one that is only starting
    return None


def listening(host: str, port: int, *, any_port: bool) -> socket.socket:
    """A socket that listens there; with ``any_port``, on a free one where that is taken.

    Raises
    ------
    OutputError
        Nothing can listen there.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            if not any_port:
                raise
            sock.bind((host, 0))
        sock.listen(128)
        return sock
    except OSError as e:
        raise OutputError(
            f"nothing can be served at {host}, port {port}: {e.strerror}", "choose with --host and --port"
        ) from None


def serve(sock: socket.socket, host: str, token: str, ready: Callable[[], object]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises
    ------
    OutputError
        Another server serves this runtime directory already.
    """
    port = int(sock.getsockname()[1])
    path = ensure_runtime_dir() / _FILE
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError("recd ui runs already", "its address: recd ui --url") from None
        try:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": host, "port": port}))
            file.flush()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IncompleteRecordingWarning)  # pages are told
                asyncio.run(_serve(sock, Guard(token, host, port), ready))
        finally:
            _forget(path, file)


def _forget(path: Path, file: Any) -> None:
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            path.unlink()


async def _serve(sock: socket.socket, guard: Guard, ready: Callable[[], object]) -> None:
    runner = web.AppRunner(Server(guard).app, access_log=None, shutdown_timeout=_GRACE_S)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    ready()
    await ended.wait()
    await runner.cleanup()
