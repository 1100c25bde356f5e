"""A guest that draws every sample of a part, one frame each, into a video. It is nice: the simulation comes first."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OutputError, RecdError, to_wire
from recd_client.options import Plot, SinkOptions
from recd_client.schema import Schema

from ..guests.wire import decode_batch
from ..video import codecs, files
from ..video.counting import count_listed
from ..video.encoder import Encoder
from ..video.settings import VideoSettings
from . import drawing_of
from .drawing import Drawing

#: Lines are thin and colours flat: better than the usual quality, at less than its size.
_CRF: Final = 16
_POLL_MS: Final = 1000


class Film:
    """Draws a stream's samples into a video file.

    Parameters
    ----------
    drawing : Drawing
    path : Path
        The file; there only when :meth:`finish` returns.
    fps : Fraction
    title : str
    """

    def __init__(self, drawing: Drawing, path: Path, fps: Fraction, title: str = "") -> None:
        self.drawing = drawing
        self.path = path
        self.fps = fps
        self.title = title
        self.frames = 0
        self._raw = raw_path(path)
        self._encoder: Encoder | None = None

    def take(self, batch: Any) -> None:
        """Draw these samples."""
        for i in range(len(batch)):
            self.drawing.take(batch[i : i + 1])
            self.drawing.draw()
            self._feed()

    def _feed(self) -> None:
        pixels = self.drawing.pixels()
        if self._encoder is None:
            height, width, _ = pixels.shape
            settings = VideoSettings(width, height, 4, self.fps, crf=_CRF, title=self.title)
            self._encoder = Encoder(self._raw, settings, codecs.choose(settings, self.path.suffix))
        frame = pixels.data.cast("B")
        while not self._encoder.feed(frame):
            if self._encoder.broken:
                raise self._failure(self._encoder)
            poll = select.poll()
            poll.register(self._encoder.fileno(), select.POLLOUT)
            poll.poll(_POLL_MS)
        self.frames += 1

    def finish(self) -> int:
        """The file is complete and on the disk; returns its number of frames.

        Raises
        ------
        OutputError
            The encoder failed, or frames are missing.
        OSError
            There is no room.
        """
        if self._encoder is None:  # no sample: the plot without data, so that the file is a video
            self.drawing.draw()
            self._feed()
            self.frames = 0
        encoder = self._encoder
        assert encoder is not None
        encoder.finish()
        while encoder.poll() is None:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, encoder.pid, os.WEXITED | os.WNOWAIT)
        if encoder.poll() != 0:
            raise self._failure(encoder)
        encoder.close()
        files.join([self._raw], self.path, self.fps, self.title)
        self._raw.unlink(missing_ok=True)
        found = count_listed(self.path)
        if found != max(self.frames, 1):
            raise OutputError(f"{self.path} has {found} of {self.frames} frames", "run: recd recover")
        return self.frames

    def _failure(self, encoder: Encoder) -> OSError:
        """Why the encoder has ended."""
        encoder.kill()
        said = encoder.errors()
        for code in (errno.ENOSPC, errno.EDQUOT):  # it is tried again when there is room
            if os.strerror(code) in said:
                return OSError(code, os.strerror(code), str(self.path))
        return OutputError(
            f"the encoder of {self.path} ended: {said or encoder.poll()}",
            "see: recd doctor, then: recd recover",
        )


def raw_path(path: Path) -> Path:
    """Where frames are encoded to, before the file is completed."""
    return path.with_name(f"{path.stem}-drawn{path.suffix}")


class FilmGuest:
    """Answers the requests of :class:`recd.plots.sink.PlotSink`."""

    def __init__(self) -> None:
        self._film: Film | None = None
        self._schema: Schema | None = None

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """``begin``, ``draw`` as often as there are batches, ``finish``; errors of ours are answers."""
        try:
            return self._handle(op, header, raw)
        except RecdError as e:
            return {"refused": to_wire(e)}
        except OSError as e:
            return {"os_error": [e.errno, e.strerror, e.filename]}

    def _handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        if op == "begin":
            options = SinkOptions.from_json(header["options"])
            assert isinstance(options, Plot)
            self._schema = Schema.from_json(header["schema"])
            drawing = drawing_of(options, self._schema)
            if header["extent"] is not None:
                drawing.expect(*header["extent"])
            self._film = Film(drawing, Path(header["path"]), Fraction(header["fps"]), options.title)
            return None
        assert self._film is not None
        assert self._schema is not None
        if op == "draw":
            self._film.take(decode_batch(header, raw, self._schema))
            return None
        return {"frames": self._film.finish()}

    def leave(self) -> None:
        """The worker hung up."""
