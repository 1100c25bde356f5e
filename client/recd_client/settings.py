"""What was asked of a stream, checked as far as that goes before its first sample, and the defaults."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import checks, layout
from .errors import CodeNotAllowedError, OptionError, SchemaError
from .options import DEFAULT_WAIT_S, CustomSink, NPZFile, Plot, SinkOptions, VideoFile
from .schema import Schema

DEFAULT_FPS: Final = 30
#: The policies that a producer knows; that of giving up the oldest samples would be the worker's.
OVERFLOW: Final = ("drop_newest", "block", "drop_oldest")
#: A 2-D array below this size is data, not a picture that happens to be uint8.
_LEAST_IMAGE_SIDE: Final = 16


@dataclass(frozen=True)
class StreamSettings:
    """The checked arguments of a stream.

    Parameters
    ----------
    sinks : tuple of SinkOptions
        Empty: chosen by the first sample.
    hz : float or None
        Samples kept per second of stream time.
    overflow : {"drop_newest", "block", "drop_oldest"}
    timeout_s : float or None
        For ``block`` and for sinks with ``async_mode=False``.
    buffer_bytes : int or None
        Size of the ring; None: chosen by the daemon, unless ``buffer_samples`` says it.
    buffer_samples : int
    units : dict, str or None
    gated : bool
        Whether the stream itself thins out to ``hz``; in pull form the schedule does.
    """

    sinks: tuple[SinkOptions, ...] = ()
    hz: float | None = None
    overflow: str = "drop_newest"
    timeout_s: float | None = None
    buffer_bytes: int | None = None
    buffer_samples: int = 0
    units: Mapping[str, str] | str | None = None
    gated: bool = True

    def with_sinks(self, sinks: tuple[SinkOptions, ...]) -> StreamSettings:
        """The same settings with the sinks that the first sample decided on."""
        return dataclasses.replace(self, sinks=sinks)

    def at_rate(self, hz: float) -> StreamSettings:
        """The same settings with the rate that whole steps make."""
        return dataclasses.replace(self, hz=hz)

    def ring_bytes(self, schema: Schema) -> int | None:
        """The size to ask for, for samples of this schema."""
        if self.buffer_bytes is not None or not self.buffer_samples:
            return self.buffer_bytes
        # no record may take more than a quarter of the ring
        return max(self.buffer_samples, 4) * layout.record_bytes(schema.payload_bytes)


def stream_settings(
    sinks: Sequence[Any], *, hz: Any, overflow: Any, timeout: Any, buffer_bytes: Any, units: Any
) -> StreamSettings:
    """The arguments of ``Recorder.stream``, checked; the sinks' own values must not contradict them.

    Raises
    ------
    OptionError
        Names the argument, what is allowed, and what came.
    """
    settings = StreamSettings(
        checked_sinks(sinks),
        None if hz is None else checks.positive("hz", hz, unit="samples per second"),
        checks.one_of("overflow", overflow, OVERFLOW),
        None if timeout is None else checks.positive("timeout", timeout, unit="seconds", zero=True),
        None if buffer_bytes is None else checks.size_bytes("buffer_bytes", buffer_bytes),
        units=checked_units(units),
    )
    wait_s = (settings.timeout_s if overflow == "block" else 0.0, DEFAULT_WAIT_S)
    for sink in settings.sinks:
        for name, value, allowed, instead in (
            ("hz", sink.hz, (None, settings.hz), f"hz={sink.hz}"),
            ("buffer_size", sink.buffer_size, (0,), "buffer_bytes=..."),
            ("buffer_full_wait_time", sink.buffer_full_wait_time, wait_s, "overflow='block', timeout=..."),
        ):
            if value not in allowed:
                raise OptionError(
                    f"{type(sink).__name__}({name}={value!r}) contradicts its stream, whose arguments rule",
                    f"pass {instead} to stream(), and leave {name} out of the sink",
                )
    return settings


def pull_settings(sink: Any) -> StreamSettings:
    """The settings of a stream of ``start_recording``: the option's values are the stream's."""
    (sink,) = checked_sinks([sink])
    wait_s = sink.buffer_full_wait_time
    return StreamSettings(
        (sink,),
        sink.hz,
        "block" if wait_s > 0 else "drop_newest",
        wait_s if wait_s > 0 else None,
        buffer_samples=sink.buffer_size,
        gated=False,
    )


def checked_sinks(sinks: Sequence[Any]) -> tuple[SinkOptions, ...]:
    """The sinks, all of them descriptions of files."""
    for sink in sinks:
        if not isinstance(sink, SinkOptions):
            raise OptionError(
                f"sink {sink!r:.60}: expected CSVFile, NPZFile, HDF5File, VideoFile, a plot, CustomSink or NullSink",
                'write for example NPZFile("state.npz")',
            )
        if isinstance(sink, Plot) and not sink.show_window and sink.filename is None:
            warnings.warn(
                f"{type(sink).__name__} shows nothing: there is no display here, or show_window=False, and "
                "it is not saved -> pass save_to_filename",
                UserWarning,
                stacklevel=4,
            )
    return tuple(sinks)


def check_code(name: str, sinks: Sequence[SinkOptions], recorder_allows: bool, daemon_allows: bool) -> None:
    """Raise if a sink's code would have to travel and may not; the daemon sees to that as well."""
    for sink in sinks:
        if not isinstance(sink, CustomSink) or not sink.code:
            continue
        where = f"stream {name!r}: the code of {sink.name} stands in no module"
        if not recorder_allows:
            raise CodeNotAllowedError(
                f"{where}, and this recorder does not let code travel",
                "put it into a module, or pass allow_code=True to Recorder (and: recd restart --allow-code)",
            )
        if not daemon_allows:
            raise CodeNotAllowedError(
                f"{where}, and the daemon does not run code that travels",
                "put it into a module, or: recd restart --allow-code",
            )


def renamed(name: str, sinks: Sequence[SinkOptions], filename: Any) -> SinkOptions:
    """The one sink that can bear this filename, with it.

    Raises
    ------
    OptionError
        None can, or more than one.
    """
    suffix = os.path.splitext(str(filename))[1].lower()
    bearers = [s for s in sinks if suffix in s.suffixes]
    if len(bearers) != 1:
        kinds = sorted({x for s in sinks for x in s.suffixes})
        raise OptionError(
            f"stream {name!r}: filename={filename!r} fits {len(bearers)} of its files, expected one of "
            f"the suffixes {', '.join(kinds) or '(it has no files)'}",
            "give the file its name in stream()",
        )
    return bearers[0].named(filename)


def checked_units(units: Any) -> Mapping[str, str] | str | None:
    """Units as one string, or as a dict from field to string."""
    if units is None or isinstance(units, str):
        return units
    if isinstance(units, Mapping) and all(isinstance(x, str) for pair in units.items() for x in pair):
        return dict(units)
    raise checks.refuse("units", units, "a string, or a dict such as {'qvel': 'rad/s'}")


# --- what the first sample decides -----------------------------------------------------------------
def is_picture(schema: Schema) -> bool:
    """Whether such samples are meant to be seen: uint8 images, 2-D ones only if they are large enough."""
    if not schema.is_image() or schema.fields[0].dtype != "|u1":
        return False
    shape = schema.fields[0].shape
    return len(shape) == 3 or min(shape) >= _LEAST_IMAGE_SIDE


def default_sinks(name: str, schema: Schema) -> tuple[SinkOptions, ...]:
    """Where samples go if nobody said: a video of pictures, an NPZ of anything else."""
    return (VideoFile(f"{name}.mp4") if is_picture(schema) else NPZFile(f"{name}.npz"),)


def with_frame_rate(
    sinks: Sequence[SinkOptions], rate_hz: float | None, dt: float | None
) -> tuple[SinkOptions, ...]:
    """The sinks, with the frame rate of videos filled in: the stream's, else a frame per step, else 30."""
    fps = rate_hz or (1.0 / dt if dt else DEFAULT_FPS)
    return tuple(
        dataclasses.replace(s, fps=fps) if isinstance(s, (VideoFile, Plot)) and s.fps is None else s
        for s in sinks
    )


def check_images(name: str, sinks: Sequence[SinkOptions], schema: Schema) -> None:
    """Raise if a video was asked for of samples that are no images."""
    for sink in sinks:
        if not isinstance(sink, VideoFile):
            continue
        field = schema.fields[0]
        if not schema.is_image():
            got = str(field) if schema.bare else "a dict"
            raise SchemaError(
                f"stream {name!r}: a video needs images (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {got}",
                "write single images, or record to NPZFile or HDF5File",
            )
        if field.dtype != "|u1" and sink.scale is None:
            raise SchemaError(
                f"stream {name!r}: a video needs uint8 images, got {field}",
                "convert them, or pass VideoFile(scale=(low, high)): the values that become black and white",
            )
