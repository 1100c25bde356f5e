import os
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from recd.video import catalog, ffmpeg
from recd.video.codecs import available, choose
from recd.video.command import arguments
from recd.video.files import count_frames
from recd.video.settings import VideoSettings
from recd_client.errors import CodecError, OptionError
from recd_client.options import CODECS, VideoFile
from video_samples import encode, frame, settings


def stand_in(path: Path, script: str) -> str:
    """An executable shell script in ffmpeg's place."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)
    return str(path)


# --- settings -------------------------------------------------------------------------------------


def test_a_users_options_and_a_shape_make_settings() -> None:
    """Each option of VideoFile arrives; height comes first in a shape."""
    options = VideoFile("a.mp4", codec="h264", bitrate="2M", codec_options={"g": 30}, name="front")
    made = VideoSettings.of((480, 641, 3), Fraction(50), options)
    assert (made.width, made.height, made.channels) == (641, 480, 3)
    assert (made.codec, made.bitrate, made.crf, made.title) == ("h264", 2_000_000, None, "front")
    assert made.codec_options == {"g": 30}
    assert VideoSettings.of((48, 64), Fraction(50), VideoFile("a.mp4")).channels == 1


@pytest.mark.parametrize(
    "shape", [(), (64,), (48, 64, 2), (48, 64, 5), (0, 64), (48, 0, 3), (9, 48, 64, 3), (48, 20_000)]
)
def test_a_shape_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    """The message says which shapes are allowed."""
    with pytest.raises(OptionError, match=r"\(H, W, 3\)"):
        VideoSettings.of(shape, Fraction(60), VideoFile("a.mp4"))


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(-30)])
def test_a_rate_must_be_above_zero(fps: Fraction) -> None:
    """A rate that is no rate is refused."""
    with pytest.raises(OptionError, match="fps="):
        settings(fps=fps)


def test_an_unknown_codec_is_refused_with_what_is_known() -> None:
    """The message names what came, all that may come, and the nearest one."""
    with pytest.raises(CodecError, match=r"'h246'.*libx264.*\n.*did you mean 'h264'"):
        settings(codec="h246")
    with pytest.raises(CodecError, match=r"leave codec out"):
        settings(codec="/bin/sh")


def test_an_unknown_pixel_format_is_refused() -> None:
    """The message names what may come."""
    with pytest.raises(CodecError, match=r"'yuv999'.*yuv420p"):
        settings(pixel_format="yuv999")


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_that_a_client_may_name_is_known(codec: str) -> None:
    """The client's list and the daemon's catalogue fit together."""
    assert settings(codec=codec).codec == codec


@pytest.mark.parametrize(
    ("pixel_format", "padding"),
    [
        ("yuv420p", (1, 1)),
        ("nv12", (1, 1)),
        ("yuv422p", (1, 0)),
        ("yuv444p", (0, 0)),
        ("gray", (0, 0)),
        ("bgr0", (0, 0)),
    ],
)
def test_sizes_are_padded_only_where_chroma_needs_it(pixel_format: str, padding: tuple[int, int]) -> None:
    """Full-resolution formats keep odd sizes as they are."""
    s = settings(width=63, height=47, pixel_format=pixel_format)
    assert s.padding == padding
    assert s.file_size == (63 + padding[0], 47 + padding[1])


# --- choice ---------------------------------------------------------------------------------------


def test_hardware_that_does_not_work_is_fallen_back_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoders whose device seems to be there are tried first, fail, and the software one is taken."""
    tried = tmp_path / "tried"
    real = ffmpeg.executable()
    script = (
        'case "$*" in *-c:v?*_nvenc*|*-c:v?*_qsv*|*-c:v?*_vaapi*)\n'
        f'echo "$*" >>"{tried}"; echo no GPU >&2; exit 1;; esac\n'
        f'exec "{real}" "$@"'
    )
    monkeypatch.setenv("RECD_FFMPEG", stand_in(tmp_path / "ffmpeg", script))
    monkeypatch.setattr(catalog.EncoderSpec, "may_work", True)
    everything = frozenset(catalog.ENCODERS)
    monkeypatch.setattr(ffmpeg, "encoders", lambda: everything)
    assert choose(settings(codec=None)) == "libx264"
    assert [line.split("-c:v ")[1].split()[0] for line in tried.read_text().splitlines()] == [
        "h264_nvenc",
        "h264_qsv",
        "h264_vaapi",
    ]
    with pytest.raises(CodecError, match=r"h264_nvenc: no GPU"):
        choose(settings(codec="h264_nvenc"))


def test_what_worked_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second choice for the same codec and size starts no ffmpeg; another size is tried on its own."""
    log = tmp_path / "log"
    script = f'case "$*" in *pipe:0*) echo run >>"{log}";; esac\nexec "{ffmpeg.executable()}" "$@"'
    monkeypatch.setenv("RECD_FFMPEG", stand_in(tmp_path / "ffmpeg", script))
    for _ in range(3):
        assert choose(settings()) == "libx264"
    assert log.read_text() == "run\n"
    assert choose(settings(width=128)) == "libx264"
    assert log.read_text() == "run\nrun\n"


def test_a_failure_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for a passing reason works once the reason has passed."""
    full = tmp_path / "full"
    full.touch()
    script = (
        f'case "$*" in *pipe:0*) [ -e "{full}" ] && {{ echo No space left on device >&2; exit 1; }};; esac\n'
        f'exec "{ffmpeg.executable()}" "$@"'
    )
    monkeypatch.setenv("RECD_FFMPEG", stand_in(tmp_path / "ffmpeg", script))
    with pytest.raises(CodecError, match="No space left"):
        choose(settings())
    full.unlink()
    assert choose(settings()) == "libx264"


def test_a_codec_that_this_ffmpeg_lacks_is_named_with_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error tells what is available."""
    monkeypatch.setattr(ffmpeg, "encoders", lambda: frozenset({"mpeg4", "ffv1"}))
    with pytest.raises(
        CodecError, match=r"codec='hevc' does not work.*libx265 is not in this ffmpeg.*\n.*ffv1, mpeg4"
    ):
        choose(settings(codec="hevc"))
    assert available() == ("ffv1", "mpeg4")
    assert choose(settings(codec=None)) == "mpeg4"


def test_a_pixel_format_that_the_encoder_does_not_take_is_refused() -> None:
    """The error names those that it takes, instead of another one being taken silently."""
    with pytest.raises(CodecError, match=r"libx264 does not take bgra.*yuv420p"):
        choose(settings(channels=4, pixel_format="bgra"))


def test_a_suffix_that_holds_no_video_is_refused() -> None:
    """The error names the suffixes that do."""
    with pytest.raises(CodecError, match=r"'\.csv'.*\n.*\.mp4"):
        choose(settings(), ".csv")


@pytest.mark.parametrize("codec", [c for c in ("h264", "hevc", "av1", "vp9", "mpeg4") if c in available()])
def test_each_family_encodes_every_frame_of_an_odd_size(tmp_path: Path, codec: str) -> None:
    """What is offered works: as many frames come out as went in."""
    s = settings(width=131, height=99, channels=3, codec=codec)
    path = encode(tmp_path / "a.mp4", s, [np.asarray(frame(i, s)) for i in range(15)])
    assert count_frames(path) == 15


# --- options --------------------------------------------------------------------------------------


def test_options_of_the_encoder_are_handed_on(tmp_path: Path) -> None:
    """Preset, interval of key frames and quality arrive, and take the place of the usual ones."""
    s = settings(codec_options={"preset": "veryfast", "g": 7, "tune": "animation"}, crf=31.5)
    line = " ".join(arguments(s, "libx264", tmp_path / "a.mp4"))
    assert "-preset:v veryfast" in line
    assert "-g:v 7" in line
    assert "-crf:v 31.5" in line
    assert "superfast" not in line
    assert choose(s) == "libx264"


def test_a_bitrate_takes_the_place_of_quality(tmp_path: Path) -> None:
    """Only one of the two is handed on."""
    line = " ".join(arguments(settings(bitrate=3_000_000), "libx264", tmp_path / "a.mp4"))
    assert "-b:v 3000000" in line
    assert "-crf" not in line


@pytest.mark.parametrize(
    "key", ["vf", "filter", "filter_script", "enc_stats_pre", "passlogfile", "bsf", "y", "i", "bf"]
)
def test_an_option_that_is_none_of_the_encoders_is_refused(key: str) -> None:
    """Nothing that opens files, filters or reorders frames reaches ffmpeg."""
    with pytest.raises(CodecError, match=rf"codec_options key '{key}' is no option of libx264"):
        choose(settings(codec_options={key: "x"}))


def test_a_misspelt_option_is_answered_with_the_right_one() -> None:
    """The error suggests what was probably meant."""
    with pytest.raises(CodecError, match=r"'prest'.*did you mean 'preset'"):
        choose(settings(codec_options={"prest": "slow"}))


def test_a_value_that_names_a_file_is_refused() -> None:
    """No option can be made to open a file."""
    with pytest.raises(CodecError, match=r"x264-params.*expected letters"):
        choose(settings(codec_options={"x264-params": "stats=/tmp/x"}))


def test_frames_are_never_reordered_even_if_asked_for(tmp_path: Path) -> None:
    """B-frames would leave holes at the end of a cut file, so they stay off."""
    s = settings(codec_options={"x264-params": "bframes=3:b-adapt=0"})
    rng = np.random.default_rng(1)
    path = encode(tmp_path / "a.mp4", s, rng.integers(0, 256, (12, 48, 64), np.uint8))
    done = ffmpeg.run([*ffmpeg.QUIET, "-i", ffmpeg.url(path), "-c", "copy", "-f", "framecrc", "-"])
    packets = [line.split(",") for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    assert len(packets) == 12
    assert all(int(dts) == int(pts) for _, dts, pts, *_ in packets)


# --- the executable -------------------------------------------------------------------------------


def test_the_named_ffmpeg_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECD_FFMPEG may be a path, or a name on PATH."""
    path = stand_in(tmp_path / "my-ffmpeg", f'exec "{ffmpeg.executable()}" "$@"')
    monkeypatch.setenv("RECD_FFMPEG", path)
    assert ffmpeg.executable() == path
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("RECD_FFMPEG", "my-ffmpeg")
    assert ffmpeg.executable() == path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo ffmpeg version 4.4.2; echo 'libavformat    58. 76.100 / 58. 76.100'",
            "no ffmpeg 5.1 or newer.*4.4.2",
        ),
        ("echo hello", "no ffmpeg 5.1 or newer.*hello"),
        ("exit 1", "no ffmpeg 5.1 or newer.*does not say"),
    ],
)
def test_an_ffmpeg_that_cannot_do_the_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    """Too old, or no ffmpeg at all: said at once, with what to do."""
    monkeypatch.setenv("RECD_FFMPEG", stand_in(tmp_path / "ffmpeg", script))
    with pytest.raises(CodecError, match=rf"{message}.*\n.*RECD_FFMPEG"):
        ffmpeg.executable()


def test_an_ffmpeg_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong RECD_FFMPEG is not silently passed over."""
    monkeypatch.setenv("RECD_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(CodecError, match="'/nowhere/ffmpeg' names no executable"):
        ffmpeg.executable()


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung ffmpeg costs its time limit, and the outcome says so."""
    script = f'case "$1" in -version) exec "{ffmpeg.executable()}" -version;; esac\nexec sleep 600'
    monkeypatch.setenv("RECD_FFMPEG", stand_in(tmp_path / "ffmpeg", script))
    outcome = ffmpeg.run(["x"], timeout_s=0.1)
    assert outcome.returncode < 0
    assert "no end after 0.1 s" in outcome.reason
