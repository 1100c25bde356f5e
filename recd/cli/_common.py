"""What verbs share: reaching the daemon, and ways to print."""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError, NoSuchSessionError

from .. import __version__
from ..paths import lock_path, socket_path
from ..recordings import lock_holder as lock_holder  # verbs take it from here
from ..strict_json import finite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: How long the daemon may take to answer.
ANSWER_TIMEOUT_S: Final = 10.0

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)

allow_code_option: Callable[[Any], Any] = click.option(
    "--allow-code",
    is_flag=True,
    help="Run code of users' recorders that recordings bring along.",
)


# --- the daemon -----------------------------------------------------------------------------------


def connect() -> Caller:
    """A connection to the running daemon.

    Raises
    ------
    DaemonNotRunningError
        None answers; says so when one runs all the same.
    VersionMismatchError
        It speaks another major version of the protocol.
    """
    try:
        return Caller(socket_path(), role="cli", version=__version__)
    except DaemonNotRunningError:
        holder = lock_holder(lock_path())
        if holder is None:
            raise DaemonNotRunningError(
                f"recd is not running (no daemon answers at {socket_path()})", "start it: recd start"
            ) from None
        raise DaemonNotRunningError(
            f"recd runs (pid {holder}) but does not answer at {socket_path()}",
            f"wait a moment and try again; if that does not help: kill {holder}, then recd start",
        ) from None


def daemon_pid() -> int | None:
    """Process id of the daemon that answers; None if none does."""
    try:
        caller = connect()
    except DaemonNotRunningError:
        return None
    try:
        return int(caller.server["pid"])
    finally:
        caller.close()


def wait_gone(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process behind ``pidfd`` is gone; False if it is not by then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1e3))


def one_session(sessions: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The session of that name or id, of those in the daemon's answer to ``status``.

    Raises
    ------
    NoSuchSessionError
        None is, or more than one.
    """
    found = [s for s in sessions if name in (s["name"], s["session"])]
    if len(found) != 1:
        names = ", ".join(f"{s['session']} ({s['name']})" for s in found or sessions) or "none"
        many = f"{len(found)} recordings are" if found else "no recording is"
        raise NoSuchSessionError(f"{many} called {name!r}", f"those that run: {names}")
    return found[0]


# --- printing -------------------------------------------------------------------------------------


def print_json(data: Any) -> None:
    """Print ``data`` as JSON that every parser reads: NaN and infinities become null."""
    click.echo(json.dumps(finite(data), indent=2))


def console(*, stderr: bool = False) -> Console:
    """A console that is plain when it is not a terminal, and colourless where NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without lines, indented by two; the columns named in ``right`` hold numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        number = name in right
        made.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


def clean(text: object) -> str:
    """The text with what could steer a terminal made visible: names in files may come from anyone."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def cell(text: object, style: str = "") -> Text:
    """A table's cell with the text as it is."""
    from rich.text import Text

    return Text(clean(text), style=style)


def line(out: Console, text: str = "", style: str = "") -> None:
    """Print one line that is never broken, so that paths can be copied."""
    out.print(clean(text), style=style or None, soft_wrap=True)


def count(n: float, one: str, many: str = "") -> str:
    """A number and its noun: ``1 stream``, ``2 streams``, ``1,234 samples``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def size(n_bytes: float) -> str:
    """Bytes in the unit that fits: ``0 B``, ``12.3 MB``."""
    units = ("B", "kB", "MB", "GB", "TB")
    value, at = float(n_bytes), 0
    while value >= 999.5 and at < len(units) - 1:
        value, at = value / 1000, at + 1
    return f"{value:.0f} {units[at]}" if at == 0 or value >= 99.95 else f"{value:.1f} {units[at]}"


def duration(seconds: float) -> str:
    """A length of time in at most two units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        n, left = divmod(left, length)
        if n or parts:
            parts.append(f"{n} {unit}" if n else "")
        if len(parts) == 2:
            break
    return " ".join(p for p in parts if p)


def local_time(unix_s: object) -> str:
    """A point in time on the wall: ``2026-11-22 13:40:05``."""
    if not isinstance(unix_s, (int, float)) or not math.isfinite(unix_s):
        return "?"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))
    except (OverflowError, ValueError, OSError):
        return "?"


def losses(lost: Any) -> str:
    """Losses by cause: ``0``, or ``12 full, 3 timeout``."""
    found = {str(k): v for k, v in lost.items() if v} if isinstance(lost, dict) else {}
    return ", ".join(f"{n:,} {cause}" for cause, n in found.items()) or "0"
