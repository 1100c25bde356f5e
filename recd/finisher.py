"""One background thread per worker for what takes long and holds nobody up: building and sealing files."""

from __future__ import annotations

import queue
import threading
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
    """Runs jobs one after the other in a thread that starts with the first job.

    Parameters
    ----------
    wake : callable
        Called from the thread after each job, so that the worker looks at once.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._current: Job | None = None
        self._stopped = False

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue ``work``, a callable that receives its :class:`Job`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="finisher", daemon=True)
            self._thread.start()
        job = Job(work)
        self._queue.put(job)
        return job

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            self._current = job
            if self._stopped:
                return
            job.run()
            self._current = None
            self.wake()

    def stop(self, timeout_s: float) -> None:
        """Cancel what runs and what waits, and end the thread; a later worker does it again."""
        if self._thread is None:
            return
        self._stopped = True
        if (job := self._current) is not None:
            job.cancelled = True
        self._queue.put(None)
        self._thread.join(timeout_s)
