"""``@record``: what a function returns, or a generator yields, is recorded, with one line above it."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar, overload

from . import checks
from .errors import OptionError, SchemaError
from .options import SinkOptions
from .recorder import Recorder
from .settings import checked_sinks
from .stream import Stream
from .summary import Summary

_F = TypeVar("_F", bound=Callable[..., Any])

#: Under which a value that is no dict stands beside arguments.
_RESULT = "result"


@overload
def record(function: _F, /) -> _F: ...
@overload
def record(
    *sinks: SinkOptions,
    name: str | None = ...,
    args: Sequence[str] = ...,
    t: str | None = ...,
    hz: float | None = ...,
    units: Mapping[str, str] | str | None = ...,
    recorder: Recorder | None = ...,
    dir: str | os.PathLike[str] | None = ...,
    dt: float | None = ...,
) -> Callable[[_F], _F]: ...
def record(
    *sinks: Any,
    name: str | None = None,
    args: Sequence[str] = (),
    t: str | None = None,
    hz: float | None = None,
    units: Mapping[str, str] | str | None = None,
    recorder: Recorder | None = None,
    dir: str | os.PathLike[str] | None = None,
    dt: float | None = None,
) -> Any:
    """Have every call of a function recorded: a sample is what it returns, or each value that it yields.

    The stream is made by the first call. The function's attribute ``recording`` has it, the ``recorder``,
    and ``close()``. What the function returns is returned, and what it raises is raised and not recorded.

    Parameters
    ----------
    *sinks : SinkOptions
        As of :meth:`Recorder.stream`. ``@record`` without parentheses: none.
    name : str, optional
        Of the stream, and of a recorder of its own; default: the function's.
    args : sequence of str
        Arguments to record as well. A sample is then a dict: the arguments, and the value's own fields if it
        is a dict, or the value as ``result``; None adds nothing.
    t : str, optional
        The argument, or field of the sample, that is its stream time in seconds.
    hz, units
        As of :meth:`Recorder.stream`.
    recorder : Recorder, optional
        Where to record; you close it. Default: a recorder of its own, opened by the first call, closed by
        ``function.recording.close()`` or when the program ends.
    dir, dt
        Of a recorder of its own, as of :class:`Recorder`.

    Raises
    ------
    OptionError
        An argument is not allowed, or the function has no such argument.
    SchemaError
        (From a call.) The value cannot be recorded, is None, or differs from the first one.
    """
    if len(sinks) == 1 and callable(sinks[0]) and not isinstance(sinks[0], SinkOptions):
        return record(name=name, args=args, t=t, hz=hz, units=units, recorder=recorder, dir=dir, dt=dt)(
            sinks[0]
        )
    stream_options = {"hz": hz, "units": units}
    checked = checked_sinks(sinks)
    if isinstance(args, str):
        raise checks.refuse("args", args, f"a sequence of names, such as ({args!r},)")
    if recorder is not None and (dir is not None or dt is not None):
        raise OptionError("dir and dt are those of a recorder of its own", "leave them out, or the recorder")

    def decorate(function: _F) -> _F:
        if not callable(function):
            raise checks.refuse("record", function, "a function, and options in parentheses")
        recording = Recording(function, checked, stream_options, name, recorder, {"dir": dir, "dt": dt})
        recording.choose(args, t)
        return recording.wrapped()  # type: ignore[no-any-return]

    return decorate


class Recording:
    """What a decorated function records; its attribute ``recording``.

    Parameters
    ----------
    function : callable
    sinks : tuple of SinkOptions
    stream_options : dict
    name : str or None
    recorder : Recorder or None
        None: one of its own.
    recorder_options : dict
        For that one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        sinks: tuple[SinkOptions, ...],
        stream_options: dict[str, Any],
        name: str | None,
        recorder: Recorder | None,
        recorder_options: dict[str, Any],
    ) -> None:
        self._function = function
        self._sinks = sinks
        self._stream_options = stream_options
        called = re.sub(r"[^A-Za-z0-9_.-]+", "_", getattr(function, "__name__", "")).strip("._-")
        self.name = checks.plain_name("name", name or called[:64] or "stream")
        #: None before the first call, and when closed.
        self.recorder = recorder
        self.stream: Stream | None = None
        self._own = recorder is None
        self._recorder_options = recorder_options
        self._lock = threading.Lock()
        self._args: tuple[str, ...] = ()
        self._t: str | None = None
        self._bind: Callable[..., Any] | None = None

    def choose(self, args: Sequence[str], t: str | None) -> None:
        """Say which arguments to record, and which is the time.

        Raises
        ------
        OptionError
            The function has no such argument.
        """
        import inspect  # costs an import what a recorder does; only who decorates pays

        function = self._function
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise OptionError(
                f"record: {self.name!r} is asynchronous", "call stream.write(...) inside it instead"
            )
        signature = inspect.signature(function)
        for arg in args:
            if arg not in signature.parameters:
                raise OptionError(
                    f"args={[*args]}: {self.name}{signature} has no argument {arg!r}",
                    f"choose of {', '.join(signature.parameters) or 'none'}",
                )
        self._args, self._t = tuple(args), t
        self._t_is_argument = t in signature.parameters
        if args or self._t_is_argument:
            self._bind = signature.bind
        self._is_generator = inspect.isgeneratorfunction(function)

    def wrapped(self) -> Any:
        """The function that records."""
        function, write = self._function, self._write

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            chosen = self._chosen(args, kwargs)
            value = function(*args, **kwargs)
            write(value, *chosen)
            return value

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            chosen = self._chosen(args, kwargs)
            running = function(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(next, running)
            while True:
                try:
                    value = resume()
                except StopIteration as end:
                    return end.value
                write(value, *chosen)
                try:
                    sent = yield value
                except GeneratorExit:
                    running.close()
                    raise
                except BaseException as e:
                    resume = functools.partial(running.throw, e)
                else:
                    resume = functools.partial(running.send, sent)

        wrapper: Any = generate if self._is_generator else call
        wrapper.recording = self
        return wrapper

    def close(self) -> Summary | None:
        """No call is recorded in this stream any more; of a recorder of its own, every file is finished.

        Returns
        -------
        Summary or None
            None if the recorder is yours, or nothing was called. After this, the next call of a function
            with a recorder of its own begins a new recording.
        """
        with self._lock:
            stream, self.stream = self.stream, None
            if not self._own:
                if stream is not None:
                    stream.close()
                    self.stream = stream  # refuses what follows
                return None
            recorder, self.recorder = self.recorder, None
        return None if recorder is None else recorder.close()

    def _chosen(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """The arguments to record, and the time if that is one; taken before the function may change them."""
        if self._bind is None:
            return {}, None
        bound = self._bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        t = given[self._t] if self._t is not None and self._t_is_argument else None
        return {arg: _kept(given[arg]) for arg in self._args}, t

    def _write(self, value: Any, chosen: dict[str, Any], t: Any) -> None:
        sample = value
        if self._args:
            own = {} if value is None else value if isinstance(value, Mapping) else {_RESULT: value}
            if both := chosen.keys() & own.keys():
                raise SchemaError(
                    f"{self.name}: {', '.join(sorted(both))} is an argument to record and a field of the value",
                    "rename one of them",
                )
            sample = {**chosen, **own}
        elif value is None:
            raise SchemaError(
                f"{self.name} returned None: there is nothing to record",
                "return a sample, or pass args=(...)",
            )
        if self._t is not None and not self._t_is_argument:
            if not isinstance(sample, Mapping) or self._t not in sample:
                raise SchemaError(
                    f"{self.name}: t={self._t!r} is neither an argument nor a field of the value",
                    "name the one that holds the time in seconds",
                )
            t = sample[self._t]
        stream = self.stream
        if stream is None:
            stream = self._begin()
        stream.write(sample, t)

    def _begin(self) -> Stream:
        with self._lock:
            if self.stream is None:
                if self.recorder is None:
                    self.recorder = Recorder(self.name, **self._recorder_options)
                self.stream = self.recorder.stream(self.name, *self._sinks, **self._stream_options)
            return self.stream


def _kept(value: Any) -> Any:
    """An argument as it was at the call: functions change arrays in place, and lists of them."""
    if isinstance(value, (list, tuple)):
        return [_kept(part) for part in value]
    copy = getattr(value, "copy", None) or getattr(value, "clone", None)  # the latter is torch's
    return copy() if callable(copy) and hasattr(value, "shape") else value
