"""A tap on a stream by its name: of what is being recorded now, by the daemon of this runtime directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from recd_client import layout, shm
from recd_client.errors import NoSuchSessionError
from recd_client.schema import Schema

from ..session import SessionStore, read_json
from .ring import RingTap, Taken


class Live(NamedTuple):
    """A stream that is being recorded, as the daemon's status tells of it."""

    run: str
    session: str
    directory: Path
    stream: str

    @property
    def name(self) -> str:
        """``RUN/STREAM``."""
        return f"{self.run}/{self.stream}"


def live_streams(sessions: Iterable[dict[str, Any]]) -> list[Live]:
    """The streams in the daemon's answer to ``status``."""
    return [
        Live(str(s["name"]), str(s["session"]), Path(s["directory"]), str(stream["stream"]))
        for s in sessions
        for stream in s["streams"]
    ]


def find(name: str, streams: Iterable[Live]) -> Live:
    """The stream that is called ``STREAM``, ``RUN/STREAM`` or ``SESSION/STREAM``.

    Raises
    ------
    NoSuchSessionError
        None is, or more than one.
    """
    run, _, stream = name.rpartition("/")
    streams = list(streams)
    found = [s for s in streams if s.stream == stream and (not run or run in (s.run, s.session))]
    if len(found) == 1:
        return found[0]
    if found:
        choice = ", ".join(f"{s.session}/{s.stream} ({s.run})" for s in found)
        raise NoSuchSessionError(f"{len(found)} streams are called {name!r}", f"choose one: {choice}")
    there = ", ".join(sorted({s.name for s in streams})) or "none"
    raise NoSuchSessionError(f"no stream {name!r} is being recorded", f"those that are: {there}")


class StreamTap:
    """Looks at one stream while it is recorded; see :class:`~recd.taps.ring.RingTap`.

    Its memory is let go of with the look that sees the last of the stream, not when the viewer ends: a page may stay
    open for days.

    Parameters
    ----------
    live : Live

    Raises
    ------
    NoSuchSessionError
        It has just ended.
    RingDamagedError
        Its ring cannot be read.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        spec = read_json(SessionStore(live.directory, live.session).stream_path(live.stream) / "stream.json")
        try:
            if spec is None:
                raise FileNotFoundError
            self._segment = shm.Segment.open(spec["ring"], read_only=True)
        except FileNotFoundError:
            raise NoSuchSessionError(f"stream {live.name!r} has just ended", "see: recd ls") from None
        self.schema = Schema.from_json(spec["schema"])
        self._ring = RingTap(self._segment.memory, self.schema)
        self._ended = False
        self._closed = False

    def take(self, limit_bytes: int | None = None) -> Taken:
        """What is new; see :meth:`RingTap.take`."""
        return self._looked(lambda: self._ring.take(limit_bytes))

    def newest(self, samples: int) -> Taken:
        """The newest samples, none once the stream has ended and was seen; see :meth:`RingTap.newest`."""
        return self._looked(lambda: self._ring.newest(samples))

    def _looked(self, look: Callable[[], Taken]) -> Taken:
        ended = self.ended  # before the look, which then sees all that there is
        if self._closed:
            return Taken()
        taken = look()
        self._ended = ended or any(event.kind == "close" for event in taken.events)
        if ended:
            self.close()
        return taken

    def word(self, name: str) -> int:
        """Any word of the ring by its name in :mod:`recd_client.layout`."""
        return self._ring.word(name)

    @property
    def moved(self) -> bool:
        """Whether there is anything that the last look has not seen."""
        return not self._closed and self._ring.word("head") != self._ring.position

    @property
    def ended(self) -> bool:
        """Whether nothing will follow: the stream was closed, or its ring was removed as its producer died."""
        if not self._ended:
            closed = self._ring.word("producer_state") == layout.PRODUCER_CLOSED
            self._ended = closed or not (shm.SHM_DIR / self._segment.name.lstrip("/")).exists()
        return self._ended

    def close(self) -> None:
        """Let go of the ring."""
        if not self._closed:
            self._closed = self._ended = True
            self._ring.close()
            self._segment.close()

    def __enter__(self) -> StreamTap:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
