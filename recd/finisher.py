"""Threads beside the worker's loop, for what takes long and holds nobody up: building and sealing files, syncing."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any


class Job:
    """Work handed to the finisher; look at :attr:`done`, then at :attr:`error` or :attr:`result`."""

    def __init__(self, work: Callable[[Job], Any]) -> None:
        self._work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.cancelled = False
        #: Grows while the job gets on.
        self.progress = 0

    def advance(self, amount: int) -> None:
        """Report progress from inside the work; raises to end a cancelled job."""
        self.progress = amount
        if self.cancelled:
            raise JobCancelledError

    def run(self) -> None:
        """Do the work in this thread."""
        try:
            self.result = self._work(self)
        except BaseException as e:
            self.error = e
            # Else the error keeps what the work had in hand, files and large buffers, until the cycle is found.
            traceback.clear_frames(e.__traceback__)
        finally:
            self.done.set()


class JobCancelledError(Exception):
    """The job was asked to stop."""


class Finisher:
    """Runs jobs in the order in which they come, in threads that start when there is something to do.

    Parameters
    ----------
    wake : callable
        Called from the thread after each job, so that the worker looks at once.
    threads : int
        How many jobs may run side by side.
    """

    def __init__(self, wake: Callable[[], object], threads: int = 1) -> None:
        self.wake = wake
        self._most = threads
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[Job] = set()
        self._unfinished = 0
        self._counting = threading.Lock()
        self._stopped = False

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue ``work``, a callable that receives its :class:`Job`."""
        with self._counting:
            if len(self._threads) <= self._unfinished and len(self._threads) < self._most:
                thread = threading.Thread(target=self._loop, name="finisher", daemon=True)
                thread.start()  # or there is no room for one: then nothing was submitted
                self._threads.append(thread)
            self._unfinished += 1
        job = Job(work)
        self._queue.put(job)
        return job

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            self._running.add(job)
            if self._stopped:
                return
            job.run()
            self._running.discard(job)
            with self._counting:
                self._unfinished -= 1
            self.wake()

    def stop(self, timeout_s: float) -> None:
        """Cancel what runs and what waits, and end the threads; a later worker does it again."""
        if not self._threads:
            return
        self._stopped = True
        for job in self._running.copy():
            job.cancelled = True
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
