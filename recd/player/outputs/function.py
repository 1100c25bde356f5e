"""Events handed to a function of the user's: ``module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from recd_client.errors import OptionError

from ..event import Event
from .base import Output

PLACE: Final = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+(?:\.\w+)*)")


class FunctionOutput(Output):
    """Calls ``function(t, name, value)`` for each event; a mark's name is ``@mark``.

    Parameters
    ----------
    target : str
        ``module:function``; modules of the working directory are found, too.

    Raises
    ------
    OptionError
        There is no such module or function.
    """

    def __init__(self, target: str) -> None:
        self._function = _found(target)

    def take(self, event: Event) -> bool:
        """See :class:`Output`; what the function raises ends the playback."""
        self._function(event.t, event.name, event.value)
        return True


def _found(target: str) -> Callable[..., Any]:
    place = PLACE.fullmatch(target)
    if place is None:
        raise OptionError(f"{target!r}: expected module:function", "for example: --to analysis:look")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(place["module"])
        for part in place["name"].split("."):
            found = getattr(found, part)
    except ImportError as e:
        raise OptionError(
            f"{target}: module {place['module']!r} cannot be imported: {e}", "check the name, and PYTHONPATH"
        ) from e
    except AttributeError:
        raise OptionError(
            f"{target}: module {place['module']!r} has no {place['name']!r}", "check the name"
        ) from None
    if not callable(found):
        raise OptionError(f"{target} is no function", "name one that takes (t, name, value)")
    return found  # type: ignore[no-any-return]
