"""Whether this machine lets recd record: shared memory, memory, limits, logout, disk and clock."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ._common import duration, size
from ._findings import OK, PROBLEM, WARN, Finding

#: A ring for 640x480 RGB frames takes 60 MB.
_SHM_WANTED_BYTES: Final = 256 << 20
_SHM_LEAST_BYTES: Final = 8 << 20
#: Per stream: the ring's segment, its doorbell, log, journal, checkpoints, outputs, an encoder's pipes.
_DESCRIPTORS_PER_STREAM: Final = 16
_DESCRIPTORS_WANTED: Final = 1024
_DISK_WANTED_BYTES: Final = 10_000_000_000
#: The daemon leaves this much free: it stops storing before the machine does.
_DISK_LEAST_BYTES: Final = 1_000_000_000
_FSYNC_SLOW_S: Final = 0.1
_FSYNC_ROUNDS: Final = 5
_FSYNC_BYTES: Final = 64 << 10
#: No clock that is right shows an earlier time.
_EARLIEST_UNIX_S: Final = 1_767_225_600  # 2026-01-01
_CLOCK_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)
_CLOCK_JUMP_S: Final = 1.0
#: Clocks that are read by a system call and slow hardware, not by an instruction.
_SLOW_CLOCKS: Final = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")
_LOGINCTL_TIMEOUT_S: Final = 5.0
#: A limit beyond this is the old way to say that there is none.
_NO_LIMIT_BYTES: Final = 1 << 60


def check_shared_memory(path: Path) -> Finding:
    """Whether there is room for rings, and how much of it this user takes."""
    name = "shared memory"
    try:
        st = os.statvfs(path)
    except OSError as e:
        return Finding(name, PROBLEM, f"{path}: {e.strerror}", "mount a tmpfs there: recording needs it")
    total, free = st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize
    own, ours = _taken_bytes(path, os.getuid())
    what = f"{path}: {size(free)} free of {size(total)}, {size(own)} taken by you, {size(ours)} of it by recd"
    more = "enlarge it: mount -o remount,size=1g /dev/shm (docker: --shm-size=1g)"
    if own - ours > total // 4:
        more += "; or remove what is yours there and no longer used"
    if free < _SHM_LEAST_BYTES:
        return Finding(name, PROBLEM, f"{what}, too little for any recording", more)
    if free < _SHM_WANTED_BYTES:
        return Finding(name, WARN, f"{what}, little for several streams of frames", more)
    return Finding(name, OK, what)


def _taken_bytes(path: Path, uid: int) -> tuple[int, int]:
    """Bytes that a user's files take there: all of them, and those with recd's names."""
    from recd_client.shm import PREFIX

    own = ours = 0
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with suppress(OSError):
                st = entry.stat(follow_symlinks=False)
                if st.st_uid == uid:
                    own += st.st_blocks * 512
                    ours += st.st_blocks * 512 * entry.name.startswith((f"{PREFIX}-", f"sem.{PREFIX}-"))
    return own, ours


def check_memory(root: Path, pid: int | None) -> Finding:
    """Whether a limit of a container or service, against which /dev/shm counts too, leaves room for rings."""
    name = "memory"
    limits = [*_cgroup_limits(root, pid)]
    if not limits:
        return Finding(name, OK, "no limit of a container or service")
    limit, used = min(limits, key=lambda found: found[0] - found[1])
    room = max(limit - used, 0)
    what = f"limited to {size(limit)} here, {size(room)} left; shared memory counts against it"
    more = "raise the limit (docker: --memory, systemd: MemoryMax=), or pass smaller buffer_bytes"
    if room < _SHM_LEAST_BYTES:
        return Finding(name, PROBLEM, f"{what}: the kernel will kill what records", more)
    if room < _SHM_WANTED_BYTES:
        return Finding(name, WARN, what, more)
    return Finding(name, OK, what)


def _cgroup_limits(root: Path, pid: int | None) -> Iterator[tuple[int, int]]:
    """Memory limits that hold for a process, each with what is taken and cannot be reclaimed at once."""
    try:
        rows = (root / f"proc/{pid or 'self'}/cgroup").read_text().splitlines()
    except OSError:
        return
    for row in rows:
        _, controllers, path = row.split(":", 2)
        if controllers == "":
            top, limit_file, used_file = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit_file, used_file = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = top / path.strip("/")
        for place in (group, *group.parents):
            if top != place and top not in place.parents:
                break
            with suppress(OSError, ValueError):  # "max" is no number
                limit, used = (int((place / file).read_text()) for file in (limit_file, used_file))
                cache = re.search(
                    r"^(?:total_)?inactive_file (\d+)", _text(place / "memory.stat"), re.MULTILINE
                )
                if limit < _NO_LIMIT_BYTES:
                    yield limit, used - (int(cache[1]) if cache else 0)


def _text(path: Path) -> str:
    """What the file says; nothing if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text()
    return ""


def check_descriptors(pid: int | None) -> Finding:
    """Whether the daemon (or one started from here) may open files enough."""
    name = "descriptors"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # up to which a daemon raises its own
    if pid is not None:
        with suppress(OSError, AttributeError, ValueError):
            limits = Path(f"/proc/{pid}/limits").read_text()
            found = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
            limit = int(found[1]) if found else limit
    what = "no limit on open files"
    if limit != resource.RLIM_INFINITY:
        what = f"{limit} open files per process, enough for about {limit // _DESCRIPTORS_PER_STREAM} streams"
        if limit < _DESCRIPTORS_WANTED:
            more = (
                f"raise the hard limit to {_DESCRIPTORS_WANTED * 4} (limits.conf, or systemd: LimitNOFILE=)"
            )
            return Finding(
                name,
                PROBLEM if limit < _DESCRIPTORS_WANTED // 8 else WARN,
                what,
                f"{more}, then recd restart",
            )
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
    if _lingers(root, user):
        return Finding(name, OK, f"{user} lingers: recordings go on after logout")
    return Finding(
        name,
        WARN,
        f"when {user} logs out, systemd-logind removes shared memory under a recording (RemoveIPC=yes)",
        f"loginctl enable-linger {user}",
    )


def _lingers(root: Path, user: str) -> bool:
    """Whether logind keeps the user's processes and files after logout."""
    if (root / "var/lib/systemd/linger" / user).exists():
        return True
    loginctl = shutil.which("loginctl")
    if loginctl is None:
        return False
    asked = [loginctl, "show-user", user, "--property=Linger", "--value"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_LOGINCTL_TIMEOUT_S)
        return done.stdout.strip() == "yes"
    return False


def _removes_ipc(root: Path) -> bool:
    """The setting RemoveIPC of logind: among the files that set it, the last by name counts.

    The main file, as it is shipped, tells the built-in default in a comment.
    """
    places = [root / place / "systemd" for place in ("usr/lib", "usr/local/lib", "run", "etc")]
    parts = {p.name: p for place in places for p in (place / "logind.conf.d").glob("*.conf")}
    value = "yes"
    for path in [*(place / "logind.conf" for place in places), *(parts[name] for name in sorted(parts))]:
        text = _text(path)
        for pattern in (r"^#\s*RemoveIPC\s*=\s*(\w+)", r"^\s*RemoveIPC\s*=\s*(\w+)"):
            value = next(reversed(re.findall(pattern, text, re.MULTILINE)), value)
    return value.lower() in ("yes", "true", "on", "1", "y", "t")


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


def check_clock(root: Path, now_unix_s: float) -> Finding:
    """Whether wall times in manifests can be believed (sample times do not depend on it), and reading is cheap."""
    name = "clock"
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now_unix_s))
    if now_unix_s < _EARLIEST_UNIX_S:
        return Finding(
            name, PROBLEM, f"it is not {shown}", "set the clock: wall times in manifests are wrong"
        )
    jump_s = _jump_s(now_unix_s)
    if abs(jump_s) > _CLOCK_JUMP_S:
        way = f"{duration(abs(jump_s))} {'forward' if jump_s > 0 else 'back'}"
        return Finding(
            name,
            WARN,
            f"{shown}; it moved {way} since a running recording began (it was set, or the machine slept)",
            "sample times do not depend on it; of the manifest's wall times trust only the start",
        )
    source = _text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    if source in _SLOW_CLOCKS:
        return Finding(
            name,
            WARN,
            f"{shown}; the kernel reads it from {source}, so that each time stamp costs a system call",
            "see why it does not use tsc: dmesg | grep -i clocksource",
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


def _jump_s(now_unix_s: float) -> float:
    """How far the wall clock ran from the monotonic one since a running recording began: the most of all."""
    from recd_client.process import boot_id

    from .. import index
    from ..session import SessionStore

    offset_s = now_unix_s - time.monotonic()
    jumps = [0.0]
    for entry in index.read_all():
        if entry.get("state") == "live":
            with suppress(OSError, ValueError, KeyError, TypeError):
                spec: dict[str, Any] = SessionStore(Path(entry["directory"]), entry["session"]).spec
                if spec["boot_id"] == boot_id().hex():
                    jumps.append(offset_s - (spec["clocks"]["wall_ns"] - spec["clocks"]["mono_ns"]) / 1e9)
    return max(jumps, key=abs)


def _clock_state() -> int:
    """What the kernel thinks of the clock: the answer of ``adjtimex(2)``; negative if it does not tell."""
    try:
        timex = ctypes.create_string_buffer(512)  # struct timex has 208 bytes; modes = 0 changes nothing
        return int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return -1
