"""Values of Gymnasium's spaces as flat fields, and the other way round.

A field's name is the path to it: ``observation`` of a plain space, ``observation.arm.pos`` of a Dict in a
Dict, ``action.0`` of a Tuple; the dot is the default separator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from ..errors import OptionError, SchemaError
from ..schema import Ragged

#: What takes a space's dtype; anything else (tensors on a device) goes as it is, and must fit.
_CONVERTED: Final = (np.ndarray, np.generic, bool, int, float, list, tuple)


class Leaf:
    """One field of a space.

    Parameters
    ----------
    name : str
    path : tuple of (str or int)
        Keys that lead to it.
    space : gymnasium.Space
        With no spaces in it, but for a Sequence.
    """

    def __init__(self, name: str, path: tuple[str | int, ...], space: Any) -> None:
        self.name = name
        self.path = path
        #: What a recorded sample looks like, and what stands where there is no value.
        self.like: Any
        self.missing: Any
        self._dtype: np.dtype[Any] | None = None
        self._in_sequence = isinstance(space, spaces.Sequence)
        self._shape: tuple[int, ...] = ()
        if isinstance(space, spaces.Text):
            self.like = self.missing = ""
            return
        if self._in_sequence:
            self._dtype, self._shape = space.feature_space.dtype, space.feature_space.shape
            self.like = Ragged(self._shape, self._dtype)
            self.missing = np.zeros((0, *self._shape), self._dtype)
            return
        self._dtype, self._shape = np.dtype(space.dtype), space.shape
        self.like = self.missing = np.zeros(self._shape, self._dtype)

    def of(self, value: Any) -> Any:
        """The value as it is recorded: in the dtype of its space.

        Raises
        ------
        SchemaError
            It cannot be without loss of kind (a float where the space has integers), or has no room for its value.
        """
        for key in self.path:
            value = value[key]
        dtype = self._dtype
        if self._in_sequence and dtype is not None:
            return self._cast(np.stack([*value]), dtype) if len(value) else self.missing
        if dtype is None or not isinstance(value, _CONVERTED):
            return value
        if type(value) is np.ndarray and value.dtype == dtype:
            return value
        return self._cast(value, dtype)

    def _cast(self, value: Any, dtype: np.dtype[Any]) -> Any:
        array = np.asarray(value)
        if dtype.kind not in "iub":
            try:
                return array.astype(dtype, casting="same_kind")
            except TypeError:
                pass
        elif array.dtype.kind in "iub":  # Python's integers for narrow or unsigned ones, 0 and 1 for booleans
            cast = array.astype(dtype)
            if (cast == array).all():
                return cast
        raise SchemaError(
            f"field {self.name!r}: its space has {dtype.name}, got {array.dtype.name} {value!r:.60}",
            "let the environment return what its space says",
        )


def leaves_of(space: Any, name: str, separator: str) -> list[Leaf]:
    """The fields of a space.

    Raises
    ------
    OptionError
        A part of it cannot be recorded, or the separator makes two names equal; names the part.
    """
    found = [*_walk(space, name, (), separator)]
    seen: dict[str, Leaf] = {}
    for leaf in found:
        if leaf.name in seen:
            raise OptionError(
                f"{leaf.name!r} is the name of two parts of the space {space}",
                f"pass another separator than {separator!r}",
            )
        seen[leaf.name] = leaf
    return found


def _walk(space: Any, name: str, path: tuple[str | int, ...], separator: str) -> Iterator[Leaf]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        children = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        for key, child in children:
            if separator in str(key):
                raise OptionError(
                    f"{name!r}: the key {key!r} of its space has the separator {separator!r} in it",
                    "pass another separator, such as separator=':'",
                )
            yield from _walk(child, f"{name}{separator}{key}", (*path, key), separator)
        return
    plain = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete, spaces.Text)
    ragged = isinstance(space, spaces.Sequence) and isinstance(
        space.feature_space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)
    )
    if not isinstance(space, plain) and not ragged:
        raise OptionError(
            f"{name!r}: a {type(space).__name__} space cannot be recorded as fields",
            "turn it into arrays with a wrapper (gymnasium.wrappers.TransformObservation) below this one",
        )
    yield Leaf(name, path, space)


def nested(fields: Mapping[str, Any], name: str, separator: str) -> Any:
    """What :func:`leaves_of` took apart: an array, or dicts and tuples of arrays; None if there is nothing.

    A level whose keys are 0, 1, 2, ... becomes a tuple.
    """
    if name in fields:
        return fields[name]
    start = name + separator
    inner: dict[str, Any] = {}
    for key in fields:
        if key.startswith(start):
            first = key[len(start) :].split(separator, 1)[0]
            inner.setdefault(first, nested(fields, start + first, separator))
    if not inner:
        return None
    if [*inner] == [str(i) for i in range(len(inner))]:
        return tuple(inner.values())
    return inner
