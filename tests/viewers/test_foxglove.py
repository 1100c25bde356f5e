"""``recd ui --foxglove``: viewers get what is being recorded, and nobody who records notices."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import NPZFile, NullSink, Recorder
from recordings import npz
from serving import PATIENCE_S, Served
from support import FIND, wait_until
from viewing import Viewer, serving, viewer

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.requires("foxglove", "aiohttp", "PIL")]


def look(served: Served, do: Callable[[Viewer], Coroutine[Any, Any, None]]) -> None:
    """Do something as a viewer."""

    async def run() -> None:
        async with viewer(served.url) as eye:
            await do(eye)

    asyncio.run(run())


@asynccontextmanager
async def inside(**options: Any) -> AsyncIterator[Any]:
    """A server in this process and loop, whose counters can be read."""
    from recd.foxglove.options import Options
    from recd.foxglove.server import Server

    ended = asyncio.Event()
    server = Server("127.0.0.1", 0, Options(**options))
    task = asyncio.create_task(server.run(ended))
    try:
        yield server
    finally:
        ended.set()
        await task
        assert server.stop()


async def until(condition: Callable[[], Any]) -> None:
    """Like ``wait_until``, while the loop goes on."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# --- what is shown ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ros2", "json"])
def test_a_viewer_gets_every_sample_as_it_was_written(tmp_path: Path, encoding: str) -> None:
    """Values, numbers, stream times and the wall times of the writes, beginning with the newest there is."""
    values = np.random.default_rng(0).normal(size=(40, 3))
    with Recorder("walk", dir=tmp_path) as rec, serving("--encoding", encoding, "--hz", "1000") as served:
        stream = rec.stream("state", NPZFile("s.npz"), units={"q": "rad"})
        for i in range(10):
            stream.write({"q": values[i], "name": f"n{i}"}, t=i / 10)
        begun_ns = time.time_ns()

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/state")
            assert "rad" in eye.channels["/walk/state"]["schema"]
            got = [await eye.message("/walk/state")]
            assert got[0].data["seq"] == 9
            assert got[0].time_ns <= begun_ns
            for i in range(10, 40):
                stream.write({"q": values[i], "name": f"n{i}"}, t=i / 10)
            got += [await eye.message("/walk/state") for _ in range(30)]
            assert [m.data["seq"] for m in got] == list(range(9, 40))
            assert [m.data["t"] for m in got] == [i / 10 for i in range(9, 40)]
            assert np.array_equal([m.data["q"] for m in got], values[9:])
            assert [m.data["name"] for m in got] == [f"n{i}" for i in range(9, 40)]
            times = [m.time_ns for m in got]
            assert times == sorted(times)
            assert begun_ns < times[1] <= times[-1] < time.time_ns()

        look(served, do)
    assert np.array_equal(npz(tmp_path / "s.npz")["q"], values)


def test_pictures_arrive_as_they_look(tmp_path: Path) -> None:
    """Colours as a JPEG of the same size, depth as numbers, each the picture of its own time."""
    from PIL import Image

    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32] = (250, 20, 30)
    rgb[:, 32:] = (10, 40, 240)
    depth = np.linspace(0.5, 9, 48 * 64, dtype=np.float32).reshape(48, 64)
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        camera, both = rec.stream("camera", NullSink()), rec.stream("both", NullSink())
        camera.write(rgb, t=1.5)
        both.write({"depth": depth, "mm": (depth * 1000).astype(np.uint16), "n": 3}, t=2.5)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/camera")
            got = await eye.message("/walk/camera")
            assert got.data["format"] == b"jpeg"
            seen = np.asarray(Image.open(io.BytesIO(got.data["data"])))
            assert seen.shape == rgb.shape
            assert np.abs(seen.astype(int) - rgb)[:, [5, 58]].max() < 12
            await eye.see("/walk/both/depth")
            raw = await eye.on("/walk/both/depth")
            assert (raw["width"], raw["height"], raw["step"], raw["encoding"]) == (64, 48, 256, b"32FC1")
            assert np.array_equal(np.frombuffer(raw["data"], np.float32).reshape(48, 64), depth)
            await eye.see("/walk/both/mm")
            raw = await eye.on("/walk/both/mm")
            assert (raw["encoding"], raw["step"]) == (b"16UC1", 128)
            await eye.see("/walk/both")
            assert (await eye.on("/walk/both"))["n"] == 3

        look(served, do)


def test_pictures_can_be_had_raw(tmp_path: Path) -> None:
    """With --raw, colours come bit for bit."""
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with Recorder("walk", dir=tmp_path) as rec, serving("--raw") as served:
        rec.stream("camera", NullSink()).write(rgb)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/camera")
            raw = await eye.on("/walk/camera")
            assert raw["encoding"] == b"rgb8"
            assert raw["data"] == rgb.tobytes()

        look(served, do)


def test_marks_and_resets_are_told_once(tmp_path: Path) -> None:
    """They stand in the rings of all streams, and come as one message; those of before are not told."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        a, b = rec.stream("a", NullSink()), rec.stream("b", NullSink())
        a.write(0.0, t=0.0)
        b.write(0.0, t=0.0)
        rec.mark("before anybody looked")

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/events", "/walk/a")
            await eye.message("/walk/a")  # the rings are being read
            await eye.until(lambda: "/walk/b" in eye.channels)
            rec.mark("grasped", hand="left")
            got = await eye.message("/walk/events")
            assert got.data["message"].startswith(b'mark grasped hand="left"  t=')
            assert got.data["level"] == 2
            rec.reset()
            assert (await eye.on("/walk/events"))["message"].startswith(b"reset")
            rec.mark("last")
            assert (await eye.on("/walk/events"))["message"].startswith(b"mark last")

        look(served, do)


def test_what_the_daemon_tells_of_a_session_becomes_log_messages() -> None:
    """Losses by cause with what is new of them, alerts as warnings, marks from outside once, trouble as an error."""
    from recd.foxglove.events import Events
    from recd.foxglove.options import Options
    from viewing import _FIELDS, from_protobuf

    class Output:
        wanted = True

        def __init__(self) -> None:
            self.sent: list[tuple[int, bytes, bytes]] = []

        def send(self, message: Any, time_ns: int) -> None:
            data = from_protobuf(_FIELDS["foxglove.Log"], message.encode())
            self.sent.append((data["level"], data["name"], data["message"]))

    output = Output()
    events = Events(output, "walk", Options(), 0)  # type: ignore[arg-type]
    session: dict[str, Any] = {
        "state": "recording", "reason": "", "streams": [{"stream": "a", "lost": {"full": 0}}],
    }  # fmt: skip
    events.status(session)
    assert output.sent == []
    mark = {
        "n": 0,
        "label": "slipped",
        "fields": {},
        "stream": None,
        "t": None,
        "mono_ns": 5,
        "source": "outside",
    }
    alert = {**mark, "n": 1, "label": "low", "fields": {"z": 0.1}, "stream": "a", "t": 2.0, "source": "alert"}
    later = {
        **session, "state": "stalled", "reason": "no room",
        "streams": [{"stream": "a", "lost": {"full": 7}}], "marks": [mark, alert],
    }  # fmt: skip
    events.status(later)
    events.status(later)
    assert output.sent == [
        (3, b"walk/a", b"a: 7 samples lost (full), 7 in all"),
        (2, b"walk", b"mark slipped"),
        (3, b"walk/a", b"alert low z=0.1  t=2"),
        (4, b"walk", b"stalled: no room"),
    ]


def test_stream_time_can_be_the_time_of_messages(tmp_path: Path) -> None:
    """With --time sim, messages carry stream time, and the server's clock follows it."""
    with Recorder("walk", dir=tmp_path) as rec, serving("--time", "sim") as served:
        stream = rec.stream("state", NullSink())
        stream.write(1.0, t=12.5)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/state")
            assert eye.info["capabilities"] == ["time"]
            assert (await eye.message("/walk/state")).time_ns == 12_500_000_000
            stream.write(2.0, t=13.0)
            await eye.until(lambda: eye.info.get("time_ns") == 13_000_000_000)

        look(served, do)


# --- what comes and goes ------------------------------------------------------------------------------


def test_streams_come_and_go_and_runs_of_one_name_stay_apart(tmp_path: Path) -> None:
    """A stream that begins is advertised, one that ended no longer; a second run of that name has topics of its own."""
    with serving() as served:

        async def do(eye: Viewer) -> None:
            with Recorder("walk", dir=tmp_path / "1") as first:
                one = first.stream("state", NullSink())
                one.write(1.0)
                await eye.see("/walk/state")
                assert (await eye.on("/walk/state"))["data"] == 1
                with Recorder("walk", dir=tmp_path / "2") as second:
                    second.stream("state", NullSink()).write(2.0)
                    await eye.until(lambda: len(eye.channels) == 4)
                    (other,) = (t for t in eye.channels if t.endswith("/state") and t != "/walk/state")
                    assert other.startswith("/walk-20")
                    await eye.see(other)
                    assert (await eye.on(other))["data"] == 2
                    one.write(3.0)
                    assert (await eye.on("/walk/state"))["data"] == 3
                    one.close()
                    await eye.until(lambda: eye.gone == ["/walk/state"])
            await eye.until(lambda: not eye.channels)

        look(served, do)


def test_a_stream_called_events_keeps_its_samples(tmp_path: Path) -> None:
    """Topics never collide."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        rec.stream("events", NullSink()).write(1.0)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/events_2")
            assert (await eye.on("/walk/events_2"))["data"] == 1

        look(served, do)


def test_two_hundred_streams_that_begin_at_once_do_not_end_the_connection(tmp_path: Path) -> None:
    """What is told of them goes out in portions: more at once overflow the SDK's queue, and it hangs up."""
    with Recorder("many", dir=tmp_path) as rec, serving() as served:

        async def do(eye: Viewer) -> None:
            await eye.until(lambda: eye.info)
            for i in range(200):
                rec.stream(f"s{i}", NullSink()).write(float(i))
            await eye.until(lambda: len(eye.channels) == 201)
            await eye.see("/many/s123")
            assert (await eye.on("/many/s123"))["data"] == 123

        look(served, do)


def test_a_daemon_that_begins_anew_is_not_noticed_by_viewers(tmp_path: Path) -> None:
    """A subscription goes on while the supervisor is killed and replaced."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        stream = rec.stream("state", NullSink())
        stream.write(0.0)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/state")
            await eye.on("/walk/state")
            pid = json.loads(recd("status", "--json").stdout)["daemon"]["pid"]
            os.kill(pid, signal.SIGKILL)
            for i in range(1, 4):
                stream.write(float(i))
                assert (await eye.on("/walk/state"))["data"] == i
            wait_until(lambda: recd("status", "--json").returncode == 0)
            rec.stream("another", NullSink()).write(7.0)
            await eye.see("/walk/another")
            assert (await eye.on("/walk/another"))["data"] == 7
            assert eye.gone == []

        look(served, do)


# --- what it costs ------------------------------------------------------------------------------------


def test_what_nobody_subscribed_to_is_neither_read_nor_sent(tmp_path: Path) -> None:
    """Rings are read for subscribers alone, and again not after the last one left."""

    async def run(rec: Recorder) -> None:
        a, b = rec.stream("a", NullSink()), rec.stream("b", NullSink())
        async with inside() as server, viewer(f"ws://127.0.0.1:{server.port}") as eye:
            a.write(0.0)
            b.write(0.0)
            await eye.see("/walk/a")
            await eye.until(lambda: "/walk/b" in eye.channels)
            for i in range(1, 10):
                a.write(float(i))
                b.write(float(i))
                while (await eye.on("/walk/a"))["data"] != i:
                    pass
            by_name = {s.live.stream: s for s in server.streams.values()}
            assert by_name["a"].looks >= 9
            assert by_name["b"].looks == 0
            assert [o.sent for o in by_name["b"].outputs] == [0]
            await eye.leave("/walk/a")
            await until(lambda: not any(o.viewers for o in by_name["a"].outputs))
            looks = by_name["a"].looks
            a.write(10.0)
            await eye.see("/walk/b")
            assert (await eye.on("/walk/b"))["data"] == 9
            assert by_name["a"].looks == looks

    with Recorder("walk", dir=tmp_path) as rec:
        asyncio.run(run(rec))


def test_a_second_viewer_gets_the_newest_sample_of_a_stream_that_stands_still(tmp_path: Path) -> None:
    """Whoever subscribes sees something, although nothing is written any more."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        rec.stream("state", NullSink()).write(5.0)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/state")
            assert (await eye.on("/walk/state"))["data"] == 5
            async with viewer(served.url) as other:
                await other.see("/walk/state")
                assert (await other.on("/walk/state"))["data"] == 5

        look(served, do)


def test_a_viewer_that_stops_reading_changes_nothing_for_anybody(tmp_path: Path) -> None:
    """Its messages are dropped, not kept: memory stays, another viewer and the recording go on whole."""
    frames, size = 400, 256  # 256 KiB each
    stopped = subprocess.Popen(
        [sys.executable, "-c", FIND + _STOPPED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with Recorder("walk", dir=tmp_path) as rec, serving("--hz", "1000") as served:
            camera = rec.stream("camera", NullSink())
            state = rec.stream("state", NPZFile("s.npz"))
            camera.write(np.zeros((size, size), np.float32), t=0.0)
            state.write(0.0)
            assert stopped.stdin is not None
            assert stopped.stdout is not None
            stopped.stdin.write(f"{served.url}\n")
            stopped.stdin.flush()
            assert stopped.stdout.readline() == "subscribed\n"
            stopped.send_signal(signal.SIGSTOP)

            async def do(eye: Viewer) -> None:
                await eye.see("/walk/camera", "/walk/state")
                memory = []
                for i in range(1, frames):
                    camera.write(np.full((size, size), i, np.float32))
                    state.write(float(i))
                    while np.frombuffer((await eye.on("/walk/camera"))["data"], np.float32)[0] != i:
                        pass
                    memory.append(_memory_bytes(served.process.pid))
                # By then its queue is full; without a bound it would be 50 MiB more.
                assert memory[-1] - memory[200] < 20 << 20

            look(served, do)
            served.process.terminate()
            assert served.process.wait(PATIENCE_S) == 0  # it does not wait for that viewer to say goodbye
    finally:
        stopped.kill()
        stopped.communicate()
    assert npz(tmp_path / "s.npz")["data"].tolist() == list(range(frames))


_STOPPED = """
import asyncio
from viewing import viewer

async def run():
    async with viewer(input()) as eye:
        await eye.see("/walk/camera", "/walk/state")
        await eye.on("/walk/camera")
        print("subscribed", flush=True)
        await asyncio.sleep(1000)

asyncio.run(run())
"""


def _memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- who may look, and errors -------------------------------------------------------------------------


def recd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    command = [sys.executable, "-m", "recd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    """It names the port, and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = recd("ui", "--foxglove", "--port", port)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Address already in use" in done.stderr
    assert "--port" in done.stderr


def test_other_machines_are_only_served_when_that_is_said(tmp_path: Path) -> None:
    """The protocol knows no token: a host that others reach is refused, with the way by ssh, unless --no-token."""
    done = recd("ui", "--foxglove", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "no token" in done.stderr
    assert "ssh -N -L 8765:127.0.0.1:8765" in done.stderr
    with serving("--host", "0.0.0.0", "--no-token") as served:
        port = served.url.rpartition(":")[2]
        served.url = f"ws://127.0.0.1:{port}"

        async def do(eye: Viewer) -> None:
            await eye.until(lambda: eye.info)

        look(served, do)


def test_its_options_are_refused_without_it() -> None:
    """An option that would do nothing is an error."""
    for arguments in (["--hz", "5"], ["--time", "sim"], ["--encoding", "json"], ["--raw"], ["--no-token"]):
        done = recd("ui", *arguments)
        assert done.returncode == 2
        assert f"{arguments[0]} is for --foxglove" in done.stderr
    assert "--url" in recd("ui", "--foxglove", "--url").stderr


def test_it_ends_with_a_signal_while_somebody_looks(tmp_path: Path) -> None:
    """SIGINT ends the server with code 0 and closes the viewers' connections."""
    with Recorder("walk", dir=tmp_path) as rec, serving() as served:
        rec.stream("state", NullSink()).write(1.0)

        async def do(eye: Viewer) -> None:
            await eye.see("/walk/state")
            await eye.on("/walk/state")
            served.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(served.process.wait, PATIENCE_S) == 0

        look(served, do)
