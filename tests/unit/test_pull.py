"""The pull form: the recorder asks for samples itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import (
    CSVFile,
    DataFunctionError,
    HDF5File,
    NPZFile,
    Recorder,
    VideoFile,
    layout,
)
from recd_client.errors import (
    OptionError,
)

pytestmark = pytest.mark.usefixtures("each_writer")

IMAGE = np.zeros((32, 48, 3), np.uint8)


def test_only_the_streams_that_are_due_are_asked(daemon: FakeDaemon) -> None:
    """Each data_func is called at every n-th step and at no other, with the step's time."""
    calls: dict[str, int] = {"every": 0, "half": 0, "tenth": 0}

    def counting(name: str) -> Callable[[], float]:
        def data() -> float:
            calls[name] += 1
            return float(calls[name])

        return data

    with Recorder("walk", dt=0.01, autostart=False) as rec:
        rec.start_recording(counting("every"), NPZFile("every.npz"))
        rec.start_recording(counting("half"), CSVFile("half.csv", hz=50))
        rec.start_recording(counting("tenth"), HDF5File("tenth.h5", hz=10), name="slow")
        for _ in range(21):
            rec.step()
        assert calls == {"every": 21, "half": 11, "tenth": 3}
        samples = daemon.rings["slow"].take()[0]
        assert [(a["step"], round(a["t"], 9)) for a in samples] == [(0, 0.0), (10, 0.1), (20, 0.2)]


def test_a_rate_between_whole_steps_warns_once(daemon: FakeDaemon) -> None:
    """The warning says which rate it will be, and a video plays at that one."""
    with Recorder("walk", dt=0.01, autostart=False) as rec:
        with pytest.warns(RuntimeWarning, match="every 3 steps") as caught:
            rec.start_recording(lambda: IMAGE, VideoFile("a.mp4", hz=30))
        assert len(caught) == 1
        for _ in range(7):
            rec.step()
        assert [a["step"] for a in daemon.rings["a"].take()[0]] == [0, 3, 6]
    assert daemon.asked("attach")[0]["sinks"][0]["fps"] == pytest.approx(100 / 3)


def test_without_dt_the_given_times_decide(rec: Recorder) -> None:
    """A rate needs no dt if step() is told the time."""
    asked: list[float] = []

    def data() -> float:
        asked.append(now)
        return now

    rec.start_recording(data, NPZFile("a.npz", hz=10))
    for i in range(50):
        now = i / 50
        rec.step(t=now)
    assert asked == [i / 50 for i in range(0, 50, 5)]


def test_the_options_values_are_the_streams(rec: Recorder, daemon: FakeDaemon) -> None:
    """Waiting a little when the ring is full is the default; zero means dropping at once."""
    rec.start_recording(lambda: 1.0, NPZFile("a.npz", buffer_size=1000))
    rec.start_recording(lambda: 1.0, NPZFile("b.npz", buffer_full_wait_time=0))
    rec.step()
    told = daemon.asked("attach")
    assert [(t["overflow"], t["timeout_s"]) for t in told] == [("block", 0.1), ("drop_newest", None)]
    assert told[0]["buffer_bytes"] == 1000 * layout.record_bytes(8)


def test_an_error_in_a_data_func_names_its_stream_and_stops_no_other(
    rec: Recorder, daemon: FakeDaemon
) -> None:
    """The error is raised when every due stream has been asked, and carries the original as its cause."""

    def fail() -> float:
        raise ZeroDivisionError("boom")

    rec.start_recording(fail, NPZFile("bad.npz"))
    rec.start_recording(lambda: None, NPZFile("none.npz"), on_error="warn")
    rec.start_recording(lambda: 1.0, NPZFile("good.npz"))
    for _ in range(2):
        with (
            pytest.raises(DataFunctionError, match=r"'bad'.*boom") as caught,
            pytest.warns(RuntimeWarning, match=r"'none'.*None"),
        ):
            rec.step()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(daemon.rings["good"].take()[0]) == 2


def test_an_interrupt_in_a_data_func_passes_and_ends_nothing(rec: Recorder, daemon: FakeDaemon) -> None:
    """Ctrl-C is nobody's error: it goes through, and the stream is due again at its next step."""
    presses = iter([True])

    def data() -> float:
        if next(presses, False):
            raise KeyboardInterrupt
        return 1.0

    rec.start_recording(data, NPZFile("a.npz"), on_error="warn")
    with pytest.raises(KeyboardInterrupt):
        rec.step()
    rec.step()
    assert len(daemon.rings["a"].take()[0]) == 1


def test_streams_of_the_pull_form_get_names_of_their_own(rec: Recorder) -> None:
    """After the file, else the function; never one that is taken."""

    def camera() -> Any:
        return IMAGE

    names = [
        rec.start_recording(camera, NPZFile("x/state 1.npz")).name,
        rec.start_recording(camera, CSVFile("state 1.csv")).name,
        rec.start_recording(camera, VideoFile()).name,
        rec.start_recording(lambda: 1, VideoFile()).name,
    ]
    assert names == ["state_1", "state_1_2", "camera", "lambda"]


def test_bad_arguments_of_the_pull_form_are_refused(rec: Recorder) -> None:
    """No function, no file, or an unknown way to treat errors."""
    for arguments in ((3, NPZFile("a.npz")), (lambda: 1, "a.npz")):
        with pytest.raises(OptionError):
            rec.start_recording(*arguments)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="on_error"):
        rec.start_recording(lambda: 1, NPZFile("a.npz"), on_error="ignore")


def test_stop_recording_ends_the_pulled_streams_alone(rec: Recorder) -> None:
    """Other streams and the recorder go on, and new ones may be started."""
    pushed, pulled = rec.stream("pushed"), rec.start_recording(lambda: 1.0, NPZFile("a.npz"))
    rec.step()
    rec.stop_recording()
    assert (pulled.is_open, pushed.write(1.0)) == (False, True)
    rec.step()
    rec.start_recording(lambda: 2.0, NPZFile("b.npz"))
    rec.step()


def test_a_reset_makes_pulled_streams_due(daemon: FakeDaemon) -> None:
    """The first step after a reset is recorded by every stream."""
    with Recorder("walk", dt=0.01, autostart=False) as rec:
        rec.start_recording(lambda: 1.0, NPZFile("a.npz", hz=10))
        for _ in range(3):
            rec.step()
        rec.reset()
        for _ in range(3):
            rec.step()
        assert [a["step"] for a in daemon.rings["a"].take()[0]] == [0, 3]


def test_nobody_is_asked_during_a_pause(rec: Recorder) -> None:
    """The steps are counted, the functions not called."""
    calls: list[int] = []
    rec.start_recording(lambda: calls.append(1) or 1.0, NPZFile("a.npz"))  # type: ignore[func-returns-value]
    rec.pause()
    rec.step()
    rec.resume()
    rec.step()
    assert len(calls) == 1
