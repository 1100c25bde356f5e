"""Finding the daemon of this user, and starting one where none runs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

from .control import PROTOCOL_MAJOR, Caller
from .errors import DaemonNotRunningError, DaemonStartError, VersionMismatchError
from .version import __version__

#: What a start may take; far beyond what it does take.
START_TIMEOUT_S: Final = 30.0
_ANSWER_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = 0.02


def connect(path: Path, *, autostart: bool, timeout_s: float = START_TIMEOUT_S) -> Caller:
    """Connect to the daemon at a socket; starts one there if none answers and that is allowed.

    Raises
    ------
    DaemonNotRunningError
        None answers, and none may be started.
    DaemonStartError
        None could be started; the message holds what the command said.
    VersionMismatchError
        The daemon speaks another major version of the protocol.
    """
    try:
        return _greet(path, min(timeout_s, _ANSWER_TIMEOUT_S))
    except DaemonNotRunningError as e:
        if not autostart:
            raise DaemonNotRunningError(e.what, "start it with: recd start; or pass autostart=True") from None
    deadline_s = time.monotonic() + timeout_s
    start(path, timeout_s)
    while True:
        try:
            return _greet(path, _ANSWER_TIMEOUT_S)
        except DaemonNotRunningError as e:
            if time.monotonic() > deadline_s:
                raise DaemonStartError(f"recd was started, but {e.what}", "see: recd doctor") from None
        time.sleep(_RETRY_S)


def _greet(path: Path, timeout_s: float) -> Caller:
    caller = Caller(path, version=__version__, timeout_s=max(timeout_s, _RETRY_S))
    protocol = caller.server.get("protocol")
    if isinstance(protocol, list) and protocol[:1] == [PROTOCOL_MAJOR]:
        return caller
    caller.close()
    raise VersionMismatchError(
        f"the daemon at {path} speaks protocol {protocol}, this recd-client {__version__} "
        f"speaks {PROTOCOL_MAJOR}.x",
        "install the same version of recd and recd-client, then: recd restart",
    )


def command() -> list[str]:
    """How a daemon is started: ``RECD_COMMAND``, else the ``recd`` of this environment, else of ``PATH``.

    Raises
    ------
    DaemonStartError
        There is none.
    """
    import shlex
    import shutil

    given = os.environ.get("RECD_COMMAND")
    if given:
        try:
            return shlex.split(given)
        except ValueError as e:
            raise DaemonStartError(f"RECD_COMMAND={given!r}: {e}", "correct its quotes") from None
    beside = Path(sys.executable).with_name("recd") if sys.executable else None
    found = str(beside) if beside is not None and os.access(beside, os.X_OK) else shutil.which("recd")
    if found is None:
        raise DaemonStartError(
            "no recd runs, and the command `recd` is neither in this Python environment nor on PATH",
            "pip install recd (any environment will do), or point RECD_COMMAND to it",
        )
    return [found]


def start(path: Path, timeout_s: float = START_TIMEOUT_S) -> None:
    """Run ``recd start`` for the runtime directory of this socket; a daemon answers when it returns.

    Raises
    ------
    DaemonStartError
        It failed; the message holds the end of what it said.
    """
    import subprocess
    import tempfile

    argv = [*command(), "start"]
    with tempfile.TemporaryFile() as said:  # no pipe: the daemon may inherit it, and it would never end
        try:
            code = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=timeout_s,
                start_new_session=True,  # Ctrl-C in the simulation's terminal is not for the daemon
                env={**os.environ, "RECD_RUNTIME_DIR": str(path.parent)},
                check=False,
            ).returncode
            why = f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            code, why = -1, f"did not return within {timeout_s:g} s"
        except OSError as e:
            code, why = -1, f"cannot be run: {e.strerror}"
        if code == 0:
            return
        said.seek(0)
        text = said.read().decode("utf-8", "replace").strip()[-2000:]
    raise DaemonStartError(f"`{' '.join(argv)}` {why}{': ' + text if text else ''}", "see: recd doctor")
