"""A page server for tests, and a page without a browser that talks to it."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving import PATIENCE_S, Served


def asked(
    served: Served,
    path: str,
    method: str = "GET",
    *,
    token: bool = True,
    body: str | None = None,
    **headers: str,
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request with the path as it stands, and its answer."""
    known = {"Authorization": f"Bearer {served.token}"} if token else {}
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    link.request(method, path, body, {**known, **{k.replace("_", "-"): v for k, v in headers.items()}})
    answer = link.getresponse()
    data = answer.read()
    link.close()
    return answer, data


def told(served: Served, path: str) -> Any:
    """What is answered as JSON."""
    return json.loads(asked(served, path)[1])


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and body of a binary message."""
    length = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def points(message: bytes) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
    """Head, times (n,) and values (n, lines) of a plot."""
    head, body = unpacked(message)
    table = np.frombuffer(body, np.float64).reshape(head["lines"] + 1, head["rows"])
    return head, table[0], table[1:].T


class Page:
    """What a browser's page does, without drawing: it asks, takes, and says that it has drawn."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.draws = True
        self.rounds = 0

    async def show(self, **view: Any) -> None:
        """Ask for this view."""
        usual = {"op": "view", "clock": "sim", "span": 1000.0, "range": None, "plots": [], "pictures": []}
        await self.socket.send_json({**usual, **view})

    async def message(self) -> Any:
        """The next message, bytes or a dict; rounds are told as drawn."""
        got = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        if isinstance(got.data, bytes):
            return got.data
        told = json.loads(got.data)
        if told.get("type") == "round":
            self.rounds += 1
            if self.draws:
                await self.drawn(told["round"])
        return told

    async def drawn(self, number: int) -> None:
        """Say so."""
        await self.socket.send_json({"op": "drawn", "round": number})

    async def find(self, wanted: Callable[[Any], Any]) -> Any:
        """The first message for which ``wanted`` gives something, and that."""
        while True:
            if found := wanted(await self.message()):
                return found

    async def state(
        self, wanted: Callable[[dict[str, Any]], Any] = lambda s: s["sessions"]
    ) -> dict[str, Any]:
        """A state of the daemon that is as wanted."""
        told: dict[str, Any] = await self.find(
            lambda m: m if isinstance(m, dict) and m.get("type") == "state" and wanted(m) else None
        )
        return told

    async def plot(self, rows: int = 1) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
        """A plot's points with at least so many rows."""
        head, x, y = await self.find(
            lambda m: points(m) if isinstance(m, bytes) and unpacked(m)[0].get("rows", 0) >= rows else None
        )
        return head, x, y


@asynccontextmanager
async def opened(served: Served, **headers: str) -> AsyncIterator[Page]:
    """A page that is connected."""
    import aiohttp

    known = {"Authorization": f"Bearer {served.token}", "Origin": served.base, **headers}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{served.base}/live", headers=known, max_msg_size=0) as socket,
    ):
        yield Page(socket)


def plot_of(stream: str, field: str, lines: list[int], width: int = 800) -> dict[str, Any]:
    """A plot as a page asks for it."""
    return {"id": f"{stream}.{field}", "stream": stream, "field": field, "lines": lines, "width": width}
