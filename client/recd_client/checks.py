"""Checks of user-given values: each returns the value in one form, or says what is allowed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from typing import Any, Final

from .errors import OptionError

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", re.IGNORECASE)
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)\s*")
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def refuse(where: str, value: object, expected: str, do: str = "") -> OptionError:
    """The error for an option value that is not allowed."""
    return OptionError(f"{where}={value!r}: expected {expected}", do or f"change {where}")


def is_number(value: Any) -> bool:
    """Whether ``value`` is a real number and no bool (numpy scalars included)."""
    if isinstance(value, (int, float)):
        return not isinstance(value, bool)
    return getattr(value, "shape", None) == () and value.dtype.kind in "iuf"


def is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number and no bool (numpy integers included)."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return getattr(value, "shape", None) == () and value.dtype.kind in "iu"


def positive(where: str, value: Any, *, unit: str, zero: bool = False) -> float:
    """A finite number above zero (or zero, if allowed); ints stay ints."""
    least = ">= 0" if zero else "> 0"
    if not is_number(value) or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise refuse(where, value, f"a number {least} ({unit})")
    return int(value) if is_whole(value) else float(value)


def whole(where: str, value: Any, least: int, most: int, *, unit: str = "") -> int:
    """A whole number in ``[least, most]``."""
    if not is_whole(value) or not least <= int(value) <= most:
        raise refuse(where, value, f"a whole number from {least} to {most}{f' ({unit})' if unit else ''}")
    return int(value)


def flag(where: str, value: Any) -> bool:
    """True or False, nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise refuse(where, value, "True or False")
    return value


def text(where: str, value: Any, *, most: int = 256, empty: bool = True) -> str:
    """A string without control characters."""
    if not isinstance(value, str) or len(value) > most or _CONTROL.search(value) or not (value or empty):
        raise refuse(where, value, f"a string of at most {most} characters, without control characters")
    return value


def one_of(where: str, value: Any, allowed: Collection[Any]) -> Any:
    """One of a few values."""
    if not isinstance(value, str) or value not in allowed:
        raise refuse(where, value, f"one of {', '.join(map(repr, allowed))}")
    return value


def plain_name(where: str, value: Any) -> str:
    """A name that is safe in files, shared memory and messages."""
    if not isinstance(value, str) or not _PLAIN_NAME.fullmatch(value):
        raise OptionError(
            f"{where} {value!r}: expected 1 to 64 of A-Z a-z 0-9 _ . -, not starting with '.' or '-'",
            "choose another name",
        )
    return value


def path_text(where: str, value: Any) -> str:
    """A path as a string."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise refuse(where, value, "a string or a path")
    return text(where, path, most=4096, empty=False)


def size_bytes(where: str, value: Any) -> int:
    """Bytes from ``"500MB"``, ``"2GiB"`` or a whole number."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None:
            raise refuse(where, value, "a size such as '500MB', '2GB' or '1GiB', or a number of bytes")
        amount, prefix, binary = found.groups()
        power = " KMGT".index(prefix.upper() or " ")
        value = int(float(amount) * (1024 if binary else 1000) ** power)
    return whole(where, value, 1, 1 << 62, unit="bytes")


def is_size(value: str) -> bool:
    """Whether a string reads as a size in bytes."""
    return _SIZE.fullmatch(value) is not None


def duration_s(value: str) -> float | None:
    """Seconds from ``"1h"``, ``"30m"``, ``"10s"``; None for anything else."""
    found = _DURATION.fullmatch(value)
    return float(found[1]) * _SECONDS[found[2]] if found else None
