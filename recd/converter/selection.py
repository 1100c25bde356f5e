"""What a stream target writes: the wanted samples of a stream, or rows in which several streams were put together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import FIXED, STRING, Schema
from recd_client.schema import Field as SchemaField

from ..reader import ArrayStream, Block, Run, VideoStream
from .features import IMAGE, TEXT
from .windows import cut, reach

if TYPE_CHECKING:
    from .dataset import Dataset

_ROWS: Final = 4096


@dataclass(frozen=True)
class Span:
    """Some samples that lie one behind the other.

    Parameters
    ----------
    start, stop : int
        Indices of samples.
    episode : int or None
        The episode that they belong to; None where there is no more than one.
    """

    start: int
    stop: int
    episode: int | None = None

    def __len__(self) -> int:
        return self.stop - self.start


class Samples(ABC):
    """Samples of one look, in order."""

    run: Run
    spans: Sequence[Span]

    @property
    @abstractmethod
    def name(self) -> str:
        """What files of it are called."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """``array`` or ``video``."""

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """Fields of a sample, with units."""

    @property
    @abstractmethod
    def has_seq(self) -> bool:
        """Whether samples have numbers, of which a jump is a loss."""

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """What was lost: ``first_seq``, ``last_seq``, ``count``, ``cause``."""
        return []

    @property
    def has_episodes(self) -> bool:
        """Whether there are several episodes."""
        return any(span.episode is not None for span in self.spans)

    def __len__(self) -> int:
        return sum(map(len, self.spans))

    @abstractmethod
    def batches(self, rows: int | None = None, bytes: int | None = None) -> Iterator[Block]:
        """All of them, some at a time, in constant memory: at most ``rows``, or about ``bytes``."""

    def episodes_of(self, block: Block) -> NDArray[np.int64]:
        """The episode of each sample of a block; -1 where there is no more than one."""
        numbers = np.array([-1 if span.episode is None else span.episode for span in self.spans], np.int64)
        starts = [span.start for span in self.spans]
        at = np.searchsorted(starts, np.arange(block.start, block.start + block.count), "right") - 1
        return numbers[at]


@dataclass(frozen=True)
class Selected(Samples):
    """The wanted samples of one stream, as they were recorded.

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
        """See :class:`Samples`."""
        return self.stream.name

    @property
    def kind(self) -> str:
        """See :class:`Samples`."""
        return self.stream.kind

    @property
    def schema(self) -> Schema:
        """See :class:`Samples`."""
        return self.stream.schema

    @property
    def has_seq(self) -> bool:
        """See :class:`Samples`."""
        return "seq" in self.stream.known

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """See :class:`Samples`; of the whole stream."""
        return [vars(gap) for gap in self.stream.gaps]

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        wanted = sum(map(len, self.spans))
        if (
            isinstance(self.stream, ArrayStream) and self.stream.source == "log"
        ):  # perhaps damaged in the middle
            names: list[str] = []
            return sum(
                block.count for span in self.spans
                for block in self.stream.batches(fields=names, start=span.start, stop=span.stop)
            )  # fmt: skip
        return wanted

    def batches(self, rows: int | None = None, bytes: int | None = None) -> Iterator[Block]:
        """See :class:`Samples`; of an array stream only."""
        assert isinstance(self.stream, ArrayStream)
        for some in _passes(self.stream, self.spans):
            for block in self.stream.batches(rows, bytes, start=some[0].start, stop=some[-1].stop):
                end = block.start + block.count
                for start, stop in _joined(some):
                    if start < end and stop > block.start:
                        yield cut(block, max(start, block.start), min(stop, end))

    def column(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of one value per sample of the whole stream (its ``t``, ``seq``, ...) those of the wanted ones."""
        return np.concatenate([values[:0], *(values[span.start : span.stop] for span in self.spans)])

    @property
    def indices(self) -> NDArray[np.int64]:
        """Of the wanted samples."""
        none = np.empty(0, np.int64)
        return np.concatenate([none, *(np.arange(span.start, span.stop) for span in self.spans)])


class AlignedRows(Samples):
    """Features of several streams on one time axis, as if they had been one stream; images have no place in it.

    Parameters
    ----------
    run : Run
    name : str
    dataset : Dataset
        The episodes of this recording among them are meant.
    """

    def __init__(self, run: Run, name: str, dataset: Dataset) -> None:
        self.run = run
        self._name = name
        self._dataset = dataset
        self._episodes = [i for i, chosen in enumerate(dataset.episodes) if chosen.run is run]
        spans, at = [], 0
        for i in self._episodes:
            end = at + dataset.lengths[i]
            spans.append(Span(at, end, dataset.episodes[i].label))
            at = end
        self.spans = spans

    @property
    def name(self) -> str:
        """See :class:`Samples`."""
        return self._name

    @property
    def kind(self) -> str:
        """See :class:`Samples`."""
        return "array"

    @property
    def schema(self) -> Schema:
        """See :class:`Samples`."""
        return Schema(
            tuple(
                SchemaField(f.name, "|u1", (), STRING, f.units)
                if f.kind == TEXT
                else SchemaField(f.name, f.dtype.newbyteorder("<").str, f.shape, FIXED, f.units)
                for f in self._dataset.features
                if f.kind != IMAGE
            )
        )

    @property
    def has_seq(self) -> bool:
        """See :class:`Samples`."""
        return False

    def batches(self, rows: int | None = None, bytes: int | None = None) -> Iterator[Block]:
        """See :class:`Samples`."""
        for span, i in zip(self.spans, self._episodes, strict=True):
            episode = self._dataset.read(i, lambda rows: None)
            at = 0
            for chunk in episode.chunks(rows or _ROWS):
                count = len(next(iter(chunk.values())))
                block = Block(chunk)
                block.start, block.t = span.start + at, episode.t0 + episode.t[at : at + count]
                unknown = np.full(count, -1, np.int64)
                block.seq = block.step = block.mono_ns = unknown
                block.wall = np.full(count, np.nan)
                at += count
                yield block


def _passes(stream: ArrayStream, spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Spans that are read in one pass over the files: those without much between them."""
    some: list[Span] = []
    for span in filter(len, spans):
        if some and span.start - some[-1].stop > reach(stream):
            yield some
            some = []
        some.append(span)
    if some:
        yield some


def _joined(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """From where to where, with spans that touch as one."""
    found: list[tuple[int, int]] = []
    for span in spans:
        if found and found[-1][1] == span.start:
            found[-1] = found[-1][0], span.stop
        else:
            found.append((span.start, span.stop))
    return found
