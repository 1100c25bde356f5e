"""What all tables have: which columns, and the samples as batches of them.

Behind ``timestamp`` two columns are put in front: ``seq``, the numbers of the samples, whose jumps are losses; and,
where there are several, ``episode``. A stream that has a field of that name keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from recd_client.schema import STRING, Field, Schema

from ...batch import Batch, Varying
from ...reader import Block, Lists
from ..selection import Samples

_SEQ: Final = Field("seq", "<i8")
_EPISODE: Final = Field("episode", "<i8")


def _extra_fields(samples: Samples) -> list[Field]:
    """The columns that are put in front."""
    names = {f.name for f in samples.schema.fields}
    found = [_SEQ] if samples.has_seq else []
    found += [_EPISODE] if samples.has_episodes else []
    return [f for f in found if f.name not in names]


def table_schema(samples: Samples) -> Schema:
    """The columns behind ``timestamp``."""
    return Schema((*_extra_fields(samples), *samples.schema.fields), bare=False)


def table_batches(samples: Samples) -> Iterator[Batch]:
    """The samples as batches of :func:`table_schema`, in constant memory."""
    schema, extra = table_schema(samples), _extra_fields(samples)
    for block in samples.batches():
        columns: dict[str, Any] = {}
        if _SEQ in extra:
            columns["seq"] = block.seq
        if _EPISODE in extra:
            columns["episode"] = samples.episodes_of(block)
        columns |= {f.name: column_of(f, block) for f in samples.schema.fields}
        seq, mono_ns = block.seq.view(np.uint64), block.mono_ns.view(np.uint64)
        yield Batch(schema, seq, block.t, block.step, mono_ns, columns)


class SampleSource:
    """Samples as the recorder's sinks read them: see :class:`recd.batch.Source`."""

    def __init__(self, samples: Samples) -> None:
        self.schema = table_schema(samples)
        self.count = len(samples)
        self._samples = samples

    def batches(self) -> Iterator[Batch]:
        """From the first to the last."""
        return table_batches(self._samples)


def column_of(f: Field, block: Block) -> Any:
    """A field's values as a column of a batch."""
    values = block[f.name]
    if isinstance(values, Lists):
        return Varying(values.values, np.diff(values.offsets))
    if f.kind != STRING:
        return values
    raw = [text.encode("utf-8", "replace") for text in values]
    lengths = np.fromiter(map(len, raw), np.int64, len(raw))
    return Varying(np.frombuffer(b"".join(raw), np.uint8), lengths)
