"""CSV, NPZ and HDF5, as recd records them: the recorder's own sinks, fed from what was recorded.

Which columns a table has: :mod:`recd.converter.targets.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from recd_client.errors import OptionError, SchemaError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions

from ...sinks import make_sink
from ...sinks.base import AppendSink
from ..selection import Samples
from .base import Progress, StreamTarget
from .tables import SampleSource, table_schema


class RecordedTarget(StreamTarget):
    """A format that recd records into."""

    tables = True

    def options_of(self, path: Path) -> SinkOptions:
        """The sink's options."""
        raise NotImplementedError

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        for samples in streams:
            try:
                make_sink(self.options_of(Path(f"{samples.name}{self.suffix}")), table_schema(samples), {})
            except SchemaError as e:
                raise OptionError(f"stream {samples.name!r} as {self.name}: {e.what}", e.do) from None

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        (samples,) = streams
        metadata = {**samples.run.metadata, "recd_provenance": dict(self.info.provenance)}
        schema = table_schema(samples)
        sink = make_sink(self.options_of(path), schema, {"name": samples.name, "metadata": metadata})
        source = SampleSource(samples)
        if isinstance(sink, AppendSink):
            sink.open(path, None)
            try:
                for batch in source.batches():
                    sink.write(batch)
                    progress(len(batch))
                sink.finish()
            finally:
                sink.abandon()
            return
        told = 0

        def advance(done: int) -> None:
            nonlocal told
            told, before = done, told
            progress(done - before)

        sink.build(source, path, advance)


class CSVTarget(RecordedTarget):
    """A CSV file for each stream."""

    name = "csv"
    suffix = ".csv"

    def options_of(self, path: Path) -> SinkOptions:
        """See :class:`RecordedTarget`."""
        return CSVFile(path)


class NPZTarget(RecordedTarget):
    """A numpy archive for each stream; not compressed, so that it can be mapped into memory."""

    name = "npz"
    suffix = ".npz"
    options: ClassVar = {"compression": ("none", "deflate")}

    def options_of(self, path: Path) -> SinkOptions:
        """See :class:`RecordedTarget`."""
        return NPZFile(path, compressed=self.option("compression") == "deflate")


class HDF5Target(RecordedTarget):
    """An HDF5 file for each stream."""

    name = "hdf5"
    suffix = ".h5"
    suffixes = (".hdf5",)
    options: ClassVar = {"compression": ("none", "gzip", "lzf")}
    holds_provenance = True

    def options_of(self, path: Path) -> SinkOptions:
        """See :class:`RecordedTarget`."""
        chosen = self.option("compression")
        return HDF5File(path, compression=None if chosen == "none" else chosen)
