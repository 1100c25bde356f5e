"""A recording that is made of stretches of others: its files, its manifest, and what tells where it is from.

A stretch becomes a file; one that is a whole file of the source already is copied byte for byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.control import new_session_id
from recd_client.errors import OptionError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from recd_client.schema import Schema

from .. import __version__, strict_json
from ..batch import Batch
from ..converter import clips
from ..converter.episodes import Clip
from ..converter.targets.tables import column_of
from ..converter.work import Workplace, check_destination, sha256_of, told_of_room
from ..manifest import MANIFEST_VERSION
from ..parts import hash_file
from ..reader import ArrayStream, Run, VideoStream
from ..reader.data import PartData
from ..recordings import MANIFEST
from ..session import SessionStore, write_text
from ..sinks import make_sink
from ..sinks.base import AppendSink
from . import gaps as losses
from .stretches import Stretch, Tally

_OPTIONS: Final[dict[str, type[SinkOptions]]] = {"csv": CSVFile, "npz": NPZFile, "hdf5": HDF5File}
_SUFFIXES: Final = {"csv": ".csv", "npz": ".npz", "hdf5": ".h5"}
#: Called with samples done, samples to do, and the stream.
Told = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Made:
    """A recording that was made of others.

    Parameters
    ----------
    path : Path
        Its directory.
    session : str
    streams : dict
        Name to number of samples.
    offsets_s : list of float
        What was added to the stream time of each source.
    encoded_again : int
        Frames of films that could not be copied.
    bytes : int
        Of its files.
    problems : list of str
        What is missing in the sources, or could not be kept.
    """

    path: Path
    session: str
    streams: dict[str, int]
    offsets_s: list[float]
    encoded_again: int
    bytes: int
    problems: list[str]


@dataclass
class Series:
    """The files of one format.

    Parameters
    ----------
    kinds : list of str
        As in a manifest; several tabular ones are written from the same samples.
    stretches : list of Stretch
        A file each.
    """

    kinds: list[str]
    stretches: list[Stretch]

    def __len__(self) -> int:
        return sum(map(len, self.stretches))


@dataclass
class Plan:
    """A stream of the recording that is made.

    Parameters
    ----------
    name : str
    schema : Schema
    hz : float or None
    series : list of Series
        All of the same samples.
    gaps : list of dict
    """

    name: str
    schema: Schema
    hz: float | None
    series: list[Series]
    gaps: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.series[0])


def kinds_of(run: Run, stream: ArrayStream | VideoStream) -> list[str]:
    """The formats that a stream was recorded into, or was to be; each once."""
    if isinstance(stream, VideoStream):
        return ["video"]
    kinds = [kind.partition(":")[0] for kind in stream._data.sources]
    if "log" in kinds:  # its files were not finished: what was asked for is in the session's own files
        store = SessionStore(run.path, run.session)
        sinks = [sink for one in store.streams() if one["stream"] == stream.name for sink in one["sinks"]]
        kinds = [SinkOptions.from_json(sink).kind for sink in sinks]
    found = [kind for kind in dict.fromkeys(kinds) if kind in _OPTIONS]
    return found or ["npz"]


def check_sources(runs: Sequence[Run]) -> None:
    """Raise :class:`OptionError` for data files that no manifest tells of."""
    for run in runs:
        if run.start_mono_ns is None or run.start_wall_ns is None:
            raise OptionError(
                f"{run.path}: no manifest tells what it is part of",
                "give the directory of a recording; single files are turned into others by: recd convert",
            )


def source_of(run: Run) -> dict[str, Any]:
    """What tells of a source."""
    found = {"path": str(run.path), "session": run.session, "name": run.name, "state": run.state}
    if not run.manifest:
        return {**found, "manifest_sha256": None}
    directory = run.path if run.path.is_dir() else run.path.parent
    names = (MANIFEST, f"manifest.{run.session}.json")
    manifests = [directory / name for name in names if _is_of(directory / name, run.session)]
    return {**found, "manifest_sha256": sha256_of(manifests[0]) if manifests else None}


def _is_of(path: Path, session: str) -> bool:
    from ..session import read_json

    try:
        return bool((read_json(path) or {}).get("session") == session)
    except ValueError:
        return False


def write(
    destination: Path,
    tool: str,
    runs: Sequence[Run],
    plans: Sequence[Plan],
    manifest: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool,
    progress: Told | None,
) -> Made:
    """Make the recording.

    Parameters
    ----------
    destination : Path
        Its directory.
    tool : str
        ``cut`` or ``merge``.
    runs, plans
        Sources, and the streams to make of them.
    manifest : dict
        What it tells beside its streams and provenance: ``name``, ``clocks``, ``marks``, ``metadata``, ...
    provenance : dict
        ``command``, and what the tool was asked for.

    Raises
    ------
    OutputExistsError
        The destination exists.
    OutputError, OptionError
        A source cannot be read; there is no room; the destination holds a source.
    """
    destination = destination.absolute()
    check_destination(destination, _files(runs), overwrite=overwrite)
    maker = _Maker(manifest["clocks"], sum(len(s) for p in plans for s in p.series), progress)
    with Workplace(destination, {"tool": tool}, overwrite=overwrite) as work, told_of_room(work):
        work.begin_anew()
        with work.making(work.output) as directory:
            directory.mkdir()
            streams = {plan.name: maker.stream(plan, directory) for plan in plans}
            problems = list(
                dict.fromkeys([*provenance["problems"], *(p for run in runs for p in run.problems)])
            )
            session = new_session_id()
            told = {
                **manifest,
                "manifest_version": MANIFEST_VERSION, "recd": __version__, "session": session,
                "state": "complete", "complete": True, "streams": streams,
                "provenance": {"tool": tool, "recd": __version__, **provenance,
                               "sources": [{**source_of(run), **more} for run, more in
                                           zip(runs, provenance["sources"], strict=True)],
                               "problems": problems},
            }  # fmt: skip
            write_text(directory / MANIFEST, strict_json.text(told))
            size = sum(path.stat().st_size for path in directory.iterdir())
        work.complete(None, beside=False)
    return Made(
        destination, session, {plan.name: len(plan) for plan in plans},
        [float(source.get("offset_s", 0.0)) for source in provenance["sources"]], maker.encoded_again, size, problems,
    )  # fmt: skip


def _files(runs: Sequence[Run]) -> list[Path]:
    told = [
        run.path / file["path"]
        for run in runs
        for stream in run.manifest.get("streams", {}).values()
        for file in stream.get("files", ())
    ]
    return [*(run.path for run in runs), *told]


class _Maker:
    """Writes files, and tells what a manifest tells of them."""

    def __init__(self, clocks: Mapping[str, int], total: int, progress: Told | None) -> None:
        self._wall_offset = clocks["start_wall_ns"] - clocks["start_mono_ns"]
        self._total, self._done, self._progress = total, 0, progress
        self._taken: set[str] = {MANIFEST}
        self.encoded_again = 0

    def _advance(self, samples: int, stream: str) -> None:
        self._done += samples
        if self._progress is not None:
            self._progress(self._done, self._total, stream)

    def stream(self, plan: Plan, directory: Path) -> dict[str, Any]:
        """Write all files of a stream; its share of the manifest."""
        files: list[dict[str, Any]] = []
        sinks: list[dict[str, Any]] = []
        for series in plan.series:
            for kind in series.kinds:
                made = list(self._series(plan, series, kind, directory))
                files += made
                path = made[0]["path"] if made else f"{plan.name}.mp4"
                sinks.append(
                    {"kind": kind, "path": path, "state": "finished", "reason": "", "samples": len(series)}
                )
        tally = Tally()
        for stretch in plan.series[0].stretches:
            tally.join(stretch.tally)
        lost = losses.lost(plan.gaps)
        (t0, step0, mono0, _), (t1, step1, mono1, _) = ((e or (None,) * 4) for e in (tally.first, tally.last))
        return {
            "hz": plan.hz, "state": "complete", "reason": "", "complete": True, "schema": plan.schema.to_json(),
            "attempted": len(plan) + sum(lost.values()), "skipped": 0, "marks_lost": 0, "blocked_s": 0.0, "lost": lost,
            "samples": len(plan), "bytes": len(plan) * plan.schema.payload_bytes if plan.schema.fixed_size else None,
            "t_first": _number(t0), "t_last": _number(t1), "step_first": step0, "step_last": step1,
            "mono_first_ns": _known(mono0), "mono_last_ns": _known(mono1), "clock": _line(plan.series[0]),
            "backward_times": tally.backward, "nan_times": tally.nan, "gaps": plan.gaps,
            "stalls": {"count": 0, "newest": []}, "files": files, "sinks": sinks,
        }  # fmt: skip

    def _series(self, plan: Plan, series: Series, kind: str, directory: Path) -> Iterator[dict[str, Any]]:
        several = len(series.stretches) > 1
        stem = self._free_stem(plan.name, kind, series)
        for number, stretch in enumerate(series.stretches):
            suffix = _SUFFIXES.get(kind) or _film_part(stretch)[0].path.suffix
            path = directory / f"{stem}{f'_{number:04d}' if several else ''}{suffix}"
            told = {"path": path.name, "kind": kind, "part": number, "samples": len(stretch)}
            if kind == "video":
                told["video"] = self._film(stretch, path, plan.name)
            else:
                told["first_seq"], told["next_seq"] = (
                    (stretch.first_seq, stretch.next_seq) if len(stretch) else (0, 0)
                )
                self._table(stretch, path, kind, plan)
            told["sha256"], told["bytes"] = hash_file(path)
            yield told

    def _free_stem(self, name: str, kind: str, series: Series) -> str:
        """A name that no other file of the recording has: streams may be called like each other's parts."""
        stem, n = name, 2
        ends = [f"_{i:04d}" for i in range(len(series.stretches))] if len(series.stretches) > 1 else [""]
        while any(f"{stem}{end}.{kind}" in self._taken for end in ends):
            stem, n = f"{name}-{n}", n + 1
        self._taken.update(f"{stem}{end}.{kind}" for end in ends)
        return stem

    # --- tables ------------------------------------------------------------------------------------
    def _table(self, stretch: Stretch, path: Path, kind: str, plan: Plan) -> None:
        whole = None if stretch.axis.offset_s else _file_of(stretch, kind)
        if whole is not None:
            shutil.copyfile(whole, path)
            self._advance(len(stretch), plan.name)
            return
        info = {"name": plan.name, "metadata": stretch.run.metadata}
        sink = make_sink(_OPTIONS[kind](path), plan.schema, info)
        source = _Samples(stretch, plan.schema)
        if isinstance(sink, AppendSink):
            sink.open(path, None)
            try:
                for batch in source.batches():
                    sink.write(batch)
                    self._advance(len(batch), plan.name)
                sink.finish()
            finally:
                sink.abandon()
            return
        before = 0

        def advance(done: int) -> None:
            nonlocal before
            self._advance(done - before, plan.name)
            before = done

        sink.build(source, path, advance)

    # --- films -------------------------------------------------------------------------------------
    def _film(self, stretch: Stretch, path: Path, title: str) -> dict[str, Any]:
        """Write a film; what a manifest tells of it."""
        stream = stretch.stream
        assert isinstance(stream, VideoStream)
        part, film = _film_part(stretch)
        table = stream.frames
        rows = np.flatnonzero(~table.repeated)
        shown = np.flatnonzero(table.part == stretch.part)
        if len(stretch) != len(rows[table.part[rows] == stretch.part]):
            shown = np.arange(rows[stretch.start], rows[stretch.stop - 1] + 1)
        again = 0
        if len(shown) == film.frames:
            shutil.copyfile(film.path, path)
        else:
            clip = Clip(film, int(table.frame[shown[0]]), len(shown))
            again = clips.write(clip, path, title=title)
        self.encoded_again += again
        self._advance(len(stretch), title)
        mono = stretch.axis.mono(table.mono_ns[shown])
        t = stretch.axis.t(table.t[shown], table.mono_ns[shown])
        return {
            **part.video,
            "encoded_again": again,
            "frames": {
                "seq": (table.seq[shown] + stretch.seq_shift).tolist(),
                "step": table.step[shown].tolist(),
                "t": [_number(value) for value in t.tolist()],
                "wall_ns": (mono + self._wall_offset).tolist(),
                "repeated": np.flatnonzero(table.repeated[shown]).tolist(),
            },
        }


class _Samples:
    """A stretch as a sink reads it: see :class:`recd.batch.Source`."""

    def __init__(self, stretch: Stretch, schema: Schema) -> None:
        self.schema, self.count, self._stretch = schema, len(stretch), stretch

    def batches(self) -> Iterator[Batch]:
        """From the first to the last."""
        stretch = self._stretch
        stream, axis = stretch.stream, stretch.axis
        assert isinstance(stream, ArrayStream)
        for block in stream.batches(start=stretch.start, stop=stretch.stop):
            columns = {f.name: column_of(f, block) for f in self.schema.fields}
            seq, mono = block.seq.view(np.uint64), block.mono_ns.view(np.uint64)
            yield Batch(self.schema, seq, axis.t(block.t, block.mono_ns), block.step, mono, columns)


def _line(series: Series) -> dict[str, Any]:
    """When samples were written, as far as the sources tell: see :mod:`recd.clockline`."""
    points = dict(point for stretch in series.stretches for point in stretch.written())
    lines = [s.stream.line for s in series.stretches if isinstance(s.stream, ArrayStream)]
    return {
        "seq": sorted(points),
        "mono_ns": [points[seq] for seq in sorted(points)],
        "tolerance_ns": max((line.tolerance_ns for line in lines if line is not None), default=0),
    }


def _film_part(stretch: Stretch) -> tuple[PartData, Any]:
    assert isinstance(stretch.stream, VideoStream)
    return stretch.stream._films[stretch.part]


def _file_of(stretch: Stretch, kind: str) -> Path | None:
    """The file that has just these samples, as the manifest told; None: there is none."""
    stream, at = stretch.stream, 0
    parts = stream._data.sources.get(kind, [])
    if not all(part.intact and part.samples is not None for part in parts):
        return None
    if sum(part.samples or 0 for part in parts) != len(stream):
        return None
    for part in parts:
        end = at + (part.samples or 0)
        if (at, end) == (stretch.start, stretch.stop) and len(stretch):
            return part.path
        at = end
    return None


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _known(mono_ns: int | None) -> int | None:
    return None if mono_ns is None or mono_ns < 0 else mono_ns
