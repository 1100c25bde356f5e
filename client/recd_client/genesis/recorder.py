"""The recorder that Genesis makes for recd's options, and for its own after ``install``."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import DataFunctionError, RecdError, SchemaError
from ..options import CSVFile, SinkOptions, VideoFile
from ..sample import infer
from ..stream import Stream
from . import mapping
from .recording import SceneRecording, recording_of, stop_at_exit

Convert = Callable[[Any], Any]


@lru_cache(maxsize=1)
def recorder_class(gs: Any) -> type[Any]:
    """The class for ``register_recording``: a subclass of Genesis' ``Recorder``."""
    base = import_module("genesis.recorders.base_recorder").Recorder

    class RecdRecorder(base):  # type: ignore[misc, valid-type]
        """Hands samples over to recd in the step; everything else happens in other processes.

        Genesis decides when a sample is taken, and with which time, so that holds as it does for its own
        recorders, in each version.
        """

        run_in_thread = False
        _is_alive = True
        #: Before build(), Genesis may print it all the same.
        _sink: Any = None
        _stream: Stream | None = None

        def build(self) -> None:
            """See Genesis; the recording is open, and plots know what they draw."""
            super().build()
            dt = self._manager._step_dt
            self._rate_hz = 1.0 / (self._steps_per_sample * dt)
            self._dt = dt
            options = self._options
            self._native = isinstance(options, SinkOptions)
            self._sink = options if self._native else mapping.translate(options, self._rate_hz)
            self._recording: SceneRecording = recording_of(self._manager)
            self._recording.join(self)
            stop_at_exit(self, "stop")
            self._write = self._first_write
            self._stream = None
            try:
                if self._native or not isinstance(self._sink, CSVFile) or self._sink.header is not None:
                    self._open(self._sink)
                if type(options).__name__ in mapping.PLOTS and not self._native:
                    self._like(self._data_func())  # as Genesis' plots do: a data_func may count its calls
            except BaseException:
                self._recording.leave(self)
                raise

        def _open(self, sink: SinkOptions) -> Stream:
            self._stream = self._recording.stream(self._data_func, sink, self._rate_hz)
            return self._stream

        def _like(self, data: Any) -> None:
            """The ring is made for samples like this one; labels that do not match it are refused."""
            convert = _conversion(data, self._sink, self._native)
            if self._stream is not None:
                self._stream.attach(data if convert is None else convert(data), may_start=True)

        # --- samples ---------------------------------------------------------------------------
        def step(self, global_step: int) -> None:
            """See Genesis. Nothing of its base class's, whose checks cost more than a write."""
            if global_step % self._steps_per_sample == 0:
                self.record(global_step)

        def record(self, global_step: int) -> None:
            """See Genesis; a sample that is lost is counted, and no error."""
            if not self._is_recording:
                return
            try:
                data = self._data_func()
                self._write(data, global_step * self._dt, global_step)
            except Exception as e:
                self._refused(e)

        def process(self, data: Any, cur_time: float) -> None:
            """See Genesis: the sample is recorded."""
            self._write(data, float(cur_time))

        def _first_write(self, data: Any, t: float, step: int | None = None) -> bool:
            """The first sample decides what is done to each, and then goes the way of all."""
            convert = _conversion(data, self._sink, self._native)
            if convert is not None:
                data = convert(data)
            stream = self._stream or self._open(
                dataclasses.replace(self._sink, header=mapping.csv_header(data))
            )
            written = stream.write(data, t, step)
            write = stream.write  # the short way, which is in place by now
            if convert is None:
                self._write = write
            else:
                self._write = lambda data, t, step=None: write(convert(data), t, step)
            return written

        def _refused(self, error: Exception) -> None:
            told = _told(error, self)
            if self._recording.settings.on_error == "raise":
                raise told from error
            warnings.warn(str(told), RuntimeWarning, stacklevel=4)

        # --- life ------------------------------------------------------------------------------
        def start(self) -> None:
            """See Genesis. 0.4.5 calls it again after each reset."""
            self._is_recording = True

        def sync(self, timeout: float | None = None) -> None:
            """See Genesis: the samples so far can be read in files that grow."""
            self._recording.flush(timeout)

        def reset(self, envs_idx: Any = None) -> None:
            """See Genesis: the timeline has a mark, and ``save_on_reset`` begins a new file."""
            self._recording.reset(self, envs_idx)

        def stop(self) -> None:
            """See Genesis; the last recorder of a scene waits for the files of all."""
            if not self._is_recording:
                return
            self._is_recording = False
            if self._stream is not None:
                self._stream.close()
            self._recording.leave(self)

        def cleanup(self) -> None:
            """See Genesis: :meth:`stop` did it."""

        # --- what can be seen --------------------------------------------------------------------
        @property
        def stats(self) -> dict[str, Any]:
            """Counters and state, as :attr:`recd_client.Stream.stats`."""
            return self._stream.stats if self._stream is not None else {}

        def __str__(self) -> str:
            filename = getattr(self._sink or self._options, "filename", None)
            return f"{type(self._options).__name__} ({filename or 'no file'})"

    return RecdRecorder


def _told(error: Exception, recorder: Any) -> RecdError:
    """The error with the recorder's name."""
    if isinstance(error, RecdError):
        return type(error)(f"recorder {recorder}: {error.what}", error.do)
    return DataFunctionError(
        f"recorder {recorder}: its data_func raised {type(error).__name__}: {error}",
        "see the error above; recd_client.genesis.configure(on_error='warn') goes on",
    )


# --- what Genesis does to samples -----------------------------------------------------------------
def _conversion(data: Any, sink: SinkOptions, native: bool) -> Convert | None:
    """What must be done to samples like this one before recd takes them, if anything.

    Raises
    ------
    SchemaError
        They cannot be recorded.
    """
    if data is None:
        raise SchemaError("its data_func returned None", "return the sample")
    if isinstance(sink, VideoFile):  # recd's own option says by itself what it takes
        return None if native else _video_conversion(data)
    try:
        infer(data)
    except SchemaError as e:
        to_array = getattr(sys.modules.get("genesis.utils"), "data_to_array", None)
        if to_array is None:
            raise
        try:  # fields of its own kernels, for example
            infer(to_array(data))
        except SchemaError:
            raise e from None
        return to_array  # type: ignore[no-any-return]
    return None


def _video_conversion(data: Any) -> Convert | None:
    """Genesis takes images of any integers, and keeps their lowest eight bits."""
    field = infer(data).fields[0]
    if np.dtype(field.dtype).kind in "iu" and field.dtype != "|u1":
        return lambda image: np.asarray(image).astype(np.uint8)
    return None
