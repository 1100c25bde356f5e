"""Which recordings a directory holds: by their manifests, and those without one by their working files.

Manifests come from disk: whatever is wrong with one is a clear error, never a crash.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from recd_client.errors import OutputError, VersionMismatchError

if TYPE_CHECKING:
    from .journal import Journal

MANIFEST: Final = "manifest.json"
HIDDEN: Final = ".recd"
MANIFEST_VERSION: Final = 1
#: How many directories above a file its recording's directory may be.
DEPTH: Final = 8


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at ``path``.

    Raises
    ------
    OutputError
        It is missing, cannot be read, or is none of recd's.
    VersionMismatchError
        A later recd wrote it.
    """
    try:
        manifest = orjson.loads(path.read_bytes())
    except OSError as e:
        raise OutputError(f"{path} cannot be read: {e.strerror}", "check the path and its permissions") from e
    except (ValueError, RecursionError) as e:
        raise OutputError(
            f"{path} is damaged: {e}", "the data files beside it are described by: recd info FILE"
        ) from e
    if not isinstance(manifest, dict) or not isinstance(manifest.get("manifest_version"), int):
        raise OutputError(
            f"{path} is no manifest of recd", "give a data file, or the directory of a recording"
        )
    version = manifest["manifest_version"]
    if version > MANIFEST_VERSION:
        raise VersionMismatchError(
            f"{path} has manifest version {version}, this recd knows {MANIFEST_VERSION}", "update recd"
        )
    return manifest


def manifests(directory: Path) -> list[Path]:
    """The manifests in a directory, one for each recording that ended in it."""
    return sorted(p for p in directory.glob("manifest*.json") if is_manifest(p))


def is_manifest(path: Path) -> bool:
    """Whether the file has a manifest's name: ``manifest.json``, or with the session between."""
    return path.name == MANIFEST or (path.name.startswith("manifest.") and path.suffix == ".json")


def kept_sessions(directory: Path) -> list[str]:
    """Sessions whose working files are in this directory: they work, were interrupted, or lack something."""
    return sorted(p.parent.name for p in (directory / HIDDEN).glob("[!.]*/session.json"))


def logged(path: Path, spec: dict[str, Any]) -> Journal:
    """What the journal of an unfinished stream and the rest of its log tell; nothing is written.

    Parameters
    ----------
    path : Path
        The stream's directory under ``.recd``.
    spec : dict
        The stream, as its session keeps it.
    """
    from recd_client.schema import Schema

    from .journal import Journal
    from .log import LogReader
    from .session import is_direct

    journal = Journal(path, Schema.from_json(spec["schema"]), reads_only=True)
    reader = LogReader(path / "log", journal.position)
    try:
        while (chunk := reader.next()) is not None:
            if is_direct(spec):  # only what its video fell behind with is in the log
                journal.tally.add(chunk.info)
            else:
                journal.take(chunk, damaged=reader.damaged)
    finally:
        reader.close()
    return journal


def lock_holder(lock: Path) -> int | None:
    """Process id of the daemon that holds ``lock``; None if none does. Takes no lock itself.

    Trying the lock instead would make a daemon that starts at that moment believe in another one.
    """
    try:
        found = lock.stat()
        held = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for row in held:  # "12: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"
        fields = row.split()
        # The device there is not always the one that stat tells (btrfs, overlayfs): ask the process.
        if (
            fields[1] == "FLOCK"
            and fields[-3].endswith(f":{found.st_ino}")
            and _has_open(int(fields[-4]), found)
        ):
            return int(fields[-4])
    return None


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Whether a process has this very file open."""
    with suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(fd.stat(), file):
                    return True
    return False
