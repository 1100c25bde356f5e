"""The life of workers: forked from a warm server, watched by pidfd, replaced when they die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import multiprocess

from recd_client.errors import LimitError, WorkerError

from .registry import EXIT_LATER, EXIT_LOCKED, RETRY_FAILED_S, Group, Registry, Session

#: What the fork server imports once, for all workers.
_PRELOAD: Final = ["recd.worker", "recd.frames", "recd.sinks.csv", "recd.sinks.npz", "recd.sinks.hdf5"]
_LOCK_RETRY_S: Final = 0.5
_LATER_S: Final = 1.0
_FORK_RETRY_S: Final = 0.1
#: What multiprocess gives as the exit code of a worker whose fork server, which alone is told it, died as well.
_UNTOLD: Final = 255

log = logging.getLogger(__name__)


class Nursery:
    """Keeps one worker alive for each group; used in the supervisor's loop.

    Parameters
    ----------
    runtime : Path
        The runtime directory.
    registry : Registry
    """

    def __init__(self, runtime: Path, registry: Registry) -> None:
        self._runtime = runtime
        self._registry = registry
        self._context: Any = multiprocess.get_context("forkserver")
        self._watched: set[int] = set()
        #: The daemon stops: from now on nobody is started.
        self.closed = False

    def warm_up(self) -> None:
        """Start the fork server."""
        from multiprocess import forkserver

        self._context.set_forkserver_preload(_PRELOAD)
        forkserver.ensure_running()

    def start(
        self,
        session: Session,
        group: Group,
        create: dict[str, Any] | None = None,
        *,
        crashed: bool = False,
    ) -> None:
        """Fork a worker for a group; it reports by joining.

        Not while the daemon stops: it would be told nothing of that, and later start a daemon that nobody wants.

        Parameters
        ----------
        create : dict, optional
            Describes a session to begin.
        crashed : bool
            The worker before it died by itself.
        """
        if self.closed:
            self._refuse(session, group)
            return
        child = self._context.Process(
            target=_work,
            args=(str(self._runtime), str(session.directory), session.session, group.name, create),
            kwargs={"crashed": crashed},
            name=f"recd {session.name}/{group.name}",
        )
        try:
            child.start()
        except (
            OSError,
            EOFError,
        ) as e:  # somebody killed the fork server just now: the next start makes another
            log.warning(
                "session %s: no worker of group %s could be forked: %r", session.session, group.name, e
            )
            again = asyncio.get_running_loop().call_later
            again(_FORK_RETRY_S, lambda: self._not_forked(session, group, create, crashed=crashed))
            return

        def died() -> None:
            child.join(1.0)
            self._died(session, group, child.pid, child.exitcode, create)

        self._watch(child.pid, died)

    def _refuse(self, session: Session, group: Group) -> None:
        """Whoever waits for the worker is told that none comes."""
        group.fail("the daemon is stopping")
        if session.opened is not None and not session.opened.done():
            session.opened.set_exception(LimitError("the daemon is stopping", "try again in a moment"))
            self._registry.forget(session)

    def adopt(self, session: Session, group: Group, pid: int) -> None:
        """Watch a worker that joined, if it is not watched since it was started."""
        if pid not in self._watched:
            self._watch(pid, lambda: self._died(session, group, pid, None))

    def _watch(self, pid: int, died: Callable[[], None]) -> None:
        """Call ``died`` once when the process ends."""
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            loop.call_soon(died)
            return
        self._watched.add(pid)

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            self._watched.discard(pid)
            died()

        loop.add_reader(fd, ended)

    def _died(
        self,
        session: Session,
        group: Group,
        pid: int,
        exit_code: int | None,
        create: dict[str, Any] | None = None,
    ) -> None:
        """A worker ended: as it should, or it needs a successor."""
        group.leave(pid)
        if session.opened is not None and not session.opened.done():
            self._died_beginning(session, group, exit_code, create)
        elif self._registry.sessions.get(session.session) is not session:
            return  # it was refused: there is nothing to go on with
        elif group.ended or self.closed:
            if session.ended:
                self._registry.forget(session)
        elif group.handle is not None:
            return  # another one, which outlived the last supervisor, serves the group
        elif exit_code == EXIT_LOCKED:
            # Its holder will join, or die: look again then.
            asyncio.get_running_loop().call_later(_LOCK_RETRY_S, self._start_again, session, group)
        elif exit_code == EXIT_LATER:
            asyncio.get_running_loop().call_later(_LATER_S, self._start_again, session, group)
        else:
            log.warning(
                "session %s: worker %d of group %s died (%s)", session.session, pid, group.name, exit_code
            )
            # A SIGKILL comes from outside; of a worker that was adopted it is not known.
            self._replace(session, group, crashed=exit_code not in (None, 0, -signal.SIGKILL, _UNTOLD))

    def _replace(self, session: Session, group: Group, *, crashed: bool) -> None:
        """Start another worker, at once or, where too many have died of late, later."""
        if group.may_restart():
            self._start_again(session, group, crashed=crashed)
        else:
            log.error("session %s: group %s: %s", session.session, group.name, group.failed)
            later = asyncio.get_running_loop().call_later
            later(RETRY_FAILED_S, lambda: self._start_again(session, group, crashed=crashed))

    def _not_forked(
        self, session: Session, group: Group, create: dict[str, Any] | None, *, crashed: bool
    ) -> None:
        """Try once more, as behind the death of a worker."""
        if session.opened is not None and not session.opened.done():
            self._died_beginning(session, group, None, create)
        elif self._registry.sessions.get(session.session) is session and not self.closed:
            self._replace(session, group, crashed=crashed)

    def _died_beginning(
        self, session: Session, group: Group, exit_code: int | None, create: dict[str, Any] | None
    ) -> None:
        """The worker that was to begin a session ended: another one does it, or finds it begun."""
        if exit_code == EXIT_LOCKED:  # by one that a supervisor before had started: that one will join
            asyncio.get_running_loop().call_later(_LOCK_RETRY_S, self.start, session, group, create)
        elif group.may_restart():
            log.warning("session %s: its worker died while it began (%s)", session.session, exit_code)
            self.start(session, group, create)
        elif session.opened is not None:
            session.opened.set_exception(
                WorkerError("the session's worker died while it began", "see the daemon's log")
            )
            self._registry.forget(session)

    def _start_again(self, session: Session, group: Group, *, crashed: bool = False) -> None:
        if group.handle is None and not group.ended and not self.closed:
            group.try_again()
            self.start(session, group, crashed=crashed)


def _work(*arguments: Any, **options: Any) -> None:
    """Body of a worker process; what it needs is imported there, not in the supervisor."""
    from .worker import main

    main(*arguments, **options)
