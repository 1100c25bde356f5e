"""What the daemon tells a service manager that started it: sd_notify(3) in a few lines."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

#: How often the status is told where no watchdog asks for more.
_STATUS_S: Final = 10.0


class Notifier:
    """Tells the service manager; does nothing where there is none.

    Takes its variables out of the environment: a child that had them would speak for the daemon.

    Parameters
    ----------
    environ : mutable mapping
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        #: The daemon is killed when it is silent for so long; 0: it is not watched.
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and pid in ("", str(os.getpid())) else 0.0

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, **variables: object) -> None:
        """Send variables like ``READY=1``; never waits, and a manager that is gone is no error."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in variables.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), self._address)

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Say twice per watchdog period that the loop in which this runs goes on, and how it stands."""
        while self:
            self.tell(WATCHDOG=1, STATUS=status())
            await asyncio.sleep(self.watchdog_s / 2 or _STATUS_S)
