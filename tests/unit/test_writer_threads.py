"""Threads at one writer: turns, long copies that let others run, and a wait that can be interrupted."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest

from backends import Backend
from recd_client.clock import Clock
from recd_client.sample import infer, make_plan
from rings import DATA, new_memory, taken

LARGE = np.zeros((1 << 18,))  # 2 MiB: C copies it without the lock that threads share
CAPACITY = 16 << 20


def ring(each: Backend, like: Any) -> tuple[Any, Any]:
    """A writer, and a consumer of its ring."""
    memory = new_memory(CAPACITY)
    producer = each.RingProducer(memory)
    plan = make_plan(infer(like), np.frombuffer(memory, np.uint8), CAPACITY)
    return each.Writer("s", producer, plan, Clock(None)), each.RingConsumer(memory)


@pytest.mark.parametrize("strided", [False, True], ids=["packed", "strided"])
def test_large_samples_of_many_threads_are_whole_and_in_turn(each: Backend, strided: bool) -> None:
    """However long a copy takes, no other sample comes between its bytes, and each has a number of its own."""
    writer, consumer = ring(each, LARGE)
    results: list[bool] = []

    def write(mine: int) -> None:
        own = np.full((1 << 18, 2), float(mine))[:, 0] if strided else np.full(1 << 18, float(mine))
        for _ in range(12):
            results.append(writer.write(own))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    found = []
    while any(thread.is_alive() for thread in threads):
        found += taken(consumer)
    for thread in threads:
        thread.join()
    found += taken(consumer)
    samples = [r for r in found if r.kind == DATA]
    assert len(samples) == sum(results)
    assert [r.seq for r in samples] == sorted({r.seq for r in samples})
    assert all(len(set(np.frombuffer(r.payload, "f8"))) == 1 for r in samples)


def test_a_wait_for_another_threads_claim_ends_with_ctrl_c(each: Backend) -> None:
    """The main thread that waits for its turn is interrupted by a signal; its attempt had not begun."""
    writer, consumer = ring(each, 0.0)
    writer.write(0.0)
    claimed, leave = threading.Event(), threading.Event()

    def claim() -> None:
        with writer.claim() as place:
            place[...] = 1.0
            claimed.set()
            leave.wait()

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    thread = threading.Thread(target=claim)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        thread.start()
        claimed.wait()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            writer.write(2.0)
    finally:
        signal.signal(signal.SIGALRM, before)
        leave.set()
        thread.join()
    assert writer.write(3.0)
    assert [np.frombuffer(r.payload[:8], "f8")[0] for r in taken(consumer)] == [0.0, 1.0, 3.0]
