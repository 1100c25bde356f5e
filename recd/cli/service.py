"""``recd service``: the daemon as a systemd service of this user, there from boot to shutdown."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import click

from recd_client.errors import OutputError, UnsupportedPlatformError

from ._common import allow_code_option, console, daemon_pid, json_option, line, print_json
from ._unit import LINGER_MARK, UNIT, unit_path, unit_text, wants_path

_TIMEOUT_S: Final = 90.0
_NOT_ACTIVE_EXIT_CODE: Final = 3
_SHOWN: Final = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "StatusText",
)
_BY_HAND: Final = "start the daemon yourself, here or wherever your machine starts things: recd start"


@click.group(epilog="Example: recd service install", short_help="Run the daemon as a systemd user service.")
def command() -> None:
    """Run the daemon as a systemd service of this user: started at boot, watched, replaced if it dies."""


@command.command(epilog="Example: recd service install", short_help="Install, enable and start the service.")
@click.option(
    "--no-linger", is_flag=True, help="Leave lingering as it is: the service ends with your last session."
)
@allow_code_option
@json_option
def install(no_linger: bool, allow_code: bool, as_json: bool) -> int:
    """Install the service, enable it and start it; doing it again brings it up to date.

    Switches lingering on, because systemd-logind otherwise ends the service at your last logout and
    removes your shared memory, in the middle of a recording. The service keeps the runtime directory
    and the settings of this shell (XDG_STATE_HOME, PYTHONPATH, RECD_FFMPEG, RECD_MAX_...).
    """
    _check_manager()
    path = unit_path()
    old = _read(path)
    lingers = _lingers()
    wanted = not lingers and not no_linger
    text = unit_text(os.environ, enabled_linger=wanted or LINGER_MARK in old, allow_code=allow_code)
    outside = daemon_pid() if not _properties().get("MainPID", "0").strip("0") else None
    problem = _enable_linger() if wanted else ""
    if problem:
        text = unit_text(os.environ, enabled_linger=LINGER_MARK in old, allow_code=allow_code)
    was_active = _properties().get("ActiveState") == "active"
    if text != old:
        _write(path, text)
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    _systemctl("start", UNIT)
    notes = []
    if problem:
        notes.append(f"lingering could not be switched on: {problem}; ask: loginctl enable-linger {_user()}")
    elif not lingers and no_linger:
        notes.append("without lingering, your last logout ends the service and removes your shared memory")
    if was_active and text != old:
        notes.append(f"the running daemon is as before, until: systemctl --user restart {UNIT}")
    if outside is not None:
        notes.append(
            f"a daemon started by hand runs (pid {outside}); the service takes over after: recd stop"
        )
    if as_json:
        print_json({"unit": str(path), "changed": text != old, "linger": (not problem and not no_linger) or lingers,
                    "notes": notes})  # fmt: skip
        return 0
    click.echo(f"{path} {'written' if text != old else 'is as it should be'}; enabled and started")
    if wanted and not problem:
        click.echo("lingering is on: recordings, and their shared memory, outlive your logout")
    for note in notes:
        line(console(stderr=True), f"warning: {note}", "yellow")
    return 0


@command.command(epilog="Example: recd service remove", short_help="Stop, disable and remove the service.")
@json_option
def remove(as_json: bool) -> int:
    """Stop the service, which drains and syncs what is recorded, and remove all that install made."""
    path = unit_path()
    old = _read(path)
    there = bool(old) or wants_path().is_symlink()
    if there and _manager_problem() is None:
        _systemctl("disable", "--now", UNIT)
    path.unlink(missing_ok=True)
    wants_path().unlink(missing_ok=True)
    if there and _manager_problem() is None:
        _systemctl("daemon-reload")
        _run("systemctl", "--user", "reset-failed", UNIT)  # refuses when there is nothing to forget
    if LINGER_MARK in old:
        _run("loginctl", "disable-linger", _user())
    if as_json:
        print_json({"unit": str(path), "was_installed": there})
    else:
        click.echo(f"{path} removed" if there else f"no service is installed ({path})")
    return 0


@command.command(epilog="Example: recd service status --json", short_help="Show how the service is.")
@json_option
def status(as_json: bool) -> int:
    """Show whether the service is installed, enabled and running; exit code 3 when it does not run."""
    _check_manager()
    path = unit_path()
    found = _properties()
    state: dict[str, Any] = {
        "unit": str(path),
        "installed": path.exists(),
        "enabled": found.get("UnitFileState") == "enabled",
        "active": found.get("ActiveState") == "active",
        "state": "/".join(found.get(k) or "?" for k in ("ActiveState", "SubState")),
        "pid": int(found.get("MainPID") or 0) or None,
        "restarts": int(found.get("NRestarts") or 0),
        "says": found.get("StatusText", ""),
        "linger": _lingers(),
    }
    if as_json:
        print_json(state)
    else:
        _show(state)
    return 0 if state["active"] else _NOT_ACTIVE_EXIT_CODE


def _show(state: dict[str, Any]) -> None:
    if not state["installed"]:
        click.echo("no service is installed; to install it: recd service install")
        return
    pid = f", pid {state['pid']}" if state["pid"] else ""
    enabled = "enabled" if state["enabled"] else "not enabled"
    click.echo(f"{UNIT}: {state['state']}{pid}, {enabled}, restarted {state['restarts']} times")
    if state["says"]:
        click.echo(f"  {state['says']}")
    click.echo(f"  {state['unit']}")
    out = console()
    if not state["linger"]:
        line(out, f"! it ends at your last logout\n  -> loginctl enable-linger {_user()}", "yellow")
    if not state["active"]:
        line(
            out, f"! it does not run\n  -> journalctl --user -u {UNIT}; systemctl --user start {UNIT}", "red"
        )


# --- systemd --------------------------------------------------------------------------------------


def _check_manager() -> None:
    problem = _manager_problem()
    if problem is not None:
        raise UnsupportedPlatformError(problem, _BY_HAND)


def _manager_problem() -> str | None:
    """Why there is no systemd that runs services of this user; None if there is."""
    if shutil.which("systemctl") is None:
        return "this machine has no systemd (there is no systemctl)"
    done = _run("systemctl", "--user", "show-environment")
    return f"systemd runs no services of yours here: {_said(done)}" if done.returncode else None


def _systemctl(*arguments: str) -> None:
    done = _run("systemctl", "--user", *arguments)
    if done.returncode:
        raise UnsupportedPlatformError(
            f"systemctl --user {' '.join(arguments)}: {_said(done)}", f"see: journalctl --user -u {UNIT}"
        )


def _properties() -> dict[str, str]:
    """What systemd knows of the unit."""
    done = _run("systemctl", "--user", "show", UNIT, f"--property={','.join(_SHOWN)}")
    return dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row)


def _enable_linger() -> str:
    """Switch lingering on; why that did not work, ``""`` if it did."""
    if shutil.which("loginctl") is None:
        return "there is no loginctl"
    done = _run("loginctl", "enable-linger", _user())
    return _said(done) if done.returncode else ""


def _lingers() -> bool:
    if shutil.which("loginctl") is None:
        return False
    return _run("loginctl", "show-user", _user(), "--property=Linger", "--value").stdout.strip() == "yes"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return subprocess.CompletedProcess(arguments, 1, "", str(e))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"


# --- the file -------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as e:
        raise OutputError(
            f"{path} cannot be written: {e.strerror}", "set XDG_CONFIG_HOME to a directory of your own"
        ) from None
