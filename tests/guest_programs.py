"""What guests of tests do; named on the command line of `python -m recd.guests`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any


class Odd:
    """Does what it is asked, good or bad."""

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """One request."""
        if op == "echo":
            return {"got": bytes(raw).decode(), "header": header}
        if op == "where":
            return {"path": sys.path, "nice": os.nice(0), "variable": os.environ.get("GUEST_TEST")}
        if op == "raise":
            raise ValueError("that is wrong")
        if op == "exit":
            sys.exit("no more")
        if op == "gone":
            print("these are my last words", file=sys.stderr, flush=True)
            os._exit(7)
        if op == "segfault":
            ctypes.string_at(0)
        if op == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if op == "scribble":
            for fd in map(int, os.listdir("/proc/self/fd")):
                if fd < 3:
                    continue
                try:
                    os.write(fd, b"this is no message, and long enough for a head")
                except OSError:
                    continue
        if op == "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
            return {"pid": child.pid}
        if op == "fork_and_die":
            if os.fork() == 0:
                time.sleep(600)
            os._exit(5)
        if op == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            time.sleep(600)
        return None

    def leave(self) -> None:
        """Tell the file that the test gave."""
        if path := os.environ.get("GUEST_LEFT"):
            with open(path, "w") as file:
                file.write("left")
