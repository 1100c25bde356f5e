"""A simulation for fault tests, run as a process of its own: tells on stdout what it has published.

Usage: killed_simulation.py DIRECTORY SAMPLES [--no-close] [--pause-at N]. Each line is ``published <seq>`` (``refused
<seq>``: not recorded, as the recording was stopped from outside). With ``--pause-at`` it then waits for a line on
stdin, so that a fault lands at a known place. With ``--die-in STREAM --die-at N`` it kills itself in a write to that
stream, half-way, before the N-th bytecode of the write path; if the write has fewer, it goes on, and says ``steps
<number>``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

if (
    "--die-in" in sys.argv
):  # a write in C has no bytecodes; tests/native kills that one before each of its stores
    os.environ["RECD_BACKEND"] = "python"

from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile, ring, sample, shm, writer

HEIGHT, WIDTH = 48, 64
LEVELS = 200
#: The way of a sample into the ring, and of the ring on the worker's doorbell.
WRITE_PATH = (writer.__file__, sample.__file__, ring.__file__, shm.__file__)


def level(i: int) -> int:
    """Gray level of frame ``i``: neighbours differ by more than a codec blurs."""
    return 20 + (i * 37) % LEVELS


def dying(write: Callable[[], object], at: int) -> None:
    """Call ``write`` and die before its ``at``-th bytecode."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in WRITE_PATH:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    write()
    sys.settrace(None)
    print(f"steps {count}", flush=True)


def main() -> None:
    """Record ``SAMPLES`` samples and frames."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("samples", type=int)
    parser.add_argument("--no-close", action="store_true")
    parser.add_argument("--pause-at", type=int, nargs="*", default=[])
    parser.add_argument("--step-s", type=float, default=0.002)
    parser.add_argument("--die-in", choices=["state", "film"])
    parser.add_argument("--die-at", type=int, default=0)
    options = parser.parse_args()
    fatal = options.samples // 2 if options.die_in else -1
    rec = Recorder("crash", dir=options.directory, dt=0.01)
    state = rec.stream(
        "state", CSVFile("state.csv"), NPZFile("state.npz"), HDF5File("state.h5"), overflow="block"
    )
    film = rec.stream("film", VideoFile("film.mp4", fps=50), overflow="block")
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for i in range(options.samples):
        frame[:] = level(i)
        values = {"i": i, "x": np.full(50, i * 0.1)}
        if i == fatal:
            time.sleep(0.15)  # the workers sleep by now, and have to be woken
        if i == fatal and options.die_in == "state":
            dying(lambda: state.write(values, t=i * 0.01), options.die_at)  # noqa: B023
            kept = True
        else:
            kept = state.write(values, t=i * 0.01)
        if i == fatal and options.die_in == "film":
            dying(lambda: film.write(frame, t=i * 0.01), options.die_at)  # noqa: B023
        else:
            kept &= film.write(frame, t=i * 0.01)
        print(f"{'published' if kept else 'refused'} {i}", flush=True)
        if i in options.pause_at:
            sys.stdin.readline()
        time.sleep(options.step_s)
    if options.no_close:
        print("idle", flush=True)
        sys.stdin.readline()
    else:
        summary = rec.close()
        print(f"closed {summary.complete}", flush=True)


if __name__ == "__main__":
    main()
