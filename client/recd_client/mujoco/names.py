"""What the numbers of an MjData are called, and their units: from the joints, sensors and bodies of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import mujoco
import numpy as np

_XYZ: Final = ("x", "y", "z")
_QUAT: Final = ("qw", "qx", "qy", "qz")
#: What a field's name may not hold, and what becomes of the path of a name such as ``robot/hip``.
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f/\\\",]")


class Column(NamedTuple):
    """One number of a field: ``Column("qpos.hip", "rad")``; the unit is empty where the model has none."""

    name: str
    unit: str


def columns_of(model: mujoco.MjModel, data: mujoco.MjData, field: str) -> list[Column]:
    """Names and units of a field's numbers, in their order.

    Fields that this module does not know the meaning of are numbered: ``crb_0``, ``crb_1``, ...

    Parameters
    ----------
    model : mujoco.MjModel
    data : mujoco.MjData
    field : str
        ``"qpos"``, ``"sensordata"``, ...
    """
    value = getattr(data, field)
    size = int(np.size(value))
    parts = _parts(model, field)
    if parts is None or len(found := list(parts)) != size:
        if np.ndim(value) == 0:
            return [Column(field, "s" if field == "time" else "")]
        return [Column(f"{field}_{i}", "") for i in range(size)]
    names: dict[str, str] = {}
    for i, (part, unit) in enumerate(found):
        name = _FORBIDDEN.sub(".", f"{field}.{part}")[:120]
        names[name if name not in names else f"{name}_{i}"] = unit
    return [Column(*pair) for pair in names.items()]


def _parts(model: mujoco.MjModel, field: str) -> Iterator[tuple[str, str]] | None:
    """Name (without the field's) and unit of each number; None for a field that is not known."""
    if field == "qpos":
        return _positions(model)
    for prefix, linear, angular in _OF_DOFS:
        if field.startswith(prefix):
            return _of_dofs(model, linear, angular)
    if field == "sensordata":
        return _sensors(model)
    if field == "act":
        return _activations(model)
    if field == "energy":
        return iter((("potential", "J"), ("kinetic", "J")))
    if field in _OF_OBJECTS:
        kind, components, units = _OF_OBJECTS[field]
        return _of_objects(_names(model, kind), components, units)
    if field in ("mocap_pos", "mocap_quat"):
        bodies = _names(model, mujoco.mjtObj.mjOBJ_BODY)
        moved = {int(m): bodies[b] for b, m in enumerate(model.body_mocapid) if m >= 0}
        names = [moved[i] for i in sorted(moved)]
        return _of_objects(names, *((_XYZ, ("m",)) if field == "mocap_pos" else (_QUAT, ("",))))
    return None


#: Fields with a number per degree of freedom: what they begin with, and units along and about an axis.
_OF_DOFS: Final = (
    ("qvel", "m/s", "rad/s"),
    ("qacc", "m/s^2", "rad/s^2"),
    ("qfrc_", "N", "N*m"),
)
_Obj: Final = mujoco.mjtObj
#: Fields with numbers per object: its kind, their names, and the units of all or of each half of them.
_OF_OBJECTS: Final[dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]]] = {
    "ctrl": (_Obj.mjOBJ_ACTUATOR, ("",), ("",)),
    "actuator_force": (_Obj.mjOBJ_ACTUATOR, ("",), ("",)),
    "actuator_length": (_Obj.mjOBJ_ACTUATOR, ("",), ("",)),
    "actuator_velocity": (_Obj.mjOBJ_ACTUATOR, ("",), ("",)),
    "ten_length": (_Obj.mjOBJ_TENDON, ("",), ("m",)),
    "ten_velocity": (_Obj.mjOBJ_TENDON, ("",), ("m/s",)),
    "eq_active": (_Obj.mjOBJ_EQUALITY, ("",), ("",)),
    "xpos": (_Obj.mjOBJ_BODY, _XYZ, ("m",)),
    "xipos": (_Obj.mjOBJ_BODY, _XYZ, ("m",)),
    "xquat": (_Obj.mjOBJ_BODY, _QUAT, ("",)),
    "subtree_com": (_Obj.mjOBJ_BODY, _XYZ, ("m",)),
    "subtree_linvel": (_Obj.mjOBJ_BODY, _XYZ, ("m/s",)),
    "subtree_angmom": (_Obj.mjOBJ_BODY, _XYZ, ("kg*m^2/s",)),
    "xfrc_applied": (_Obj.mjOBJ_BODY, ("fx", "fy", "fz", "tx", "ty", "tz"), ("N", "N*m")),
    "geom_xpos": (_Obj.mjOBJ_GEOM, _XYZ, ("m",)),
    "site_xpos": (_Obj.mjOBJ_SITE, _XYZ, ("m",)),
    "cam_xpos": (_Obj.mjOBJ_CAMERA, _XYZ, ("m",)),
}
_COUNTS: Final[dict[Any, str]] = {
    _Obj.mjOBJ_ACTUATOR: "nu", _Obj.mjOBJ_TENDON: "ntendon", _Obj.mjOBJ_EQUALITY: "neq",
    _Obj.mjOBJ_BODY: "nbody", _Obj.mjOBJ_GEOM: "ngeom", _Obj.mjOBJ_SITE: "nsite",
    _Obj.mjOBJ_CAMERA: "ncam", _Obj.mjOBJ_JOINT: "njnt", _Obj.mjOBJ_SENSOR: "nsensor",
}  # fmt: skip


def _names(model: mujoco.MjModel, kind: Any) -> list[str]:
    """The objects' names; those without one are ``joint3``, ``body7``, ..."""
    called = kind.name.removeprefix("mjOBJ_").lower()
    count = getattr(model, _COUNTS[kind])
    return [mujoco.mj_id2name(model, kind, i) or f"{called}{i}" for i in range(count)]


def _of_objects(
    names: list[str], components: tuple[str, ...], units: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for name in names:
        for i, component in enumerate(components):
            yield _joined(name, component), units[i * len(units) // len(components)]


def _joined(name: str, component: str) -> str:
    return f"{name}.{component}" if component else name


# --- joints ------------------------------------------------------------------------------------------
def _joints(model: mujoco.MjModel) -> Iterator[tuple[str, mujoco.mjtJoint]]:
    for name, kind in zip(_names(model, _Obj.mjOBJ_JOINT), model.jnt_type, strict=True):
        yield name, mujoco.mjtJoint(int(kind))


def _positions(model: mujoco.MjModel) -> Iterator[tuple[str, str]]:
    for name, kind in _joints(model):
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            yield from ((f"{name}.{c}", "m") for c in _XYZ)
        if kind in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL):
            yield from ((f"{name}.{c}", "") for c in _QUAT)
        else:
            yield name, "m" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "rad"


def _of_dofs(model: mujoco.MjModel, linear: str, angular: str) -> Iterator[tuple[str, str]]:
    for name, kind in _joints(model):
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            yield from ((f"{name}.{c}", linear) for c in _XYZ)
        if kind in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL):
            yield from ((f"{name}.r{c}", angular) for c in _XYZ)
        else:
            yield name, linear if kind == mujoco.mjtJoint.mjJNT_SLIDE else angular


def _activations(model: mujoco.MjModel) -> Iterator[tuple[str, str]]:
    names = _names(model, _Obj.mjOBJ_ACTUATOR)
    owners = sorted((int(a), i) for i, a in enumerate(model.actuator_actadr) if a >= 0)
    for _, i in owners:
        count = int(model.actuator_actnum[i])
        yield from ((names[i] if count == 1 else f"{names[i]}.{k}", "") for k in range(count))


# --- sensors -----------------------------------------------------------------------------------------
_SENSOR_UNITS: Final = {
    "TOUCH": "N", "ACCELEROMETER": "m/s^2", "VELOCIMETER": "m/s", "GYRO": "rad/s", "FORCE": "N",
    "TORQUE": "N*m", "RANGEFINDER": "m", "TENDONPOS": "m", "TENDONVEL": "m/s", "TENDONACTFRC": "N",
    "BALLANGVEL": "rad/s", "TENDONLIMITPOS": "m", "TENDONLIMITVEL": "m/s", "TENDONLIMITFRC": "N",
    "FRAMEPOS": "m", "FRAMELINVEL": "m/s", "FRAMEANGVEL": "rad/s", "FRAMELINACC": "m/s^2",
    "FRAMEANGACC": "rad/s^2", "SUBTREECOM": "m", "SUBTREELINVEL": "m/s", "SUBTREEANGMOM": "kg*m^2/s",
    "GEOMDIST": "m", "GEOMFROMTO": "m", "E_POTENTIAL": "J", "E_KINETIC": "J", "CLOCK": "s",
}  # fmt: skip
#: Units along an axis and about it: the sensor's joint decides.
_JOINT_SENSOR_UNITS: Final = {
    "JOINTPOS": ("m", "rad"), "JOINTVEL": ("m/s", "rad/s"), "JOINTACTFRC": ("N", "N*m"),
    "JOINTLIMITPOS": ("m", "rad"), "JOINTLIMITVEL": ("m/s", "rad/s"), "JOINTLIMITFRC": ("N", "N*m"),
}  # fmt: skip
_QUAT_SENSORS: Final = ("BALLQUAT", "FRAMEQUAT")


def _sensors(model: mujoco.MjModel) -> Iterator[tuple[str, str]]:
    for i, name in enumerate(_names(model, _Obj.mjOBJ_SENSOR)):
        kind = mujoco.mjtSensor(int(model.sensor_type[i])).name.removeprefix("mjSENS_")
        unit = _SENSOR_UNITS.get(kind, "")
        if kind in _JOINT_SENSOR_UNITS:
            slides = int(model.jnt_type[model.sensor_objid[i]]) == mujoco.mjtJoint.mjJNT_SLIDE
            unit = _JOINT_SENSOR_UNITS[kind][0 if slides else 1]
        dim = int(model.sensor_dim[i])
        components: Callable[[int], str] = str
        if dim == 3:
            components = _XYZ.__getitem__
        elif kind in _QUAT_SENSORS:
            components = _QUAT.__getitem__
        if dim == 1:
            yield name, unit
        else:
            yield from ((f"{name}.{components(k)}", unit) for k in range(dim))
