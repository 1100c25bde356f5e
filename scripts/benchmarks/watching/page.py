"""From ``write`` to a pixel, in a real browser: headless Chromium, as ``recd ui`` is looked at.

The simulation notes the time at which a ``write`` that changes something had returned; the page, in every frame that it
draws, reads the pixels of its canvases back and notes the time at which they are others. Both are the clock of this
machine (``time.time()``, ``Date.now()``: whole milliseconds). What the browser's window system adds is not in it, as
there is none; reading back waits for the next frame, which counts as well.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from ..daemon import Bench
from ..results import Bar, Table
from .serving import simulation
from .viewers import PageServer

_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: A change that is not seen for so long is one that was missed.
_MISSED_S: Final = 2.0
_PATIENCE_MS: Final = 30_000
#: All cards are visible: a page asks for no others.
_VIEWPORT: Final = {"width": 1600, "height": 1900}

#: Notes in ``seen[name]`` when the pixels of a card's canvas have changed, and in ``first`` when a plot has points.
_WATCH: Final = """
(() => {
  window.seen = {led: [], cam: []};
  window.first = null;
  const last = {};
  const pixels = (key, width) => {
    const canvas = document.querySelector(`[data-key="${key}"] canvas`);
    if (!canvas || !canvas.width) return null;
    const x = Math.max(canvas.width - width, 0);
    const data = canvas.getContext("2d").getImageData(x, 0, Math.min(width, canvas.width), canvas.height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + 7 * data[i + 1]) % 1000003;
    return sum;
  };
  const bright = () => {
    const canvas = document.querySelector('[data-key="cam.data"] canvas[data-seq]');
    if (!canvas) return null;
    return canvas.getContext("2d").getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1).data[0] > 128;
  };
  const look = () => {
    window.frames = (window.frames ?? 0) + 1;
    for (const [name, now] of [["led", pixels("led.data", 80)], ["cam", bright()]]) {
      if (now !== null && name in last && now !== last[name]) window.seen[name].push(Date.now() / 1000);
      if (now !== null) last[name] = now;
    }
    if (window.first === null) {
      const card = document.querySelector('[data-key="state.f0"]')?.card;
      if (card && card.lines.rows >= 2 && !card.dirty) window.first = performance.now();
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


def table(bench: Bench) -> Table:
    """Latencies, and the first plot."""
    result = Table("In a browser", ("p50 ms", "p95 ms", "most ms", "changes"), key="live.page")
    missing = [name for name in ("playwright",) if importlib.util.find_spec(name) is None]
    missing += ["chromium"] if _chromium() is None else []
    if missing:
        result.notes += [f"not measured: {name} is not installed" for name in missing]
        return result
    seconds, loads = bench.size(60, 8), bench.size(10, 3)
    server = PageServer()
    try:
        with _browser() as browser:
            _latencies(bench, result, browser, server.url, "flashes", "", seconds)
            with simulation(bench, "series"):
                first_ms = [_first_plot(browser, server.url) for _ in range(loads)]
            _latencies(bench, result, browser, server.url, "flashes beside", ", beside 100 series", seconds)
    finally:
        server.close()
    _add(result, "load to first plot, of 100 series", first_ms, 1000)
    result.notes.append(
        "From the time at which `write` had returned to the browser's frame in which the pixels, read back from the "
        "canvas, were others, by one clock. Headless Chromium, which draws without a graphics card on the cores on "
        "which all the rest runs. The plot's stream is written only when it changes, two or three times per second; "
        "the camera, 30 fps, turns black or white. 100 series: ten more plots at 60 Hz, all visible. Load: from "
        f"navigation to the first frame behind drawn points, {loads} times."
    )
    return result


def _latencies(
    bench: Bench, result: Table, browser: Any, url: str, what: str, beside: str, seconds: float
) -> None:
    """A row for the plot and one for the camera."""
    with simulation(bench, what) as process:
        seen, between, frames_per_s = _look(browser, url, seconds)
        said, _ = process.communicate("")
    written = json.loads(said)
    for name, label in (("led", "write to pixel: a plot"), ("cam", "write to pixel: a 640x480 camera")):
        took_ms, missed = _matched(written[name], seen[name], between)
        _add(result, label + beside, took_ms, 100)
        if missed:
            result.notes.append(f"{label}{beside}: {missed} changes were not seen before the next one")
    result.notes.append(f"the browser drew {frames_per_s:.0f} frames per second{beside}")


def _add(result: Table, label: str, took_ms: Sequence[float], limit_ms: float) -> None:
    if not took_ms:
        result.add(label, None, None, None, 0)
        return
    p50, p95, most = np.percentile(took_ms, [50, 95, 100])
    result.add(label, float(p50), float(p95), float(most), len(took_ms), bar=Bar(float(p95), limit_ms, " ms"))


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), headless=True, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _page(browser: Any, url: str) -> Iterator[Any]:
    """A page that watches itself."""
    context = browser.new_context(viewport=_VIEWPORT)
    try:
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(url)
        yield page
    finally:
        context.close()


def _first_plot(browser: Any, url: str) -> float:
    """Milliseconds from the beginning of the navigation."""
    with _page(browser, url) as page:
        page.wait_for_function("() => window.first !== null")
        return float(page.evaluate("window.first"))


def _look(
    browser: Any, url: str, seconds: float
) -> tuple[dict[str, list[float]], tuple[float, float], float]:
    """Times at which pixels changed, since when and until when; frames that the browser drew per second."""
    with _page(browser, url) as page:
        page.wait_for_function("() => window.seen.cam.length > 0 && window.seen.led.length > 0")
        page.evaluate("window.seen = {led: [], cam: []}; window.frames = 0; undefined")
        began_s = time.time()
        time.sleep(seconds)
        ended_s = time.time()
        frames, seen = page.evaluate("[window.frames, window.seen]")
        return seen, (began_s, ended_s), frames / (ended_s - began_s)


def _matched(
    written: Sequence[float], seen: Sequence[float], between: tuple[float, float]
) -> tuple[list[float], int]:
    """Milliseconds from each write to the first change behind it; how many had none before the next write."""
    took_ms: list[float] = []
    missed = 0
    for wrote, following in zip(written, [*written[1:], between[1]], strict=True):
        if not between[0] < wrote < between[1] - _MISSED_S:
            continue
        i = bisect_left(seen, wrote - 0.001)  # the page's clock has whole milliseconds
        if i < len(seen) and seen[i] < following:
            took_ms.append(max(1e3 * (seen[i] - wrote), 0.0))
        else:
            missed += 1
    return took_ms, missed
