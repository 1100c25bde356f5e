"""A user's own recorder: how it is named, and how its code travels where that is allowed."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from . import checks
from .errors import OptionError
from .plain import plain
from .sink_options import SinkOptions

_TARGET: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9_-]{1,16}")
_MAX_DIRECTORIES: Final = 64
#: Less than a control message may hold, in base64.
MAX_CODE_BYTES: Final = 2 << 20
DEFAULT_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, init=False)
class CustomSink(SinkOptions):
    """Samples go to a recorder of your own, which runs in a process of its own.

    Parameters
    ----------
    target : str, class or function
        ``"package.module:Class"``; or the class itself. A class derives from :class:`Sink`, or has
        ``process(data, t)`` and, if you like, ``cleanup()``; a function is called with ``(data, t)``.
        Where no module has it (it stands in the script, or in a function), its code travels: that needs
        ``Recorder(allow_code=True)``, ``recd start --allow-code`` and ``recd-client[code]``.
    filename : str or path-like, optional
        A file that the recorder writes; recd gives it its final name once it is complete. Any suffix.
    save_on_reset : bool
        Begin a new part at each whole reset.
    patience : float, s
        After the end, how long the recorder may be without any progress before it is given up.
    **kwargs
        Arguments of the class (or further ones of the function). What JSON can hold, unless code travels.
    """

    kind: ClassVar[str] = "custom"

    target: Any = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    save_on_reset: bool = field(default=False, kw_only=True)
    patience: float = field(default=DEFAULT_PATIENCE_S, kw_only=True)
    #: Where the target's module is looked for first.
    search: tuple[str, ...] = field(default=(), init=False, repr=False)
    #: The target and its arguments, pickled, in base64; empty where it is imported.
    code: str = field(default="", init=False, repr=False, compare=False)
    #: Version of the Python whose byte code that is.
    python: str = field(default="", init=False, repr=False)

    def __init__(self, target: Any, **kwargs: Any) -> None:
        given = kwargs.pop("kwargs", {})
        if not isinstance(given, Mapping):
            raise checks.refuse("kwargs", given, "a dict of arguments")
        own = {name: kwargs.pop(name) for name in _OWN if name in kwargs}
        for f in fields(SinkOptions):
            self._set(f.name, own.get(f.name, f.default))
        self._set("save_on_reset", own.get("save_on_reset", False))
        self._set("patience", own.get("patience", DEFAULT_PATIENCE_S))
        if twice := sorted(given.keys() & kwargs.keys()):
            raise OptionError(f"CustomSink: {twice[0]!r} is given twice", "leave one of them out")
        self._set("target", target)
        self._set("kwargs", {**given, **kwargs})
        self._set("search", _own_directories())
        for name in ("code", "python"):
            self._set(name, "")
        self.__post_init__()
        self._resolve()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("patience", checks.positive("patience", self.patience, unit="seconds"))

    def _resolve(self) -> None:
        """Know the target by a name under which it can be imported, or take its code along."""
        if isinstance(self.target, str):
            if not _TARGET.fullmatch(self.target):
                raise checks.refuse("target", self.target, "'package.module:Class', or the class itself")
        elif not callable(self.target) or not hasattr(self.target, "__qualname__"):
            raise checks.refuse("target", self.target, "'package.module:Class', or a class or function")
        elif (name := _importable(self.target)) is not None:
            self._set("target", name)
        else:
            self._set("code", _pickled((self.target, dict(self.kwargs))))
            self._set("python", "{}.{}".format(*sys.version_info))
            return
        self._set("kwargs", plain(dict(self.kwargs), "CustomSink"))
        self._set("kwargs", json.loads(json.dumps(self.kwargs)))

    def _checked_filename(self, filename: Any) -> str:
        path = checks.path_text("filename", filename)
        if not _SUFFIX.fullmatch(os.path.splitext(path)[1]):
            raise checks.refuse("filename", path, "a name with a suffix, such as 'contacts.bin'")
        return super()._checked_filename(filename)

    # --- what readers of options use --------------------------------------------------------------
    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """That of its file; none if it has no file that recd knows of."""
        path = self.__dict__.get("filename")
        return (os.path.splitext(os.fspath(path))[1].lower(),) if path is not None else ()

    @property
    def name(self) -> str:
        """The target's name, for people."""
        if isinstance(self.target, str):
            return self.target.rpartition(":")[2]
        return str(self.target.__qualname__).rpartition(".")[2]

    # --- JSON --------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """See :class:`SinkOptions`."""
        out = super().to_json()
        if self.code:
            out.update(target=str(getattr(self.target, "__qualname__", self.target)), kwargs={})
        return {**out, "search": [*self.search], "code": self.code, "python": self.python}

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> CustomSink:
        search, code, python = (data.pop(name, "") for name in ("search", "code", "python"))
        self = cls.__new__(cls)
        named = data.pop("target", None)
        if unknown := sorted(data.keys() - {*_OWN, "kwargs"}):
            raise TypeError(f"unknown {unknown[0]!r}")
        if not isinstance(named, str):
            raise checks.refuse("target", named, "a string")
        # With code, the target is a name for people only.
        self.__init__(f"code:{_plain_name(named)}" if code else named, **data)  # type: ignore[misc]
        self._set("target", named)
        self._set("search", _checked_search(search))
        self._set("code", _checked_code(code))
        self._set("python", checks.text("python", python, most=16))
        return self


_OWN: Final = (*(f.name for f in fields(SinkOptions)), "save_on_reset", "patience")


def _own_directories() -> tuple[str, ...]:
    """Where this program's own modules are: its path without Python's and what is installed."""
    stdlib = os.path.dirname(os.__file__)
    found = []
    for entry in sys.path:
        path = os.path.abspath(entry)
        parts = path.split(os.sep)
        installed = {"site-packages", "dist-packages"} & {*parts} or path.startswith(stdlib)
        if not installed and os.path.isdir(path) and path not in found and len(path) < 4096:
            found.append(path)
    return tuple(found[:_MAX_DIRECTORIES])


def _importable(target: Any) -> str | None:
    """The name under which another process finds a class or function, if there is one."""
    module, name = getattr(target, "__module__", None), target.__qualname__
    if not isinstance(module, str) or module in ("__main__", "__mp_main__"):
        return None
    text = f"{module}:{name}"
    if not _TARGET.fullmatch(text):  # made in a function, or a lambda
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return text if found is target else None


def _pickled(what: Any) -> str:
    """Code and its arguments in base64.

    Raises
    ------
    OptionError
        What is needed for that is missing, it cannot be pickled, or it is too large.
    """
    try:
        import dill
    except ImportError:
        raise OptionError(
            f"the code of {what[0].__qualname__} stands in no module, and what carries code is not installed",
            "put it into a module of its own, or: pip install 'recd-client[code]'",
        ) from None
    dumps: Callable[..., bytes] = dill.dumps
    try:
        data = dumps(what, recurse=True)
    except Exception as e:
        raise OptionError(
            f"{what[0].__qualname__} cannot be sent to another process: {type(e).__name__}: {e}",
            "put it into a module of its own and name it: CustomSink('package.module:Class')",
        ) from e
    if len(data) > MAX_CODE_BYTES:
        raise OptionError(
            f"{what[0].__qualname__} and its arguments take {len(data)} bytes, at most {MAX_CODE_BYTES} may travel",
            "put it into a module of its own, and let it load large data itself",
        )
    return base64.b64encode(data).decode()


# --- what came over the socket ------------------------------------------------------------------------


def _plain_name(named: str) -> str:
    return re.sub(r"\W", "_", named) or "_"


def _checked_search(search: Any) -> tuple[str, ...]:
    if not isinstance(search, Sequence) or isinstance(search, str) or len(search) > _MAX_DIRECTORIES:
        raise checks.refuse("search", search, f"a list of at most {_MAX_DIRECTORIES} directories")
    paths = tuple(checks.path_text("search", entry) for entry in search)
    for path in paths:
        if not os.path.isabs(path):
            raise checks.refuse("search", path, "an absolute path")
    return paths


def _checked_code(code: Any) -> str:
    try:
        if not isinstance(code, str) or len(base64.b64decode(code, validate=True)) > MAX_CODE_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise OptionError("code: expected base64", "update recd and recd-client alike") from None
    return code
