"""Serving viewers until Ctrl-C, where only this machine can reach it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from .options import Options
from .server import Server


def serve(host: str, port: int, options: Options, ready: Callable[[Server], object]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises
    ------
    OutputError
        It cannot listen there.
    """
    asyncio.run(_serve(host, port, options, ready))


async def _serve(host: str, port: int, options: Options, ready: Callable[[Server], object]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = Server(host, port, options)
    ready(server)
    await server.run(ended)
