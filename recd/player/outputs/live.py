"""A recording as a live session: its samples go into rings again, as if its simulation ran."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recd_client.errors import DataLossWarning, OptionError
from recd_client.layout import CAUSES
from recd_client.recorder import Recorder
from recd_client.schema import RAGGED, STRING, Field, Ragged, Schema
from recd_client.session import MARK_DISCARD
from recd_client.session import Mark as RingMark
from recd_client.settings import StreamSettings
from recd_client.stream import Stream

from ...reader import Gap, Mark, Run, VideoStream
from ...recordings import DEPTH, manifests
from ..event import Event
from ..playback import Playback
from .base import Output
from .sinks import AnyStream, Sinks

#: Metadata that no recorder takes any more is left out of a replay's.
_MOST_METADATA_BYTES = 200 << 10
#: Of samples that vary in size nobody knows the largest; a quarter of the ring is room for it.
_VARYING_RING_BYTES = 32 << 20


class LiveOutput(Output):
    """Writes what is played into the rings of a session of its own.

    Every write waits for room, so that nothing is lost here. What was lost in the recording is told again: numbers,
    and so gaps, are the same; a cause that a ring has no name for is told as ``interrupted``.

    Parameters
    ----------
    run : Run
    sinks : dict
        Of each stream that is played.
    names : dict
        Stream to what it is called in the session.
    directory : path, optional
        Where files land; default: as :class:`recd_client.Recorder` does. None and no files: nothing is left.
    records : bool
        Whether files are recorded. Then playing goes on from its begin to its end, and never back.
    overwrite : str
        As of the recorder.
    """

    def __init__(
        self,
        run: Run,
        sinks: Sinks,
        names: Mapping[str, str],
        *,
        directory: Path | None = None,
        records: bool = False,
        overwrite: str = "error",
    ) -> None:
        self._run = run
        self._sinks = sinks
        self._names = names
        self._records = records
        self.rewinds = not records
        self._overwrite = overwrite
        self._directory = directory
        self._passing: Path | None = None
        self._streams: dict[str, Stream] = {}
        self._gaps: dict[str, list[Gap]] = {}
        #: By stream: the number that the next sample has if none is missing; -1: any.
        self._next: dict[str, int] = {}
        self._told = 0
        self._stopped = False

    def open(self, playback: Playback) -> None:
        """See :class:`Output`: the session begins, with all its streams."""
        if self._directory is None and not self._records:
            self._passing = self._directory = Path(tempfile.mkdtemp(prefix="recd-play-"))
        run, streams = self._run, playback.timeline.streams
        self.recorder = Recorder(
            plain(run.name or run.path.stem), dir=self._directory, dt=run.dt, overwrite=self._overwrite,
            metadata=_metadata(run),
        )  # fmt: skip
        from_begin = playback.start <= playback.timeline.start
        try:
            for name, stream in streams.items():
                self._add(name, stream, 0 if from_begin else -1)
        except BaseException:
            self.recorder.close(timeout=10.0)
            self._clear()
            raise

    def _add(self, name: str, stream: AnyStream, first: int) -> None:
        # The rate is told, but thins out no more: it was kept to when this was recorded.
        settings = StreamSettings(
            self._sinks[name], stream.hz, "block", units=_units(stream), gated=False,
            buffer_bytes=None if stream.schema.fixed_size else _VARYING_RING_BYTES,
        )  # fmt: skip
        self._streams[name] = self.recorder._add_stream(self._names[name], settings, _example(stream))
        self._gaps[name] = [g for g in stream.gaps if g.count]
        self._next[name] = first

    # --- events --------------------------------------------------------------------------------------
    def take(self, event: Event) -> bool:
        """See :class:`Output`; ends when the session was stopped from outside."""
        mark = event.mark
        if mark is not None:
            self._mark(mark)
            return True
        if event.seq >= 0:
            self._lose_up_to(event.name, event.seq, event.t)
            self._next[event.name] = event.seq + 1
        written = self._streams[event.name].write(event.value, event.t, event.step)
        self._stopped = not written
        return written

    def _mark(self, mark: Mark) -> None:
        if mark.label == MARK_DISCARD:  # what was discarded is not in the files; what is in them would be
            return
        at = RingMark(mark.label, dict(mark.fields), mark.t, mark.step, time.monotonic_ns())
        for name, stream in self._streams.items():
            if name in mark.seq:
                self._lose_up_to(name, mark.seq[name], mark.t)
            if name in mark.seq or not mark.seq:
                stream.mark(at)

    def _lose_up_to(self, name: str, stop: int, t: float) -> None:
        """Tell what was lost before number ``stop``; what was discarded, or cannot be read, was not lost there."""
        first = self._next[name]
        if not 0 <= first < stop:
            return
        self._next[name] = stop
        ring = self._streams[name].ring
        assert ring is not None
        near = [g for g in self._gaps[name] if g.first_seq < stop and first <= g.last_seq]
        for seq in range(first, stop) if near else ():
            cause = next((g.cause for g in near if g.first_seq <= seq <= g.last_seq), None)
            if cause is not None:
                ring.writer.lose(cause if cause in CAUSES else "interrupted", t)
                self._told += 1

    def rewound(self) -> None:
        """See :class:`Output`: for viewers time begins anew, as after a reset."""
        self._next = dict.fromkeys(self._next, -1)
        self.recorder.reset()

    # --- end -----------------------------------------------------------------------------------------
    def close(self, *, whole: bool) -> list[str]:
        """See :class:`Output`: the session ends, and its files are finished."""
        if whole:
            for name, stream in self._streams.items():
                behind = [g.last_seq + 1 for g in self._gaps[name] if g.first_seq >= self._next[name] >= 0]
                if behind and stream.is_open:
                    self._lose_up_to(name, max(behind), self._run.streams[name].t[-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)  # it is said below
            summary = self.recorder.close()
        lines = ["the session was stopped from outside (recd stop, recd top)"] if self._stopped else []
        if self._told:
            lines.append(f"{self._told:,} samples are missing in the recording; their gaps were told again")
        if self._records:
            lines.append(f"recorded into {self.recorder.directory}")
            if not summary.complete:
                lines.append(f"not everything is finished: {summary.reason or 'see: recd status'}")
        self._clear()
        return lines

    def abandon(self) -> None:
        """See :class:`Output`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            self.recorder.close(timeout=10.0)
        self._clear()

    def _clear(self) -> None:
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)


def plain(name: str) -> str:
    """The name with what a recorder or stream may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).strip(".")[:64] or "play"


def names_of(streams: Mapping[str, Any]) -> dict[str, str]:
    """Stream to what it is called in a session.

    Raises
    ------
    OptionError
        Two would be called the same.
    """
    names = {name: plain(name) for name in streams}
    if len({*names.values()}) < len(names):
        raise OptionError(
            f"streams {', '.join(names)}: two of them become {plain('')!r} alike", "choose one of them"
        )
    return names


def _units(stream: AnyStream) -> dict[str, str] | None:
    names = {f.name for f in stream.schema.fields} if not isinstance(stream, VideoStream) else {"data"}
    return {name: unit for name, unit in stream.units.items() if name in names} or None


def _example(stream: AnyStream) -> Any:
    """A sample for ``like``."""
    if isinstance(stream, VideoStream):
        return np.zeros(stream.shape, stream.dtype)
    schema: Schema = stream.schema
    values = {f.name: _value(f) for f in schema.fields}
    return next(iter(values.values())) if schema.bare else values


def _value(field: Field) -> Any:
    if field.kind == STRING:
        return ""
    return Ragged(field.shape, field.dtype) if field.kind == RAGGED else np.zeros(field.shape, field.dtype)


def _metadata(run: Run) -> dict[str, Any]:
    """The recording's own metadata, and which recording that is."""
    source = {
        "session": run.session,
        "name": run.name,
        "path": str(run.path),
        "manifest_sha256": _manifest_hash(run),
    }
    whole = {**run.metadata, "replay_of": source}
    return whole if len(json.dumps(whole, default=str)) < _MOST_METADATA_BYTES else {"replay_of": source}


def _manifest_hash(run: Run) -> str | None:
    """SHA-256 of the recording's manifest; None where there is none."""
    for directory in [run.path, *run.path.parents][: DEPTH if run.manifest else 0]:
        for path in manifests(directory):
            raw = path.read_bytes()
            if json.loads(raw).get("session") == run.session:
                return hashlib.sha256(raw).hexdigest()
    return None
