"""Threads beside a thread that builds a file: they read for it, compress for it, and hash behind it.

All that they do lets go of Python's lock (reads, checksums, deflate, syncs), so the worker's loop is not
held up; and they are nicer to the simulation than a worker's other threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

_NICENESS: Final = 5


class Helpers(ThreadPoolExecutor):
    """So many threads, each started when it is first needed; what waits when they are left is not done."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, initializer=_be_nice)

    def __exit__(self, *error: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _be_nice() -> None:
    with suppress(OSError):  # it is nicer already
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def read_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The items; the next one is made in a thread of its own while the one before is used."""
    try:
        with Helpers(1) as reader:
            following = reader.submit(next, items, None)
            while (item := following.result()) is not None:
                following = reader.submit(next, items, None)
                yield item
    finally:
        items.close()
