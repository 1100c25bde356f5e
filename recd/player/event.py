"""What is played: samples, and marks between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

from ..reader import Mark

#: The name of events that are marks; no stream can be called so.
MARK: Final = "@mark"


class Event:
    """One thing on the timeline: ``t, name, value = event``.

    Parameters
    ----------
    t : float, s
        Stream time, as it was recorded.
    name : str
        Of its stream; :data:`MARK` for a mark.
    position : float, s
        Where it stands when the recording is played from its begin to its end.
    load : callable
        Gives its value.
    seq, step, mono_ns : int
        As in the recording; -1 where unknown.
    """

    def __init__(
        self,
        t: float,
        name: str,
        position: float,
        load: Callable[[], Any],
        seq: int = -1,
        step: int = -1,
        mono_ns: int = -1,
    ) -> None:
        self.t = t
        self.name = name
        self.position = position
        self.seq = seq
        self.step = step
        self.mono_ns = mono_ns
        self._load = load

    @cached_property
    def value(self) -> Any:
        """A dict of fields, or the bare value; a decoded frame, ``(H, W, 3)`` or ``(H, W)``; a :class:`Mark`.

        Arrays may be read-only views of what was read; they stay as they are.
        """
        return self._load()

    @property
    def mark(self) -> Mark | None:
        """The mark, if it is one."""
        return self.value if self.name == MARK else None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.t, self.name, self.value))

    def __repr__(self) -> str:
        return f"<{self.name} at t = {self.t:.6g}>"
