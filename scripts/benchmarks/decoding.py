"""Frames out of a film, through the reader, beside the same ffmpeg read by as few lines as can be."""

from __future__ import annotations

import fcntl
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

import recd
from recd.video import ffmpeg
from recd_client import Recorder, VideoFile

from .daemon import Bench
from .kinds import scene
from .results import Bar, Table
from .timing import in_turns, seconds

#: Of the speed of bare ffmpeg; and of the time for as many frames as lie between keyframes.
LEAST_SHARE: Final = 0.9
MOST_INTERVALS: Final = 2.0
FPS: Final = 50
HEIGHT, WIDTH = 480, 640
_FRAME_BYTES: Final = HEIGHT * WIDTH * 3
_KEYFRAMES_APART: Final = 2 * FPS
_SCENE_FRAMES: Final = 60
_PIPE_BYTES: Final = 1 << 20
#: What is in a film: something like a rendered scene, or texture that no encoder makes small.
RENDERED, NOISE = "a rendered scene", "noise"


def pictures(content: str, count: int) -> Iterator[NDArray[np.uint8]]:
    """As many pictures of one kind."""
    if content == NOISE:
        texture = np.random.default_rng(0).integers(0, 64, (HEIGHT, WIDTH, 3), np.uint8)
        return (np.roll(texture, i, 1) for i in range(count))
    shown = scene(HEIGHT, WIDTH, _SCENE_FRAMES)
    return (shown[i % _SCENE_FRAMES] for i in range(count))


def recorded(directory: Path, content: str, count: int, episodes: int = 1) -> Path:
    """A recording of one film, ``front``, in episodes of the same length."""
    with Recorder("film", dir=directory) as rec:
        film = rec.stream("front", VideoFile("front.mp4", fps=FPS), overflow="block")
        for i, picture in enumerate(pictures(content, count)):
            if i and i % -(-count // episodes) == 0:
                rec.reset()
            film.write(picture, t=i / FPS)
    return directory


def bare(path: Path, *, wide: bool, count: int | None = None) -> int:
    """Frames that ffmpeg writes into a pipe, all read into the same memory.

    Parameters
    ----------
    path : Path
    wide : bool
        The pipe has as much room as the reader's, and not the system's 64 KiB.
    count : int, optional
        Not more than so many.
    """
    several = () if count is None else ("-frames:v", str(count))
    command = [ffmpeg.executable(), *ffmpeg.QUIET, "-i", ffmpeg.url(path), "-map", "0:v:0", *several]
    command += ["-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    view, found = memoryview(bytearray(_FRAME_BYTES)), 0
    # A session of its own, as the reader's ffmpeg has: the system shares processors out by session.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, start_new_session=True) as process:
        assert process.stdout is not None
        if wide:
            fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while True:
            got = 0
            while got < _FRAME_BYTES and (n := process.stdout.readinto(view[got:])):  # type: ignore[attr-defined]
                got += n
            if got < _FRAME_BYTES:
                return found
            found += 1


def iterated(path: Path) -> int:
    """Frames in a loop over the stream of a recording, which is opened first."""
    with recd.open(path.parent) as run:
        return sum(1 for _ in run["front"])


def indexed(path: Path) -> int:
    """Frames by their numbers, one after the other."""
    with recd.open(path.parent) as run:
        front = run["front"]
        return sum(front[k] is not None for k in range(len(front)))


def measure(bench: Bench) -> list[Table]:
    """All frames in order; single ones."""
    return [_in_order(bench), _single(bench)]


_PEER: Final = "ffmpeg, read into one buffer through as large a pipe"
_WAYS: Final[dict[str, Callable[[Path], int]]] = {
    _PEER: lambda path: bare(path, wide=True),
    "ffmpeg, read into one buffer": lambda path: bare(path, wide=False),
    "recd: for frame in stream": iterated,
    "recd: stream[k], k in order": indexed,
}


def _in_order(bench: Bench) -> Table:
    frames, rounds = bench.size(1500, 500), bench.size(15, 7)
    table = Table(
        "Decoding a film", ("frames/s", "× ffmpeg", "CPU ms/frame", "× its CPU"), key="play.decoding"
    )
    table.notes.append(
        f"{frames} frames of {WIDTH}x{HEIGHT} as RGB, from the start of ffmpeg to its end; of recd from opening the "
        f"recording on. Medians of {rounds} rounds in turns; × ffmpeg: of each round's ratio. CPU: of ffmpeg and its "
        "reader together, which does not count what others on the machine take."
    )
    for content in (RENDERED, NOISE):
        path = recorded(bench.new_directory(), content, frames) / "front.mp4"
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in _WAYS}
        for way in in_turns(rounds, list(_WAYS)):
            before_s, began_s = cpu_s(), time.perf_counter()
            if (found := _WAYS[way](path)) != frames:
                raise RuntimeError(f"{way}: {found} frames of {frames}")
            took[way].append((time.perf_counter() - began_s, cpu_s() - before_s))
        for way, each in took.items():
            ratios = np.array(took[_PEER]) / np.array(each)
            wall, cpu = (float(x) for x in np.median(ratios, axis=0))
            spent_s = median(cpu_s for _, cpu_s in each)
            bar = Bar(wall, LEAST_SHARE, " ×", at_least=True) if way.startswith("recd") else None
            speed = frames / median(wall_s for wall_s, _ in each)
            table.add(f"{content}: {way}", speed, wall, 1e3 * spent_s / frames, cpu, bar=bar)
    return table


def cpu_s() -> float:
    """Of this process, and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _single(bench: Bench) -> Table:
    frames, rounds = bench.size(1500, 500), bench.size(40, 15)
    table = Table("Decoding one frame", ("ms", "× an interval"), key="play.single")
    table.notes.append(
        f"Of the same film of a rendered scene, medians of {rounds}, in turns. The interval: bare ffmpeg from its "
        f"start until it has decoded the {_KEYFRAMES_APART} frames from one keyframe to the next. recd: any frame of "
        "a stream that is open."
    )
    path = recorded(bench.new_directory(), RENDERED, frames) / "front.mp4"
    took: dict[str, list[float]] = {"ffmpeg, one interval": [], "recd: stream[k], any k": []}
    anywhere = random.Random(5)
    with recd.open(path.parent) as run:
        front = run["front"]
        for way in in_turns(rounds, list(took)):
            if way.startswith("recd"):
                spent_s = seconds(front.__getitem__, anywhere.randrange(frames))
                front.close()
            else:
                spent_s = seconds(lambda: bare(path, wide=True, count=_KEYFRAMES_APART))
            took[way].append(spent_s)
    interval_s = median(took["ffmpeg, one interval"])
    for way, each in took.items():
        share = median(each) / interval_s
        bar = Bar(share, MOST_INTERVALS, " ×") if way.startswith("recd") else None
        table.add(way, 1e3 * median(each), share, bar=bar)
    return table
