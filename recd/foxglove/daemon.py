"""What the daemon says is being recorded, asked again and again; it may come and go."""

from __future__ import annotations

from typing import Any, Final

from recd_client.control import Caller
from recd_client.errors import RecdError

from .. import __version__
from ..paths import socket_path

_ANSWER_S: Final = 5.0


class Daemon:
    """A line to the daemon of this runtime directory; one thread at a time may ask."""

    def __init__(self) -> None:
        self._caller: Caller | None = None

    def sessions(self) -> list[dict[str, Any]] | None:
        """The sessions of its answer to ``status``; None while there is no daemon that answers."""
        try:
            if self._caller is None:
                self._caller = Caller(socket_path(), role="cli", version=__version__)
            found: list[dict[str, Any]] = self._caller.call("status", timeout_s=_ANSWER_S)["sessions"]
            return found
        except RecdError:
            self.close()
            return None

    def close(self) -> None:
        """Hang up."""
        if self._caller is not None:
            self._caller.close()
            self._caller = None
