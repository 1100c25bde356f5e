"""Taps in processes of their own, beside a writer that nobody slows down: stopped in mid-read, killed, and many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from backends import EACH
from recd_client import layout
from recd_client.segment import read_word
from recd_client.shm import SHM_DIR, Segment
from rings import MIN_CAPACITY
from support import readable, wait_until

TESTS = Path(__file__).parents[1]
#: Laps that the writer makes while a tap stands still.
LAPS = 3
PATIENCE_S = 60.0


@contextmanager
def program(name: str, *arguments: str, backend: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the tests' directory, that ends with its input."""
    command = [sys.executable, str(TESTS / name), *arguments]
    environment = {**os.environ, "RECD_BACKEND": backend}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stands_still(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return "T (stopped)" in Path(f"/proc/{pid}/status").read_text()


def mapped(pid: int, name: str) -> list[str]:
    """How a process has mapped a segment: permissions of each mapping."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if name.strip("/") in line]


@pytest.mark.parametrize("kind", ["fixed", "varying"])
@pytest.mark.parametrize("name", EACH)
def test_taps_of_a_ring_that_is_lapped_never_give_a_torn_or_reordered_sample(name: str, kind: str) -> None:
    """At full speed, wherever a tap is stopped, for laps: what it gives is whole and in order; nobody waits for it."""
    ring = f"/recd-test-{uuid4().hex}"
    segment = Segment.create(ring, MIN_CAPACITY, {})
    words = memoryview(segment.memory)[: layout.DATA_OFFSET].cast("Q")
    hows = ("looks", "looks", "stops", "stops", "stops", "dies")
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(program("lapping_program.py", ring, kind, backend=name))
            wait_until(lambda: read_word(words, "head") > MIN_CAPACITY)
            taps = [
                stack.enter_context(program("tap_program.py", ring, kind, how, backend=name)) for how in hows
            ]
            for tap in taps[:5]:
                assert wait_until(lambda tap=tap: mapped(tap.pid, ring)) == ["r--s"]  # type: ignore[misc]
            stalled: dict[int, int] = {}

            def all_have_enough() -> bool:
                """Let those go on that stood still for some laps; whether all have said that they saw enough."""
                head = read_word(words, "head")
                for tap in taps[2:5]:
                    if stands_still(tap.pid):
                        began = stalled.setdefault(tap.pid, head)
                        if head - began >= LAPS * MIN_CAPACITY:
                            del stalled[tap.pid]
                            os.kill(tap.pid, signal.SIGCONT)
                assert all(tap.poll() is None for tap in (writer, *taps[:5]))
                return all(has_said(tap) for tap in taps[:5])

            wait_until(all_have_enough, timeout_s=PATIENCE_S)
            assert taps[5].wait() == -signal.SIGKILL
            written = int(writer.communicate()[0])
            assert writer.returncode == 0
            for tap in taps[:5]:
                assert tap.stdin is not None
                tap.stdin.close()
                os.kill(tap.pid, signal.SIGCONT)
                wait_until(lambda tap=tap: go_on(tap), timeout_s=PATIENCE_S)  # type: ignore[misc]
                assert tap.returncode == 0
        assert read_word(words, "next_seq") == written
        assert not any(read_word(words, f"lost_{cause}_count") for cause in layout.ALL_CAUSES)
        words.release()
        assert segment.close()
    finally:
        segment.unlink()
    assert not (SHM_DIR / ring.strip("/")).exists()


def has_said(tap: subprocess.Popen[str]) -> bool:
    """Whether a tap has said anything: that it has seen enough."""
    assert tap.stdout is not None
    return readable(tap.stdout)


def go_on(tap: subprocess.Popen[str]) -> bool:
    """Whether a tap has ended; one that stops once more is let go on."""
    if tap.poll() is None and stands_still(tap.pid):
        os.kill(tap.pid, signal.SIGCONT)
    return tap.poll() is not None
