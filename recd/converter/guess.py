"""A sensible first map, from the names of streams and fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recd_client.schema import BARE, RAGGED, STRING
from recd_client.schema import Field as SchemaField

from .features import ACTION, IMAGE, INFO, OBSERVATION, REWARD, SUCCESS, TERMINATED, TRUNCATED
from .mapping import Map
from .resolving import FeatureSpec

if TYPE_CHECKING:
    from ..reader import ArrayStream, Run

#: Words of a name that tell what a value is for, the surest first.
_ROLES: Final = (
    (REWARD, {"reward", "rewards"}),
    (TERMINATED, {"terminated", "terminations", "done", "dones"}),
    (TRUNCATED, {"truncated", "truncations"}),
    (SUCCESS, {"success", "is_success"}),
    (ACTION, {"action", "actions", "act", "ctrl", "control", "controls", "command", "commands"}),
    (OBSERVATION, {
        "observation", "observations", "obs", "state", "states", "qpos", "qvel", "qacc", "pos", "vel", "quat",
        "position", "positions", "velocity", "velocities", "joint", "joints", "force", "forces", "torque", "torques",
        "imu", "gripper", "ee", "eef", "tcp", "sensor", "sensors", "sensordata", "depth", "camera", "image",
    }),
    (INFO, {"info", "infos", "episode", "seed"}),
)  # fmt: skip
_ALONE: Final = (REWARD, TERMINATED, TRUNCATED, SUCCESS)
_STATE: Final = {"observation", "observations", "obs", "state", "states"}
_WORDS: Final = re.compile(r"[._\- ]+")
#: Together they tell of a recording of Gymnasium episodes, in which a row holds the action that led to it.
_GYMNASIUM: Final = {"reward", "terminated", "truncated", "episode", "seed"}


@dataclass(frozen=True)
class _Found:
    """A field with a role."""

    stream: str
    field: SchemaField
    role: str
    shift: int
    bare: bool

    @property
    def source(self) -> str:
        return self.stream if self.bare else f"{self.stream}/{self.field.name}"

    @property
    def own(self) -> str:
        """The name that tells what it is."""
        return self.stream if self.field.name == BARE else self.field.name


def guess(run: Run, streams: list[str] | None = None) -> Map:
    """A map of a recording; of some of its streams, if these are named."""
    names = [*run] if streams is None else streams
    found: list[_Found] = []
    left_out: list[str] = []
    for name in names:
        if run[name].kind == "array":
            for each in _of(name, run[name]):
                if each.field.kind == RAGGED:
                    left_out.append(f"{each.source}, which varies in size")
                elif each.role == INFO and each.shift and each.own in ("episode", "seed"):
                    left_out.append(f"{each.source}, which tells of the episode")
                else:
                    found.append(each)
    specs: dict[str, FeatureSpec] = {}
    actions = [f for f in found if f.role == ACTION and f.field.kind != STRING]
    for each in found:
        if each in actions and len(actions) > 1:
            continue
        spec = _spec(each, specs)
        specs[spec.name] = spec
    if len(actions) > 1:
        specs["action"] = FeatureSpec(
            "action", tuple(f.source for f in actions), ACTION, shift=actions[0].shift
        )
    for name in names:
        if run[name].kind == "video":
            specs[f"observation.images.{name}"] = FeatureSpec(f"observation.images.{name}", (name,))
    return Map(tuple(specs.values()), left_out=tuple(left_out))


def _of(name: str, stream: ArrayStream) -> Iterator[_Found]:
    fields = {f.name for f in stream.schema.fields}
    gymnasium = fields >= _GYMNASIUM
    for f in stream.schema.fields:
        usual = OBSERVATION if _is_picture(f) else INFO
        role = _role(name if f.name == BARE else f.name) or ("" if f.name == BARE else _role(name)) or usual
        shift = int(gymnasium and role != OBSERVATION)
        yield _Found(name, f, role, shift, bare=stream.schema.bare)


def _role(name: str) -> str:
    """The role that a name tells; empty: none."""
    lower = name.lower()
    words = {lower, *_WORDS.split(lower)}
    head = _WORDS.split(lower)[0]
    for role, known in _ROLES:
        if head in known or (role in (ACTION, OBSERVATION) and words & known) or lower in known:
            return role
    return ""


def _spec(found: _Found, taken: dict[str, FeatureSpec]) -> FeatureSpec:
    own, role = found.own, found.role
    image = role == OBSERVATION and _is_picture(found.field)
    if role in _ALONE or role == ACTION:
        name = role
    else:
        prefix = f"{role}.images" if image else role
        head, _, rest = own.partition(".")
        name = own if head == role and rest else f"{prefix}.{'state' if own.lower() in _STATE else own}"
    if name in taken:
        name = f"{name}.{found.stream}" if role in _ALONE else f"{role}.{found.stream}.{own}"
    kind = IMAGE if image else ""
    return FeatureSpec(name, (found.source,), role, kind=kind, units=found.field.unit, shift=found.shift)


def _is_picture(f: SchemaField) -> bool:
    return f.dtype == "|u1" and len(f.shape) == 3 and f.shape[2] in (1, 3, 4) and min(f.shape[:2]) >= 16
