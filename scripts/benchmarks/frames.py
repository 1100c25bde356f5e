"""What copying a frame costs the simulation, recd and a bare copy call by call, in one process.

Both copy into memory that another process has read, while an encoder works: what is left is recd's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client import NPZFile, Recorder, VideoFile

from .daemon import Bench, buffered_bytes, producer
from .kinds import FPS, HD, VGA, Kind
from .results import Bar, Table, aim
from .timing import Costs, in_turns, step_of, time_calls, timer_cost_ns, wait_until
from .ways.kept import SharedSlots

_STEPS: Final = 12
_ALONE: Final = "contiguous, nothing else recorded"
_WRITE, _CLAIM, _BARE = (
    "recd write",
    "recd claim, and copyto",
    "np.copyto into memory that another process reads",
)


def measure(bench: Bench) -> Iterator[Table]:
    """A table per size; quickly, of the smaller one only."""
    yield _table(bench, VGA, ("contiguous", "flipped", _ALONE), bench.size(480, 100))
    if not bench.quick:
        yield _table(bench, HD, ("contiguous", "flipped"), 120)


def _table(bench: Bench, kind: Kind, layouts: tuple[str, ...], rounds: int) -> Table:
    """Each call copies a frame that was just drawn, as a simulation's renderer does it."""
    table = Table(
        f"One call, copying by copying: {kind.title}",
        ("p50 µs", "p99 µs", "× bare copy", "µs more than it"),
        key=f"frames.{kind.name}",
    )
    table.notes.append(
        f"{rounds} calls each. Before each one there are {_STEPS} steps of 200 µs, each of which also records 50 "
        f'float64, and a frame is drawn; ffmpeg encodes meanwhile. "{_ALONE}": only frames are recorded, so '
        "that recd's code must come from memory, too. Flipped: strides (-3 × width, 3, 1), as Genesis gives them. "
        "The bare copy goes to shared memory with as many slots as the ring, which another process reads."
    )
    frame = np.random.default_rng(2).integers(0, 255, kind.shape, np.uint8)
    state, work = np.zeros(50), step_of(200)
    with Recorder("frames", dir=bench.new_directory(), dt=1 / FPS) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=FPS), like=frame)
        states = rec.stream("state", NPZFile("state.npz"), like=state)
        half_bytes = producer(film).capacity_bytes // 2
        bare = SharedSlots(2 * half_bytes, frame)

        def copy(data: NDArray[np.uint8], t: float) -> None:
            np.copyto(bare.slots[bare.next_slot], data)
            bare.written[0] += 1

        def claim(data: NDArray[np.uint8], t: float) -> None:
            with film.claim(t) as place:
                np.copyto(place, data)

        ways: dict[str, Callable[[Any, float], object]] = {_WRITE: film.write, _CLAIM: claim, _BARE: copy}
        calls = [(layout, way) for layout in layouts for way in ways]
        costs = {call: Costs(timer_cost_ns()) for call in calls}
        for n, (layout, way) in enumerate(in_turns(rounds, calls)):
            for _ in range(_STEPS):
                work()
                if layout != _ALONE:
                    states.write(state, n / FPS)
            if buffered_bytes(film) > half_bytes:  # what is dropped costs nothing
                wait_until(lambda: buffered_bytes(film) <= half_bytes)
            view = frame[::-1] if layout == "flipped" else frame
            costs[layout, way].add(time_calls(ways[way], view, [n / FPS], lambda: _draw(frame)))
        bare.close()
    for layout in layouts:
        bare_us = costs[layout, _BARE].us(50)
        for way in ways:
            cost = costs[layout, way]
            more_us = cost.us(50) - bare_us
            bar = None if layout == _ALONE else _bar(way, cost.us(50) / bare_us, more_us)
            table.add(f"{layout}: {way}", *cost.columns()[:2], cost.us(50) / bare_us, more_us, bar=bar)
    return table


def _bar(way: str, ratio: float, more_us: float) -> Bar | None:
    if way == _WRITE:
        return Bar(ratio, aim(1.05, 1.15), " ×")
    return Bar(more_us, aim(1.0, 5.0), " µs more") if way == _CLAIM else None


def _draw(frame: NDArray[np.uint8]) -> None:
    """Change every pixel, as a renderer does: it leaves the frame in the processor's cache."""
    np.add(frame, 1, out=frame)
