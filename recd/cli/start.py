"""``recd start``: one daemon per runtime directory, ready when this returns."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from recd_client.errors import CodeNotAllowedError, DaemonStartError, UnsupportedPlatformError

from .. import index
from ..paths import ensure_runtime_dir, log_path, runtime_dir, socket_path
from ._common import allow_code_option, connect, count, daemon_pid, json_option, print_json, wait_gone

#: Long, because interpreters on network file systems take their time; what goes wrong is seen at once.
START_TIMEOUT_S: Final = 60.0
_RETRY_S: Final = 0.02
_LOG_TAIL_LINES: Final = 15
_LOG_TAIL_BYTES: Final = 8192
#: A longer log is set aside (one generation) when the next daemon starts.
_LOG_MAX_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Started:
    """A daemon that answers.

    Parameters
    ----------
    pid : int
    already : bool
        It ran before, or another start at the same time was quicker.
    """

    pid: int
    already: bool


@click.command(
    epilog="Example: recd start. Under a service manager: recd start --foreground",
    short_help="Start the daemon, or say that it runs.",
)
@click.option("--foreground", is_flag=True, help="Run the daemon itself here, for a service manager.")
@allow_code_option
@click.option(
    "--ready-fd", type=click.IntRange(min=0), hidden=True, help="Descriptor that hears of readiness."
)
@json_option
def command(foreground: bool, allow_code: bool, ready_fd: int | None, as_json: bool) -> int:
    """Start the daemon and return when it is ready.

    If it runs already, that is the answer. Recorders start it by themselves; use this to start it
    beforehand, or under a service manager.
    """
    if foreground:
        return _run_here(ready_fd, allow_code)
    waiting = [] if as_json else _interrupted()
    started = start_daemon(allow_code=allow_code)
    if allow_code and started.already:
        check_allows(started.pid)
    if as_json:
        print_json(started_json(started))
        return 0
    click.echo(started_text(started))
    if waiting and not started.already:
        click.echo(f"it goes on with {count(len(waiting), 'interrupted recording')}: recd status")
    return 0


def check_allows(pid: int) -> None:
    """Raise if the daemon that runs was started without that consent."""
    caller = connect()
    caller.close()
    if not caller.server.get("allow_code"):
        raise CodeNotAllowedError(
            f"recd is already running, pid {pid}, and does not allow code to travel",
            "recd restart --allow-code",
        )


def _interrupted() -> list[str]:
    """The recordings that a daemon will take up when it starts here."""
    here = str(runtime_dir())
    return [
        e["directory"] for e in index.read_all() if (e.get("state"), e.get("runtime_dir")) == ("live", here)
    ]


def started_text(started: Started) -> str:
    """The answer for people."""
    if started.already:
        return f"recd is already running, pid {started.pid}"
    return f"recd is running, pid {started.pid} (socket {socket_path()})"


def started_json(started: Started) -> dict[str, object]:
    """The answer for programs; the keys are documented in docs/cli.md."""
    return {
        "pid": started.pid,
        "already_running": started.already,
        "socket": str(socket_path()),
        "log": str(log_path()),
    }


def _run_here(ready_fd: int | None, allow_code: bool) -> int:
    """Be the daemon until it stops; its exit code."""
    ensure_runtime_dir()
    if ready_fd is None and "NOTIFY_SOCKET" not in os.environ and (pid := daemon_pid()) is not None:
        click.echo(started_text(Started(pid, already=True)))
        return 0
    from ..daemon import run

    return run(ready_fd=ready_fd, allow_code=allow_code)


def start_daemon(timeout_s: float = START_TIMEOUT_S, *, allow_code: bool = False) -> Started:
    """The daemon that answers, started if need be; any number of callers at once get the same one.

    Raises
    ------
    DaemonStartError
        It ended, or was not ready in time; the message shows what it said.
    """
    if not hasattr(os, "pidfd_open"):
        raise UnsupportedPlatformError(
            "recd needs Linux 5.3 or later", "run it on Linux, in a container if need be"
        )
    ensure_runtime_dir()
    deadline = time.monotonic() + timeout_s
    while True:
        pid = daemon_pid()
        if pid is not None:
            return Started(pid, already=True)
        pid, other = _spawn(deadline, allow_code)
        if not other:
            return Started(pid, already=False)
        # Another daemon holds the lock: it will answer soon, or is on its way out and makes room.
        while daemon_pid() is None and _lives(pid):
            if time.monotonic() > deadline:
                raise DaemonStartError(
                    f"another recd (pid {pid}) holds {runtime_dir()} but does not answer",
                    f"try again; if that does not help: kill {pid}, then recd start",
                )


def _spawn(deadline: float, allow_code: bool) -> tuple[int, bool]:
    """Start a daemon and wait for its word: its pid, or that of another that has the lock, and True."""
    log, begin = _open_log()
    reader, writer = os.pipe()
    consent = ["--allow-code"] if allow_code else []
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "recd", "start", "--foreground", *consent, "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
            # Not the caller's directory: it would be first on the module path (-m), where a file of the
            # user's named like a module of ours would be imported, and it could not be unmounted.
            cwd="/",
            env={**os.environ, "RECD_RUNTIME_DIR": str(runtime_dir())},
        )
    finally:
        os.close(writer)
        os.close(log)
    try:
        word = _read_word(reader, child.pid, deadline)
    finally:
        os.close(reader)
    if word == b"ready\n":
        child.returncode = 0  # it lives on: there is nothing to wait for
        return child.pid, False
    if word.startswith(b"running ") and word[8:].strip().isdigit():
        child.wait()
        return int(word[8:]), True
    if child.poll() is None:
        child.returncode = 0
        raise DaemonStartError(
            f"recd (pid {child.pid}) is still not ready{_said(begin)}",
            f"look again with: recd status; or end it: kill {child.pid}",
        )
    raise DaemonStartError(
        f"recd did not start (exit status {child.wait()}){_said(begin)}",
        "put right what it says; to see it live: recd start --foreground",
    )


def _read_word(reader: int, pid: int, deadline: float) -> bytes:
    """What the daemon writes to the pipe, up to a newline; less if it ends or is late."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        # The pipe's end alone would not tell of its death: a child of its own may have the pipe too.
        poll.register(pidfd, select.POLLIN)
        word = b""
        while not word.endswith(b"\n"):
            events = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1e3))
            got = os.read(reader, 256) if events.get(reader) else b""
            if not got and (not events or pidfd in events):
                break
            if not got:
                poll.unregister(reader)  # closed without a word: it is about to end
            word += got
        return word
    finally:
        os.close(pidfd)


def _lives(pid: int) -> bool:
    """Whether a process lives; waits a moment, less if it ends."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return not wait_gone(pidfd, _RETRY_S)
    finally:
        os.close(pidfd)


def _open_log() -> tuple[int, int]:
    """A descriptor of the daemon's log, and how long the log is already."""
    path = log_path()
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return log, os.fstat(log).st_size


def _said(begin: int) -> str:
    """The last lines of the log after ``begin``, to be put behind a message."""
    path = log_path()
    with suppress(OSError), open(path, "rb") as f:
        f.seek(max(begin, path.stat().st_size - _LOG_TAIL_BYTES))
        lines = f.read().decode("utf-8", "replace").splitlines()[-_LOG_TAIL_LINES:]
        if lines:
            return "".join([f"; the end of its log, {path}:", *(f"\n    {text}" for text in lines)])
    return f"; it left no word in its log, {Path(path)}"
