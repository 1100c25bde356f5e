"""recd: the recorder's daemon, and the reader of what it recorded. Simulations use :mod:`recd_client`."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .player import play as play
    from .reader import Run as Run
    from .reader import open as open
    from .replayer import replay as replay

#: Loaded when they are first used: importing recd stays light.
_READER = ("Run", "open")


def __getattr__(name: str) -> Any:
    if name in _READER:
        from . import reader

        return getattr(reader, name)
    if name == "play":
        from .player import play

        return play
    if name == "replay":
        from .replayer import replay

        return replay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
