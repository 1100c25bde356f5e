"""What every output does."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..event import Event
from ..playback import Playback


class Output(ABC):
    """Takes the events of a playback, in one thread."""

    #: Whether playing may go back, step and begin anew.
    rewinds = True

    def open(self, playback: Playback) -> None:  # noqa: B027  - not every output prepares anything
        """The streams are known; nothing was played yet."""

    @abstractmethod
    def take(self, event: Event) -> bool:
        """Take one event; False ends the playback."""

    def settle(self) -> None:  # noqa: B027
        """Nothing follows at once: what was held back is to be seen now."""

    def rewound(self) -> None:  # noqa: B027
        """What follows stands somewhere else in the recording."""

    def close(self, *, whole: bool) -> list[str]:
        """Nothing follows; lines about what came of it.

        Parameters
        ----------
        whole : bool
            Whether all of the recording was played, once, to its end.
        """
        return []

    def abandon(self) -> None:  # noqa: B027
        """Nothing follows, because of an error that is on its way."""
