"""What a training set has of each time step, and where in a recording it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ARRAY: Final = "array"
IMAGE: Final = "image"
TEXT: Final = "text"
KINDS: Final = (ARRAY, IMAGE, TEXT)

OBSERVATION: Final = "observation"
ACTION: Final = "action"
REWARD: Final = "reward"
TERMINATED: Final = "terminated"
TRUNCATED: Final = "truncated"
SUCCESS: Final = "success"
INFO: Final = "info"
ROLES: Final = (OBSERVATION, ACTION, REWARD, TERMINATED, TRUNCATED, SUCCESS, INFO)


@dataclass(frozen=True)
class Piece:
    """A field of a stream, or some elements of it.

    Parameters
    ----------
    stream : str
    field : str
        Empty for the frames of a video.
    index : tuple of slice or int
        Into one sample's value.
    """

    stream: str
    field: str = ""
    index: tuple[slice | int, ...] = ()

    def __str__(self) -> str:
        """As it stands in a map: ``state/qpos[0:7]``."""
        name = f"{self.stream}/{self.field}" if self.field else self.stream
        return name + (f"[{', '.join(map(_shown, self.index))}]" if self.index else "")

    def of(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The elements meant, of each of ``(n, *shape)`` samples."""
        key: tuple[slice | int, ...] = (slice(None), *self.index)
        return rows[key]


@dataclass(frozen=True)
class Feature:
    """One value per time step.

    Parameters
    ----------
    name : str
        In the target.
    kind : {"array", "image", "text"}
    dtype : dtype
        In the target; of texts ``object``.
    shape : tuple of int
        Of one sample; of an image ``(H, W, C)``; of a text ``()``.
    role : str
        One of :data:`ROLES`.
    names : tuple of str
        Of its elements, if it has one axis; else of those of its last axis. Empty if nobody named them.
    units : str
    pieces : tuple of Piece
        Where it comes from. Several are flattened, and lie one behind the other.
    shift : int
        The value of time step ``k`` is taken from the row ``k + shift`` of its stream. 1 where a row holds
        the action that *led* to the row's observation, as in recordings of Gymnasium environments.
    """

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    role: str
    names: tuple[str, ...] = ()
    units: str = ""
    pieces: tuple[Piece, ...] = field(default=())
    shift: int = 0

    @property
    def stream(self) -> str:
        """The stream of its (first) piece."""
        return self.pieces[0].stream if self.pieces else ""

    @property
    def field(self) -> str:
        """The field of its (first) piece."""
        return self.pieces[0].field if self.pieces else ""

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def element_names(self) -> tuple[str, ...]:
        """A name for each element in C order; of an array without names its own one and a number."""
        if self.shape == ():
            return (self.names[0] if len(self.names) == 1 else self.name,)
        if len(self.names) == self.size:
            return self.names
        return tuple(f"{self.name}_{i}" for i in range(self.size))

    def assembled(self, rows: list[NDArray[Any]]) -> NDArray[Any]:
        """The feature's values, ``(n, *shape)``, from the rows of its pieces."""
        found = [piece.of(values) for piece, values in zip(self.pieces, rows, strict=True)]
        if len(found) > 1:
            found = [values.reshape(len(values), math.prod(values.shape[1:])) for values in found]
            return np.concatenate(found, axis=1).astype(self.dtype, copy=False)
        return found[0].astype(self.dtype, copy=False)


def _shown(index: slice | int) -> str:
    if isinstance(index, int):
        return str(index)
    ends = ["" if end is None else str(end) for end in (index.start, index.stop)]
    return ":".join(ends if index.step is None else [*ends, str(index.step)])
