"""A simulation gone wrong: a process whose ring tests damage, beside one that must not notice."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from killing import holders
from recd_client import CSVFile, Recorder, layout
from recd_client.control import Caller
from recd_client.shm import SHM_DIR
from recordings import csv_numbers, proved
from support import wait_until

#: Eight values whose bytes a CRC or a range check must tell from anything that a producer writes.
ODD_WORDS = (0, 1, 63, 64, 4096, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, (1 << 64) - 64, (1 << 64) - 1)


class Victim:
    """A recording whose process writes ``first`` samples, waits, writes ``second``, and dies without a close."""

    def __init__(self, directory: Path, first: int = 100, second: int = 100) -> None:
        self.directory = directory
        reader, self._ready = os.pipe()
        self._go, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(first, second)
        os.close(self._ready)
        os.close(self._go)
        self._writer = writer
        with os.fdopen(reader, "rb") as said:
            assert said.readline() == b"ready\n"

    def _be(self, first: int, second: int) -> None:
        """Body of the process."""
        faulthandler.disable()  # that a truncated segment kills it is part of the plan
        try:
            rec = Recorder("victim", dir=self.directory, dt=0.1)
            stream = rec.stream("state", CSVFile("state.csv"), buffer_bytes=64 << 10)
            for i in range(first):
                stream.write({"i": i})
            rec.flush(timeout=30)
            os.write(self._ready, b"ready\n")
            os.read(self._go, 1)
            for i in range(first, first + second):
                stream.write({"i": i})
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        os._exit(0)

    @property
    def spec(self) -> dict[str, Any]:
        """What the worker wrote down about the stream."""
        (path,) = self.directory.glob(".recd/*/s-state/stream.json")
        return dict(json.loads(path.read_text()))

    @property
    def ring(self) -> Path:
        """The ring as a file."""
        return SHM_DIR / self.spec["ring"][1:]

    @property
    def worker(self) -> int:
        """The worker that serves it."""
        return wait_until(lambda: holders(self.directory).get("main"))

    def go_on(self) -> None:
        """Let it write the rest and die."""
        os.write(self._writer, b"x")
        os.close(self._writer)
        os.waitpid(self.pid, 0)

    def manifest(self) -> dict[str, Any]:
        """The manifest, once the session has ended."""
        path = self.directory / "manifest.json"
        wait_until(path.exists, timeout_s=60.0)
        return dict(json.loads(path.read_text()))

    def rows(self) -> list[int]:
        """What its file holds."""
        return [int(i) for i in csv_numbers(self.directory / "state.csv").reshape(-1, 2)[:, 1]]


def damage(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a ring, from outside."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def word(path: Path, name: str) -> int:
    """A word of a ring."""
    at = {**layout.PRODUCER, **layout.CONSUMER}[name]
    with path.open("rb") as file:
        file.seek(at)
        return int.from_bytes(file.read(8), "little")


def mutations(seed: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to damage a ring, each with a name: every word of its pages, every field of a record's header."""
    rng = random.Random(seed)
    for name, at in {**layout.PRODUCER, **layout.CONSUMER}.items():
        value = rng.choice(ODD_WORDS)
        yield f"{name}={value}", lambda p, at=at, value=value: damage(p, at, value.to_bytes(8, "little"))
    for field in layout.HEADER_DTYPE.names or ():
        _, at = layout.HEADER_DTYPE.fields[field][:2]  # type: ignore[index]
        size = layout.HEADER_DTYPE[field].itemsize
        data = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size)])
        yield f"record.{field}={data.hex()}", lambda p, at=at, data=data: _damage_record(p, at, data)
    for _ in range(5):
        at, data = rng.randrange(layout.DATA_OFFSET), rng.randbytes(64)
        yield f"bytes at {at}", lambda p, at=at, data=data: damage(p, at, data)
    yield "geometry", lambda p: damage(p, 0, rng.randbytes(layout.GEOMETRY.size))
    capacity = struct.pack("<Q", 1 << 40)
    yield "capacity", lambda p: damage(p, 48, capacity)
    yield "not ready", lambda p: damage(p, layout.READY_OFFSET, bytes(8))


def _damage_record(path: Path, at: int, data: bytes) -> None:
    """Overwrite a field of the oldest record that is not freed (the worker is stopped meanwhile)."""
    capacity = path.stat().st_size - layout.DATA_OFFSET
    damage(path, layout.DATA_OFFSET + word(path, "free_pos") % capacity + at, data)


@contextmanager
def bystander(directory: Path, runtime: Path) -> Iterator[Callable[[], None]]:
    """A recording that goes on beside it: each call records some more; at the end its file is byte-identical.

    Its worker and the supervisor are the same at the end as at the beginning.
    """
    n = 0
    with Recorder("bystander", dir=directory, dt=0.1) as rec:
        stream = rec.stream("state", CSVFile("state.csv"), overflow="block")

        def more() -> None:
            nonlocal n
            for _ in range(20):
                stream.write({"i": n, "x": np.arange(3) + n}, t=n / 2)
                n += 1

        more()
        before = (supervisor(runtime), wait_until(lambda: holders(directory).get("main")))
        yield more
        more()
        assert (supervisor(runtime), holders(directory)["main"]) == before
    assert proved(directory)["streams"]["state"]["samples"] == n
    expected = ["timestamp,i,x_0,x_1,x_2"]
    expected += [f"{i / 2!r},{i},{i},{i + 1},{i + 2}" for i in range(n)]
    assert (directory / "state.csv").read_text().splitlines() == expected


def supervisor(runtime: Path) -> int:
    """The daemon's pid."""
    caller = Caller(runtime / "recd.sock", role="cli")
    caller.close()
    return int(caller.server["pid"])


def session_of(runtime: Path, directory: Path) -> dict[str, Any]:
    """What ``recd status`` says of the recording in a directory."""
    caller = Caller(runtime / "recd.sock", role="cli")
    try:
        (found,) = [s for s in caller.call("status")["sessions"] if s["directory"] == str(directory)]
        return dict(found)
    finally:
        caller.close()
