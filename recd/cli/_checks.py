"""What ``recd doctor`` looks at: one function per matter, each gives one finding and changes nothing."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import resource
import shutil
import stat
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from recd_client.control import check_socket_path
from recd_client.errors import DaemonNotRunningError, RecdError

from .. import __version__
from ..paths import lock_path, log_path, runtime_dir, runtime_dir_problem, socket_path
from ._common import connect, count, lock_holder, size

OK: Final = "ok"
WARN: Final = "warn"
PROBLEM: Final = "problem"

#: A ring for 640x480 RGB frames takes 44 MB.
_SHM_WANTED_BYTES: Final = 256 << 20
_SHM_LEAST_BYTES: Final = 8 << 20
#: Per stream: the ring's segment, its doorbell, log, journal, checkpoints, outputs, an encoder's pipes.
_DESCRIPTORS_PER_STREAM: Final = 16
_DESCRIPTORS_WANTED: Final = 1024
_DISK_WANTED_BYTES: Final = 10_000_000_000
#: The daemon leaves this much free: it stops storing before the machine does.
_DISK_LEAST_BYTES: Final = 1_000_000_000
_PROBE_SIZE: Final = (640, 480)
_FSYNC_SLOW_S: Final = 0.1
_FSYNC_ROUNDS: Final = 5
_FSYNC_BYTES: Final = 64 << 10
#: No clock that is right shows an earlier time.
_EARLIEST_UNIX_S: Final = 1_767_225_600  # 2026-01-01
_CLOCK_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Parameters
    ----------
    check : str
        Name of the matter; stable, documented in docs/cli.md.
    level : {"ok", "warn", "problem"}
    what : str
    do : str
        What to do about it; empty when it is ok.
    """

    check: str
    level: str
    what: str
    do: str = ""


@dataclass(frozen=True)
class Daemon:
    """The daemon as the checks know it.

    Parameters
    ----------
    pid : int or None
        None: none runs.
    version : str
    sessions : frozenset of str or None
        Sessions that it serves; None: it was not asked, or does not answer.
    error : RecdError or None
        Why it does not answer although it runs.
    """

    pid: int | None = None
    version: str = ""
    sessions: frozenset[str] | None = None
    error: RecdError | None = None


def look_for_daemon() -> Daemon:
    """The daemon of this runtime directory."""
    try:
        caller = connect()
    except RecdError as e:
        holder = lock_holder(lock_path())
        if holder is None and isinstance(e, DaemonNotRunningError):
            return Daemon()
        return Daemon(pid=holder, error=e)
    try:
        version = str(caller.server.get("version", "?"))
        status = caller.call("status", timeout_s=10.0)
        sessions = frozenset(str(s["session"]) for s in status["sessions"])
        return Daemon(int(caller.server["pid"]), version, sessions)
    except RecdError as e:
        return Daemon(int(caller.server["pid"]), error=e)
    finally:
        caller.close()


def check_all(directory: Path) -> Iterator[Finding]:
    """Every finding, as it is made; ``directory`` is where recordings would go."""
    daemon = look_for_daemon()
    yield check_daemon(daemon)
    yield check_runtime_dir(runtime_dir())
    yield check_shared_memory(Path("/dev/shm"))
    yield check_orphans(Path("/dev/shm"), runtime_dir(), daemon)
    yield check_descriptors(daemon.pid)
    yield check_logind(Path("/"), os.getuid())
    yield check_ffmpeg()
    yield check_disk(directory)
    yield check_clock(time.time())


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


def check_runtime_dir(path: Path) -> Finding:
    """Whether the directory of socket and lock is fit, and closed to others."""
    name = "runtime directory"
    try:
        check_socket_path(socket_path())
        problem = runtime_dir_problem(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(name, OK, f"{path}, made at the first start")
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


def check_shared_memory(path: Path) -> Finding:
    """Whether there is room for rings."""
    name = "shared memory"
    try:
        st = os.statvfs(path)
    except OSError as e:
        return Finding(name, PROBLEM, f"{path}: {e.strerror}", "mount a tmpfs there: recording needs it")
    total, free = st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize
    what = f"{path}: {size(free)} free of {size(total)}"
    more = "enlarge it: mount -o remount,size=1g /dev/shm (docker: --shm-size=1g)"
    if free < _SHM_LEAST_BYTES:
        return Finding(name, PROBLEM, f"{what}, too little for any recording", more)
    if free < _SHM_WANTED_BYTES:
        return Finding(name, WARN, f"{what}, little for several streams of frames", more)
    return Finding(name, OK, what)


def check_orphans(shm: Path, runtime: Path, daemon: Daemon) -> Finding:
    """Whether rings of this runtime directory are left whose session nobody serves."""
    from recd_client.shm import PREFIX, runtime_tag

    name = "orphans"
    if daemon.error is not None:
        return Finding(name, OK, "not looked for: the daemon does not answer")
    live = daemon.sessions or frozenset()
    orphans: set[str] = set()
    n_bytes = 0
    with suppress(FileNotFoundError):
        ours = f"{PREFIX}-{runtime_tag(runtime)}-"
        for path in shm.iterdir():
            rest = path.name.removeprefix("sem.")
            if not rest.startswith(ours):
                continue
            session = rest.removeprefix(ours)
            if any(session.startswith(f"{known}-") for known in live):
                continue
            orphans.add(path.name)
            with suppress(OSError):
                n_bytes += path.stat().st_blocks * 512
    if not orphans:
        return Finding(name, OK, "no shared memory without an owner")
    return Finding(
        name,
        WARN,
        f"{count(len(orphans), 'object')} in {shm} ({size(n_bytes)}) of sessions that nobody serves",
        "recd restart" if daemon.pid else "recd start: it finishes what they hold and removes them",
    )


def check_descriptors(pid: int | None) -> Finding:
    """Whether the daemon (or one started from here) may open files enough."""
    name = "descriptors"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if pid is not None:
        with suppress(OSError, AttributeError, ValueError):
            limits = Path(f"/proc/{pid}/limits").read_text()
            found = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
            limit = int(found[1]) if found else limit
    what = "no limit on open files"
    if limit != resource.RLIM_INFINITY:
        what = f"{limit} open files per process, enough for about {limit // _DESCRIPTORS_PER_STREAM} streams"
        if limit < _DESCRIPTORS_WANTED:
            more = f"ulimit -n {_DESCRIPTORS_WANTED * 4}, then recd restart"
            return Finding(name, PROBLEM if limit < _DESCRIPTORS_WANTED // 8 else WARN, what, more)
    return Finding(name, OK, what)


def check_logind(root: Path, uid: int) -> Finding:
    """Whether logging out would remove shared memory under a recording."""
    name = "logout"
    if not (root / "run/systemd/system").is_dir() or not (root / "run/systemd/seats").is_dir():
        return Finding(name, OK, "no systemd-logind here that removes shared memory")
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    if uid < 1000:
        return Finding(name, OK, f"systemd-logind leaves shared memory of system users ({user}) alone")
    if not _removes_ipc(root):
        return Finding(name, OK, "systemd-logind leaves shared memory alone (RemoveIPC=no)")
    if (root / "var/lib/systemd/linger" / user).exists():
        return Finding(name, OK, f"{user} lingers: recordings go on after logout")
    return Finding(
        name,
        WARN,
        f"when {user} logs out, systemd-logind removes shared memory under a recording (RemoveIPC=yes)",
        f"loginctl enable-linger {user}",
    )


def _removes_ipc(root: Path) -> bool:
    """The setting RemoveIPC of logind: among the files that set it, the last by name counts.

    The main file, as it is shipped, tells the built-in default in a comment.
    """
    places = [root / place / "systemd" for place in ("usr/lib", "usr/local/lib", "run", "etc")]
    parts = {p.name: p for place in places for p in (place / "logind.conf.d").glob("*.conf")}
    value = "yes"
    for path in [*(place / "logind.conf" for place in places), *(parts[name] for name in sorted(parts))]:
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text()
            for pattern in (r"^#\s*RemoveIPC\s*=\s*(\w+)", r"^\s*RemoveIPC\s*=\s*(\w+)"):
                value = next(reversed(re.findall(pattern, text, re.MULTILINE)), value)
    return value.lower() in ("yes", "true", "on", "1", "y", "t")


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


def check_disk(directory: Path) -> Finding:
    """Whether recordings have room in ``directory``, and how long a sync takes there."""
    name = "disk"
    try:
        usage = shutil.disk_usage(directory)
        sync_s = _fsync_time_s(directory)
    except OSError as e:
        return Finding(
            name, PROBLEM, f"{directory}: {e.strerror}", "choose another directory: Recorder(dir=...)"
        )
    what = f"{directory}: {size(usage.free)} free of {size(usage.total)}, a sync takes {sync_s * 1e3:.1f} ms"
    if usage.free < _DISK_LEAST_BYTES:
        return Finding(name, PROBLEM, what, "make room: recording stops before the disk is full")
    if usage.free < _DISK_WANTED_BYTES:
        return Finding(name, WARN, what, "make room, or record elsewhere: Recorder(dir=...)")
    if sync_s > _FSYNC_SLOW_S:
        return Finding(
            name, WARN, what, 'avoid durability="strict" here, or record to a local disk: Recorder(dir=...)'
        )
    return Finding(name, OK, what)


def _fsync_time_s(directory: Path) -> float:
    """Median time to make 64 KiB durable."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as f:
        for _ in range(_FSYNC_ROUNDS):
            f.write(bytes(_FSYNC_BYTES))
            f.flush()
            begin = time.perf_counter()
            os.fsync(f.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def check_clock(now_unix_s: float) -> Finding:
    """Whether wall times in manifests can be believed (sample times do not depend on it)."""
    name = "clock"
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now_unix_s))
    if now_unix_s < _EARLIEST_UNIX_S:
        return Finding(
            name, PROBLEM, f"it is not {shown}", "set the clock: wall times in manifests are wrong"
        )
    state = _clock_state()
    if state == _CLOCK_UNSYNCHRONISED:
        return Finding(
            name,
            WARN,
            f"{shown}, but the clock is not synchronised",
            "timedatectl set-ntp true; matters only to compare wall times between machines",
        )
    return Finding(name, OK, f"{shown}, synchronised" if state >= 0 else shown)


def _clock_state() -> int:
    """What the kernel thinks of the clock: the answer of ``adjtimex(2)``; negative if it does not tell."""
    try:
        timex = ctypes.create_string_buffer(512)  # struct timex has 208 bytes; modes = 0 changes nothing
        return int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return -1
