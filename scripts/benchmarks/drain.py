"""How fast the daemon brings samples and frames into files, beside the same work done by hand."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recd.video import codecs, ffmpeg
from recd.video.command import arguments
from recd.video.encoder import be_nice
from recd_client import CSVFile, HDF5File, NPZFile, Recorder, SinkOptions, Stream, VideoFile, layout

from .daemon import Bench, buffered_bytes, held, producer
from .kinds import scene
from .results import Bar, Table, aim
from .timing import in_turns, seconds, wait_until

COLUMNS: Final = 50
DT: Final = 0.001
HEIGHT, WIDTH, FPS = 480, 640, 60
_SCENE_FRAMES: Final = 30


def measure(bench: Bench) -> Iterator[Table]:
    """Rows and frames."""
    yield _rows(bench)
    yield _video(bench)


# --- rows ------------------------------------------------------------------------------------------
def _rows(bench: Bench) -> Table:
    table = Table("Draining: rows of 50 float64", ("thousand rows/s", "MB/s of samples", "× by hand"))
    rounds, few, many = bench.size(5, 3), bench.size(40_000, 15_000), bench.size(300_000, 100_000)
    table.notes.append(
        f"Medians of {rounds} rounds. The worker stands still while a ring is filled with {few:,} rows (CSV) "
        f"or {many:,} rows, then it is let go. CSV: until every row can be read in the file. Log: until "
        "every record is in the log, where it survives any process. Build: the whole of `close()`."
    )
    rows = np.random.default_rng(3).standard_normal((many, COLUMNS))
    rates: dict[str, list[float]] = {}
    for what in in_turns(rounds, ("csv", "npz", "hdf5", "by hand")):
        if what == "csv":
            _note(rates, "csv", few / _to_csv(bench, rows[:few]))
        elif what == "by hand":
            _note(rates, "csv.writer", few / _csv_by_hand(bench, rows[:few]))
            _note(rates, "write", many / _write_by_hand(bench, rows))
        else:
            sink: SinkOptions = NPZFile("rows.npz") if what == "npz" else HDF5File("rows.h5")
            log_s, build_s = _to_log_and_file(bench, rows, sink)
            _note(rates, f"{what} log", many / log_s)
            _note(rates, f"{what} build", many / build_s)
    rate = {what: median(values) for what, values in rates.items()}
    ratio = rate["csv"] / rate["csv.writer"]
    _add(table, "CSV: recd", rate["csv"], ratio, Bar(ratio, aim(8, 5), " ×", at_least=True))
    _add(table, "CSV: csv.writer.writerows of lists", rate["csv.writer"], 1.0)
    for what, name in (("npz", "NPZ"), ("hdf5", "HDF5")):
        least = aim(min(1000, 0.7 * rate["write"] / 1e3), 200)
        bar = Bar(rate[f"{what} log"] / 1e3, least, " thousand/s", at_least=True)
        _add(table, f"{name}, ring to log", rate[f"{what} log"], rate[f"{what} log"] / rate["write"], bar)
    _add(table, "bare write(2) of as many bytes", rate["write"], 1.0)
    _add(table, "NPZ, log to file (compressed)", rate["npz build"])
    _add(table, "HDF5, log to file", rate["hdf5 build"])
    return table


def _note(rates: dict[str, list[float]], what: str, rate: float) -> None:
    rates.setdefault(what, []).append(rate)


def _add(table: Table, label: str, rate: float, ratio: float | None = None, bar: Bar | None = None) -> None:
    table.add(label, rate / 1e3, rate * COLUMNS * 8 / 1e6, ratio, bar=bar)


def _to_csv(bench: Bench, rows: NDArray[np.float64]) -> float:
    """Seconds until a ring full of rows can be read in the file."""
    with Recorder("csv", dir=bench.new_directory(), dt=DT) as rec:
        stream = rec.stream("rows", CSVFile("rows.csv"), like=rows[0], buffer_bytes=_room_bytes(rows))
        with held(stream):
            _fill(stream, rows)
        return seconds(rec.flush)


def _to_log_and_file(bench: Bench, rows: NDArray[np.float64], sink: SinkOptions) -> tuple[float, float]:
    """Seconds until a ring full of rows is in the log, and then until the file is complete."""
    with Recorder("log", dir=bench.new_directory(), dt=DT) as rec:
        stream = rec.stream("rows", sink, like=rows[0], buffer_bytes=_room_bytes(rows))
        with held(stream):
            _fill(stream, rows)
        began_s = time.monotonic()
        log_s = wait_until(lambda: buffered_bytes(stream) == 0) - began_s
        rec.flush()
        return log_s, seconds(rec.close)


def _room_bytes(rows: NDArray[np.float64]) -> int:
    return (len(rows) + 64) * layout.record_bytes(rows[0].nbytes) + layout.CONTROL_RESERVE_BYTES


def _fill(stream: Stream, rows: NDArray[np.float64]) -> None:
    for i, row in enumerate(rows):
        stream.write(row, i * DT)


def _csv_by_hand(bench: Bench, rows: NDArray[np.float64]) -> float:
    """Seconds that ``csv.writer`` takes for lists that are there already."""
    lists = [[i * DT, *row] for i, row in enumerate(rows.tolist())]
    with (bench.new_directory() / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        took_s = seconds(writer.writerows, lists)
        return took_s + seconds(file.flush)


def _write_by_hand(bench: Bench, rows: NDArray[np.float64]) -> float:
    """Seconds to write the bytes that the log takes."""
    piece = bytes(1 << 20)
    pieces = len(rows) * layout.record_bytes(rows[0].nbytes) // len(piece)
    with (bench.new_directory() / "rows.log").open("wb", buffering=0) as file:
        return seconds(lambda: [file.write(piece) for _ in range(pieces)])


# --- frames ----------------------------------------------------------------------------------------
def _video(bench: Bench) -> Table:
    count, rounds = bench.size(1500, 400), bench.size(5, 3)
    table = Table("Draining: 640x480x3 frames to MP4", ("frames/s", "× ffmpeg alone"))
    frames = scene(HEIGHT, WIDTH, _SCENE_FRAMES)
    settings = codecs.VideoSettings.of(frames[0].shape, Fraction(FPS), VideoFile("film.mp4"))
    encoder = codecs.choose(settings)
    table.notes.append(
        f"Medians of {rounds} rounds of {count} frames with {encoder}, the same arguments and niceness. "
        "recd: from the first write to the end of `close()`. As fast as ffmpeg: the simulation waits while "
        "half the ring is not safe yet. Faster: it writes as fast as the ring takes frames, and those that "
        "ffmpeg does not keep up with are written to the log and read again, on the same cores. "
        "ffmpeg alone: from its start to its end, reading a file in RAM."
    )
    raw = bench.new_directory() / "frames.raw"
    with raw.open("wb") as file:
        for n in range(count):
            file.write(frames[n % len(frames)].data)
    rates: dict[str, list[float]] = {}
    for what in in_turns(rounds, ("paced", "burst", "alone")):
        if what != "alone":
            _note(rates, what, count / _record_frames(bench, frames, count, paced=what == "paced"))
        else:
            words = arguments(settings, encoder, bench.new_directory() / "alone.mp4")
            _note(rates, what, count / _encode_alone(words, raw))
    raw.unlink()
    paced, burst, alone = (median(rates[what]) for what in ("paced", "burst", "alone"))
    bar = Bar(paced / alone, aim(0.97, 0.9), " ×", at_least=True)
    table.add("recd, fed as fast as ffmpeg encodes", paced, paced / alone, bar=bar)
    table.add("recd, fed faster: through the log", burst, burst / alone)
    table.add("ffmpeg alone", alone, 1.0)
    return table


def _record_frames(bench: Bench, frames: NDArray[np.uint8], count: int, *, paced: bool) -> float:
    """Seconds from the first write to the finished file."""
    with Recorder("video", dir=bench.new_directory(), dt=1 / FPS) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=FPS), like=frames[0], overflow="block")
        room_bytes = producer(film).capacity_bytes // 2 - 2 * frames[0].nbytes
        began_s = time.monotonic()
        for n in range(count):
            while paced and buffered_bytes(film) > room_bytes:
                time.sleep(0.0005)
            film.write(frames[n % len(frames)], n / FPS)
        summary = rec.close()
        took_s = time.monotonic() - began_s
    if lost := summary.streams["film"].lost:
        raise RuntimeError(f"frames were lost: {lost}")
    return took_s


def _encode_alone(words: list[str], raw: Path) -> float:
    """Seconds of ffmpeg with these arguments, but for where the frames come from."""
    command = [ffmpeg.executable(), *(str(raw) if a == "pipe:0" else a for a in words)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=ffmpeg.environment())
    be_nice(process.pid)
    if process.wait() != 0:
        raise RuntimeError(f"ffmpeg failed: {command}")
    return time.perf_counter() - start
