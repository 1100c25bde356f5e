"""Whether a user's recorder may run here.

Code travels only if the recorder and the daemon both say so. A module that can be imported needs nobody's word, except
where the recording itself comes from elsewhere: its files say which module, and where that is looked for.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder

from recd_client.custom_sink import CustomSink
from recd_client.errors import CodeNotAllowedError, OptionError, VersionMismatchError

from . import consent


def check(option: CustomSink, *, session_allows: bool) -> None:
    """What the option names may run in a guest, as far as that can be told without running it.

    Raises
    ------
    CodeNotAllowedError
        Its code would have to be unpickled, without both consents; or the recording comes from elsewhere.
    VersionMismatchError
        It is the byte code of another Python.
    OptionError
        No such module is found here.
    """
    if consent.foreign() and not consent.given():
        raise CodeNotAllowedError(
            f"CustomSink {option.target}: this recording comes from elsewhere, and what it names is run only with "
            "--allow-code",
            "if you trust it: recd recover --allow-code DIRECTORY",
        )
    if not option.code:
        _check_module(option)
        return
    if not session_allows:
        raise CodeNotAllowedError(
            f"CustomSink {option.target}: its code stands in no module, and its recorder does not let code travel",
            "put it into a module, or pass allow_code=True to Recorder (and: recd restart --allow-code)",
        )
    if not consent.given():
        raise CodeNotAllowedError(
            f"CustomSink {option.target}: its code stands in no module, and this daemon does not run code that travels",
            "put it into a module, or: recd restart --allow-code (recd recover --allow-code for what was interrupted)",
        )
    here = "{}.{}".format(*sys.version_info)
    if option.python != here:
        raise VersionMismatchError(
            f"CustomSink {option.target}: its byte code is that of Python {option.python}, recd runs in Python {here}",
            "put it into a module, which any Python can import; or let both run in the same minor version",
        )


def _check_module(option: CustomSink) -> None:
    """The first package of the target's module is there; nothing of it is run."""
    top = str(option.target).partition(":")[0].partition(".")[0]
    if top in sys.modules:
        return
    if PathFinder.find_spec(top, [*option.search]) is None and importlib.util.find_spec(top) is None:
        raise OptionError(
            f"target={option.target!r}: no module {top!r} is found where recd runs ({sys.executable}), "
            f"nor in {', '.join(option.search) or 'a directory of yours'}",
            "correct the name, put the module beside your script, or install it where recd runs",
        )
