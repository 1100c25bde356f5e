"""Recordings for tests: read with each format's own reader, proved whole, and disturbed while they run."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from recd.cli._common import lock_holder
from recd_client import Recorder
from support import wait_until

#: A bound for tests that hang, not a promise about speed.
PATIENCE_S = 60.0
#: Gray levels that are still told apart after encoding.
LEVELS = 40


# --- reading --------------------------------------------------------------------------------------


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert all(len(row) == len(header) for row in rows)
    return header, rows


def csv_numbers(path: Path) -> NDArray[np.float64]:
    """All cells of a CSV of numbers, the timestamps first."""
    return np.array(read_csv(path)[1], np.float64)


def npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive, in their order, without unpickling."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def decoded(path: Path) -> NDArray[np.uint8]:
    """Every frame of a video, ``(n, height, width, 3)``, as a player shows it."""
    exact = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24"
    raw = _ffmpeg("-i", str(path), "-vf", exact, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    size = _ffmpeg("-i", str(path), "-frames:v", "1", "-f", "framecrc", "-").decode()
    width, height = map(int, size.split("#dimensions 0: ")[1].split()[0].split("x"))
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def shown_at(path: Path) -> list[float]:
    """When each frame of a video is shown, in seconds."""
    text = _ffmpeg("-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-").decode()
    num, den = map(int, text.split("#tb 0: ")[1].split()[0].split("/"))
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return [int(row[2]) * num / den for row in rows]


def gray16(path: Path) -> NDArray[np.uint16]:
    """Every frame of a 16-bit video, ``(n, height, width)``, each value as it is in the file."""
    size = _ffmpeg("-i", str(path), "-frames:v", "1", "-f", "framecrc", "-").decode()
    width, height = map(int, size.split("#dimensions 0: ")[1].split()[0].split("x"))
    raw = _ffmpeg("-i", str(path), "-fps_mode", "passthrough", "-pix_fmt", "gray16le", "-f", "rawvideo", "-")
    return np.frombuffer(raw, "<u2").reshape(-1, height, width)


def _ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# --- frames that tell their number ----------------------------------------------------------------


def numbered(i: int, shape: tuple[int, ...] = (48, 64, 3)) -> NDArray[np.uint8]:
    """A flat gray frame that tells its number, modulo :data:`LEVELS`."""
    return np.full(shape, 10 + 6 * (i % LEVELS), np.uint8)


def numbers(path: Path) -> list[int]:
    """What the frames of a video tell, in order."""
    return [round((float(frame.mean()) - 10) / 6) for frame in decoded(path)]


# --- proving --------------------------------------------------------------------------------------


def manifest_of(directory: Path) -> dict[str, Any]:
    """The manifest of the one recording in a directory."""
    return dict(json.loads((directory / "manifest.json").read_text()))


def proved(directory: Path) -> dict[str, Any]:
    """The manifest, after proving what each one promises: files, hashes, counts, and nothing left open."""
    manifest = manifest_of(directory)
    assert manifest["complete"], manifest
    for name, stream in manifest["streams"].items():
        told: dict[str, int] = {}
        for gap in stream["gaps"]:
            told[gap["cause"]] = told.get(gap["cause"], 0) + gap["count"]
        assert told == {cause: n for cause, n in stream["lost"].items() if n}, name
        assert stream["attempted"] == stream["samples"] + sum(stream["lost"].values()), name
        for file in stream["files"]:
            data = (directory / file["path"]).read_bytes()
            assert file["bytes"] == len(data), file["path"]
            assert file["sha256"] == hashlib.sha256(data).hexdigest(), file["path"]
    assert not (directory / ".recd").exists()
    assert not list(directory.rglob("*.part*"))
    return manifest


# --- disturbing -----------------------------------------------------------------------------------


def worker_of(rec: Recorder, group: str = "main") -> int:
    """Process id of the worker that serves a group of a recording, once it is there."""
    lock = rec.directory / ".recd" / rec.session / f"{group}.lock"
    return wait_until(lambda: lock_holder(lock) or 0)


def encoder_of(part: Path) -> int:
    """Process id of the ffmpeg that writes a file; 0 if there is none yet."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "rawvideo" in command and any(str(part) in word for word in command):
            return int(process.name)
    return 0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing inside the block, and goes on behind it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: state_of(pid) == "T")
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    """The letter of a process's state: R, S, T, Z, ..."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]


# --- other processes ------------------------------------------------------------------------------


def run_python(code: str, *arguments: object, cwd: Path | None = None) -> str:
    """What a script prints, run by an interpreter of its own; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def alerts_in(directory: Path) -> list[dict[str, Any]]:
    """The manifest's marks of alerts; ``seq`` is of the stream that each is of."""
    found = [m for m in manifest_of(directory)["marks"] if m.get("source") == "alert"]
    return [{**m, "seq": m["seq"].get(m["stream"])} for m in found]
