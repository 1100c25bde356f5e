"""The page in a real browser, over a real recording: what a person sees.

Screenshots stay under the test's tmp_path, or in $RECD_SCREENSHOTS, to be looked at.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages import PATIENCE_S, Served, serving
from recd.cli._common import connect
from recd.cli.stop import stop_daemon
from recd_client import NPZFile, NullSink, Recorder, VideoFile
from recordings import numbered, proved, worker_of
from support import wait_until

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.requires("chromium", "playwright", "aiohttp", "PIL"),
]

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HZ = 30
DEPTH = np.tile(np.linspace(1, 5, 32, dtype=np.float32), (24, 1))


class Simulation(threading.Thread):
    """Writes until it is told to end: ``q`` is sample number times (1, 10, 100), at number / HZ seconds."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.rec = Recorder("walk", dir=directory)
        self.state = self.rec.stream("state", NPZFile("s.npz"), units={"q": "rad"})
        self.front = self.rec.stream("front", VideoFile("f.mp4"))
        self.depth = self.rec.stream("depth", NullSink(), units="m")
        self.steps = 0
        self.over = threading.Event()

    def step(self) -> None:
        n = self.steps
        t = n / HZ
        self.state.write({"q": n * np.array([1.0, 10, 100]), "reward": np.sin(t)}, t=t)
        self.front.write(numbered(n % 40), t=t)
        self.depth.write(np.roll(DEPTH, n, axis=1), t=t)
        self.steps += 1

    def run(self) -> None:
        while not self.over.wait(1 / HZ):
            self.step()

    def __enter__(self) -> Simulation:
        for _ in range(HZ):
            self.step()
        self.rec.mark("grasped")
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()
        self.rec.close()


def shoot(page: Any, tmp_path: Path, name: str = "page") -> None:
    """A picture of the page as it is now."""
    kept = os.environ.get("RECD_SCREENSHOTS")
    path = Path(kept) / f"{tmp_path.name}-{name}.png" if kept else tmp_path / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path))


@contextmanager
def browsing(served: Served, tmp_path: Path, **how: Any) -> Iterator[Any]:
    """A page in Chromium; whatever its console says as an error fails the test."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1e3)
        page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(served.url)
        try:
            yield page
        finally:
            shoot(page, tmp_path)
            browser.close()
    assert [text for text in said if "WebSocket connection" not in text] == []


#: What a card's plot holds: the lines' times and values as arrays.
LINES = """key => {
  const card = document.querySelector(`[data-key="${key}"]`)?.card;
  return card?.lines ? card.lines.data().map((a) => Array.from(a)) : null;
}"""
#: What is drawn on a card's plot beside its lines.
EVENTS = """key => document.querySelector(`[data-key="${key}"]`).card.placed()"""
#: The picture of a canvas, as a number that changes with it.
PIXELS = """key => {
  const c = document.querySelector(`[data-key="${key}"] canvas`);
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let sum = 0;
  for (let i = 0; i < d.length; i += 1) sum = (sum * 31 + d[i]) % 1000003;
  return sum;
}"""


def lines(page: Any, key: str, rows: int = 2) -> Any:
    """The points of a plot, once it has so many."""
    page.wait_for_function(f"key => (({LINES})(key)?.[0].length ?? 0) >= {rows}", arg=key)
    return page.evaluate(LINES, key)


def test_plots_move_with_the_values_that_were_written_and_cameras_change(tmp_path: Path) -> None:
    """Nothing needs to be configured: fields are plots, frames are pictures, and both follow the simulation."""
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path) as page:
        t, *values = lines(page, "state.q", HZ)
        number = np.round(np.array(t) * HZ)
        assert np.array_equal(values, np.outer([1, 10, 100], number))
        page.wait_for_function(f"(last) => ({LINES})('state.q')[0].at(-1) > last + 1", arg=t[-1])
        canvas = page.evaluate(PIXELS, "state.q")
        page.wait_for_function(f"(before) => ({PIXELS})('state.q') !== before", arg=canvas)
        for camera in ("front.data", "depth.data"):
            page.wait_for_selector(f'[data-key="{camera}"] canvas[data-seq]')
            before = page.evaluate(PIXELS, camera)
            page.wait_for_function(f"(before) => ({PIXELS})('{camera}') !== before", arg=before)
        assert page.locator("#status").inner_text() == "1 session live · nothing lost"
        assert "rad" in page.locator('[data-key="state.q"] .unit').inner_text()
        assert sim.is_alive()


def test_pause_pauses_and_live_goes_on(tmp_path: Path) -> None:
    """A paused page shows the same pixels while more is written; the keyboard does it, too."""
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path) as page:
        lines(page, "state.q", HZ)
        page.wait_for_selector('[data-key="front.data"] canvas[data-seq]')
        page.click("#pause")
        assert page.locator("#pause").get_attribute("aria-pressed") == "true"
        assert "range=" in page.url
        page.wait_for_timeout(500)  # what was on its way arrives
        seen = [page.evaluate(PIXELS, key) for key in ("state.q", "front.data")]
        steps = sim.steps
        while sim.steps < steps + 2 * HZ:
            page.wait_for_timeout(100)
        assert [page.evaluate(PIXELS, key) for key in ("state.q", "front.data")] == seen
        page.keyboard.press("0")
        page.wait_for_function(f"(n) => ({LINES})('state.q')[0].at(-1) * {HZ} >= n", arg=steps + HZ)
        assert "range=" not in page.url


def test_zoom_lines_scale_and_clock_are_in_the_address(tmp_path: Path) -> None:
    """What one arranges, another one sees who opens the same address."""
    with Simulation(tmp_path), serving() as served, browsing(served, tmp_path) as page:
        lines(page, "state.q", HZ)
        page.click('[data-key="state.q"] .legend button >> nth=1')
        page.click('[data-key="state.reward"] button:has-text("log")')
        page.click('button[aria-label="Hide depth.data"]')
        page.select_option("#clock", "wall")
        page.select_option("#span", "30")
        page.wait_for_function(f"() => ({LINES})('state.q')?.length === 3")
        t, *values = lines(page, "state.q", HZ)
        assert len(values) == 2
        assert abs(t[-1] - time.time()) < 3600
        box = page.locator('[data-key="state.q"] .u-over').bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60)
        page.mouse.up()
        page.wait_for_function("() => location.hash.includes('range=')")
        address = page.url
        other = page.context.new_page()
        other.goto(address)
        assert other.locator("#clock").input_value() == "wall"
        other.wait_for_selector('[data-key="state.q"] .legend [aria-pressed="false"]')
        assert (
            other.locator('[data-key="state.reward"] button:has-text("log")').get_attribute("aria-pressed")
            == "true"
        )
        assert other.locator('[data-key="depth.data"]').count() == 0
        assert other.locator("#pause").get_attribute("aria-pressed") == "true"


def test_losses_are_red_at_once(tmp_path: Path) -> None:
    """A line on top names stream, number and cause; it is an alert."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB")
        stream.write(np.zeros(100))
        worker = worker_of(rec)
        os.kill(worker, signal.SIGSTOP)
        try:
            while not rec.stats()["state"]["lost"].get("full"):
                stream.write(np.zeros(100))
        finally:
            os.kill(worker, signal.SIGCONT)
        lost = rec.stats()["state"]["lost"]["full"]
        with browsing(served, tmp_path) as page:
            alert = page.get_by_role("alert").get_by_text("walk / state: lost")
            alert.wait_for()
            assert f"lost {lost} full" in alert.inner_text()
            red = page.evaluate("getComputedStyle(document.querySelector('#alerts')).backgroundColor")
            r, g, b = (int(v) for v in red[4:-1].split(","))
            assert r > 3 * max(g, b)
        with pytest.warns(UserWarning, match="lost"):
            rec.close()


def test_the_page_comes_back_after_the_server_and_the_daemon_were_restarted(tmp_path: Path) -> None:
    """Nobody has to reload: states and plots go on, first of the old recording, then of the new one."""
    with serving() as served, browsing(served, tmp_path) as page:
        with Simulation(tmp_path / "a"):
            lines(page, "state.q", HZ)
        assert stop_daemon(30.0)
        page.get_by_text("recd does not run", exact=True).wait_for()
        with Simulation(tmp_path / "b"):
            page.get_by_text("1 session live").wait_for()
            page.wait_for_function(f"() => ({LINES})('state.q')?.[0][0] === 0")
        served.process.terminate()
        served.process.wait(PATIENCE_S)
        page.get_by_text("no connection").wait_for()
        with serving("--port", str(served.port)), Simulation(tmp_path / "c"):
            page.get_by_text("1 session live").wait_for()
            page.wait_for_function(f"() => (({LINES})('state.q')?.[0].length ?? 0) > {HZ}")


def test_a_past_recording_has_its_plots_and_its_video(tmp_path: Path) -> None:
    """Values are those of the files; a click on a plot moves the video there."""
    with Simulation(tmp_path) as sim:
        pass
    with serving() as served, browsing(served, tmp_path) as page:
        page.locator("#past button").click()
        t, *values = lines(page, "state.q", sim.steps)
        assert np.array_equal(values, np.outer([1, 10, 100], np.arange(sim.steps)))
        assert "past=" in page.url
        page.wait_for_function("() => document.querySelector('video')?.duration > 0.5")
        box = page.locator('[data-key="state.q"] .u-over').bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 50)
        middle = (t[0] + t[-1]) / 2
        page.wait_for_function(
            f"() => Math.abs(document.querySelector('video').currentTime - {middle}) < 0.1"
        )


def test_a_mark_is_set_with_the_keyboard_and_stands_on_the_plots(tmp_path: Path) -> None:
    """M asks for a label, Enter sets it: it is drawn, listed, and in the manifest."""
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path) as page:
        lines(page, "state.q", HZ)
        page.keyboard.press("m")
        page.wait_for_selector("#mark[open]")
        assert "walk" in page.locator("#mark").inner_text()
        page.keyboard.type("pushed d")  # no key of the page while one writes
        shoot(page, tmp_path, "mark")
        page.keyboard.press("Enter")
        page.get_by_role("status").get_by_text("Marked walk: pushed d").wait_for()
        assert page.locator("#mark[open]").count() == 0
        page.wait_for_function(f"() => ({EVENTS})('state.q').some((e) => e.kind === 'outside')")
        (event,) = [e for e in page.evaluate(EVENTS, "state.q") if e["kind"] == "outside"]
        assert event["label"] == "pushed d"
        assert 0 <= event["x"] <= sim.steps / HZ
        assert "1 mark" in page.locator("#happened-told").inner_text()
    marks = json.loads((tmp_path / "manifest.json").read_text())["marks"]
    assert ("pushed d", "outside") in [(m["label"], m.get("source")) for m in marks]


@pytest.mark.filterwarnings("ignore:recording .* was stopped from outside", "ignore:samples were lost")
def test_stop_asks_first_and_then_the_files_are_whole(tmp_path: Path) -> None:
    """The session is named; who thinks better of it goes on recording."""
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path) as page:
        lines(page, "state.q", HZ)
        page.click("#stop-open")
        page.get_by_role("heading", name="Stop walk?").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Go on recording"
        page.keyboard.press("Enter")
        page.wait_for_selector("#stop:not([open])", state="attached")
        steps = sim.steps
        page.wait_for_function(f"(n) => ({LINES})('state.q')[0].at(-1) * {HZ} > n", arg=steps)
        page.click("#stop-open")
        shoot(page, tmp_path, "stop")
        page.get_by_role("button", name="Stop this recording").last.click()
        page.get_by_text("walk is stopped").wait_for()
        page.get_by_text("This recording has ended").wait_for()
        assert page.locator("#stop-open").is_disabled()
        assert page.locator("#mark-open").is_disabled()
        wait_until(lambda: (tmp_path / "manifest.json").exists())
        sim.over.set()
        sim.join()
    assert proved(tmp_path)["streams"]["state"]["samples"] > steps


def test_an_alert_is_said_on_top_and_drawn_in_its_colour(tmp_path: Path) -> None:
    """With its condition, value and time; the list goes there at a click."""
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path) as page:
        lines(page, "state.q", HZ)
        fields = {"condition": "state.q[0] > 7", "value": 8.25, "held_back": 2}
        caller = connect()
        caller.call(
            "mark",
            60,
            session=sim.rec.session,
            label="alert",
            fields=fields,
            source="alert",
            stream="state",
            t=0.3,
        )
        caller.close()
        page.get_by_role("alert").get_by_text(
            "walk / state: state.q[0] > 7: 8.25, 2 more held back"
        ).wait_for()
        page.wait_for_function(f"() => ({EVENTS})('state.q').some((e) => e.kind === 'alert' && e.x === 0.3)")
        page.click("#happened-told")
        row = page.locator("#happened-rows tr.alert")
        assert "state.q[0] > 7" in row.inner_text()
        row.get_by_role("button").click()
        page.wait_for_function("() => location.hash.includes('range=')")
        begin, end = page.evaluate("document.querySelector('[data-key=\"state.q\"]').card.board.window()")
        assert begin < 0.3 < end
        shoot(page, tmp_path, "alert")


def test_all_of_a_run_is_shown_though_the_ring_has_lost_most_of_it(tmp_path: Path) -> None:
    """Whoever comes late sees it from the first sample on, and the newest seconds with a key."""
    n = 20_000
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=60.0)
        for i in range(n):
            stream.write({"q": float(i)}, t=i / 100)
        with browsing(served, tmp_path) as page:
            page.select_option("#span", "all")
            page.wait_for_function(f"() => ({LINES})('state.q')?.[0][0] === 0")
            t, q = lines(page, "state.q", 100)
            assert np.array_equal(q, np.round(np.array(t) * 100))
            assert (q[0], q[-1]) == (0, n - 1)
            assert "span=all" in page.url
            assert page.evaluate("document.querySelector('[data-key=\"state.q\"]').card.before") == "none"
            shoot(page, tmp_path, "all")
            page.keyboard.press("a")
            page.wait_for_function(f"() => ({LINES})('state.q')[0][0] > {n / 100 - 11}")


def test_fingers_move_the_time_axis_and_pull_it_apart(tmp_path: Path) -> None:
    """One finger pans, two zoom about what lies below them, a double tap goes back to live."""
    how = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    window = "document.querySelector('[data-key=\"state.q\"]').card.board.window()"
    with Simulation(tmp_path), serving() as served, browsing(served, tmp_path, **how) as page:
        lines(page, "state.q", HZ)
        page.locator('[data-key="state.q"] .u-over').scroll_into_view_if_needed()
        box = page.locator('[data-key="state.q"] .u-over').bounding_box()
        devtools = page.context.new_cdp_session(page)

        def at(*places: float) -> list[dict[str, float]]:
            y = box["y"] + box["height"] / 2
            return [{"x": box["x"] + p * box["width"], "y": y, "id": i} for i, p in enumerate(places)]

        def touch(kind: str, *places: float) -> None:
            devtools.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": at(*places)})

        page.click("#pause")
        begin, end = page.evaluate(window)
        touch("Start", 0.8)
        for place in (0.7, 0.6, 0.5, 0.4, 0.3):
            touch("Move", place)
        touch("End")
        page.wait_for_function(f"() => {window}[0] > {begin + 0.3 * (end - begin)}")
        begin, end = page.evaluate(window)
        touch("Start", 0.4, 0.6)
        for apart in (0.15, 0.2, 0.3, 0.4):
            touch("Move", 0.5 - apart, 0.5 + apart)
        touch("End")
        page.wait_for_function(f"() => {window}[1] - {window}[0] < {0.5 * (end - begin)}")
        closer = page.evaluate(window)
        assert abs(sum(closer) - (begin + end)) < 0.1 * (end - begin)  # the middle stayed
        for _ in range(2):
            touch("Start", 0.5)
            touch("End")
        page.wait_for_selector("body:not(.paused)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_between_fixed_values_are_remembered(tmp_path: Path) -> None:
    """The ends of a colour map can be given; they are in the address and there after a reload."""
    with Simulation(tmp_path), serving() as served, browsing(served, tmp_path) as page:
        low = page.get_by_label("Lowest value of the colours of depth.data")
        page.wait_for_selector('[data-key="depth.data"] canvas[data-seq]')
        page.wait_for_function(
            "() => document.querySelector('[data-key=\"depth.data\"] input').placeholder === '1'"
        )
        low.fill("-20")
        low.press("Enter")
        page.get_by_label("Highest value of the colours of depth.data").fill("20")
        page.keyboard.press("Tab")
        card = "document.querySelector('[data-key=\"depth.data\"]')?.card"
        page.wait_for_function(f"() => {card}.head.scale.join() === '-20,20'")
        page.wait_for_function("() => decodeURIComponent(location.hash).includes('scale=depth.data:-20~20')")
        page.reload()
        page.wait_for_function(f"() => {card}?.head?.scale.join() === '-20,20'")
        assert low.input_value() == "-20"
        page.goto(served.base)  # without an address: what was remembered
        page.wait_for_function(f"() => {card}?.head?.scale.join() === '-20,20'")
        low.fill("")
        page.keyboard.press("Tab")
        page.wait_for_function(f"() => {card}.head.scale.join() === '1,5'")


def test_where_there_is_nothing_to_see_it_says_what_to_do(tmp_path: Path) -> None:
    """No daemon, no recording, no sample yet: each has its own words, and what comes then replaces them."""
    with serving() as served, browsing(served, tmp_path) as page:
        empty = page.locator("#empty")
        empty.get_by_role("heading", name="recd does not run").wait_for()
        assert "recd demo" in empty.inner_text()
        assert page.locator("#mark-open").is_disabled()
        with Recorder("walk", dir=tmp_path) as rec:
            empty.get_by_role("heading", name="Waiting for the first sample").wait_for()
            stream = rec.stream("state", NPZFile("s.npz"))
            stream.write({"q": 1.0})
            page.wait_for_selector('[data-key="state.q"]')
            assert empty.is_hidden()
        page.reload()
        empty.get_by_role("heading", name="Nothing is being recorded").wait_for()
        shoot(page, tmp_path, "nothing")


def test_a_hundred_lines_leave_the_page_its_frames(tmp_path: Path) -> None:
    """With 100 lines at 60 samples a second each frame of the page still comes; how many is printed."""
    with Recorder("wide", dir=tmp_path) as rec, serving() as served:
        stream = rec.stream("state", NPZFile("s.npz"))
        over = threading.Event()

        def write() -> None:
            n = 0
            while not over.wait(1 / 60):
                stream.write({"q": np.sin(n / 30 + np.arange(100) / 20)}, t=n / 60)
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with browsing(served, tmp_path) as page:
                lines(page, "state.q", 30)
                moved = page.evaluate(LINES, "state.q")[0][-1]
                hz = page.evaluate(
                    """() => new Promise((done) => {
                      const at = [];
                      const frame = (t) => {
                        at.push(t);
                        if (at.length < 120) requestAnimationFrame(frame);
                        else done((1000 * (at.length - 1)) / (at.at(-1) - at[0]));
                      };
                      requestAnimationFrame(frame);
                    })"""
                )
                print(f"{hz:.1f} frames per second")
                assert hz > 0
                page.wait_for_function(f"(last) => ({LINES})('state.q')[0].at(-1) > last", arg=moved)
        finally:
            over.set()
            writer.join()


@pytest.mark.parametrize("dialog", ["mark", "stop", "help"])
def test_dialogs_are_for_everybody(tmp_path: Path, dialog: str) -> None:
    """Axe finds nothing in an open dialog on a dark phone; Escape closes it; nothing moves for who wants no motion."""
    how = {"color_scheme": "dark", "viewport": {"width": 390, "height": 850}, "reduced_motion": "reduce"}
    with Simulation(tmp_path), serving() as served, browsing(served, tmp_path, **how) as page:
        lines(page, "state.q", HZ)
        page.click("#menu")
        assert page.evaluate("document.getAnimations().length") == 0
        page.click("#menu")
        page.click(f"#{dialog}-open")
        page.wait_for_selector(f"#{dialog}[open]")
        check_with_axe(page)
        shoot(page, tmp_path, dialog)
        page.keyboard.press("Escape")
        page.wait_for_selector(f"#{dialog}:not([open])", state="attached")


def check_with_axe(page: Any) -> None:
    """No violation of WCAG A and AA."""
    page.evaluate(AXE.read_text() + "; undefined")
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    told = [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found["violations"]]
    assert not told, json.dumps(told, indent=1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(tmp_path: Path, theme: str, width: int) -> None:
    """Axe finds no violation of WCAG A and AA, on a screen and on a phone, where nothing needs sideways scrolling."""
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 850}}
    with Simulation(tmp_path) as sim, serving() as served, browsing(served, tmp_path, **how) as page:
        caller = connect()
        for source in ("outside", "alert"):
            caller.call("mark", 60, session=sim.rec.session, label="pushed", source=source)
        caller.close()
        page.click("#happened-told")
        lines(page, "state.q", HZ)
        page.wait_for_selector('[data-key="depth.data"] canvas[data-seq]')
        if width < 600:
            page.click("#menu")
            page.wait_for_selector("#sidebar.open")
        check_with_axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
