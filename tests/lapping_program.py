"""A writer at full speed in a process of its own: ``lapping_program.py RING KIND``, until its input ends.

Its own consumer gives the room back at once, so it laps the ring as fast as it can write, waiting for nobody. It prints
how many samples it wrote. Sample ``n`` is :func:`sample_of` ``(KIND, n)``, at ``n / 8`` s, step ``n``; RECD_BACKEND
says with which writer.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from recd_client.backend import RingConsumer, RingProducer, Writer
from recd_client.clock import Clock
from recd_client.sample import infer, make_plan
from recd_client.shm import Segment

#: Words of a sample of fixed size: a record takes 256 bytes.
WORDS = 20
_PATTERN = np.arange(WORDS, dtype=np.int64)
_ROOM_EVERY = 8


def sample_of(kind: str, n: int) -> Any:
    """The sample of that number, every part of which tells it."""
    if kind == "fixed":
        return (n << 16) + _PATTERN
    return {"n": n, "text": f"{n}-" + "ü" * (n % 60)}


def main(ring: str, kind: str) -> None:
    """Write until the input ends."""
    segment = Segment.open(ring)
    producer, consumer = RingProducer(segment.memory), RingConsumer(segment.memory)
    plan = make_plan(
        infer(sample_of(kind, 0)), np.frombuffer(segment.memory, np.uint8), consumer.capacity_bytes
    )
    writer = Writer("s", producer, plan, Clock(None))
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    write, free, n = writer.write, consumer.free, 0
    while not over.is_set():
        for _ in range(_ROOM_EVERY):
            if not write(sample_of(kind, n), n / 8, n):
                raise RuntimeError("the ring is full: somebody holds it up")
            n += 1
        free(producer.head)
    print(n)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
