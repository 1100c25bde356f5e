"""Turning what users hand over into plain JSON data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from .arrays import source_of
from .errors import OptionError, SchemaError

_MAX_DEPTH: Final = 32


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """The value as dicts with string keys, lists, strings, numbers, bools and None.

    Numpy scalars and arrays and paths are converted.

    Raises
    ------
    OptionError
        It holds something else; says where.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            return {k: plain(v, f"{where}[{k!r}]", depth + 1) for k, v in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
            return [plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    raise OptionError(
        f"{where} is {type(value).__name__} {value!r:.60}, which JSON cannot hold",
        "use strings, numbers, bools, None, and lists and dicts (string keys) of them",
    )


def indices(value: Any, where: str) -> list[int]:
    """Whole numbers from one number, a sequence, an array or a mask, of any library.

    Raises
    ------
    OptionError
        It is nothing of the kind.
    """
    try:
        source = source_of(value)
        array = np.empty(source.shape, source.dtype)
        source.copy_to(array)
    except (SchemaError, TypeError):
        array = np.empty(0, object)
    if array.size == 0 and array.dtype.kind != "O":
        return []
    if array.ndim > 1 or array.dtype.kind not in "biu":
        raise OptionError(f"{where}={value!r:.60}: expected indices or a mask", "pass whole numbers")
    found = np.flatnonzero(array) if array.dtype.kind == "b" else np.atleast_1d(array)
    return [int(i) for i in found]
