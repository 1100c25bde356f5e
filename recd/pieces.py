"""The pieces of a video part: what an ffmpeg writes now, and what those before it have left.

Each ffmpeg process writes a file of its own. One that died, or outlived its worker, leaves a piece whose
frames are counted once it is gone; the next one goes on behind them.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recd_client.errors import CodecError

from .durable import Syncer, sync_directory
from .finisher import Finisher, Job
from .video import codecs
from .video.counting import count_listed, cut
from .video.encoder import Encoder, kill_orphan, wait_gone
from .video.files import count_intact, keep_first
from .video.settings import VideoSettings

_LOOK_NS: Final = 10_000_000
_MAX_FAILURES: Final = 3
#: With less room than this, a new ffmpeg would only fail.
_LEAST_FREE_BYTES: Final = 1 << 20


def _patience_ns(seconds: str) -> int:
    """How long an ffmpeg may stand still: 20 s, unless the environment says otherwise in a number."""
    try:
        return int(float(seconds) * 1e9)
    except (ValueError, OverflowError):
        return 20_000_000_000


_HUNG_NS: Final = _patience_ns(os.environ.get("RECD_FFMPEG_PATIENCE_S", ""))

log = logging.getLogger(__name__)


@dataclass
class Piece:
    """One ffmpeg process's file. ``count`` is -1 until the process is gone and its frames are counted."""

    path: str
    first: int
    encoder: str = ""
    pid: int = 0
    ticks: int = 0
    count: int = -1


class Pieces:
    """All pieces of the running part, and at most one ffmpeg.

    Parameters
    ----------
    settings : VideoSettings
    finisher : Finisher
    now_ns : callable
        Monotonic clock.
    put : callable
        Writes :attr:`known` down.
    rebooted : bool
        Whether power may have failed since the pieces were written.
    """

    def __init__(
        self,
        settings: VideoSettings,
        finisher: Finisher,
        now_ns: Callable[[], int],
        put: Callable[[], None],
        *,
        rebooted: bool = False,
    ) -> None:
        self._settings = settings
        self._finisher = finisher
        self._now_ns = now_ns
        self._put = put
        self._rebooted = rebooted
        self._syncers: dict[str, Syncer] = {}
        self.known: list[Piece] = []
        #: Whether ffmpeg takes no frame until its pipe can be written again.
        self.blocked = False
        self._encoder: Encoder | None = None
        self._told = False
        self._choice: Job | None = None
        self._counting: Job | None = None
        self._failures = 0
        self._why = ""
        self._finished = False
        self._confirmed = 0
        self._moved_ns = self._looked_ns = 0

    def begin(self, known: list[Piece]) -> None:
        """Another part runs from now on, of which these pieces are there."""
        self.known = known
        self._syncers.clear()
        self._confirmed = 0
        self._moved_ns = self._now_ns()

    @property
    def counted(self) -> int:
        """Frames in the pieces whose frames are counted."""
        return sum(piece.count for piece in self.known if piece.count > 0)

    @property
    def waiting(self) -> bool:
        """Whether an ffmpeg that is not ours any more may still write; see :meth:`count`."""
        return self._encoder is None and bool(self.known) and self.known[-1].count < 0

    @property
    def safe(self) -> int:
        """Frames of the part that can be decoded, as far as :meth:`look` has seen."""
        return self.counted + self._confirmed

    @property
    def encoder_name(self) -> str | None:
        """What ffmpeg calls the part's encoder, one for all pieces, as they must join; None before there was one."""
        return self.known[0].encoder if self.known else None

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        paths = [Path(piece.path) for piece in self.known]
        return sum(path.stat().st_size for path in paths if path.exists())

    def fileno(self) -> int:
        """Descriptor that must become writable before more frames go in; -1 if there is none."""
        return self._encoder.fileno() if self.blocked and self._encoder is not None else -1

    # --- an ffmpeg of our own ----------------------------------------------------------------------
    def feed(self, data: memoryview, path: Path, number: int) -> bool:
        """True once ffmpeg has the whole frame, ``number`` of the part; else call again with the same one.

        Parameters
        ----------
        path : Path
            Name of the part's first piece; the next ones are numbered.
        """
        if self._encoder is None and not self._start(path, number):
            return False
        encoder = self._encoder
        if encoder is None:
            return False
        if not self._told:  # a successor must know whom to wait for, before there is a frame to lose
            self._put()
            self._told = True
        taken = encoder.feed(data)
        if encoder.broken:
            self._lose()
            return False
        self.blocked = not taken
        if taken:
            self._moved_ns = self._now_ns()
        return taken

    def _start(self, path: Path, number: int) -> bool:
        """Start an ffmpeg once its codec is known; False while that is being found out."""
        encoder_name = self.encoder_name or self._choose(path.suffix)
        if encoder_name is None:
            return False
        st = os.statvfs(path.parent)
        if st.f_bavail * st.f_frsize < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if self.known:
            path = path.with_name(f"{path.stem}-{len(self.known)}{path.suffix}")
        piece = Piece(str(path), number, encoder_name)
        self.known.append(piece)
        try:
            self._put()  # before the process is there: a successor must know of its file
        except OSError:
            self.known.pop()
            raise
        self._encoder = Encoder(path, self._settings, encoder_name)
        piece.pid, piece.ticks = self._encoder.pid, self._encoder.ticks
        self._told = self._finished = False
        self._confirmed = 0
        self._moved_ns = self._now_ns()
        return True

    def prepare(self, suffix: str) -> None:
        """Begin to find an encoder out, before there is a frame for it."""
        if self._choice is None:
            self._choice = self._finisher.submit(lambda job: codecs.choose(self._settings, suffix))

    def _choose(self, suffix: str) -> str | None:
        """The encoder for a part's first piece; None while it is being found out."""
        self.prepare(suffix)
        if self._choice is None or not self._choice.done.is_set():
            return None
        if (error := self._choice.error) is not None:
            self._choice = None
            raise error
        return str(self._choice.result)

    def look(self) -> bool:
        """Now and then: what decodes by now, and whether ffmpeg lives and moves; whether anything changed."""
        now, encoder = self._now_ns(), self._encoder
        if encoder is None or now - self._looked_ns < _LOOK_NS:
            return False
        self._looked_ns = now
        confirmed = encoder.confirmed()
        moved = confirmed > self._confirmed
        if moved:
            self._confirmed, self._moved_ns = confirmed, now
        if not self._finished and encoder.poll() is not None:
            self._lose()
            return True
        if (self.blocked or self._finished) and now - self._moved_ns > _HUNG_NS:
            log.warning("%s: ffmpeg hangs; replacing it", encoder.path)
            encoder.kill()
        return moved

    def finish(self) -> None:
        """There are no more frames: ffmpeg is to complete its file."""
        self._finished = True
        self._moved_ns = self._now_ns()
        if self._encoder is not None:
            self._encoder.finish()

    def complete(self, frames: int) -> bool:
        """Whether all files are complete and have the part's ``frames`` frames.

        If ffmpeg ended without, :attr:`waiting` is true: what is missing must be fed again.
        """
        encoder = self._encoder
        if encoder is None:
            return True
        code = encoder.poll()
        if code is None:
            return False
        piece, count = self.known[-1], encoder.confirmed()
        if code != 0 or piece.first + count != frames:
            self._lose()
            return False
        self._let_go(encoder)
        piece.count = count
        return True

    def _lose(self) -> None:
        """Ffmpeg ended early."""
        encoder = self._encoder
        if encoder is None:
            return
        self._why = encoder.errors() or f"exit code {encoder.poll()}"
        log.warning("%s: ffmpeg ended early: %s", encoder.path, self._why)
        encoder.kill()
        self._let_go(encoder)
        self._moved_ns = self._now_ns()

    def _let_go(self, encoder: Encoder) -> None:
        encoder.close()
        self._encoder = None
        self._confirmed = 0
        self.blocked = False

    # --- an ffmpeg that is gone, or about to be ------------------------------------------------------
    def count(self) -> bool:
        """Whether the newest piece is counted now; until then its ffmpeg is waited for.

        Raises
        ------
        CodecError
            One ffmpeg after the other ended without a frame.
        """
        piece = self.known[-1]
        if self._counting is None:
            if wait_gone(piece.pid, piece.ticks, 0):
                count = _salvage if self._rebooted else _count
                self._counting = self._finisher.submit(lambda job: count(Path(piece.path)))
            elif self._now_ns() - self._moved_ns > _HUNG_NS:
                log.warning("%s: ffmpeg hangs; ending it", piece.path)
                kill_orphan(piece.pid, piece.ticks)
            return False
        if not self._counting.done.is_set():
            return False
        job, self._counting = self._counting, None
        if job.error is not None:
            raise job.error
        piece.count = int(job.result)
        self._failures = 0 if piece.count else self._failures + 1
        if self._failures >= _MAX_FAILURES:
            raise CodecError(f"ffmpeg fails again and again: {self._why}", "see: recd doctor")
        return True

    # --- the end -------------------------------------------------------------------------------------
    def drop(self) -> None:
        """Delete all files: the part is thrown away."""
        for piece in self.known:
            kill_orphan(piece.pid, piece.ticks)
            Path(piece.path).unlink(missing_ok=True)
        if self._encoder is not None:
            self._encoder.kill()
            self._let_go(self._encoder)
        for directory in {Path(piece.path).parent for piece in self.known}:
            sync_directory(directory)  # the next piece has the name of the first: never these frames again
        self.begin([])

    def sync(self) -> None:
        """Make the files durable as they are now."""
        for piece, syncer in zip(self.known, self.syncers, strict=True):
            try:
                if syncer.distrusted and piece.count < 0:
                    raise OSError(errno.EIO, "its ffmpeg is being replaced, as the disk failed", piece.path)
                syncer.sync()
            except OSError:
                if (
                    piece is self.known[-1]
                ):  # the next one writes to a new file; this one is copied once it is counted
                    self._lose()
                raise

    @property
    def syncers(self) -> list[Syncer]:
        """What :meth:`sync` makes durable, a file each."""
        return [self._syncers.setdefault(piece.path, Syncer(Path(piece.path))) for piece in self.known]

    def stop(self) -> None:
        """Ffmpeg completes its piece by itself; a later worker counts its frames and goes on."""
        if self._encoder is not None:
            self._encoder.finish()
            self._let_go(self._encoder)


def _count(path: Path) -> int:
    """Frames in a file whose ffmpeg is gone; half a frame at its end is cut off."""
    return cut(path) if path.exists() else 0


def _salvage(path: Path) -> int:
    """The same after a loss of power: some of the file's blocks may be missing, so each frame is decoded."""
    count = _count(path)
    if count == 0 or (good := count_intact(path)) >= count:
        return count
    log.warning("%s lost %d frames with the power", path, count - good)
    if good:
        keep_first(path, good)
        return count_listed(path)
    return 0
