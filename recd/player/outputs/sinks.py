"""Into which files, or windows, a replay is recorded again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OptionError
from recd_client.options import (
    CSVFile,
    HDF5File,
    MPLImagePlot,
    MPLLinePlot,
    NPZFile,
    NullSink,
    PyQtLinePlot,
    SinkOptions,
    VideoFile,
)
from recd_client.plot_options import DISPLAYS
from recd_client.schema import FIXED

from ...reader import ArrayStream, VideoStream

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMATS: Final = ("csv", "npz", "hdf5", "mp4")
TOOLKITS: Final = ("mpl", "qt")
_FILES: Final[dict[str, Callable[[str], SinkOptions]]] = {
    "csv": lambda name: CSVFile(f"{name}.csv"),
    "npz": lambda name: NPZFile(f"{name}.npz"),
    "hdf5": lambda name: HDF5File(f"{name}.h5"),
}
#: Samples that a window shows.
_HISTORY: Final = 300
#: What line plots can show at most.
_MOST_SUBPLOTS, _MOST_LINES = 24, 128

AnyStream = ArrayStream | VideoStream
#: Stream to its sinks.
Sinks = dict[str, tuple[SinkOptions, ...]]


def checked_formats(formats: Sequence[str]) -> list[str]:
    """Names of formats.

    Raises
    ------
    OptionError
        One is none.
    """
    for name in formats:
        if name not in FORMATS:
            raise OptionError(f"record: {name!r} is no format", f"choose of {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def files_of(streams: Mapping[str, AnyStream], names: Mapping[str, str], formats: Sequence[str]) -> Sinks:
    """Each stream's files: pictures in a video if there is to be one, else as arrays; all others as arrays.

    Parameters
    ----------
    names : dict
        Stream to what it is called in the replay, after which its files are named.

    Raises
    ------
    OptionError
        Nothing would be recorded.
    """
    sinks: Sinks = {}
    for name, stream in streams.items():
        picture = is_picture(stream)
        if picture and "mp4" in formats:
            sinks[name] = (video_file(f"{names[name]}.mp4", stream),)
        else:
            kinds = [k for k in formats if k != "mp4" and not (picture and k == "csv")]
            sinks[name] = tuple(_FILES[kind](names[name]) for kind in kinds)
    if not any(sinks.values()):
        raise OptionError(
            f"record={','.join(formats)}: none of {', '.join(streams)} can be recorded so",
            "pictures go into mp4, npz and hdf5; numbers into csv, npz and hdf5",
        )
    return {name: found or (NullSink(),) for name, found in sinks.items()}


def windows_of(streams: Mapping[str, AnyStream], toolkit: str) -> tuple[Sinks, list[str]]:
    """A window for each stream that one can show, and the names of the others.

    Raises
    ------
    OptionError
        There is no display.
    """
    if not any(map(os.environ.get, DISPLAYS)):
        raise OptionError(
            f"--to window: there is no display here, {' and '.join(DISPLAYS)} are not set",
            "look at it with --to terminal, or in a browser: --to live, and recd ui",
        )
    sinks, without = Sinks(), []
    for name, stream in streams.items():
        if is_picture(stream):
            sinks[name] = (MPLImagePlot(title=name, show_window=True),)
        elif _has_lines(stream):
            lines = PyQtLinePlot if toolkit == "qt" else MPLLinePlot
            sinks[name] = (lines(title=name, show_window=True, history_length=_HISTORY),)
        else:
            without.append(name)
            sinks[name] = (NullSink(),)
    return sinks, without


def read_sinks(path: str | os.PathLike[str], streams: Mapping[str, AnyStream]) -> Sinks:
    """What a TOML file says of each stream: a table per stream, in it a kind of sink with its file or its options.

    Raises
    ------
    OptionError
        The file cannot be read, names a stream that is not played, or a sink's options are not allowed.
    """
    where = Path(path)
    try:
        tables = tomllib.loads(where.read_text())
    except OSError as e:
        raise OptionError(f"sinks: {where} cannot be read: {e.strerror}", "check the path") from e
    except ValueError as e:  # no TOML, or no text
        raise OptionError(
            f"sinks: {where} is no TOML: {e}", 'write for example:\n[state]\nnpz = "state.npz"'
        ) from e
    sinks: Sinks = {name: (NullSink(),) for name in streams}
    for name, kinds in tables.items():
        if name not in streams:
            raise OptionError(
                f"sinks: {where} names stream {name!r}; played are {', '.join(streams)}", "use these names"
            )
        if not isinstance(kinds, dict) or not kinds:
            raise OptionError(
                f"sinks: [{name}] in {where}: expected kinds of sinks, got {kinds!r}",
                'as in: npz = "state.npz"',
            )
        sinks[name] = tuple(_sink(name, kind, told, streams[name]) for kind, told in kinds.items())
    return sinks


def _sink(name: str, kind: str, told: Any, stream: AnyStream) -> SinkOptions:
    options = dict(told) if isinstance(told, dict) else {"filename": told}
    kind = "video" if kind == "mp4" else kind
    if kind == "video" and isinstance(stream, VideoStream):
        options = {**video_file("x.mp4", stream).to_json(), **options}
    options.pop("kind", None)
    try:
        return SinkOptions.from_json({"kind": kind, **options})
    except OptionError as e:
        raise OptionError(f"sinks: [{name}] {kind}: {e.what}", e.do) from None


def video_file(filename: str, stream: AnyStream) -> VideoFile:
    """A video that shows what the stream does: of its rate, and of gray pictures gray."""
    if not isinstance(stream, VideoStream):
        return VideoFile(filename)
    film = stream.films[0]
    if film.is_gray:
        return VideoFile(
            filename, fps=film.fps, pixel_format="gray16le" if film.dtype.itemsize == 2 else "gray"
        )
    return VideoFile(filename, fps=film.fps)


def is_picture(stream: AnyStream) -> bool:
    """Whether its samples are meant to be seen."""
    from recd_client.settings import is_picture

    return isinstance(stream, VideoStream) or is_picture(stream.schema)


def _has_lines(stream: AnyStream) -> bool:
    fields = stream.schema.fields
    sizes = [0 if f.kind != FIXED else f.element_bytes for f in fields]
    widths = [n // max(_item(f.dtype), 1) for n, f in zip(sizes, fields, strict=True)]
    return len(fields) <= _MOST_SUBPLOTS and all(0 < n <= _MOST_LINES for n in widths)


def _item(dtype: str) -> int:
    return int(dtype[2:])
