"""Where a recording comes from: the program that runs, and what the user says about it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Final

from .errors import OptionError
from .plain import plain

MAX_METADATA_BYTES: Final = 256 << 10
_MAX_ARGUMENTS: Final = 256
_MAX_ARGUMENT_CHARS: Final = 1024
_MAX_PACKAGES: Final = 500


def describe_code() -> dict[str, Any]:
    """The running program, for the manifest: nothing is imported or run to find out."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    packages: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        # through __dict__: asking a lazy module for an attribute would import it
        version = getattr(module, "__dict__", {}).get("__version__")
        if "." not in name and isinstance(version, str) and len(packages) < _MAX_PACKAGES:
            packages[name] = version[:64]
    return {
        "argv": [a[:_MAX_ARGUMENT_CHARS] for a in sys.argv[:_MAX_ARGUMENTS]],
        "main": None if main is None else os.path.abspath(main),
        "executable": sys.executable,
        "cwd": os.getcwd(),
        "python": sys.version.split()[0],
        "packages": packages,
    }


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """The user's metadata as plain data.

    Raises
    ------
    OptionError
        It is no dict, holds what JSON cannot, or is too large.
    """
    if metadata is None:
        return {}
    flat = plain(metadata, "metadata")
    if not isinstance(flat, dict):
        raise OptionError(f"metadata={metadata!r:.60}: expected a dict", "pass metadata={...}")
    size = len(json.dumps(flat).encode())
    if size > MAX_METADATA_BYTES:
        raise OptionError(
            f"metadata takes {size} bytes as JSON, at most {MAX_METADATA_BYTES} are allowed",
            "record large values as a stream, or refer to a file",
        )
    return flat
