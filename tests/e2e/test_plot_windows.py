"""Windows of plots, on a display without a screen: they show the newest samples, and hold nobody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drawn import has_colour
from recd.plots.drawing import COLOURS
from recd_client import MPLImagePlot, MPLLinePlot, NPZFile, PyQtLinePlot, Recorder
from recd_client.options import Plot
from recordings import PATIENCE_S, npz, proved, stopped
from support import processes_of, wait_until

pytestmark = [pytest.mark.requires("matplotlib", "Xvfb"), pytest.mark.usefixtures("runtime")]


@dataclass
class Screen:
    """A display in memory."""

    name: str
    file: Path

    def pixels(self) -> NDArray[np.uint8]:
        """What is on it, ``(height, width, 3)``; the file is an XWD image."""
        raw = self.file.read_bytes()
        head = np.frombuffer(raw, ">u4", 25)
        size, width, height, row, colours = (int(head[i]) for i in (0, 4, 5, 12, 19))
        lines = np.frombuffer(raw, np.uint8, row * height, size + 12 * colours).reshape(height, row)
        return lines[:, : 4 * width].reshape(height, width, 4)[..., 2::-1]


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A display of the test's own, which is the simulation's."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "900x700x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen([*command, "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with open(read) as told:
            name = f":{told.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        yield Screen(name, tmp_path / "Xvfb_screen0")
    finally:
        server.terminate()
        server.wait()


def window_of(runtime: Path) -> int:
    """The process that shows a window, once it is there."""

    def found() -> int:
        commands = processes_of(runtime).items()
        return next((pid for pid, command in commands if "recd.plots.window" in command), 0)

    return wait_until(found, timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    "plot",
    [MPLLinePlot, pytest.param(PyQtLinePlot, marks=pytest.mark.requires("pyqtgraph", "PySide6"))],
)
def test_a_window_shows_what_is_recorded_and_goes_with_the_stream(
    plot: type[Plot], screen: Screen, runtime: Path, tmp_path: Path
) -> None:
    """The line appears on the display while the stream is open; a second one when its first sample comes."""
    with Recorder(dir=tmp_path / "out") as rec:
        stream = rec.stream("s", plot())
        for i in range(100):
            stream.write({"a": [np.sin(i / 9), np.nan]}, t=i * 0.01)
        wait_until(lambda: has_colour(screen.pixels(), COLOURS[0]), timeout_s=PATIENCE_S)
        for i in range(100, 200):
            stream.write({"a": [np.nan, np.sin(i / 9)]}, t=i * 0.01)
        window = window_of(runtime)
        legend = screen.pixels()[
            :, :600
        ]  # names are beside the data, and have the colours from the beginning
        assert legend.shape
        wait_until(lambda: has_colour(screen.pixels()[:, :600], COLOURS[1]), timeout_s=PATIENCE_S)
        assert rec.stats()["s"]["reason"] == ""
        rec.close()
    assert window not in processes_of(runtime)
    proved(tmp_path / "out")


def test_a_window_of_images_shows_the_newest(screen: Screen, tmp_path: Path) -> None:
    """The whole picture has the colour of the last image."""
    with Recorder(dir=tmp_path / "out") as rec:
        stream = rec.stream("s", MPLImagePlot())
        for colour in ("#ff0000", "#00ff00", "#2040ff"):
            value = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            for _ in range(50):
                stream.write(np.full((48, 64, 3), value, np.uint8))
            wait_until(lambda c=colour: has_colour(screen.pixels(), c, 2), timeout_s=PATIENCE_S)  # type: ignore[misc]
        rec.close()


def test_a_window_that_is_killed_is_told_of_and_the_recording_goes_on(
    screen: Screen, runtime: Path, tmp_path: Path
) -> None:
    """`stats()` says that it is gone; all samples are in the files, the plot's own among them."""
    with Recorder(dir=tmp_path / "out") as rec:
        plot = MPLLinePlot(save_to_filename="p.mp4", window_size=(320, 240))
        stream = rec.stream("s", plot, NPZFile("s.npz"))
        stream.write(0.0, t=0)
        window = window_of(runtime)
        os.kill(window, signal.SIGKILL)
        wait_until(lambda: rec.stats()["s"]["reason"], timeout_s=PATIENCE_S)
        stats = rec.stats()["s"]
        assert stats["reason"].startswith("its window is gone")
        assert stats["state"] == "recording"
        for i in range(1, 50):
            assert stream.write(float(i), t=i)
        rec.close()
    files = proved(tmp_path / "out")["streams"]["s"]["files"]
    assert [f["samples"] for f in files] == [50, 50]
    assert npz(tmp_path / "out" / "s.npz")["data"].tolist() == [*range(50)]


def test_a_window_that_hangs_holds_nobody_up(screen: Screen, runtime: Path, tmp_path: Path) -> None:
    """Stopped for the whole recording: every sample is taken, and closing does not wait for it."""
    with Recorder(dir=tmp_path / "out") as rec:
        stream = rec.stream("s", MPLLinePlot(), NPZFile("s.npz"))
        stream.write(0.0, t=0)
        with stopped(window_of(runtime)):
            for i in range(1, 5000):
                assert stream.write(float(i), t=i)
            rec.flush()
            rec.close()
    assert proved(tmp_path / "out")["streams"]["s"]["samples"] == 5000


def test_a_display_that_does_not_answer_costs_the_window_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DISPLAY is set, and nothing is there: the reason is told, and the file is complete."""
    monkeypatch.setenv("DISPLAY", ":931")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", MPLLinePlot(), NPZFile("s.npz"))
        stream.write(0.0, t=0)
        wait_until(lambda: rec.stats()["s"]["reason"], timeout_s=PATIENCE_S)
        assert "window" in rec.stats()["s"]["reason"]
        rec.close()
    assert proved(tmp_path)["streams"]["s"]["samples"] == 1


def test_a_replay_shows_in_windows_what_was_recorded(screen: Screen, runtime: Path, tmp_path: Path) -> None:
    """``recd play --to window``: numbers as lines, pictures as they were, and no window afterwards."""
    with Recorder(dir=tmp_path / "out") as rec:
        lines, pictures = rec.stream("lines", NPZFile("l.npz")), rec.stream("pictures", NPZFile("p.npz"))
        for i in range(400):
            lines.write(np.sin(i / 9), t=i * 0.05)
            if i % 20 == 0:
                pictures.write(np.full((48, 64, 3), (0, 255, 0), np.uint8), t=i * 0.05)
    play = [sys.executable, "-m", "recd", "play", str(tmp_path / "out"), "--to", "window", "--streams"]
    for stream, colour in (("lines", COLOURS[0]), ("pictures", "#00ff00")):
        with subprocess.Popen([*play, stream], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as player:
            wait_until(lambda c=colour: has_colour(screen.pixels(), c, 2), timeout_s=PATIENCE_S)  # type: ignore[misc]
            player.send_signal(signal.SIGINT)
            _, errors = player.communicate(timeout=PATIENCE_S)
        assert player.returncode == 130, errors
        assert not any("recd.plots.window" in command for command in processes_of(runtime).values())
