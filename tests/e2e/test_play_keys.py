"""``recd play`` in a terminal: its keys, its line, and the terminal afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recd_client import NPZFile, Recorder
from support import wait_until

pytestmark = pytest.mark.requires("tmux")

PROMPT = "READY>"


class Terminal:
    """A shell in a terminal of 120x24.

    Parameters
    ----------
    socket : Path
        Of a tmux server of its own.
    """

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-u", "-S", str(socket)]
        shell = ["env", f"PS1={PROMPT}", "sh"]
        size = ["-x", "120", "-y", "24"]
        subprocess.run([*self._tmux, "-f", os.devnull, "new-session", "-d", *size, *shell], check=True)
        self.until(PROMPT)
        self.mode = self.settings()

    def play(self, *arguments: object) -> None:
        """Begin to play, once the keys are heard."""
        words = [sys.executable, "-m", "recd", "play", *map(str, arguments)]
        self.run(" ".join(words))
        wait_until(lambda: "-icanon" in self.settings(), timeout_s=60.0)

    def run(self, line: str) -> None:
        """Type a line."""
        subprocess.run([*self._tmux, "send-keys", "-l", line], check=True)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys, as tmux calls them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    @property
    def screen(self) -> str:
        """What is seen."""
        return subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True).stdout

    @property
    def line(self) -> str:
        """The status line: the newest one."""
        lines = [line for line in self.screen.splitlines() if re.match(r"(>|\|\|) +-?\d", line)]
        return lines[-1] if lines else ""

    @property
    def position(self) -> float:
        """Where playing is."""
        found = re.match(r"\S+ +(-?[\d.]+) /", self.line)
        return float(found[1]) if found else -1.0

    def until(self, *texts: str) -> str:
        """Wait until all of these are seen; returns the screen."""
        try:
            wait_until(lambda: all(text in self.screen for text in texts), timeout_s=60.0)
        except TimeoutError:
            raise AssertionError(f"not seen: {texts}; seen:\n{self.screen}") from None
        return self.screen

    def until_line(self, *texts: str) -> str:
        """Wait until all of these are in the status line."""
        try:
            wait_until(lambda: all(text in self.line for text in texts), timeout_s=60.0)
        except TimeoutError:
            raise AssertionError(f"not in the line: {texts}; seen:\n{self.screen}") from None
        return self.line

    def settings(self) -> str:
        """The terminal's settings, as ``stty`` tells them from outside."""
        tty = subprocess.run([*self._tmux, "display", "-p", "#{pane_tty}"], capture_output=True, text=True)
        return subprocess.run(["stty", "-a", "-F", tty.stdout.strip()], capture_output=True, text=True).stdout

    def player(self) -> int:
        """Process id of the player; 0 if none runs."""
        pane = subprocess.run([*self._tmux, "display", "-p", "#{pane_pid}"], capture_output=True, text=True)
        children = (
            Path(f"/proc/{pane.stdout.strip()}/task/{pane.stdout.strip()}/children").read_text().split()
        )
        for child in map(int, children):
            if b"recd\0play" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        return 0

    def wait_sane(self) -> None:
        """Wait until the terminal is as it was before."""
        try:
            wait_until(lambda: self.settings() == self.mode, timeout_s=60.0)
        except TimeoutError:
            raise AssertionError(f"{self.mode}\nbecame\n{self.settings()}\n{self.screen}") from None

    def close(self) -> None:
        """End it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)


@pytest.fixture
def terminal(shared_runtime: Path) -> Iterator[Terminal]:
    """A terminal, closed afterwards."""
    made = Terminal(shared_runtime.parent / f"tmux-{os.urandom(4).hex()}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def recording(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of one number per second, which is the second."""
    directory = tmp_path_factory.mktemp("walk")
    with Recorder("walk", dir=directory) as rec:
        state = rec.stream("state", NPZFile("state.npz"))
        for i in range(61):
            state.write({"second": i, "qpos": np.arange(5.0)}, t=float(i))
    return directory


def test_the_keys_do_what_users_of_rosbag2_expect(terminal: Terminal, recording: Path) -> None:
    """SPACE, RIGHT, LEFT, UP, DOWN, the jumps, and q; the line tells position, rate, and the newest values."""
    terminal.play(recording, "--start-paused")
    terminal.until_line("|| 0.000 / 60.000 s  x1  paused")
    for second in (0, 1, 2):
        terminal.press("Right")
        terminal.until_line(f"|| {second}.000", f"state t={second} second={second} qpos=[0 1 2 ..]")
    terminal.press("Left")
    terminal.until_line("|| 1.000", "second=1")
    terminal.press("Up")
    terminal.until_line("x1.1 ")
    terminal.press("Down")
    terminal.press("Down")
    terminal.until_line("x0.9091 ")
    terminal.press("]")
    terminal.until_line("|| 2.000")
    terminal.press("PageDown")
    terminal.until_line("|| 12.000")
    terminal.press("PageUp")
    terminal.press("[")
    terminal.until_line("|| 1.000")
    terminal.press("Right")
    terminal.until_line("|| 1.000", "second=1")
    terminal.press("PageDown")
    terminal.press("Home")
    terminal.until_line("|| 0.000")
    terminal.press("Space")
    wait_until(lambda: terminal.line.startswith("> ") and terminal.position > 0.3)
    assert "paused" not in terminal.line
    terminal.press("Space")
    stood = terminal.until_line("paused")
    terminal.press("q")
    assert stood.split("  ")[0] in terminal.until("played 6", "late by")
    terminal.wait_sane()


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Terminal, recording: Path) -> None:
    """Exit code 130, and what is typed is seen again."""
    terminal.play(recording)
    terminal.until_line("second=0")
    terminal.press("C-c")
    terminal.until("error: interrupted")
    terminal.wait_sane()
    terminal.run("echo code $?")
    terminal.until("code 130")


def test_an_error_leaves_the_terminal_as_it_was(terminal: Terminal, recording: Path, tmp_path: Path) -> None:
    """That of a user's function, behind which a traceback is shown."""
    (tmp_path / "looking.py").write_text(
        "def look(t, name, value):\n    if t > 0:\n        raise ValueError('no more')\n"
    )
    terminal.run(f"cd {tmp_path}")
    terminal.play(recording, "--to", "looking:look")
    terminal.until("ValueError: no more")
    terminal.wait_sane()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_player_leaves_the_terminal_as_it_was(
    terminal: Terminal, recording: Path, number: signal.Signals
) -> None:
    """Even one that had no chance to clean up."""
    terminal.play(recording)
    terminal.until_line("second=0")
    os.kill(terminal.player(), number)
    wait_until(lambda: not terminal.player())
    terminal.wait_sane()


def test_ctrl_z_gives_the_terminal_back_for_a_while(terminal: Terminal, recording: Path) -> None:
    """The shell has it as it was; in the foreground again, keys are heard, and nothing is made up for."""
    terminal.run("set -m")
    terminal.play(recording)
    terminal.until_line("second=0")
    terminal.press("C-z")
    terminal.until("Stopped")
    terminal.wait_sane()
    terminal.run("fg")
    wait_until(lambda: "-icanon" in terminal.settings())
    terminal.press("Space")
    terminal.until_line("paused")
    terminal.press("q")
    terminal.wait_sane()


def test_while_it_is_recorded_there_is_no_way_back(
    terminal: Terminal, recording: Path, tmp_path: Path
) -> None:
    """The line says so; the files are finished at the end."""
    terminal.play(recording, "--start-paused", "--record", "npz", "--dir", tmp_path / "again")
    terminal.until_line("paused")
    terminal.press("Right", "Right", "Left")
    terminal.until_line("|| 1.000", "no way but on")
    terminal.press("q")
    terminal.until("recorded into", "played 2 samples")
    with np.load(tmp_path / "again" / "state.npz") as file:
        assert file["second"].tolist() == [0, 1]


def test_in_the_background_the_keys_are_the_shells(terminal: Terminal, recording: Path) -> None:
    """A player with ``&`` plays, and leaves the terminal alone."""
    terminal.run("set -m")
    terminal.run(f"{sys.executable} -m recd play {recording} --rate 100 &")
    terminal.until("played 61 samples")
    terminal.wait_sane()
