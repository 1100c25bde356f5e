"""Whatever stands in shared memory or comes over the socket: at worst its own session is set aside, with a reason."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hostile import Victim, bystander, damage, mutations, session_of, supervisor
from killing import kill
from recd_client import CSVFile, Recorder, layout
from recd_client.control import LENGTH, MAX_MESSAGE_BYTES, Caller, encode
from recordings import proved, stopped, worker_of
from support import wait_until

# --- shared memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "behind", "for the successor"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_ring_harms_only_its_own_session(
    runtime: Path, tmp_path: Path, seed: int, when: str
) -> None:
    """Every word and header field damaged: the session ends with a beginning of the samples, and says why."""
    with bystander(tmp_path / "bystander", runtime) as go_on:
        for n, (name, mutate) in enumerate(mutations(seed)):
            victim = Victim(tmp_path / str(n))
            worker, ring = victim.worker, victim.ring
            with stopped(worker):  # what is written meanwhile waits in the ring
                if when == "before":
                    mutate(ring)
                victim.go_on()
                if when != "before":
                    mutate(ring)
                if when == "for the successor":
                    os.kill(worker, signal.SIGKILL)
            go_on()
            stream = victim.manifest()["streams"]["state"]
            rows = victim.rows()
            assert rows == [*range(len(rows))], name
            assert len(rows) >= 100, name  # what was flushed before is safe
            assert len(rows) == 200 or stream["reason"] or sum(stream["lost"].values()), (name, stream)


@pytest.mark.parametrize("size", [0, 4096, layout.DATA_OFFSET, layout.DATA_OFFSET + (32 << 10)])
def test_a_truncated_segment_costs_its_worker_and_no_more(runtime: Path, tmp_path: Path, size: int) -> None:
    """A worker that touches what is gone dies of SIGBUS; its successor says why, and finishes what was logged."""
    with bystander(tmp_path / "bystander", runtime) as go_on:
        victim = Victim(tmp_path / "victim")
        first = victim.worker
        os.truncate(victim.ring, size)
        victim.go_on()
        go_on()
        stream = victim.manifest()["streams"]["state"]
        rows = victim.rows()
        assert rows == [*range(len(rows))]
        assert len(rows) >= 100
        if size < layout.DATA_OFFSET:  # the pages that the worker looks at all the time
            assert not Path(f"/proc/{first}").exists()
            assert not stream["complete"]
            assert "bytes" in stream["reason"] or "sizes" in stream["reason"], stream


def test_the_reason_is_told_while_the_recording_goes_on(runtime: Path, tmp_path: Path) -> None:
    """``recd status`` names the stream and the reason for as long as the session lives; its other stream records."""
    rec = Recorder("two", dir=tmp_path, dt=0.1)
    good, bad = (rec.stream(name, CSVFile(f"{name}.csv")) for name in ("good", "bad"))
    for i in range(10):
        good.write({"i": i})
        bad.write({"i": i})
    rec.flush(timeout=30)
    (ring,) = Path("/dev/shm").glob(f"recd-*-{rec.session}-1")
    damage(ring, layout.PRODUCER["head"], (1 << 62).to_bytes(8, "little"))
    told = wait_until(lambda: (s := session_of(runtime, tmp_path))["state"] == "damaged" and s)
    assert "head" in told["reason"]
    kill(worker_of(rec))
    assert wait_until(lambda: (s := session_of(runtime, tmp_path))["state"] == "damaged" and s)["reason"]
    for i in range(10, 20):
        good.write({"i": i})
    summary = rec.close(timeout=60)
    assert not summary.complete
    assert len((tmp_path / "good.csv").read_text().splitlines()) == 21
    shown = subprocess.run([sys.executable, "-m", "recd", "info", tmp_path], capture_output=True, text=True)
    assert "damaged" in shown.stdout


# --- a ring that kills its worker -----------------------------------------------------------------

#: In every interpreter of the daemon: the stream "bad" kills the worker that drains it, as often as asked.
_KILLER = """
import os, signal, sys
if "recd" in " ".join(sys.orig_argv):
    import recd.track

    real = recd.track.Track.drain

    def drain(self):
        path, how = os.environ["KILLER"], os.environ["KILLER_HOW"]
        if self.name == "bad" and self.ring is not None and self.ring.has_news() and os.path.getsize(path) > 0:
            os.truncate(path, os.path.getsize(path) - 1)
            if how == "error":
                raise ZeroDivisionError("on purpose")
            os.kill(os.getpid(), getattr(signal, how))
            signal.pause()
        return real(self)

    recd.track.Track.drain = drain
"""


@pytest.fixture
def killer(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Prepare a daemon in which draining the stream ``bad`` kills the worker, so many times."""

    def prepare(how: str, times: int) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(_KILLER)
        (tmp_path / "left").write_bytes(bytes(times))
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
            patch.setenv("KILLER", str(tmp_path / "left"))
            patch.setenv("KILLER_HOW", how)
            subprocess.run([sys.executable, "-m", "recd", "start"], check=True, stdout=subprocess.DEVNULL)

    return prepare


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGBUS", "error"])
def test_a_ring_that_kills_its_worker_again_and_again_is_set_aside(
    runtime: Path, tmp_path: Path, killer: Callable[[str, int], None], how: str
) -> None:
    """After the third crash the ring is left alone, with the reason; the session ends, its other stream is whole."""
    killer(how, 1000)
    out = tmp_path / "out"
    rec = Recorder("crash", dir=out, dt=0.1)
    good, bad = (rec.stream(name, CSVFile(f"{name}.csv"), overflow="block") for name in ("good", "bad"))
    for i in range(50):
        good.write({"i": i})
        bad.write({"i": i})
    told = wait_until(lambda: (s := session_of(runtime, out))["state"] == "damaged" and s)
    assert "crashed 3 times" in told["reason"]
    for i in range(50, 100):
        good.write({"i": i})
    summary = rec.close(timeout=60)
    assert not summary.complete
    assert summary.streams["good"].state == "complete"
    assert "crashed 3 times" in summary.streams["bad"].reason
    assert len((out / "good.csv").read_text().splitlines()) == 101
    assert 1000 - (tmp_path / "left").stat().st_size == 3


@pytest.mark.parametrize(("how", "times"), [("SIGKILL", 4), ("SIGSEGV", 2), ("error", 2)])
def test_a_ring_that_is_not_to_blame_is_kept(
    runtime: Path, tmp_path: Path, killer: Callable[[str, int], None], how: str, times: int
) -> None:
    """Kills from outside, however many over the same ring, and fewer crashes than three lose nothing."""
    killer(how, times)
    out = tmp_path / "out"
    with Recorder("kept", dir=out, dt=0.1) as rec:
        bad = rec.stream("bad", CSVFile("bad.csv"), overflow="block")
        for i in range(200):
            bad.write({"i": i})
    assert proved(out)["streams"]["bad"]["samples"] == 200
    assert (tmp_path / "left").stat().st_size == 0


# --- the socket -----------------------------------------------------------------------------------


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def connected(runtime: Path) -> socket.socket:
    """A connection on which nothing was said."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(runtime / "recd.sock"))  # blocking: waits while too many wait to be accepted
    sock.settimeout(30.0)
    return sock


def hello(number: int = 1) -> bytes:
    """A greeting."""
    return encode({"id": number, "op": "hello", "protocol": [1, 0], "role": "client", "version": "0"})


GARBAGE = {
    "noise": os.urandom(4000),
    "zeros": bytes(4000),
    "oversized": LENGTH.pack(MAX_MESSAGE_BYTES + 1) + b"x",
    "4 GiB": LENGTH.pack((1 << 32) - 1),
    "no JSON": LENGTH.pack(4) + b"nope",
    "no object": LENGTH.pack(2) + b"[]",
    "nested": LENGTH.pack(200_000) + b"[" * 200_000,
    "half a length": b"\x01",
    "half a message": LENGTH.pack(100) + b"{",
    "a request first": encode({"id": 1, "op": "stop"}),
    "unknown": hello() + encode({"id": 2, "op": "explode"}),
    "wrong types": hello() + encode({"id": "x", "op": ["open"], "session": {}}),
    "join as worker": hello() + encode({"id": 2, "op": "join", "session": "x", "group": "main"}),
    "open nothing": hello() + encode({"id": 2, "op": "open"}),
    "attach nowhere": hello() + encode({"id": 2, "op": "attach", "session": "x", "stream": "y"}),
    "two in one": hello() + encode({"id": 2, "op": "status"}) * 50,
}


def test_nothing_on_the_socket_disturbs_a_recording(runtime: Path, tmp_path: Path) -> None:
    """Garbage of every kind, whole and in halves, hung up or waited for: recording goes on, no descriptor is lost."""
    with bystander(tmp_path / "bystander", runtime) as go_on:
        daemon = supervisor(runtime)
        baseline = descriptors(daemon)
        for data in GARBAGE.values():
            for part in (data, data[: len(data) // 2]):
                with connected(runtime) as sock:
                    sock.sendall(part)
                with connected(runtime) as sock:
                    sock.sendall(part)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(1 << 16):
                        continue
                go_on()
        wait_until(lambda: descriptors(daemon) <= baseline)


def test_a_thousand_half_open_connections_are_survived(runtime: Path, tmp_path: Path) -> None:
    """While they are open, recordings begin, go on and end; afterwards every descriptor is back."""
    with bystander(tmp_path / "bystander", runtime) as go_on:
        daemon = supervisor(runtime)
        baseline = descriptors(daemon)
        crowd = [connected(runtime) for _ in range(1000)]
        for sock in crowd[::3]:
            sock.sendall(hello()[:7])
        go_on()
        with Recorder("beside", dir=tmp_path / "beside", dt=0.1) as rec:
            rec.stream("state", CSVFile("state.csv")).write({"i": 1})
        proved(tmp_path / "beside")
        for sock in crowd:
            sock.close()
        wait_until(lambda: descriptors(daemon) <= baseline)


def test_a_flood_of_requests_starves_nobody(runtime: Path, tmp_path: Path) -> None:
    """Peers that ask without end, and never read an answer, cost themselves their answers and nobody else anything."""
    with bystander(tmp_path / "bystander", runtime) as go_on:
        daemon = supervisor(runtime)
        baseline = descriptors(daemon)
        flood = []
        for _ in range(8):
            sock = connected(runtime)
            sock.setblocking(False)
            data = memoryview(hello() + encode({"id": 2, "op": "status"}) * 20_000)
            with suppress(BlockingIOError):  # their answers are not read: they are no longer listened to
                while data:
                    data = data[sock.send(data) :]
            flood.append(sock)
        go_on()
        caller = Caller(runtime / "recd.sock", role="cli")
        assert caller.call("status", timeout_s=30.0)["sessions"]
        caller.close()
        for sock in flood:
            sock.close()
        wait_until(lambda: descriptors(daemon) <= baseline)


def test_more_connections_than_allowed_are_refused_with_the_limit(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit a client hears which one it was; those far beyond are hung up on; one less, and all is well."""
    monkeypatch.setenv("RECD_MAX_CONNECTIONS", "20")
    with bystander(tmp_path / "bystander", runtime) as go_on:
        crowd = [connected(runtime) for _ in range(18)]
        with connected(runtime) as sock:
            sock.sendall(hello())
            answer = b""
            while b"}}" not in answer and (got := sock.recv(4096)):
                answer += got
        assert b"RECD_MAX_CONNECTIONS allows 20 connections" in answer
        go_on()
        crowd += [connected(runtime) for _ in range(200)]
        assert any(sock.recv(1) == b"" for sock in crowd[-10:])
        for sock in crowd:
            sock.close()

        def free() -> bool:
            try:
                return supervisor(runtime) > 0
            except ConnectionError:
                return False

        wait_until(free)
