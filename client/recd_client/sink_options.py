"""What the descriptions of all kinds of files have in common."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from . import checks
from .errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_WAIT_S: Final = 0.1
#: Every kind of sink by its name on the wire.
_KINDS: Final[dict[str, type[SinkOptions]]] = {}


@dataclass(frozen=True)
class Split:
    """When a file is finished and the next numbered part begins.

    Parameters
    ----------
    unit : {"seconds", "bytes", "samples"}
    amount : int or float
    """

    unit: str
    amount: float

    def __post_init__(self) -> None:
        checks.one_of("split unit", self.unit, ("seconds", "bytes", "samples"))
        checks.positive("split", self.amount, unit=self.unit)

    @classmethod
    def parse(cls, value: Split | str | int | Mapping[str, Any] | None) -> Split | None:
        """Understand ``"1h"``, ``"2GB"``, a number of samples, or the JSON form; None stays None."""
        if value is None or isinstance(value, Split):
            return value
        if isinstance(value, str):
            seconds = checks.duration_s(value)
            if seconds:
                return cls("seconds", seconds)
            if checks.is_size(value):
                return cls("bytes", checks.size_bytes("split", value))
        elif isinstance(value, Mapping):
            if len(value) == 1:
                return cls(*next(iter(value.items())))
        elif checks.is_whole(value) and int(value) > 0:
            return cls("samples", int(value))
        raise checks.refuse(
            "split", value, "a duration ('1h', '30m'), a size ('2GB', '500MB') or a number of samples > 0"
        )

    def to_json(self) -> dict[str, float]:
        """``{"seconds": n}``, ``{"bytes": n}`` or ``{"samples": n}``."""
        return {self.unit: self.amount}


@dataclass(frozen=True)
class SinkOptions:
    """What every file has in common.

    Parameters
    ----------
    filename : str or path-like, optional
        Relative ones land in the recorder's directory.
    hz : float, optional
        Samples kept per second of stream time. Inside :meth:`Recorder.stream` the stream's own
        argument rules.
    async_mode : bool
        False: ``write`` returns once this file has taken the sample.
    buffer_size : int
        Samples that the ring has room for; 0: automatic.
    buffer_full_wait_time : float, s
        In ``start_recording``: how long a full ring may hold up ``step``; then the sample is dropped.
    split : str, int or Split, optional
        Begin a new numbered part after ``"1h"``, ``"2GB"`` or so many samples.
    """

    kind: ClassVar[str] = ""
    #: What a filename may end with; the first is the default.
    suffixes: ClassVar[tuple[str, ...]] = ()

    filename: str | os.PathLike[str] | None = None
    hz: float | None = field(default=None, kw_only=True)
    async_mode: bool = field(default=True, kw_only=True)
    buffer_size: int = field(default=0, kw_only=True)
    buffer_full_wait_time: float = field(default=DEFAULT_WAIT_S, kw_only=True)
    split: Split | str | int | None = field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        _KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        if not self.kind:
            raise OptionError("SinkOptions is no kind of file", "use CSVFile, NPZFile, HDF5File or VideoFile")
        if self.hz is not None:
            self._set("hz", checks.positive("hz", self.hz, unit="samples per second"))
        checks.flag("async_mode", self.async_mode)
        self._set("buffer_size", checks.whole("buffer_size", self.buffer_size, 0, 1 << 40, unit="samples"))
        wait_s = self.buffer_full_wait_time
        wait_s = checks.positive("buffer_full_wait_time", wait_s, unit="seconds", zero=True)
        self._set("buffer_full_wait_time", wait_s)
        self._set("split", Split.parse(self.split))
        checks.flag("save_on_reset", self.new_part_on_reset)
        if self.filename is not None:
            self._set("filename", self._checked_filename(self.filename))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen; this is its construction

    def _checked_filename(self, filename: Any) -> str:
        path = checks.path_text("filename", filename)
        stem, suffix = os.path.splitext(os.path.basename(path))
        if suffix.lower() not in self.suffixes:
            allowed = " or ".join(self.suffixes)
            raise checks.refuse(
                "filename", path, f"a name ending with {allowed} for {type(self).__name__}",
                f"name it {stem or 'data'}{self.suffixes[0]}, or use the class for that kind of file",
            )  # fmt: skip
        if stem.endswith(".part") or ".recd" in path.split(os.sep):
            raise checks.refuse(
                "filename", path, "no '.part' before the suffix and no '.recd' directory",
                "both belong to recd's unfinished files; choose another name",
            )  # fmt: skip
        return path

    # --- what readers of options use --------------------------------------------------------------
    @property
    def path(self) -> Path | None:
        """The filename as a path; None where there is none (yet)."""
        from pathlib import Path

        return None if self.filename is None else Path(self.filename)

    def named(self, filename: str | os.PathLike[str]) -> SinkOptions:
        """The same for a file of another name."""
        return dataclasses.replace(self, filename=filename)

    @property
    def part_limit(self) -> Split | None:
        """The parsed ``split``."""
        return Split.parse(self.split)

    @property
    def in_parts(self) -> bool:
        """Whether the file becomes several, with numbered names."""
        return self.split is not None or self.new_part_on_reset

    @property
    def new_part_on_reset(self) -> bool:
        """Whether a whole reset begins a new part."""
        return getattr(self, "save_on_reset", False)

    # --- JSON --------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """Plain data for the control socket and manifests."""
        out: dict[str, Any] = {"kind": self.kind}
        for f in dataclasses.fields(self):
            if f.init:
                value = getattr(self, f.name)
                out[f.name] = value.to_json() if isinstance(value, Split) else _plain(value)
        return out

    @staticmethod
    def from_json(data: Any) -> SinkOptions:
        """The options that :meth:`to_json` described; everything is checked again.

        Raises
        ------
        OptionError
            Not such a description, an unknown kind, an unknown or missing option, a bad value.
        """
        kind = data.get("kind") if isinstance(data, Mapping) else None
        cls = _KINDS.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise OptionError(f"sink kind {kind!r}: expected one of {sorted(_KINDS)}", "update recd")
        try:
            return cls._from_json({k: v for k, v in data.items() if k != "kind"})
        except TypeError as e:  # an unknown or missing argument
            raise OptionError(f"options of {kind!r}: {e}", "update recd and recd-client alike") from None

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> SinkOptions:
        return cls(**data)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def require_filename(options: SinkOptions) -> None:
    """Raise if a file that must be named is not."""
    if options.filename is None:
        raise checks.refuse("filename", None, f"a name ending with {' or '.join(options.suffixes)}")
