"""What dead daemons may have left: a socket, shared memory, sessions that nobody finishes, files half written.

``--fix`` removes only what provably holds nothing that is not in a finished recording.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recd_client.shm import PREFIX, runtime_tag, unlink_segment, unlink_semaphore

from ..paths import lock_path, runtime_dir, socket_path
from ._common import count, lock_holder, size
from ._findings import FIX, OK, WARN, Daemon, Finding

_OBJECT: Final = re.compile(
    rf"(?P<sem>sem\.)?{PREFIX}-(?P<tag>[0-9a-f]{{8}})-(?P<session>\d{{8}}T\d{{6}}-[0-9a-f]{{6}})-(?P<rest>.+)"
)
_PART: Final = re.compile(r".+\.part(\.[^.]*)?")
#: How many names a line shows, and how many past recordings are looked at.
_SHOWN: Final = 3
_RECENT: Final = 200


# --- the socket -----------------------------------------------------------------------------------


def check_socket(daemon: Daemon) -> Finding:
    """Whether a socket is left at which nobody listens."""
    name = "socket"
    path = socket_path()
    if daemon.pid is not None or not os.path.lexists(path):
        return Finding(name, OK, "none left over")
    return Finding(
        name,
        WARN,
        f"{path} is left of a daemon that is gone",
        f"nothing: the next start replaces it; or: {FIX}",
        fix=_remove_socket,
    )


def _remove_socket() -> str:
    """Remove the socket, under the daemon's lock: none can begin to listen meanwhile."""
    lock = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)  # for a daemon that starts now: it waits for us
        socket_path().unlink(missing_ok=True)
    except BlockingIOError:
        return "left the socket alone: a daemon starts"
    finally:
        os.close(lock)
    return f"removed {socket_path()}"


# --- shared memory --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Orphan:
    """An object of recd in shared memory that no process has mapped and no daemon serves.

    Parameters
    ----------
    name : str
        Its file in ``/dev/shm``.
    n_bytes : int
    fate : {"finished", "unfinished", "unknown"}
        Whether all it holds is in finished files; its session is still to be finished; nobody knows.
    """

    name: str
    n_bytes: int
    fate: str


def check_orphans(shm: Path, runtime: Path, daemon: Daemon) -> Finding:
    """Whether rings or semaphores are left that nobody uses."""
    name = "orphans"
    if daemon.error is not None:
        return Finding(name, OK, "not looked for: the daemon does not answer")
    orphans = [*_orphans(shm, runtime, daemon.sessions or frozenset())]
    if not orphans:
        return Finding(name, OK, "no shared memory without an owner")
    finished, unfinished, unknown = (
        [o for o in orphans if o.fate == fate] for fate in ("finished", "unfinished", "unknown")
    )
    advice = []
    if finished:
        advice.append(f"{FIX} removes {len(finished)} whose contents are in finished files")
    if unfinished:
        start = "recd restart" if daemon.pid else "recd start"
        advice.append(f"{start} finishes what {len(unfinished)} hold, and removes them")
    if unknown:
        advice.append(
            f"of {len(unknown)} the session is not known here; if you do not miss a recording: rm "
            + _some([str(shm / o.name) for o in unknown])
        )
    return Finding(
        name,
        WARN,
        f"{count(len(orphans), 'object')} in {shm} ({size(sum(o.n_bytes for o in orphans))}) that nobody uses",
        "; ".join(advice),
        fix=(lambda: _remove(finished)) if finished else None,
    )


def _orphans(shm: Path, runtime: Path, served: frozenset[str]) -> Iterator[Orphan]:
    """Objects of this user that no process has mapped, except of sessions that the daemon serves."""
    from .. import index

    own = runtime_tag(runtime) if runtime.is_dir() else ""
    candidates = []
    with suppress(FileNotFoundError):
        for path in shm.iterdir():
            found = _OBJECT.fullmatch(path.name)
            if found is None or (found["tag"] == own and found["session"] in served):
                continue
            with suppress(OSError):
                st = path.stat()
                if st.st_uid == os.getuid():
                    candidates.append((path, found, st.st_blocks * 512))
    if not candidates:
        return
    mapped = _mapped(shm)
    entries = {str(e["session"]): e for e in index.read_all()}
    for path, found, n_bytes in candidates:
        if str(path) not in mapped:
            yield Orphan(path.name, n_bytes, _fate(path.name, entries.get(found["session"])))


def _mapped(shm: Path) -> set[str]:
    """Files of ``shm`` that processes of this user have mapped."""
    files = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for row in (process / "maps").read_text(errors="replace").splitlines():
                file = row[row.find("/") :] if "/" in row else ""
                if file.startswith(f"{shm}/{PREFIX}-") or file.startswith(f"{shm}/sem.{PREFIX}-"):
                    files.add(file)
    return files


def _fate(name: str, entry: dict[str, Any] | None) -> str:
    """What is known of the session behind an object."""
    from ..session import SessionStore

    if entry is None:
        return "unknown"
    if entry.get("state") == "finished" or (name.startswith("sem.") and entry.get("state") == "failed"):
        return "finished"
    with suppress(OSError, ValueError, KeyError, TypeError):
        store = SessionStore(Path(entry["directory"]), str(entry["session"]))
        for stream in store.streams():
            if (
                stream["ring"] == f"/{name}"
                and (store.result(stream["stream"]) or {}).get("complete") is True
            ):
                return "finished"
    return "unknown" if entry.get("state") == "failed" else "unfinished"


def _remove(orphans: list[Orphan]) -> str:
    for orphan in orphans:
        if orphan.name.startswith("sem."):
            unlink_semaphore(f"/{orphan.name.removeprefix('sem.')}")
        else:
            unlink_segment(f"/{orphan.name}")
    return f"removed {_some([o.name for o in orphans])}"


# --- recordings -----------------------------------------------------------------------------------


def check_sessions(daemon: Daemon) -> Finding:
    """Whether recordings wait for a daemon that is not there."""
    name = "sessions"
    waiting = [*_waiting(daemon)]
    if not waiting:
        return Finding(name, OK, "no unfinished recording without a daemon")
    runtimes = sorted({str(entry.get("runtime_dir")) for entry in waiting})
    starts = [
        ("recd restart" if daemon.pid else "recd start")
        if Path(runtime) == runtime_dir()
        else f"RECD_RUNTIME_DIR={runtime} recd start"
        for runtime in runtimes
    ]
    return Finding(
        name,
        WARN,
        f"{count(len(waiting), 'recording')} unfinished: {_some([str(e['directory']) for e in waiting])}",
        f"finish them: {_some(starts)}",
    )


def _waiting(daemon: Daemon) -> Iterator[dict[str, Any]]:
    """Entries of sessions that are not finished, and that neither a daemon nor a worker holds."""
    from .. import index

    if daemon.error is not None:
        return
    for entry in index.read_all():
        runtime = Path(str(entry.get("runtime_dir")))
        if entry.get("state") != "live" or not Path(entry["directory"]).is_dir():
            continue
        if runtime == runtime_dir() and daemon.pid is not None:
            if daemon.sessions is not None and entry["session"] in daemon.sessions:
                continue
        elif lock_holder(runtime / "recd.lock") is not None:
            continue
        locks = (Path(entry["directory"]) / ".recd" / str(entry["session"])).glob("*.lock")
        if all(lock_holder(lock) is None for lock in locks):
            yield entry


def check_part_files() -> Finding:
    """Whether files half written lie beside recordings that are over."""
    name = "part files"
    found = sorted({str(path) for path in _part_files()})
    if not found:
        return Finding(name, OK, "none beside finished recordings")
    return Finding(
        name,
        WARN,
        f"{count(len(found), 'file')} half written beside finished recordings: {_some(found)}",
        "look at the recording: recd info; if nothing is missing there, delete them",
    )


def _part_files() -> Iterator[Path]:
    """Part files in directories of recent recordings in which nothing is recorded any more."""
    from .. import index

    for entry in [e for e in index.read_all() if e.get("state") != "live"][:_RECENT]:
        directory = Path(entry["directory"])
        with suppress(OSError):
            if not (directory / ".recd").exists():
                yield from (p for p in directory.iterdir() if _PART.fullmatch(p.name) and p.is_file())


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
