"""A producer in a process of its own: ``ring_program.py RING DOORBELL COUNT FIXED POLICY`` writes a pattern.

Run by path, so it imports what the tests import; RECD_BACKEND says which producer it is. Sample ``n`` is a
counter that goes on across samples, so that a reader recognises each byte; its length is FIXED words, or varies
with ``n`` when that is 0.
"""

from __future__ import annotations

import os
import sys

from recd_client import layout
from recd_client.backend import RingProducer
from recd_client.shm import Doorbell, Segment

LARGEST_WORDS = 61


def words_of(number: int, fixed: int) -> list[int]:
    """The sample with that number."""
    return [(number << 16) + i for i in range(fixed or number * 7 % LARGEST_WORDS)]


def main(ring: str, doorbell: str, count: int, fixed: int, policy: str) -> None:
    """Write samples 0 to count, losing or waiting when the ring is full, and close."""
    segment, bell = Segment.open(ring), Doorbell(doorbell)
    producer = RingProducer(segment.memory, bell.ring)
    words = producer.buffer[:].cast("Q")
    while producer.next_seq < count:
        number = producer.next_seq
        sample = words_of(number, fixed)
        size = layout.record_bytes(8 * len(sample))
        while (offset := producer.reserve(size)) < 0:
            if policy == "drop":
                producer.lose("full", 8 * len(sample), number / 8, number)
                break
            os.sched_yield()
        else:
            at = (offset + layout.HEADER_BYTES) // 8
            for word in sample:
                words[at] = word
                at += 1
            producer.publish(size, 8 * len(sample), number / 8, number, number)
    producer.close(count / 8, count, count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
