"""``recd stop``: the daemon drains, syncs, finishes files, and is gone when this returns."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import (
    DaemonNotRunningError,
    RecdError,
    VersionMismatchError,
)

from ..paths import lock_path, log_path
from ._common import (
    ANSWER_TIMEOUT_S,
    connect,
    console,
    count,
    duration,
    json_option,
    line,
    lock_holder,
    one_session,
    print_json,
    wait_gone,
)

if TYPE_CHECKING:
    from rich.status import Status

STOP_TIMEOUT_S: Final = 60.0
#: What the daemon gets beyond its deadline to answer, end its workers and exit.
_GRACE_S: Final = 15.0
#: How often it is looked whether a recording has ended.
_LOOK_S: Final = 0.1

timeout_option = click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(min=0),
    default=STOP_TIMEOUT_S,
    show_default=True,
    help="Seconds that the daemon has to finish what it records.",
)


@dataclass(frozen=True)
class Stopped:
    """What a stop left behind.

    Parameters
    ----------
    pid : int or None
        The daemon that is gone now; None if none ran.
    finished : list of str
        Sessions whose files are complete.
    unfinished : list of dict
        ``session``, ``directory``, ``why`` of the others.
    """

    pid: int | None
    finished: list[str] = field(default_factory=list)
    unfinished: list[dict[str, Any]] = field(default_factory=list)


@click.command(
    epilog="Example: recd stop --timeout 20", short_help="Finish all recordings and end the daemon; or one."
)
@click.argument("session", required=False)
@timeout_option
@json_option
def command(session: str | None, timeout_s: float, as_json: bool) -> int:
    """Finish all recordings and end the daemon; or only end the recording SESSION (its name or id).

    Everything that simulations have written is drained and synced, and the files are finished. What
    does not get done in time stays safe on disk, is listed, and makes the exit code 1. A simulation whose
    recording was ended runs on; what it writes from then on is counted as lost.
    """
    stopped = stop_daemon(timeout_s) if session is None else stop_session(session, timeout_s)
    if as_json:
        print_json(stopped_json(stopped))
    elif session is None:
        report(stopped)
    else:
        report_session(session, stopped)
    return 1 if stopped.unfinished else 0


def stopped_json(stopped: Stopped) -> dict[str, Any]:
    """The answer for programs; the keys are documented in docs/cli.md."""
    return {
        "was_running": stopped.pid is not None,
        "pid": stopped.pid,
        "finished": stopped.finished,
        "unfinished": stopped.unfinished,
    }


def report(stopped: Stopped) -> None:
    """Print the answer for people; what is unfinished goes to stderr."""
    if stopped.pid is None:
        click.echo("recd is not running")
        return
    done = f", {count(len(stopped.finished), 'session')} finished" if stopped.finished else ""
    click.echo(f"recd stopped, pid {stopped.pid}{done}")
    if stopped.unfinished:
        err = console(stderr=True)
        line(err, f"error: {count(len(stopped.unfinished), 'session')} could not be finished in time:")
        for session in stopped.unfinished:
            line(err, f"    {session.get('session')}: {session.get('why')}")
            line(err, f"      {session.get('directory')}")
        line(err, "  -> what was recorded is safe there; to go on finishing it: recd start")


def report_session(session: str, stopped: Stopped) -> None:
    """Print the answer for people, of one recording."""
    for _ in stopped.finished:
        click.echo(f"{session} is stopped, its files are finished")
    for left in stopped.unfinished:
        err = console(stderr=True)
        line(err, f"error: {session} is stopped, but {left['why']}")
        line(err, f"      {left['directory']}")
        line(err, "  -> the daemon goes on: recd status")


def stop_session(name: str, timeout_s: float) -> Stopped:
    """No more is recorded by the session of that name or id, and its files are finished, or will be.

    Raises
    ------
    NoSuchSessionError
        None is, or more than one.
    """
    caller = connect()
    try:
        there = caller.call("status", ANSWER_TIMEOUT_S)["sessions"]
        found = one_session(there, name)
        told = caller.call("stop_session", ANSWER_TIMEOUT_S, session=found["session"])
        end = time.monotonic() + timeout_s
        while any(s["session"] == told["session"] for s in there):
            if time.monotonic() > end:
                left = {"session": told["session"], "directory": told["directory"]}
                why = "its files are not finished yet"
                return Stopped(int(caller.server["pid"]), [], [{**left, "why": why}])
            time.sleep(_LOOK_S)
            there = caller.call("status", ANSWER_TIMEOUT_S)["sessions"]
    finally:
        caller.close()
    return Stopped(int(caller.server["pid"]), [told["session"]])


def stop_daemon(timeout_s: float) -> Stopped:
    """The daemon that ran, if any, is gone.

    Raises
    ------
    RecdError
        It is still there, well after its deadline.
    """
    try:
        caller = connect()
    except (DaemonNotRunningError, VersionMismatchError):
        return _terminate(timeout_s)
    try:
        pid = int(caller.server["pid"])
        with _watched(pid) as pidfd, _spinner(pid, timeout_s):
            end = time.monotonic() + timeout_s + _GRACE_S
            answer: dict[str, Any] = {}
            with suppress(DaemonNotRunningError):  # gone, or hung: the wait tells
                answer = caller.call("stop", deadline_s=timeout_s, timeout_s=timeout_s + _GRACE_S)
            _wait_gone(pidfd, pid, end - time.monotonic())
    finally:
        caller.close()
    return Stopped(pid, list(answer.get("finished", ())), list(answer.get("unfinished", ())))


def _terminate(timeout_s: float) -> Stopped:
    """End a daemon that cannot be talked to (hung, or of another version) by SIGTERM, which stops it too."""
    pid = lock_holder(lock_path())
    if pid is None:
        return Stopped(None)
    with _watched(pid) as pidfd, _spinner(pid, timeout_s):
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        _wait_gone(pidfd, pid, timeout_s + _GRACE_S)
    return Stopped(pid)


@contextmanager
def _watched(pid: int) -> Iterator[int | None]:
    """A descriptor of the process, immune to its number being reused; None if it is gone already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _spinner(pid: int, timeout_s: float) -> Status:
    return console(stderr=True).status(f"recd (pid {pid}) finishes its work, at most {duration(timeout_s)}")


def _wait_gone(pidfd: int | None, pid: int, timeout_s: float) -> None:
    if pidfd is not None and not wait_gone(pidfd, timeout_s):
        raise RecdError(
            f"recd (pid {pid}) was asked to stop but is still there; its log is {log_path()}",
            f"wait and see: recd status; or end it, which loses nothing that was recorded: kill -9 {pid}",
        )
