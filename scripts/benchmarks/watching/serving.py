"""Processor time of whoever serves a view: shares of one core, from /proc, the viewer's own not counted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..daemon import Bench, busy_ns, supervisor_pid
from ..results import Bar, Table
from .viewers import PageServer, PageViewer, Top, Viewer

_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "watched_simulation.py"


@contextmanager
def simulation(bench: Bench, what: str) -> Iterator[subprocess.Popen[str]]:
    """A process that records; see ``programs/watched_simulation.py``."""
    command = [sys.executable, str(_PROGRAM), str(bench.new_directory()), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the simulation did not begin")
            yield process
        finally:
            if process.poll() is None:
                process.communicate("")


def table(bench: Bench) -> Table:
    """One page with lines, one with a camera, and ``recd top``."""
    seconds, streams = bench.size(20, 3), bench.size(200, 50)
    result = Table("Who serves a view", ("% of a core", "supervisor, % of a core"), key="live.serving")
    with simulation(bench, "series"):
        _page(result, "recd ui: 100 series at 60 Hz", seconds, 15, series=100, cameras=0)
    with simulation(bench, "camera"):
        _page(result, "recd ui: a 640x480 camera at 30 fps", seconds, 15, series=0, cameras=1)
    with simulation(bench, f"streams {streams}"):
        top = Top()
        try:
            top.ready()
            _add(result, f"recd top: {streams} streams", top, seconds, 3)
        finally:
            top.close()
    result.notes.append(
        f"Over {seconds} s, once the view is there. One page of 10 s; it says at once that it has drawn. The "
        "supervisor also answers for what is looked at; what it needs otherwise is in its column, too."
    )
    return result


def _page(result: Table, label: str, seconds: float, limit: float, *, series: int, cameras: int) -> None:
    server = PageServer()
    try:
        page = PageViewer(server, series=series, cameras=cameras)
        try:
            page.ready()
            _add(result, label, server, seconds, limit)
        finally:
            page.close()
    finally:
        server.close()


def _add(result: Table, label: str, viewer: Viewer, seconds: float, limit: float) -> None:
    """Shares of a core from now on."""
    time.sleep(0.5)  # what only the beginning costs is behind it
    pids = viewer.pid, supervisor_pid()
    before, began_s = [busy_ns(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    wall_s = time.monotonic() - began_s
    shares = [100 * (busy_ns(pid) - b) / 1e9 / wall_s for pid, b in zip(pids, before, strict=True)]
    result.add(label, *shares, bar=Bar(shares[0], limit, " %"))
