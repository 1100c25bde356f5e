"""The language of conditions: ``abs(state.qvel).max() > 30``.

It is parsed as Python is, into :mod:`recd.alerts.nodes`, and never run as code: what is not in the table is refused.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from recd_client.errors import OptionError

from . import nodes
from .nodes import Node, Scope, Values

MAX_CHARACTERS: Final = 400
_MAX_DEPTH: Final = 40
#: So many numbers are told of a value.
_SHORT: Final = 6
#: What ``stalled(stream)`` means without a number.
STALLED_S: Final = 5.0
_LONGEST_S: Final = 1e6

_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Values, Values], Values]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Values, Values], Values]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OF_VALUES: Final = (*nodes.REDUCTIONS, "abs", "nan")
_OF_STREAMS: Final = ("stalled", "lost")
FUNCTIONS: Final = (*_OF_VALUES, *_OF_STREAMS)
_GUIDE: Final = "what a condition may be stands in docs/alerts.md; an example: state.qpos[2] < 0.2"


class Condition:
    """A condition that was understood; what it names may still be missing.

    Parameters
    ----------
    text : str

    Attributes
    ----------
    stream : str or None
        The one whose samples it looks at; None if it looks at none.
    streams : frozenset of str
        All streams that it names.
    whole_session : bool
        Whether it looks at all streams, with ``lost()`` or ``stalled()``.
    timed : bool
        Whether it can become true without a sample.

    Raises
    ------
    OptionError
        It is none; names the piece that is wrong.
    """

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not text.strip():
            raise OptionError(f"condition {text!r:.80}: expected a text", _GUIDE)
        self.text = " ".join(text.split())
        if len(self.text) > MAX_CHARACTERS:
            raise OptionError(
                f"condition {self.text[:60]!r}... has {len(self.text)} characters, at most {MAX_CHARACTERS} are "
                "allowed",
                "make several of it",
            )
        try:
            tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as e:
            at = getattr(e, "offset", None)
            where = f", at {self.text[at - 1 :]!r}" if at and 0 < at <= len(self.text) else ""
            raise OptionError(
                f"condition {self.text!r}: {getattr(e, 'msg', None) or e}{where}", _GUIDE
            ) from None
        try:
            self.root = _Reader(self.text).node(tree)
            found = list(self.root.walk())
            looked_at = dict.fromkeys(n.stream for n in found if isinstance(n, (nodes.Stream, nodes.Column)))
            timed = [n.stream for n in found if isinstance(n, (nodes.Stalled, nodes.Lost))]
            if len(looked_at) > 1:
                first, second = list(looked_at)[:2]
                raise OptionError(
                    f"it looks at the samples of {first!r} and of {second!r}",
                    "watch each on its own: a condition looks at the samples of one stream",
                )
            if not looked_at and not timed:
                raise OptionError("it looks at nothing that is recorded", _GUIDE)
        except OptionError as e:
            raise self._refused(e) from None
        self.stream = next(iter(looked_at), None)
        self.streams = frozenset([*looked_at, *(s for s in timed if s is not None)])
        self.whole_session = None in timed
        self.timed = bool(timed)

    def __str__(self) -> str:
        return self.text

    def truth(self, scope: Scope) -> Values:
        """Whether it holds, ``(n,)`` or ``(1,)`` bool.

        Raises
        ------
        OptionError
            What it names is not there, or it is no condition for these samples.
        """
        try:
            value = self.root.value(scope)
            if value.ndim > 1:
                n = math.prod(value.shape[1:])
                do = f"choose one, or: any({self.text})"
                raise OptionError(f"it has {n} values per sample", do)
            if value.dtype != np.bool_:
                raise OptionError("it is a number, no condition", f"compare it: {self.text} > 0")
        except OptionError as e:
            raise self._refused(e) from None
        return value

    def measured(self, scope: Scope) -> Any:
        """What it compares, at one sample: the first value that is no constant; a number of losses; else True."""
        for node in self.root.walk():
            if isinstance(node, nodes.Lost):
                return scope.lost(node.stream)
            if isinstance(node, nodes.Compare):
                for part in node.parts():
                    if not isinstance(part, nodes.Number):
                        return _plain(part.value(scope))
        return True

    def seen(self, scope: Scope) -> dict[str, Any]:
        """What it looks at, at one sample: the text of each field or element, and its value if that is short."""
        found: dict[str, Any] = {}
        inner: set[int] = set()
        for node in self.root.walk():
            if isinstance(node, nodes.Part):
                inner.add(id(node.whole))
            if id(node) in inner or not isinstance(node, (nodes.Part, nodes.Column)):
                continue
            value = _plain(node.value(scope))
            if value is not None:
                found[node.text] = value
        return found

    def _refused(self, e: OptionError) -> OptionError:
        return OptionError(f"condition {self.text!r}: {e.what}", e.do)


def _plain(value: Values) -> Any:
    """A value as JSON has it, NaN and infinities as text, a short one of several numbers as list; else None."""
    flat = [
        str(v) if isinstance(v, float) and not math.isfinite(v) else v
        for v in value.reshape(-1)[: _SHORT + 1].tolist()
    ]
    return None if len(flat) > _SHORT else flat[0] if len(flat) == 1 else flat


class _Reader:
    """Turns a syntax tree into nodes.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0

    def node(self, tree: ast.expr) -> Node:
        """The piece."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise OptionError(f"it is nested deeper than {_MAX_DEPTH} levels", "make it simpler")
        try:
            for kind, read in _READERS.items():
                if isinstance(tree, kind):
                    return read(self, tree)
            raise self._refused(tree, "is not part of the language")
        finally:
            self._depth -= 1

    def _of(self, tree: ast.AST) -> str:
        return ast.get_source_segment(self._text, tree) or self._text

    def _refused(self, tree: ast.AST, what: str, do: str = _GUIDE) -> OptionError:
        return OptionError(f"{self._of(tree)!r} {what}", do)

    def number(self, tree: ast.Constant) -> Node:
        """A number; a text is the name of a stream that is no plain word."""
        if isinstance(tree.value, str):
            return nodes.Stream(self._of(tree), tree.value)
        if isinstance(tree.value, bool) or not isinstance(tree.value, (int, float)):
            raise self._refused(tree, "is no number")
        try:
            return nodes.Number(self._of(tree), float(tree.value))
        except OverflowError:
            raise self._refused(tree, "is too large") from None

    def name(self, tree: ast.Name) -> Node:
        """A stream."""
        return nodes.Stream(self._of(tree), tree.id)

    def attribute(self, tree: ast.Attribute) -> Node:
        """A field of a stream; ``state.a.b`` is the field ``a.b``."""
        whole = self.node(tree.value)
        if isinstance(whole, nodes.Stream):
            return nodes.Column(self._of(tree), whole.stream, tree.attr)
        if isinstance(whole, nodes.Column):
            return nodes.Column(self._of(tree), whole.stream, f"{whole.field}.{tree.attr}")
        raise self._refused(tree, f"names a field of {whole.text!r}, which is no stream")

    def subscript(self, tree: ast.Subscript) -> Node:
        """Elements, or a field by its name in quotes."""
        whole = self.node(tree.value)
        if isinstance(tree.slice, ast.Constant) and isinstance(tree.slice.value, str):
            if not isinstance(whole, nodes.Stream):
                raise self._refused(tree, f"names a field of {whole.text!r}, which is no stream")
            return nodes.Column(self._of(tree), whole.stream, tree.slice.value)
        places = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        return nodes.Part(self._of(tree), whole, tuple(self._place(p, tree) for p in places))

    def _place(self, tree: ast.expr, whole: ast.AST) -> Any:
        if isinstance(tree, ast.Slice):
            return slice(
                *(None if p is None else self._whole(p) for p in (tree.lower, tree.upper, tree.step))
            )
        if isinstance(tree, ast.Constant) and tree.value is Ellipsis:
            return Ellipsis
        return self._whole(tree)

    def _whole(self, tree: ast.expr) -> int:
        minus = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub)
        inner = tree.operand if isinstance(tree, ast.UnaryOp) and minus else tree
        if not isinstance(inner, ast.Constant) or type(inner.value) is not int or inner.value >= 1 << 62:
            raise self._refused(
                tree, "is no index", "expected whole numbers or slices of them: [2], [0:3], [0, -1]"
            )
        return -inner.value if minus else inner.value

    def unary(self, tree: ast.UnaryOp) -> Node:
        """``-x``, ``not x``."""
        of = self.node(tree.operand)
        if isinstance(tree.op, ast.Not):
            return nodes.Logic(self._of(tree), np.logical_not, (of,))
        if isinstance(tree.op, ast.USub):
            return nodes.Unary(self._of(tree), operator.neg, of)
        raise self._refused(tree, "is not part of the language")

    def binary(self, tree: ast.BinOp) -> Node:
        """``a + b``."""
        do = _ARITHMETIC.get(type(tree.op))
        if do is None:
            raise self._refused(tree, "is not part of the language", "its arithmetic is + - * / // % **")
        return nodes.Binary(self._of(tree), do, self.node(tree.left), self.node(tree.right))

    def compare(self, tree: ast.Compare) -> Node:
        """``a < b``."""
        chain = []
        for op, right in zip(tree.ops, tree.comparators, strict=True):
            do = _COMPARISONS.get(type(op))
            if do is None:
                raise self._refused(
                    tree, "is not part of the language", "its comparisons are < <= > >= == !="
                )
            chain.append((do, self.node(right)))
        return nodes.Compare(self._of(tree), self.node(tree.left), tuple(chain))

    def logic(self, tree: ast.BoolOp) -> Node:
        """``a and b``, ``a or b``."""
        do = np.logical_and if isinstance(tree.op, ast.And) else np.logical_or
        return nodes.Logic(self._of(tree), do, tuple(self.node(value) for value in tree.values))

    def call(self, tree: ast.Call) -> Node:
        """``max(x)``, or ``x.max()``, which is the same."""
        named, given = tree.func, list(tree.args)
        name = ""
        if isinstance(named, ast.Name):
            name = named.id
        elif isinstance(named, ast.Attribute):
            name, given = named.attr, [named.value, *given]
        if name not in FUNCTIONS:
            raise self._refused(named, "is no function", f"the functions: {', '.join(FUNCTIONS)}")
        if tree.keywords or any(isinstance(g, ast.Starred) for g in given):
            raise self._refused(tree, "has an argument that is no value")
        if name in _OF_STREAMS:
            return self._timed(tree, name, given)
        if len(given) != 1:
            raise self._refused(tree, f"has {len(given)} arguments", f"{name}() takes one")
        of = self.node(given[0])
        if name == "abs":
            return nodes.Unary(self._of(tree), np.abs, of)
        if name == "nan":
            return nodes.IsNaN(self._of(tree), of)
        return nodes.Reduce(self._of(tree), name, of)

    def _timed(self, tree: ast.Call, name: str, given: list[ast.expr]) -> Node:
        """``stalled(stream, seconds)``, ``lost(stream)``; without a stream, of the whole recording."""
        most = 2 if name == "stalled" else 1
        arguments = [self.node(g) for g in given]
        stream: str | None = None
        if arguments and isinstance(arguments[0], nodes.Stream):
            stream = arguments.pop(0).stream  # type: ignore[attr-defined]
        if (
            len(given) > most
            or not all(isinstance(a, nodes.Number) for a in arguments)
            or len(arguments) > most - 1
        ):
            do = (
                "stalled(STREAM), stalled(STREAM, SECONDS) or stalled()"
                if most == 2
                else "lost(STREAM) or lost()"
            )
            raise self._refused(tree, "is not understood", f"expected {do}")
        if name == "lost":
            return nodes.Lost(self._of(tree), stream)
        for_s = arguments[0].number if arguments else STALLED_S  # type: ignore[attr-defined]
        if not 0 < for_s <= _LONGEST_S:
            raise self._refused(
                tree, f"waits for {for_s:g} s", f"give a time from above 0 to {_LONGEST_S:g} s"
            )
        return nodes.Stalled(self._of(tree), stream, for_s)


_READERS: Final[dict[type[ast.expr], Callable[[Any, Any], Node]]] = {
    ast.Constant: _Reader.number,
    ast.Name: _Reader.name,
    ast.Attribute: _Reader.attribute,
    ast.Subscript: _Reader.subscript,
    ast.UnaryOp: _Reader.unary,
    ast.BinOp: _Reader.binary,
    ast.Compare: _Reader.compare,
    ast.BoolOp: _Reader.logic,
    ast.Call: _Reader.call,
}
