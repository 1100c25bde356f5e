"""The ffmpeg executable: found once, asked what it can do, run for small jobs.

ffmpeg always gets a list of arguments (never a shell), no terminal, and leave to open files and pipes
only. It starts in ``/`` so that it pins nobody's directory and no relative name means anything to it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from recd_client.errors import CodecError

#: The first release whose ``setts`` filter can change a time base, which joining and retiming need.
LEAST_VERSION: Final = "5.1"
_LEAST_LIBAVFORMAT: Final = (59, 27)
_ASK_TIMEOUT_S: Final = 20.0
#: Somebody's kill (or the kernel's, for want of memory), or one that hangs, as a machine under load or a driver
#: makes it, says nothing about ffmpeg or the file: once more.
_KILLED: Final = (-signal.SIGKILL, -signal.SIGTERM)
_TRIES: Final = 3

#: Arguments in front of all others.
QUIET: Final = ("-nostdin", "-hide_banner", "-loglevel", "error")
#: Arguments in front of each input.
LOCAL_ONLY: Final = ("-protocol_whitelist", "file,pipe")


@dataclass(frozen=True)
class Outcome:
    """What a finished ffmpeg left behind."""

    returncode: int
    stdout: bytes
    stderr: str

    @property
    def reason(self) -> str:
        """What went wrong first, for a message: later lines of stderr only follow from it."""
        lines = self.stderr.strip().splitlines()
        return re.sub(r"^(\[[^]]*\] )+", "", lines[0]).strip() if lines else f"exit code {self.returncode}"


def executable() -> str:
    """Absolute path of the ffmpeg that all videos use.

    It is ``RECD_FFMPEG`` (a path, or a name on ``PATH``), else the one that imageio-ffmpeg brings or
    knows, else the ``ffmpeg`` on ``PATH``.

    Raises
    ------
    CodecError
        There is none, it does not run, or it is too old.
    """
    return _checked_executable(os.environ.get("RECD_FFMPEG", ""))


@lru_cache(maxsize=4)
def _checked_executable(given: str) -> str:
    found = shutil.which(given or _bundled() or "ffmpeg")
    if found is None:
        raise CodecError(
            f"RECD_FFMPEG={given!r} names no executable" if given else "no ffmpeg on this machine",
            "set RECD_FFMPEG to the path of an ffmpeg" if given else "run: pip install imageio-ffmpeg",
        )
    path = str(Path(found).absolute())
    banner = _ask_program(path, "-version")
    version = re.search(r"libavformat +(\d+)\. *(\d+)\.", banner)
    if version is None or (int(version[1]), int(version[2])) < _LEAST_LIBAVFORMAT:
        name = banner.split("\n", 1)[0][:80] or "it does not say what it is"
        raise CodecError(
            f"{path} is no ffmpeg {LEAST_VERSION} or newer ({name})",
            "set RECD_FFMPEG to a newer ffmpeg, or unset it and run: pip install -U imageio-ffmpeg",
        )
    return path


def _bundled() -> str | None:
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    # Its own search runs what it finds; if somebody kills that, there is no ffmpeg for as long as we live.
    binaries = sorted(Path(imageio_ffmpeg.__file__).with_name("binaries").glob("ffmpeg-*"))
    if "IMAGEIO_FFMPEG_EXE" not in os.environ and binaries and os.access(binaries[-1], os.X_OK):
        return str(binaries[-1])
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (RuntimeError, OSError):
        return None


def environment() -> dict[str, str]:
    """The environment ffmpeg runs in: ours, without what makes it write reports, colours or banners."""
    env = {k: v for k, v in os.environ.items() if k != "FFREPORT"}
    return env | {"AV_LOG_FORCE_NOCOLOR": "1", "SVT_LOG": "1"}


def run(
    arguments: Sequence[str],
    *,
    data: bytes = b"",
    timeout_s: float | None = None,
    keep_fds: Sequence[int] = (),
) -> Outcome:
    """Run ffmpeg to its end; blocks, so not for a worker's loop.

    Parameters
    ----------
    arguments : sequence of str
        Everything after the executable.
    data : bytes
        Its standard input.
    timeout_s : float, optional
        It is killed after this time; the outcome then has a negative return code and says so.
    keep_fds : sequence of int
        Descriptors that it inherits.
    """
    command = [executable(), *arguments]
    try:
        done = _unless_killed(
            lambda: subprocess.run(
                command,
                input=data,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env=environment(),
                start_new_session=True,
                pass_fds=tuple(keep_fds),
            )
        )
    except subprocess.TimeoutExpired:
        return Outcome(-9, b"", f"no end after {timeout_s:g} s")
    return Outcome(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def url(path: Path) -> str:
    """A file's name in a form that ffmpeg takes for nothing else, whatever characters it has."""
    return f"file:{path.absolute()}"


def version() -> str:
    """The release that :func:`executable` says it is, such as ``"7.0.2"``."""
    words = _ask(executable(), "-version").split(maxsplit=3)
    return words[2] if len(words) > 2 else "unknown"


def encoders() -> frozenset[str]:
    """Names of the video encoders that were built into this ffmpeg (which need not work here)."""
    text = _ask(executable(), "-hide_banner", "-encoders")
    return frozenset(re.findall(r"^ V[A-Z.]{5} (\S+)", text, re.MULTILINE))


def encoder_options(encoder: str) -> frozenset[str]:
    """Names of the options that this encoder, and no other part of ffmpeg, understands."""
    text = _ask(executable(), "-hide_banner", "-h", f"encoder={encoder}")
    return frozenset(re.findall(r"^ +-(\S+) ", text, re.MULTILINE))


def pixel_formats(encoder: str) -> tuple[str, ...]:
    """Pixel formats that this encoder takes; empty where ffmpeg does not tell."""
    text = _ask(executable(), "-hide_banner", "-h", f"encoder={encoder}")
    found = re.search(r"Supported pixel formats: (.+)", text)
    return tuple(found[1].split()) if found else ()


def has_hybrid_mp4() -> bool:
    """Whether the MP4 muxer can turn a fragmented file into a plain one when it ends."""
    return "hybrid_fragmented" in _ask(executable(), "-hide_banner", "-h", "muxer=mp4")


@lru_cache(maxsize=128)
def _ask(program: str, *arguments: str) -> str:
    return _ask_program(program, *arguments)


def _ask_program(program: str, *arguments: str) -> str:
    try:
        done = _unless_killed(
            lambda: subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ASK_TIMEOUT_S,
                check=False,
                env=environment(),
            )
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise CodecError(
            f"{program} does not run: {e}", "set RECD_FFMPEG to an ffmpeg that runs, or unset it"
        ) from None
    return done.stdout.decode("utf-8", "replace")


def _unless_killed(
    run: Callable[[], subprocess.CompletedProcess[bytes]],
) -> subprocess.CompletedProcess[bytes]:
    """What a small job came to; one that was killed from outside, or hangs, is done again, a few times."""
    for _ in range(_TRIES - 1):
        with suppress(subprocess.TimeoutExpired):
            if (done := run()).returncode not in _KILLED:
                return done
    return run()
