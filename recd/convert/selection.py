"""A stream of a run, and which of its samples are wanted: what a stream target writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from recd_client.schema import Schema

    from ..reader import ArrayStream, Block, Run, VideoStream


@dataclass(frozen=True)
class Span:
    """Some samples of a stream that lie one behind the other.

    Parameters
    ----------
    start, stop : int
        Indices of samples.
    episode : int or None
        The episode that they belong to; None where the recording has no more than one.
    """

    start: int
    stop: int
    episode: int | None = None

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Selected:
    """The wanted samples of one stream.

    Parameters
    ----------
    run : Run
    stream : ArrayStream or VideoStream
        In full: metadata, schema, units, gaps.
    spans : sequence of Span
        Which of its samples, in order.
    """

    run: Run
    stream: ArrayStream | VideoStream
    spans: Sequence[Span]

    @property
    def name(self) -> str:
        """Of the stream."""
        return self.stream.name

    @property
    def kind(self) -> str:
        """``array`` or ``video``."""
        return self.stream.kind

    @property
    def schema(self) -> Schema:
        """Fields of a sample."""
        return self.stream.schema

    @property
    def has_episodes(self) -> bool:
        """Whether the recording has several episodes."""
        return any(span.episode is not None for span in self.spans)

    def __len__(self) -> int:
        return sum(map(len, self.spans))

    def batches(self, rows: int | None = None, bytes: int | None = None) -> Iterator[Block]:
        """The wanted samples of an array stream, some at a time, in constant memory."""
        for _, block in self.batches_by_span(rows, bytes):
            yield block

    def batches_by_span(
        self, rows: int | None = None, bytes: int | None = None
    ) -> Iterator[tuple[Span, Block]]:
        """As :meth:`batches`, each with the span that it lies in."""
        for span in self.spans:
            for block in self.stream.batches(rows, bytes, start=span.start, stop=span.stop):
                yield span, block

    def column(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of one value per sample of the whole stream (its ``t``, ``seq``, ...) those of the wanted ones."""
        return np.concatenate([values[:0], *(values[span.start : span.stop] for span in self.spans)])

    @property
    def indices(self) -> NDArray[np.int64]:
        """Of the wanted samples."""
        none = np.empty(0, np.int64)
        return np.concatenate([none, *(np.arange(span.start, span.stop) for span in self.spans)])
