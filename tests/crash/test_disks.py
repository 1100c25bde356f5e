"""Disks that fail while a daemon records: full, read-only, gone; and an ffmpeg that hangs."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disks import Disk, private, refused, small_disk
from killing import Simulation, check_files, daemon_pid, kill, kill_all, wait_for_manifest
from recd import index
from recd_client import CSVFile, DataLossWarning, NPZFile, Recorder, Stream, VideoFile, shm
from recordings import csv_numbers, manifest_of, npz, numbered, numbers, proved, stopped, worker_of
from support import processes_of, wait_until

pytestmark = pytest.mark.requires("unshare")

SAMPLE = np.zeros(32)  # a record of 320 bytes
SMALL = 16_000
#: How a full disk is told, by the daemon's own care for it or by the system.
FULL = ("of disk left", os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(runtime: Path) -> Iterator[Disk]:
    """A small file system; the daemon, which is stopped after it is gone, must not need it."""
    with small_disk() as disk:
        yield disk


def recd(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """What the command line says."""
    done = subprocess.run(
        [sys.executable, "-m", "recd", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(rec: Recorder) -> dict[str, Any]:
    """What ``recd status`` says of one recording."""
    (found,) = [s for s in json.loads(recd("status", "--json"))["sessions"] if s["session"] == rec.session]
    return dict(found)


class Feed:
    """Writes numbered samples, and keeps the numbers of those that were taken."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.at = 0
        self.kept: list[int] = []

    def one(self) -> None:
        """One sample."""
        self.kept += [self.at] if self.stream.write(np.full(32, float(self.at)), t=float(self.at)) else []
        self.at += 1

    def some(self, n: int = 20) -> None:
        """Some samples."""
        for _ in range(n):
            self.one()

    def until_stalled(self) -> None:
        """Until the stream has lost something because nothing can be stored."""
        before = self.stream.stats["lost"]["full"]

        def lost() -> bool:
            self.one()
            stats = self.stream.stats
            return stats["state"] == "stalled" and stats["lost"]["full"] > before + 10

        wait_until(lost)

    def until_stored(self) -> None:
        """Until the stream is stored again."""
        wait_until(lambda: self.stream.stats["state"] == "recording")


def check(directory: Path, feed: Feed) -> dict[str, Any]:
    """The files have what was taken, the manifest tells the rest; what it says of the stream."""
    told = dict(proved(directory)["streams"]["s"])
    lost = {"full": feed.at - len(feed.kept)} if feed.at > len(feed.kept) else {}
    assert (told["attempted"], told["samples"], told["lost"]) == (feed.at, len(feed.kept), lost)
    assert npz(directory / "s.npz")["data"][:, 0].tolist() == feed.kept
    assert csv_numbers(directory / "s.csv")[:, 1].tolist() == feed.kept
    return told


def begin(directory: Path) -> tuple[Recorder, Feed]:
    """A recording with a small ring and two files, and some samples in it."""
    rec = Recorder(dir=directory)
    feed = Feed(rec.stream("s", NPZFile("s.npz"), CSVFile("s.csv"), like=SAMPLE, buffer_bytes=SMALL))
    feed.some()
    rec.flush()
    return rec, feed


def test_a_full_disk_costs_what_is_counted_and_nothing_else(disk: Disk, runtime: Path) -> None:
    """The simulation is not held up, is told why without asking anybody, and all goes on once there is room."""
    rec, feed = begin(disk.path / "run")
    for _ in range(2):
        disk.fill()
        with stopped(daemon_pid(runtime)):  # no word comes from there
            feed.until_stalled()
            stats = feed.stream.stats
        assert any(why in stats["reason"] for why in FULL)
        assert stats["blocked_s"] == 0
        said = recd("status")
        assert "/ s: stalled: " in said
        assert any(why in said for why in FULL)
        assert "remove the cause; recording then goes on by itself" in said
        disk.free()
        feed.until_stored()
        feed.some()
        rec.flush()
    with pytest.warns(DataLossWarning):
        rec.close()
    told = check(disk.path / "run", feed)
    assert told["stalls"]["count"] in (1, 2)  # two within a second are one
    for stall in told["stalls"]["newest"]:
        assert any(why in stall["reason"] for why in FULL)
        assert stall["begin_wall_ns"] < stall["end_wall_ns"]


def test_a_full_disk_holds_up_a_video_that_blocks_and_costs_no_frame(disk: Disk) -> None:
    """With ``overflow="block"`` the writer waits while the disk is full; then every frame is in the video."""
    n = 400
    with Recorder(dir=disk.path / "run") as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=30), overflow="block", buffer_bytes=200_000)
        for i in range(40):
            film.write(numbered(i), t=i / 30)
        rec.flush()
        disk.fill()
        writer = threading.Thread(target=lambda: [film.write(numbered(i), t=i / 30) for i in range(40, n)])
        writer.start()
        wait_until(lambda: film.stats["state"] == "stalled")
        (stream,) = status(rec)["streams"]
        assert any(why in stream["reason"] for why in FULL)
        disk.free()
        writer.join()
    told = proved(disk.path / "run")["streams"]["film"]
    assert (told["samples"], told["lost"]) == (n, {})
    assert told["stalls"]["count"] >= 1
    assert numbers(disk.path / "run" / "film.mp4") == [i % 40 for i in range(n)]


# --- the directory is gone ----------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", ".recd"])
def test_a_directory_that_was_moved_away_is_missed_until_it_is_back(
    tmp_path: Path, runtime: Path, inside: str
) -> None:
    """The stream stalls and says why, its worker lives on, other recordings notice nothing, and it goes on."""
    run = tmp_path / "run"
    rec, feed = begin(run)
    with Recorder(dir=tmp_path / "other") as other:
        pid = worker_of(rec)
        calm = Feed(other.stream("s", NPZFile("s.npz"), CSVFile("s.csv"), like=SAMPLE))
        (run / inside).rename(tmp_path / "away")
        feed.until_stalled()
        calm.some(1000)
        other.flush()
        said = status(rec)
        assert said["state"] == "stalled"
        assert os.strerror(errno.ENOENT) in said["reason"]
        assert str(run) in said["reason"]
        (tmp_path / "away").rename(run / inside)
        feed.until_stored()
        assert worker_of(rec) == pid
        feed.some()
    with pytest.warns(DataLossWarning):
        rec.close()
    check(run, feed)
    assert check(tmp_path / "other", calm)["lost"] == {}


def test_a_worker_that_dies_while_the_directory_is_away_has_a_successor_once_it_is_back(
    tmp_path: Path, runtime: Path
) -> None:
    """Without its directory nobody can go on, and the session is not given up; then all is there."""
    run = tmp_path / "run"
    rec, feed = begin(run)
    pid = worker_of(rec)
    run.rename(tmp_path / "away")
    feed.some()
    kill(pid)
    wait_until(lambda: status(rec)["state"] == "failed")
    assert status(rec)["reason"] == f"group main: No such file or directory: {run}/.recd/{rec.session}"
    stats = feed.stream.stats
    assert (stats["state"], stats["reason"]) == ("stalled", os.strerror(errno.ENOENT))
    feed.some(500)
    (tmp_path / "away").rename(run)
    wait_until(lambda: status(rec)["state"] == "recording")
    with pytest.warns(DataLossWarning):
        rec.close()
    check(run, feed)


def test_a_daemon_that_starts_while_the_directory_is_away_takes_it_up_once_it_is_back(
    tmp_path: Path, runtime: Path
) -> None:
    """As with a disk that is mounted late: status tells what is missing and what to do, then all is there."""
    run = tmp_path / "run"
    rec, feed = begin(run)
    recd("stop", "--timeout", "5", codes=(1,))
    run.rename(tmp_path / "away")
    recd("start")
    wait_until(lambda: status(rec)["state"] == "failed")
    said = recd("status")
    assert f"no session {rec.session} in" in said
    assert "bring its directory back; or, if it was deleted, forget it: rm " in said
    feed.some()
    (tmp_path / "away").rename(run)
    wait_until(lambda: status(rec)["state"] == "recording")
    rec.close()
    check(run, feed)


def test_a_recording_that_was_deleted_goes_on_from_its_copy(tmp_path: Path, runtime: Path) -> None:
    """What came since the copy was made is lost, and counted; the worker does not go on with files that are gone."""
    run = tmp_path / "run"
    rec, feed = begin(run)
    copied = feed.at
    shutil.copytree(run, tmp_path / "copy")
    feed.some(30)
    rec.flush()
    shutil.rmtree(run)
    wait_until(lambda: feed.stream.stats["reason"] == os.strerror(errno.ENOENT))
    lost = feed.at
    feed.some(10)
    (tmp_path / "copy").rename(run)
    feed.until_stored()
    feed.some(10)
    with pytest.warns(DataLossWarning):
        summary = rec.close()
    assert not summary.complete
    told = manifest_of(run)["streams"]["s"]
    assert (told["attempted"], told["samples"]) == (feed.at, feed.at - (lost - copied))
    assert told["lost"] == {"log_damaged": lost - copied}
    left = [*range(copied), *range(lost, feed.at)]
    assert npz(run / "s.npz")["data"][:, 0].tolist() == left
    assert csv_numbers(run / "s.csv")[:, 1].tolist() == left


def test_a_recording_that_was_deleted_is_told_until_its_index_entry_is_removed(
    tmp_path: Path, runtime: Path
) -> None:
    """Nothing brings it back: the daemon stalls, stops in time, and looks for it as long as it shall."""
    rec, feed = begin(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    feed.until_stalled()
    recd("stop", "--timeout", "5", codes=(1,))
    recd("start")
    wait_until(lambda: status(rec)["state"] == "failed")
    index.remove(rec.session)
    wait_until(lambda: not json.loads(recd("status", "--json"))["sessions"])
    with pytest.warns(DataLossWarning):
        assert not rec.close(timeout=1.0).complete
    shm.unlink_session(shm.runtime_tag(runtime), rec.session)


# --- an ffmpeg that hangs -----------------------------------------------------------------------------


def hung_encoder(runtime: Path) -> int:
    """The one ffmpeg, which does nothing from now on; only SIGKILL ends it."""
    pid = wait_until(lambda: next(iter(encoding(runtime)), 0))
    os.kill(pid, signal.SIGSTOP)
    return pid


def encoding(runtime: Path) -> list[int]:
    """Pids of the ffmpeg processes that write a film; others are only asked what they can do."""
    return [pid for pid, command in processes_of(runtime).items() if "film.part" in command]


def test_an_ffmpeg_that_hangs_is_replaced_and_costs_no_frame(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in mid-run, it is killed after a while, and another one encodes what it did not."""
    monkeypatch.setenv("RECD_FFMPEG_PATIENCE_S", "0.5")
    n = 400
    with Recorder(dir=tmp_path) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=30), overflow="block", buffer_bytes=200_000)
        for i in range(n):
            film.write(numbered(i), t=i / 30)
            if i == 100:
                pid = hung_encoder(runtime)
        wait_until(lambda: pid not in encoding(runtime))
    told = proved(tmp_path)["streams"]["film"]
    assert (told["samples"], told["lost"]) == (n, {})
    assert numbers(tmp_path / "film.mp4") == [i % 40 for i in range(n)]


# --- a stop that cannot finish ------------------------------------------------------------------------


def start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next daemon, which does not wait long for an ffmpeg that hangs."""
    monkeypatch.setenv("RECD_FFMPEG_PATIENCE_S", "0.5")
    recd("start")


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_stop_does_not_wait_for_an_ffmpeg_that_hangs(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, by_signal: bool
) -> None:
    """It says what it could not finish and is gone; the next start finishes it, with every sample and frame."""
    n = 200
    with Simulation(tmp_path, n, "--pause-at", "100") as sim:
        sim.lines_until("published 100")
        hung_encoder(runtime)
        if by_signal:  # the simulation still runs
            pid = daemon_pid(runtime)
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists())
            assert "left for the next start" in (runtime / "daemon.log").read_text()
            start_again(monkeypatch)
            sim.go_on()
            sim.finish()
            n_least = n
        else:
            sim.kill()
            said = recd("stop", "--timeout", "0.5", codes=(1,))
            assert "its files were not finished in time" in said
            assert str(tmp_path) in said.replace("\n", "")
            start_again(monkeypatch)
            n_least, n = 101, sim.published + 1
    wait_for_manifest(tmp_path)
    check_files(tmp_path, n_least, n)


def test_a_close_that_ran_out_of_time_is_known_to_whoever_finishes(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daemon and workers are killed, the simulation lives on: the next start finishes what was closed."""
    rec = Recorder(dir=tmp_path)
    film = rec.stream("film", VideoFile("film.mp4", fps=30), like=numbered(0))
    for i in range(100):
        film.write(numbered(i), t=i / 30)
    pid = hung_encoder(runtime)
    assert not rec.close(timeout=0.5).complete
    kill_all([*processes_of(runtime).keys() - {pid}])
    start_again(monkeypatch)
    wait_for_manifest(tmp_path)
    assert proved(tmp_path)["state"] == "complete"
    assert numbers(tmp_path / "film.mp4") == [i % 40 for i in range(100)]


def test_a_stop_does_not_wait_for_room(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full disk it says what it could not finish and is gone; the next start finishes it."""
    run = disk.path / "run"
    with Simulation(run, 300, "--pause-at", "100") as sim:
        sim.lines_until("published 100")
        disk.fill()
        sim.kill()
        said = recd("stop", "--timeout", "0.5", codes=(1,))
        assert "its files were not finished in time" in said
        recd("start")
        disk.free()
    wait_for_manifest(run)
    check_files(run, 101, sim.published + 1)


# --- read-only ----------------------------------------------------------------------------------------


def test_a_disk_that_is_read_only_when_the_daemon_starts_is_waited_for(disk: Disk, runtime: Path) -> None:
    """The session is not given up, its status says why nothing happens, and it goes on once it can."""
    rec, feed = begin(disk.path / "run")
    recd("stop", "--timeout", "5", codes=(1,))
    disk.make_read_only()
    recd("start")
    wait_until(lambda: status(rec)["state"] == "failed")
    assert os.strerror(errno.EROFS) in status(rec)["reason"]
    feed.some(30)
    disk.make_writable()
    wait_until(lambda: status(rec)["state"] == "recording")
    feed.some()
    rec.close()
    check(disk.path / "run", feed)


@pytest.mark.requires("strace")
@pytest.mark.parametrize("error", ["EROFS", "EDQUOT"])
def test_a_disk_that_takes_nothing_for_a_while_costs_what_is_counted(
    tmp_path: Path, runtime: Path, error: str
) -> None:
    """Read-only in mid-run, or the quota is used up, for films too: told as it is, and gone on with by itself."""
    rec, feed = begin(tmp_path)
    film = rec.stream("film", VideoFile("film.mp4", fps=30), like=numbered(0), buffer_bytes=200_000)
    shot: list[int] = []

    def shoot(n: int) -> None:
        first = film.stats["attempted"]
        shot.extend(i for i in range(first, first + n) if film.write(numbered(i), t=i / 30))

    shoot(10)
    encoder = wait_until(lambda: encoding(runtime))
    why = os.strerror(getattr(errno, error))
    with (
        refused(error, worker_of(rec), worker_of(rec, "video-film")),
        refused(error, *encoder, calls="write"),
    ):
        feed.until_stalled()
        wait_until(lambda: shoot(1) or film.stats["lost"]["full"] > 5)
        for stream in (feed.stream, film):
            wait_until(lambda s=stream: (s.stats["state"], s.stats["reason"]) == ("stalled", why))
        wait_until(lambda: all(why in s["reason"] for s in status(rec)["streams"]))
    feed.until_stored()
    wait_until(lambda: film.stats["state"] == "recording")
    feed.some()
    shoot(10)
    with pytest.warns(DataLossWarning):
        rec.close()
    check(tmp_path, feed)
    told = proved(tmp_path)["streams"]["film"]
    lost = film.stats["attempted"] - len(shot)
    assert (told["samples"], told["lost"]) == (len(shot), {"full": lost})
    assert told["stalls"]["count"] >= 1
    table = told["files"][0]["video"]["frames"]
    pictures = dict(zip(table["seq"], numbers(tmp_path / "film.mp4"), strict=True))
    assert [pictures[i] for i in shot] == [i % 40 for i in shot]


# --- a tiny /dev/shm ----------------------------------------------------------------------------------

IN_A_SMALL_SHM = """
import sys
import numpy as np
from recd_client import NPZFile, Recorder
from recd_client.errors import SharedMemoryFullError

with Recorder(dir=sys.argv[1]) as rec:
    try:
        rec.stream("big", NPZFile("big.npz"), like=np.zeros(4), buffer_bytes=4 << 20)
    except SharedMemoryFullError as e:
        print(e)
    small = rec.stream("s", NPZFile("s.npz"), like=0.0, buffer_bytes=100_000)
    for i in range(100):
        small.write(float(i), t=float(i))
"""


def test_a_stream_too_large_for_a_tiny_shm_is_refused_and_others_record(
    tmp_path: Path, runtime: Path
) -> None:
    """The error counts the bytes that are needed and there, and what to do; a smaller stream is recorded."""
    mount = "mount -t tmpfs -o size=1m recd-test /dev/shm"
    script = f'{mount} && "$0" -c "$1" "$2" && "$0" -m recd stop >/dev/null && ls /dev/shm'
    command = [*private(), "sh", "-c", script, sys.executable, IN_A_SMALL_SHM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r".* (\d+) bytes needed, (\d+) available\n  -> (.*)\n", done.stdout)
    assert said, done.stdout
    needed, available, do = said.groups()
    assert int(needed) > 4 << 20 > 1 << 20 >= int(available) > 900_000
    assert "buffer_bytes" in do
    proved(tmp_path)
    assert npz(tmp_path / "s.npz")["data"].tolist() == [*range(100)]
