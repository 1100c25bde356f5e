"""What ``recd top`` makes of the daemon's answers: rates, order, warnings, lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from rich.text import Text
from textual.pilot import Pilot

from recd.cli import top as cli_top
from recd.top.app import Lines, Page, TopApp, plain
from recd.top.data import as_data
from recd.top.disks import Disks
from recd.top.newest import bars
from recd.top.picture import blocks
from recd.top.rates import View, Watch
from recd.top.screen import ORDERS, Choice, page, row_line, short, title
from recd.top.source import Source

GB = 10**9
T = TypeVar("T")


def stream(name: str, written: int = 0, lost: int = 0, **more: Any) -> dict[str, Any]:
    """A stream in the answer to ``status``."""
    told = {
        "stream": name, "state": "recording", "reason": "", "attempted": written + lost, "written": written,
        "durable": written, "skipped": 0, "marks_lost": 0, "lost": {"full": lost} if lost else {}, "bytes": 8 * written,
        "buffered_bytes": 0, "spooled_bytes": 0, "capacity_bytes": 1 << 20, "blocked_s": 0.0, "sinks": [],
    }  # fmt: skip
    return {**told, **more}


def session(name: str, *streams: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A session in the answer to ``status``."""
    told = {
        "session": f"id-{name}", "name": name, "directory": f"/data/{name}", "state": "recording", "reason": "",
        "client": {"pid": 4242, "alive": True}, "started_unix_s": 0.0, "streams": list(streams),
    }  # fmt: skip
    return {**told, **more}


def answer(*sessions: dict[str, Any]) -> dict[str, Any]:
    """The daemon's whole answer."""
    return {"daemon": {"pid": 4711, "version": "0.1.0", "started_unix_s": 0.0}, "sessions": list(sessions)}


def no_disks(path: str) -> tuple[int, int, int]:
    """A disk that never fills."""
    return 1, 50 * GB, 100 * GB


@pytest.fixture
def watch() -> Watch:
    """A watch over a quiet disk."""
    return Watch(Disks(no_disks))


# --- rates ---------------------------------------------------------------------------------------------


def test_rates_are_differences_over_the_last_seconds(watch: Watch) -> None:
    """Unknown at first, then the growth between answers, of no more than three seconds."""
    view = watch.answered(answer(session("walk", stream("a", 100))), 10.0)
    assert (view.streams[0].samples_per_s, view.total("samples_per_s")) == (None, None)
    view = watch.answered(answer(session("walk", stream("a", 150))), 10.5)
    assert (view.streams[0].samples_per_s, view.streams[0].bytes_per_s) == (100.0, 800.0)
    for i in range(1, 20):  # it stands still
        view = watch.answered(answer(session("walk", stream("a", 150))), 10.5 + i)
        assert view.streams[0].samples_per_s == pytest.approx(50 / (0.5 + i) if i <= 2 else 0.0, abs=17.0)
    assert view.streams[0].samples_per_s == 0.0


def test_a_counter_that_goes_back_has_no_rate(watch: Watch) -> None:
    """A new stream of an old name in the same session is not one with a negative rate."""
    watch.answered(answer(session("walk", stream("a", 100))), 1.0)
    view = watch.answered(answer(session("walk", stream("a", 5))), 2.0)
    assert view.streams[0].samples_per_s is None


def test_the_encoders_speed_is_that_of_its_file(watch: Watch) -> None:
    """Frames in the video per second, beside frames written."""
    for i in range(3):
        video = {"kind": "video", "path": "/f.mp4", "state": "recording", "reason": "", "samples": 10 * i}
        view = watch.answered(answer(session("walk", stream("cam", 30 * i, sinks=[video]))), float(i))
    cam = view.streams[0]
    assert (cam.samples_per_s, cam.encoded_per_s) == (30.0, 10.0)


# --- warnings ------------------------------------------------------------------------------------------


def test_what_goes_wrong_now_comes_before_losses_and_those_that_are_over(watch: Watch) -> None:
    """A stall, then a loss that grows (with its rate), then one that does not."""
    for i in range(3):
        old, new = stream("old", 10, lost=5), stream("new", 10, lost=4 * i)
        bad = stream("bad", state="stalled", reason="No space left on device: /data")
        view = watch.answered(answer(session("walk", old, new, bad)), float(i))
    assert [trouble.what for trouble in view.troubles] == [
        "walk / bad: stalled: No space left on device: /data",
        "walk / new: lost 8 full; now 4 per second",
        "walk / old: lost 5 full",
    ]
    assert all(trouble.do for trouble in view.troubles)


def test_a_disk_that_will_be_full_soon_is_the_first_warning() -> None:
    """At the pace of the last minute; not before it was watched for a while."""
    free = iter(range(100 * GB, 0, -GB))
    watch = Watch(Disks(lambda path: (1, next(free), 100 * GB)))
    views = [watch.answered(answer(session("walk", stream("a"))), float(i)) for i in range(31)]
    assert not views[5].troubles
    (disk,) = views[-1].disks
    assert disk.full_in_s == pytest.approx(70)
    assert views[-1].troubles[0].what == "disk of /data/walk: full in 1 min 10 s at this pace"


def test_disks_are_told_once_and_the_most_urgent_first() -> None:
    """Two directories of one file system are one disk; one that is away is left out."""

    def usage(path: str) -> tuple[int, int, int]:
        if path == "/away":
            raise FileNotFoundError(path)
        return {"/a": (1, 50, 100), "/b": (1, 50, 100), "/c": (2, 5, 100)}[path]

    assert [(d.path, d.free_bytes) for d in Disks(usage).look(["/a", "/b", "/away", "/c"], 0.0)] == [
        ("/c", 5),
        ("/a", 50),
    ]


# --- order ---------------------------------------------------------------------------------------------


def names(view: View, choice: Choice) -> list[str]:
    """The rows, as the names of sessions and streams."""
    return [row.name for row in choice.rows(view)]


def test_rows_are_sorted_filtered_and_folded(watch: Watch) -> None:
    """By session with its streams below it, or all streams by a column; words narrow both."""
    for i in (0, 1):
        view = watch.answered(
            answer(
                session("walk", stream("slow", i), stream("fast", 100 * i, lost=1)),
                session("run", stream("full", 10 * i, buffered_bytes=1 << 19)),
            ),
            float(i),
        )
    assert names(view, Choice()) == ["walk", "slow", "fast", "run", "full"]
    assert names(view, Choice(reverse=True)) == ["run", "full", "walk", "slow", "fast"]
    assert names(view, Choice("name")) == ["full", "fast", "slow"]
    assert names(view, Choice("rate")) == ["fast", "full", "slow"]
    assert names(view, Choice("rate", reverse=True)) == ["slow", "full", "fast"]
    assert names(view, Choice("buffer"))[0] == "full"
    assert names(view, Choice("lost"))[0] == "fast"
    assert names(view, Choice(words="WALK fa")) == ["walk", "fast"]
    assert names(view, Choice(folded={"id-walk"})) == ["walk", "run", "full"]


# --- lines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal(watch: Watch, width: int) -> None:
    """Whatever the names and numbers; numbers stand under their titles."""
    video = {"kind": "video", "path": "/f.mp4", "state": "recording", "reason": "", "samples": 10**9}
    huge = stream("n" * 99, 10**12, lost=10**9, sinks=[video], spooled_bytes=10**14, buffered_bytes=1 << 20)
    for i in (0.0, 1.0):
        view = watch.answered(answer(session("r" * 99, huge, stream("a"))), i)
    for choice in (Choice(), Choice("lost")):
        lines = [title(choice, width), *(row_line(row, choice, width) for row in choice.rows(view))]
        assert all(line.cell_len <= width for line in lines)
        assert {line.cell_len for line in lines[-2:]} == {lines[0].cell_len}


def test_one_page_says_it_all(watch: Watch) -> None:
    """Daemon, rates, disk, warnings, table: in this order, with whole names."""
    for i in (0, 1):
        view = watch.answered(
            answer(session("walk", stream("s" * 40, 2000 * i), stream("b", lost=3))), float(i)
        )
    text = "\n".join(line.plain for line in page(view, Choice(), 80))
    for part in (
        "recd 0.1.0",
        "2,000 samples/s  16.0 kB/s",
        "disk 50.0 GB of 100 GB free",
        "s" * 40,
        "3 full",
    ):
        assert part in text
    assert text.index("! walk / b: lost 3 full") < text.index("session / stream")


def test_data_has_every_row_with_its_rates(watch: Watch) -> None:
    """Streams stand below their sessions with what the daemon says and what was computed."""
    for i in (0, 1):
        view = watch.answered(answer(session("walk", stream("a", 50 * i), stream("b"))), float(i))
    data = as_data(view, Choice("rate", words="a"))
    (told,) = data["sessions"]
    assert [(s["stream"], s["samples_per_s"]) for s in told["streams"]] == [("a", 50.0), ("b", 0.0)]
    assert data["totals"]["samples_per_s"] == 50.0


def test_the_command_sorts_by_what_the_screen_knows() -> None:
    """The verb names the columns itself, as its import must stay light."""
    assert cli_top._ORDERS == ORDERS


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12.3k"), (10**6, "1.0M"), (10**12, "1000G")],
)
def test_numbers_are_short(n: float, text: str) -> None:
    """As many digits as a glance takes in."""
    assert short(n) == text


def test_bars_show_the_shape_and_leave_gaps() -> None:
    """A ramp rises from the lowest to the highest bar; NaN is a gap; a constant is flat."""
    assert bars(np.arange(800.0), 8) == "▁▂▃▄▅▆▇█"
    assert bars(np.array([0.0, np.nan, 1.0]), 3) == "▁ █"
    assert bars(np.full(10, 3.0), 5) == "▁▁▁▁▁"
    assert bars(np.full(10, np.nan), 5) == "     "
    assert bars(np.empty(0), 5) == ""


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (480, 640, 4), (3, 500, 1)])
def test_a_frame_fits_into_its_cells(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its shape, and without colours in shades of characters."""
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    for colours in (True, False):
        if not colours:
            monkeypatch.setenv("NO_COLOR", "1")
        lines = blocks(image, 78, 15)
        assert 1 <= len(lines) <= 15
        assert all(1 <= line.cell_len <= 78 for line in lines)
        assert any(span.style for line in lines for span in line.spans) == colours


def test_without_colours_only_weight_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes the colours and leaves bold, dim and reverse."""
    monkeypatch.setenv("NO_COLOR", "1")
    text = plain(Text("x", end="").append("y", "bold red").append("z", "not bold dim cyan"))
    assert [span.style for span in text.spans] == ["bold", "not bold dim"]


# --- keys ----------------------------------------------------------------------------------------------


class Recorded(Source):
    """A daemon that always gives the same answer."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self.told = told

    def call(self, op: str, **members: Any) -> dict[str, Any]:
        """The recorded answer."""
        return self.told


def after(told: dict[str, Any], *keys: str, see: Callable[[Pilot[None]], T]) -> T:
    """What is seen on a screen of 80x24 after some keys."""

    async def run() -> T:
        app = TopApp(0.05, Choice(), Recorded(told))
        async with app.run_test(size=(80, 24)) as pilot:
            while not app.main.rows:
                await pilot.pause(0.01)
            for key in keys:
                await pilot.press(key)
            await pilot.pause()
            return see(pilot)

    return asyncio.run(run())


def table(pilot: Pilot[None]) -> list[str]:
    """First words of the rows that are seen."""
    lines = pilot.app.screen.query_one("#table", Lines).lines
    return [line.plain.split()[0] for line in lines[1:]]


def on_screen(pilot: Pilot[None]) -> str:
    """What kind of screen is seen."""
    return type(pilot.app.screen).__name__


MANY = answer(
    *(
        session(f"run{k}", *(stream(f"s{k}{i:02d}", lost=int((k, i) == (1, 7))) for i in range(20)))
        for k in (0, 1)
    )
)


def test_keys_move_and_the_table_follows() -> None:
    """The cursor stays on the screen, from the first row to the last."""
    rows = after(MANY, "end", "up", "down", see=table)
    assert rows[-1] == "s119"
    assert len(rows) < 22
    assert after(MANY, "end", "home", see=table)[0] == "run0"
    assert after(MANY, *["pagedown"] * 5, "k", "j", see=table)[-1] == "s119"


def test_sorting_filtering_and_folding_by_key() -> None:
    """``s`` goes on to the next column, ``/`` asks for words, Enter folds a session."""
    assert after(MANY, *"ssssss", see=table)[0] == "run1/s107"  # by losses
    assert after(MANY, *"sr", see=table)[0] == "run1/s119"
    assert after(MANY, "slash", *"s119", "enter", see=table) == ["run1", "s119"]
    assert "run1" in (rows := after(MANY, "slash", *"s119", "enter", "escape", see=table))
    assert len(rows) > 10  # all are back, and the cursor is where it was
    assert after(MANY, "enter", see=table)[:2] == ["run0", "run1"]


@pytest.mark.parametrize(("key", "stops"), [("y", True), ("n", False), ("enter", False), ("escape", False)])
def test_a_session_is_stopped_only_when_that_is_confirmed(
    key: str, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``x`` asks, anything but ``y`` is a no; ``y`` asks the daemon for the session of the row."""
    asked: list[Any] = []
    monkeypatch.setattr(Source, "call", lambda self, op, **members: asked.append((op, members)))

    async def run() -> None:
        app = TopApp(0.05, Choice(), Recorded(MANY))
        async with app.run_test(size=(80, 24)) as pilot:
            while not app.main.rows:
                await pilot.pause(0.01)
            await pilot.press("down", "x")
            assert on_screen(pilot) == "Confirm"
            await pilot.press(key)
            if app.main.stops:  # of none it would wait for all
                await app.workers.wait_for_complete(app.main.stops)
            assert on_screen(pilot) == "MainScreen"

    asyncio.run(run())
    assert asked == ([("stop_session", {"session": "id-run0", "by": "recd top"})] if stops else [])


def test_a_page_that_is_left_twice_leads_back_once() -> None:
    """Two keys before the page is gone: what lies below stays, and nothing is raised."""

    def left_twice(pilot: Pilot[None]) -> str:
        page = pilot.app.screen
        assert isinstance(page, Page)
        page.action_back()
        page.action_back()
        return on_screen(pilot)

    for key in ("question_mark", "w"):
        assert after(MANY, key, see=left_twice) == "MainScreen"


def test_help_and_warnings_are_pages_that_lead_back() -> None:
    """Esc returns to the table, and ``q`` does not quit from there."""
    for key in ("question_mark", "w"):
        assert after(MANY, key, see=on_screen) == "TextScreen"
        assert after(MANY, key, "escape", see=on_screen) == "MainScreen"
        assert after(MANY, key, "q", see=on_screen) == "MainScreen"
