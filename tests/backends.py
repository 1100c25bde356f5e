"""The two backends side by side, whichever of them this process uses itself: each test of a ring runs with both."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from recd_client import native, ring, writer
from recd_client.clock import PythonGate
from rings import MIN_CAPACITY, new_memory


class Backend(NamedTuple):
    """What one backend brings."""

    name: str
    RingProducer: type[ring.RingProducer]
    RingConsumer: type[ring.RingConsumer]
    Writer: type[writer.Writer]
    Gate: type[PythonGate]


def backend(name: str) -> Backend:
    """The backend ``"python"`` or ``"native"``; for that one mark the test with :data:`NEEDS`."""
    if name == "python":
        return Backend(name, ring.RingProducer, ring.RingConsumer, writer.Writer, PythonGate)
    from recd_client import ring_native, writer_native

    ends: Any = ring_native.NativeRingProducer, ring_native.NativeRingConsumer
    rest: Any = writer_native.NativeWriter, native.extension.Gate
    return Backend(name, *ends, *rest)


NAMES = ("python", "native")
#: What a test with these backends needs.
NEEDS = {"python": (), "native": (pytest.mark.requires("native"),)}
#: For a parametrised test or fixture: the name of each backend.
EACH = [pytest.param(name, marks=NEEDS[name]) for name in NAMES]


class Ends(NamedTuple):
    """Which backend is on either side of a ring."""

    producer: type[ring.RingProducer]
    consumer: type[ring.RingConsumer]

    def pair(self, capacity_bytes: int = MIN_CAPACITY) -> tuple[ring.RingProducer, ring.RingConsumer]:
        """Both ends of a new ring."""
        memory = new_memory(capacity_bytes)
        return self.producer(memory), self.consumer(memory)


def ends_of(producer: str, consumer: str) -> Ends:
    """The two ends by the names of their backends."""
    return Ends(backend(producer).RingProducer, backend(consumer).RingConsumer)


#: For a parametrised test or fixture: the names of producer and consumer, in each combination.
EACH_PAIR = [pytest.param((p, c), id=f"{p}-{c}", marks=NEEDS[p] or NEEDS[c]) for p in NAMES for c in NAMES]
