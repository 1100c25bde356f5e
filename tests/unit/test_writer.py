"""The hot path over a ring in plain memory: interrupted after every single call that it makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import recd_client
from backends import Backend
from recd_client import layout
from recd_client.clock import Clock
from recd_client.errors import SchemaError
from recd_client.records import Run, split
from recd_client.sample import infer, make_plan
from recd_client.segment import format_segment

CAPACITY_BYTES = layout.MIN_CAPACITY_BYTES
SAMPLE = np.zeros(50)
PACKAGE = str(Path(recd_client.__file__).parent)


class Bench:
    """A writer, and a reader that keeps what it saw."""

    def __init__(self, each: Backend) -> None:
        memory = bytearray(layout.segment_bytes(CAPACITY_BYTES))
        format_segment(memory, capacity_bytes=CAPACITY_BYTES)
        self.schema = infer(SAMPLE)
        self.producer = each.RingProducer(memory)
        plan = make_plan(self.schema, np.frombuffer(memory, np.uint8), CAPACITY_BYTES)
        self.writer = each.Writer("s", self.producer, plan, Clock(None))
        self.consumer = each.RingConsumer(memory)
        self.seen: list[int] = []
        self.told: list[tuple[int, int, int]] = []

    def fill(self) -> None:
        """Write until the first loss."""
        while self.writer.write(SAMPLE):
            pass

    def read(self) -> None:
        """Take everything, and free it."""
        consumer, head = self.consumer, self.consumer.head()
        while consumer.position < head:
            region = consumer.region(consumer.position, head)
            schema = self.schema
            for piece in split(region, consumer.position, schema.stride_bytes, schema.payload_bytes):
                if isinstance(piece, Run):
                    self.seen += range(piece.first_seq, piece.first_seq + piece.count)
                elif piece.kind == layout.LOSS:
                    self.told += [e[1:4] for e in layout.LOSS_ENTRY.iter_unpack(piece.payload)]
            consumer.position += len(region)
            consumer.free(consumer.position)

    def check(self) -> None:
        """Attempts are what was seen plus what was lost, and every gap was told once, exactly."""
        self.read()
        for _ in range(5):
            assert self.writer.write(SAMPLE)
        self.read()
        lost = sum(self.producer.lost().values())
        assert self.seen == sorted(set(self.seen))
        assert self.producer.next_seq == len(self.seen) + lost
        gaps = set(range(self.producer.next_seq)) - set(self.seen)
        assert gaps <= {n for first, last, _ in self.told for n in range(first, last + 1)}
        assert sum(count for _, _, count in self.told) == lost


def interrupted_after(number: int, do: Callable[[], object]) -> bool:
    """Run ``do`` with a KeyboardInterrupt after its call of that number; False if it makes fewer.

    Signal handlers run when a function is entered and when a built-in has returned, which is when a
    profile function is called.
    """
    left = number

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal left
        if event == "call" and frame.f_code.co_flags & CO_GENERATOR and sys.version_info < (3, 11):
            return  # an error here, where a generator goes on, would not pass its finally as a signal does
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        with suppress(KeyboardInterrupt):
            do()
    finally:
        sys.setprofile(before)
    return left <= 0


def fresh(bench: Bench) -> None:
    """An empty ring."""


def at_the_laps_end(bench: Bench) -> None:
    """The next record fills the lap exactly."""
    while bench.producer.head < CAPACITY_BYTES or bench.producer.head % CAPACITY_BYTES != 0:
        bench.writer.write(SAMPLE)
        bench.read()


def full(bench: Bench) -> None:
    """No room, and a loss to tell."""
    bench.fill()


def full_then_emptied(bench: Bench) -> None:
    """Room again, and a loss to tell before anything else."""
    bench.fill()
    bench.read()


def write(bench: Bench) -> None:
    """A good sample."""
    bench.writer.write(SAMPLE)


def write_a_list(bench: Bench) -> None:
    """A good sample that takes the slow way."""
    bench.writer.write([0.0] * 50)


def write_a_bad_one(bench: Bench) -> None:
    """A sample that does not fit."""
    with suppress(SchemaError):
        bench.writer.write(np.zeros(3))


def claim(bench: Bench) -> None:
    """A record filled in place."""
    with bench.writer.claim() as place:
        place[:] = 1


def mark(bench: Bench) -> None:
    """An event."""
    bench.writer.mark("x", {}, 0.0, 0, 0)


@pytest.mark.parametrize("action", [write, write_a_list, write_a_bad_one, claim, mark])
@pytest.mark.parametrize("state", [fresh, at_the_laps_end, full, full_then_emptied])
def test_an_interrupt_anywhere_leaves_the_ring_whole(
    each: Backend, state: Callable[[Bench], None], action: Callable[[Bench], None]
) -> None:
    """Ctrl-C after the N-th call, for every N: nothing torn, nothing twice, every loss counted and told."""
    number = 0
    while True:
        number += 1
        bench = Bench(each)
        state(bench)
        if not interrupted_after(number, lambda bench=bench: action(bench)):  # type: ignore[misc]
            break
        bench.check()
    assert number > (
        3 if each.name == "python" else 0
    )  # what C does by itself is interrupted before or after


def test_nothing_is_kept_per_sample(each: Backend) -> None:
    """A hundred laps of samples leave no allocated block behind."""
    bench = Bench(each)

    def lap() -> None:
        for _ in range(100):
            bench.writer.write(SAMPLE, t=0.5, step=3)
            bench.consumer.free(bench.producer.head)

    lap()
    before = sys.getallocatedblocks()
    for _ in range(10):
        lap()
    assert sys.getallocatedblocks() - before < 50
