"""Recorders as users write them, good and bad; they run in guests."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd_client import Schema, Sink


class Careful(Sink):
    """Writes the numbers of its samples, one in a line, each once: it cuts back to what it had synced."""

    def open(self, schema: Schema) -> None:
        """See :class:`Sink`."""
        self.file = open(self.filename or f"{self.stream}_{self.part}.txt", "ab")  # noqa: SIM115
        self.file.truncate(self.state or 0)

    def write(self, batch: NDArray[np.void]) -> None:
        """See :class:`Sink`."""
        for seq in batch["seq"].tolist():
            self.file.write(b"%d\n" % seq)

    def sync(self) -> int:
        """See :class:`Sink`."""
        self.file.flush()
        return self.file.tell()

    def close(self) -> None:
        """See :class:`Sink`."""
        self.file.close()


class Careless(Careful):
    """The same without looking at its state: what comes again stands there again."""

    def open(self, schema: Schema) -> None:
        """See :class:`Sink`."""
        self.file = open(f"{self.stream}.txt", "ab", buffering=0)  # noqa: SIM115


class Diary(Sink):
    """Notes everything that it is told, a JSON array in a line, in `diary.jsonl` of its directory."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs

    def note(self, *what: Any) -> None:
        """A line."""
        with open("diary.jsonl", "a") as file:
            print(json.dumps(what), file=file)

    def open(self, schema: Schema) -> None:
        """See :class:`Sink`."""
        told = {"filename": str(self.filename), "directory": str(self.directory), "metadata": self.metadata}
        self.note("open", self.part, self.state, self.kwargs, told)

    def write(self, batch: NDArray[np.void]) -> None:
        """See :class:`Sink`."""
        for row in batch:
            self.note("sample", *(_plain(row[name]) for name in batch.dtype.names or ()))

    def reset(self, envs_idx: list[int] | None = None) -> None:
        """See :class:`Sink`."""
        self.note("reset", envs_idx)

    def mark(self, label: str, t: float, step: int, fields: dict[str, Any]) -> None:
        """See :class:`Sink`."""
        self.note("mark", label, t, step, fields)

    def close(self) -> None:
        """See :class:`Sink`."""
        self.note("close")

    def discard(self) -> None:
        """See :class:`Sink`."""
        self.note("discard")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


class Processes:
    """As Genesis has them: single samples, and a cleanup."""

    def __init__(self, filename: str, gain: float = 1.0) -> None:
        self.file = open(filename, "w")  # noqa: SIM115
        self.gain = gain

    def process(self, data: Any, t: float) -> None:
        """One sample."""
        print(json.dumps([t, {k: _plain(v) for k, v in data.items()}, self.gain]), file=self.file)

    def cleanup(self) -> None:
        """The end."""
        print('"the end"', file=self.file)
        self.file.close()


def function(data: Any, t: float, name: str = "function.txt") -> None:
    """Called for each sample."""
    with open(name, "a") as file:
        print(t, data.sum(), file=file)


class Bad(Sink):
    """Does something bad when it has seen enough samples, or in another method.

    Parameters
    ----------
    what : {"raise", "exit", "_exit", "segfault", "kill", "hang", "deaf", "nothing"}
    where : {"import", "__init__", "open", "write", "sync", "close"}
    after : int
        Of the first so many samples it behaves.
    unless : str, optional
        If a file of that name is in the recording's directory, it behaves.
    """

    def __init__(self, what: str, where: str = "write", after: int = 0, unless: str = "") -> None:
        self.what, self.where, self.after, self.unless = what, where, after, unless
        self.seen: list[int] = []
        self.act("__init__")

    def act(self, where: str) -> None:
        """Do it, if it is here and now."""
        if self.where != where or len(self.seen) < self.after or (self.unless and Path(self.unless).exists()):
            return
        print(f"about to {self.what}", flush=True)
        if self.what == "raise":
            raise ValueError(f"that is wrong in {where}")
        if self.what == "exit":
            sys.exit(3)
        if self.what == "_exit":
            os._exit(3)
        if self.what == "segfault":
            ctypes.string_at(0)
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what in ("hang", "deaf"):
            if self.what == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)

    def open(self, schema: Schema) -> None:
        """See :class:`Sink`."""
        self.act("open")

    def write(self, batch: NDArray[np.void]) -> None:
        """See :class:`Sink`."""
        self.seen += batch["seq"].tolist()
        self.act("write")

    def sync(self) -> None:
        """See :class:`Sink`."""
        self.act("sync")

    def close(self) -> None:
        """See :class:`Sink`."""
        self.act("close")
        with open(f"{self.stream}.json", "w") as file:
            json.dump(self.seen, file)


class Gated(Careful):
    """Takes samples only while there is a file `go` in its directory."""

    def write(self, batch: NDArray[np.void]) -> None:
        """See :class:`Sink`."""
        while not Path("go").exists():
            time.sleep(0.005)
        super().write(batch)
