"""Where recd keeps what is no recording: its runtime directory and the index of sessions.

::

    <runtime>/recd.sock     control socket     RECD_RUNTIME_DIR, else $XDG_RUNTIME_DIR/recd, else a
    <runtime>/recd.lock     the one daemon     directory per user under the system's temporary one;
    <runtime>/daemon.log    what it said       gone after a reboot
    <state>/sessions/*.json one per session    $XDG_STATE_HOME/recd, else ~/.local/state/recd; stays
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from recd_client.control import check_socket_path
from recd_client.errors import OutputError
from recd_client.process import runtime_dir, socket_path

__all__ = [
    "ensure_runtime_dir",
    "lock_path",
    "log_path",
    "runtime_dir",
    "runtime_dir_problem",
    "session_index_dir",
    "socket_path",
    "state_dir",
]


def state_dir() -> Path:
    """Where state that outlives a reboot is kept; not necessarily there yet."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "recd"


def session_index_dir() -> Path:
    """Where each session has its entry, see :mod:`recd.index`."""
    return state_dir() / "sessions"


def lock_path() -> Path:
    """The file that the one daemon of this runtime directory holds a ``flock`` on."""
    return runtime_dir() / "recd.lock"


def log_path() -> Path:
    """What the daemon prints."""
    return runtime_dir() / "daemon.log"


def runtime_dir_problem(path: Path) -> tuple[str, str] | None:
    """Why an existing ``path`` must not be a runtime directory, and what to do; None if it may.

    Whoever can write to it can put a socket of his own in the daemon's place. A symbolic link is
    followed only if it is ours as well.
    """
    own = os.geteuid()
    elsewhere = "set RECD_RUNTIME_DIR to a directory of your own"
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        return f"the runtime directory {path} is not a directory", elsewhere
    for owner in (path.lstat().st_uid, found.st_uid):
        if owner != own:
            return f"the runtime directory {path} belongs to uid {owner}, not to you (uid {own})", elsewhere
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        return (
            f"the runtime directory {path} can be written by other users (mode {mode:04o})",
            f"chmod 700 {path}, or {elsewhere}",
        )
    return None


def ensure_runtime_dir() -> Path:
    """The runtime directory, there, ours, and closed to others.

    Raises
    ------
    OutputError
        It cannot be made, belongs to another user, or others can write to it.
    RecdError
        Its path is too long for a socket.
    """
    path = runtime_dir()
    check_socket_path(socket_path())
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = runtime_dir_problem(path)
    except OSError as e:
        reason = e.strerror or type(e).__name__
        raise OutputError(
            f"the runtime directory {path} cannot be made or read: {reason}",
            "set RECD_RUNTIME_DIR to a directory that you can write to",
        ) from None
    if problem is not None:
        raise OutputError(*problem)
    return path
