"""Many viewers, stopped and killed ones among them: what is recorded is what was written, and nothing stays behind."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from benchmarks.watching.load import ONE_STOPPED, WATCHED, Simulation, five_viewers
from benchmarks.watching.viewers import PageServer, PageViewer, Viewer, maps_a_ring, tail

from recd.cli._common import connect
from recd.taps.stream import Live, StreamTap, find, live_streams
from recd_client import NPZFile, Recorder, VideoFile
from recd_client.shm import SHM_DIR
from recordings import npz, numbered, proved
from support import wait_until

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.requires("aiohttp", "PIL", "textual")]


def live(name: str) -> Live:
    """A stream that is being recorded."""
    caller = connect()
    try:
        return find(name, live_streams(caller.call("status")["sessions"]))
    finally:
        caller.close()


def mappings(name: str, pid: int | str = "self") -> list[str]:
    """How a process has mapped a stream's ring: permissions of each mapping."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if name in line]


@pytest.mark.parametrize("how", [WATCHED, ONE_STOPPED])
def test_with_many_streams_and_viewers_every_file_is_what_was_written(tmp_path: Path, how: str) -> None:
    """Streams and cameras, pages, tails and a top: nothing is refused or lost, each file is exactly what it should."""
    sim = Simulation(tmp_path, streams=20)
    sim.run(0.2)
    with five_viewers(20) as viewers:
        if how == ONE_STOPPED:
            viewers[0].stop()
        sim.run(1.5)
    summary, identical = sim.finish()
    assert (sim.refused, [s.lost_total for s in summary.streams.values() if s.lost_total]) == (0, [])
    assert identical == len(summary.streams) == 24
    proved(tmp_path)


@pytest.mark.parametrize("sign", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_viewers_of_each_kind_can_be_stopped_or_killed(tmp_path: Path, sign: signal.Signals) -> None:
    """Whoever stands still or dies, the server of pages too: the writer waits for nobody, the files are complete."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("s0", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        front = rec.stream("front", VideoFile("f.mp4"))
        state.write(np.zeros(10))
        front.write(numbered(0))
        server = PageServer()
        viewers: list[Viewer] = [server, PageViewer(server, series=10, cameras=1), tail("s0")]
        try:
            for viewer in reversed(viewers):
                viewer.ready()
            for viewer in viewers:
                viewer.process.send_signal(sign)
            for i in range(1, 3000):
                assert state.write(np.full(10, float(i)))
                if i % 100 == 0:
                    assert front.write(numbered(i // 100))
        finally:
            for viewer in viewers[1:]:
                viewer.close()
            Viewer.close(server)  # a stopped one hears of no SIGTERM
        PageServer().close()  # the next one takes its place
    told = proved(tmp_path)["streams"]
    assert (told["s0"]["samples"], told["s0"]["lost"]) == (3000, {})
    assert (told["front"]["samples"], told["front"]["lost"]) == (30, {})
    assert (npz(tmp_path / "s.npz")["data"][:, 0] == np.arange(3000)).all()


def test_a_tap_cannot_write_and_lets_go_with_the_last_look(tmp_path: Path) -> None:
    """Its mapping is read-only, the ring's name goes with the session, and so does the mapping once all was seen."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        stream.write(1.0)
        tap = StreamTap(live("s"))
        segment = tap._segment
        name = segment.name.strip("/")
        assert sorted(mappings(name)) == ["r--s", "rw-s"]  # the tap's and the simulation's
        with pytest.raises(TypeError, match="read"):
            segment.memory[0] = 1
        assert len(tap.take()) == 1
        stream.write(2.0)
    assert not (SHM_DIR / name).exists()
    assert tap.ended
    assert [batch.columns["data"].tolist() for batch in tap.take().batches] == [[2.0]]
    assert mappings(name) == []
    assert len(tap.take()) == 0
    assert not tap.moved
    assert tap._ring.word("next_seq") == 2  # its counters can still be read
    tap.close()


def test_an_open_page_does_not_keep_the_memory_of_a_recording_that_has_ended(tmp_path: Path) -> None:
    """A page may stay open for days; with the last of a stream its server lets go of the ring."""
    server = PageServer()
    try:
        with Recorder("walk", dir=tmp_path) as rec:
            rec.stream("s", NPZFile("s.npz")).write(np.zeros(3))
            page = PageViewer(server, series=3, cameras=0)
            try:
                page.ready()
                assert maps_a_ring(server.pid)
                assert {p for p in mappings("/dev/shm/recd-", server.pid) if "sem." not in p} == {"r--s"}
                rec.close()
                wait_until(lambda: not maps_a_ring(server.pid))
            finally:
                page.close()
    finally:
        server.close()
