"""A real browser for tests, and a simulation that it looks at.

Screenshots stay under the test's tmp_path, or in $RECD_SCREENSHOTS, to be looked at.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recd_client import NPZFile, NullSink, Recorder, VideoFile
from recordings import numbered
from serving import PATIENCE_S, Served

AXE = Path(__file__).parent / "ui" / "vendor" / "axe.min.js"
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
def browsing(
    served: Served, tmp_path: Path, *, refused: str = "WebSocket connection", **how: Any
) -> Iterator[Any]:
    """A page in Chromium; whatever its console says as an error fails the test, but for what is ``refused``."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1e3)
        page.on("console", lambda m: said.append(f"{m.text} {m.location}") if m.type == "error" else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(served.url)
        try:
            yield page
        finally:
            shoot(page, tmp_path)
            browser.close()
    assert [text for text in said if refused not in text] == []


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


def check_with_axe(page: Any) -> None:
    """No violation of WCAG A and AA."""
    page.evaluate(AXE.read_text() + "; undefined")
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
    told = [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found["violations"]]
    assert not told, json.dumps(told, indent=1)
