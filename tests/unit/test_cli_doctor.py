from __future__ import annotations

import json
import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recd import __version__
from recd.cli import _checks as checks
from recd.cli import main
from recd.cli._checks import OK, PROBLEM, WARN, Daemon, Finding
from recd_client.errors import CodecError, DaemonNotRunningError
from recd_client.shm import runtime_tag

Filesystem = namedtuple("Filesystem", "f_blocks f_bavail f_frsize")
Usage = namedtuple("Usage", "total used free")


# --- the verb ------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The findings that ``recd doctor`` makes."""
    findings: list[Finding] = []
    monkeypatch.setattr(checks, "check_all", lambda directory: iter(findings))
    return findings


@pytest.mark.parametrize(("level", "exit_code"), [(OK, 0), (WARN, 0), (PROBLEM, 1)])
def test_only_a_problem_is_a_failure(told: list[Finding], level: str, exit_code: int) -> None:
    """The exit code is 1 with a problem and 0 without; warnings are no failure."""
    told += [Finding("disk", OK, "fine"), Finding("clock", level, "so so", "do this")]
    assert CliRunner().invoke(main, ["doctor"]).exit_code == exit_code
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == exit_code
    assert json.loads(result.stdout) == {
        "problems": exit_code,
        "findings": [
            {"check": "disk", "level": OK, "what": "fine", "do": ""},
            {"check": "clock", "level": level, "what": "so so", "do": "do this"},
        ],
    }


def test_each_trouble_is_followed_by_what_to_do(told: list[Finding]) -> None:
    """A warning or problem has its remedy on the next line; what is fine has none."""
    told += [Finding("disk", OK, "fine"), Finding("clock", WARN, "late", "set it")]
    rows = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    assert rows == [
        "ok       disk: fine",
        "warn     clock: late",
        "         -> set it",
        "0 problems in 2 checks",
    ]


def test_every_check_runs_here_and_leaves_nothing(runtime: Path, tmp_path: Path) -> None:
    """On a real machine each matter gives one finding, and each trouble says what to do."""
    findings = list(checks.check_all(tmp_path))
    assert [f.check for f in findings] == [
        "daemon",
        "runtime directory",
        "shared memory",
        "orphans",
        "descriptors",
        "logout",
        "ffmpeg",
        "disk",
        "clock",
    ]
    assert all(f.do for f in findings if f.level != OK)
    assert list(tmp_path.iterdir()) == []


# --- the checks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("daemon", "level"),
    [
        (Daemon(), OK),
        (Daemon(7, __version__, frozenset()), OK),
        (Daemon(7, "0.0.1", frozenset()), WARN),
        (Daemon(7, error=DaemonNotRunningError("deaf", "kill it")), PROBLEM),
    ],
)
def test_a_daemon_that_is_deaf_or_of_another_version_is_seen(daemon: Daemon, level: str) -> None:
    """No daemon is fine, an old one is worth a restart, one that does not answer is a problem."""
    assert checks.check_daemon(daemon).level == level


@pytest.mark.parametrize(("mode", "level"), [(0o700, OK), (0o755, WARN), (0o777, PROBLEM)])
def test_an_open_runtime_directory_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, level: str
) -> None:
    """Readable by others is a warning, writable by others a problem, with the chmod that helps."""
    directory = tmp_path / "r"
    directory.mkdir()
    directory.chmod(mode)
    monkeypatch.setenv("RECD_RUNTIME_DIR", str(directory))
    finding = checks.check_runtime_dir(directory)
    assert finding.level == level
    assert (f"chmod 700 {directory}" in finding.do) == (level != OK)


def test_a_runtime_directory_that_is_not_there_yet_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start makes it; looking does not."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", "/tmp/none")
    assert checks.check_runtime_dir(tmp_path / "none").level == OK
    assert not (tmp_path / "none").exists()


def test_a_path_too_long_for_a_socket_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit shows before the first recording fails."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", "/tmp/" + "x" * 120)
    assert checks.check_runtime_dir(tmp_path).level == PROBLEM


@pytest.mark.parametrize(("free_mib", "level"), [(4, PROBLEM), (60, WARN), (8000, OK)])
def test_little_shared_memory_is_seen(monkeypatch: pytest.MonkeyPatch, free_mib: int, level: str) -> None:
    """A container's 64 MiB is a warning, less than any ring needs is a problem."""
    monkeypatch.setattr(os, "statvfs", lambda path: Filesystem(free_mib * 256 + 10, free_mib * 256, 4096))
    finding = checks.check_shared_memory(Path("/dev/shm"))
    assert finding.level == level
    assert ("--shm-size" in finding.do) == (level != OK)


def test_rings_without_a_session_are_orphans(tmp_path: Path) -> None:
    """Segments and semaphores of this runtime directory count, unless their session is served."""
    shm, runtime = tmp_path / "shm", tmp_path / "run"
    shm.mkdir()
    runtime.mkdir()
    tag = runtime_tag(runtime)
    ours = [f"recd-{tag}-live-0", f"recd-{tag}-dead-0", f"sem.recd-{tag}-dead-main"]
    for name in [*ours, "recd-00000000-dead-0", "x"]:
        (shm / name).write_bytes(bytes(5000))
    finding = checks.check_orphans(shm, runtime, Daemon(7, __version__, frozenset({"live"})))
    assert finding.level == WARN
    assert finding.what.startswith("2 objects")
    assert checks.check_orphans(shm, runtime, Daemon()).what.startswith("3 objects")
    assert checks.check_orphans(shm, runtime, Daemon(7, error=DaemonNotRunningError("deaf"))).level == OK
    assert checks.check_orphans(shm, tmp_path / "none", Daemon()).level == OK


@pytest.mark.parametrize(
    ("limit", "level"), [(64, PROBLEM), (256, WARN), (4096, OK), (resource.RLIM_INFINITY, OK)]
)
def test_few_descriptors_are_seen(monkeypatch: pytest.MonkeyPatch, limit: int, level: str) -> None:
    """A limit on open files that stops recording after some streams is told with the number of streams."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert checks.check_descriptors(None).level == level


def test_the_limit_that_counts_is_the_daemons_own() -> None:
    """A running daemon has the limits of whoever started it, not those of this shell."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert str(own) in checks.check_descriptors(os.getpid()).what


def logind(root: Path, main_file: str, **parts: str) -> Path:
    """A machine with systemd-logind and its configuration."""
    for directory in ("run/systemd/system", "run/systemd/seats", "etc/systemd/logind.conf.d"):
        (root / directory).mkdir(parents=True)
    (root / "etc/systemd/logind.conf").write_text(main_file)
    for name, text in parts.items():
        (root / "etc/systemd/logind.conf.d" / f"{name}.conf").write_text(text)
    return root


@pytest.mark.parametrize(
    ("main_file", "parts", "level"),
    [
        ("", {}, WARN),
        ("[Login]\n#RemoveIPC=yes\n", {}, WARN),
        ("[Login]\n#RemoveIPC=no\n", {}, OK),
        ("[Login]\nRemoveIPC=no\n", {}, OK),
        (
            "[Login]\nRemoveIPC=no\n",
            {"b": "[Login]\nRemoveIPC = yes\n", "a": "[Login]\nRemoveIPC=no\n"},
            WARN,
        ),
        ("[Login]\nRemoveIPC=yes\n", {"a": "[Login]\nRemoveIPC=no\n"}, OK),
    ],
)
def test_a_logout_that_removes_shared_memory_is_seen(
    tmp_path: Path, main_file: str, parts: dict[str, str], level: str
) -> None:
    """The setting is read as logind reads it: the built-in one, the main file, parts by name."""
    finding = checks.check_logind(logind(tmp_path, main_file, **parts), uid=54321)
    assert finding.level == level
    assert ("loginctl enable-linger" in finding.do) == (level != OK)


def test_who_lingers_or_is_no_person_needs_nothing(tmp_path: Path) -> None:
    """Lingering users and system users keep their shared memory; so does a machine without logind."""
    assert checks.check_logind(tmp_path, uid=54321).level == OK
    root = logind(tmp_path, "")
    assert checks.check_logind(root, uid=33).level == OK
    (root / "var/lib/systemd/linger").mkdir(parents=True)
    (root / "var/lib/systemd/linger/54321").touch()
    assert checks.check_logind(root, uid=54321).level == OK


def test_an_ffmpeg_that_cannot_encode_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Being there is not enough: what counts is that frames were encoded."""

    def fail(*arguments: Any) -> str:
        raise CodecError("nothing works", "set RECD_FFMPEG")

    monkeypatch.setattr("recd.video.codecs.choose", fail)
    assert checks.check_ffmpeg() == Finding("ffmpeg", PROBLEM, "nothing works", "set RECD_FFMPEG")


@pytest.mark.parametrize(
    ("free_gb", "sync_s", "level", "hint"),
    [
        (0.5, 0.001, PROBLEM, "make room"),
        (5, 0.001, WARN, "make room"),
        (500, 0.5, WARN, "strict"),
        (500, 0.001, OK, ""),
    ],
)
def test_a_full_or_slow_disk_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, sync_s: float, level: str, hint: str
) -> None:
    """Room and the time of a sync decide, each with its own advice."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, int(free_gb * 1e9)))
    monkeypatch.setattr(checks, "_fsync_time_s", lambda path: sync_s)
    finding = checks.check_disk(tmp_path)
    assert finding.level == level
    assert hint in finding.do


def test_a_directory_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """Recording there would fail, and the doctor says so first."""
    finding = checks.check_disk(tmp_path / "none")
    assert finding.level == PROBLEM
    assert "Recorder(dir=" in finding.do


@pytest.mark.parametrize(
    ("now_unix_s", "state", "level"), [(0.0, 0, PROBLEM), (2e9, 5, WARN), (2e9, 0, OK), (2e9, -1, OK)]
)
def test_a_clock_that_is_wrong_or_alone_is_seen(
    monkeypatch: pytest.MonkeyPatch, now_unix_s: float, state: int, level: str
) -> None:
    """1970 is a problem; a clock that nobody synchronises matters only between machines."""
    monkeypatch.setattr(checks, "_clock_state", lambda: state)
    assert checks.check_clock(now_unix_s).level == level
