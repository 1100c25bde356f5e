"""Recording an MjModel and its MjData: one call per step, with nothing looked up in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Final

import mujoco
import numpy as np

from .. import checks
from ..errors import OptionError
from ..options import CSVFile, NPZFile, SinkOptions, VideoFile
from ..recorder import Recorder
from ..settings import checked_sinks
from ..stream import Stream
from ..summary import Summary
from .cameras import Camera, CameraName, load_camera, renderer_of, rolls_of
from .names import Column, columns_of

#: Recorded where nothing is said; what a model has none of is left out.
DEFAULT_STATE: Final = ("qpos", "qvel", "act", "ctrl", "sensordata")
#: Components of ``mjtState`` that MjData has under another name.
_OTHER_NAMES: Final = {"warmstart": "qacc_warmstart", "plugin": "plugin_state"}
#: Arrays of MjData that have another length in each step.
_VARYING: Final = ("contact", "efc_", "iefc_", "efm_")


def record(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    *sinks: SinkOptions,
    state: Any = None,
    named: bool = False,
    cameras: CameraName | Sequence[CameraName] | Mapping[CameraName, VideoFile] = (),
    fps: float = 30,
    width: int = 640,
    height: int = 480,
    renderer: Any = None,
    scene_option: mujoco.MjvOption | None = None,
    name: str = "state",
    hz: float | None = None,
    overflow: str = "drop_newest",
    recorder: Recorder | None = None,
    dir: str | os.PathLike[str] | None = None,
    overwrite: str = "error",
    metadata: Mapping[str, Any] | None = None,
) -> Recording:
    """A recording of this simulation, to be told of every step: :meth:`Recording.step`.

    Parameters
    ----------
    model : mujoco.MjModel
    data : mujoco.MjData
    *sinks : SinkOptions
        Where the state goes; default: ``NPZFile("<name>.npz")``. A :class:`CSVFile` without a ``header``
        gets the model's names: ``qpos.hip``, ``sensordata.imu.x``, ...
    state : sequence of str, mjtState or int, or True, optional
        What to record: names of arrays or numbers of ``MjData``, or a combination of ``mjtState`` bits. True:
        all that the next step depends on (``mjSTATE_INTEGRATION``), so that a replay goes on bit for bit.
        Default: ``qpos``, ``qvel``, ``act``, ``ctrl`` and ``sensordata``, of which the model has any.
    named : bool
        One field per number, with its unit, instead of one per array: ``qpos.hip`` instead of ``qpos``.
    cameras : str, int, sequence, or dict from them to VideoFile
        Cameras of the model by name or id, -1 for the free one. Each is a stream, and a video,
        ``<camera>.mp4``.
    fps : float
        Frames per second of simulated time, of cameras whose VideoFile has neither ``hz`` nor ``fps``.
        A frame that is not due is not rendered.
    width, height : int
        Of the frames; at most what the model's ``offwidth`` and ``offheight`` allow.
    renderer : mujoco.Renderer, optional
        One of yours, which you close; its size is that of the frames.
    scene_option : mujoco.MjvOption, optional
        What the cameras show.
    name : str
        Of the stream of states.
    hz, overflow
        As of :meth:`Recorder.stream`, for the states.
    recorder : Recorder, optional
        One of yours, which you close; without it, one with the model's ``timestep`` as its ``dt``.
    dir, overwrite, metadata
        Of a recorder of its own, as of :class:`Recorder`.

    Raises
    ------
    OptionError
        An argument is not allowed, the model has no such camera, or no frame can be rendered here.
    """
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
        raise OptionError(
            f"record({type(model).__name__}, {type(data).__name__}): expected an MjModel and its MjData",
            "pass both, the model first",
        )
    if recorder is not None and not isinstance(recorder, Recorder):
        raise checks.refuse("recorder", recorder, "a recd_client.Recorder")
    if recorder is not None and (dir is not None or metadata is not None or overwrite != "error"):
        raise OptionError(
            "dir, overwrite and metadata are those of a recorder of its own",
            "leave them out, or the recorder",
        )
    checks.flag("named", named)
    fields = state_fields(model, data, state)
    columns = {field: columns_of(model, data, field) for field in fields}
    rolls = rolls_of(model, cameras, checks.positive("fps", fps, unit="frames per second"))
    files = [_with_header(sink, columns) for sink in checked_sinks(sinks)] or [NPZFile(f"{name}.npz")]
    own_recorder = recorder is None
    own_renderer: Any = None
    with ExitStack() as failed:
        if rolls and renderer is None:
            renderer = own_renderer = renderer_of(model, width, height)
            failed.callback(renderer.close)
        if recorder is None:
            told = {
                f: {"names": [c.name for c in cs], "units": [c.unit for c in cs]} for f, cs in columns.items()
            }
            recorder = Recorder(
                name, dir=dir, dt=float(model.opt.timestep), overwrite=overwrite,
                metadata={**(metadata or {}), "mujoco": mujoco.__version__, "columns": told},
            )  # fmt: skip
            failed.callback(recorder.close)
        sample = State(data, columns, named)
        stream = recorder.stream(
            name, *files, like=sample.now(), hz=hz, overflow=overflow, units=sample.units
        )
        shots = []
        for roll in rolls:
            shots.append(load_camera(recorder, model, roll, renderer, scene_option, overflow))
        failed.pop_all()
    return Recording(data, recorder, stream, sample, shots, columns, own_recorder, own_renderer)


def state_fields(model: mujoco.MjModel, data: mujoco.MjData, state: Any) -> list[str]:
    """The names of what is to be recorded, checked.

    Raises
    ------
    OptionError
        MjData has no such thing, nothing in it, or it is no number or array of fixed size.
    """
    if state is None:
        return [name for name in DEFAULT_STATE if np.size(getattr(data, name))]
    if state is True:
        state = mujoco.mjtState.mjSTATE_INTEGRATION
    if isinstance(state, str):
        state = (state,)
    if not isinstance(state, Sequence):
        return _of_bits(data, state)
    for name in state:
        value: Any = getattr(data, name, None) if isinstance(name, str) else None
        number = isinstance(value, (int, float, np.generic)) and not isinstance(value, bool)
        if not number and not (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
            raise checks.refuse(
                "state", name, "names of numbers or arrays of MjData, such as 'qpos', or mjtState bits"
            )
        if name.startswith(_VARYING):
            raise OptionError(
                f"state: the size of {name!r} changes from step to step",
                "record it as a stream of your own, with Ragged (see docs/recording.md)",
            )
        if np.size(value) == 0:
            raise OptionError(f"state: this model has no {name!r}", "leave it out")
    if len({*state}) < len(state) or not state:
        raise checks.refuse("state", state, "each name once, and at least one")
    return [*state]


def _of_bits(data: mujoco.MjData, state: Any) -> list[str]:
    """The arrays that make up a combination of ``mjtState`` bits, in the order of ``mj_getState``."""
    try:
        bits = int(state)
    except (TypeError, ValueError):
        raise checks.refuse("state", state, "names of arrays of MjData, or mjtState bits") from None
    known = state_bits()
    unknown = bits & ~sum(known.values())
    if bits <= 0 or unknown:
        raise OptionError(
            f"state={state!r}: there is no such mjtState bit", "combine members of mujoco.mjtState"
        )
    return [name for name, bit in known.items() if bits & bit and np.size(getattr(data, name))]


def state_bits() -> dict[str, int]:
    """Names in MjData of all that a state is made of, with their ``mjtState`` bits, in the order of ``mj_getState``."""
    single = sorted(
        (int(member), label.removeprefix("mjSTATE_").lower())
        for label, member in mujoco.mjtState.__members__.items()
        if int(member).bit_count() == 1
    )
    return {_OTHER_NAMES.get(label, label): bit for bit, label in single}


class State:
    """A sample that is always up to date: views of MjData's arrays, so that a step has nothing to gather.

    Parameters
    ----------
    data : mujoco.MjData
    columns : dict
        From fields to the names and units of their numbers.
    named : bool
        One field per number.
    """

    def __init__(self, data: mujoco.MjData, columns: Mapping[str, list[Column]], named: bool) -> None:
        self._data = data
        self._sample: dict[str, Any] = {}
        #: Numbers of MjData that are no arrays: to be fetched.
        self._numbers: list[str] = []
        self.units: dict[str, str] = {}
        for field, parts in columns.items():
            value = getattr(data, field)
            if not isinstance(value, np.ndarray):
                self._numbers.append(field)
                self._sample[field] = value
                _note(self.units, field, parts)
            elif named:
                flat = value.reshape(-1)  # a view: MuJoCo's arrays are contiguous
                for i, part in enumerate(parts):
                    self._sample[part.name] = flat[i : i + 1].reshape(())
                    _note(self.units, part.name, [part])
            else:
                self._sample[field] = value
                _note(self.units, field, parts)

    def now(self) -> dict[str, Any]:
        """The sample, as the simulation stands."""
        for field in self._numbers:
            self._sample[field] = getattr(self._data, field)
        return self._sample


def _note(units: dict[str, str], field: str, parts: Sequence[Column]) -> None:
    """A field's unit, if all its numbers have the same."""
    if len(found := {part.unit for part in parts}) == 1 and (unit := found.pop()):
        units[field] = unit


class Recording:
    """What :func:`record` gives; a context manager that closes itself.

    Attributes
    ----------
    recorder : Recorder
    stream : Stream
        Of the states.
    cameras : dict of str to Stream
    columns : dict of str to list of Column
        Names and units of each field's numbers.
    """

    def __init__(
        self,
        data: mujoco.MjData,
        recorder: Recorder,
        stream: Stream,
        sample: State,
        shots: Sequence[Camera],
        columns: dict[str, list[Column]],
        own_recorder: bool,
        own_renderer: Any,
    ) -> None:
        self.recorder = recorder
        self.stream = stream
        self.cameras = {shot.stream.name: shot.stream for shot in shots}
        self.columns = columns
        self._data = data
        self._sample = sample
        self._shots = [*shots]
        self._own_recorder = own_recorder
        self._own_renderer = own_renderer
        self._step = -1
        self._last_t = -np.inf

    def step(self) -> bool:
        """Record the state, and the frames that are due, at ``data.time``; False if the state was lost.

        To be called behind ``mj_step``; before the first one as well if the initial state is wanted. Where
        ``data.time`` went back, the simulation was reset: the recorder is told (:meth:`Recorder.reset`).
        """
        t = self._data.time
        written = self.write()
        for shot in self._shots:
            if shot.gate.is_due(t) and not shot.stream.is_paused:  # rendering is not for nothing
                shot.shoot(self._data, t, self._step)
        return written

    def write(self) -> bool:
        """Record the state alone; False if it was lost."""
        t = self._data.time
        if t < self._last_t:
            self.reset()
        self._last_t = t
        self._step += 1
        return self.stream.write(self._sample.now(), t, self._step)

    def reset(self) -> None:
        """The simulation was reset: marked, and a new part of files with ``save_on_reset``."""
        self.recorder.reset()
        self._last_t = -np.inf
        for shot in self._shots:
            shot.gate.restart()

    def close(self) -> Summary | None:
        """Nothing more is recorded, and every file is finished; a recorder of yours goes on.

        Returns
        -------
        Summary or None
            None if the recorder is yours.
        """
        if self._own_renderer is not None:
            self._own_renderer.close()
            self._own_renderer = None
        if self._own_recorder:
            return self.recorder.close()
        for stream in (self.stream, *self.cameras.values()):
            stream.close()
        return None

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# --- options ---------------------------------------------------------------------------------------------
def _with_header(sink: SinkOptions, columns: Mapping[str, list[Column]]) -> SinkOptions:
    if isinstance(sink, CSVFile) and sink.header is None:
        return replace(sink, header=tuple(part.name for parts in columns.values() for part in parts))
    return sink
