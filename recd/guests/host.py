"""A guest as its worker sees it: started, asked, and ended, whatever it does."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from recd_client.errors import ProtocolError

from .wire import Wire

_TAIL_BYTES: Final = 4096
#: What one guest may add to the worker's log.
_MAX_LOGGED_BYTES: Final = 1 << 20
_JOIN_S: Final = 1.0
#: A SIGKILL takes effect at once, unless the process hangs in the kernel (a disk, or a driver, that does not answer).
_KILL_S: Final = 1.0

log = logging.getLogger(__name__)


class GuestFailedError(Exception):
    """The guest's code raised; the guest lives on.

    Parameters
    ----------
    what : str
        Class and message of its exception.
    trace : str
        Its traceback, as Python prints it.
    """

    def __init__(self, what: str, trace: str) -> None:
        super().__init__(what)
        self.what = what
        self.trace = trace


class GuestDiedError(Exception):
    """The guest's process ended, or said something that is no answer; it is gone.

    Parameters
    ----------
    how : str
        How it ended, in a line.
    said : str
        The end of what it wrote to its standard output and error.
    by_sigkill : bool
        A SIGKILL comes from outside, and says nothing of the guest's code.
    """

    def __init__(self, how: str, said: str = "", *, by_sigkill: bool = False) -> None:
        super().__init__(how + (f"; it said last:\n{said}" if said else ""))
        self.how = how
        self.said = said
        self.by_sigkill = by_sigkill


class Guest:
    """A child process, a fresh interpreter, that answers requests one after the other.

    It dies with its worker, and when its end of the wire closes. Its standard output and error go to the worker's
    log; the end of them is kept, for the reason of a failure.

    One thread at a time may :meth:`ask`; any thread may :meth:`kill` meanwhile. The kernel ends the guest together
    with the *thread* that started it, so that thread should be one that lives on.

    Parameters
    ----------
    program : str
        ``"package.module:factory"`` of recd's own: a callable that returns the handler of requests, see
        :func:`recd.guests.child.serve`.
    name : str
        For the log.
    nice : int
        How much nicer than its worker it is.
    environment : mapping, optional
        Variables beside the worker's.
    """

    def __init__(
        self, program: str, name: str, *, nice: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._abandoned = False
        self._tail = bytearray()
        with contextlib.ExitStack() as undo:  # of what is there when a step fails: descriptors, a process
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                output_end, input_end = os.pipe()
                undo.callback(os.close, output_end)
                try:
                    self._process = self._spawn(program, nice, environment, theirs.fileno(), input_end)
                finally:
                    os.close(input_end)
            undo.callback(self._end)
            self._wire = Wire(ours)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._pidfd)
            self._listener = threading.Thread(
                target=self._listen, args=(output_end,), name="guest output", daemon=True
            )
            self._listener.start()
            undo.pop_all()

    @staticmethod
    def _spawn(
        program: str, nice: int, environment: Mapping[str, str] | None, wire: int, output: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "recd.guests",
                str(wire),
                str(nice),
                str(os.getpid()),
                program,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(wire,),
            # As of the daemon itself: a directory in which nothing is that could be imported by mistake.
            cwd="/",
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C is not for it, and what it starts can be ended with it
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, op: str, buffers: Sequence[memoryview] = (), **fields: Any) -> dict[str, Any]:
        """The answer to a request; waits for it for as long as the guest lives.

        Raises
        ------
        GuestFailedError
            The guest's code raised.
        GuestDiedError
            The guest is gone, or is now.
        """
        try:
            self._wire.send({"op": op, **fields}, buffers)
            answer = self._answer()
        except (OSError, ProtocolError) as e:
            self.kill()
            raise self._epitaph(e) from None
        if error := answer.get("error"):
            raise GuestFailedError(str(error.get("what")), str(error.get("trace")))
        return answer

    def _answer(self) -> dict[str, Any]:
        poll = select.poll()
        poll.register(self._wire.fileno(), select.POLLIN)
        # The wire's end alone would not tell: a child of its own may hold it too.
        poll.register(self._pidfd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if self._wire.fileno() not in ready:
            raise ProcessLookupError
        message = self._wire.receive(max_raw_bytes=0)
        if message is None:
            raise ConnectionResetError
        return message[0]

    def said(self) -> str:
        """The end of what it wrote to its standard output and error."""
        return bytes(self._tail).decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """It is gone, and what it started in its session with it; its last words are known.

        One that hangs in the kernel goes when that lets go of it; it is not waited for.
        """
        if self._end():
            self._listener.join(_JOIN_S)

    def _end(self) -> bool:
        """Kill the process and take leave of it; whether it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._abandoned:
            return False
        try:
            self._process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self._abandoned = True
            log.warning("%s, pid %d, hangs in the kernel; it is left behind", self.name, self.pid)
        return not self._abandoned

    def close(self) -> None:
        """It is gone, and nothing of it is held any more; not while another thread asks."""
        self.kill()
        self._wire.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def leave(self, timeout_s: float) -> bool:
        """Hang up, so that it ends in its own way; whether it did in time."""
        self._wire.close()
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1e3))

    def _epitaph(self, error: Exception) -> GuestDiedError:
        """How it ended, with its last words."""
        code = self._process.poll()
        if isinstance(error, ProtocolError):
            how = f"wrote to recd's own channel: {error.what}"
        elif code is None:
            how = "hangs in the kernel, and was left behind"
        elif code < 0:
            how = f"was killed by {_signal_name(-code)}"
        else:
            how = f"ended by itself, exit code {code}"
        return GuestDiedError(f"its process {how}", self.said(), by_sigkill=code == -signal.SIGKILL)

    def _listen(self, fd: int) -> None:
        """Keep the end of what it says, and put it into the worker's log, up to a limit."""
        logged = 0
        with open(fd, "rb", buffering=0) as output:
            while said := output.read(1 << 16):
                self._tail += said
                del self._tail[:-_TAIL_BYTES]
                if logged > _MAX_LOGGED_BYTES:
                    continue
                logged += len(said)
                for line in said.decode("utf-8", "replace").splitlines():
                    log.info("%s says: %s", self.name, line)
                if logged > _MAX_LOGGED_BYTES:
                    log.warning("%s has said %d bytes; more is not logged", self.name, logged)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
