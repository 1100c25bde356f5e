"""Playing a recording: how close to its time each event comes, and how quickly all of it can be had, or decoded."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import recd
from recd_client import HDF5File, Recorder, VideoFile

from . import decoding
from .daemon import Bench
from .results import Bar, Table

_BAR_MS = 2.0
_FRAME = (240, 320, 3)


def measure(bench: Bench) -> list[Table]:
    """Pace at rate 1, speed at rate 0, decoding."""
    minute_s = bench.size(60, 6)
    directory = bench.new_directory()
    _record(directory, minute_s)
    return [_pace(directory, minute_s), _speed(bench, directory), *decoding.measure(bench)]


def _record(directory: Path, length_s: int) -> None:
    """Numbers at 1 kHz and 100 Hz, pictures at 50 Hz."""
    noise = np.random.default_rng(1).integers(0, 255, (8, *_FRAME), np.uint8)
    with Recorder("play", dir=directory, dt=0.001) as rec:
        fast = rec.stream("fast", HDF5File("fast.h5"), like=np.zeros(12), overflow="block")
        slow = rec.stream("slow", HDF5File("slow.h5"), like={"q": np.zeros(30), "r": 0.0}, overflow="block")
        front = rec.stream("front", VideoFile("front.mp4", fps=50), like=noise[0], overflow="block")
        for i in range(length_s * 1000):
            t = i * 0.001
            fast.write(np.full(12, t), t=t)
            if i % 10 == 0:
                slow.write({"q": np.full(30, t), "r": t}, t=t)
            if i % 20 == 0:
                front.write(noise[i // 20 % 8], t=t)


def _pace(directory: Path, length_s: int) -> Table:
    table = Table(
        "Playing at rate 1: how far from its time an event comes", ("p50, ms", "p99, ms", "max, ms", "events")
    )
    chosen: dict[str, list[str] | None] = {"1 kHz, 100 Hz and 50 pictures/s": None, "100 Hz": ["slow"]}
    for label, streams in chosen.items():
        off_ms = _offsets_ms(recd.play(directory, streams=streams))
        p50, p99 = np.percentile(np.abs(off_ms), [50, 99])
        table.add(
            label, p50, p99, float(np.abs(off_ms).max()), len(off_ms), bar=Bar(float(p99), _BAR_MS, " ms")
        )
    began_s = time.monotonic()
    command = [sys.executable, "-m", "recd", "play", str(directory), "--to", "live"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took_s = time.monotonic() - began_s
    table.notes.append(
        f"A recording of {length_s} s. An event's time: that of the first one plus its distance in the recording; the "
        f"clock is read when the loop has the event. `recd play --to live` took {took_s:.1f} s, from its start "
        f"to its end, and says: {done.stderr.strip().splitlines()[-1]}."
    )
    return table


def _offsets_ms(playback: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How much later than its time each event came: against the first one, without a look at the player's own count."""
    came, stood = [], []
    for event in playback:
        came.append(time.monotonic())
        stood.append(event.position)
    off = (np.array(came) - came[0]) - (np.array(stood) - stood[0])
    return np.asarray(off * 1e3)


def _speed(bench: Bench, directory: Path) -> Table:
    table = Table("Playing at rate 0", ("samples/s", "s"))
    for label, streams in (("numbers", ["fast", "slow"]), ("pictures", ["front"])):
        began_s = time.monotonic()
        count = sum(1 for _ in recd.play(directory, 0, streams=streams))
        took_s = time.monotonic() - began_s
        table.add(f"a loop over {label}", count / took_s, took_s)
    again = bench.new_directory()
    began_s = time.monotonic()
    command = [sys.executable, "-m", "recd", "play", str(directory), "--rate", "0", "--exclude", "front"]
    subprocess.run([*command, "--record", "npz", "--dir", str(again)], capture_output=True, check=True)
    took_s = time.monotonic() - began_s
    count = sum(len(recd.open(again)[name]) for name in ("fast", "slow"))
    table.add("recorded again as NPZ, with start and end", count / took_s, took_s)
    return table
