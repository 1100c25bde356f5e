"""Records the swarm to CSV, NPZ, HDF5 and MP4 with recd, and by hand in the same loop, call beside call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from recd_client import CSVFile, HDF5File, NPZFile, Recorder, Stream, VideoFile

from . import report
from .inline import InlineRecorder, Sample
from .render import Renderer
from .report import Costs
from .simulation import Swarm

COUNT: Final = 48
FPS: Final = 60
STEPS_PER_FRAME: Final = 8
DT: Final = 1 / (FPS * STEPS_PER_FRAME)
#: By then chaos has made a tangle: all pendulums start anew, from the next of these angles.
FRAMES_PER_START: Final = 5 * FPS
START_ANGLES: Final = (2.5, 2.7, 2.3)  # rad
UNITS: Final = {"angle": "rad", "rate": "rad/s", "energy": "J"}


def run_demo(directory: Path | None, *, seconds: float, console: Console) -> Path:
    """Record ``seconds`` of the swarm, print what each call cost, and return the run directory.

    Parameters
    ----------
    directory : Path, optional
        Where the files go; by default a new run directory under ./recordings.
    seconds : float
        Length of the simulated time.
    console : rich.console.Console
        Where to print.

    Raises
    ------
    RecdError
        No daemon could be started, or the directory holds such files already.
    """
    costs = Costs()
    with (
        Recorder("demo", dir=directory, dt=DT, metadata={"pendulums": COUNT}) as rec,
        tempfile.TemporaryDirectory(prefix="recd-demo-") as beside,
    ):
        _record(rec, Path(beside), costs, _counted(max(1, round(seconds * FPS)), console))
        summary = costs.time(report.RECD_CLOSE, rec.close)
        where = Path(rec.directory)
    report.print_report(console, costs, where, summary)
    return where


def _record(rec: Recorder, beside: Path, costs: Costs, frames: Iterator[int]) -> None:
    """Simulate and record both ways; the files that are written by hand go ``beside``.

    The two sides take turns at being first, so that both meet the same caches and the same neighbours.
    """
    swarm, renderer = Swarm(COUNT, dt=DT, angle=START_ANGLES[0]), Renderer(COUNT, fps=FPS)
    sample, frame = _sample(swarm), renderer.frame(swarm.bobs()[None])
    files = CSVFile("swarm.csv"), NPZFile("swarm.npz"), HDF5File("swarm.h5")
    state = rec.stream("swarm", *files, like=sample, units=UNITS)
    film = rec.stream("film", VideoFile("swarm.mp4", fps=FPS), like=frame)
    with InlineRecorder(beside, sample, frame, fps=FPS) as inline:
        for n in frames:
            if n and n % FRAMES_PER_START == 0:
                swarm = Swarm(COUNT, dt=DT, angle=START_ANGLES[n // FRAMES_PER_START % len(START_ANGLES)])
                rec.reset()
            path = np.empty((STEPS_PER_FRAME, 2, COUNT, 2))
            for i in range(STEPS_PER_FRAME):
                swarm.step()
                path[i] = swarm.bobs()
                _record_sample(state, inline, costs, _sample(swarm), n * STEPS_PER_FRAME + i + 1)
            renderer.frame(path, out=frame)
            _record_frame(film, inline, costs, frame, n + 1)
        costs.time(report.INLINE_CLOSE, inline.close)


def _sample(swarm: Swarm) -> Sample:
    return {"angle": swarm.angles, "rate": swarm.rates, "energy": swarm.energy()}


def _record_sample(state: Stream, inline: InlineRecorder, costs: Costs, sample: Sample, step: int) -> None:
    calls = (
        (report.RECD_SAMPLE, state.write),
        (report.INLINE_CSV, inline.write_csv),
        (report.INLINE_NPZ, inline.write_npz),
        (report.INLINE_HDF5, inline.write_hdf5),
    )
    for call, function in calls if step % 2 else calls[::-1]:
        costs.time(call, function, sample, step * DT)


def _record_frame(
    film: Stream, inline: InlineRecorder, costs: Costs, frame: npt.NDArray[np.uint8], number: int
) -> None:
    calls = (
        (report.RECD_FRAME, film.write),
        (report.INLINE_FRAME, inline.write_frame),
    )
    for call, function in calls if number % 2 else calls[::-1]:
        costs.time(call, function, frame, number / FPS)


def _counted(frames: int, console: Console) -> Iterator[int]:
    """Count up to ``frames`` behind a progress bar that starts no thread of its own."""
    with Progress(console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("Recording a swarm of double pendulums", total=frames)
        for n in range(frames):
            yield n
            progress.advance(task)
            if n % (FPS // 4) == 0:
                progress.refresh()
