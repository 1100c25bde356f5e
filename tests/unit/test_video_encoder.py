import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recd.video import ffmpeg
from recd.video.codecs import choose
from recd.video.counting import cut, is_complete
from recd.video.encoder import NICENESS, Encoder, kill_orphan, wait_gone
from recd.video.files import count_frames
from recd_client.errors import CodecError, SchemaError
from support import wait_until
from video_samples import PATIENCE_S, decode, ended, expected, feed, frame, numbers, settings


def until_confirmed(encoder: Encoder, n: int) -> int:
    """The number of confirmed frames, once it is at least ``n``."""
    wait_until(lambda: encoder.confirmed() >= n, timeout_s=PATIENCE_S)
    return encoder.confirmed()


@pytest.fixture(params=["hybrid.mp4", "fragmented.mp4", "clusters.mkv"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file's path in each way to write one: MP4 by the best muxer and by one that lacks that, Matroska."""
    if request.param == "fragmented.mp4":
        monkeypatch.setattr(ffmpeg, "has_hybrid_mp4", lambda: False)
    elif request.param == "hybrid.mp4" and not ffmpeg.has_hybrid_mp4():
        pytest.skip("this ffmpeg cannot turn a fragmented file into a plain one")
    return tmp_path / str(request.param)


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    """A running encoder of the small gray video."""
    made = Encoder(tmp_path / "piece.mp4", settings(), "libx264")
    yield made
    made.kill()
    ended(made)
    made.close()


def test_every_frame_is_in_the_finished_file_in_order(piece: Path) -> None:
    """A clean finish keeps and confirms all frames and says nothing; the file gets an index if it can."""
    encoder = Encoder(piece, settings(), choose(settings(), piece.suffix))
    feed(encoder, 70)
    encoder.finish()
    assert ended(encoder) == 0
    assert encoder.confirmed() == encoder.fed == 70
    assert encoder.errors() == ""
    encoder.close()
    before = piece.read_bytes()
    assert cut(piece) == 70
    assert piece.read_bytes() == before
    assert numbers(piece) == expected(0, 70)
    assert is_complete(piece) == (piece.stem != "fragmented")


def test_all_but_the_last_frame_are_confirmed_while_ffmpeg_waits(encoder: Encoder) -> None:
    """A frame counts as soon as the next one is in, so that it need not be kept longer."""
    feed(encoder, 12)
    assert until_confirmed(encoder, 11) == 11


def test_a_growing_file_plays_at_any_time(encoder: Encoder, tmp_path: Path) -> None:
    """A copy of the file taken while ffmpeg works holds at least the frames confirmed before, in order."""
    for end in (2, 9, 25):
        feed(encoder, end)
        confirmed = until_confirmed(encoder, end - 1)
        copy = tmp_path / f"copy{end}.mp4"
        copy.write_bytes(encoder.path.read_bytes())
        assert numbers(copy)[:confirmed] == expected(0, confirmed)


@pytest.mark.parametrize("stop", [1, 7, 40])
def test_what_a_killed_ffmpeg_confirmed_decodes_and_nothing_else_stays(piece: Path, stop: int) -> None:
    """After a SIGKILL, what was confirmed decodes; a cut leaves the first frames, as many as it counts."""
    encoder = Encoder(piece, settings(), "libx264")
    feed(encoder, stop)
    before = until_confirmed(encoder, stop - 2)
    encoder.kill()
    ended(encoder)
    encoder.close()
    frames = cut(piece) if piece.exists() else 0
    assert before <= frames <= stop
    assert (numbers(piece) if frames else []) == expected(0, frames)


def test_a_file_cut_at_any_place_counts_only_frames_that_decode(piece: Path) -> None:
    """Wherever the file ends, the count is of whole frames only, and all of them decode."""
    encoder = Encoder(piece, settings(), "libx264")
    feed(encoder, 4)
    until_confirmed(encoder, 3)
    encoder.kill()
    ended(encoder)
    encoder.close()
    data = piece.read_bytes()
    counted = {}
    for size in range(len(data) + 1):
        piece.write_bytes(data[:size])
        counted[size] = cut(piece)
    steps = [size for size in range(1, len(data) + 1) if counted[size] != counted[size - 1]]
    assert [counted[size] for size in steps] == [1, 2, 3]
    for size in (s + more for s in steps for more in (-1, 0, 1, 20)):
        piece.write_bytes(data[:size])
        frames = cut(piece)
        assert frames == counted[min(size, len(data))]
        assert (numbers(piece) if frames else []) == expected(0, frames)


def test_a_kill_between_the_two_steps_of_finishing_loses_nothing(tmp_path: Path) -> None:
    """With the final table half written, or written but not yet in force, all frames still decode."""
    if not ffmpeg.has_hybrid_mp4():
        pytest.skip("this ffmpeg does not finish in two steps")
    encoder = Encoder(tmp_path / "piece.mp4", settings(), "libx264")
    feed(encoder, 6)
    encoder.finish()
    assert ended(encoder) == 0
    encoder.close()
    data = bytearray(encoder.path.read_bytes())
    at = data.index(b"mdat") - 4  # the last step made this of a `free` that ends where the first table begins
    data[at : at + 8] = (data.index(b"moov") - 4 - at).to_bytes(4, "big") + b"free"
    final = data.rindex(b"moov") - 4
    for size in (len(data), len(data) - 1, final + 9, final):
        encoder.path.write_bytes(data[:size])
        assert cut(encoder.path) == count_frames(encoder.path) == 6
        assert not is_complete(encoder.path)


def test_a_hung_ffmpeg_is_told_by_false_and_goes_on_where_it_was(encoder: Encoder) -> None:
    """With ffmpeg stopped, ``feed`` fills the pipe, then says False; afterwards no frame is missing."""
    feed(encoder, 3)
    # Were ``feed`` to wait, nothing would ever wake it but this.
    rescue = threading.Timer(PATIENCE_S, kill_orphan, (encoder.pid, encoder.ticks))
    rescue.start()
    os.kill(encoder.pid, signal.SIGSTOP)
    while encoder.feed(frame(encoder.fed, encoder.settings)):
        assert encoder.fed < 1000
    held = encoder.fed
    assert not any(encoder.feed(frame(held, encoder.settings)) for _ in range(100))
    assert not encoder.broken
    os.kill(encoder.pid, signal.SIGCONT)
    rescue.cancel()
    rescue.join()
    feed(encoder, held + 20)
    encoder.finish()
    assert ended(encoder) == 0
    assert numbers(encoder.path) == expected(0, held + 20)


def test_a_frame_larger_than_the_pipe_goes_in_by_parts(tmp_path: Path) -> None:
    """Partial writes are remembered, wherever the frame lies at the next call; odd sizes included."""
    s = settings(width=1281, height=721, channels=3)
    encoder = Encoder(tmp_path / "large.mp4", s, "libx264")
    poller = select.poll()
    poller.register(encoder.fileno(), select.POLLOUT)
    ramp = np.linspace(0, 200, s.height).astype(np.uint8)
    images = [np.broadcast_to((ramp + 10 * i)[:, None, None], (s.height, s.width, 3)) for i in range(4)]
    refusals = 0
    for image in images:
        while not encoder.feed(image.copy().data):
            refusals += 1
            assert poller.poll(PATIENCE_S * 1000)
    encoder.finish()
    assert ended(encoder) == 0
    encoder.close()
    assert refusals > 0
    seen = decode(encoder.path, s, "gray")[:, : s.height, : s.width].astype(int)
    assert len(seen) == 4
    assert max(np.abs(a - b[:, :, :1]).max() for a, b in zip(seen, images, strict=True)) <= 4


def test_a_stopped_ffmpeg_can_be_killed(encoder: Encoder) -> None:
    """``kill`` ends even an ffmpeg that does not run."""
    os.kill(encoder.pid, signal.SIGSTOP)
    encoder.kill()
    assert ended(encoder) == -signal.SIGKILL


def test_a_dead_ffmpeg_breaks_the_encoder_without_an_exception(encoder: Encoder) -> None:
    """After ffmpeg's death ``feed`` says False and ``broken`` tells why the loop must not wait."""
    os.kill(encoder.pid, signal.SIGKILL)
    ended(encoder)
    assert not encoder.feed(frame(0, encoder.settings))
    assert encoder.broken
    assert encoder.fileno() == -1


def test_a_full_disk_is_named_and_costs_no_confirmed_frame(tmp_path: Path) -> None:
    """When the file cannot grow, ffmpeg ends with an error, and all that was confirmed decodes."""
    s = settings(width=320, height=240)
    encoder = Encoder(tmp_path / "full.mp4", s, "libx264")
    resource.prlimit(encoder.pid, resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
    noise = np.random.default_rng(0).integers(0, 256, s.frame_bytes, np.uint8)
    poller = select.poll()
    poller.register(encoder.fileno(), select.POLLOUT)
    while not encoder.broken:
        assert encoder.feed(memoryview(noise)) or encoder.broken or poller.poll(PATIENCE_S * 1000)
    confirmed = encoder.confirmed()
    assert ended(encoder) > 0
    assert "File too large" in encoder.errors()
    encoder.close()
    assert 0 < confirmed <= cut(encoder.path) == count_frames(encoder.path)


def test_a_frame_of_which_only_a_part_went_in_is_left_out(encoder: Encoder) -> None:
    """The input may end within a frame: the file ends with the frame before."""
    feed(encoder, 5)
    os.write(encoder.fileno(), bytes(100))
    encoder.finish()
    assert ended(encoder) == 0
    assert numbers(encoder.path) == expected(0, 5)


PARENT = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from recd.video.encoder import Encoder
from recd.video.settings import VideoSettings
s = VideoSettings(64, 48, 1, Fraction(60), "libx264")
e = Encoder(Path(sys.argv[1]), s, "libx264")
while e.fed < 33:
    e.feed(memoryview(np.full(s.frame_bytes, 5 + 5 * e.fed, np.uint8)))
os.write(e.fileno(), bytes(100))
print(e.pid, e.ticks, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ffmpeg_completes_the_file_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Each whole frame that was in the pipe is in the file, and the file is complete."""
    piece = tmp_path / "orphan.mp4"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(piece)],
        env=env,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    pid, ticks = map(int, done.stdout.split())
    assert wait_gone(pid, ticks, PATIENCE_S)
    assert numbers(piece) == expected(0, 33)
    assert is_complete(piece) == ffmpeg.has_hybrid_mp4()


def test_an_orphan_can_be_waited_for_and_ended_and_no_other_process(encoder: Encoder) -> None:
    """A process is meant only together with its start time: a number that was given again is left alone."""
    assert not wait_gone(encoder.pid, encoder.ticks, 0)
    assert wait_gone(encoder.pid, encoder.ticks + 1, 0)
    kill_orphan(encoder.pid, encoder.ticks + 1)
    assert encoder.poll() is None
    kill_orphan(encoder.pid, encoder.ticks)
    assert ended(encoder) == -signal.SIGKILL
    kill_orphan(encoder.pid, encoder.ticks)
    assert wait_gone(encoder.pid, encoder.ticks, 0)


def test_ffmpeg_is_nice_and_in_its_own_session(encoder: Encoder) -> None:
    """It yields to the simulation, and signals to the worker's group do not reach it."""
    assert os.getpriority(os.PRIO_PROCESS, encoder.pid) >= NICENESS
    assert os.getsid(encoder.pid) == encoder.pid


def test_ffmpeg_holds_no_descriptor_of_ours(tmp_path: Path, encoder: Encoder) -> None:
    """Neither another encoder's pipe nor an inheritable lock is open in it."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    second = Encoder(tmp_path / "second.mp4", settings(), "libx264")
    feed(second, 3)
    until_confirmed(second, 2)
    links = [os.readlink(p) for p in Path(f"/proc/{second.pid}/fd").iterdir()]
    assert str(tmp_path / "lock") not in links
    assert os.readlink(f"/proc/self/fd/{encoder.fileno()}") not in links
    os.close(lock)
    second.finish()
    assert ended(second) == 0
    second.close()


def test_an_encoder_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    """Open and closed ten times, finished or killed, the process has as many descriptors as before."""
    choose(settings())
    before = len(os.listdir("/proc/self/fd"))
    for i in range(10):
        encoder = Encoder(tmp_path / "piece.mp4", settings(), "libx264")
        feed(encoder, 3)
        encoder.confirmed()
        encoder.kill() if i % 2 else encoder.finish()
        ended(encoder)
        encoder.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_ffmpeg_that_was_let_go_of_finishes_its_file_and_leaves_no_zombie(tmp_path: Path) -> None:
    """``close`` does not wait; the process is reaped when the next one is let go of."""
    first = Encoder(tmp_path / "first.mp4", settings(), "libx264")
    feed(first, 9)
    os.kill(first.pid, signal.SIGSTOP)
    first.close()
    os.kill(first.pid, signal.SIGCONT)
    assert wait_gone(first.pid, first.ticks, PATIENCE_S)
    assert numbers(first.path) == expected(0, 9)
    second = Encoder(tmp_path / "second.mp4", settings(), "libx264")
    second.kill()
    second.close()
    assert not Path(f"/proc/{first.pid}").exists()
    assert wait_gone(second.pid, second.ticks, PATIENCE_S)


def test_a_frame_of_the_wrong_size_is_refused(encoder: Encoder) -> None:
    """Nothing of it goes in: the frames after it stay whole."""
    with pytest.raises(SchemaError, match=r"3071 bytes, expected 3072"):
        encoder.feed(memoryview(bytes(3071)))
    feed(encoder, 3)
    encoder.finish()
    assert ended(encoder) == 0
    assert numbers(encoder.path) == expected(0, 3)


def test_an_old_file_of_that_name_is_not_counted(tmp_path: Path) -> None:
    """A new piece begins at zero frames even before ffmpeg has opened it."""
    path = tmp_path / "piece.mp4"
    first = Encoder(path, settings(), "libx264")
    feed(first, 5)
    first.finish()
    ended(first)
    first.close()
    second = Encoder(path, settings(), "libx264")
    assert second.confirmed() == 0
    second.kill()
    ended(second)
    second.close()


def test_a_flood_of_complaints_neither_blocks_ffmpeg_nor_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More on stderr than a pipe holds is dropped; what is kept is bounded and still says something."""
    flood = tmp_path / "ffmpeg"
    flood.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *pipe:0*) ;; *) exec "{ffmpeg.executable()}" "$@" ;; esac\n'
        "i=0; while [ $i -lt 20000 ]; do echo complaint $i >&2; i=$((i+1)); done\nexit 3\n"
    )
    flood.chmod(0o700)
    monkeypatch.setenv("RECD_FFMPEG", str(flood))
    encoder = Encoder(tmp_path / "piece.mp4", settings(), "libx264")
    assert ended(encoder) == 3
    assert "complaint" in encoder.errors()
    assert len(encoder.errors()) <= 4096
    encoder.close()


def test_an_ffmpeg_that_does_not_start_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executable may vanish after it was found: the error says so and nothing stays open."""
    gone = tmp_path / "ffmpeg"
    gone.symlink_to(ffmpeg.executable())
    monkeypatch.setenv("RECD_FFMPEG", str(gone))
    choose(settings())
    gone.unlink()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CodecError, match="does not start"):
        Encoder(tmp_path / "piece.mp4", settings(), "libx264")
    assert len(os.listdir("/proc/self/fd")) == before
