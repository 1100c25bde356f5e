"""What happens to the processes and the disk of a soak."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from killing import encoders, holders, kill_all
from soaking.recording import Recording
from support import processes_of

#: A worker that dies five times within ten seconds is given up, as it should be; and so is an encoder that
#: brings nothing about three times in a row.
MOST_DEATHS: Final = 2
WINDOW_S: Final = 10.0
LONGEST_STALL_S: Final = 2.0


class Faults:
    """Brings one fault after the other about.

    Parameters
    ----------
    runtime : Path
        Of the daemon.
    disk : Path or None
        A file system of its own that may be filled.
    chance : random.Random
    spared : set of int
        Simulations that are left alone.
    """

    def __init__(self, runtime: Path, disk: Path | None, chance: random.Random, spared: set[int]) -> None:
        self.runtime = runtime
        self.disk = disk
        self.chance = chance
        self.spared = spared
        self.count: Counter[str] = Counter()
        self.spare_daemon = False
        self._deaths: defaultdict[str, list[float]] = defaultdict(list)
        self._stopped: dict[int, float] = {}
        self._filled_until = 0.0

    def strike(self, recordings: list[Recording]) -> None:
        """One fault at random."""
        kinds: dict[str, Callable[[list[Recording]], bool]] = {
            "simulation killed": self._kill_simulation,
            "worker killed": self._kill_worker,
            "ffmpeg killed": self._kill_encoder,
            "worker, ffmpeg or supervisor stopped for a while": self._stop,
        }
        if self.disk is not None:
            kinds["disk full for a while"] = self._fill
        if not self.spare_daemon:
            kinds["supervisor killed"] = self._kill_supervisor
            kinds["fork server killed"] = self._kill_fork_server
            kinds["whole daemon killed"] = self._kill_daemon
        kind = self.chance.choice(sorted(kinds))
        if recordings and kinds[kind](recordings):
            self.count[kind] += 1

    def relent(self, *, all_of_it: bool = False) -> None:
        """What was only for a while ends."""
        now = time.monotonic()
        for pid, until in list(self._stopped.items()):
            if all_of_it or now > until:
                del self._stopped[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        if self.disk is not None and (all_of_it or now > self._filled_until):
            (self.disk / "filler").unlink(missing_ok=True)

    # --- deaths ------------------------------------------------------------------------------------
    def _may_die(self, what: str) -> bool:
        now = time.monotonic()
        self._deaths[what] = [t for t in self._deaths[what] if now - t < WINDOW_S]
        if len(self._deaths[what]) >= MOST_DEATHS:
            return False
        self._deaths[what].append(now)
        return True

    def _kill_simulation(self, recordings: list[Recording]) -> bool:
        victim = self.chance.choice(recordings).process
        if victim.pid in self.spared or victim.poll() is not None:
            return False
        victim.kill()
        return True

    def _workers(self, recordings: list[Recording]) -> list[tuple[str, int]]:
        return [
            (f"{r.directory} {group}", pid) for r in recordings for group, pid in holders(r.directory).items()
        ]

    def _kill_worker(self, recordings: list[Recording]) -> bool:
        workers = self._workers([r for r in recordings if r.process.pid not in self.spared])
        if not workers:
            return False
        name, pid = self.chance.choice(workers)
        return self._may_die(name) and bool(kill_all([pid]))

    def _kill_encoder(self, recordings: list[Recording]) -> bool:
        found = encoders(self.runtime)
        return bool(found) and self._may_die("ffmpeg") and bool(kill_all([self.chance.choice(found)]))

    def _of_command(self, word: str) -> list[int]:
        return [pid for pid, command in processes_of(self.runtime).items() if word in command]

    def _kill_supervisor(self, recordings: list[Recording]) -> bool:
        return bool(kill_all(self._of_command("recd start --foreground")))

    def _kill_fork_server(self, recordings: list[Recording]) -> bool:
        workers = {pid for _, pid in self._workers(recordings)}
        return bool(kill_all(pid for pid in self._of_command("forkserver") if pid not in workers))

    def _kill_daemon(self, recordings: list[Recording]) -> bool:
        """Supervisor, fork server, every worker and encoder, at once."""
        if not all(self._may_die(name) for name, _ in self._workers(recordings)):
            return False
        simulations = {r.process.pid for r in recordings}
        ours = {os.getpid(), *simulations}
        return bool(kill_all(pid for pid in processes_of(self.runtime) if pid not in ours))

    # --- stalls ------------------------------------------------------------------------------------
    def _stop(self, recordings: list[Recording]) -> bool:
        found = [pid for _, pid in self._workers(recordings)]
        found += [*encoders(self.runtime), *self._of_command("recd start --foreground")]
        if not found:
            return False
        pid = self.chance.choice(found)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopped[pid] = time.monotonic() + self.chance.uniform(0.05, LONGEST_STALL_S)
        return True

    def _fill(self, recordings: list[Recording]) -> bool:
        """Leave the disk a few pages, or some hundred KiB, for some seconds."""
        if self.disk is None or (self.disk / "filler").exists():
            return False
        st = os.statvfs(self.disk)
        room = st.f_bavail * st.f_frsize - self.chance.choice([0, 4096, 100_000, 500_000])
        if room <= 0:
            return False
        fd = os.open(self.disk / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, room)
        except OSError:  # somebody was quicker: what is left is little enough
            return True
        finally:
            os.close(fd)
            self._filled_until = time.monotonic() + self.chance.uniform(0.2, LONGEST_STALL_S)
        return True
