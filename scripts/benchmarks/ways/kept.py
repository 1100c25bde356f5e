"""Memory only: lists of copies, and bare copies as the limit of what is possible."""

from __future__ import annotations

import mmap
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client import layout

from ..kinds import ARRAYS, FIELDS, FRAMES, ROWS, Kind, Sample
from ..timing import Step, wait_until
from .base import Way

_CLOSED: Final = (1 << 64) - 1


class ListAppend(Way):
    """Copies in a list: the cheapest that there is, and all of it is lost with the process."""

    name = "list.append(x.copy()), never saved"
    families = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        self._kept: list[Sample] = []
        self._is_dict = kind.family == FIELDS

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Written out, as a call of our own would be a fifth of the cost."""
        now, append, took = time.perf_counter_ns, self._kept.append, [0] * len(times)
        if self._is_dict:
            for i in range(len(times)):
                step()
                start = now()
                append({name: value.copy() for name, value in data.items()})
                took[i] = now() - start
            return took
        for i in range(len(times)):
            step()
            start = now()
            append(data.copy())
            took[i] = now() - start
        return took

    def write(self, data: Sample, t: float) -> object:
        """Keep a copy."""
        copy = {name: value.copy() for name, value in data.items()} if self._is_dict else data.copy()
        return self._kept.append(copy)

    def settle(self) -> None:
        """Memory stays bounded."""
        self._kept.clear()


class SharedSlots:
    """Memory as a ring's: shared, as large, with a slot per record, and read by another process soon after.

    Parameters
    ----------
    ring_bytes : int
    like : ndarray
        What is to be copied into each slot.
    """

    def __init__(self, ring_bytes: int, like: NDArray[np.generic]) -> None:
        stride = layout.record_bytes(like.nbytes)
        memory = mmap.mmap(-1, mmap.PAGESIZE + max(1, ring_bytes // stride) * stride)
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 0
        self.slots = [
            np.ndarray(like.shape, like.dtype, memory, at)
            for at in range(mmap.PAGESIZE, len(memory) - stride + 1, stride)
        ]
        #: Copies that were made, and those that were read.
        self.written, self._read = (
            np.ndarray((1,), np.uint64, memory),
            np.ndarray((1,), np.uint64, memory, 64),
        )
        self._reader = multiprocessing.get_context("fork").Process(target=self._follow, daemon=True)
        self._reader.start()

    @property
    def next_slot(self) -> int:
        """Where the next copy goes; add one to ``written`` behind it."""
        return int(self.written[0]) % len(self.slots)

    def settle(self) -> None:
        """All of it was read."""
        wait_until(lambda: bool(self._read[0] == self.written[0]))

    def close(self) -> None:
        """End the reader."""
        self.written[0] = _CLOSED
        self._reader.join()

    @property
    def reader_pid(self) -> int:
        """Process that reads."""
        return self._reader.pid or 0

    def _follow(self) -> None:
        """Read every slot once it is written, as a worker does: late, and many at a time."""
        private, n = np.empty_like(self.slots[0]), 0
        while (end := int(self.written[0])) != _CLOSED:
            for at in range(n, end):
                np.copyto(private, self.slots[at % len(self.slots)])
            n = end
            self._read[0] = n
            time.sleep(0.0005)


class BareCopy(Way):
    """``np.copyto`` into memory that is as cold as a ring's."""

    name = "np.copyto into memory that another process reads"
    families: ClassVar = frozenset({ROWS, ARRAYS, FRAMES})

    def __init__(self, directory: Path, kind: Kind, *, ring_bytes: int = 8 << 20) -> None:
        super().__init__(directory, kind)
        self._shared = SharedSlots(ring_bytes, kind.pool()[0])

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each copy."""
        now, copy, shared, took = time.perf_counter_ns, np.copyto, self._shared, [0] * len(times)
        for i in range(len(times)):
            slot = shared.slots[shared.next_slot]
            step()
            start = now()
            copy(slot, data)
            took[i] = now() - start
            shared.written[0] += 1
        return took

    def write(self, data: Sample, t: float) -> object:
        """Copy once."""
        np.copyto(self._shared.slots[self._shared.next_slot], data)
        self._shared.written[0] += 1
        return None

    def settle(self) -> None:
        """The other one has read it."""
        self._shared.settle()

    def close(self) -> None:
        """End the other one."""
        self._shared.close()

    def helpers(self) -> list[int]:
        """The other one."""
        return [self._shared.reader_pid]
