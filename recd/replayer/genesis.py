"""Genesis: recorded states into an entity (``set_qpos`` and its like), and recorded controls into its scene."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

import genesis as gs
from recd_client.errors import OptionError

from ..reader import ArrayStream, Run
from .report import Report, Skipped
from .rows import Row, Stretch, find_stream, rows, stretches

#: What can be set, in this order; each has a method ``set_*`` and ``get_*``.
STATES: Final = ("qpos", "dofs_position", "pos", "quat", "dofs_velocity")
#: What the scene does with its entity: methods of these names.
CONTROLS: Final = ("control_dofs_position", "control_dofs_velocity", "control_dofs_force")
_OFF_STEP: Final = 1e-3


class GenesisReplay:
    """States of a recording, set into an entity one after the other: iterate over it.

    Where the scene has a viewer, it shows each of them; cameras do with ``camera.render(force_render=True)``.

    Parameters
    ----------
    run : Run
    entity : genesis entity
        Of a scene that is built.
    stream : str, optional
        Which holds the states; needed where several do.
    episodes : sequence of int, optional
        Only these, as of ``run.episodes(stream)``.
    fields : dict, optional
        Where recorded fields are called otherwise than Genesis' methods: ``{"qpos": "joints"}``; keys are ``qpos``,
        ``dofs_position``, ``dofs_velocity``, ``pos``, ``quat``, ``control_dofs_position``, ``control_dofs_velocity``,
        ``control_dofs_force``. A sample that is no dict has the field ``data``.

    Raises
    ------
    OptionError
        The recording has no states, or they do not fit the entity.
    """

    def __init__(
        self,
        run: Run,
        entity: Any,
        *,
        stream: str | None = None,
        episodes: Sequence[int] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        known = (*STATES, *CONTROLS)
        for name in fields or ():
            if name not in known:
                raise OptionError(
                    f"fields: {name!r} cannot be set, {', '.join(known)} can", "use these as keys"
                )
        named = {**{name: name for name in known}, **(fields or {})}
        self.run, self.entity = run, entity
        self.scene = entity.scene if hasattr(entity, "scene") else entity._scene
        needed = (
            f"a stream with a field {' or '.join(named[name] for name in STATES)} (or fields={{'qpos': ...}})"
        )
        self.stream: ArrayStream = find_stream(
            run, stream, lambda s: any(named[name] in s.fields for name in STATES), needed
        )
        for f in (fields or {}).values():
            self.stream[f]  # names those that there are
        self._fields = {name: f for name, f in named.items() if f in self.stream.fields}
        for name in STATES:
            if name not in self._fields:
                continue
            found, own = self.stream.shapes[self._fields[name]], tuple(self._get(name).shape)
            if found != own:
                raise OptionError(
                    f"stream {self.stream.name!r}: {self._fields[name]} was recorded with the shape {found}, get_"
                    f"{name} of this entity has {own}",
                    "pass the entity that was recorded, in a scene with as many environments",
                )
        self._stretches = stretches(run, self.stream, episodes)

    def __len__(self) -> int:
        return sum(s.stop - s.start for s in self._stretches)

    def __iter__(self) -> Iterator[Row]:
        """Set each state, and give its sample."""
        for stretch in self._stretches:
            for row in self._rows(stretch):
                self.set(row)
                if self.scene.viewer is not None:
                    self.scene.visualizer.update(force=True)
                yield row

    def set(self, row: Row) -> None:
        """Set one state."""
        for name in STATES:
            if name in self._fields:
                setter = getattr(self.entity, f"set_{name}")
                options = {} if name == "dofs_velocity" else {"zero_velocity": False}
                setter(np.array(row.values[self._fields[name]]), **options)

    def _rows(self, part: Stretch) -> Iterator[Row]:
        return rows(self.stream, part.start, part.stop, [*self._fields.values()])

    def _get(self, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(getattr(self.entity, f"get_{name}")().cpu())

    def check(self, *, tolerance: float = 0.0, recorded: str | None = None) -> Report:
        """Feed the recorded controls to the scene, and compare the entity's states with those recorded.

        The scene is set to the first state of each stretch, and stepped as often as time tells.

        Parameters
        ----------
        tolerance : float
            Largest difference that counts as none; 0: equal bit for bit. What the constraint solver begins with is in
            no recording of Genesis, so states with contacts come out a little different.
        recorded : {"after", "before"}, optional
            Whether samples were taken behind ``scene.step()``, with the controls that led to them, or before it.
            Default: as Genesis does, before it from 1.0 on.
        """
        order = recorded or ("after" if gs.__version__.startswith("0.") else "before")
        if order not in ("after", "before"):
            raise OptionError(f"recorded={recorded!r}: expected 'after' or 'before'", "choose one")
        report = Report(self.stream.name, tolerance)
        if not any(name in self._fields for name in CONTROLS):
            report.notes.append("no controls are recorded: the entity is left to itself")
        for part in self._stretches:
            before: Row | None = None
            for row in self._rows(part):
                if before is None:
                    self.scene.reset()
                    self.set(row)
                    report.starts += 1
                    if part.lost:
                        lost = f"{part.lost} samples before it were lost; set to it as it is recorded"
                        report.skipped.append(Skipped(row.index, row.index + 1, lost))
                else:
                    self._control(row if order == "after" else before)
                    for _ in range(self._steps(before, row)):
                        self.scene.step()
                    names = [name for name in STATES if name in self._fields]
                    report.compare(
                        row.index,
                        row.t,
                        {name: row.values[self._fields[name]] for name in names},
                        {name: self._get(name) for name in names},
                    )
                before = row
        return report

    def _control(self, row: Row) -> None:
        for name in CONTROLS:
            if name in self._fields:
                getattr(self.entity, name)(np.array(row.values[self._fields[name]]))

    def _steps(self, before: Row, row: Row) -> int:
        steps = float((row.t - before.t) / self.scene.dt)
        if not math.isfinite(steps) or abs(steps - round(steps)) > _OFF_STEP * max(1.0, abs(steps)):
            raise OptionError(
                f"sample {row.index} is {steps:.6g} steps of {self.scene.dt:g} s behind the one before",
                "build the scene with the dt that was recorded",
            )
        return round(steps)
