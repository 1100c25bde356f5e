"""Serving viewers until Ctrl-C, where only this machine can reach it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
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
    if not asyncio.run(_serve(host, port, options, ready)):
        sys.stdout.flush()
        os._exit(
            0
        )  # an ordinary end would wait for the SDK's threads, which wait for a viewer that does not read


async def _serve(host: str, port: int, options: Options, ready: Callable[[Server], object]) -> bool:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = Server(host, port, options)
    ready(server)
    await server.run(ended)
    return server.stop()
