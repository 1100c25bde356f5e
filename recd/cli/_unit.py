"""The systemd user unit of the daemon: where it lies and what it says. Nothing here changes anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..paths import runtime_dir

UNIT: Final = "recd.service"
#: A supervisor whose loop does not turn for so long is replaced.
WATCHDOG_S: Final = 30
#: More than recd.supervisor's STOP_DEADLINE_S and STOP_GRACE_S together (a test holds that).
STOP_TIMEOUT_S: Final = 45
#: Set in the shell that installs, these hold for the service too: it must be the daemon that this shell finds.
_CARRIED: Final = ("PYTHONPATH", "XDG_STATE_HOME", "RECD_FFMPEG", "RECD_FFMPEG_PATIENCE_S", "RECD_LOG_LEVEL")
#: In the unit when lingering was not on before: then ``remove`` switches it off again.
LINGER_MARK: Final = "X-RecdEnabledLinger=yes"

_TEMPLATE: Final = """\
# Made by `recd service install`; remove it with `recd service remove`. Own settings: systemctl --user edit {unit}
[Unit]
Description=recd, the recorder of simulations
StartLimitIntervalSec=60
StartLimitBurst=10
{mark}
[Service]
Type=notify
ExecStart={command}
# Not the home directory: Python would look there first for modules.
WorkingDirectory=/
{environment}
Restart=on-failure
RestartSec=200ms
# A supervisor that hangs says nothing any more, and is replaced.
WatchdogSec={watchdog_s}
# Only the supervisor is ever killed: when it crashes, its workers go on recording and join the next one.
KillMode=process
# SIGTERM drains by a deadline of its own, which is shorter.
TimeoutStopSec={stop_s}
# A worker that the kernel kills for memory gets a successor; the other recordings go on.
OOMPolicy=continue

[Install]
WantedBy=default.target
"""


def unit_dir() -> Path:
    """Where this user's units are."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "systemd" / "user"


def unit_path() -> Path:
    """The unit's file."""
    return unit_dir() / UNIT


def wants_path() -> Path:
    """The link by which systemd starts the unit with the user's session, once it is enabled."""
    return unit_dir() / "default.target.wants" / UNIT


def unit_text(environ: Mapping[str, str], *, enabled_linger: bool, allow_code: bool = False) -> str:
    """What the unit says, for this interpreter and the settings in ``environ``."""
    carried = {k: v for k, v in environ.items() if v and (k in _CARRIED or k.startswith("RECD_MAX_"))}
    if "PYTHONPATH" in carried:
        entries = carried["PYTHONPATH"].split(os.pathsep)
        carried["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in entries)
    carried["RECD_RUNTIME_DIR"] = str(runtime_dir())
    command = [sys.executable, "-m", "recd", "start", "--foreground"]
    return _TEMPLATE.format(
        unit=UNIT,
        mark=LINGER_MARK + "\n" if enabled_linger else "",
        command=_words([*command, *(["--allow-code"] if allow_code else [])], dollar="$$"),
        environment="\n".join(f"Environment={_words([f'{k}={v}'])}" for k, v in sorted(carried.items())),
        watchdog_s=WATCHDOG_S,
        stop_s=STOP_TIMEOUT_S,
    )


def _words(words: Sequence[str], dollar: str = "$") -> str:
    """Words as systemd reads them back: quoted where need be, no specifier and no variable expanded."""
    quoted = []
    for word in words:
        text = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        text = text.replace("%", "%%").replace("$", dollar)
        quoted.append(text if text == word and word and not set(word) & set(" \t';") else f'"{text}"')
    return " ".join(quoted)
