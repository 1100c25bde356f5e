"""recd: the recorder's daemon, and what is done with its recordings. Simulations use :mod:`recd_client`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .converter import convert as convert
    from .player import play as play
    from .reader import Run as Run
    from .reader import open as open
    from .replayer import replay as replay

#: Loaded when they are first used: importing recd stays light. No module of the package has one of these names: it
#: would hide the function as soon as it is imported.
_HOMES = {"Run": "reader", "open": "reader", "play": "player", "replay": "replayer", "convert": "converter"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
