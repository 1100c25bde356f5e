"""CSV, NPZ and HDF5, as recd records them: the recorder's own sinks, fed from what was recorded.

Two columns are put in front: ``seq``, the numbers of the samples, whose jumps are losses; and, where there are
several, ``episode``. A stream that has a field of that name keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recd_client.errors import OptionError, SchemaError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from recd_client.schema import STRING, Field, Schema

from ...batch import Batch, Varying
from ...reader import Block, Lists
from ...sinks import make_sink
from ...sinks.base import AppendSink
from ..selection import Samples, Span
from .base import Progress, StreamTarget

SEQ = Field("seq", "<i8")
EPISODE = Field("episode", "<i8")


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
        source = SampleSource(samples, schema)
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


def extra_fields(samples: Samples) -> list[Field]:
    """The columns that are put in front."""
    names = {f.name for f in samples.schema.fields}
    found = [SEQ] if samples.has_seq else []
    found += [EPISODE] if samples.has_episodes else []
    return [f for f in found if f.name not in names]


def table_schema(samples: Samples) -> Schema:
    """The columns behind ``timestamp``."""
    return Schema((*extra_fields(samples), *samples.schema.fields), bare=False)


class SampleSource:
    """Samples as a sink reads them."""

    def __init__(self, samples: Samples, schema: Schema) -> None:
        self.schema = schema
        self.count = len(samples)
        self._samples = samples
        self._extra = extra_fields(samples)

    def batches(self) -> Iterator[Batch]:
        """See :class:`recd.batch.Source`."""
        for span, block in self._samples.batches_by_span():
            yield self._batch(span, block)

    def _batch(self, span: Span, block: Block) -> Batch:
        columns: dict[str, Any] = {}
        if SEQ in self._extra:
            columns["seq"] = block.seq
        if EPISODE in self._extra:
            columns["episode"] = np.full(block.count, span.episode, np.int64)
        for f in self._samples.schema.fields:
            values = block[f.name]
            if isinstance(values, Lists):
                columns[f.name] = Varying(values.values, np.diff(values.offsets))
            elif f.kind == STRING:
                columns[f.name] = _texts(values)
            else:
                columns[f.name] = values
        seq, mono_ns = block.seq.view(np.uint64), block.mono_ns.view(np.uint64)
        return Batch(self.schema, seq, block.t, block.step, mono_ns, columns)


def _texts(values: Any) -> Varying:
    raw = [text.encode("utf-8", "replace") for text in values]
    return Varying(np.frombuffer(b"".join(raw), np.uint8), np.fromiter(map(len, raw), np.int64, len(raw)))
