from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recd import __version__, index
from recd.cli import _checks as checks
from recd.cli import _machine as machine
from recd.cli import main
from recd.cli._findings import OK, PROBLEM, WARN, Daemon, Finding
from recd.session import SessionStore
from recd_client.errors import CodecError, DaemonNotRunningError
from recd_client.process import boot_id

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
            {"check": "disk", "level": OK, "what": "fine", "do": "", "fixed": ""},
            {"check": "clock", "level": level, "what": "so so", "do": "do this", "fixed": ""},
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
        "versions",
        "backend",
        "runtime directory",
        "session index",
        "socket",
        "shared memory",
        "memory",
        "orphans",
        "sessions",
        "part files",
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


@pytest.mark.parametrize(
    ("backend", "wanted", "level"), [("native", "", OK), ("python", "", WARN), ("python", "python", OK)]
)
def test_a_slow_backend_that_nobody_asked_for_is_seen(
    monkeypatch: pytest.MonkeyPatch, backend: str, wanted: str, level: str
) -> None:
    """Pure Python is worth a warning with what to install, unless the environment asks for it."""
    monkeypatch.setattr("recd_client.native.BACKEND", backend)
    monkeypatch.setenv("RECD_BACKEND", wanted)
    assert checks.check_backend().level == level


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
    finding = machine.check_shared_memory(Path("/dev/shm"))
    assert finding.level == level
    assert ("--shm-size" in finding.do) == (level != OK)


def test_what_this_user_takes_of_shared_memory_is_told(tmp_path: Path) -> None:
    """Of a full /dev/shm one must know whose it is: the user's share, and recd's share of that."""
    (tmp_path / "recd-00000000-x").write_bytes(bytes(8192))
    (tmp_path / "other").write_bytes(bytes(4096))
    assert machine._taken_bytes(tmp_path, os.getuid()) == (12288, 8192)
    assert machine._taken_bytes(tmp_path, os.getuid() + 1) == (0, 0)


def cgroup(root: Path, row: str, **files: str) -> Path:
    """A machine whose process is in a cgroup with these files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(row)
    for place, text in files.items():
        path = root / "sys/fs/cgroup" / place.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("row", "files", "level"),
    [
        ("0::/\n", {}, OK),
        ("0::/a/b\n", {"a__b__memory_dot_max": "max\n", "a__b__memory_dot_current": "5\n"}, OK),
        ("0::/a/b\n", {"a__memory_dot_max": "300000000\n", "a__memory_dot_current": "200000000\n"}, WARN),
        ("0::/\n", {"memory_dot_max": "300000000\n", "memory_dot_current": "299000000\n"}, PROBLEM),
        (
            "0::/\n",
            {
                "memory_dot_max": "1000000000\n",
                "memory_dot_current": "999000000\n",
                "memory_dot_stat": "anon 1\ninactive_file 900000000\n",
            },
            OK,
        ),
        (
            "4:memory:/c\n",
            {
                "memory__c__memory_dot_limit_in_bytes": "300000000\n",
                "memory__c__memory_dot_usage_in_bytes": "200000000\n",
            },
            WARN,
        ),
        (
            "4:memory:/c\n",
            {
                "memory__c__memory_dot_limit_in_bytes": "9223372036854771712\n",
                "memory__c__memory_dot_usage_in_bytes": "200000000\n",
            },
            OK,
        ),
    ],
)
def test_a_container_without_memory_for_rings_is_seen(
    tmp_path: Path, row: str, files: dict[str, str], level: str
) -> None:
    """The tightest limit on the way up counts, less what the kernel can reclaim; both kinds of cgroups are read."""
    assert machine.check_memory(cgroup(tmp_path, row, **files), None).level == level


@pytest.mark.parametrize(
    ("limit", "level"), [(64, PROBLEM), (256, WARN), (4096, OK), (resource.RLIM_INFINITY, OK)]
)
def test_few_descriptors_are_seen(monkeypatch: pytest.MonkeyPatch, limit: int, level: str) -> None:
    """A limit on open files that stops recording after some streams is told with the number of streams."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert machine.check_descriptors(None).level == level


def test_the_limit_that_counts_is_the_daemons_own() -> None:
    """A running daemon has the limits of whoever started it, not those of this shell."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert str(own) in machine.check_descriptors(os.getpid()).what


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
    finding = machine.check_logind(logind(tmp_path, main_file, **parts), uid=54321)
    assert finding.level == level
    assert ("loginctl enable-linger" in finding.do) == (level != OK)


def test_who_lingers_or_is_no_person_needs_nothing(tmp_path: Path) -> None:
    """Lingering users and system users keep their shared memory; so does a machine without logind."""
    assert machine.check_logind(tmp_path, uid=54321).level == OK
    root = logind(tmp_path, "")
    assert machine.check_logind(root, uid=33).level == OK
    (root / "var/lib/systemd/linger").mkdir(parents=True)
    (root / "var/lib/systemd/linger/54321").touch()
    assert machine.check_logind(root, uid=54321).level == OK


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
    monkeypatch.setattr(machine, "_fsync_time_s", lambda path: sync_s)
    finding = machine.check_disk(tmp_path)
    assert finding.level == level
    assert hint in finding.do


def test_a_directory_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """Recording there would fail, and the doctor says so first."""
    finding = machine.check_disk(tmp_path / "none")
    assert finding.level == PROBLEM
    assert "Recorder(dir=" in finding.do


@pytest.mark.parametrize(
    ("now_unix_s", "state", "level"), [(0.0, 0, PROBLEM), (2e9, 5, WARN), (2e9, 0, OK), (2e9, -1, OK)]
)
def test_a_clock_that_is_wrong_or_alone_is_seen(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now_unix_s: float, state: int, level: str
) -> None:
    """1970 is a problem; a clock that nobody synchronises matters only between machines."""
    monkeypatch.setattr(machine, "_clock_state", lambda: state)
    assert machine.check_clock(tmp_path, now_unix_s).level == level


@pytest.mark.parametrize(
    ("source", "level"), [("tsc", OK), ("kvm-clock", OK), ("hpet", WARN), ("acpi_pm", WARN)]
)
def test_a_slow_clock_source_is_seen(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, level: str
) -> None:
    """Where the kernel gave up the processor's counter, each time stamp costs a system call."""
    monkeypatch.setattr(machine, "_clock_state", lambda: 0)
    path = tmp_path / "sys/devices/system/clocksource/clocksource0"
    path.mkdir(parents=True)
    (path / "current_clocksource").write_text(f"{source}\n")
    assert machine.check_clock(tmp_path, 2e9).level == level


def test_a_wall_clock_that_was_set_during_a_recording_is_seen(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running recording began at a known time on both clocks; if they went apart since, it is told."""
    monkeypatch.setattr(machine, "_clock_state", lambda: 0)
    clocks = {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns()}
    SessionStore(tmp_path, "s1").create({"boot_id": boot_id().hex(), "clocks": clocks})
    index.write({"session": "s1", "directory": str(tmp_path), "state": "live"})
    assert machine.check_clock(tmp_path, time.time()).level == OK
    assert "1 h forward" in machine.check_clock(tmp_path, time.time() + 3600).what
    assert "30 s back" in machine.check_clock(tmp_path, time.time() - 30).what


@pytest.mark.parametrize(
    ("own", "client", "level"),
    [("0.1.0", "0.1.7", OK), ("0.1.0", "0.2.0", PROBLEM), ("1.1.0", "0.1.0", PROBLEM)],
)
def test_halves_that_do_not_fit_are_seen(own: str, client: str, level: str) -> None:
    """Daemon and client of one minor version work together, others need not."""
    assert checks.check_versions(own, client).level == level


def test_what_loginctl_knows_of_lingering_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lingering that is recorded elsewhere than in the usual place is asked for."""
    program = tmp_path / "bin/loginctl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1 $2" = "show-user 54321" ] && echo yes\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert machine.check_logind(logind(tmp_path, ""), uid=54321).level == OK
