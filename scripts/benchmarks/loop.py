"""A simulation that records against the same one that does not: all costs, of all processes, together."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import numpy as np

from recd_client import CSVFile, Recorder, VideoFile

from .daemon import Bench
from .results import Table
from .timing import Step, step_of

STEP_US: Final = 200
DT: Final = 0.0002
HEIGHT, WIDTH, FPS = 480, 640, 60

Loop = Callable[[int], object]


def measure(bench: Bench) -> list[Table]:
    """Steps with a state, and steps with a camera."""
    pairs, chunk_s = bench.size(20, 6), bench.size(10, 8) / 10
    table = Table(
        "A whole loop", ("steps/s unrecorded", "steps/s recorded", "recorded / unrecorded", "samples", "lost")
    )
    table.notes.append(
        f"A step is a fixed amount of work of about {STEP_US} µs. Medians of {pairs} pairs of {chunk_s:g} s, "
        "one of each with recording and one without, the first in turns."
    )
    step = step_of(STEP_US)
    _state_loop(bench, table, step, pairs, chunk_s)
    _camera_loop(bench, table, step, pairs, chunk_s)
    return [table]


def _state_loop(bench: Bench, table: Table, step: Step, pairs: int, chunk_s: float) -> None:
    state = np.random.default_rng(7).standard_normal(50)
    with Recorder("loop", dir=bench.new_directory(), dt=DT) as rec:
        stream = rec.stream("state", CSVFile("state.csv"), like=state)

        def bare(n: int) -> None:
            step()
            state[0] = n

        def recorded(n: int) -> None:
            step()
            state[0] = n
            stream.write(state, n * DT)

        _compare(table, "50 float64 to CSV, each step", rec, bare, recorded, pairs, chunk_s)


def _camera_loop(bench: Bench, table: Table, step: Step, pairs: int, chunk_s: float) -> None:
    """The camera looks 60 times per second of wall time; the frame is drawn either way."""
    frame = np.random.default_rng(8).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    frame[:] = np.linspace(0, 255, WIDTH, dtype=np.uint8)[:, None]
    with Recorder("loop", dir=bench.new_directory(), dt=1 / FPS) as rec:
        stream = rec.stream("film", VideoFile("film.mp4", fps=FPS), like=frame)
        due_s = 0.0

        def is_due() -> bool:
            nonlocal due_s
            now_s = time.monotonic()
            if now_s < due_s:
                return False
            due_s = max(due_s + 1 / FPS, now_s - 1 / FPS)
            np.add(frame, 1, out=frame)
            return True

        def bare(n: int) -> None:
            step()
            is_due()

        def recorded(n: int) -> None:
            step()
            if is_due():
                stream.write(frame)

        _compare(table, f"640x480x3 to MP4, {FPS} per second", rec, bare, recorded, pairs, chunk_s)


def _compare(
    table: Table, label: str, rec: Recorder, bare: Loop, recorded: Loop, pairs: int, chunk_s: float
) -> None:
    """Run both in turns; the recording's rest is written between them, so that it is nobody else's burden."""
    rates: dict[Loop, list[float]] = {bare: [], recorded: []}
    for n in range(pairs):
        for way in (bare, recorded) if n % 2 else (recorded, bare):
            rates[way].append(_steps_per_s(way, chunk_s))
            rec.flush()
    summary = rec.close()
    ratios = [r / b for r, b in zip(rates[recorded], rates[bare], strict=True)]
    samples = sum(s.attempted for s in summary.streams.values())
    table.add(
        label, median(rates[bare]), median(rates[recorded]), median(ratios), samples, summary.lost_total
    )


def _steps_per_s(way: Loop, chunk_s: float) -> float:
    start_s = now_s = time.perf_counter()
    n = 0
    while now_s - start_s < chunk_s:
        for _ in range(50):
            way(n)
            n += 1
        now_s = time.perf_counter()
    return n / (now_s - start_s)
