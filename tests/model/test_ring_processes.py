"""The ring between two real processes, over real shared memory: order, wholeness and counts at full speed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from backends import EACH_PAIR, backend
from recd_client import layout, records
from recd_client.shm import Doorbell, Segment
from ring_program import words_of
from rings import MIN_CAPACITY, closing, losses, padded

PROGRAM = Path(__file__).parents[1] / "ring_program.py"
#: Words of a fixed sample: 256-byte records, so that the smallest ring holds 48.
FIXED = 20

#: Of the backends of producer and consumer.
Names = tuple[str, str]
with_each = pytest.mark.parametrize("ends", EACH_PAIR)


class Reader:
    """Reads a ring as a worker does, and checks every sample against the pattern."""

    def __init__(
        self, segment: Segment, bell: Doorbell, producer: subprocess.Popen[bytes], fixed: int, ends: Names
    ) -> None:
        self.segment = segment
        self._make = backend(ends[1]).RingConsumer
        self.ring = self._make(segment.memory)
        self.bell = bell
        self.producer = producer
        self.fixed = fixed
        self.samples = 0
        self.next_seq = 0
        self.lost = 0
        self.closed = False

    def read(self, until_samples: int = 1 << 60) -> None:
        """Read until the close, until there are so many samples, or until the producer is gone."""
        while not self.closed and self.samples < until_samples:
            gone = self.producer.poll() is not None
            if self._read_what_there_is() or self.closed:
                continue
            if gone:
                return
            self.ring.sleep(self.bell.wait, 0.05)

    def succeed(self) -> None:
        """Die, and let another consumer go on."""
        position = self.ring.free_position
        self.ring.release()
        self.ring = self._make(self.segment.memory, position)

    def _read_what_there_is(self) -> bool:
        ring, head = self.ring, self.ring.head()
        if ring.position == head:
            return False
        region = ring.region(ring.position, head)
        stride = padded(64 + 8 * self.fixed) if self.fixed else 0
        for item in records.split(region, ring.position, stride, 8 * self.fixed):
            if isinstance(item, records.Control):
                self._control(item)
            else:
                self._samples(region, item)
        ring.position += len(region)
        ring.free(ring.position)
        return True

    def _control(self, item: records.Control) -> None:
        told = []
        if item.kind == layout.LOSS:
            told = losses(item.payload)
        elif item.kind == layout.CLOSE:
            self.closed = True
            _, _, told = closing(item.payload)
        for loss in told:
            assert (loss.first_seq, loss.last_seq - loss.first_seq + 1) == (self.next_seq, loss.samples)
            assert (loss.mono_first_ns, loss.mono_last_ns) == (loss.first_seq, loss.last_seq)
            self.lost += loss.samples
            self.next_seq += loss.samples
        assert item.seq == self.next_seq or item.kind == layout.PAD

    def _samples(self, region: memoryview, run: records.Run) -> None:
        assert run.first_seq == self.next_seq
        stride = run.stride_bytes or run.size
        heads = np.ndarray((run.count,), layout.HEADER_DTYPE, region, run.offset, (stride,))
        numbers = np.arange(run.first_seq, run.first_seq + run.count)
        assert (heads["step"] == numbers).all()
        assert (heads["t"] == numbers / 8).all()
        count = len(words_of(run.first_seq, self.fixed))
        assert (heads["length"] == 8 * count).all()
        payload = np.ndarray((run.count, count), np.uint64, region, run.offset + 64, (stride, 8))
        assert (payload == (numbers[:, None] << 16) + np.arange(count)).all()
        self.samples += run.count
        self.next_seq += run.count


@contextmanager
def reading(ends: Names, count: int, fixed: int, policy: str) -> Iterator[Reader]:
    """A ring with a producer process on it; afterwards nothing is left of them."""
    name = f"/recd-test-{uuid4().hex}"
    segment, bell = Segment.create(name, MIN_CAPACITY, {}), Doorbell(name, create=True)
    try:
        command = [sys.executable, str(PROGRAM), name, name, str(count), str(fixed), policy]
        with subprocess.Popen(command, env={**os.environ, "RECD_BACKEND": ends[0]}) as producer:
            reader = Reader(segment, bell, producer, fixed, ends)
            try:
                yield reader
            finally:
                producer.kill()
        reader.ring.release()
        assert segment.close()
    finally:
        segment.unlink()
        bell.unlink()
        bell.close()


@with_each
@pytest.mark.parametrize("fixed", [FIXED, 0], ids=["fixed", "varying"])
def test_fifty_thousand_records_arrive_whole_and_in_order(ends: Names, fixed: int) -> None:
    """A producer that waits for room loses nothing: every byte of every sample arrives."""
    with reading(ends, 50_000, fixed, "wait") as r:
        r.read()
        assert r.closed
        assert (r.samples, r.lost) == (50_000, 0)
        assert r.ring.position > 500 * MIN_CAPACITY


@with_each
@pytest.mark.parametrize("fixed", [FIXED, 0], ids=["fixed", "varying"])
def test_a_dropping_producer_and_its_reader_agree_on_every_number(ends: Names, fixed: int) -> None:
    """A producer that never waits loses samples; each number is delivered or told as lost, in order."""
    with reading(ends, 50_000, fixed, "drop") as r:
        r.read()
        assert r.closed
        assert r.samples + r.lost == r.next_seq == r.ring.word("next_seq") == 50_000
        assert r.lost == r.ring.word("lost_full_count")


@with_each
def test_a_killed_producer_leaves_only_whole_records(ends: Names) -> None:
    """SIGKILL in the middle of writing: all records are whole, and at most one attempt is in flight."""
    for wanted in (1, 500, 1000):
        with reading(ends, 10**9, FIXED, "wait") as r:
            r.read(until_samples=wanted)
            r.producer.send_signal(signal.SIGKILL)
            r.producer.wait()
            r.read()
            assert not r.closed
            assert r.samples >= wanted
            assert r.ring.word("next_seq") - r.samples in (0, 1)


@with_each
def test_a_reader_that_dies_is_succeeded_without_a_gap(ends: Names) -> None:
    """Each successor goes on at the last position that was freed, and misses and repeats nothing."""
    with reading(ends, 20_000, FIXED, "wait") as r:
        for wanted in range(1000, 20_000, 1000):
            r.read(until_samples=wanted)
            r.succeed()
        r.read()
        assert r.closed
        assert (r.samples, r.lost) == (20_000, 0)
