"""What to do with a stream's samples: one frozen dataclass per kind of file, checked on construction.

They are plain values: comparable, picklable, and carried to the daemon as JSON. What only the daemon
can know (whether a file exists, whether an encoder works here) is checked there, when the stream begins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from . import checks
from .custom_sink import CustomSink
from .plot_options import LinePlot, MPLImagePlot, MPLLinePlot, MPLVectorFieldPlot, Plot, PyQtLinePlot
from .schema import Ragged
from .sink_options import DEFAULT_WAIT_S, SinkOptions, Split, require_filename
from .video_options import (
    CATEGORIES,
    CODECS,
    COLORMAPS,
    PIXEL_FORMATS,
    SEPARATE,
    TILE,
    VideoFile,
    as_frame_rate,
    checked_fps,
)

__all__ = [
    "CATEGORIES", "CODECS", "COLORMAPS", "DEFAULT_WAIT_S", "PIXEL_FORMATS", "SEPARATE", "TILE",
    "CSVFile", "CustomSink", "HDF5File", "LinePlot", "MPLImagePlot", "MPLLinePlot", "MPLVectorFieldPlot", "NPZFile",
    "NullSink", "Plot", "PyQtLinePlot", "Ragged", "SinkOptions", "Split", "VideoFile", "as_frame_rate", "checked_fps",
]  # fmt: skip


@dataclass(frozen=True)
class CSVFile(SinkOptions):
    """A CSV file: first column ``timestamp``, then every value of the sample; numbers read back exactly.

    Parameters
    ----------
    filename : str or path-like
        Ends with ``.csv``.
    header : sequence of str, optional
        Names of the columns behind ``timestamp``; default ``key_0, key_1, ...``.
    save_every_write : bool
        Hand every sample to the file at once instead of in batches.
    save_on_reset : bool
        Begin a new numbered part at each whole reset.
    dialect : {"recd", "python"}
        How values look: the shortest decimals, or just as ``csv.writer`` of Python writes them (rows end
        with CR LF, bools are True and False, float32 as float64).
    """

    kind: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    filename: str | os.PathLike[str]
    header: Sequence[str] | None = None
    save_every_write: bool = False
    save_on_reset: bool = False
    dialect: str = "recd"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_filename(self)
        checks.flag("save_every_write", self.save_every_write)
        checks.one_of("dialect", self.dialect, ("recd", "python"))
        if self.header is None:
            return
        if isinstance(self.header, str) or not isinstance(self.header, Sequence) or not self.header:
            raise checks.refuse("header", self.header, "a list of column names")
        self._set("header", tuple(checks.text("header name", name) for name in self.header))
        if len(set(self.header)) < len(self.header):
            raise checks.refuse("header", self.header, "column names that do not repeat")


@dataclass(frozen=True)
class NPZFile(SinkOptions):
    """A numpy archive: ``timestamp`` plus one array per field, first axis = sample.

    Parameters
    ----------
    filename : str or path-like
        Ends with ``.npz``.
    save_on_reset : bool
        Begin a new numbered part at each whole reset.
    compressed : bool
    """

    kind: ClassVar[str] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    filename: str | os.PathLike[str]
    save_on_reset: bool = False
    compressed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_filename(self)
        checks.flag("compressed", self.compressed)


@dataclass(frozen=True)
class HDF5File(SinkOptions):
    """An HDF5 file: one dataset per field and ``timestamp``; units and metadata as attributes.

    Parameters
    ----------
    filename : str or path-like
        Ends with ``.h5`` or ``.hdf5``.
    save_on_reset : bool
        Begin a new numbered part at each whole reset.
    compression : {None, "gzip", "lzf"}
    chunk_bytes : int
        Size of a dataset's chunk, about.
    """

    kind: ClassVar[str] = "hdf5"
    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")

    filename: str | os.PathLike[str]
    save_on_reset: bool = False
    compression: str | None = None
    chunk_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require_filename(self)
        if self.compression is not None:
            checks.one_of("compression", self.compression, ("gzip", "lzf"))
        self._set("chunk_bytes", checks.whole("chunk_bytes", self.chunk_bytes, 4096, 1 << 30, unit="bytes"))


@dataclass(frozen=True)
class NullSink(SinkOptions):
    """Takes samples and writes no file: to measure against, and for streams that are only looked at."""

    kind: ClassVar[str] = "null"

    filename: None = field(default=None, init=False)
