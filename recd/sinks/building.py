"""What files that are built from the log share: passes over it, columns of it, and pieces that are filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import LogDamagedError

from ..batch import Batch, Source


class Passes:
    """Reads a source once or several times, and reports progress over all passes together.

    Parameters
    ----------
    source : Source
    progress : callable
        Receives the number of samples done, as if there were one pass; raises to cancel.
    """

    def __init__(self, source: Source, progress: Callable[[int], None]) -> None:
        self._source = source
        self._progress = progress
        self._left = 1
        self._done = 0

    def plan(self, passes: int) -> None:
        """So many passes are still to come."""
        self._left = passes

    def batches(self) -> Iterator[Batch]:
        """One pass.

        Raises
        ------
        LogDamagedError
            The log has fewer or more samples than it is known to have.
        """
        count, seen, begun = self._source.count, 0, self._done
        for batch in self._source.batches():
            seen += len(batch)
            if seen > count:
                break
            yield batch
            self._done = begun + (count - begun) * seen // (count * self._left) if count else 0
            self._progress(self._done)
        if seen != count:
            few = "fewer" if seen < count else "more"
            raise LogDamagedError(
                f"the log gave {few} samples than the {count} that were counted when they were recorded",
                "the file is not built; look at the log with `recd recover`",
            )
        self._left -= 1


class Offsets:
    """Where each sample of a ragged field ends among all elements: ``offsets[1:]``, batch by batch."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._end = 0

    def __call__(self, batch: Batch) -> NDArray[np.int64]:
        """The ends of this batch's samples, behind those of the batches before."""
        ends = self._end + np.cumsum(batch.varying(self._field).lengths, dtype=np.int64)
        if len(ends):
            self._end = int(ends[-1])
        return ends


def fixed(field: str) -> Callable[[Batch], NDArray[Any]]:
    """What a batch adds to a field of fixed size: one row per sample."""
    return lambda batch: batch.fixed(field)


def elements(field: str) -> Callable[[Batch], NDArray[Any]]:
    """What a batch adds to a ragged field: the elements of all its samples."""
    return lambda batch: batch.varying(field).values


class Pieces(ABC):
    """Rows that come in any number and are written a piece at a time.

    Parameters
    ----------
    piece : ndarray, (rows, *shape)
        Filled again and again.
    """

    def __init__(self, piece: NDArray[Any]) -> None:
        self._filling = piece
        self._filled = 0

    def take(self, rows: NDArray[Any]) -> None:
        """Put rows behind those that are there; what is full is written."""
        while len(rows):
            head = rows[: len(self._filling) - self._filled]
            self._filling[self._filled : self._filled + len(head)] = head
            self._filled += len(head)
            rows = rows[len(head) :]
            if self._filled == len(self._filling):
                self.flush()

    def flush(self) -> None:
        """Write what there is of the last piece."""
        count, self._filled = self._filled, 0
        if count:
            self._write(count)

    @abstractmethod
    def _write(self, count: int) -> None:
        """Write the first rows of what was filled."""
