"""What a condition sees: some samples of its stream, and how the session's streams stand at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from recd_client.errors import OptionError
from recd_client.schema import FIXED, Field, Schema

from ..batch import Batch
from .nodes import Values

if TYPE_CHECKING:
    from .eye import Eye

#: What each sample has beside its fields.
_CLOCKS: Final = ("t", "step")


class Sight:
    """A :class:`~recd.alerts.nodes.Scope` over one batch.

    Parameters
    ----------
    batch : Batch or None
        Samples of the condition's stream, if it has one.
    eyes : mapping
        Of the session's streams, by name.
    now_ns : int
        On the monotonic clock.
    """

    def __init__(self, batch: Batch | None, eyes: Mapping[str, Eye], now_ns: int) -> None:
        self._batch = batch
        self._eyes = eyes
        self._now_ns = now_ns

    def column(self, stream: str, field: str | None) -> Values:
        """A field's samples, or those of a stream's only field."""
        batch = self._known(stream)
        fields = {f.name: f for f in batch.schema.fields}
        if field is None:
            if len(fields) != 1:
                raise OptionError(
                    f"stream {stream!r} has {len(fields)} fields", f"choose one: {_names(stream, fields)}"
                )
            field = next(iter(fields))
        if field in fields:
            if fields[field].kind != FIXED:
                raise OptionError(
                    f"field {field!r} of stream {stream!r} varies in length", "conditions are over numbers"
                )
            return batch.fixed(field)
        if field in _CLOCKS:
            return np.asarray(getattr(batch, field))
        raise OptionError(f"stream {stream!r} has no field {field!r}", f"it has: {_names(stream, fields)}")

    def floats(self, stream: str) -> list[Values]:
        """All columns of a stream that may hold a NaN."""
        batch = self._known(stream)
        known = [f.name for f in batch.schema.fields if f.kind == FIXED and np.dtype(f.dtype).kind == "f"]
        return [batch.fixed(name) for name in known]

    def stalled(self, stream: str | None, for_s: float) -> bool:
        """Whether nothing has come for so long, or nothing can be stored; of any stream if none is named."""
        return any(eye.stalled(self._now_ns, for_s) for eye in self._chosen(stream))

    def lost(self, stream: str | None) -> int:
        """Samples that were lost since the look before; of all streams if none is named."""
        return sum(eye.newly_lost for eye in self._chosen(stream))

    def _chosen(self, stream: str | None) -> list[Eye]:
        return [eye for name, eye in self._eyes.items() if stream in (None, name)]

    def _known(self, stream: str) -> Batch:
        if self._batch is None:
            raise OptionError(f"stream {stream!r} is not looked at", "this is a mistake in recd")
        return self._batch


def zeros(schema: Schema) -> Batch:
    """One sample of nothing but zeros, to try a condition on; takes no memory, however large samples are."""
    columns: dict[str, Values] = {
        f.name: np.broadcast_to(np.zeros((), f.dtype), (1, *f.shape))
        for f in schema.fields
        if f.kind == FIXED
    }
    counts = np.zeros(1, np.uint64)
    return Batch(schema, counts, np.zeros(1), np.zeros(1, np.int64), counts, dict(columns))


def _names(stream: str, fields: Mapping[str, Field]) -> str:
    """How the fields are written in a condition."""
    plain = stream if stream.isidentifier() else f'"{stream}"'
    return ", ".join(f"{plain}.{n}" if n.isidentifier() else f'{plain}["{n}"]' for n in fields)
