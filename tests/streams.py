"""Streams for tests of the data plane: a ring that the test writes into, and what must be found again."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd.batch import DISCARD, RESET, Batch
from recd_client import layout
from recd_client.ring import RingProducer
from recd_client.schema import FIXED, RAGGED, STRING, Schema
from recd_client.segment import format_segment
from recd_client.shm import Segment
from sink_samples import fields

#: Samples of 64 bytes: a record takes 128.
PLAIN = fields(x=(FIXED, "<f8", (8,)))
#: Samples that vary in size.
VARYING = fields(x=(FIXED, "<i8", ()), r=(RAGGED, "<i4", (2,)), s=(STRING, "|u1", ()))
#: Frames of 960 bytes: a record takes 1024.
FRAMES = fields(data=(FIXED, "|u1", (24, 40)))


def value_of(schema: Schema, number: int) -> dict[str, Any]:
    """The sample of that number: every field tells it."""
    value: dict[str, Any] = {}
    for f in schema.fields:
        if f.kind == FIXED:
            count = int(np.prod(f.shape, dtype=int))
            numbers = np.arange(count) % 7 + number
            value[f.name] = numbers.astype(f.dtype).reshape(f.shape)
        elif f.kind == RAGGED:
            value[f.name] = np.full((number % 5, *f.shape), number, f.dtype)
        else:
            value[f.name] = f"{number}-" + "ü" * (number % 40)
    return value


def payload_of(schema: Schema, value: dict[str, Any]) -> bytes:
    """A sample's bytes in a record."""
    struct: NDArray[Any] = np.zeros(1, schema.struct_dtype)
    behind = b""
    for f in schema.fields:
        if f.kind == FIXED:
            struct[f.name][0] = value[f.name]
            continue
        raw = value[f.name].encode() if f.kind == STRING else value[f.name].tobytes()
        struct[f.name][0] = len(raw) if f.kind == STRING else len(value[f.name])
        behind += raw + bytes(-len(raw) % 8)
    return struct.tobytes() + behind


def numbers_in(batches: Iterable[Batch]) -> list[int]:
    """The numbers of the samples in these batches, each proved to be whole."""
    found: list[int] = []
    for batch in batches:
        for i, seq in enumerate(batch.seq.tolist()):
            expected = value_of(batch.schema, seq)
            for f in batch.schema.fields:
                if f.kind == FIXED:
                    assert np.array_equal(batch.fixed(f.name)[i], expected[f.name]), seq
                elif f.kind == RAGGED:
                    assert np.array_equal([*batch.varying(f.name).split()][i], expected[f.name]), seq
                else:
                    assert batch.varying(f.name).strings()[i] == expected[f.name], seq
            assert batch.t[i] == seq / 8
            assert batch.step[i] == seq * 10
            assert batch.mono_ns[i] == seq * 1_000_000
            found.append(seq)
    return found


class Feed:
    """A stream's producer, on a ring in ordinary memory.

    Sample ``n`` has stream time ``n / 8`` s, step ``10 n``, and was written at ``n`` ms.

    Attributes
    ----------
    written : list of int
        Numbers of the samples that went into the ring.
    lost : list of int
        Numbers of those that did not.
    """

    def __init__(self, schema: Schema = PLAIN, capacity_bytes: int = layout.MIN_CAPACITY_BYTES) -> None:
        self.schema = schema
        self.memory = mmap.mmap(-1, layout.segment_bytes(capacity_bytes))
        format_segment(self.memory, capacity_bytes=capacity_bytes)
        self.producer = RingProducer(self.memory)
        self.written: list[int] = []
        self.lost: list[int] = []

    @property
    def segment(self) -> Segment:
        """The ring as a worker maps it; to be closed without harm to the producer."""
        return Segment("/recd-test", self.memory)

    @property
    def head(self) -> int:
        """End of what is published."""
        return self.producer.head

    def write(self, count: int = 1, *, t: float | None = None) -> int:
        """Write samples until the ring is full; how many went in. What did not is lost."""
        done = 0
        for _ in range(count):
            number = self.producer.next_seq
            payload = payload_of(self.schema, value_of(self.schema, number))
            size = layout.record_bytes(len(payload))
            at = self.producer.reserve(size)
            if at < 0:
                self.lose()
                continue
            start = at + layout.HEADER_BYTES
            self.producer.buffer[start : start + len(payload)] = payload
            time = number / 8 if t is None else t
            self.producer.publish(size, len(payload), time, number * 10, number * 1_000_000)
            self.written.append(number)
            done += 1
        return done

    def lose(self, count: int = 1, cause: str = "full") -> None:
        """Samples that are attempted, but do not go in."""
        for _ in range(count):
            number = self.producer.next_seq
            self.producer.lose(cause, 64, number / 8, number * 1_000_000)
            self.lost.append(number)

    def mark(self, label: str, **values: Any) -> None:
        """Something happens on the timeline."""
        number = self.producer.next_seq
        self.producer.mark(label, values, number / 8, number * 10, number * 1_000_000)

    def reset(self, envs_idx: list[int] | None = None) -> None:
        """Environments are reset, or all of them."""
        self.mark(RESET, envs_idx=envs_idx)

    def discard(self) -> None:
        """The running part is to be thrown away."""
        self.mark(DISCARD)

    def close(self) -> None:
        """The stream ends."""
        number = self.producer.next_seq
        self.producer.close(number / 8, number * 10, number * 1_000_000)


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file below the directory, by its name there."""
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()
    }
