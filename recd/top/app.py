"""``recd top`` on a terminal: keys, screens, and a look at the daemon now and then."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar, Final

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker

from recd_client.errors import RecdError

from ..cli._common import clean
from .rates import SessionView, StreamView, View
from .screen import ORDERS, Choice, Row, alarms, head, row_line, title
from .source import Source

HELP: Final = """\
up down, j k          move                 Enter   open a stream; fold a session
PgUp PgDn, Home End   move further         Esc     back
s   sort by the next column                r       the other way round
/   show only streams with these words     w       all warnings
x   stop the recording of the session      q       quit

samples/s, bytes/s   what the simulation writes, over the last 3 seconds
buf                  how full the stream's shared memory is; at 100% samples are lost
spooled              on disk, and not yet in a finished file
video/s              frames that the encoder has put into the file
lost                 samples that are in no file, by cause; red while it grows
full in              when the disk is full, at the pace of the last minute

Looking costs the simulations nothing and takes nothing away."""


class Lines(Widget, can_focus=False):
    """A block of lines that are made anew when they are asked for, cut at the right edge."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lines: list[Text] = []

    def show(self, lines: list[Text]) -> None:
        """These, from now on."""
        taller = len(lines) != len(self.lines)
        self.lines = lines
        self.refresh(layout=taller)

    def render(self) -> Text:
        """The lines, as they are drawn."""
        return plain(Text("\n", no_wrap=True, overflow="ellipsis").join(self.lines))

    def get_content_height(self, container: Any, viewport: Any, width: int) -> int:
        """As many as there are."""
        return len(self.lines)


def plain(text: Text) -> Text:
    """The text, without colours where NO_COLOR asks for that."""
    if "NO_COLOR" in os.environ:
        words = {"bold", "dim", "reverse", "not"}
        text.spans = [
            span._replace(style=" ".join(w for w in str(span.style).split() if w in words))
            for span in text.spans
        ]
    return text


class Page(Screen[None]):
    """Lies on what was seen before, and leads back to it."""

    def action_back(self) -> None:
        """Go back, once: a key that is pressed twice must not close what lies below, too."""
        if self.is_current:
            self.app.pop_screen()


class TextScreen(Page):
    """A page to read; any of the usual keys leads back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark,w", "back", "back")]

    def __init__(self, heading: str, text: Text) -> None:
        super().__init__()
        self._heading, self._text = heading, text

    def compose(self) -> ComposeResult:
        """A scrolling page with its keys below."""
        yield Static(Text(self._heading, "bold"), classes="bar")
        with VerticalScroll():
            yield Static(plain(self._text))
        yield Static("Esc back", classes="bar")


class Confirm(ModalScreen[bool]):
    """Asks once more; only ``y`` is a yes."""

    def __init__(self, question: Text) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question in a box."""
        yield Static(plain(self._question), id="box")

    def on_key(self, event: events.Key) -> None:
        """Any key is an answer."""
        event.stop()
        self.dismiss(event.key == "y")


class MainScreen(Screen[None]):
    """Sessions and streams, with what is wrong above them."""

    AUTO_FOCUS: ClassVar[str | None] = ""  # keys are for the table until words are asked for
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
        Binding("enter", "open", show=False),
        Binding("s", "sort", show=False),
        Binding("r", "reverse", show=False),
        Binding("slash", "filter", show=False),
        Binding("escape", "unfilter", show=False),
        Binding("w", "warnings", show=False),
        Binding("x", "stop", show=False),
        Binding("question_mark,h", "help", show=False),
        Binding("q", "app.quit", show=False),
    ]

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.choice = choice
        self.view = View()
        self.rows: list[Row] = []
        self.at = 0
        self.top = 0
        self._said = ""
        #: Stops that were asked for.
        self.stops: list[Worker[None]] = []

    def compose(self) -> ComposeResult:
        """Head, table, filter, keys."""
        yield Lines(id="head")
        yield Lines(id="table")
        words = Input(placeholder="words in run/stream or state; Enter keeps, Esc shows all", id="words")
        words.display = False
        yield words
        yield Static(id="keys", classes="bar")

    # --- what is shown -----------------------------------------------------------------------------
    def show(self, view: View) -> None:
        """The newest view."""
        self.view = view
        self.draw()

    def say(self, text: str) -> None:
        """Tell something below the table, until the next key."""
        self._said = text
        self.draw()

    def draw(self) -> None:
        """Draw everything that can have changed."""
        width, height = self.size
        if not width or not self.query("#keys"):  # not there yet, or not any more
            return
        selected = _key(self.rows[self.at]) if self.at < len(self.rows) else None
        self.rows = self.choice.rows(self.view)
        keys = [_key(row) for row in self.rows]
        self.at = keys.index(selected) if selected in keys else max(min(self.at, len(self.rows) - 1), 0)
        above = head(self.view)
        above += alarms(self.view, width, max((height - len(above)) // 3, 4))
        self.query_one("#head", Lines).show(above)
        room = max(height - len(above) - 2 - self.query_one("#words").display, 1)
        self.top = max(min(self.top, self.at, len(self.rows) - room), self.at - room + 1, 0)
        self.query_one("#table", Lines).show([title(self.choice, width), *self._table(room, width)])
        self.query_one("#keys", Static).update(self._keys(room))

    def _table(self, room: int, width: int) -> list[Text]:
        if not self.rows:
            if self.choice.words:
                return [Text(f"no stream matches {self.choice.words!r}: Esc shows all")]
            nothing = "" if self.view.gone else "nothing is recorded now; past recordings: recd ls"
            return [Text(nothing if self.view.daemon else "")]
        lines = []
        for i, row in enumerate(self.rows[self.top : self.top + room], self.top):
            line = row_line(row, self.choice, width)
            if i == self.at:
                line.pad_right(width - line.cell_len)
                line.stylize("reverse")
            elif self.view.gone:
                line.stylize("dim")
            lines.append(line)
        return lines

    def _keys(self, room: int) -> Text:
        if self._said:
            return Text(self._said, "bold", no_wrap=True, overflow="ellipsis")
        keys = f"Enter open  s sort:{self.choice.order}  / filter  x stop  w warnings  ? help  q quit"
        if self.choice.words:
            keys = f"filter: {self.choice.words} (Esc: all)  {keys}"
        if len(self.rows) > room:
            keys = f"{self.at + 1}/{len(self.rows)}  {keys}"
        return Text(keys, no_wrap=True, overflow="ellipsis")

    def on_resize(self) -> None:
        """Another size."""
        self.draw()

    def on_screen_resume(self) -> None:
        """Back from another screen."""
        self.draw()

    # --- keys ------------------------------------------------------------------------------------------
    def on_key(self) -> None:
        """What was told has been read."""
        self._said = ""

    @property
    def selected(self) -> Row | None:
        """The row that keys act on."""
        return self.rows[self.at] if self.rows else None

    def action_move(self, by: int) -> None:
        """Select another row."""
        self.at = max(min(self.at + by, len(self.rows) - 1), 0)
        self.draw()

    def action_page(self, by: int) -> None:
        """Select a row a page away."""
        self.action_move(by * max(self.query_one("#table").size.height - 2, 1))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.choice.order = ORDERS[(ORDERS.index(self.choice.order) + 1) % len(ORDERS)]
        self._draw_from_top()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.choice.reverse = not self.choice.reverse
        self._draw_from_top()

    def _draw_from_top(self) -> None:
        self.rows, self.top, self.at = [], 0, 0  # no row to follow to its new place
        self.draw()

    def action_open(self) -> None:
        """Look into a stream, or fold a session."""
        row = self.selected
        if isinstance(row, StreamView):
            from .stream_screen import StreamScreen

            self.app.push_screen(StreamScreen(row))
        elif row is not None:
            self.choice.folded ^= {row.session}
            self.draw()

    def action_filter(self) -> None:
        """Ask for words."""
        words = self.query_one("#words", Input)
        words.display = True
        words.value = self.choice.words
        self.set_focus(words)
        self.draw()

    def action_unfilter(self) -> None:
        """Show all."""
        self.query_one("#words", Input).value = self.choice.words = ""
        self._end_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while words are typed."""
        self.choice.words = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Keep the words."""
        self._end_filter()

    def _end_filter(self) -> None:
        self.query_one("#words", Input).display = False
        self.set_focus(None)
        self.draw()

    def action_warnings(self) -> None:
        """Show all that is wrong."""
        lines = alarms(self.view, max(self.size.width - 2, 20)) or [Text("nothing is wrong")]
        self.app.push_screen(TextScreen("warnings", Text("\n").join(lines)))

    def action_help(self) -> None:
        """Show the keys, and what the columns mean."""
        self.app.push_screen(TextScreen("recd top", Text(HELP)))

    def action_stop(self) -> None:
        """Stop the selected session, if that is confirmed."""
        row = self.selected
        if row is None or self.view.gone:
            return
        name = row.name if isinstance(row, SessionView) else row.run
        question = Text(f"Stop recording {clean(name)!r} ({row.session})?\n\n", "bold")
        question.append(
            "What was written is kept and its files are finished. The simulation runs on; "
            "what it writes from now on is not recorded.\n\ny  stop it        any other key  leave it",
            "not bold",
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self.stops.append(self.run_worker(self._stop(row.session, name)))

        self.app.push_screen(Confirm(question), answered)

    async def _stop(self, session: str, name: str) -> None:
        source = Source()
        try:
            await asyncio.to_thread(source.call, "stop_session", session=session, by="recd top")
            self.say(f"{clean(name)} is stopped; its files are being finished")
        except RecdError as e:
            self.say(f"{clean(name)} could not be stopped: {e.what}")
        finally:
            source.close()


def _key(row: Row) -> tuple[str, str]:
    return row.key if isinstance(row, StreamView) else (row.session, "")


class TopApp(App[None]):
    """Looks at the daemon once per interval and shows what it says.

    Parameters
    ----------
    interval_s : float
    choice : Choice
    source : Source, optional
        Where views come from.
    """

    CSS = """
    * { background: ansi_default; color: ansi_default; scrollbar-size-vertical: 1; }
    #head, #table { height: auto; }
    #table { height: 1fr; }
    .bar { dock: bottom; height: 1; text-style: reverse; }
    TextScreen .bar { dock: none; }
    #words { dock: bottom; height: 1; border: none; padding: 0; margin: 0 0 1 0; }
    Confirm { align: center middle; }
    #box { width: 64; height: auto; border: round ansi_default; padding: 1 2; }
    """
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, interval_s: float, choice: Choice, source: Source | None = None) -> None:
        super().__init__(ansi_color=True)
        self._interval_s = interval_s
        self._source = source or Source()
        self.main = MainScreen(choice)

    async def on_mount(self) -> None:
        """Begin."""
        await self.push_screen(self.main)
        self.run_worker(self._watch())

    async def _watch(self) -> None:
        try:
            while True:
                view = await asyncio.to_thread(self._source.look_or_say)
                self.main.show(view)
                for screen in self.screen_stack[-1:]:  # none, once the program ends
                    if screen is not self.main and hasattr(screen, "show"):
                        screen.show(view)
                await asyncio.sleep(self._interval_s)
        finally:
            self._source.close()
