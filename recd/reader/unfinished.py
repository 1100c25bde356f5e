"""A recording without a manifest: it runs, or was killed. What its files have so far, and the rest from its log.

Read only, and beside the workers: nothing is locked, and what they finish meanwhile is met when it is opened
again. A stream is read from the parts of one of its files that are finished, a CSV's open part as far as its
newest checkpoint says, and the log from there on. Frames that go straight from shared memory to ffmpeg are in
its unfinished file, as far as they decode from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.errors import OutputError, RecdError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions, VideoFile
from recd_client.schema import Schema

from ..batch import DISCARD, RESET
from ..checkpoint import Checkpoint
from ..fit import settings_of
from ..journal import Journal, damage, gaps, marks, merged_marks
from ..marks import for_manifest
from ..parts import Naming, Part, PartsFile
from ..recordings import HIDDEN, lock_holder, logged
from ..registry import MAIN_GROUP
from ..session import SessionStore, is_direct
from ..shots import ShotIndex, frames_table
from ..video.counting import count_listed
from ..video.pictures import told_of
from .data import Clocks, PartData, RunData, StreamData
from .files import opener
from .logged import LogTable, trimmed_to
from .manifested import gaps_of, mark_of, stream_of_manifest

LIVE: Final = "live"
UNFINISHED: Final = "unfinished"
_TRIES: Final = 50
_KINDS: Final = {CSVFile: "csv", NPZFile: "npz", HDF5File: "hdf5"}


def run_of_session(directory: Path, session: str) -> RunData:
    """The recording whose working files are in this directory.

    Raises
    ------
    OutputError
        They cannot be read.
    """
    try:
        store = SessionStore(directory, session)
        spec = store.spec
        clocks = Clocks(spec.get("dt"), spec["clocks"]["mono_ns"], spec["clocks"]["wall_ns"])
        live = lock_holder(store.path / f"{MAIN_GROUP}.lock") is not None
        state = LIVE if live else UNFINISHED
        told: dict[str, list[dict[str, Any]]] = {}
        streams = []
        for one in store.streams():
            name = str(one["stream"])
            result = store.result(name)
            if result is not None:
                told[name] = result.pop("marks", [])
                streams.append(stream_of_manifest(name, {"hz": one["hz"], **result}, directory, clocks))
            else:
                stream = _Unfinished(store, one, clocks, state)
                streams.append(stream.data())
                told[name] = marks(stream.events)
        told_marks = sorted([*merged_marks(told), *for_manifest(store.path)], key=lambda m: int(m["mono_ns"]))
    except (OSError, KeyError, TypeError, ValueError) as e:
        if isinstance(e, RecdError):
            raise
        raise OutputError(
            f"{directory / HIDDEN / session} cannot be read: {type(e).__name__}: {e}",
            "if it has just ended, open it again; else: recd recover",
        ) from e
    return RunData(
        path=directory, streams=streams, manifest={}, name=str(spec.get("name", "")), session=session, state=state,
        metadata=spec.get("metadata") or {}, clocks=clocks,
        marks=[mark_of(m) for m in told_marks],
    )  # fmt: skip


@dataclass(frozen=True)
class _Sink:
    """What one sink has made so far."""

    index: int
    options: SinkOptions
    naming: Naming
    parts: dict[int, Part]
    #: Its newest checkpoint: position, part, and for a CSV the length of the file.
    saved: dict[str, Any] | None

    @property
    def done(self) -> list[Part]:
        """Finished parts, in order, up to the first that is not."""
        found = []
        for part in sorted(self.parts.values(), key=lambda p: p.number):
            if part.state != "done":
                break
            found.append(part)
        return found


class _Unfinished:
    """One stream that has no result yet."""

    def __init__(self, store: SessionStore, spec: dict[str, Any], clocks: Clocks, state: str) -> None:
        self._spec = spec
        self._path = store.stream_path(str(spec["stream"]))
        self._log = self._path / "log"
        self._schema = Schema.from_json(spec["schema"])
        self._clocks = clocks
        self._state = state
        self._problems: list[str] = []
        self._tables: list[LogTable] = []
        journal: Journal = logged(self._path, spec)
        self._tally, self._clock = journal.tally, journal.clock.to_json()
        self.events = journal.events()
        self._sinks = list(self._read_sinks())

    def _read_sinks(self) -> Iterator[_Sink]:
        for index, (told, final) in enumerate(zip(self._spec["sinks"], self._spec["finals"], strict=True)):
            options = SinkOptions.from_json(told)
            saved = Checkpoint(self._path / f"sink{index}.ckpt").load()
            parts = PartsFile(self._path / f"sink{index}.parts").parts
            yield _Sink(index, options, Naming.of(options, Path(final)), parts, saved)

    def data(self) -> StreamData:
        """The stream as far as it was recorded."""
        name = str(self._spec["stream"])
        for begin, end in damage(self.events):
            self._problems.append(f"stream {name!r}: its log is damaged from position {begin} to {end}")
        sources: dict[str, list[PartData]] = {}
        if not is_direct(self._spec):
            sources["log"] = self._whole_log()
        for sink in self._sinks:
            if isinstance(sink.options, VideoFile):
                films = list(self._films(sink))
                if films:
                    number = sum(kind.startswith("video") for kind in sources)
                    sources[f"video:{number + 1}" if number else "video"] = films
        tally = vars(self._tally)
        return StreamData(
            name, self._schema, sources, self._spec["hz"], self._state, "", False, gaps_of(gaps(self.events)),
            {"clock": self._clock, **{key: tally[key] for key in ("mono_first_ns", "mono_last_ns")}},
            self._clocks, self._problems,
            is_direct(self._spec) or "video" in sources,
        )  # fmt: skip

    # --- arrays ------------------------------------------------------------------------------------
    def _whole_log(self) -> list[PartData]:
        """Finished files and the log behind them, as they were at one time.

        A worker that goes on trims the log once its samples are in files: where that shows, both are looked at again.
        """
        for _ in range(_TRIES):
            self._tables.clear()
            parts, needed = self._from_log()
            begins = trimmed_to(self._log)
            if begins <= needed or (self._tables and self._tables[0].begins <= needed):
                return parts
            self._sinks = list(self._read_sinks())
        name = self._spec["stream"]
        self._problems.append(f"stream {name!r}: what stood in its log from {needed} to {begins} is missing")
        return parts

    def _from_log(self) -> tuple[list[PartData], int]:
        """Finished files and the log behind them; and from where on that is needed."""
        begins = trimmed_to(self._log)
        sinks = [sink for sink in self._sinks if type(sink.options) in _KINDS]
        # One whose files reach as far as the log was trimmed; each does, or its samples would be lost.
        best = min(sinks, key=lambda sink: (_reach(sink) < begins, _reach(sink)), default=None)
        if best is None:
            return [self._stretch(0, begins, None)], begins
        kind = _KINDS[type(best.options)]
        out = [self._file(part, kind, Path(part.path)) for part in best.done]
        number, position = len(out), best.done[-1].end if best.done else 0
        needed = position
        for part in sorted(best.parts.values(), key=lambda p: p.number)[
            number:
        ]:  # complete, but not finished
            csv = best.naming.part_path(part.number)
            if kind == "csv" and csv.exists():
                out.append(self._file(part, kind, csv))
                needed = part.end
            else:
                out.append(self._stretch(part.number, part.begin, part.end))
            position, number = part.end, part.number + 1
        saved = best.saved
        if saved is not None and saved["part"]["number"] == number and saved["position"] >= position:
            part = Part(**saved["part"])
            if needed == position:
                needed = part.begin
            position = part.begin
            if kind == "csv" and saved["sink"] and part.samples and begins > part.begin:
                part.next_seq = int(saved["next_seq"])
                csv = best.naming.part_path(number)
                out.append(self._file(part, kind, csv, int(saved["sink"]["bytes"])))
                needed = position = int(saved["position"])
        return out + self._open_parts(best, number, position), needed

    def _open_parts(self, sink: _Sink, number: int, position: int) -> list[PartData]:
        """The rest of the log, cut as the sink will cut it: at whole resets; without what was discarded."""
        stretches: list[tuple[int, int | None]] = []
        begin = position
        for event in self.events:
            at, label = int(event["position"]), event["data"].get("label")
            if at < position:
                continue
            if label == DISCARD:
                begin = at
            elif (
                label == RESET
                and sink.options.new_part_on_reset
                and event["data"]["fields"].get("envs_idx") is None
            ):
                stretches.append((begin, at))
                begin = at
        stretches.append((begin, None))
        return [self._stretch(number + k, *each) for k, each in enumerate(stretches)]

    def _file(self, part: Part, kind: str, path: Path, end_bytes: int | None = None) -> PartData:
        """A part that is a file, or, of a CSV, will be one under another name."""
        open_table = opener(path, kind, end_bytes)
        assert open_table is not None
        told = path, kind, part.number, part.samples, part.first_seq, part.next_seq
        if kind == "csv" and self._state == LIVE:
            table = open_table(self._schema)
            return PartData(*told, lambda schema: table, intact=True)
        return PartData(*told, open_table, intact=True)

    def _stretch(self, number: int, begin: int, end: int | None) -> PartData:
        """A stretch of the log; of one that goes on, it is held fast now."""

        def open_table(schema: Schema | None) -> LogTable:
            return LogTable(self._log, self._schema, begin, end, self._problems)

        if self._state != LIVE:
            return PartData(self._log, "log", number, open_table=open_table)
        table = open_table(None)
        self._tables.append(table)
        return PartData(self._log, "log", number, open_table=lambda schema: table)

    # --- videos ------------------------------------------------------------------------------------
    def _films(self, sink: _Sink) -> Iterator[PartData]:
        """Finished parts, and the pieces of the others, as far as they decode."""
        options = sink.options
        assert isinstance(options, VideoFile)
        right, bottom = settings_of(options, self._schema).padding
        told = told_of(self._schema.fields[0].shape, options)
        told["padding"] = {"right": right, "bottom": bottom}
        offset_ns = (self._clocks.start_wall_ns or 0) - (self._clocks.start_mono_ns or 0)
        for part in sorted(sink.parts.values(), key=lambda p: p.number):
            lines = ShotIndex(self._path / f"sink{sink.index}.frames{part.number}").lines()
            video = {**told, **part.details.get("video", {})}
            if part.state == "done":
                table = frames_table(lines, offset_ns)
                yield PartData(
                    Path(part.path), "video", part.number, part.samples, video={**video, "frames": table}
                )
                continue
            at = 0
            for piece in part.details.get("pieces", ()):
                path = Path(piece["path"])
                if not path.exists():
                    continue
                count = int(piece["count"])
                if count < 0:
                    count = min(count_listed(path), max(len(lines) - at, 0))
                if count <= 0:
                    continue
                some = lines[at : at + count]
                at += count
                samples = int(np.count_nonzero(some["repeated"] == 0))
                table = frames_table(some, offset_ns)
                yield PartData(path, "video", part.number, samples, video={**video, "frames": table})


def _reach(sink: _Sink) -> int:
    """The position up to which a sink needs the log no more."""
    reach = sink.done[-1].end if sink.done else 0
    if sink.saved is None:
        return reach
    saved = sink.saved["position"] if isinstance(sink.options, CSVFile) else sink.saved["part"]["begin"]
    return max(reach, int(saved))
