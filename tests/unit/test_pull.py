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
from recd_client.errors import OptionError, OutputExistsError, SchemaError, StreamExistsError

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


def test_an_error_of_another_kind_while_a_sample_is_taken_stops_no_other(
    rec: Recorder, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a device's library raises in the write is the stream's error, and a warning where that was chosen."""

    def write(*sample: Any) -> bool:
        raise MemoryError("out of device memory")

    for name, on_error in (("loud", "raise"), ("quiet", "warn")):
        stream = rec.start_recording(lambda: 1.0, NPZFile(f"{name}.npz"), on_error=on_error)
        monkeypatch.setattr(stream, "write", write, raising=False)
    rec.start_recording(lambda: 1.0, NPZFile("good.npz"))
    with (
        pytest.raises(DataFunctionError, match=r"'loud'.*out of device memory") as caught,
        pytest.warns(RuntimeWarning, match=r"'quiet'.*MemoryError"),
    ):
        rec.step()
    assert isinstance(caught.value.__cause__, MemoryError)
    assert len(daemon.rings["good"].take()[0]) == 1


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


def test_a_paused_stream_is_not_asked(rec: Recorder) -> None:
    """A pause of one stream costs no rendering; the others go on."""
    calls = {"a": 0, "b": 0}

    def counting(name: str) -> Callable[[], float]:
        def data() -> float:
            calls[name] += 1
            return 1.0

        return data

    stream = rec.start_recording(counting("a"), NPZFile("a.npz"))
    rec.start_recording(counting("b"), NPZFile("b.npz"))
    rec.step()
    stream.pause()
    rec.step()
    stream.resume()
    rec.step()
    assert calls == {"a": 2, "b": 3}


def test_a_sensor_is_read(rec: Recorder, daemon: FakeDaemon) -> None:
    """Any object with a method ``read`` gives samples; one that is callable itself is called."""

    class Imu:
        def read(self) -> dict[str, float]:
            return {"gyro": 1.0}

    class Both(Imu):
        def __call__(self) -> float:
            return 2.0

    rec.start_recording(Imu(), NPZFile("imu.npz"))
    rec.start_recording(Both(), NPZFile("both.npz"))
    rec.step()
    assert len(daemon.rings["imu"].take()[0]) == 1
    assert [f["name"] for f in daemon.asked("attach")[0]["schema"]["fields"]] == ["gyro"]
    assert [f["name"] for f in daemon.asked("attach")[1]["schema"]["fields"]] == ["data"]
    assert rec.start_recording(Imu(), VideoFile()).name == "Imu"


def test_what_gives_no_samples_is_refused_with_a_hint(rec: Recorder) -> None:
    """A camera object is told which of its methods to pass."""

    class Camera:
        def render(self) -> Any:
            return IMAGE

    with pytest.raises(OptionError, match=r"data_func is a Camera: .*read\(\)(.|\n)*camera\.render"):
        rec.start_recording(Camera(), VideoFile("a.mp4"))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="data_func is a int"):
        rec.start_recording(3, NPZFile("a.npz"))  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [(IMAGE, None, None, None), (None, IMAGE, None, None), [IMAGE][0]])
def test_of_a_cameras_tuple_the_first_picture_is_filmed(
    rec: Recorder, daemon: FakeDaemon, given: Any
) -> None:
    """``render()`` of a simulator gives (rgb, depth, segmentation, normal), None for what was not asked for."""
    rec.start_recording(lambda: given, VideoFile("a.mp4"))
    rec.step()
    (field,) = daemon.asked("attach")[0]["schema"]["fields"]
    assert (field["shape"], field["dtype"]) == ([32, 48, 3], "|u1")


def test_a_tuple_without_a_picture_is_an_error_that_names_the_stream(rec: Recorder) -> None:
    """Nothing but None is None; a file that is no video takes no part of a tuple by itself."""
    rec.start_recording(lambda: (None, None), VideoFile("a.mp4"))
    with pytest.raises(SchemaError, match=r"'a'.*returned None"):
        rec.step()
    rec.stop_recording()
    rec.start_recording(lambda: (IMAGE, None), NPZFile("b.npz"))
    with pytest.raises(SchemaError, match="'b'"):
        rec.step()
    with pytest.raises(SchemaError, match=r"(?s)'c': a video needs images, got a tuple of 2.*rgb, depth"):
        rec.stream("c", VideoFile("c.mp4")).write((IMAGE, None))


def test_a_data_func_that_changes_its_shape_is_named_and_the_stream_goes_on(
    rec: Recorder, daemon: FakeDaemon
) -> None:
    """The sample that differs is left out; error or warning say the stream, the field, and both shapes."""
    shapes = iter([2, 3, 2, 3, 2])
    rec.start_recording(lambda: np.zeros(next(shapes)), NPZFile("a.npz"))
    rec.step()
    with pytest.raises(SchemaError, match=r"'a'.*'data'.*\(2,\).*\(3,\)"):
        rec.step()
    rec.step()
    rec.stop_recording()
    rec.start_recording(lambda: np.zeros(next(shapes)), NPZFile("b.npz"), on_error="warn")
    rec.step()
    with pytest.warns(RuntimeWarning, match=r"'b'.*'data'"):
        rec.step()
    assert len(daemon.rings["a"].take()[0]) == 2


def test_an_error_of_another_stream_inside_a_data_func_names_the_one_that_was_asked(rec: Recorder) -> None:
    """A data_func that uses the recorder wrongly is a data_func that raised."""
    other = rec.stream("other", NPZFile("o.npz"), like=1.0)
    rec.start_recording(lambda: other.write("text"), NPZFile("a.npz"))
    with pytest.raises(DataFunctionError, match="'a': its data_func raised SchemaError"):
        rec.step()


def test_a_recording_begun_again_has_a_name_of_its_own(rec: Recorder) -> None:
    """An ended stream keeps its name and counters; while it is open, its name is taken."""
    first = rec.start_recording(lambda: 1.0, NPZFile("a.npz"), name="cam")
    rec.step()
    with pytest.raises(StreamExistsError, match="'cam'"):
        rec.start_recording(lambda: 1.0, NPZFile("b.npz"), name="cam")
    rec.stop_recording()
    again = rec.start_recording(lambda: 1.0, NPZFile("b.npz"), name="cam")
    rec.step()
    rec.stop_recording()
    third = rec.start_recording(lambda: 1.0, NPZFile("c.npz"), name="cam")
    assert [first.name, again.name, third.name] == ["cam", "cam_2", "cam_3"]
    with pytest.raises(StreamExistsError, match="'cam'"):
        rec.stream("cam", NPZFile("d.npz"))


def test_a_file_of_an_ended_recording_is_not_overwritten_unasked(rec: Recorder) -> None:
    """With ``overwrite="error"`` the message names the stream that wrote it; a file that never began is free."""
    rec.start_recording(lambda: 1.0, NPZFile("a.npz"), name="first")
    rec.stop_recording()  # without a sample
    rec.start_recording(lambda: 1.0, NPZFile("a.npz"), name="second")
    rec.step()
    rec.stop_recording()
    with pytest.raises(OutputExistsError, match=r"a\.npz was written by stream 'second'"):
        rec.start_recording(lambda: 1.0, NPZFile("a.npz"), name="third")


def test_a_stream_that_failed_leaves_the_names_of_files_as_they_were(daemon: FakeDaemon) -> None:
    """A file that one stream wrote and the failed one was to replace can be replaced by another."""
    with Recorder("run", overwrite="replace", autostart=False) as rec:
        rec.stream("first", NPZFile("a.npz"), like=1.0).close()
        with pytest.raises(SchemaError):
            rec.stream("second", NPZFile("a.npz"), like=object())
        rec.stream("third", NPZFile("a.npz"), like=1.0)


def test_a_data_func_may_start_and_stop_recordings(rec: Recorder) -> None:
    """What is begun inside a step is due at the next one; what is stopped is not asked again."""
    calls: list[str] = []

    def late() -> float:
        calls.append("late")
        return 1.0

    def first() -> float:
        calls.append("first")
        if len(calls) == 1:
            rec.start_recording(late, NPZFile("late.npz"))
        else:
            rec.stop_recording()
        return 1.0

    rec.start_recording(first, NPZFile("first.npz"), on_error="warn")
    rec.step()
    with pytest.warns(RuntimeWarning, match="'first'.*closed"):
        rec.step()
    rec.step()
    assert calls == ["first", "first"]
