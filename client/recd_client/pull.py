"""Pull form: the recorder asks for samples itself, each stream's at the steps when they are due."""

from __future__ import annotations

import heapq
import re
import warnings
from collections.abc import Callable, Container
from typing import Any, Final, Protocol

from .clock import Gate, whole_steps
from .errors import DataFunctionError, OptionError, RecdError, SchemaError
from .settings import StreamSettings
from .sink_options import SinkOptions
from .stream import Stream

ON_ERROR: Final = ("raise", "warn")


class Readable(Protocol):
    """A sensor."""

    def read(self) -> Any:
        """The newest sample."""


def sampler(data_func: Callable[[], Any] | Readable) -> Callable[[], Any]:
    """What gives the samples: the function itself, or the ``read`` of a sensor.

    Raises
    ------
    OptionError
        It is neither.
    """
    if callable(data_func):
        return data_func
    read: Callable[[], Any] | None = getattr(data_func, "read", None)
    if callable(read):
        return read
    name = type(data_func).__name__
    hint = "pass its method: start_recording(camera.render, ...)" if hasattr(data_func, "render") else ""
    expected = "a function that returns a sample, or an object with a method read() that does"
    raise OptionError(f"data_func is a {name}: expected {expected}", hint or "wrap it: lambda: ...")


def name_after(sink: SinkOptions, data_func: Any) -> str:
    """What a stream is called that was given no name: like its file, else like what gives its samples."""
    own = getattr(data_func, "__name__", type(data_func).__name__)
    given = own if sink.path is None else sink.path.stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", given).strip("._-")[:56] or "stream"


def numbered(base: str, taken: Container[str]) -> str:
    """The name, or the first of ``base_2``, ``base_3``, ... that is not taken."""
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base[:56]}_{n}"
    return name


def image_of(sample: Any) -> Any:
    """The picture, where a camera gives several: of ``(rgb, depth, ...)`` the first that is not None."""
    if isinstance(sample, tuple):
        return next((image for image in sample if image is not None), None)
    return sample


class Pull:
    """One stream and where its samples come from.

    Parameters
    ----------
    stream : Stream
    data_func : callable
        Gives the next sample.
    on_error : {"raise", "warn"}
    every : int
        Steps from one sample to the next.
    gate : Gate, optional
        Decides by time instead, where the length of a step is not known.
    """

    def __init__(
        self, stream: Stream, data_func: Callable[[], Any], on_error: str, every: int, gate: Gate | None
    ) -> None:
        self.stream = stream
        self.every = every
        self.gate = gate
        self._data_func = data_func
        self._on_error = on_error

    def take(self, t: float, step: int) -> RecdError | None:
        """Record the sample of this step; returns the error that is to be raised, if any."""
        if self.stream.is_paused:  # rendering is not for nothing
            return None
        error: RecdError
        try:
            self.stream.write(self._sample(), t, step)
        except RecdError as e:
            error = e
        except Exception as e:  # memory that a device does not give, for example
            error = DataFunctionError(
                f"stream {self.stream.name!r}: its sample raised {type(e).__name__}: {e}",
                "see the error above; on_error='warn' goes on with the other streams",
            )
            error.__cause__ = e
        else:
            return None
        if self._on_error == "raise":
            return error
        warnings.warn(str(error), RuntimeWarning, stacklevel=4)
        return None

    def _sample(self) -> Any:
        """What the ``data_func`` gives.

        Raises
        ------
        DataFunctionError, SchemaError
            It raised, or gave None.
        """
        name = self.stream.name
        try:
            data = self._data_func()
        except Exception as e:
            raise DataFunctionError(
                f"stream {name!r}: its data_func raised {type(e).__name__}: {e}",
                "see the error above; on_error='warn' goes on with the other streams",
            ) from e
        if self.stream.is_video:
            data = image_of(data)
        if data is None:
            raise SchemaError(f"stream {name!r}: its data_func returned None", "return the sample")
        return data


def paced(settings: StreamSettings, dt: float | None) -> tuple[StreamSettings, int, Gate | None]:
    """How often a stream is asked: its settings at the rate that it will have, steps, and a gate.

    Without ``dt`` the times given to ``step()`` decide, by the gate. Warns if whole steps do not make
    the rate that was asked for.
    """
    if settings.hz is None:
        return settings, 1, None
    if dt is None:
        return settings, 1, Gate(settings.hz, None)
    every, exact = whole_steps(settings.hz, dt)
    rate_hz = 1.0 / (every * dt)
    if not exact:
        text = (
            f"hz={settings.hz:g} is no whole number of steps of dt={dt:g} s: recording every {every} steps, "
            f"at {rate_hz:g} Hz"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return settings.at_rate(rate_hz), every, None


class Schedule:
    """Which streams are due at which step; a step touches those and no other."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Pull]] = []
        self._timed: list[Pull] = []
        self._count = 0

    def add(self, pull: Pull, step: int) -> None:
        """Have the stream's first sample taken at ``step``."""
        if pull.gate is not None:
            self._timed.append(pull)
            return
        self._count += 1
        heapq.heappush(self._due, (step, self._count, pull))

    def restart(self, step: int) -> None:
        """Make every stream due at ``step`` (a reset)."""
        self._due = [(step, order, pull) for _, order, pull in self._due]
        heapq.heapify(self._due)
        for pull in self._timed:
            if pull.gate is not None:
                pull.gate.restart()

    def streams(self) -> list[Stream]:
        """The streams that still take samples."""
        return [p.stream for p in (*(pull for _, _, pull in self._due), *self._timed) if p.stream.is_open]

    def clear(self) -> None:
        """No stream is due any more."""
        self._due.clear()
        self._timed.clear()

    def run(self, t: float, step: int) -> None:
        """Take the samples that are due.

        Raises
        ------
        RecdError
            The first error of a stream that raises; the other streams have their samples all the same.
        """
        first: RecdError | None = None
        due = self._due
        while due and due[0][0] <= step:
            _, order, pull = due[0]
            if not pull.stream.is_open:
                heapq.heappop(due)
                continue
            # put back before it is asked: an interrupt must not end its stream
            heapq.heapreplace(due, (step + pull.every, order, pull))
            error = pull.take(t, step)
            first = first or error
        for pull in self._timed:
            if pull.stream.is_open and pull.gate is not None and pull.gate.is_due(t):
                error = pull.take(t, step)
                first = first or error
        if first is not None:
            raise first
