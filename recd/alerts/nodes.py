"""What a condition is made of: a small tree that is evaluated for all samples of a batch at once.

A value is an array ``(n, *shape)``: of each sample, or the same for all with ``n = 1``. Truths are bool, everything
else is float64, whatever was recorded: nothing overflows, and what cannot be computed is NaN or infinite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

Values = NDArray[Any]


class Scope(Protocol):
    """What is looked at; every error names what is there instead."""

    def column(self, stream: str, field: str | None) -> Values:
        """A field's samples, or those of a stream's only field."""
        ...

    def floats(self, stream: str) -> list[Values]:
        """All columns of a stream that may hold a NaN."""
        ...

    def stalled(self, stream: str | None, for_s: float) -> bool:
        """Whether nothing has come for so long, or nothing can be stored; of any stream if none is named."""
        ...

    def lost(self, stream: str | None) -> int:
        """Samples that were lost since the look before; of all streams if none is named."""
        ...


@dataclass(frozen=True)
class Node(ABC):
    """A piece of a condition.

    Parameters
    ----------
    text : str
        As it was written, for errors and for what an alert tells.
    """

    text: str

    @abstractmethod
    def value(self, scope: Scope) -> Values:
        """What it is.

        Raises
        ------
        OptionError
            It makes no sense for these samples.
        """

    def parts(self) -> Iterator[Node]:
        """The pieces that it is made of."""
        return iter(())

    def walk(self) -> Iterator[Node]:
        """It and all that it is made of, in the order in which it was written."""
        yield self
        for part in self.parts():
            yield from part.walk()

    def wrong(self, what: str, do: str) -> OptionError:
        """The error for this piece."""
        return OptionError(f"{self.text!r}: {what}", do)


@dataclass(frozen=True)
class Number(Node):
    """A number that stands there."""

    number: float

    def value(self, scope: Scope) -> Values:
        """The same for all samples."""
        return np.array([self.number])


@dataclass(frozen=True)
class Stream(Node):
    """A stream by its name: its only field, where a value is wanted."""

    stream: str

    def value(self, scope: Scope) -> Values:
        """The only field's samples."""
        return scope.column(self.stream, None)


@dataclass(frozen=True)
class Column(Node):
    """A field of a stream."""

    stream: str
    field: str

    def value(self, scope: Scope) -> Values:
        """Its samples."""
        return scope.column(self.stream, self.field)


@dataclass(frozen=True)
class Part(Node):
    """Elements of a value, by place."""

    whole: Node
    index: tuple[Any, ...]

    def value(self, scope: Scope) -> Values:
        """They, of each sample."""
        whole = self.whole.value(scope)
        at = (slice(None), *self.index)
        try:
            return np.asarray(whole[at])
        except IndexError:
            raise self.wrong(
                f"{self.whole.text} has the shape {whole.shape[1:]}", "correct the index"
            ) from None

    def parts(self) -> Iterator[Node]:
        """What they are taken from."""
        yield self.whole


@dataclass(frozen=True)
class Unary(Node):
    """``-x`` and ``abs(x)``."""

    do: Callable[[Values], Values]
    of: Node

    def value(self, scope: Scope) -> Values:
        """It, of each element."""
        return self.do(numbers(self.of.value(scope)))

    def parts(self) -> Iterator[Node]:
        """Its operand."""
        yield self.of


@dataclass(frozen=True)
class Binary(Node):
    """Arithmetic of two values, element by element."""

    do: Callable[[Values, Values], Values]
    left: Node
    right: Node

    def value(self, scope: Scope) -> Values:
        """It, of each element."""
        left, right = numbers(self.left.value(scope)), numbers(self.right.value(scope))
        with np.errstate(all="ignore"):
            return np.asarray(self.do(*together(self, left, right)))

    def parts(self) -> Iterator[Node]:
        """Its operands."""
        yield from (self.left, self.right)


@dataclass(frozen=True)
class Compare(Node):
    """``a < b``, or a chain of such: each element's truth."""

    first: Node
    rest: tuple[tuple[Callable[[Values, Values], Values], Node], ...]

    def value(self, scope: Scope) -> Values:
        """Whether each link of the chain holds; none with a NaN does, but ``!=``."""
        left = numbers(self.first.value(scope))
        truth: Values | None = None
        for do, node in self.rest:
            right = numbers(node.value(scope))
            link = do(*together(self, left, right))
            truth = link if truth is None else np.logical_and(*together(self, truth, link))
            left = right
        assert truth is not None
        return truth

    def parts(self) -> Iterator[Node]:
        """Its operands."""
        yield from (self.first, *(node for _, node in self.rest))


@dataclass(frozen=True)
class Logic(Node):
    """``and``, ``or``, ``not`` of truths."""

    do: np.ufunc
    of: tuple[Node, ...]

    def value(self, scope: Scope) -> Values:
        """It, of each element."""
        found = [self._truth(node, scope) for node in self.of]
        if len(found) == 1:
            return np.asarray(self.do(found[0]))
        result = found[0]
        for other in found[1:]:
            result = np.asarray(self.do(*together(self, result, other)))
        return result

    def _truth(self, node: Node, scope: Scope) -> Values:
        value = node.value(scope)
        if value.dtype != np.bool_:
            raise node.wrong("is a number, no truth", f"compare it: {node.text} > 0")
        return value

    def parts(self) -> Iterator[Node]:
        """Its operands."""
        yield from self.of


@dataclass(frozen=True)
class Reduce(Node):
    """``any all min max mean norm``: one value of all elements of each sample."""

    name: str
    of: Node

    def value(self, scope: Scope) -> Values:
        """It, of each sample."""
        value = self.of.value(scope)
        if not value[:1].size:
            raise self.of.wrong("has no elements", "correct the index")
        return REDUCTIONS[self.name](value.reshape(len(value), -1))

    def parts(self) -> Iterator[Node]:
        """What it is of."""
        yield self.of


@dataclass(frozen=True)
class IsNaN(Node):
    """``nan(x)``: whether any element of a value, or of any field of a stream, is NaN."""

    of: Node

    def value(self, scope: Scope) -> Values:
        """It, of each sample."""
        if isinstance(self.of, Stream):
            columns = scope.floats(self.of.stream)
            if not columns:
                raise self.wrong(f"no field of {self.of.text} can hold a NaN", "watch another stream")
        else:
            columns = [self.of.value(scope)]
        found = [np.isnan(c).reshape(len(c), -1).any(axis=1) for c in columns]
        return np.asarray(np.logical_or.reduce(found))

    def parts(self) -> Iterator[Node]:
        """What it is of."""
        yield self.of


@dataclass(frozen=True)
class Stalled(Node):
    """``stalled(stream, seconds)``."""

    stream: str | None
    for_s: float

    def value(self, scope: Scope) -> Values:
        """It, now."""
        return np.array([scope.stalled(self.stream, self.for_s)])


@dataclass(frozen=True)
class Lost(Node):
    """``lost(stream)``."""

    stream: str | None

    def value(self, scope: Scope) -> Values:
        """It, now."""
        return np.array([scope.lost(self.stream) > 0])


REDUCTIONS: Final[dict[str, Callable[[Values], Values]]] = {
    "any": lambda v: np.asarray(v.any(axis=1)),
    "all": lambda v: np.asarray(v.all(axis=1)),
    "min": lambda v: numbers(v.min(axis=1)),
    "max": lambda v: numbers(v.max(axis=1)),
    "mean": lambda v: v.mean(axis=1, dtype=np.float64),
    "norm": lambda v: np.sqrt(np.square(numbers(v)).sum(axis=1)),
}


def numbers(values: Values) -> Values:
    """The values as float64."""
    return values.astype(np.float64, copy=False)


def together(node: Node, left: Values, right: Values) -> tuple[Values, Values]:
    """Two values with as many axes each, so that their samples meet."""
    rank = max(left.ndim, right.ndim)
    left, right = (v.reshape(v.shape[0], *(1,) * (rank - v.ndim), *v.shape[1:]) for v in (left, right))
    try:
        np.broadcast_shapes(left.shape[1:], right.shape[1:])
    except ValueError:
        raise node.wrong(
            f"values of the shapes {left.shape[1:]} and {right.shape[1:]} do not go together",
            "choose elements",
        ) from None
    return left, right
