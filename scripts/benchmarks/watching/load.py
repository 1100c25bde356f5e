"""Many streams and cameras, timed write by write, with viewers and without, in turns."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recd.sinks.names import TIMESTAMP
from recd.video import ffmpeg
from recd_client import NPZFile, Recorder, Summary, VideoFile

from ..daemon import Bench
from ..kinds import scene
from ..results import Bar, Table
from ..timing import Costs, in_turns, timer_cost_ns
from .viewers import PageServer, PageViewer, Top, Viewer, tail

HZ: Final = 100
FPS: Final = 30
_CAMERAS: Final = 4
_HEIGHT, _WIDTH = 480, 640
_LINES: Final = 12
#: Each frame has its number in black and white squares along its upper edge.
_BITS: Final = 16
_BIT_PX: Final = _WIDTH // _BITS
#: What "as without viewers" leaves to noise.
_UNCHANGED: Final = 1.1

ALONE, AGAIN = "without viewers", "without viewers, once more"
WATCHED, ONE_STOPPED = "5 viewers", "5 viewers, one of them stopped"


class Simulation:
    """States 100 times per second and frames 30 times, all of which can be recognised in the files.

    Parameters
    ----------
    directory : Path
    streams : int
    """

    def __init__(self, directory: Path, streams: int) -> None:
        self.directory = directory
        self.rec = Recorder("load", dir=directory, dt=1 / HZ)
        like, frame = np.zeros(_LINES), np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        self._states = [
            self.rec.stream(f"s{n}", NPZFile(f"s{n}.npz"), like=like, buffer_bytes="256KiB")
            for n in range(streams)
        ]
        self._cameras = [
            self.rec.stream(f"cam{n}", VideoFile(f"cam{n}.mp4", fps=FPS), like=frame) for n in range(_CAMERAS)
        ]
        self._scene = scene(_HEIGHT, _WIDTH, 12)
        self._frame = frame
        self.steps = self.frames = 0
        self.refused = 0

    def run(self, seconds: float) -> tuple[list[int], list[int]]:
        """Nanoseconds of each write of a state, and of a frame."""
        states: list[int] = []
        frames: list[int] = []
        begin_s, steps = time.monotonic(), 0
        while (elapsed_s := time.monotonic() - begin_s) < seconds:
            ahead_s = steps / HZ - elapsed_s
            if ahead_s > 0:
                time.sleep(ahead_s)
            self._step(states)
            steps += 1
            if self.frames * HZ < self.steps * FPS:
                self._draw(frames)
        return states, frames

    def _step(self, took: list[int]) -> None:
        now, t, row = time.perf_counter_ns, self.steps / HZ, np.empty(_LINES)
        for n, stream in enumerate(self._states):
            row.fill(self.steps + n / 1024)
            start = now()
            went_in = stream.write(row, t)
            took.append(now() - start)
            self.refused += not went_in
        self.steps += 1

    def _draw(self, took: list[int]) -> None:
        now, t = time.perf_counter_ns, self.frames / FPS
        np.copyto(self._frame, self._scene[self.frames % len(self._scene)])
        bits = np.array([self.frames >> bit & 1 for bit in range(_BITS)], np.uint8) * 255
        self._frame[: _HEIGHT // 4] = np.repeat(bits, _BIT_PX)[None, :, None]
        for camera in self._cameras:
            start = now()
            went_in = camera.write(self._frame, t)
            took.append(now() - start)
            self.refused += not went_in
        self.frames += 1

    def finish(self) -> tuple[Summary, int]:
        """Close; how many of the files are exactly what was written."""
        summary = self.rec.close()
        steps = np.arange(self.steps)
        identical = 0
        for n in range(len(self._states)):
            with np.load(self.directory / f"s{n}.npz") as file:
                same = np.array_equal(file["data"], np.repeat(steps[:, None] + n / 1024, _LINES, 1))
                identical += same and np.array_equal(file[TIMESTAMP], steps / HZ)
        for n in range(_CAMERAS):
            numbers = frame_numbers(self.directory / f"cam{n}.mp4")
            identical += np.array_equal(numbers, np.arange(self.frames))
        return summary, identical


def frame_numbers(path: Path) -> NDArray[np.int64]:
    """The number in each frame of a film, (n,)."""
    squares = f"crop={_WIDTH}:{_HEIGHT // 8}:0:{_HEIGHT // 16},scale={_BITS}:1:flags=area,format=gray"
    command = [
        ffmpeg.executable(), "-loglevel", "error", "-i", str(path), "-vf", squares, "-fps_mode", "passthrough",
        "-f", "rawvideo", "-",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    bits = np.frombuffer(done.stdout, np.uint8).reshape(-1, _BITS) > 127
    return bits @ (1 << np.arange(_BITS, dtype=np.int64))


@contextmanager
def five_viewers(streams: int) -> Iterator[list[Viewer]]:
    """Two pages (100 lines and all cameras; 12 lines), two ``recd tail``, and ``recd top``; all see something."""
    with ExitStack() as stack:
        server = PageServer()
        stack.callback(server.close)
        viewers: list[Viewer] = []

        def add(viewer: Viewer) -> None:
            stack.callback(viewer.close)
            viewers.append(viewer)

        add(PageViewer(server, series=min(100, streams * _LINES), cameras=_CAMERAS))
        add(PageViewer(server, series=_LINES, cameras=0))
        add(tail("s0"))
        add(tail(f"s{streams - 1}"))
        add(Top())
        for viewer in viewers:
            viewer.ready()
        yield viewers


def tables(bench: Bench) -> Iterator[Table]:
    """Writes with viewers and without; whether the files are what was written."""
    streams, rounds, seconds = bench.size(200, 20), bench.size(5, 2), bench.size(80, 15) / 10
    result = Table(
        f"The writer, while others look: {streams} streams, {_CAMERAS} cameras",
        (
            "state p50 µs",
            "state p99.9 µs",
            "× p50",
            "× p99.9",
            "frame p50 µs",
            "frame p99 µs",
            "× frame p50",
            "not taken",
        ),
        key="live.load",
    )
    sim = Simulation(bench.new_directory(), streams)
    timer_ns = timer_cost_ns()
    ways = (ALONE, AGAIN, WATCHED, ONE_STOPPED)
    costs = {way: (Costs(timer_ns), Costs(timer_ns)) for way in ways}

    refused = dict.fromkeys(ways, 0)

    def take(way: str) -> None:
        before = sim.refused
        for cost, took in zip(costs[way], sim.run(seconds), strict=True):
            cost.add(took)
        refused[way] += sim.refused - before

    sim.run(1.0)  # so that there is something to be seen, whenever one looks
    for way in in_turns(rounds, ways):
        if way in (ALONE, AGAIN):
            take(way)
            continue
        with five_viewers(streams) as viewers:
            if way == ONE_STOPPED:
                viewers[0].stop()
            take(way)
    summary, identical = sim.finish()
    base = [cost.us(50) for cost in costs[ALONE]], costs[ALONE][0].us(99.9)
    for way, (state, frame) in costs.items():
        tail_ratio = state.us(99.9) / base[1]
        bar = Bar(tail_ratio, _UNCHANGED, " × p99.9") if way in (WATCHED, ONE_STOPPED) else None
        result.add(
            way, state.us(50), state.us(99.9), state.us(50) / base[0][0], tail_ratio, frame.us(50), frame.us(99),
            frame.us(50) / base[0][1], refused[way], bar=bar,
        )  # fmt: skip
    result.notes.append(
        f"{streams} streams of {_LINES} float64 at {HZ} Hz to NPZ and {_CAMERAS} cameras of {_WIDTH}x{_HEIGHT} at "
        f"{FPS} fps to MP4; {rounds} turns of {seconds:g} s each way, in one recording: {sim.steps:,} states of each "
        f"stream, {sim.frames:,} frames of each camera. Viewers: two pages of `recd ui` ({min(100, streams * _LINES)} "
        f"lines and all cameras; {_LINES} lines), two `recd tail --follow`, `recd top`; the first page is the one that "
        "is stopped (SIGSTOP). The row `once more` is measured as the first one: it shows what is noise."
    )
    yield result
    files = streams + _CAMERAS
    whole = Table("What was recorded while others looked", ("number",), key="live.files")
    whole.add(
        f"files, of {files}, with exactly what was written",
        identical,
        bar=Bar(identical, files, at_least=True),
    )
    lost = sum(s.lost_total for s in summary.streams.values())
    whole.add("samples lost", lost, bar=Bar(lost, 0))
    yield whole
