"""Marks from outside: what people and alerts put on a session's timeline, while its simulation knows nothing of it.

Nobody but the simulation writes into its rings, so these marks are lines of a file of the session, ``marks.jsonl``.
Its one writer is the session's main worker; a successor reads what is there and goes on.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client.errors import LimitError, OptionError

#: So many are kept of one session; more are counted, and refused.
MOST: Final = 10_000
#: So many of the newest ones are told in the answer to ``status``.
MOST_TOLD: Final = 100
#: Who may set one: a person or a program; an alert.
SOURCES: Final = ("outside", "alert")
_NAME: Final = "marks.jsonl"
_REFUSED: Final = "marks.refused"
_REFUSED_BYTES: Final = 8
_LARGEST_SEQ: Final = 1 << 63


def checked(request: dict[str, Any], streams: Iterable[str]) -> dict[str, Any]:
    """What a request for a mark asks to be set: ``label``, ``fields``, ``stream``, ``t``, ``seq``, ``source``.

    Raises
    ------
    OptionError
        Something of it is no part of a mark.
    RecordTooLargeError
        Label and fields take too many bytes.
    """
    from recd_client.session import checked_mark  # numpy, which the supervisor has no need of

    label, fields, source = request.get("label"), request.get("fields"), request.get("source", SOURCES[0])
    if not isinstance(fields, dict | None):
        raise OptionError(
            f"mark {label!r}: fields={fields!r:.60}: expected an object", "pass names and values"
        )
    fields = checked_mark(label, fields or {})
    if source not in SOURCES:
        raise OptionError(f"mark {label!r}: source={source!r:.60}: expected one of {SOURCES}", "correct it")
    stream, t, seq = request.get("stream"), request.get("t"), request.get("seq")
    there = list(streams)
    if stream is not None and stream not in there:
        raise OptionError(
            f"mark {label!r}: no stream {stream!r:.80} in this recording",
            f"leave it out, or choose one: {', '.join(there) or 'there is none yet'}",
        )
    if t is not None and (isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t)):
        raise OptionError(f"mark {label!r}: t={t!r:.60}: expected a finite number of seconds", "correct it")
    if seq is not None and (isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq < _LARGEST_SEQ):
        raise OptionError(
            f"mark {label!r}: seq={seq!r:.60}: expected a sample's number, 0 or more", "correct it"
        )
    t = None if t is None else float(t)
    return {"label": label, "fields": fields, "stream": stream, "t": t, "seq": seq, "source": source}


class Marks:
    """The marks of one session; used by its main worker's loop.

    Parameters
    ----------
    directory : Path
        The session's, under ``.recd``.

    Attributes
    ----------
    stored : int
    refused : int
        Marks beyond the most that are kept.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._refused_path = directory / _REFUSED
        there = read(directory)
        self.stored = len(there)
        self.refused = read_refused(directory)
        self._next = 1 + max((mark["n"] for mark in there), default=-1)
        self._newest = deque((_told(mark) for mark in there), MOST_TOLD)
        # A worker that dies before it has answered is followed by one that is asked the same again.
        self._keys = deque(((mark.get("key"), _told(mark)) for mark in there), MOST_TOLD)

    def add(self, mark: dict[str, Any], key: str) -> dict[str, Any]:
        """Set a mark, now; it survives the death of any process. The same one again, by its key, is not set twice.

        Parameters
        ----------
        mark : dict
            Of :func:`checked`.
        key : str
            Of the request.

        Raises
        ------
        LimitError
            There are so many that this one is only counted.
        OSError
            It cannot be stored now.
        """
        for known, told in self._keys:
            if known == key:
                return told
        if self.stored >= MOST:
            self.refused += 1
            self._put_refused()
            raise LimitError(
                f"mark {mark['label']!r} was counted, not stored: this recording has {MOST} marks from outside",
                "set fewer: a mark is for what happens now and then, a stream for what happens all the time",
            )
        mark = {
            "n": self._next,
            **mark,
            "mono_ns": time.monotonic_ns(),
            "wall_ns": time.time_ns(),
            "key": key,
        }
        # The line begins with a line end: a kill, or a full disk, may have cut the one before short.
        line = b"\n" + json.dumps(mark, separators=(",", ":")).encode() + b"\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        finally:
            os.close(fd)
        self._next += 1
        self.stored += 1
        told = _told(mark)
        self._newest.append(told)
        self._keys.append((key, told))
        return told

    def _put_refused(self) -> None:
        with suppress(OSError):  # only a number
            fd = os.open(self._refused_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, self.refused.to_bytes(_REFUSED_BYTES, "little"), 0)
            finally:
                os.close(fd)

    def status(self) -> dict[str, Any]:
        """For the session's part of the answer to ``status``."""
        return {
            "marks": list(self._newest),
            "marks_total": self.stored + self.refused,
            "marks_refused": self.refused,
        }


#: What is told of a session of whose marks and alerts nobody tells.
NO_STATUS: Final[dict[str, Any]] = {"marks": [], "marks_total": 0, "marks_refused": 0, "alerts": []}


def read(directory: Path) -> list[dict[str, Any]]:
    """The marks in a session's directory as they were set; a line that a kill cut short is none."""
    return list(_read(directory / _NAME))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError, TypeError, AttributeError):
            mark = json.loads(line)
            if all(isinstance(mark.get(k), int) for k in ("n", "mono_ns")) and isinstance(mark["label"], str):
                yield mark


def read_refused(directory: Path) -> int:
    """How many marks were only counted."""
    try:
        return int.from_bytes((directory / _REFUSED).read_bytes()[:_REFUSED_BYTES], "little")
    except OSError:
        return 0


def for_manifest(directory: Path) -> list[dict[str, Any]]:
    """The marks as they stand in a manifest beside the recorder's own: ``seq`` is by stream, ``step`` unknown."""
    return [
        {
            **_told(mark),
            "seq": {} if mark["stream"] is None or mark["seq"] is None else {mark["stream"]: mark["seq"]},
            "step": None,
        }
        for mark in read(directory)
    ]


def that_fit(marks: list[dict[str, Any]], room_bytes: int) -> list[dict[str, Any]]:
    """The newest marks that take no more room than this in an answer."""
    for i in range(len(marks) - 1, -1, -1):
        room_bytes -= len(json.dumps(marks[i])) + 1
        if room_bytes < 0:
            return marks[i + 1 :]
    return marks


def _told(mark: dict[str, Any]) -> dict[str, Any]:
    """A mark without what is only for its file."""
    return {k: v for k, v in mark.items() if k != "key"}
