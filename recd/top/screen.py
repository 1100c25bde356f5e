"""What ``recd top`` shows, as lines of text for any width; knows no terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from rich.text import Text

from ..cli._common import clean, count, duration, losses, size
from ..cli._troubles import HEALTHY
from .rates import SessionView, StreamView, View

Row: TypeAlias = SessionView | StreamView

#: Width, title, and how a stream's number is written there.
_COLUMNS: Final[dict[str, tuple[int, str]]] = {
    "state": (9, "state"),
    "rate": (9, "samples/s"),
    "bytes": (8, "bytes/s"),
    "buffer": (5, "buf"),
    "spool": (8, "spooled"),
    "encoded": (7, "video/s"),
    "lost": (9, "lost"),
}
_FIXED: Final = sum(width + 1 for width, _ in _COLUMNS.values())
#: Where there is room for it.
_WRITTEN: Final = 14
_LEAST_NAME: Final = 16

_ORDERS: Final[dict[str, Callable[[StreamView], Any]]] = {
    "name": lambda s: (s.run, s.name),
    "rate": lambda s: -(s.samples_per_s or 0.0),
    "bytes": lambda s: -(s.bytes_per_s or 0.0),
    "buffer": lambda s: -s.fill,
    "spool": lambda s: -s.told["spooled_bytes"],
    "lost": lambda s: (not s.losing, -s.lost),
}
#: What rows can be sorted by: as the daemon tells of them, below their sessions, or streams of all sessions.
ORDERS: Final = ("session", *_ORDERS)


@dataclass
class Choice:
    """What a person has chosen to see.

    Parameters
    ----------
    order : str
        One of :data:`ORDERS`.
    reverse : bool
    words : str
        Only streams whose run, name and state together contain all of these.
    folded : set of str
        Sessions whose streams are not shown.
    """

    order: str = "session"
    reverse: bool = False
    words: str = ""
    folded: set[str] = field(default_factory=set)

    def rows(self, view: View) -> list[Row]:
        """What the table has, in order."""
        words = self.words.lower().split()
        streams = [s for s in view.streams if all(word in _haystack(s) for word in words)]
        if self.order != "session":
            return [*sorted(streams, key=_ORDERS[self.order], reverse=self.reverse)]
        rows: list[Row] = []
        wanted = {s.key for s in streams}
        for session in reversed(view.sessions) if self.reverse else view.sessions:
            below = [s for s in session.streams if s.key in wanted]
            if below or not words:
                rows += [session, *(() if session.session in self.folded else below)]
        return rows


def _haystack(stream: StreamView) -> str:
    return f"{stream.run}/{stream.name} {stream.told['state']}".lower()


# --- the top: how it is as a whole, and what is wrong ----------------------------------------------


def head(view: View) -> list[Text]:
    """The first lines: the daemon, all rates, the disks."""
    first = Text()
    daemon = view.daemon
    if daemon is not None:
        first.append(f"recd {clean(daemon['version'])}", "bold")
        if not view.gone:
            first.append(f"  pid {daemon['pid']}, up {duration(time.time() - daemon['started_unix_s'])}  ")
        many = f"{count(len(view.sessions), 'session')}, {count(len(view.streams), 'stream')}"
        first.append(("  as last seen: " if view.gone else "") + many)
    if view.gone:
        what, _, do = view.gone.partition("\n  -> ")
        gone = Text(f"! {clean(what)}", "bold red")
        return [
            gone,
            Text(f"  -> {clean(do)}  (waiting for it, {duration(view.gone_s)} by now)"),
            *([first] if daemon else []),
        ]
    rates = Text(
        f"{rate_text(view.total('samples_per_s'))} samples/s  {size_text(view.total('bytes_per_s'))}/s"
    )
    rates.append(f"  buffered {size(view.told_total('buffered_bytes'))}")
    rates.append(f"  spooled {size(view.told_total('spooled_bytes'))}")
    lost, now = sum(s.lost for s in view.streams), view.total("lost_per_s")
    rates.append(f"  lost {lost:,}" + (f" ({rate_text(now)}/s)" if now else ""), "bold red" if lost else "")
    lines = [first, rates] if view.streams else [first]
    for disk in view.disks:
        left = f"disk {size(disk.free_bytes)} of {size(disk.total_bytes)} free"
        if disk.full_in_s is not None:
            left += f", full in {duration(disk.full_in_s)} at {size(disk.filling_per_s or 0)}/s"
        lines.append(Text(f"{left}  {clean(disk.path)}"))
    return lines


def alarms(view: View, width: int, most_lines: int | None = None) -> list[Text]:
    """What is wrong, each with what to do; of too many the first, and how many more there are."""
    lines: list[Text] = []
    for i, trouble in enumerate(view.troubles):
        more = [Text(line, "bold red") for line in _wrapped("! ", trouble.what, width)]
        more += [Text(line) for line in _wrapped("  -> ", trouble.do, width)]
        left = len(view.troubles) - i
        if most_lines is not None and len(lines) + len(more) + (left > 1) > most_lines:
            lines.append(Text(f"! {count(left, 'warning')}{' more' if i else ''}: press w", "bold red"))
            break
        lines += more
    return lines


def _wrapped(sign: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(sign + clean(text), width, subsequent_indent=" " * len(sign), break_on_hyphens=False)


# --- the table -----------------------------------------------------------------------------------


def title(choice: Choice, width: int) -> Text:
    """The line above the table; an arrow points at what it is sorted by."""
    arrow = "▴" if choice.reverse else "▾"

    def named(key: str, text: str) -> str:
        return f"{arrow}{text}" if choice.order == key else text

    first = {"session": "session / stream", "name": "run / stream"}.get(choice.order, "run / stream")
    line = _fit(named(choice.order if choice.order in ("session", "name") else "", first), _name_width(width))
    for key, (columns, text) in _COLUMNS.items():
        line += " " + (text.ljust(columns) if key == "state" else named(key, text).rjust(columns))
    if _has_written(width):
        line += " " + "written".rjust(_WRITTEN)
    return Text(line, "bold")


def row_line(row: Row, choice: Choice, width: int) -> Text:
    """A session or a stream as one line."""
    return _session_line(row, choice, width) if isinstance(row, SessionView) else _line(row, choice, width)


def _session_line(session: SessionView, choice: Choice, width: int) -> Text:
    told = session.told
    folded = session.session in choice.folded
    line = Text(_fit(clean(session.name), _name_width(width)), "bold", end="")
    line.append(" ")
    line.append(clean(told["state"]), _state_style(told["state"]))
    client = told["client"]
    pid = f"pid {client['pid']}" + ("" if client["alive"] else " (dead)") if client["pid"] else "not taken up"
    line.append(f" for {duration(time.time() - float(told['started_unix_s']))}, {pid}", "not bold")
    if folded or not session.streams:
        line.append(f", {count(len(session.streams), 'stream')}", "not bold")
    line.append(f"  {clean(told['directory'])}", "not bold dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _line(stream: StreamView, choice: Choice, width: int) -> Text:
    told = stream.told
    name = f"  {stream.name}" if choice.order == "session" else f"{stream.run}/{stream.name}"
    line = Text(_fit(clean(name), _name_width(width)), end="")

    def add(key: str, text: str, style: str = "") -> None:
        columns = _COLUMNS[key][0]
        line.append(" " + (_fit(text, columns) if key == "state" else text.rjust(columns)[-columns:]), style)

    add("state", clean(told["state"]), _state_style(told["state"]))
    add("rate", rate_text(stream.samples_per_s))
    add("bytes", size_text(stream.bytes_per_s))
    full = "bold red" if stream.fill > 0.9 else "yellow" if stream.fill > 0.5 else ""
    add("buffer", f"{stream.fill:.0%}", full)
    add("spool", size(told["spooled_bytes"]))
    add("encoded", rate_text(stream.encoded_per_s) if stream.has_video else "")
    lost = "bold red" if stream.losing else "yellow" if stream.lost else ""
    add("lost", _losses(told["lost"], _COLUMNS["lost"][0]), lost)
    if _has_written(width):
        written = f"{told['written']:,}"
        line.append(f" {written if len(written) <= _WRITTEN else short(told['written']):>{_WRITTEN}}")
    return line


def _state_style(state: str) -> str:
    if state in ("stalled", "failed", "damaged"):
        return "bold red"
    return "green" if state == "recording" else "" if state in HEALTHY else "yellow"


def _has_written(width: int) -> bool:
    return width >= _LEAST_NAME + _FIXED + _WRITTEN + 1


def _name_width(width: int) -> int:
    return max(width - _FIXED - (_WRITTEN + 1 if _has_written(width) else 0), _LEAST_NAME)


# --- numbers -------------------------------------------------------------------------------------


def short(n: float) -> str:
    """A number in at most five characters and its unit: ``999``, ``12.3k``, ``4.56M``."""
    for unit, one in (("", 1), ("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if n < 999.5 * one or unit == "G":
            break
    value = n / one
    return f"{value:.0f}{unit}" if not unit or value >= 99.95 else f"{value:.1f}{unit}"


def rate_text(value: float | None) -> str:
    """A number per second; ``-`` while it is not known."""
    if value is None:
        return "-"
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"


def size_text(value: float | None) -> str:
    """Bytes; ``-`` while they are not known."""
    return "-" if value is None else size(value)


def _losses(lost: Any, columns: int) -> str:
    """Losses by cause as far as there is room, else their number."""
    text = losses(lost)
    if len(text) <= columns:
        return text
    total = sum(lost.values())
    return f"{total:,}" if len(f"{total:,}") <= columns else short(total)


def _fit(text: str, columns: int) -> str:
    return (text if len(text) <= columns else text[: columns - 1] + "…").ljust(columns)


# --- all of it at once ------------------------------------------------------------------------------


def page(view: View, choice: Choice, width: int) -> list[Text]:
    """Everything, for ``--once``; the names are not cut, so lines may be longer than ``width``."""
    rows = choice.rows(view)
    longest = max((len(_name(row, choice)) for row in rows), default=0)
    width = max(width, longest + _FIXED + _WRITTEN + 1)
    lines = [*head(view), *alarms(view, 10_000)]
    if not rows:
        return [*lines, Text("no sessions; past ones: recd ls" if not view.sessions else "no stream matches")]
    return [*lines, Text(), title(choice, width), *(row_line(row, choice, width) for row in rows)]


def _name(row: Row, choice: Choice) -> str:
    if isinstance(row, SessionView):
        return row.name
    return f"  {row.name}" if choice.order == "session" else f"{row.run}/{row.name}"
