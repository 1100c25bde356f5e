"""What a stream has of an ``MjData``, and setting it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from recd_client.errors import OptionError
from recd_client.mujoco.names import columns_of
from recd_client.mujoco.recording import state_bits

from ..reader import ArrayStream
from .rows import Row


class Vector:
    """What of a state is recorded, as one vector for ``mj_setState``.

    Parameters
    ----------
    fields : collection of str
        What is recorded.
    names : sequence of str
        Which of that to set; the time is set with a position.
    """

    def __init__(self, model: mujoco.MjModel, fields: Mapping[str, Any], names: Sequence[str]) -> None:
        bits = {n: b for n, b in state_bits().items() if n in names and (n in fields or n == "time")}
        self._model = model
        self._names = [*bits]
        self._spec = sum(bits.values())
        self._vector = np.empty(mujoco.mj_stateSize(model, self._spec))

    def set(self, data: mujoco.MjData, row: Row) -> None:
        """Set it."""
        if self._names:
            np.concatenate([np.ravel(row.values[n]) for n in self._names], out=self._vector, casting="unsafe")
            mujoco.mj_setState(self._model, data, self._vector, self._spec)


# --- what was given ----------------------------------------------------------------------------------
def simulation_of(sim: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The model and the data that were given, or are made of what was given.

    Raises
    ------
    OptionError
        It is neither, or no model can be loaded.
    """
    if isinstance(sim, (str, os.PathLike)):
        path = os.fspath(sim)
        load = mujoco.MjModel.from_binary_path if path.endswith(".mjb") else mujoco.MjModel.from_xml_path
        try:
            sim = load(path)
        except (ValueError, FileNotFoundError, mujoco.FatalError) as e:
            raise OptionError(f"{path}: no model of MuJoCo: {e}", "pass one that MuJoCo loads") from None
    model, data = sim if isinstance(sim, tuple) and len(sim) == 2 else (sim, None)
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, (mujoco.MjData, type(None))):
        raise OptionError(
            f"sim={sim!r:.80}: expected an MjModel, or one with its MjData", "pass model, or (model, data)"
        )
    return model, mujoco.MjData(model) if data is None else data


def has_states(stream: ArrayStream) -> bool:
    """Whether it has positions."""
    return any(name == "qpos" or name.startswith("qpos.") for name in stream.fields)


def fields_of(model: mujoco.MjModel, data: mujoco.MjData, stream: ArrayStream) -> dict[str, tuple[str, ...]]:
    """What of MjData a stream has: name to its field, or to a field per number (``named=True``).

    Raises
    ------
    OptionError
        A part of the state has another shape than in this model, or numbers of other joints.
    """
    parts: dict[str, list[str]] = {}
    for field in stream.fields:
        if name := _name_of(data, field):
            parts.setdefault(name, []).append(field)
    found: dict[str, tuple[str, ...]] = {}
    for name, there in parts.items():
        shape = np.shape(getattr(data, name))
        if name in there:
            own: tuple[str, ...] = (name,)
            fits = stream.shapes[name] == shape
            what = f"was recorded with the shape {stream.shapes[name]}, this model's has {shape}"
        else:
            own = tuple(column.name for column in columns_of(model, data, name))
            fits = {*own} == {*there}
            odd = ", ".join(sorted({*own} ^ {*there})[:4])
            what = f"was recorded of {len(there)} joints or objects, this model has {len(own)}; not in both: {odd}"
        if fits:
            found[name] = own
        elif name in state_bits():
            raise OptionError(f"stream {stream.name!r}: {name} {what}", "pass the model that was recorded")
    return found


def _name_of(data: mujoco.MjData, field: str) -> str:
    """What of MjData a field is, or is a number of (``qpos.hip``, ``userdata_3``); empty if it is none of that."""
    for name in (field, field.partition(".")[0], field.rpartition("_")[0]):
        if isinstance(getattr(data, name, None) if name else None, (np.ndarray, int, float)):
            return name
    return ""
