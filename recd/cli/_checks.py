"""What ``recd doctor`` looks at: one function per matter, each gives one finding and changes nothing."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import recd_client.version
from recd_client.control import check_socket_path
from recd_client.errors import RecdError
from recd_client.shm import SHM_DIR

from .. import __version__
from ..paths import (
    ensure_runtime_dir,
    log_path,
    runtime_dir,
    runtime_dir_problem,
    session_index_dir,
    socket_path,
)
from ._findings import OK, PROBLEM, WARN, Daemon, Finding, look_for_daemon
from ._leftovers import check_orphans, check_part_files, check_sessions, check_socket
from ._machine import (
    check_clock,
    check_descriptors,
    check_disk,
    check_logind,
    check_memory,
    check_shared_memory,
)

_PROBE_SIZE: Final = (640, 480)


def check_all(directory: Path) -> Iterator[Finding]:
    """Every finding, as it is made; ``directory`` is where recordings would go."""
    root = Path("/")
    daemon = look_for_daemon()
    yield check_daemon(daemon)
    yield check_versions(__version__, recd_client.version.__version__)
    yield check_backend()
    yield check_runtime_dir(runtime_dir())
    yield check_index(session_index_dir())
    yield check_socket(daemon)
    yield check_shared_memory(SHM_DIR)
    yield check_memory(root, daemon.pid)
    yield check_orphans(SHM_DIR, runtime_dir(), daemon)
    yield check_sessions(daemon)
    yield check_part_files()
    yield check_descriptors(daemon.pid)
    yield check_logind(root, os.getuid())
    yield check_ffmpeg()
    yield check_disk(directory)
    yield check_clock(root, time.time())


def check_daemon(daemon: Daemon) -> Finding:
    """Whether a daemon runs, answers, and is of this version."""
    name = "daemon"
    if daemon.error is not None:
        return Finding(name, PROBLEM, daemon.error.what, daemon.error.do or "recd restart")
    if daemon.pid is None:
        return Finding(name, OK, "not running; the first recorder starts it, or: recd start")
    if daemon.version != __version__:
        return Finding(
            name,
            WARN,
            f"recd {daemon.version} runs (pid {daemon.pid}), this is {__version__}",
            "when nothing is being recorded: recd restart",
        )
    return Finding(name, OK, f"recd {daemon.version} runs, pid {daemon.pid}, log {log_path()}")


def check_versions(own: str, client: str) -> Finding:
    """Whether the installed recd and recd-client fit together."""
    name = "versions"
    if own.split(".")[:2] == client.split(".")[:2]:
        return Finding(name, OK, f"recd {own}, recd-client {client}")
    return Finding(
        name,
        PROBLEM,
        f"recd {own} is installed with recd-client {client}",
        f"install matching ones: pip install --upgrade recd recd-client=={'.'.join(own.split('.')[:2])}.*",
    )


def check_backend() -> Finding:
    """Whether the C extension is there, with which a write costs a tenth."""
    from recd_client.native import BACKEND

    name = "backend"
    if BACKEND == "native":
        return Finding(name, OK, "native: samples are written by C code")
    if os.environ.get("RECD_BACKEND") == BACKEND:
        return Finding(name, OK, "pure Python, as RECD_BACKEND says")
    return Finding(
        name,
        WARN,
        "pure Python: a write costs about 2 us instead of 0.1",
        "install a C compiler and Python's headers (Debian, Ubuntu: gcc python3-dev), then recd-client anew",
    )


def check_runtime_dir(path: Path) -> Finding:
    """Whether the directory of socket and lock is fit, and closed to others."""
    name = "runtime directory"
    try:
        check_socket_path(socket_path())
        problem = runtime_dir_problem(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(
            name, OK, f"{path}, made at the first start", fix=lambda: f"made {ensure_runtime_dir()}"
        )
    except RecdError as e:
        return Finding(name, PROBLEM, e.what, e.do)
    except OSError as e:
        return Finding(
            name, PROBLEM, f"{path}: {e.strerror}", "set RECD_RUNTIME_DIR to a directory of your own"
        )
    if problem is not None:
        return Finding(name, PROBLEM, *problem)
    if mode & 0o077:
        return Finding(name, WARN, f"{path} is open to others (mode {mode:04o})", f"chmod 700 {path}")
    return Finding(name, OK, str(path))


def check_index(path: Path) -> Finding:
    """Whether sessions can be listed where they are looked for after a reboot."""
    name = "session index"

    def make() -> str:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return f"made {path}"

    nearest = next(p for p in (path, *path.parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            name, PROBLEM, f"{nearest} cannot be written", "put that right, or set XDG_STATE_HOME elsewhere"
        )
    if nearest != path:
        return Finding(name, OK, f"{path}, made by the first recording", fix=make)
    return Finding(name, OK, str(path))


def check_ffmpeg() -> Finding:
    """Whether ffmpeg is there and an encoder really encodes."""
    from ..video import codecs, ffmpeg
    from ..video.settings import VideoSettings

    name = "ffmpeg"
    try:
        encoder = codecs.choose(VideoSettings(*_PROBE_SIZE, channels=3, fps=Fraction(30)))
        what = f"{ffmpeg.version()} at {ffmpeg.executable()}, encodes with {encoder}"
        more = f"codecs: {', '.join(codecs.available())}"
    except RecdError as e:
        return Finding(name, PROBLEM, e.what, e.do)
    return Finding(name, OK, f"{what}; {more}")
