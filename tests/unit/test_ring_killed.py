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

from backends import Backend, ends_of
from killed_ring import Act, Images, Scene, for_each_act, in_each_situation
from recd_client import layout, ring
from rings import CLOSE, DATA, LOSS, closing, losses, payload_of


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


@in_each_situation
@for_each_act
def test_a_kill_at_any_point_leaves_only_whole_records(situation: Act, act: Act, each: Backend) -> None:
    """Killed between any two bytecodes, it leaves whole records and exact counts, for either consumer."""
    scene = Scene(ends_of("python", each.name))
    situation(scene)
    images = Images(scene, each.RingConsumer)
    with stopping("opcode", images.look):
        act(scene)
    images.look()
    images.check()


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
def test_an_interrupt_at_any_line_of_a_write_is_accounted_for(
    situation: Act, size: int, each: Backend
) -> None:
    """However a write is interrupted, its attempt is published or lost, told once, and the ring goes on."""
    ends, line, went_that_far = ends_of("python", each.name), 0, True
    while went_that_far:
        scene = Scene(ends)
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
