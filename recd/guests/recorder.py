"""The guest of a :class:`~recd_client.CustomSink`: finds the user's recorder, and tells it what was recorded."""

from __future__ import annotations

import base64
import fcntl
import functools
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import CustomSinkError, SchemaError
from recd_client.schema import FIXED, RAGGED, STRING, Schema
from recd_client.sink import Sink

from ..batch import Batch
from ..durable import sync_file
from .wire import decode_batch

#: What a recorder may keep for itself between two processes: it stands in a checkpoint.
MAX_STATE_BYTES: Final = 2048
_CLOCKS: Final = (("seq", "<u8"), ("t", "<f8"), ("step", "<i8"))


class RecorderHost:
    """Answers a worker's requests by calling the user's recorder; see :class:`recd.guests.custom.CustomRunner`."""

    def __init__(self) -> None:
        self._make: Callable[[str | None], Recorder] | None = None
        self._schema: Schema | None = None
        self._info: dict[str, Any] = {}
        self._durable = False
        self._now: Recorder | None = None
        self._lock = -1

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """Answer one request."""
        prepare = {"load": self._load, "open": self._open, "discard": self._discard}.get(op)
        if prepare is not None:
            prepare(header)
            return None
        recorder = self._now
        if recorder is None or self._schema is None:
            return {"state": None}
        if op == "write":
            recorder.write(decode_batch(header, raw, self._schema))
        elif op == "mark":
            recorder.mark(header)
        elif op == "sync":
            return {"state": self._sync(recorder)}
        elif op == "close":
            self._sync(recorder)
            recorder.close()
            self._sync_file(recorder)  # the worker vouches for what it wrote just now, too
            self._now = None
        return None

    def leave(self) -> None:
        """The worker has what it needs; another process goes on."""

    def _load(self, header: dict[str, Any]) -> None:
        """Find the user's code, in his surroundings; nothing of it runs before another guest has let go."""
        # No flock: that would outlive this process in children that it forks.
        self._lock = os.open(header["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        self._schema = Schema.from_json(header["schema"])
        self._info, self._durable = header["info"], header["durable"]
        sys.path[:0] = header["search"]
        os.chdir(self._info["directory"])
        if header["code"]:  # the worker has seen that this is allowed
            import dill

            target, kwargs = dill.loads(base64.b64decode(header["code"]))
        else:
            module, _, name = header["target"].partition(":")
            target, kwargs = importlib.import_module(module), header["kwargs"]
            for part in name.split("."):
                target = getattr(target, part)
        self._make = functools.partial(recorder_of, target, kwargs)

    def _open(self, header: dict[str, Any]) -> None:
        if self._make is None or self._schema is None:
            raise RuntimeError("open before load")
        filename = header["filename"]
        if header.get("anew") and filename is not None and os.path.exists(filename):
            os.truncate(filename, 0)
        self._now = self._make(filename)
        self._now.open(self._schema, {**self._info, **{k: header[k] for k in ("filename", "part", "state")}})

    def _sync(self, recorder: Recorder) -> Any:
        state = recorder.sync()
        if len(json.dumps(state)) > MAX_STATE_BYTES:
            raise CustomSinkError(
                f"sync() returned {len(json.dumps(state))} bytes of state, at most {MAX_STATE_BYTES} can be kept",
                "return something small, such as the length of a file",
            )
        self._sync_file(recorder)
        return state

    def _sync_file(self, recorder: Recorder) -> None:
        if self._durable and recorder.filename is not None and recorder.filename.exists():
            sync_file(recorder.filename)

    def _discard(self, header: dict[str, Any]) -> None:
        """The file is left as it is: only when a checkpoint tells of the discard it is emptied, by the next open."""
        if self._now is not None:
            self._now.discard()
            self._now = None


class Recorder:
    """What all kinds of recorders look like to the host: by default like a :class:`~recd_client.Sink`.

    Parameters
    ----------
    target : object
        The user's object.
    filename : str or None
    """

    def __init__(self, target: Any, filename: str | None) -> None:
        self.target = target
        self.filename = None if filename is None else Path(filename)

    def open(self, schema: Schema, info: dict[str, Any]) -> None:
        """Samples will come."""
        target = self.target
        for name in ("stream", "part", "metadata", "state"):
            setattr(target, name, info[name])
        target.directory, target.filename = Path(info["directory"]), self.filename
        self._dtype = batch_dtype(schema)
        target.open(schema)

    def write(self, batch: Batch) -> None:
        """Samples came."""
        self.target.write(structured(batch, self._dtype))

    def mark(self, header: dict[str, Any]) -> None:
        """Something happened on the timeline."""
        if header["label"] == "recd.reset":
            self._tell("reset", header["fields"].get("envs_idx"))
        else:
            self._tell("mark", header["label"], header["t"], header["step"], header["fields"])

    def sync(self) -> Any:
        """What was taken is safe."""
        return self._tell("sync")

    def close(self) -> None:
        """Nothing more comes."""
        self._tell("close")

    def discard(self) -> None:
        """It was for nothing."""
        self._tell("discard")

    def _tell(self, name: str, *arguments: Any) -> Any:
        method = getattr(self.target, name, None)
        return method(*arguments) if callable(method) else None


class Processor(Recorder):
    """A recorder that has ``process(data, t)`` and ``cleanup()``, or is a function of ``(data, t)``."""

    def __init__(self, target: Any, filename: str | None, process: Callable[[Any, float], object]) -> None:
        super().__init__(target, filename)
        self._process = process

    def open(self, schema: Schema, info: dict[str, Any]) -> None:
        """See :class:`Recorder`."""
        self._bare = schema.bare

    def write(self, batch: Batch) -> None:
        """See :class:`Recorder`: one call for each sample."""
        columns = {name: values_of(batch, name) for name in batch.columns}
        for i, t in enumerate(batch.t.tolist()):
            data = {name: values[i] for name, values in columns.items()}
            self._process(next(iter(data.values())) if self._bare else data, t)

    def close(self) -> None:
        """See :class:`Recorder`."""
        self._tell("cleanup")


def recorder_of(target: Any, kwargs: dict[str, Any], filename: str | None) -> Recorder:
    """A new recorder of the user's class, or his function as one.

    Raises
    ------
    CustomSinkError
        It is neither; says what is missing.
    """
    if not inspect.isclass(target):
        if not callable(target):
            raise CustomSinkError(f"{target!r:.60} is no class or function", "correct the target")
        return Processor(None, filename, functools.partial(target, **kwargs))
    takes = issubclass(target, Sink) or callable(getattr(target, "write", None))
    if not takes and not callable(getattr(target, "process", None)):
        raise CustomSinkError(
            f"{target.__qualname__} has neither write(batch) nor process(data, t)",
            "derive it from recd_client.Sink, or give it process(data, t)",
        )
    if filename is not None and "filename" in inspect.signature(target).parameters:
        kwargs = {"filename": filename, **kwargs}
    made: Any = target(**kwargs)
    return Recorder(made, filename) if takes else Processor(made, filename, made.process)


# --- samples as users see them ----------------------------------------------------------------------


def batch_dtype(schema: Schema) -> np.dtype[Any]:
    """The dtype of a batch: ``seq``, ``t``, ``step`` and the fields; ragged ones and strings are objects.

    Raises
    ------
    SchemaError
        A field has one of those names.
    """
    names = {name for name, _ in _CLOCKS}
    for f in schema.fields:
        if f.name in names:
            raise SchemaError(
                f"field {f.name!r} has the name of a column that every batch has",
                "rename the field, or take single samples: process(data, t)",
            )
    described: list[Any] = [*_CLOCKS]
    described += [(f.name, f.dtype, f.shape) if f.kind == FIXED else (f.name, object) for f in schema.fields]
    return np.dtype(described)


def structured(batch: Batch, dtype: np.dtype[Any]) -> NDArray[np.void]:
    """A batch as one array, ``(n,)``, with memory of its own."""
    out: NDArray[Any] = np.empty(len(batch), dtype)
    for name in ("seq", "t", "step"):
        out[name] = getattr(batch, name)
    for name in batch.columns:
        values = values_of(batch, name)
        if isinstance(values, np.ndarray):
            out[name] = values
        else:
            for i, value in enumerate(values):
                out[name][i] = value
    return out


def values_of(batch: Batch, name: str) -> NDArray[Any] | list[Any]:
    """One value for each sample: rows of an array; arrays of a ragged field; strings."""
    kind = next(f.kind for f in batch.schema.fields if f.name == name)
    if kind == RAGGED:
        return [*batch.varying(name).split()]
    if kind == STRING:
        return batch.varying(name).strings()
    return batch.fixed(name)
