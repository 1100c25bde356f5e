"""Keeps the watcher of a recording alive while it is recorded, and knows how its alerts stand."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

from ..guests import consent
from ..guests.host import Guest, GuestDiedError, GuestFailedError
from ..session import SessionStore

_NICE: Final = 10
_AGAIN_S: Final = 0.5
_AGAIN_AT_MOST_S: Final = 10.0
#: What a recording's end waits for its watcher, at most.
_LAST_S: Final = 2.0
#: The same, of one that has not been up yet.
_FIRST_S: Final = 10.0
#: One that says nothing for so long hangs, or was stopped.
_SILENT_S: Final = 3.0
_JOIN_S: Final = 2.0

log = logging.getLogger(__name__)


class Keeper:
    """One watcher, with a thread that waits for its answers: nobody else ever does.

    Parameters
    ----------
    store : SessionStore
        With ``alerts`` in its spec.
    socket : Path
        The daemon's.
    """

    def __init__(self, store: SessionStore, socket: Path) -> None:
        spec = store.spec
        self._alerts: list[dict[str, Any]] = list(spec["alerts"])
        self._muted = not (store.allows_code and consent.given())
        told = [{**a, "command": None} if self._muted else a for a in self._alerts]
        self._request: dict[str, Any] = {
            "session": {"session": store.session, "name": spec["name"], "directory": str(store.directory)},
            "alerts": told,
            "socket": str(socket),
            "memory": str(store.path / "alerts.json"),
        }
        self._guest: Guest | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._last = threading.Event()
        self._done = threading.Event()
        self._answer: dict[str, Any] = {}
        self._reason = ""
        self._answered_s = time.monotonic()
        self._asked_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._keep, name="alerts", daemon=True)
        self._thread.start()

    # --- for the worker's loop -----------------------------------------------------------------------
    def status(self) -> list[dict[str, Any]]:
        """How each alert stands, for ``recd status``."""
        guest, answered = self._guest, self._answer.get("alerts") or []
        state, reason = "starting", self._reason
        if reason:
            state = "failed"
        elif time.monotonic() - self._answered_s > _SILENT_S:
            state, reason = "stalled", "its process does not answer"
        found = []
        for i, alert in enumerate(self._alerts):
            told = {"fired": 0, "skipped": 0, **(answered[i] if i < len(answered) else {})}
            if reason or not answered:
                told.update(state=state, reason=reason)
            if alert["command"] is not None and self._muted and not told["reason"]:
                told["reason"] = "its command is not run: this daemon does not run code that travels"
            found.append({**alert, **told, "pid": None if guest is None else guest.pid})
        return found

    def waits_for(self, stream: str) -> bool:
        """Whether a stream should be left a moment longer: the watcher has only just been started."""
        if stream in self._answer.get("streams", ()) or self._reason:
            return False
        return time.monotonic() - self._asked_s.setdefault(stream, time.monotonic()) < self._patience_s

    def finished(self) -> bool:
        """Whether the watcher has seen all, or had its time; it is gone then."""
        self._last.set()
        begun_s = self._asked_s.setdefault("", time.monotonic())
        if self._done.is_set() or self._reason or time.monotonic() - begun_s > self._patience_s:
            self.stop()
            return True
        return False

    @property
    def _patience_s(self) -> float:
        return _LAST_S if self._answer else _FIRST_S

    def stop(self) -> None:
        """The watcher is gone."""
        self._over.set()
        with self._lock:
            if self._guest is not None and self._thread.is_alive():
                self._guest.kill()
        self._thread.join(_JOIN_S)

    # --- its thread ----------------------------------------------------------------------------------
    def _keep(self) -> None:
        # The kernel ends a guest with the thread that started it: this one lives as long as the recording.
        again_s = _AGAIN_S
        while not self._over.is_set():
            begun_s = time.monotonic()
            try:
                with self._lock:
                    if self._over.is_set():
                        return
                    guest = self._guest = Guest("recd.alerts.guest:AlertGuest", "alerts", nice=_NICE)
            except OSError as e:
                self._tell(f"its process does not start: {e.strerror}")
            else:
                try:
                    self._serve(guest)
                except GuestFailedError as e:
                    self._tell(e.what)
                except GuestDiedError as e:
                    self._tell(e.how)
                finally:
                    with self._lock:
                        guest.close()
                        self._guest = None
            if self._done.is_set():
                return
            again_s = _AGAIN_S if time.monotonic() - begun_s > _AGAIN_AT_MOST_S else again_s
            self._over.wait(again_s)
            again_s = min(2 * again_s, _AGAIN_AT_MOST_S)

    def _serve(self, guest: Guest) -> None:
        guest.ask("begin", **self._request)
        while not self._over.is_set():
            last = self._last.is_set()
            self._answer = guest.ask("look", last=last, last_s=_LAST_S)
            self._answered_s = time.monotonic()
            self._reason = ""
            if last:
                self._done.set()
                return

    def _tell(self, reason: str) -> None:
        if not self._over.is_set():
            log.warning("alerts: %s; it is started again, recording goes on", reason)
            self._reason = reason
