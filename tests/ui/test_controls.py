"""The page in a real browser: what a person can do with it, beyond looking."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from browser import EVENTS, HZ, LINES, Simulation, browsing, check_with_axe, lines, shoot
from recd.cli._common import connect
from recd_client import NPZFile, Recorder
from recordings import proved
from serving import serving
from support import wait_until

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.requires("chromium", "playwright", "aiohttp", "PIL"),
]


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
