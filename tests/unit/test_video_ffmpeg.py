"""Small jobs of ffmpeg that somebody kills: they are done again, and say nothing about ffmpeg."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from recd.video import ffmpeg, files
from recd_client.errors import RecdError

PROGRAM = """#!/bin/sh
echo "ffmpeg version 7.0"
echo "libavformat 61. 1.100"
[ "$1" = -version ] && exit
echo x >> {tries}
[ $(wc -l < {tries}) -gt {deaths} ] || kill -KILL $$
cat
"""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deaths: int) -> Path:
    """An ffmpeg that is killed so many times; the file has a line for each try."""
    tries, program = tmp_path / "tries", tmp_path / "ffmpeg"
    program.write_text(PROGRAM.format(tries=tries, deaths=deaths))
    program.chmod(0o755)
    monkeypatch.setenv("RECD_FFMPEG", str(program))
    return tries


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_a_job_that_is_killed_is_done_again(dying: Path, deaths: int) -> None:
    """It gets its input once more, and its outcome is that of the try that lived."""
    done = ffmpeg.run(["-i"], data=b"frames")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"frames")
    assert len(dying.read_text().split()) == deaths + 1


@pytest.mark.parametrize("deaths", [9])
def test_a_job_that_is_killed_every_time_fails(dying: Path, deaths: int) -> None:
    """After three tries the kill is its outcome: nobody waits for ever."""
    assert ffmpeg.run(["-i"]).returncode == -signal.SIGKILL
    assert len(dying.read_text().split()) == 3


@pytest.mark.parametrize("deaths", [1])
def test_a_question_at_which_ffmpeg_hangs_is_asked_again(
    dying: Path, deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about what ffmpeg can do: no video is given up for it."""
    program = Path(os.environ["RECD_FFMPEG"])
    program.write_text(
        program.read_text().replace("kill -KILL $$", "exec sleep 60").replace("cat", "echo ' V..... x'")
    )
    monkeypatch.setattr(ffmpeg, "_ASK_TIMEOUT_S", 1.0)
    assert ffmpeg.encoders() == {"x"}
    assert len(dying.read_text().split()) == 2


def test_the_bundled_ffmpeg_is_found_without_running_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill of the search for it, which imageio-ffmpeg would remember as its absence, cannot happen."""

    def killed() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", killed)
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert Path(str(ffmpeg._bundled())).parent.parent == Path(imageio_ffmpeg.__file__).parent


def test_a_full_disk_is_no_reason_to_give_a_video_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Joining on a full disk raises what is tried again later, not what gives the file up."""
    program, piece = tmp_path / "ffmpeg", tmp_path / "piece.mp4"
    piece.touch()
    banner = 'echo "ffmpeg version 7.0"; echo "libavformat 61. 1.100"'
    said = "Could not write header (incorrect codec parameters ?): No space left on device"
    program.write_text(f'#!/bin/sh\n{banner}\n[ "$1" = -version ] && exit\necho "{said}" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("RECD_FFMPEG", str(program))
    with pytest.raises(OSError, match="No space left") as raised:
        files.join([piece], tmp_path / "out.mp4", Fraction(50))
    assert not isinstance(raised.value, RecdError)
