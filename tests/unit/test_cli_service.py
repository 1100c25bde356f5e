"""``recd service``: the unit, and what systemd is asked to do, with stand-ins for systemctl and loginctl."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recd import supervisor
from recd.cli import _unit as unit
from recd.cli import main

_STAND_IN = """#!{python}
import json, os, pathlib, sys
home = pathlib.Path({home!r})
program, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(home / "asked", "a") as log:
    log.write(" ".join([program, *arguments]) + "\\n")
state = json.loads((home / "state").read_text())
failing = state["failing"]
if failing and failing in " ".join(arguments):
    sys.exit("Failed to connect to bus")
verb = [a for a in arguments if not a.startswith("-")][0]
wants = pathlib.Path({wants!r})
if verb == "enable":
    wants.parent.mkdir(parents=True, exist_ok=True)
    wants.unlink(missing_ok=True)
    wants.symlink_to(wants.parents[1] / "recd.service")
elif verb == "disable":
    wants.unlink(missing_ok=True)
    state["active"] = False
elif verb == "start":
    state["active"] = True
elif verb == "enable-linger":
    state["linger"] = True
elif verb == "disable-linger":
    state["linger"] = False
elif verb == "show-user":
    print("yes" if state["linger"] else "no")
elif verb == "show":
    on = state["active"]
    print("UnitFileState=" + ("enabled" if wants.is_symlink() else ""))
    print("ActiveState=" + ("active" if on else "inactive"))
    print("SubState=" + ("running" if on else "dead"))
    print("MainPID=" + ("4711" if on else "0"))
    print("NRestarts=2")
    print("StatusText=" + ("recording 1 sessions" if on else ""))
(home / "state").write_text(json.dumps(state))
"""


class Systemd:
    """Stand-ins for systemctl and loginctl on the path, and what they were asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "config"
        self.bin = home / "bin"
        self.bin.mkdir()
        text = _STAND_IN.format(
            python=sys.executable,
            home=str(home),
            wants=str(self.config / "systemd/user/default.target.wants/recd.service"),
        )
        for program in ("systemctl", "loginctl"):
            (self.bin / program).write_text(text)
            (self.bin / program).chmod(0o755)
        self.state(active=False, linger=False, failing="")

    @property
    def path(self) -> Path:
        """The unit's file."""
        return self.config / "systemd/user/recd.service"

    def state(self, **changes: object) -> dict[str, object]:
        """What systemd knows, after changes to it."""
        file = self.home / "state"
        state = {**(json.loads(file.read_text()) if file.exists() else {}), **changes}
        file.write_text(json.dumps(state))
        return state

    def asked(self) -> list[str]:
        """What was asked since the last call, without mere questions."""
        log = self.home / "asked"
        rows = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [row for row in rows if " show" not in row]


@pytest.fixture
def systemd(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A machine with systemd, and configuration of the test's own."""
    made = Systemd(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin), prepend=":")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(made.config))
    return made


def service(*arguments: str, exit_code: int = 0) -> Result:
    """Run ``recd service``."""
    result = CliRunner().invoke(main, ["service", *arguments])
    assert result.exit_code == exit_code, result.output
    return result


def lines(path: Path) -> list[str]:
    """Settings of the unit."""
    return [row for row in path.read_text().splitlines() if row and not row.startswith(("#", "["))]


# --- the unit -------------------------------------------------------------------------------------


def test_the_unit_runs_this_recd_and_is_watched(systemd: Systemd, runtime: Path) -> None:
    """The very interpreter, in the foreground, with readiness, watchdog and restart, in this shell's runtime."""
    service("install")
    settings = lines(systemd.path)
    assert f"ExecStart={sys.executable} -m recd start --foreground" in settings
    assert f"Environment=RECD_RUNTIME_DIR={runtime}" in settings
    for setting in (
        "Type=notify",
        "Restart=on-failure",
        "WatchdogSec=30",
        "KillMode=process",
        "OOMPolicy=continue",
    ):
        assert setting in settings


def test_the_manager_waits_longer_than_the_daemon_drains() -> None:
    """A stop never ends in a kill: the daemon's own deadline and grace are over before."""
    assert unit.STOP_TIMEOUT_S > supervisor.STOP_DEADLINE_S + supervisor.STOP_GRACE_S


@pytest.mark.parametrize(
    "value", ["/plain", "/with blank", '/quo"te', "/per%cent", "/dol$lar", "/back\\slash"]
)
def test_any_directory_survives_the_units_syntax(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Blanks, quotes and what systemd would expand are written such that it reads the same again."""
    monkeypatch.setenv("XDG_STATE_HOME", value)
    (row,) = [r for r in unit.unit_text(os.environ, enabled_linger=False).splitlines() if "XDG_STATE" in r]
    (word,) = shlex.split(row.removeprefix("Environment="))
    assert word.replace("%%", "%") == f"XDG_STATE_HOME={value}"


@pytest.mark.requires("systemd-analyze")
def test_systemd_accepts_the_unit(systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systemd's own check finds nothing to complain about, with odd directories too."""
    monkeypatch.setenv("XDG_STATE_HOME", '/tmp/it\'s 100% "odd"')
    path = tmp_path / "recd.service"
    path.write_text(unit.unit_text(os.environ, enabled_linger=True))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert not [row for row in done.stderr.splitlines() if "recd.service" in row], done.stderr
    path.write_text(path.read_text().replace("Type=notify", "Type=nonsense"))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert "recd.service" in done.stderr  # it does look


# --- install --------------------------------------------------------------------------------------


def test_install_enables_starts_and_lingers(systemd: Systemd) -> None:
    """Afterwards the service runs, comes back at boot, and outlives a logout; the reason is told."""
    result = service("install")
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    assert systemd.asked() == [
        f"loginctl enable-linger {user}",
        "systemctl --user daemon-reload",
        "systemctl --user enable recd.service",
        "systemctl --user start recd.service",
    ]
    assert "outlive your logout" in result.stdout
    assert unit.LINGER_MARK in systemd.path.read_text()


def test_install_again_changes_nothing(systemd: Systemd) -> None:
    """The second time the unit stays byte for byte, and nothing is restarted."""
    service("install")
    before = systemd.path.read_text()
    result = service("install")
    assert systemd.path.read_text() == before
    assert "is as it should be" in result.stdout
    assert not [row for row in systemd.asked() if "restart" in row or "stop" in row]


def test_a_changed_unit_does_not_interrupt_recordings(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that runs goes on as it is; that a restart is needed is said."""
    service("install")
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert "systemctl --user restart recd.service" in service("install").stderr
    assert not [row for row in systemd.asked() if "restart" in row]


def test_lingering_can_be_left_alone(systemd: Systemd) -> None:
    """``--no-linger`` asks loginctl for nothing, and says what a logout will do."""
    result = service("install", "--no-linger")
    assert not [row for row in systemd.asked() if "loginctl" in row]
    assert "last logout" in result.stderr
    assert unit.LINGER_MARK not in systemd.path.read_text()


def test_lingering_that_is_refused_is_a_warning(systemd: Systemd) -> None:
    """Where the user may not, the service is installed all the same, with what to ask for."""
    systemd.state(failing="enable-linger")
    result = service("install")
    assert "loginctl enable-linger" in result.stderr
    assert systemd.state()["active"]
    assert unit.LINGER_MARK not in systemd.path.read_text()


# --- remove ---------------------------------------------------------------------------------------


def test_remove_leaves_nothing(systemd: Systemd) -> None:
    """Stopped, disabled, the unit and its link gone, lingering as it was; a second time is an answer."""
    service("install")
    systemd.asked()
    service("remove")
    assert [row.split(" --user ")[-1] for row in systemd.asked()][:3] == [
        "disable --now recd.service",
        "daemon-reload",
        "reset-failed recd.service",
    ]
    assert systemd.state() == {"active": False, "linger": False, "failing": ""}
    assert not [p for p in systemd.config.rglob("*") if not p.is_dir()]
    assert "no service is installed" in service("remove").stdout


def test_remove_keeps_lingering_that_was_on_before(systemd: Systemd) -> None:
    """Only what install switched on is switched off."""
    systemd.state(linger=True)
    service("install")
    service("install")
    service("remove")
    assert systemd.state()["linger"]


def test_a_unit_is_removed_where_systemd_is_gone(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that shares the home directory, remove clears the files."""
    service("install")
    systemd.state(failing="--user")
    service("remove")
    assert not [p for p in systemd.config.rglob("*") if not p.is_dir()]


# --- status, and no systemd -----------------------------------------------------------------------


def test_status_tells_how_it_is(systemd: Systemd) -> None:
    """Not installed, running, and stopped are told apart, by the exit code too."""
    assert "recd service install" in service("status", exit_code=3).stdout
    service("install")
    assert "active/running, pid 4711, enabled, restarted 2 times" in service("status").stdout
    assert json.loads(service("status", "--json").stdout) == {
        "unit": str(systemd.path),
        "installed": True,
        "enabled": True,
        "active": True,
        "state": "active/running",
        "pid": 4711,
        "restarts": 2,
        "says": "recording 1 sessions",
        "linger": True,
    }
    systemd.state(active=False)
    assert "it does not run" in service("status", exit_code=3).stdout


@pytest.mark.parametrize("verb", ["install", "status"])
def test_without_systemd_there_is_a_clear_error(
    systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """No systemctl, or no manager of this user: exit code 1, what to do instead, and no file left."""
    systemd.state(failing="show-environment")
    result = service(verb, exit_code=1)
    assert "systemd runs no services of yours here: Failed to connect to bus" in result.stderr
    assert "recd start" in result.stderr
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert "this machine has no systemd" in service(verb, exit_code=1).stderr
    assert not systemd.config.exists()
