"""What ``recd doctor`` says: a finding per matter, and the daemon as its checks know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from recd_client.errors import DaemonNotRunningError, RecdError

from ..paths import lock_path
from ._common import connect, lock_holder

OK: Final = "ok"
WARN: Final = "warn"
PROBLEM: Final = "problem"
#: What a finding says whose cure ``--fix`` knows.
FIX: Final = "recd doctor --fix"


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
    fix : callable, optional
        Does the part of that which cannot harm a recording; returns what it did.
    """

    check: str
    level: str
    what: str
    do: str = ""
    fix: Callable[[], str] | None = field(default=None, compare=False)


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
