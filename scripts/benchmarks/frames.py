"""What copying a frame costs the simulation, recd and a bare copy call by call, in one process."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recd_client import BACKEND, NPZFile, Recorder, VideoFile

from .daemon import Bench, producer
from .kinds import FPS
from .results import Bar, Table
from .timing import Costs, in_turns, step_of, time_calls, timer_cost_ns
from .ways.kept import SharedSlots

HEIGHT, WIDTH = 480, 640
_ALONE: Final = "contiguous, nothing else recorded"
_KINDS: Final = ("contiguous", "flipped", _ALONE)
_RECD, _BARE = "recd write", "np.copyto into memory that another process reads"


def measure(bench: Bench) -> list[Table]:
    """Each call copies a frame that was just drawn, as a simulation's renderer does it."""
    rounds, steps = bench.size(480, 144), 12
    table = Table(
        "One call, copying by copying: 640x480x3 frames", ("p50 µs", "p99 µs", "× bare copy"), key="frames"
    )
    table.notes.append(
        f"{rounds} calls each. Before each one there are {steps} steps of 200 µs, each of which also records 50 "
        f'float64, and a frame is drawn; ffmpeg encodes meanwhile. "{_ALONE}": only frames are recorded, so '
        "that recd's code must come from memory, too. Flipped: strides (-1920, 3, 1), as Genesis gives them. "
        "The bare copy goes to shared memory with as many slots as the ring, which another process reads."
    )
    frame = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    views = dict(zip(_KINDS, (frame, frame[::-1], frame), strict=True))
    state = np.zeros(50)
    with Recorder("frames", dir=bench.new_directory(), dt=1 / FPS) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=FPS), like=frame)
        states = rec.stream("state", NPZFile("state.npz"), like=state)
        bare = SharedSlots(producer(film).capacity_bytes, frame)

        def copy(data: NDArray[np.uint8], t: float) -> None:
            np.copyto(bare.slots[bare.next_slot], data)
            bare.written[0] += 1

        ways = {_RECD: film.write, _BARE: copy}
        calls = [(kind, way) for kind in _KINDS for way in ways]
        costs = {call: Costs(timer_cost_ns()) for call in calls}
        work = step_of(200)
        for n, (kind, way) in enumerate(in_turns(rounds, calls)):
            for _ in range(steps):
                work()
                if kind != _ALONE:
                    states.write(state, n / FPS)
            costs[kind, way].add(time_calls(ways[way], views[kind], [n / FPS], lambda: _draw(frame)))
        bare.close()
    for kind in _KINDS:
        recd_us, bare_us = costs[kind, _RECD].us(50), costs[kind, _BARE].us(50)
        limit = 1.05 if BACKEND == "native" else 1.15
        bar = None if kind == _ALONE else Bar(recd_us / bare_us, limit, " ×")
        table.add(f"{kind}: {_RECD}", *costs[kind, _RECD].columns()[:2], recd_us / bare_us, bar=bar)
        table.add(f"{kind}: {_BARE}", *costs[kind, _BARE].columns()[:2], 1.0)
    return [table]


def _draw(frame: NDArray[np.uint8]) -> None:
    """Change every pixel, as a renderer does: it leaves the frame in the processor's cache."""
    np.add(frame, 1, out=frame)
