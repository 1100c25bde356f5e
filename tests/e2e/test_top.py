"""``recd top`` against a real daemon: in a terminal of 80x24, once, and as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import NPZFile, Recorder, VideoFile
from recordings import numbered, proved, stopped, worker_of
from support import wait_until

TERMINAL = pytest.mark.requires("tmux")


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end, in a pipe."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


class Terminal:
    """A terminal of 80x24 in which ``recd top`` runs.

    Parameters
    ----------
    socket : Path
        Of a tmux server of its own.
    """

    def __init__(self, socket: Path, *arguments: str) -> None:
        self._tmux = ["tmux", "-u", "-S", str(socket)]
        command = [sys.executable, "-m", "recd", "top", "--interval", "0.2", *arguments]
        size = ["-x", "80", "-y", "24"]
        subprocess.run([*self._tmux, "-f", os.devnull, "new-session", "-d", *size, *command], check=True)

    def press(self, *keys: str) -> None:
        """Press keys, as tmux calls them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def screen(self, *options: str) -> str:
        """What is seen; nothing once the program has ended."""
        done = subprocess.run([*self._tmux, "capture-pane", "-p", *options], capture_output=True, text=True)
        return done.stdout

    def until(self, *texts: str) -> str:
        """Wait until all of these are seen; returns the screen."""
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.screen()
            return all(text in seen for text in texts)

        try:
            wait_until(there, timeout_s=60.0)
        except TimeoutError:
            raise AssertionError(f"not seen: {texts}; seen:\n{seen}") from None
        return seen

    def wait_closed(self) -> None:
        """Wait until the program has ended."""
        wait_until(lambda: subprocess.run([*self._tmux, "has-session"], capture_output=True).returncode != 0)

    def close(self) -> None:
        """End it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)


@contextmanager
def top(runtime: Path, *arguments: str) -> Iterator[Terminal]:
    """``recd top`` in a terminal."""
    terminal = Terminal(runtime.parent / f"tmux-{os.urandom(4).hex()}", *arguments)
    try:
        yield terminal
    finally:
        terminal.close()


def test_one_look_is_a_table_and_an_object(shared_runtime: Path, tmp_path: Path) -> None:
    """``--once`` shows streams with what they lost; ``--json`` has the same, with rates; pipes get no screen."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        for i in range(100):
            state.write(float(i))
        rec.stream("front", VideoFile("f.mp4", fps=30)).write(numbered(0))
        rec.flush()
        text = recd("top", "--once", "--interval", "0.2").stdout
        assert "1 session, 2 streams" in text
        assert [line.split()[:2] for line in text.splitlines()[-2:]] == [
            ["state", "recording"],
            ["front", "recording"],
        ]
        told = json.loads(recd("top", "--json", "--interval", "0.2").stdout)
        (walk,) = told["sessions"]
        by_name = {s["stream"]: s for s in walk["streams"]}
        assert by_name["state"]["written"] == 100
        assert by_name["state"]["samples_per_s"] == 0.0
        assert by_name["front"]["bytes"] == numbered(0).nbytes
        assert told["disks"][0]["free_bytes"] > 0
        assert told["warnings"] == []
        done = recd("top")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--once or --json" in done.stderr


@pytest.mark.filterwarnings("ignore::recd_client.DataLossWarning")
def test_every_key_of_the_object_is_documented(shared_runtime: Path, tmp_path: Path) -> None:
    """A program may rely on what docs/cli.md says of ``recd top --json``, and of ``recd status --json``."""
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    sections = re.findall(r"^## recd (?:top|status)\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    documented = set(re.findall(r"`(\w+)(?:\[\])?`", "".join(sections)))
    with Recorder("walk", dir=tmp_path) as rec:
        lossy = rec.stream("lossy", NPZFile("s.npz"), like=np.zeros(64), buffer_bytes="16KiB")
        with stopped(worker_of(rec)):
            while lossy.write(np.zeros(64)):
                continue
        told = json.loads(recd("top", "--json", "--interval", "0.2").stdout)
    assert told["warnings"]
    lost = {"full"}
    assert {*keys(told)} - lost <= documented


def keys(data: Any) -> Iterator[str]:
    """Every key of an object, at any depth."""
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from keys(value)
    yield from data if isinstance(data, dict) else ()


def test_without_a_daemon_one_look_says_so(runtime: Path) -> None:
    """Exit code 3, as for ``recd status``."""
    for option in ("--once", "--json"):
        done = recd("top", option)
        assert done.returncode == 3
        assert "recd start" in done.stderr


@TERMINAL
def test_a_stream_is_found_opened_and_its_session_stopped(shared_runtime: Path, tmp_path: Path) -> None:
    """From the table to the newest values, and back, to a stop that is confirmed; the files are whole."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        front = rec.stream("front", VideoFile("f.mp4", fps=30))
        for i in range(200):
            state.write({"height": 1.25 + np.sin(i / 10), "qpos": np.arange(3.0)}, t=i / 100)
        front.write(numbered(3))
        with top(shared_runtime) as terminal:
            terminal.until("1 session, 2 streams", "state            recording", "? help")
            terminal.press("Down")
            terminal.press("Enter")
            seen = terminal.until("walk / state", "newest sample: t = 1.99 s", "height", "qpos[2]")
            assert any(bar in seen for bar in "▂▃▄▅▆▇")
            assert all(len(line) <= 80 for line in seen.splitlines())
            terminal.press("Escape")
            terminal.until("session / stream")
            terminal.press("/")
            terminal.until("Enter keeps, Esc shows all")
            terminal.press("front")
            assert "state            recording" not in terminal.until("filter: front")
            terminal.press("Enter")
            terminal.until("filter: front (Esc: all)")
            terminal.press("End")
            terminal.press("Enter")
            terminal.until("walk / front", "newest sample", "▀▀▀")
            terminal.press("q")
            terminal.until("session / stream")
            terminal.press("x")
            terminal.until(f"Stop recording 'walk' ({rec.session})?")
            terminal.press("y")
            terminal.until("no stream matches 'front'")
            wait_until(lambda: (tmp_path / "manifest.json").exists() and not (tmp_path / ".recd").exists())
            terminal.press("q")
            terminal.wait_closed()
    assert proved(tmp_path)["streams"]["state"]["samples"] == 200


@TERMINAL
def test_it_waits_for_a_daemon_and_goes_on_with_the_next(runtime: Path, tmp_path: Path) -> None:
    """Begun without one, it says so and what to do; so it does when the daemon stops, keeping what was seen."""
    with top(runtime) as terminal:
        terminal.until("recd is not running", "recd start")
        with Recorder("walk", dir=tmp_path) as rec:
            stream = rec.stream("state", NPZFile("s.npz"))
            stream.write(1.0)
            terminal.until("1 session, 1 stream", "state            recording")
            assert recd("stop").returncode == 1  # its simulation still runs
            terminal.until("recd is not running", "as last seen: 1 session, 1 stream", "  state")
            assert recd("start").returncode == 0
            wait_until(lambda: "not running" not in terminal.screen())
            stream.write(2.0)
            terminal.until("1 session, 1 stream", "state            recording")


@TERMINAL
def test_no_color_means_none(shared_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR no cell has a colour, on any screen; without it some have."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", NPZFile("s.npz")).write(1.0)
        for wanted in (True, False):
            if not wanted:
                monkeypatch.setenv("NO_COLOR", "1")
            with top(shared_runtime) as terminal:
                terminal.until("state            recording")
                codes = [part.split("m")[0] for part in terminal.screen("-e").split("\x1b[")[1:]]
                used = {number for code in codes for number in code.split(";") if number not in ("39", "49")}
                assert any(number[:1] in ("3", "4", "9") for number in used) == wanted, used
