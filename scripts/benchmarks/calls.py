"""What one call costs the simulation, beside other ways to get the same sample out of the loop."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client import CSVFile, NPZFile, NullSink, Recorder, Stream, VideoFile, layout

from .daemon import Bench, buffered_bytes, producer
from .peers import (
    CSVInline,
    DictAppend,
    FFmpegInline,
    HDF5Inline,
    ListAppend,
    ProcessQueue,
    QueueAndThread,
    Sample,
    Way,
)
from .results import Bar, Table
from .timing import Costs, Step, in_turns, step_of, time_calls, timer_cost_ns, wait_until

DT: Final = 0.001
PERCENTILES: Final = ("p50 µs", "p99 µs", "p99.9 µs")
HEIGHT, WIDTH, FPS = 480, 640, 60
_STEP_US: Final = 20


class Recd(Way):
    """A stream's ``write``, called as it is."""

    def __init__(self, stream: Stream, name: str) -> None:
        super().__init__(name)
        self._stream = stream

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each call."""
        return time_calls(self._stream.write, data, times, step)

    def write(self, data: Sample, t: float) -> object:
        """One sample."""
        return self._stream.write(data, t)

    def settle(self) -> None:
        """The worker has brought everything to safety."""
        wait_until(lambda: buffered_bytes(self._stream) == 0)


class RecdClaim(Recd):
    """A stream's ``claim``, filled by the caller."""

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each claim, the caller's own copy included."""
        now, claim, copy, took = time.perf_counter_ns, self._stream.claim, np.copyto, [0] * len(times)
        for i, t in enumerate(times):
            step()
            start = now()
            with claim(t) as place:
                copy(place, data)
            took[i] = now() - start
        return took


class BareCopy(Way):
    """``np.copyto`` into one record after the other of memory like a ring's: shared, mapped, and as large."""

    def __init__(self, ring_bytes: int, like: NDArray[Any]) -> None:
        super().__init__("np.copyto into as large a memory")
        stride = layout.record_bytes(like.nbytes)
        memory = mmap.mmap(-1, ring_bytes // stride * stride)
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1
        self._places = [
            np.ndarray(like.shape, like.dtype, memory, at) for at in range(0, len(memory), stride)
        ]
        self._next = 0

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each copy."""
        now, copy, places, took = time.perf_counter_ns, np.copyto, self._places, [0] * len(times)
        for i in range(len(times)):
            place = places[self._next]
            step()
            start = now()
            copy(place, data)
            took[i] = now() - start
            self._next = (self._next + 1) % len(places)
        return took

    def write(self, data: Sample, t: float) -> object:
        """Copy once."""
        np.copyto(self._places[self._next], data)
        self._next = (self._next + 1) % len(self._places)
        return None


def measure(bench: Bench) -> list[Table]:
    """States, dicts, claims, and frames."""
    timer_ns = timer_cost_ns()
    return [_states(bench, timer_ns), _frames(bench, timer_ns)]


# --- samples ---------------------------------------------------------------------------------------
def _states(bench: Bench, timer_ns: float) -> Table:
    rounds, calls = bench.size(12, 4), bench.size(3000, 2000)
    table = Table("One call in the simulation: samples", PERCENTILES)
    table.notes.append(
        f"{rounds * calls:,} calls each, in turns of {calls:,}, each after {_STEP_US} µs of simulation; the "
        f"timer's own {timer_ns:.0f} ns are taken off. The files are being written meanwhile."
    )
    rng = np.random.default_rng(1)
    state = rng.standard_normal(50)
    fields = {f"field{i}": rng.standard_normal(12) for i in range(8)}
    where = bench.new_directory()
    with Recorder("calls", dir=where, dt=DT) as rec:
        stream = rec.stream("state", CSVFile("state.csv"), like=state)
        claimed = rec.stream("claimed", NullSink(), like=state)
        flat = rec.stream("fields", CSVFile("fields.csv"), like=fields)
        write, claim = Recd(stream, "recd write"), RecdClaim(claimed, "recd claim, and copyto")
        bare = BareCopy(producer(claimed).capacity_bytes, state)
        ways: list[Way] = [write, claim, bare, *_peers(where, state.shape, table.notes)]
        costs = _in_turns(ways, state, rounds, calls, timer_ns)
        dicts: list[Way] = [Recd(flat, "recd write"), DictAppend()]
        dict_costs = _in_turns(dicts, fields, rounds, calls, timer_ns)
        for way in ways:
            way.close()
    over = costs[claim].us(50) - costs[bare].us(50)
    bars: dict[Way, Bar] = {
        write: Bar(costs[write].us(50), 2.5, " µs"),
        claim: Bar(over, 5.0, " µs beyond the copy"),
    }
    for way in ways:
        table.add(f"50 float64: {way.name}", *costs[way].columns(), bar=bars.get(way))
    for way in dicts:
        table.add(f"dict of 8 × 12 float64: {way.name}", *dict_costs[way].columns())
    return table


def _peers(where: Path, shape: tuple[int, ...], notes: list[str]) -> list[Way]:
    """The other ways for states; what is not installed is noted."""
    makers: list[Callable[[], Way]] = [
        ListAppend,
        lambda: QueueAndThread(where / "thread.csv"),
        lambda: ProcessQueue(where / "process.csv"),
        lambda: CSVInline(where / "inline.csv"),
        lambda: HDF5Inline(where / "inline.h5", shape),
    ]
    return made(makers, notes)


def made(makers: Sequence[Callable[[], Way]], notes: list[str]) -> list[Way]:
    """The ways that can be had here; for others a note says what is missing."""
    ways = []
    for maker in makers:
        try:
            ways.append(maker())
        except ImportError as e:
            notes.append(f"not compared: {e.name} is not installed")
    return ways


def _in_turns(
    ways: Sequence[Way], data: Sample, rounds: int, calls: int, timer_ns: float
) -> dict[Way, Costs]:
    costs = {way: Costs(timer_ns) for way in ways}
    step = step_of(_STEP_US)
    for n, way in enumerate(in_turns(rounds, ways)):
        costs[way].add(way.block(data, [(n * calls + i) * DT for i in range(calls)], step))
        way.settle()
    return costs


# --- frames ----------------------------------------------------------------------------------------
_ALONE: Final = "contiguous, nothing else recorded"
_KINDS: Final = ("contiguous", "flipped", _ALONE)


def _frames(bench: Bench, timer_ns: float) -> Table:
    """Each call copies a frame that was just drawn, as a simulation's renderer does it."""
    rounds, steps = bench.size(480, 144), 12
    table = Table("One call in the simulation: 640x480x3 frames", (*PERCENTILES[:2], "× bare copy"))
    table.notes.append(
        f"{rounds} calls each. Before each one there are {steps} steps of 200 µs, each of which also records 50 "
        f'float64, and a frame is drawn; ffmpeg encodes meanwhile. "{_ALONE}": only frames are recorded, so '
        "that recd's code must come from memory, too. Flipped: strides (-1920, 3, 1), as Genesis gives them. "
        "The bare copy goes through shared memory with as many slots as the ring."
    )
    frame = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    views = dict(zip(_KINDS, (frame, frame[::-1], frame), strict=True))
    state = np.zeros(50)
    with Recorder("frames", dir=bench.new_directory(), dt=1 / FPS) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=FPS), like=frame)
        states = rec.stream("state", NPZFile("state.npz"), like=state)
        recd, bare = Recd(film, "recd write"), BareCopy(producer(film).capacity_bytes, frame)
        calls: list[tuple[str, Way]] = [(kind, way) for kind in _KINDS for way in (recd, bare)]
        costs = {call: Costs(timer_ns) for call in calls}
        work = step_of(200)
        for n, (kind, way) in enumerate(in_turns(rounds, calls)):
            for _ in range(steps):
                work()
                if kind != _ALONE:
                    states.write(state, n / FPS)
            costs[kind, way].add(way.block(views[kind], [n / FPS], lambda: _draw(frame)))
    inline = _inline_frames(bench, frame, rounds // 4, table.notes)
    for kind in _KINDS:
        recd_us, bare_us = costs[kind, recd].us(50), costs[kind, bare].us(50)
        bar = None if kind == _ALONE else Bar(recd_us / bare_us, 1.15, " ×")
        table.add(f"{kind}: {recd.name}", *costs[kind, recd].columns()[:2], recd_us / bare_us, bar=bar)
        table.add(f"{kind}: {bare.name}", *costs[kind, bare].columns()[:2], 1.0)
    bare_us = costs[_KINDS[0], bare].us(50)
    for other, cost in inline.items():
        table.add(f"contiguous: {other.name}", *cost.columns()[:2], cost.us(50) / bare_us)
    return table


def _inline_frames(bench: Bench, frame: NDArray[np.uint8], count: int, notes: list[str]) -> dict[Way, Costs]:
    """What ffmpeg in the loop costs, by itself: it would take the other ways' processor."""
    path = bench.new_directory() / "inline.mp4"
    ways = made([lambda: FFmpegInline(path, WIDTH, HEIGHT, FPS)], notes)
    costs, step = {way: Costs(timer_cost_ns()) for way in ways}, step_of(1e6 / FPS)
    for way in ways:
        for n in range(count):
            step()
            costs[way].add(way.block(frame, [n / FPS], lambda: _draw(frame)))
        way.close()
    return costs


def _draw(frame: NDArray[np.uint8]) -> None:
    """Change every pixel, as a renderer does: it leaves the frame in the processor's cache."""
    np.add(frame, 1, out=frame)
