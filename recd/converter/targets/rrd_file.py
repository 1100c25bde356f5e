"""A Rerun recording that is being written, column by column."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow
import rerun as rr
from numpy.typing import NDArray
from rerun.error_utils import RerunWarning

from recd_client.errors import OutputError
from recd_client.schema import FIXED, STRING, Field

from ...reader import Lists, VideoStream
from ..selection import Samples, Selected
from . import rrd_video
from .base import Progress
from .viewing import events_name, happenings, is_picture, labels_of, nanoseconds, plain

if TYPE_CHECKING:
    from ...reader import Run

#: A field with more elements has no names of lines.
_MOST_NAMES: Final = 256
_BATCH_BYTES: Final = 4 << 20
_TYPES: Final = {"|u1": "U8", "<u2": "U16", "<f2": "F16", "<f4": "F32"}
_PIPE_BYTES: Final = 1 << 20
_COLOURS: Final = {1: "L", 3: "RGB", 4: "RGBA"}


class File:
    """One file; a context that leaves what is unfinished as it is.

    Parameters
    ----------
    path : Path
    run : Run
    provenance : dict

    Raises
    ------
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path, run: Run, provenance: Mapping[str, Any]) -> None:
        self._path = path
        self._stack = ExitStack()
        self._offset_ns = (
            run.start_wall_ns - run.start_mono_ns
            if run.start_wall_ns is not None and run.start_mono_ns is not None
            else None
        )
        self._recording = rr.RecordingStream(run.name or "recd", recording_id=run.session or None)
        self._output = _Output(path)
        try:
            self._recording.save(self._output.name)
            self._output.close_ours()
        except BaseException:
            self._output.close()
            raise
        self._recording.send_recording_name(run.name or path.stem)
        if run.start_wall_ns is not None:
            self._recording.send_recording_start_time_nanos(run.start_wall_ns)
        self._property("recd", provenance)
        about = {"name": run.name, "session": run.session, "state": run.state, "dt": run.dt}
        self._property("recording", {**about, "metadata": run.metadata})

    def __enter__(self) -> File:
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error", RerunWarning)  # it leaves out what it cannot convert, and warns
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._recording.disconnect()
        self._output.close()

    def finish(self) -> None:
        """The file is complete."""
        self._recording.disconnect()
        self._output.close()
        self._output.check()

    def _check(self) -> None:
        """What was sent is in the file."""
        self._recording.flush()
        self._output.check()

    def _property(self, name: str, told: Mapping[str, Any]) -> None:
        values = {key: plain(value) for key, value in told.items() if value is not None}
        self._recording.send_property(name, rr.AnyValues(**values))

    # --- what is sent ----------------------------------------------------------------------------------
    def _static(self, entity: list[str], *what: Any) -> None:
        self._recording.log(entity, *what, static=True, strict=True)

    def _columns(self, entity: list[str], indexes: list[Any], columns: Any) -> None:
        where = rr.new_entity_path(entity)
        rr.send_columns(where, indexes, columns, recording=self._recording, strict=True)

    def _indexes(
        self,
        t: NDArray[np.float64],
        mono_ns: NDArray[np.int64],
        known: frozenset[str] = frozenset(),
        **more: Any,
    ) -> list[Any]:
        """The timelines of some rows."""
        found = [rr.TimeColumn("time", duration=nanoseconds(t).view("m8[ns]"))]
        if "wall" in known and self._offset_ns is not None:
            found.append(rr.TimeColumn("wall", timestamp=(mono_ns + self._offset_ns).view("M8[ns]")))
        return [*found, *(rr.TimeColumn(name, sequence=more[name]) for name in more if name in known)]

    def events(self, streams: Sequence[Samples]) -> None:
        """Marks, resets and losses."""
        every = happenings(streams)
        for has_wall in (True, False):
            found = [e for e in every if (e.mono_ns >= 0) is has_wall]
            if not found:
                continue
            t, mono_ns = np.array([e.t for e in found]), np.array([e.mono_ns for e in found], np.int64)
            levels = ["WARN" if e.is_loss else "INFO" for e in found]
            columns = rr.TextLog.columns(text=[e.text for e in found], level=levels)
            known = frozenset({"wall"}) if has_wall else frozenset()
            self._columns([events_name(streams)], self._indexes(t, mono_ns, known), columns)

    def samples(self, samples: Selected, progress: Progress) -> None:
        """A stream of arrays: an entity for each field."""
        schema, known = samples.schema, samples.stream.known
        fields = [f for f in schema.fields if 0 not in f.shape]
        entities = {f.name: [samples.name] if schema.bare else [samples.name, f.name] for f in fields}
        for f in fields:
            about = {
                "dtype": np.dtype(f.dtype).name if f.kind != STRING else "str",
                "shape": plain(list(f.shape)),
            }
            self._static(entities[f.name], rr.AnyValues(**about, **({"unit": f.unit} if f.unit else {})))
            if is_picture(f):
                self._static(entities[f.name], _image_format(f))
            elif names := labels_of(f, _MOST_NAMES):
                self._static(entities[f.name], rr.SeriesLines(names=names))
        for block in samples.batches(bytes=_BATCH_BYTES):
            indexes = self._indexes(block.t, block.mono_ns, known, seq=block.seq, step=block.step)
            for f in fields:
                self._columns(entities[f.name], indexes, _columns_of(f, block[f.name], block.count))
            self._check()
            progress(block.count)

    def films(self, samples: Selected, progress: Progress) -> None:
        """A stream of a film; of several that show the same samples, an entity for each."""
        assert isinstance(samples.stream, VideoStream)
        videos = samples.stream.videos
        for i, video in enumerate(videos):
            entity = [samples.name, str(i)] if len(videos) > 1 else [samples.name]
            if video.dtype == np.uint16:
                self._deep_film(samples, video, entity)
            else:
                self._film(samples, video, entity)
        progress(len(samples))

    def _timelines(self, video: VideoStream, wanted: NDArray[np.int64]) -> list[Any]:
        seq, step = video.seq[wanted], video.step[wanted]
        return self._indexes(video.t[wanted], video.mono_ns[wanted], video.known, seq=seq, step=step)

    def _film(self, samples: Selected, video: VideoStream, entity: list[str]) -> None:
        for part, (rows, film) in enumerate(rrd_video.films(video, samples.indices, self._path)):
            at = [*entity, f"part_{part}"] if len(video.films) > 1 else entity
            with film as (path, frames):
                asset = rr.AssetVideo(path=path)
                times_ns = np.asarray(asset.read_frame_timestamps_nanos())
                if len(times_ns) <= frames[-1]:
                    raise OutputError(
                        f"{path}: {len(times_ns)} of {int(frames[-1]) + 1} frames are found",
                        "look closer with: recd verify",
                    )
                self._static(at, asset)
            where = [rr.new_entity_path(at)] * len(rows)
            columns = rr.VideoFrameReference.columns(timestamp=times_ns[frames], video_reference=where)
            self._columns(entity, self._timelines(video, rows), columns)
            self._check()

    def _deep_film(self, samples: Selected, video: VideoStream, entity: list[str]) -> None:
        height, width = video.shape
        size = rr.components.ImageFormat(width=width, height=height, channel_datatype="U16", color_model="L")
        self._static(entity, rr.DepthImage.from_fields(format=size))
        several = max(1, _BATCH_BYTES // (2 * height * width))
        for span in samples.spans:
            images = video.frames_between(span.start, span.stop)
            for first in range(span.start, span.stop, several):
                some = [image.view(np.uint8).reshape(-1) for image in islice(images, several)]
                rows = np.arange(first, first + len(some))
                columns = rr.DepthImage.columns(buffer=np.array(some))
                self._columns(entity, self._timelines(video, rows), columns)
                self._check()


class _Output:
    """A pipe to a file: the SDK waits for ever behind a write that fails, and tells nobody but its log.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._read, self._write = os.pipe()
        #: What the SDK is told to write to.
        self.name = f"/proc/self/fd/{self._write}"
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="recd-rrd", daemon=True)
        self._thread.start()

    def close_ours(self) -> None:
        """The SDK has opened it."""
        if self._write >= 0:
            os.close(self._write)
        self._write = -1

    def _run(self) -> None:
        while data := os.read(self._read, _PIPE_BYTES):
            if self._error is None:
                try:
                    while data:
                        data = data[self._file.write(data) :]
                except OSError as e:
                    self._error = e

    def check(self) -> None:
        """Raise what a write met."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing comes any more; whatever came is in the file."""
        if self._file.closed:
            return
        self.close_ours()
        self._thread.join()
        os.close(self._read)
        self._file.close()


def _image_format(field: Field) -> Any:
    height, width, *channels = field.shape
    size = {"width": width, "height": height, "channel_datatype": _TYPES[field.dtype]}
    kind = rr.Image if field.dtype == "|u1" else rr.DepthImage
    colour = _COLOURS[channels[0] if channels else 1]
    return kind.from_fields(format=rr.components.ImageFormat(**size, color_model=colour))


def _columns_of(field: Field, values: Any, count: int) -> Any:
    """The components of a field's samples."""
    if field.kind == STRING:
        return rr.TextLog.columns(text=list(values))
    if is_picture(field):
        pixels = np.ascontiguousarray(values).reshape(count, -1).view(np.uint8)
        return (rr.Image if field.dtype == "|u1" else rr.DepthImage).columns(buffer=pixels)
    lengths = np.full(count, int(np.prod(field.shape, dtype=int)))
    if isinstance(values, Lists):
        lengths = np.diff(values.offsets) * lengths
    flat = np.ascontiguousarray(values if field.kind == FIXED else values.values).reshape(-1)
    found = [*rr.Scalars.columns(scalars=flat.astype(np.float64)).partition(lengths)]
    if flat.dtype.kind in "iu" and flat.dtype.itemsize == 8:
        found += rr.AnyValues.columns(exact=pyarrow.array(flat)).partition(lengths)
    return found
