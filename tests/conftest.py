"""What all tests share: a daemon's surroundings of their own, and no silent skips where CI wants none."""

from __future__ import annotations

import importlib.util
import os
import select
import shlex
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from backends import EACH, EACH_PAIR, Backend, Ends, backend, ends_of
from recd_client import native
from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError
from recd_client.shm import PREFIX, SHM_DIR, runtime_tag
from support import processes_of, wait_until

# A shell that runs the tests in the background has Ctrl-C ignored, by all that is started from here, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example has no deadline (Hypothesis: 200 ms), and may be slow to draw: on a busy machine any of them is, once.
settings.register_profile("recd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("recd")

STOP_WITHIN_S = 60.0
#: What a stopped daemon may leave in its runtime directory: the file that is locked, and its log.
MAY_STAY = {"recd.lock", "daemon.log"}


# --- optional parts -----------------------------------------------------------------------------------

#: What must not be skipped: RECD_REQUIRE="torch,strace" (names as in the marker `requires`).
REQUIRED = {name for name in os.environ.get("RECD_REQUIRE", "").split(",") if name}


def genesis_variable(version: str) -> str:
    """The environment variable that names an interpreter with Genesis of this version."""
    return f"RECD_GENESIS_{version.replace('.', '_')}"


#: Libraries of training sets, each in an environment of its own: the variable that names its interpreter.
TRAINING = {name: f"RECD_{name.upper()}" for name in ("lerobot", "robomimic", "minari")}


def _is_there(name: str) -> bool:
    if name == "native":  # the ring's C extension, built and believed
        return native.extension is not None
    if name.startswith("genesis-"):  # an interpreter of an environment of its own
        return os.access(os.environ.get(genesis_variable(name.partition("-")[2]), ""), os.X_OK)
    if name in TRAINING:
        return os.access(os.environ.get(TRAINING[name], ""), os.X_OK)
    return importlib.util.find_spec(name) is not None or shutil.which(name) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose optional parts are missing; fail it where they are required."""
    for marker in item.iter_markers("requires"):
        for name in marker.args:
            if not _is_there(name):
                if name in REQUIRED:
                    pytest.fail(f"{name} is missing and RECD_REQUIRE asks for it", pytrace=False)
                pytest.skip(f"needs {name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where RECD_REQUIRE is set, fail a test that skips itself: only the marker says what may be missing."""
    report = yield
    skipped_itself = (
        report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("requires")
    )
    if REQUIRED and skipped_itself:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped itself; say what it needs with @pytest.mark.requires(...)"
    return report


# --- syncs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """``fsync`` and ``fdatasync`` of this process wait for no disk: what they did, no test here could see.

    A death that is only played loses nothing of what the kernel has, synced or not; tests count the calls, let them
    fail, and ask in which order they come. What is durable is proved with processes that run under strace
    (tests/crash/test_power_loss.py), and programs that tests start do sync.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, _at_once(getattr(os, name)))
        yield


def _at_once(sync: Callable[[Any], None]) -> Callable[[Any], None]:
    """A sync that does no more than to refuse what it refuses: what is closed, and what is on no disk."""

    def at_once(fd: Any) -> None:
        mode = os.fstat(fd if isinstance(fd, int) else fd.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            sync(fd)

    return at_once


# --- the two backends ---------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=EACH_PAIR)
def ends(request: pytest.FixtureRequest) -> Ends:
    """Both ends of a ring, in each combination of backends."""
    return ends_of(*request.param)


@pytest.fixture(scope="session", params=EACH)
def each(request: pytest.FixtureRequest) -> Backend:
    """Each backend."""
    return backend(request.param)


# --- a daemon's surroundings --------------------------------------------------------------------------


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of the test's own; afterwards its daemon is stopped, and nothing of it is left."""
    with _own_runtime() as directory:
        yield directory


@pytest.fixture(scope="module")
def shared_runtime() -> Iterator[Path]:
    """One runtime directory, and so one daemon, for the tests of a module that leave the daemon alone."""
    with _own_runtime() as directory:
        yield directory


@contextmanager
def _own_runtime() -> Iterator[Path]:
    """The surroundings of one daemon; not below tmp_path: a socket's path ends at 107 bytes."""
    top = Path(tempfile.mkdtemp(prefix="recd-", dir="/tmp"))
    directory = top / "run"
    directory.mkdir(mode=0o700)
    left: list[str] | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECD_RUNTIME_DIR", str(directory))
        patch.setenv("XDG_STATE_HOME", str(top / "state"))
        patch.setenv("RECD_COMMAND", f"{shlex.quote(sys.executable)} -m recd")
        try:
            yield directory
            left = _stop_daemon(directory) + _names_left(directory)
        finally:
            if left is None or left:
                _remove_all(directory)
            shutil.rmtree(top)
    assert not left, f"the test's daemon left behind: {', '.join(left)}"


def _stop_daemon(directory: Path) -> list[str]:
    """Stop the daemon if one runs, and tell which processes did not end with it."""
    with suppress(DaemonNotRunningError):
        daemon = Caller(directory / "recd.sock", role="cli")
        daemon.close()
        _end(daemon.server["pid"])
    try:
        wait_until(lambda: not processes_of(directory), timeout_s=STOP_WITHIN_S)
    except TimeoutError:
        return [f"process {pid} ({command})" for pid, command in processes_of(directory).items()]
    return []


def _end(daemon: int) -> None:
    """Ask the daemon to end, and wait for that without looking at all processes again and again."""
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(daemon)
        try:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            gone = select.poll()
            gone.register(fd, select.POLLIN)
            gone.poll(STOP_WITHIN_S * 1e3)
        finally:
            os.close(fd)


def _names_left(directory: Path) -> list[str]:
    """Shared memory, semaphores and files of this runtime that a stopped daemon should have removed."""
    files = [str(p) for p in directory.iterdir() if p.name not in MAY_STAY]
    return files + [str(p) for p in _shared_memory(directory)]


def _shared_memory(directory: Path) -> list[Path]:
    names = f"{PREFIX}-{runtime_tag(directory)}-*"
    return [*SHM_DIR.glob(names), *SHM_DIR.glob(f"sem.{names}")]


def _remove_all(directory: Path) -> None:
    """Kill and remove what is left, so that one test's leftovers do not become the next one's."""
    for pid in processes_of(directory):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for path in _shared_memory(directory):
        path.unlink(missing_ok=True)
