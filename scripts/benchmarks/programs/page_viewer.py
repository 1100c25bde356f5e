"""A page of ``recd ui`` without a browser: ``page_viewer.py URL SERIES CAMERAS [SESSION]``.

It asks for so many lines and cameras of what is live, takes what comes, and says at once that it was drawn, so
that it is sent as much as any page could be. It prints ``seen`` when everything has come once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp

WIDTH = 640
SPAN_S = 10.0


def wanted(sessions: list[dict[str, Any]], series: int, cameras: int) -> dict[str, Any] | None:
    """The view of the first so many lines and cameras; None while there are fewer."""
    plots: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for stream in (stream for session in sessions for stream in session["streams"]):
        for field in stream["fields"]:
            place = {
                "id": f"{stream['key']}.{field['name']}",
                "stream": stream["key"],
                "field": field["name"],
                "width": WIDTH,
            }
            lines = min(len(field["labels"]), series - sum(len(p["lines"]) for p in plots))
            if field["kind"] == "lines" and lines > 0:
                plots.append({**place, "lines": list(range(lines))})
            elif field["kind"] == "picture" and len(pictures) < cameras:
                pictures.append({**place, "map": "gray", "scale": None})
    if sum(len(p["lines"]) for p in plots) < series or len(pictures) < cameras:
        return None
    return {
        "op": "view", "clock": "sim", "span": SPAN_S, "range": None, "plots": plots, "pictures": pictures,
    }  # fmt: skip


async def look(url: str, series: int, cameras: int, session: str) -> None:
    """Look until the server hangs up; at any session if none is given."""
    base, _, token = url.partition("/?token=")
    headers = {"Authorization": f"Bearer {token}", "Origin": base}
    view: dict[str, Any] | None = None
    waiting: set[str] = set()
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{base}/live", headers=headers, max_msg_size=0) as socket,
    ):
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                length = int.from_bytes(message.data[:4], "little")
                head = json.loads(message.data[4 : 4 + length])
                if waiting and head.get("id") in waiting:
                    waiting.discard(head["id"])
                    if not waiting:
                        print("seen", flush=True)
                continue
            told = json.loads(message.data)
            if told.get("type") == "round":
                await socket.send_json({"op": "drawn", "round": told["round"]})
            elif told.get("type") == "state" and view is None:
                sessions = [s for s in told["sessions"] if session in ("", s["session"])]
                view = wanted(sessions, series, cameras)
                if view is not None:
                    waiting = {p["id"] for p in (*view["plots"], *view["pictures"])}
                    await socket.send_json(view)


if __name__ == "__main__":
    url, series, cameras, session = (*sys.argv[1:], "")[:4]
    asyncio.run(look(url, int(series), int(cameras), session))
