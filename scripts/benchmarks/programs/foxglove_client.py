"""A viewer of a Foxglove server: ``foxglove_client.py PORT`` subscribes to all channels and takes what comes."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp


async def look(port: int) -> None:
    """Look until the server hangs up."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"ws://127.0.0.1:{port}", protocols=("foxglove.sdk.v1",), max_msg_size=0) as socket,
    ):
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            told = json.loads(message.data)
            if told.get("op") == "advertise":
                wanted = [{"id": n, "channelId": c["id"]} for n, c in enumerate(told["channels"])]
                await socket.send_json({"op": "subscribe", "subscriptions": wanted})
                print("subscribed", flush=True)


if __name__ == "__main__":
    asyncio.run(look(int(sys.argv[1])))
