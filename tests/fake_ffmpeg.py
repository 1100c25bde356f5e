"""An ffmpeg without ffmpeg: processes that do what the test says, whose files are the frames as they came.

Like the real one it takes frames from a pipe of limited size, holds some in its own queues, completes its
file when its input ends, and leaves half a frame when it is killed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recd import films, pieces

# As they are now: faults that a test puts into the worker's calls do not reach other processes.
_open, _write, _truncate, _unlink = os.open, os.write, os.truncate, os.unlink


@dataclass
class Process:
    """One ffmpeg."""

    fd: int
    frame_bytes: int
    pipe_bytes: int
    delay: int
    pipe: bytearray = field(default_factory=bytearray)
    half: bytearray = field(default_factory=bytearray)
    queue: deque[bytes] = field(default_factory=deque)
    input_open: bool = True
    code: int | None = None

    def take(self, frames: int) -> None:
        """It reads up to so many frames and encodes them, and ends if there is nothing more to come."""
        if self.code is not None:
            return
        taken = self.pipe[: frames * self.frame_bytes]
        del self.pipe[: len(taken)]
        self.half += taken
        while len(self.half) >= self.frame_bytes:
            self.queue.append(bytes(self.half[: self.frame_bytes]))
            del self.half[: self.frame_bytes]
        ends = not self.input_open and not self.pipe
        while len(self.queue) > (0 if ends else self.delay):
            _write(self.fd, self.queue.popleft())
        if ends:
            self.code = 0

    def die(self) -> None:
        """It is killed, in the middle of a frame if it was about to write one."""
        if self.code is None:
            if self.queue:
                _write(self.fd, self.queue[0][: self.frame_bytes // 2])
            self.code = -9


class FakeFfmpeg:
    """All ffmpeg processes of a test.

    Parameters
    ----------
    frame_bytes : int
    pipe_frames : float
        Size of each pipe, in frames.
    delay : int
        Frames that each process holds in its own queues.
    """

    def __init__(self, frame_bytes: int, pipe_frames: float = 2, delay: int = 3) -> None:
        self.frame_bytes = frame_bytes
        self.pipe_bytes = int(pipe_frames * frame_bytes)
        self.delay = delay
        self.processes: list[Process] = []
        #: How many of the next processes cannot even begin.
        self.stillborn = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in ffmpeg's place."""
        world = self

        class Encoder(FakeEncoder):
            def __init__(self, path: Path, settings: Any, encoder: str) -> None:
                super().__init__(world, path)

        patch.setattr(pieces, "Encoder", Encoder)
        patch.setattr(pieces, "wait_gone", lambda pid, ticks, timeout_s: self._process(pid).code is not None)
        patch.setattr(pieces, "kill_orphan", lambda pid, ticks: self._process(pid).die())
        patch.setattr(pieces, "cut", self.count)
        patch.setattr(pieces.codecs, "choose", lambda settings, suffix: "raw")
        patch.setattr(films, "is_complete", lambda path: True)
        patch.setattr(films.files, "join", _join)
        patch.setattr(films.files, "describe", _describe)

    def _process(self, pid: int) -> Process:
        """The process of that number; 0 is one that was never heard of."""
        return self.processes[pid - 1] if pid else Process(-1, 1, 0, 0, code=0)

    def encode(self, frames: int) -> None:
        """Every process gets on by so many frames."""
        for process in self.processes:
            process.take(frames)

    def kill(self) -> None:
        """All that run are killed."""
        for process in self.processes:
            process.die()

    def quit(self) -> None:
        """All that run end as if they were done, whatever is still to come."""
        for process in self.processes:
            if process.code is None:
                process.code = 0

    def orphan(self) -> None:
        """The worker died: what it had open is closed."""
        for process in self.processes:
            process.input_open = False

    def count(self, path: Path) -> int:
        """Whole frames in a file that grows no more; the rest is cut off."""
        count = path.stat().st_size // self.frame_bytes
        _truncate(path, count * self.frame_bytes)
        return count

    def read(self, path: Path) -> list[bytes]:
        """The frames of a finished file."""
        raw = path.read_bytes()
        assert len(raw) % self.frame_bytes == 0
        return [raw[at : at + self.frame_bytes] for at in range(0, len(raw), self.frame_bytes)]

    def close(self) -> None:
        """Nothing stays open."""
        for process in self.processes:
            os.close(process.fd)
        self.processes.clear()


class FakeEncoder:
    """What :class:`recd.video.encoder.Encoder` is to a worker."""

    def __init__(self, world: FakeFfmpeg, path: Path) -> None:
        path.unlink(missing_ok=True)
        fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.process = Process(fd, world.frame_bytes, world.pipe_bytes, world.delay)
        world.processes.append(self.process)
        if world.stillborn:
            world.stillborn -= 1
            self.process.die()
        self.path = path
        self.pid = self.ticks = len(world.processes)
        self.fed = 0
        self.broken = False
        self._sent = 0
        self._open = True

    def fileno(self) -> int:
        """Nothing that could be polled."""
        return -1

    def feed(self, frame: memoryview) -> bool:
        """Put as much of the frame into the pipe as it takes."""
        process = self.process
        assert len(frame) == process.frame_bytes
        if not self._open:
            return False
        if process.code is not None:
            self.broken = True
            self.finish()
            return False
        taken = min(process.pipe_bytes - len(process.pipe), len(frame) - self._sent)
        process.pipe += frame[self._sent : self._sent + taken]
        self._sent += taken
        if self._sent < len(frame):
            return False
        self._sent = 0
        self.fed += 1
        return True

    def confirmed(self) -> int:
        """Whole frames in the file."""
        return os.fstat(self.process.fd).st_size // self.process.frame_bytes

    def finish(self) -> None:
        """The input ends."""
        self._open = self.process.input_open = False

    def poll(self) -> int | None:
        """How it ended."""
        return self.process.code

    def kill(self) -> None:
        """Kill it."""
        self.process.die()
        self.finish()

    def errors(self) -> str:
        """It has nothing to say."""
        return ""

    def close(self) -> None:
        """It is let go of."""
        self.finish()


def _join(pieces: Sequence[Path], out: Path, fps: Fraction, title: str = "") -> None:
    out.write_bytes(b"".join(piece.read_bytes() for piece in pieces))


def _describe(path: Path) -> Any:
    return SimpleNamespace(codec="raw", pixel_format="gray", width=40, height=24, fps=Fraction(30))
