"""The page in a real browser, over a real recording: what a person sees."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from browser import HZ, LINES, PIXELS, Simulation, browsing, check_with_axe, lines
from reading import SESSION, Readable, listed
from recd.cli._common import connect
from recd.cli.stop import stop_daemon
from recd_client import CSVFile, NPZFile, Recorder
from recordings import worker_of
from serving import PATIENCE_S, serving

pytestmark = [
    pytest.mark.usefixtures("runtime"),
    pytest.mark.requires("chromium", "playwright", "aiohttp", "PIL"),
]


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


def test_a_recording_that_was_killed_is_shown_from_its_log(tmp_path: Path) -> None:
    """With what finishes it; and where another one cannot be shown, nothing of this one stays."""
    recording = Readable(tmp_path / "run", CSVFile("rows.csv"))
    recording.feed.write(30)
    recording.turn()
    listed(tmp_path / "run")
    (tmp_path / "gone").mkdir()
    listed(tmp_path / "gone", "gone")
    with serving() as served, browsing(served, tmp_path, refused="/past/gone") as page:
        page.locator("#past button", has_text=SESSION).click()
        t, *values = lines(page, "rows.x", 30)
        assert (t, values[0]) == ([i / 8 for i in range(30)], [*range(30)])
        assert "recd recover" in page.inner_text("#summary")
        page.locator("#past button", has_text="gone").click()
        page.get_by_text("is not in").wait_for()
        assert page.locator(".card").count() == 0


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
