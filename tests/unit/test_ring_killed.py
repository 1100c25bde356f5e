"""A producer that is killed or interrupted at any point: head old or new, every attempt accounted for.

A tracer stops the producer between any two of its bytecodes. What is in memory then is what a SIGKILL
would leave; and an exception raised there is what a signal handler would raise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from recd_client import layout, ring
from recd_client.ring import RingConsumer, RingProducer
from rings import (
    CLOSE,
    DATA,
    LOSS,
    MIN_CAPACITY,
    Record,
    closing,
    losses,
    new_memory,
    payload_of,
    published,
    put,
    taken,
)

Act = Callable[["Scene"], object]
KIB_PAYLOAD = 1024 - layout.HEADER_BYTES


@contextmanager
def stopping(at: str, stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` before each opcode or line ("opcode", "line") of the ring's code."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != ring.__file__:
            return None
        frame.f_trace_opcodes = at == "opcode"
        if event == at:
            stop()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


# --- what a producer may be about when it is killed ---------------------------------------------------


class Scene:
    """A ring with both its ends, and all that was read from it and freed."""

    def __init__(self) -> None:
        self.memory = new_memory()
        self.producer = RingProducer(self.memory)
        self.consumer = RingConsumer(self.memory)
        self.found: list[Record] = []

    def write(self, size: int) -> bool:
        return put(self.producer, payload_of(self.producer.next_seq, size), 5.0, 5, 5)

    def take(self) -> None:
        self.found += taken(self.consumer)


def fresh(_: Scene) -> None:
    """A new ring."""


def used(scene: Scene) -> None:
    """Some records published, most of them freed."""
    for n in range(5):
        scene.write(100 * n)
    scene.take()
    scene.write(300)


def at_the_end_of_a_lap(scene: Scene) -> None:
    """One and a half KiB are left of the lap, and leftovers of the lap before lie everywhere."""
    for _ in range(30):
        scene.write(KIB_PAYLOAD)
        scene.take()
    scene.write(512 - layout.HEADER_BYTES)


def after_losses(scene: Scene) -> None:
    """At the end of a lap, with losses of two causes to tell."""
    at_the_end_of_a_lap(scene)
    scene.producer.lose("too_large", 10**6, 1.0, 1)
    scene.producer.lose("interrupted", 10, 2.0, 2)
    scene.producer.lose("too_large", 10**6, 3.0, 3)


def full(scene: Scene) -> None:
    """No room, and losses to tell."""
    at_the_end_of_a_lap(scene)
    while scene.write(1000):
        pass


def write(size: int) -> Act:
    """A write of ``size`` payload bytes."""

    def act(scene: Scene) -> None:
        scene.write(size)

    act.__name__ = f"write_{size}"
    return act


def mark(scene: Scene) -> None:
    """A mark."""
    scene.producer.mark("m" * 900, {"n": 1}, 6.0, 6, 6)


def close(scene: Scene) -> None:
    """The end."""
    scene.producer.close(7.0, 7, 7)


def abort(scene: Scene) -> None:
    """A reservation, given back."""
    if scene.producer.reserve(1024) >= 0:
        scene.producer.abort()


SITUATIONS: list[Act] = [fresh, used, at_the_end_of_a_lap, after_losses, full]
in_each_situation = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: f.__name__)
for_each_act = pytest.mark.parametrize(
    "act", [write(0), write(100), write(2000), mark, close, abort], ids=lambda f: f.__name__
)


def word(memory: bytes | bytearray, name: str) -> int:
    """A producer's word by its name."""
    at = layout.PRODUCER[name]
    return int.from_bytes(memory[at : at + 8], "little")


# --- killed -------------------------------------------------------------------------------------------


def snapshots(situation: Act, act: Act) -> tuple[int, list[bytes]]:
    """Where a consumer goes on, and what is in memory before, during and after ``act``."""
    scene = Scene()
    situation(scene)
    found = [bytes(scene.memory)]

    def look() -> None:
        if scene.memory != found[-1]:
            found.append(bytes(scene.memory))

    with stopping("opcode", look):
        act(scene)
    look()
    return scene.consumer.free_position, found


def survivors(snapshot: bytes, position: int) -> list[Record]:
    """What a consumer finds after the kill, with garbage where the dead producer was still writing."""
    memory = bytearray(snapshot)
    for at in range(word(snapshot, "head"), word(snapshot, "intent_end")):
        memory[layout.DATA_OFFSET + at % MIN_CAPACITY] = 0xA5
    return published(RingConsumer(memory, position))


@in_each_situation
@for_each_act
def test_a_kill_at_any_point_leaves_only_whole_records(situation: Act, act: Act) -> None:
    """Killed between any two bytecodes, head is old or new: the consumer finds a whole prefix."""
    position, found = snapshots(situation, act)
    whole = survivors(found[-1], position)
    lengths = []
    for snapshot in found:
        survived = survivors(snapshot, position)
        assert survived == whole[: len(survived)]
        lengths.append(len(survived))
    assert lengths == sorted(lengths)


@in_each_situation
@for_each_act
def test_what_is_written_was_announced(situation: Act, act: Act) -> None:
    """Every byte of the data area that has changed lies below the highest intent."""
    _, found = snapshots(situation, act)
    before = found[0][layout.DATA_OFFSET :]
    intent = begin = word(found[0], "head")
    for snapshot in found:
        intent = max(intent, word(snapshot, "intent_end"))
        announced = {at % MIN_CAPACITY for at in range(begin, intent)}
        changed = {at for at, byte in enumerate(snapshot[layout.DATA_OFFSET :]) if byte != before[at]}
        assert changed <= announced


@in_each_situation
@for_each_act
def test_a_kill_at_any_point_leaves_at_most_one_attempt_in_flight(situation: Act, act: Act) -> None:
    """Attempts equal samples published plus losses by cause plus at most one, and no number comes twice."""
    position, found = snapshots(situation, act)
    in_flight = []
    freed = None
    for snapshot in found:
        numbers = [r.seq for r in survivors(snapshot, position) if r.kind == DATA]
        assert numbers == sorted(set(numbers))
        assert all(seq < word(snapshot, "next_seq") for seq in numbers)
        lost = sum(word(snapshot, f"lost_{cause}_count") for cause in layout.CAUSES)
        open_attempts = word(snapshot, "next_seq") - lost - len(numbers)
        freed = open_attempts if freed is None else freed
        in_flight.append(open_attempts - freed)
    assert set(in_flight) <= {0, 1}
    assert in_flight[-1] == 0


# --- interrupted --------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupted_write(scene: Scene, size: int, line: int) -> bool:
    """A write that is interrupted before the n-th line of the ring's code; whether it went that far."""
    left = line

    def stop() -> None:
        nonlocal left
        if left == 0:
            raise Interrupt
        left -= 1

    seq = scene.producer.next_seq
    try:
        with stopping("line", stop):
            scene.write(size)
    except Interrupt:
        scene.producer.recover(seq, size, 8.0, 8)
        return True
    return False


@in_each_situation
@pytest.mark.parametrize("size", [0, 100, 2000])
def test_an_interrupt_at_any_line_of_a_write_is_accounted_for(situation: Act, size: int) -> None:
    """However a write is interrupted, its attempt is published or lost, told once, and the ring goes on."""
    line, went_that_far = 0, True
    while went_that_far:
        scene = Scene()
        situation(scene)
        attempts = scene.producer.next_seq + 1
        went_that_far = interrupted_write(scene, size, line)
        assert scene.producer.next_seq == attempts
        scene.take()
        scene.write(50)
        scene.producer.close(9.0, 9, 9)
        scene.take()
        check_accounts(scene)
        line += 1
    assert line > 10


def check_accounts(scene: Scene) -> None:
    """Samples are whole and in order, each loss is told exactly once, and all attempts are accounted for."""
    samples = [r for r in scene.found if r.kind == DATA]
    numbers = [r.seq for r in samples]
    assert numbers == sorted(set(numbers))
    assert [r.payload for r in samples] == [payload_of(r.seq, len(r.payload)) for r in samples]
    close = scene.found[-1]
    told = [loss for r in scene.found if r.kind == LOSS for loss in losses(r.payload)] + closing(
        close.payload
    )[2]
    counts = {c: sum(loss.samples for loss in told if loss.cause == c) for c in layout.CAUSES}
    assert counts == scene.producer.lost()
    sizes = {c: sum(loss.size_bytes for loss in told if loss.cause == c) for c in layout.CAUSES}
    assert sizes == {c: scene.producer.word(f"lost_{c}_bytes") for c in layout.CAUSES}
    assert len(samples) + sum(counts.values()) == scene.producer.next_seq == closing(close.payload)[0]
    assert (close.kind, [r.kind for r in scene.found].count(CLOSE)) == (CLOSE, 1)
