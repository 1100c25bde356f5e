"""A daemon that only answers: rings are real, nothing drains them unless the test does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recd.batch import batch_of_records
from recd_client import layout, shm
from recd_client.control import PROTOCOL_MAJOR, PROTOCOL_MINOR, decode, encode
from recd_client.errors import NoSuchSessionError, RecdError, to_wire
from recd_client.records import Control, Run, split
from recd_client.ring import RingConsumer
from recd_client.schema import Schema

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class FakeRing:
    """One attached stream, read from the daemon's side."""

    def __init__(self, request: dict[str, Any], name: str, doorbell: str, capacity_bytes: int) -> None:
        self.request = request
        self.schema = Schema.from_json(request["schema"])
        self.name = name
        self.doorbell_name = doorbell
        self.segment = shm.Segment.create(name, capacity_bytes, {})
        self.doorbell = shm.Doorbell(doorbell, create=True)
        self.consumer = RingConsumer(self.segment.memory)

    def take(self) -> tuple[list[dict[str, Any]], list[Control]]:
        """The samples and the control records (no padding) since the last call; their memory is freed."""
        consumer = self.consumer
        samples: list[dict[str, Any]] = []
        events: list[Control] = []
        head = consumer.head()
        while consumer.position < head:
            region = consumer.region(consumer.position, head)
            schema = self.schema
            for piece in split(region, consumer.position, schema.stride_bytes, schema.payload_bytes):
                if isinstance(piece, Run):
                    samples += self._samples(region, piece)
                elif piece.kind != layout.PAD:
                    events.append(piece)
            consumer.position += len(region)
            consumer.free(consumer.position)
        return samples, events

    def _samples(self, region: memoryview, run: Run) -> list[dict[str, Any]]:
        offsets = [run.offset + i * run.stride_bytes for i in range(run.count)]
        batch = batch_of_records(self.schema, memoryview(bytes(region)), offsets)
        out = []
        for i in range(len(batch)):
            sample: dict[str, Any] = {
                "seq": int(batch.seq[i]),
                "t": float(batch.t[i]),
                "step": int(batch.step[i]),
            }
            for f in self.schema.fields:
                if f.kind == "fixed":
                    sample[f.name] = np.array(batch.fixed(f.name)[i])
                elif f.kind == "string":
                    sample[f.name] = batch.varying(f.name).strings()[i]
                else:
                    sample[f.name] = np.array(list(batch.varying(f.name).split())[i])
            out.append(sample)
        return out

    def remove(self) -> None:
        """Leave nothing behind."""
        self.consumer.release()
        self.segment.unlink()
        self.segment.close()
        self.doorbell.close()
        self.doorbell.unlink()


class FakeDaemon:
    """Answers control messages in a thread of the test's own process.

    ``answers[op]`` replaces the answer to an operation: a function of the request that returns a reply,
    or raises what the client is to see.
    """

    def __init__(self, runtime: Path, directory: Path) -> None:
        self.directory = directory
        self.requests: list[dict[str, Any]] = []
        self.rings: dict[str, FakeRing] = {}
        self.answers: dict[str, Answer] = {}
        self.capacity_bytes = 1 << 16
        self._tag = shm.runtime_tag(runtime)
        self._path = runtime / "recd.sock"
        self._connections: list[socket.socket] = []
        self._closing = False
        self.start()

    # --- life --------------------------------------------------------------------------------------
    def start(self) -> None:
        """Listen (again)."""
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, args=(self._listener,), daemon=True)]
        self._threads[0].start()

    def die(self) -> None:
        """Stop answering: every connection hangs up and the socket is gone; rings stay."""
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def close(self) -> None:
        """End, and leave nothing behind."""
        if not self._closing:
            self.die()
        for ring in self.rings.values():
            ring.remove()

    def asked(self, op: str) -> list[dict[str, Any]]:
        """The requests of one operation so far."""
        return [r for r in self.requests if r["op"] == op]

    def taken(self, stream: str = "s") -> list[dict[str, Any]]:
        """The samples of a stream since the last call."""
        return self.rings[stream].take()[0]

    # --- answering -----------------------------------------------------------------------------------
    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while True:
                try:
                    prefix = stream.read(4)
                    if len(prefix) < 4:
                        return
                    request = decode(stream.read(struct.unpack("<I", prefix)[0]))
                    self.requests.append(request)
                    try:
                        reply = {"ok": True, **self._answer(request)}
                    except RecdError as e:
                        reply = {"ok": False, "error": to_wire(e)}
                    connection.sendall(encode({"id": request["id"], **reply}))
                except OSError:
                    return

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        op = request["op"]
        if op in self.answers:
            return self.answers[op](request)
        answer: Answer = getattr(self, f"_{op}")
        return answer(request)

    def _hello(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"protocol": [PROTOCOL_MAJOR, PROTOCOL_MINOR], "version": "0.1.0", "pid": 0, "runtime_dir": ""}

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"session": "test", "directory": request["directory"] or str(self.directory)}

    def _resume(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["session"] != "test":
            raise NoSuchSessionError(f"no session {request['session']}", "see: recd ls")
        return {"session": "test", "directory": str(self.directory)}

    def _attach(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["stream"]
        if name not in self.rings:
            number = len(self.rings)
            record = layout.record_bytes(Schema.from_json(request["schema"]).payload_bytes)
            capacity = request["buffer_bytes"] or max(self.capacity_bytes, 8 * record)
            names = (f"/{shm.PREFIX}-{self._tag}-test-{number}", f"/{shm.PREFIX}-{self._tag}-bell-{number}")
            self.rings[name] = FakeRing(request, *names, capacity)
        ring = self.rings[name]
        files = [str(self.directory / s["filename"]) for s in request["sinks"] if s.get("filename")]
        return {"ring": ring.name, "doorbell": ring.doorbell_name, "files": files}

    def _flush(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"done": True, "progress": 0}

    def _taken(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"done": True}

    def _close_stream(self, request: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"done": True, "progress": 0, "summary": {"streams": {}, "manifest": "", "complete": True}}
