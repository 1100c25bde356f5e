"""One stream, looked into: its counters, its files, and its newest values with how they went."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from recd_client.errors import RecdError

from ..cli._common import clean, count, losses, size
from ..taps.stream import Live
from .app import Lines, Page
from .rates import StreamView, View
from .screen import rate_text, size_text

_NAME: Final = 18
_VALUE: Final = 11
#: Newest values are looked at so often, whatever the interval of everything else.
_LOOK_S: Final = 0.5


class StreamScreen(Page):
    """Looks into one stream until Esc.

    Parameters
    ----------
    stream : StreamView
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace,enter", "back", "back"),
        Binding("up,k", "scroll_by(-1)"),
        Binding("down,j", "scroll_by(1)"),
        Binding("pageup", "scroll_by(-10)"),
        Binding("pagedown", "scroll_by(10)"),
        Binding("home,g", "scroll_by(-1000000)"),
        Binding("end,G", "scroll_by(1000000)"),
    ]

    def __init__(self, stream: StreamView) -> None:
        super().__init__()
        self._stream = stream
        self._there = True
        self._newest: Any = None
        self._trouble = ""
        self._first = 0

    def compose(self) -> ComposeResult:
        """Counters, values, keys."""
        yield Lines(id="head")
        yield Lines(id="table")
        yield Static("up down scroll  Esc back", id="keys", classes="bar")

    def on_mount(self) -> None:
        """Open the stream."""
        from .newest import Newest

        stream = self._stream
        try:
            live = Live(stream.run, stream.session, Path(stream.directory), stream.name)
            self._newest = Newest(live)
        except (RecdError, OSError) as e:
            self._trouble = str(e)
        self.set_interval(_LOOK_S, self._look)
        self._look()

    def on_unmount(self) -> None:
        """Let go of it."""
        if self._newest is not None:
            self._newest.close()

    def show(self, view: View) -> None:
        """What the daemon says of it now."""
        found = [s for s in view.streams if s.key == self._stream.key]
        self._there = bool(found)
        if found:
            self._stream = found[0]
        self._draw()

    def _look(self) -> None:
        if self._newest is not None:
            try:
                self._newest.look()
            except (RecdError, OSError) as e:
                self._trouble = str(e)
        self._draw()

    def action_scroll_by(self, by: int) -> None:
        """Show other elements."""
        self._first += by
        self._draw()

    def on_resize(self) -> None:
        """Another size."""
        self._draw()

    # --- what is shown -----------------------------------------------------------------------------
    def _draw(self) -> None:
        width, height = self.size
        if not width or not self.query("#keys"):  # not there yet, or not any more
            return
        above = [*self._counters(), Text(), self._newest_line()]
        room = max(height - len(above) - 1, 1)
        self.query_one("#head", Lines).show(above)
        self.query_one("#table", Lines).show(self._values(width, room))

    def _counters(self) -> list[Text]:
        s, told = self._stream, self._stream.told
        ended = "" if self._there else "  (not recorded any more)"
        lines = [Text(f"{clean(s.run)} / {clean(s.name)}  {clean(told['state'])}{ended}", "bold")]
        if told["reason"]:
            lines += [Text(f"! {clean(part)}", "bold red") for part in str(told["reason"]).split("\n")]
        lines.append(
            Text(
                f"written {told['written']:,}  durable {told['durable']:,}  skipped {told['skipped']:,}"
                f"  {rate_text(s.samples_per_s)} samples/s  {size_text(s.bytes_per_s)}/s"
            )
        )
        lines.append(
            Text(f"lost {losses(told['lost'])}", "bold red" if s.losing else "yellow" if s.lost else "")
        )
        lines.append(
            Text(
                f"buffered {size(told['buffered_bytes'])} of {size(told['capacity_bytes'])} ({s.fill:.0%})"
                f"  spooled {size(told['spooled_bytes'])}"
            )
        )
        for sink in told["sinks"]:
            encoded = f", {rate_text(s.encoded_per_s)} frames/s encoded" if sink["kind"] == "video" else ""
            name = os.path.basename(sink["path"] or sink["kind"])
            said = f"{clean(name)}: {count(sink['samples'], 'sample')}, {clean(sink['state'])}{encoded}"
            lines.append(Text(said, "bold red" if sink["state"] in ("failed", "stalled") else ""))
        return lines

    def _newest_line(self) -> Text:
        newest = self._newest
        if newest is None or newest.at is None:
            return Text(clean(self._trouble or "no sample yet"), "dim")
        seq, step, t = newest.at
        ended = "last" if newest.ended else "newest"
        at_step = f", step {step:,}" if step >= 0 else ""
        text = f"{ended} sample: t = {t:.6g} s{at_step}, number {seq:,}"
        if newest.span_s > 0:
            text += f"; bars: the last {newest.span_s:.3g} s"
        return Text(text, "bold")

    def _values(self, width: int, room: int) -> list[Text]:
        newest = self._newest
        if newest is None or newest.at is None:
            return []
        if newest.is_image:
            from .picture import blocks

            return [] if newest.image is None else blocks(newest.image, width, room)
        names = newest.names
        self._first = max(min(self._first, len(names) - room), 0)
        bars = max(width - _NAME - _VALUE - 2 * 10 - 4, 8)
        lines = []
        for i in range(self._first, min(self._first + room, len(names))):
            line, low, high = newest.sparkline(i, bars)
            name = clean(names[i])
            text = Text(f"{name if len(name) <= _NAME else name[: _NAME - 1] + '…':<{_NAME}} ")
            text.append(f"{_number(newest.values[i]):>{_VALUE}} ", "bold")
            if line:
                text.append(f"{_number(low):>10} ", "dim")
                text.append(line.ljust(bars), "cyan")
                text.append(f" {_number(high)}", "dim")
            lines.append(text)
        if newest.more and self._first + room >= len(names):
            lines[-1:] = [Text(f"({newest.more:,} more elements: recd tail --fields)", "dim")]
        return lines


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else clean(value)
