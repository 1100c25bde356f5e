"""An MCAP file that is being written by foxglove-sdk, and what its messages are."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import foxglove
import numpy as np
from foxglove import Channel, Context, Schema
from foxglove.channels import CompressedImageChannel, CompressedVideoChannel, LogChannel, RawImageChannel
from foxglove.mcap import MCAPCompression, MCAPWriteOptions
from foxglove.messages import CompressedImage, CompressedVideo, Log, LogLevel, Timestamp
from PIL import Image

from recd_client.errors import OutputError
from recd_client.schema import Field

from ...batch import Batch
from ...foxglove import images
from ...foxglove.as_json import Json
from ...foxglove.as_ros2 import Ros2
from ...foxglove.channels import Topics
from ...foxglove.columns import Encoding
from ...reader import Block, VideoStream
from ...ui.pictures import to_jpeg
from ..selection import Samples, Selected
from . import mcap_video
from .base import Progress
from .mcap_clock import Clock
from .tables import column_of
from .viewing import events_name, happenings, is_picture, plain

if TYPE_CHECKING:
    from ...reader import Run

_COMPRESSIONS: Final = {"lz4": MCAPCompression.Lz4, "zstd": MCAPCompression.Zstd, "none": None}
_ENCODINGS: Final[dict[str, Any]] = {"ros2": Ros2, "json": Json}
#: So that a sample of many fields does not grow to a batch that is too large.
_BATCH_BYTES: Final = 4 << 20


class File:
    """One file; a context that leaves what is unfinished as it is.

    Parameters
    ----------
    path : Path
    compression : {"lz4", "zstd", "none"}
        Of its chunks.

    Raises
    ------
    OSError
        It cannot be written; told by the next call behind it.
    """

    def __init__(self, path: Path, compression: str) -> None:
        self._path = path
        self._raw = _Output(path.open("wb"))
        self._context = Context()
        self._topics = Topics()
        self._channels: list[Any] = []
        options = MCAPWriteOptions(compression=_COMPRESSIONS[compression])
        self._writer = foxglove.open_mcap(self._raw, context=self._context, writer_options=options)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        self._raw.give_up()
        with suppress(Exception):  # it was closed, or what it says is what was told already
            self._writer.close()
        for channel in self._channels:
            channel.close()

    def finish(self) -> None:
        """The file is complete."""
        try:
            self._writer.close()
        except RuntimeError as e:
            self._raw.check()
            raise OutputError(f"{self._path} cannot be written: {e}", "see: recd doctor") from None
        self._raw.close()

    # --- about the recording ---------------------------------------------------------------------------
    def tell_of(self, run: Run, provenance: Mapping[str, Any], clock: Clock) -> None:
        """Metadata, and the manifest as an attachment."""
        self._writer.write_metadata("recd", _texts(provenance))
        about = {"name": run.name, "session": run.session, "state": run.state, "dt": run.dt}
        self._writer.write_metadata(
            "recording", _texts({**about, "clock": clock.told, "metadata": run.metadata})
        )
        if run.manifest:
            file = run.path / "manifest.json"
            data = file.read_bytes() if file.is_file() else json.dumps(run.manifest).encode()
            at = run.start_wall_ns or 0
            self._writer.attach(
                log_time=at, create_time=at, name="manifest.json", media_type="application/json", data=data
            )

    def events(self, streams: Sequence[Samples], clock: Clock) -> None:
        """Marks, resets and losses."""
        told = [(clock.time_ns(event), event) for event in happenings(streams)]
        if not told:
            return
        channel = self._opened(
            LogChannel(self._topics.take(f"/{events_name(streams)}"), context=self._context)
        )
        for time_ns, event in sorted(told, key=lambda each: each[0]):
            level = LogLevel.Warning if event.is_loss else LogLevel.Info
            entry = Log(timestamp=_stamp(time_ns), level=level, message=event.text, name=event.stream)
            channel.log(entry, log_time=time_ns)
        self._raw.check()

    # --- streams ---------------------------------------------------------------------------------------
    def samples(
        self, samples: Selected, clock: Clock, progress: Progress, encoding: str, compress: str
    ) -> None:
        """A stream of arrays."""
        schema = samples.schema
        pictures = [f for f in schema.fields if is_picture(f)]
        numbers = [f for f in schema.fields if f not in pictures and 0 not in f.shape]
        about = {"seq": "as recorded" if samples.has_seq else "counted: the recording does not tell it"}
        empty = [f"{f.name} {f}" for f in schema.fields if 0 in f.shape]
        about |= {"left_out": "; ".join(empty)} if empty else {}
        messages: Encoding | None = None
        channel: Any = None
        if numbers:
            messages = _ENCODINGS[encoding](numbers, samples.name, limit=None)
            channel = self._numbers(self._topics.take(f"/{samples.name}"), messages, about | _units(numbers))
        shown = []
        for field in pictures:
            topic = self._topics.take(f"/{samples.name}" + ("" if schema.bare else f"/{field.name}"))
            kind = CompressedImageChannel if _is_compressed(field, compress) else RawImageChannel
            shown.append((field, self._opened(kind(topic, context=self._context, metadata=_units([field])))))
        for block in samples.batches(bytes=_BATCH_BYTES):
            index = block.start + np.arange(block.count)
            times = clock.times_ns(samples.name, index, block.t, block.mono_ns)
            if messages is not None:
                batch = _batch(samples, numbers, block)
                log = channel.base.log  # half of the time is spent in what is around it
                for message, time_ns in zip(
                    messages.encode(batch, np.arange(block.count)), times, strict=True
                ):
                    log(message, time_ns)
            for field, to in shown:
                for frame, time_ns in zip(np.asarray(block[field.name]), times, strict=True):
                    to.log(_image(frame, field, time_ns, compress), log_time=time_ns)
            self._raw.check()
            progress(block.count)

    def _numbers(self, topic: str, messages: Encoding, about: dict[str, str]) -> Any:
        schema = Schema(
            name=messages.schema_name, encoding=messages.schema_encoding, data=messages.definition
        )
        made = Channel(
            topic, schema=schema, message_encoding=messages.message, context=self._context, metadata=about
        )
        return self._opened(made)

    def films(self, samples: Selected, clock: Clock, progress: Progress) -> None:
        """A stream of a film; of several that show the same samples, a channel for each."""
        assert isinstance(samples.stream, VideoStream)
        videos = samples.stream.videos
        for i, video in enumerate(videos):
            topic = self._topics.take(f"/{samples.name}" + (f"/{i}" if len(videos) > 1 else ""))
            counted = progress if i == 0 else (lambda samples: None)
            if video.dtype == np.uint16:
                self._deep_film(samples, video, topic, clock, counted)
            else:
                self._film(samples, video, topic, clock, counted)

    def _film(
        self, samples: Selected, video: VideoStream, topic: str, clock: Clock, progress: Progress
    ) -> None:
        pieces = mcap_video.plan(video, samples.indices)
        about = {**_about_film(video), "h264": mcap_video.told(pieces)}
        channel = self._opened(CompressedVideoChannel(topic, context=self._context, metadata=about))
        units = mcap_video.access_units(pieces, self._path)
        for time_ns, data in zip(_times_of_film(samples, video, clock), units, strict=True):
            message = CompressedVideo(timestamp=_stamp(time_ns), frame_id=topic, data=data, format="h264")
            channel.log(message, log_time=time_ns)
            self._raw.check()
            progress(1)

    def _deep_film(
        self, samples: Selected, video: VideoStream, topic: str, clock: Clock, progress: Progress
    ) -> None:
        channel = self._opened(RawImageChannel(topic, context=self._context, metadata=_about_film(video)))
        times = iter(_times_of_film(samples, video, clock))
        for span in samples.spans:
            for frame in video.frames_between(span.start, span.stop):
                time_ns = next(times)
                channel.log(images.message(frame, time_ns, topic, jpeg=False, raw=True), log_time=time_ns)
                self._raw.check()
                progress(1)

    def _opened(self, channel: Any) -> Any:
        self._channels.append(channel)
        return channel


class _Output(io.RawIOBase):
    """A file whose errors wait: the SDK goes on logging, and complaining, behind one that it met."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: IO[bytes] = file
        self._error: OSError | None = None
        self._at = 0

    def write(self, data: Any) -> int:
        """Write, or pretend to."""
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as e:
                self._error = e
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Where it is then."""
        if whence == io.SEEK_CUR and offset == 0:
            return self._at
        self._at = self._file.seek(offset, whence) if self._error is None else offset
        return self._at

    def flush(self) -> None:
        """Nothing is on the disk before the converter sees to it."""

    def check(self) -> None:
        """Raise what a write met."""
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Nothing is written any more."""
        self._error = self._error or OSError("given up")
        with suppress(OSError):
            self._file.close()

    def close(self) -> None:
        """All of it is handed over."""
        self.check()
        self._file.close()


def _batch(samples: Selected, fields: list[Field], block: Block) -> Batch:
    """The samples as the encoders take them; where nobody knows their numbers, they are counted."""
    seq = block.seq if samples.has_seq else block.start + np.arange(block.count)
    columns: dict[str, Any] = {f.name: column_of(f, block) for f in fields}
    return Batch(
        samples.schema, seq.view(np.uint64), block.t, block.step, block.mono_ns.view(np.uint64), columns
    )


def _is_compressed(field: Field, compress: str) -> bool:
    return field.dtype == "|u1" and compress != "raw"


def _image(frame: Any, field: Field, time_ns: int, compress: str) -> Any:
    if not _is_compressed(field, compress):
        return images.message(frame, time_ns, field.name, jpeg=False, raw=True)
    if compress == "jpeg":
        data, _ = to_jpeg(frame, frame.shape[1], "gray", None)
    else:
        packed = io.BytesIO()
        pixels = frame[..., 0] if frame.ndim == 3 and frame.shape[2] == 1 else frame
        Image.fromarray(np.ascontiguousarray(pixels)).save(packed, "png", compress_level=1)
        data = packed.getvalue()
    return CompressedImage(timestamp=_stamp(time_ns), frame_id=field.name, data=data, format=compress)


def _times_of_film(samples: Selected, video: VideoStream, clock: Clock) -> list[int]:
    t, mono_ns = samples.column(video.t), samples.column(video.mono_ns)
    return clock.times_ns(samples.name, samples.indices, t, mono_ns)


def _about_film(video: VideoStream) -> dict[str, str]:
    film = video.films[0]
    told = {"fps": str(film.fps), "width": str(video.width), "height": str(video.height)}
    if film.right or film.bottom:
        told["padding"] = f"{film.right} pixels right, {film.bottom} at the bottom"
    return told | ({"scale": json.dumps(dict(video.scale))} if video.scale else {})


def _units(fields: list[Field]) -> dict[str, str]:
    return {f"unit of {f.name}": f.unit for f in fields if f.unit}


def _texts(told: Mapping[str, Any]) -> dict[str, str]:
    return {key: plain(value) for key, value in told.items()}


def _stamp(time_ns: int) -> Timestamp:
    return Timestamp(time_ns // 1_000_000_000, time_ns % 1_000_000_000)
