"""The index of sessions: one small JSON file per session, which outlives daemon and reboot.

An entry: ``{"session", "name", "directory", "started_unix_s", "ended_unix_s" (or null), "state":
"live" | "finished" | "failed", "runtime_dir", "streams"}``, and ``"foreign": true`` if it was only recovered
here, not recorded. It only tells where a recording is; what is
in it stands in its directory. So an entry may be damaged and is then left out, never fatal; but it is
durable once it is written: after a loss of power nobody would look for the recording.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OptionError

from .durable import make_directories, sync_directory
from .paths import session_index_dir

_SESSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
#: More than any entry that recd writes; a larger file is none of ours.
_MAX_ENTRY_BYTES: Final = 1 << 20


def write(entry: dict[str, Any]) -> None:
    """The session's entry is ``entry``; at any moment a reader finds the old or the new one, whole.

    Raises
    ------
    OptionError
        ``entry["session"]`` cannot be a file's name.
    OSError
        The index cannot be written.
    """
    path = path_of(entry.get("session"))
    make_directories(path.parent, 0o700)
    temporary = path.with_name(
        f".{path.name}.new"
    )  # one writer, the session's worker: no kill leaves a second
    try:
        with temporary.open("w") as f:
            f.write(json.dumps(entry, indent=1) + "\n")
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_all() -> list[dict[str, Any]]:
    """Every readable entry, the session that started last first."""
    return sorted(_entries(), key=lambda e: (_number(e.get("started_unix_s")), e["session"]), reverse=True)


def remove(session: str) -> None:
    """The session has no entry."""
    path_of(session).unlink(missing_ok=True)


def path_of(session: object) -> Path:
    """Where the session's entry is, if it has one.

    Raises
    ------
    OptionError
        The session cannot be a file's name.
    """
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise OptionError(
            f"session {session!r}: expected letters, digits, '.', '_' and '-'",
            "use the daemon's session names",
        )
    return session_index_dir() / f"{session}.json"


def _entries() -> Iterator[dict[str, Any]]:
    for path in session_index_dir().glob("[!.]*.json"):
        with suppress(OSError, ValueError, RecursionError):
            if path.stat().st_size > _MAX_ENTRY_BYTES:
                continue
            entry = json.loads(path.read_bytes())
            if (
                isinstance(entry, dict)
                and entry.get("session") == path.stem
                and _SESSION.fullmatch(path.stem)
                and isinstance(entry.get("directory"), str)
            ):
                yield entry


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
