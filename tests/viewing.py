"""A viewer for tests that speaks the Foxglove protocol over a real WebSocket, and reads what it gets by its schema."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from serving import PATIENCE_S, Served
from serving import serving as serving_ui

SUBPROTOCOL = "foxglove.sdk.v1"
_UNKNOWN = re.compile(r"Unknown channel ID: (\d+)")


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    """A Foxglove server of the test's runtime directory, on a free port."""
    with serving_ui("--foxglove", *arguments) as served:
        yield served


@dataclass
class Message:
    """What came on a topic, decoded."""

    topic: str
    time_ns: int
    data: dict[str, Any]


@dataclass
class Viewer:
    """What a viewer knows: the channels, by topic, and what it got."""

    socket: Any
    info: dict[str, Any] = field(default_factory=dict)
    channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    async def next(self) -> Message | None:
        """The next message of a topic; None for one about channels."""
        got = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        if isinstance(got.data, bytes):
            if got.data[0] != 1:  # the time
                self.info["time_ns"] = struct.unpack_from("<Q", got.data, 1)[0]
                return None
            number, time_ns = struct.unpack_from("<IQ", got.data, 1)
            channel = next(c for c in self.channels.values() if c["id"] == number)
            return Message(channel["topic"], time_ns, decoded(channel, got.data[13:]))
        assert isinstance(got.data, str), f"the server hung up: {got}"
        told = json.loads(got.data)
        if told["op"] == "serverInfo":
            self.info |= told
        elif told["op"] == "advertise":
            self.channels |= {c["topic"]: c for c in told["channels"]}
        elif told["op"] == "unadvertise":
            for topic in [t for t, c in self.channels.items() if c["id"] in told["channelIds"]]:
                del self.channels[topic]
                self.gone.append(topic)
        elif told["op"] == "status" and (unknown := _UNKNOWN.search(told["message"])):
            # The SDK may send an advertisement just before it knows the channel itself: ask again.
            await self._subscribe([int(unknown[1])])
        return None

    async def until(self, condition: Callable[[], Any]) -> None:
        """Take messages until the condition holds."""
        while not condition():
            await self.next()

    async def see(self, *topics: str) -> None:
        """Wait until these are advertised, and subscribe."""
        await self.until(lambda: all(topic in self.channels for topic in topics))
        await self._subscribe([self.channels[topic]["id"] for topic in topics])

    async def _subscribe(self, numbers: list[int]) -> None:
        wanted = [{"id": n, "channelId": n} for n in numbers]
        await self.socket.send_json({"op": "subscribe", "subscriptions": wanted})

    async def leave(self, topic: str) -> None:
        """Unsubscribe."""
        number = self.channels[topic]["id"]
        await self.socket.send_json({"op": "unsubscribe", "subscriptionIds": [number]})

    async def on(self, topic: str) -> dict[str, Any]:
        """The next message of a topic."""
        return (await self.message(topic)).data

    async def message(self, topic: str) -> Message:
        """The next message of a topic, with its time."""
        while True:
            got = await self.next()
            if got is not None and got.topic == topic:
                return got


@asynccontextmanager
async def viewer(url: str, **options: Any) -> AsyncIterator[Viewer]:
    """A viewer that is connected."""
    import aiohttp

    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, protocols=[SUBPROTOCOL], max_msg_size=0, **options) as socket,
    ):
        yield Viewer(socket)


# --- reading by the schema, independently of what wrote it ----------------------------------------------


def decoded(channel: dict[str, Any], data: bytes) -> dict[str, Any]:
    """A message as its channel describes it."""
    if channel["encoding"] == "json":
        found: dict[str, Any] = json.loads(data)
        assert set(found) <= set(json.loads(channel["schema"])["properties"])
        return found
    if channel["encoding"] == "cdr":
        return from_cdr(channel["schema"], data)
    return from_protobuf(_FIELDS[channel["schemaName"]], data)


_LINE = re.compile(r"(\w+?)(\[(\d*)\])? (\w+)  # .*")
_CODES = {
    "bool": "?", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip


def from_cdr(definition: str, data: bytes) -> dict[str, Any]:
    """A message of plain little-endian CDR by its ``.msg`` text."""
    assert data[:4] == b"\0\1\0\0"
    at = 4
    found: dict[str, Any] = {}

    def take(code: str, count: int = 1) -> tuple[Any, ...]:
        nonlocal at
        size = struct.calcsize(f"<{code}")
        at += -(at - 4) % size if count else 0
        values = struct.unpack_from(f"<{count}{code}", data, at)
        at += size * count
        return values

    for line in definition.splitlines():
        kind, array, count, name = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
        if kind == "string":
            (length,) = take("I")
            text = data[at : at + length]
            at += length
            assert text[-1] == 0
            found[name] = text[:-1].decode()
        elif array:
            length = int(count) if count else take("I")[0]
            found[name] = list(take(_CODES[kind], length))
        else:
            (found[name],) = take(_CODES[kind])
    assert at == len(data), "more than is described"
    return found


#: Names of the fields of Foxglove's types, by their numbers in its .proto files.
_FIELDS = {
    "foxglove.CompressedImage": {1: "timestamp", 2: "data", 3: "format", 4: "frame_id"},
    "foxglove.RawImage": {
        1: "timestamp", 2: "width", 3: "height", 4: "encoding", 5: "step", 6: "data", 7: "frame_id",
    },
    "foxglove.CompressedVideo": {1: "timestamp", 2: "frame_id", 3: "data", 4: "format"},
    "foxglove.Log": {1: "timestamp", 2: "level", 3: "message", 4: "name", 5: "file", 6: "line"},
}  # fmt: skip


def from_protobuf(names: dict[int, str], data: bytes) -> dict[str, Any]:
    """The fields of a message: numbers, and bytes."""
    found: dict[str, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value: Any = varint()
        elif key & 7 == 5:
            (value,) = struct.unpack_from("<I", data, at)
            at += 4
        else:
            length = varint()
            value = data[at : at + length]
            at += length
        found[names[key >> 3]] = value
    return found
