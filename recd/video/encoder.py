"""One running ffmpeg: raw frames go in through a pipe, never blocking; a video file grows.

ffmpeg lives in a session of its own and holds nothing of ours but the reading end of the pipe. When this
process dies, for whatever reason, the pipe ends and ffmpeg completes the file by itself.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from recd_client.errors import CodecError, SchemaError
from recd_client.process import start_ticks

from . import ffmpeg
from .command import arguments
from .counting import counter_of
from .pixels import Padder
from .settings import VideoSettings

#: The simulation comes first: of a core that both want, ffmpeg gets a quarter.
NICENESS: Final = 5
#: Room for two frames; more would only hold more that is not safe yet. An unprivileged user gets no more.
_LEAST_PIPE_BYTES: Final = 4096
_MOST_PIPE_BYTES: Final = 1 << 20
_LOG_TAIL_BYTES: Final = 4096
#: Let go of while they ran; each is reaped when it has ended and another one starts or is let go of.
_released: Final[list[subprocess.Popen[bytes]]] = []


class Encoder:
    """ffmpeg runs and writes ``path``; it gets the frames that :meth:`feed` is given.

    No method waits for ffmpeg. Used by one thread.

    Parameters
    ----------
    path : Path
        The file to write; an old one is replaced.
    settings : VideoSettings
    encoder : str
        What :func:`~recd.video.codecs.choose` said.

    Raises
    ------
    CodecError
        ffmpeg cannot be started.
    """

    def __init__(self, path: Path, settings: VideoSettings, encoder: str) -> None:
        self.path = path
        self.settings = settings
        self.encoder = encoder
        #: Frames that are wholly in the pipe or beyond.
        self.fed = 0
        #: Whether ffmpeg has stopped taking frames: it ended, or is about to.
        self.broken = False
        right, bottom = settings.padding
        shape = (settings.height, settings.width, settings.channels)
        self._padder = Padder(shape, right, bottom) if right or bottom else None
        self._padded: memoryview | None = None
        self._frame_bytes = settings.frame_bytes
        self._sent_bytes = 0
        self._log = b""
        self._counter = counter_of(path)
        command = [ffmpeg.executable(), *arguments(settings, encoder, path)]
        path.unlink(missing_ok=True)  # an old file's frames would be counted until ffmpeg has opened it
        self._process, self._fd, self._log_fd = _start(command, 2 * self._frame_bytes)
        self.pid = self._process.pid
        self.ticks = start_ticks(self.pid)
        be_nice(self.pid)

    def fileno(self) -> int:
        """The pipe's descriptor: poll it for POLLOUT before :meth:`feed`; -1 once finished or broken."""
        return self._fd

    def feed(self, frame: memoryview) -> bool:
        """True once the whole frame is in the pipe; False when the pipe is full, :attr:`broken` or finished.

        After False, call again with the same frame (which may lie elsewhere by then), and with no other
        until it is True. Nothing is kept of ``frame`` between calls.

        Parameters
        ----------
        frame : memoryview
            ``settings.frame_bytes`` bytes, C-contiguous.

        Raises
        ------
        SchemaError
            The frame has another size.
        """
        if frame.nbytes != self._frame_bytes:
            raise SchemaError(
                f"a frame of {frame.nbytes} bytes, expected {self._frame_bytes}", "keep the frames' shape"
            )
        if self._fd < 0:
            return False
        whole = self._in_file_size(frame)
        try:
            while self._sent_bytes < whole.nbytes:
                self._sent_bytes += os.write(self._fd, whole[self._sent_bytes :])
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self.broken = True
            self.finish()
            return False
        self._sent_bytes = 0
        self._padded = None
        self.fed += 1
        return True

    def _in_file_size(self, frame: memoryview) -> memoryview:
        flat = frame if frame.format == "B" and frame.ndim == 1 else frame.cast("B")
        if self._padder is None:
            return flat
        if self._padded is None:
            self._padded = self._padder(flat)
        return self._padded

    def confirmed(self) -> int:
        """Number of frames, from the first on, that can be decoded from the file as it is now.

        A frame is among them when the next one has been encoded; the last one when ffmpeg has ended.
        """
        return self._counter.count()

    def finish(self) -> None:
        """End the input: ffmpeg completes the file and ends; see :meth:`poll`.

        A frame of which only a part is in the pipe is not in the file.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def poll(self) -> int | None:
        """The exit code once ffmpeg has ended: 0 if the file is complete, negative for a signal."""
        return self._process.poll()

    def kill(self) -> None:
        """Tell ffmpeg to end at once, without completing the file; see :meth:`poll`."""
        self._process.kill()
        self.finish()

    def errors(self) -> str:
        """The end of what ffmpeg had to say."""
        if self._log_fd >= 0:
            with suppress(BlockingIOError):
                while chunk := os.read(self._log_fd, 1 << 16):
                    self._log = (self._log + chunk)[-_LOG_TAIL_BYTES:]
        return self._log.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """All descriptors are released; ffmpeg, if it still runs, completes the file by itself."""
        self.finish()
        self._counter.close()
        if self._log_fd >= 0:
            self.errors()
            os.close(self._log_fd)
            self._log_fd = -1
            _released.append(self._process)
            _reap()


def _reap() -> None:
    _released[:] = [process for process in _released if process.poll() is None]


def _start(command: list[str], pipe_bytes: int) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start ffmpeg; returns it, the end of the pipe to write frames to, and the end to read its log from."""
    _reap()
    frames_out, frames_in = os.pipe2(os.O_CLOEXEC)
    log_out, log_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # full: ffmpeg drops lines and goes on
    try:
        process = subprocess.Popen(
            command,
            stdin=frames_out,
            stdout=subprocess.DEVNULL,
            stderr=log_in,
            start_new_session=True,
            restore_signals=False,  # SIGPIPE stays ignored: nobody may be left to read its log
            cwd="/",
            env=ffmpeg.environment(),
        )
    except OSError as e:
        os.close(frames_in)
        os.close(log_out)
        raise CodecError(f"ffmpeg does not start: {e}", "run: recd doctor") from None
    finally:
        os.close(frames_out)
        os.close(log_in)
    os.set_blocking(frames_in, False)
    with suppress(OSError):  # a user's limit on pipes: the usual 64 KiB do as well
        fcntl.fcntl(frames_in, fcntl.F_SETPIPE_SZ, max(_LEAST_PIPE_BYTES, min(pipe_bytes, _MOST_PIPE_BYTES)))
    return process, frames_in, log_out


def be_nice(pid: int) -> None:
    """The process yields to others at normal priority.

    Where the kernel groups processes by session, niceness counts within the group only, and ffmpeg's session
    is its own: so the group is made nice as well.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def wait_gone(pid: int, ticks: int, timeout_s: float) -> bool:
    """Whether the process that started at ``ticks`` is gone; waits up to ``timeout_s`` (0: just looks).

    For an ffmpeg that an earlier worker started: it is no child of this process.
    """
    fd = _open_process(pid, ticks)
    if fd is None:
        return True
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(fd)


def kill_orphan(pid: int, ticks: int) -> None:
    """Tell the process that started at ``ticks``, and no other one, to end at once."""
    fd = _open_process(pid, ticks)
    if fd is not None:
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def _open_process(pid: int, ticks: int) -> int | None:
    """A pidfd of the very process that started at ``ticks``; None if there is none.

    A zombie is still there: other threads of a dying ffmpeg may be writing while its first one is a zombie
    already. Only the pidfd knows when the last one has ended.
    """
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        same = int(stat[stat.rindex(")") + 2 :].split()[19]) == ticks
    except (FileNotFoundError, ProcessLookupError):
        same = False
    if not same:
        os.close(fd)
    return fd if same else None
