"""``map.toml``: which stream and field becomes which feature. Read, and checked against the recordings.

::

    task = "walk to the door"              # of every episode
    fps = 50                               # as --fps
    [features."observation.state"]
    from = ["state/qpos", "state/qvel[0:6]"]   # stream/field, with an index into one sample
    role = "observation"
    dtype = "float32"

:mod:`recd.converter.guess` makes a first one, :func:`to_toml` writes it.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recd_client.errors import OptionError, OutputError

from .features import KINDS, ROLES, TEXT, Feature
from .resolving import FeatureSpec, resolved, stream_of

if TYPE_CHECKING:
    from ..reader import Run

_FEATURE_KEYS: Final = ("from", "role", "dtype", "kind", "names", "units", "shift")
_TEXT_KEYS: Final = ("task", "task_from", "robot", "align", "lead")
_KEYS: Final = (*_TEXT_KEYS, "fps", "target", "features")
_NAME: Final = re.compile(r"[^\x00-\x1f/\\\"]{1,128}")


@dataclass(frozen=True)
class Map:
    """A whole map.

    Parameters
    ----------
    features : tuple of FeatureSpec
    task, task_from, robot : str
        ``task_from`` names a field of an episode's marks, or of the recording's metadata, that holds the task.
    fps : float or None, 1/s
    align, lead : str
        Empty: not told.
    target : dict
        Choices of the format.
    left_out : tuple of str
        What a guess has no feature for, and why; comments in the file.
    where : str
        What errors call it.
    lines : dict
        Feature name to the line that it begins in.
    """

    features: tuple[FeatureSpec, ...]
    task: str = ""
    task_from: str = ""
    robot: str = ""
    fps: float | None = None
    align: str = ""
    lead: str = ""
    target: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    where: str = "the guessed map"
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that features are made of."""
        return tuple(dict.fromkeys(stream_of(source) for f in self.features for source in f.sources))

    def resolve(self, run: Run) -> tuple[Feature, ...]:
        """The features, with what this recording tells of their shapes and dtypes.

        Raises
        ------
        OptionError
            A stream, a field or an element is not there, or a feature cannot be made of what is.
        """
        return tuple(self._resolve(spec, run) for spec in self.features)

    def _resolve(self, spec: FeatureSpec, run: Run) -> Feature:
        try:
            return resolved(spec, run)
        except OptionError as e:
            line = f":{self.lines[spec.name]}" if spec.name in self.lines else ""
            raise OptionError(f"{self.where}{line}: feature {spec.name!r}: {e.what}", e.do) from None


# --- reading ---------------------------------------------------------------------------------------


def read(path: Path) -> Map:
    """The map in a file.

    Raises
    ------
    OutputError
        It cannot be read.
    OptionError
        It is no map, or a value in it is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise OutputError(f"{path} cannot be read: {e}", "write one with --map-out") from e
    return parse(text, str(path))


def parse(text: str, where: str = "map") -> Map:
    """The map in a text, see :func:`read`."""
    data = _loaded(text, where)
    _known(data, _KEYS, where, "")
    lines = {name: _line_of(text, name) for name in data.get("features") or ()}
    tables = _typed(data, "features", dict, where) or {}
    if not data:
        raise OptionError(
            f"{where}: no feature", 'write one: [features."observation.state"], or use --map-out'
        )
    specs = []
    for name, table in tables.items():
        at = f"{where}:{lines[name]}: feature {name!r}"
        if not isinstance(table, dict):
            raise OptionError(
                f"{at}: expected a table, got {table!r}", f'write [features."{name}"] and from = ...'
            )
        specs.append(_spec(name, table, at))
    fps = data.get("fps")
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < 1e6):
        raise OptionError(f"{where}: fps = {fps!r}: expected rows per second, above 0", "write fps = 50")
    texts = {key: _typed(data, key, str, where) or "" for key in _TEXT_KEYS}
    return Map(
        tuple(specs), texts["task"], texts["task_from"], texts["robot"], None if fps is None else float(fps),
        texts["align"], texts["lead"], target=_typed(data, "target", dict, where) or {}, where=where, lines=lines,
    )  # fmt: skip


def _loaded(text: str, where: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        try:
            import tomli as toml
        except ImportError:
            from recd_client.errors import MissingLibraryError

            raise MissingLibraryError(
                "maps need tomli, which is not installed here", "install it: pip install 'recd[convert]'"
            ) from None
    try:
        return dict(toml.loads(text))
    except toml.TOMLDecodeError as e:
        raise OptionError(f"{where} is no TOML: {e}", "mend that line") from None


def _known(table: Mapping[str, Any], keys: Sequence[str], where: str, of: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            raise OptionError(
                f"{where}: unknown key {key!r}{of}, expected some of {', '.join(keys)}",
                f"did you mean {near[0]!r}?" if near else "leave it out",
            )


def _typed(table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = table.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        names = {str: "a string", int: "a whole number", dict: "a table", list: "a list"}
        raise OptionError(f"{where}: {key} = {value!r}: expected {names[kind]}", "change it, or leave it out")
    return value


def _spec(name: str, table: Mapping[str, Any], at: str) -> FeatureSpec:
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"{at}: expected a name of 1 to 128 characters without '/', '\\' and '\"'", "rename it"
        )
    _known(table, _FEATURE_KEYS, at, "")
    sources, names = _texts(table, "from", at), _texts(table, "names", at)
    if not sources:
        raise OptionError(f"{at}: no 'from'", 'write from = "stream/field"')
    role, kind = _typed(table, "role", str, at) or _role_of(name), _typed(table, "kind", str, at) or ""
    for key, value, allowed in (("role", role, ROLES), ("kind", kind, ("", *KINDS))):
        if value not in allowed:
            known = ", ".join(filter(None, allowed))
            raise OptionError(f"{at}: {key} = {value!r}: expected one of {known}", "choose one of these")
    shift = _typed(table, "shift", int, at) or 0
    if not 0 <= shift <= 1:
        raise OptionError(f"{at}: shift = {shift}: expected 0 or 1", "1 where a row's action led to the row")
    texts = {key: _typed(table, key, str, at) or "" for key in ("dtype", "units")}
    return FeatureSpec(name, sources, role, texts["dtype"], kind, names, texts["units"], shift)


def _role_of(name: str) -> str:
    """The role that a feature's name tells."""
    head = name.partition(".")[0]
    aliases = {"obs": "observation", "actions": "action", "rewards": "reward", "done": "terminated"}
    found = aliases.get(head, head)
    return found if found in ROLES else "info"


def _texts(table: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
    value = table.get(key, [])
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise OptionError(
            f"{at}: {key} = {value!r}: expected a string, or a list of strings", "put it in quotes"
        )
    return tuple(value)


def _line_of(text: str, name: str) -> int:
    """The line in which a feature begins, from 1 on."""
    heads = (f'features."{name}"', f"features.'{name}'", f"features.{name}", f'"{name}"', name)
    for head in heads:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip().removeprefix("[").startswith(head):
                return number
    return 1


# --- writing -----------------------------------------------------------------------------------------


def to_toml(found: Map, features: Sequence[Feature]) -> str:
    """The map as a file, with what each feature looks like as comments."""
    lines = [
        "# Which stream and field becomes which feature. Change what is not meant, then give it back with --map.",
        "# from = 'stream/field', 'stream/field[0:7]', or a list of them; role: " + ", ".join(ROLES) + ".",
        "",
        _pair("task", found.task) if found.task else '# task = "what was to be done, in a sentence"',
        *([_pair("task_from", found.task_from)] if found.task_from else []),
        *([_pair("robot", found.robot)] if found.robot else []),
        *([_pair("fps", found.fps)] if found.fps is not None else []),
        *([_pair("align", found.align)] if found.align else []),
        *([_pair("lead", found.lead)] if found.lead else []),
    ]
    if found.target:
        lines += ["", "[target]", *(_pair(key, value) for key, value in found.target.items())]
    for spec, feature in zip(found.features, features, strict=True):
        shape = f"{feature.dtype} {feature.shape}" if feature.kind != TEXT else "a string"
        lines += ["", f"[features.{_quoted(spec.name)}]  # {feature.kind}, {shape}"]
        lines += [_pair("from", spec.sources[0] if len(spec.sources) == 1 else list(spec.sources))]
        lines += [_pair("role", spec.role)]
        for key in ("kind", "dtype", "units", "names", "shift"):
            if value := getattr(spec, key):
                lines.append(_pair(key, list(value) if isinstance(value, tuple) else value))
    lines += ["", *(f"# left out: {text}" for text in found.left_out)] if found.left_out else []
    return "\n".join(lines) + "\n"


def plain(found: Map) -> dict[str, Any]:
    """All that a map says, as plain data: two that are equal do the same."""
    return {key: value for key, value in asdict(found).items() if key not in ("where", "lines", "left_out")}


def _pair(key: str, value: Any) -> str:
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) and value == round(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
