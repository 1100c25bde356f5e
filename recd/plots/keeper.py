"""Starts a plot's window with its stream, ends it with its stream, and knows what became of it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Final

from recd_client.options import Plot
from recd_client.schema import Schema

from ..guests.host import Guest, GuestDiedError, GuestFailedError

_NICE: Final = 5
_JOIN_S: Final = 2.0

log = logging.getLogger(__name__)


class Keeper:
    """One window, with a thread that waits for its end: nobody else ever does.

    Parameters
    ----------
    options : Plot
    schema : Schema
    name : str
        Of the stream.
    log_directory : Path

    Attributes
    ----------
    note : str
        Why there is no window any more.
    """

    def __init__(self, options: Plot, schema: Schema, name: str, log_directory: Path) -> None:
        self.note = ""
        self._options = options
        self._request: dict[str, Any] = {
            "options": options.to_json(),
            "schema": schema.to_json(),
            "name": name,
            "log": str(log_directory),
        }
        self._name = f"window of {name}"
        self._guest: Guest | None = None
        self._over = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=self._name, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        # The kernel ends a guest with the thread that started it: this one lives as long as the window.
        environment = dict(self._options.display or {})
        try:
            with self._lock:
                if self._over:
                    return
                guest = self._guest = Guest(
                    "recd.plots.window:WindowGuest", self._name, nice=_NICE, environment=environment
                )
        except OSError as e:
            self._tell(f"its window does not start: {e.strerror}")
            return
        try:
            guest.ask("show", **self._request)
            self._tell("its window was closed")
        except GuestFailedError as e:
            self._tell(f"its window failed: {e.what}")
        except GuestDiedError as e:
            self._tell(f"its window is gone: {str(e).splitlines()[0]}")
        finally:
            with self._lock:
                guest.close()

    def _tell(self, note: str) -> None:
        if not self._over:
            log.warning("%s: %s; recording goes on", self._name, note)
            self.note = note

    def stop(self) -> None:
        """The window is gone."""
        self._over = True
        with self._lock:
            if self._guest is not None and self._thread.is_alive():
                self._guest.kill()
        self._thread.join(_JOIN_S)
