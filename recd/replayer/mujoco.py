"""MuJoCo: recorded states into ``MjData`` (``mj_setState``, ``mj_forward``), and recorded controls into fresh ones."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import mujoco
import numpy as np

from recd_client import checks
from recd_client.errors import OptionError, ReplayWarning
from recd_client.mujoco.cameras import load_camera, renderer_of, rolls_of
from recd_client.mujoco.names import columns_of
from recd_client.mujoco.recording import state_bits
from recd_client.options import VideoFile
from recd_client.recorder import Recorder
from recd_client.summary import Summary

from ..reader import ArrayStream, Run
from .mujoco_state import Vector, fields_of, has_states, simulation_of
from .report import Report, Skipped
from .rows import Row, Stretch, find_stream, rows, stretches

#: What a step takes and does not change.
INPUTS: Final = (
    "ctrl", "qfrc_applied", "xfrc_applied", "eq_active", "mocap_pos", "mocap_quat", "userdata",
)  # fmt: skip
#: How far samples may be from whole steps apart, in steps.
_OFF_STEP: Final = 1e-3


class MujocoReplay:
    """States of a recording, set into an ``MjData`` one after the other: iterate over it, or ``show``, ``render``.

    Parameters
    ----------
    run : Run
    sim : MjModel, (MjModel, MjData), or path of a model
    stream : str, optional
        Which holds the states; needed where several do.
    episodes : sequence of int, optional
        Only these, as of ``run.episodes(stream)``.

    Attributes
    ----------
    model : mujoco.MjModel
    data : mujoco.MjData
        What is set.
    stream : ArrayStream
    recorded : tuple of str
        What of MjData the recording has.

    Raises
    ------
    OptionError
        The recording has no states, or they do not fit the model.
    """

    def __init__(
        self, run: Run, sim: Any, *, stream: str | None = None, episodes: Sequence[int] | None = None
    ) -> None:
        self.run = run
        self.model, self.data = simulation_of(sim)
        found = find_stream(
            run,
            stream,
            has_states,
            "a stream with qpos (of recd_client.mujoco.record), for a check qvel too",
        )
        self.stream: ArrayStream = found
        self._fields = fields_of(self.model, self.data, found)
        self.recorded = tuple(self._fields)
        self._stretches = stretches(run, found, episodes)
        self._all = Vector(self.model, self._fields, (*state_bits(),))
        self.notes = self._differing_versions()
        for note in self.notes:
            warnings.warn(note, ReplayWarning, stacklevel=4)

    def _differing_versions(self) -> list[str]:
        notes = []
        version = self.run.metadata.get("mujoco")
        if version not in (None, mujoco.__version__):
            notes.append(f"recorded with MuJoCo {version}, this is {mujoco.__version__}")
        columns = self.run.metadata.get("columns")
        for name in self.recorded:
            told = columns.get(name, {}).get("names") if isinstance(columns, Mapping) else None
            own = [c.name for c in columns_of(self.model, self.data, name)]
            if told is not None and told != own:
                at = next((i for i, pair in enumerate(zip(told, own, strict=False)) if len({*pair}) > 1), 0)
                notes.append(
                    f"{name}: recorded of {told[at]!r}, the model has {own[at]!r} there: another model?"
                )
        return notes

    # --- states ------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return sum(s.stop - s.start for s in self._stretches)

    def __iter__(self) -> Iterator[Row]:
        """Set each state, and give its sample: ``index``, ``t``, ``values``."""
        for stretch in self._stretches:
            for row in self._rows(stretch):
                self.set(row)
                yield row

    def set(self, row: Row | int) -> Row:
        """Set one state; all that depends on it (positions of bodies, sensors) is computed: ``mj_forward``.

        Parameters
        ----------
        row : Row or int
            Or the index of a sample.
        """
        if not isinstance(row, Row):
            i = self.stream._index(row)
            row = next(self._rows(Stretch(i, i + 1)))
        self._set(row)
        return row

    def set_values(self, t: float, values: Mapping[str, Any]) -> None:
        """Set the state of a sample that was read in another way: its time (s), and its fields."""
        self._set(self._row(-1, t, values))

    def _set(self, row: Row) -> None:
        self._all.set(self.data, row)
        mujoco.mj_forward(self.model, self.data)

    def _rows(self, stretch: Stretch) -> Iterator[Row]:
        """Samples by names of MjData."""
        wanted = [part for parts in self._fields.values() for part in parts]
        for row in rows(self.stream, stretch.start, stretch.stop, wanted):
            yield self._row(row.index, row.t, row.values)

    def _row(self, index: int, t: float, values: Mapping[str, Any]) -> Row:
        found = {
            name: values[name] if parts == (name,) else np.array([values[p] for p in parts])
            for name, parts in self._fields.items()
        }
        return Row(index, t, {"time": t, **found})

    # --- seeing them -----------------------------------------------------------------------------------
    def show(self, rate: float = 1.0, *, loop: bool = False, start_paused: bool = False) -> None:
        """Step through all of it in MuJoCo's viewer, until the window is closed.

        Keys: SPACE pause, RIGHT and LEFT one state on and back, UP and DOWN twice and half the rate.

        Parameters
        ----------
        rate : float
            Seconds of the recording per second.

        Raises
        ------
        OptionError
            No window can be opened here.
        """
        from .viewing import show

        show(self, rate, loop=loop, start_paused=start_paused)

    def render(
        self,
        camera: str | int = -1,
        to: str | os.PathLike[str] | None = None,
        *,
        fps: float = 30,
        width: int = 640,
        height: int = 480,
        scene_option: Any = None,
        overwrite: str = "error",
    ) -> Summary:
        """Film the recorded states with a camera of the model: a recording of its own, with its manifest.

        Parameters
        ----------
        camera : str or int
            By name or id; -1 is the free one.
        to : path
            The film: .mp4, .mov or .mkv. Its directory gets the manifest.
        fps : float
            Frames per second of simulated time.
        width, height, scene_option, overwrite
            As of :func:`recd_client.mujoco.record`.

        Returns
        -------
        Summary
            What was written.

        Raises
        ------
        OptionError
            The model has no such camera, nothing can be rendered here, or the film would stand in the
            recording's own directory.
        OutputExistsError
            The film exists.
        """
        if to is None:
            raise OptionError("to: expected the path of a film", "for instance to='again/side.mp4'")
        path = Path(to)
        if self.run.manifest and path.parent.resolve() == self.run.path.resolve():
            raise OptionError(
                f"to={os.fspath(to)!r}: the film would be the newest recording of that directory",
                "put it beside or below it: to='again/side.mp4'",
            )
        (roll,) = rolls_of(
            self.model, {camera: VideoFile(path.name)}, checks.positive("fps", fps, unit="frames per second")
        )
        told = {"replay_of": {"session": self.run.session, "path": str(self.run.path)}}
        step_s = float(self.model.opt.timestep)
        with closing(renderer_of(self.model, width, height)) as renderer, Recorder(
            roll[1], dir=path.parent, dt=step_s, overwrite=overwrite, metadata=told
        ) as recorder:  # fmt: skip
            shot = load_camera(recorder, self.model, roll, renderer, scene_option, "block")
            last = -math.inf
            for row in self:
                t = self.data.time
                if t < last:
                    recorder.reset()
                    shot.gate.restart()
                last = t
                if shot.gate.is_due(t):
                    shot.shoot(self.data, t, row.index)
            return recorder.close()

    # --- actions ---------------------------------------------------------------------------------------
    def check(
        self,
        *,
        tolerance: float = 0.0,
        fields: Sequence[str] | None = None,
        recorded: str = "after",
        begin: str = "recording",
    ) -> Report:
        """Feed the recorded inputs to a fresh simulation, and compare its states with those recorded.

        A stretch begins with its first recorded state; then nothing is set but inputs (``ctrl``, ``mocap_pos``, ...),
        ``mj_step`` is called as often as time tells, and each state is compared. ``data`` is left alone.

        Parameters
        ----------
        tolerance : float
            Largest difference that counts as none; 0: equal bit for bit.
        fields : sequence of str, optional
            What to compare. Default: what is recorded of the state, and the time.
        recorded : {"after", "before"}
            Whether samples were written behind ``mj_step``, with the inputs that led to them, or before it.
        begin : {"recording", "simulation"}
            What the first sample of each episode comes from: it is taken as it is, or one step is made from
            ``data`` as it stands: for recordings that begin behind the first step.

        Raises
        ------
        OptionError
            The recording lacks what a step needs, or has another time step.
        """
        for name, value, known in (
            ("recorded", recorded, ("after", "before")),
            ("begin", begin, ("recording", "simulation")),
        ):
            if value not in known:
                raise OptionError(f"{name}={value!r}: expected {' or '.join(map(repr, known))}", "choose one")
        if not tolerance >= 0:
            raise OptionError(f"tolerance={tolerance!r}: expected a number >= 0", "0 is bit for bit")
        self._check_complete()
        compared = self._compared(fields)
        report = self._run(tolerance, compared, recorded, begin, self._stretches)
        report.notes += [*self.notes, *self._missing()]
        if report.first is not None and "ctrl" in self._fields:
            self._try_other_order(report, compared, recorded, begin)
        return report

    def _check_complete(self) -> None:
        needed = [name for name in ("qpos", "qvel", "act", "ctrl") if np.size(getattr(self.data, name))]
        lacking = [name for name in needed if name not in self._fields]
        if lacking:
            raise OptionError(
                f"stream {self.stream.name!r} has {', '.join(self.stream.fields)}; a step of this model also needs "
                f"{', '.join(lacking)}",
                "record them: recd_client.mujoco.record(model, data, state=True)",
            )
        timestep = float(self.model.opt.timestep)
        if "mujoco" in self.run.metadata and self.run.dt not in (None, timestep):
            raise OptionError(
                f"recorded with a time step of {self.run.dt:g} s, the model has {timestep:g} s",
                f"model.opt.timestep = {self.run.dt!r}",
            )

    def _compared(self, fields: Sequence[str] | None) -> list[str]:
        if fields is None:
            return ["time", *(f for f in self._fields if f in state_bits() and f not in (*INPUTS, "time"))]
        for name in fields:
            if name not in self._fields and name != "time":
                raise OptionError(
                    f"fields: {name!r} is not recorded, {', '.join(self._fields)} are", "choose of these"
                )
        return list(fields)

    def _missing(self) -> list[str]:
        """What of the state is not recorded."""
        lacking = [
            name for name in state_bits()
            if name not in (*self._fields, "time") and np.size(getattr(self.data, name))
        ]  # fmt: skip
        if not lacking:
            return []
        return [
            f"not recorded, and taken as after mj_resetData: {', '.join(lacking)} (record with state=True)"
        ]

    def _run(
        self, tolerance: float, compared: list[str], order: str, begin: str, parts: Sequence[Stretch]
    ) -> Report:
        report = Report(self.stream.name, tolerance)
        held = Vector(self.model, self._fields, INPUTS)
        for stretch in parts:
            fresh = begin == "simulation" and not stretch.lost
            data = copy.copy(self.data) if fresh else mujoco.MjData(self.model)
            before: Row | None = None
            for row in self._rows(stretch):
                if before is None and not fresh:
                    self._all.set(data, row)
                    report.starts += 1
                    if stretch.lost:
                        lost = f"{stretch.lost} samples before it were lost; set to it as it is recorded"
                        report.skipped.append(Skipped(row.index, row.index + 1, lost))
                else:
                    steps = self._steps(row, data.time)
                    held.set(data, row if order == "after" or before is None else before)
                    if steps:
                        mujoco.mj_step(self.model, data, steps)
                    recorded = {name: row.values[name] for name in compared}
                    report.compare(
                        row.index, row.t, recorded, {name: getattr(data, name) for name in compared}
                    )
                before = row
        return report

    def _steps(self, row: Row, now: float) -> int:
        """How many steps lead to a sample."""
        at = float(row.values["time"])
        steps = (at - now) / float(self.model.opt.timestep)
        if (
            not math.isfinite(steps)
            or abs(steps - round(steps)) > _OFF_STEP * max(1.0, abs(steps))
            or steps < -0.5
        ):
            raise OptionError(
                f"sample {row.index} at {at:.9g} s is {steps:.6g} steps of {self.model.opt.timestep:g} s "
                f"behind the simulation's time, {now:.9g} s",
                "pass the model with the time step that was recorded, and data.time as t",
            )
        return round(steps)

    def _try_other_order(self, report: Report, compared: list[str], order: str, begin: str) -> None:
        """Where the inputs of the neighbouring samples would do, say so."""
        assert report.first is not None
        at = report.first.index
        (part,) = [s for s in self._stretches if s.start <= at < s.stop]
        other = "before" if order == "after" else "after"
        again = self._run(report.tolerance, compared, other, begin, [Stretch(part.start, at + 1)])
        if again.first is None:
            report.notes.append(
                f"it does not differ there with recorded={other!r}: when was the sample written?"
            )
