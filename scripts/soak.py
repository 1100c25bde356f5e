"""Record for a long time while processes are killed and stopped and the disk fills up: ``make soak``.

::

    python scripts/soak.py                  half an hour
    python scripts/soak.py --minutes 5 --sessions 4 --seed 7

Several recordings at a time, arrays and a small video each, into a small file system of their own (a tmpfs in
a mount namespace, where the system allows one; else the disk is never full). Every finished recording is read
by its formats' own readers and compared with what its simulation said of each write. One recording lasts all the
time and is spared, as is the daemon in the last two thirds of it: their memory must not grow. Prints a table;
exit code 1 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests"), str(Path(__file__).resolve().parent)]

from benchmarks.daemon import own_daemon  # noqa: E402
from soaking import recording  # noqa: E402
from soaking.faults import Faults  # noqa: E402
from soaking.memory import Slope  # noqa: E402
from soaking.recording import Accounts, Recording  # noqa: E402

from killing import holders  # noqa: E402
from leaks import Census, leaks_since  # noqa: E402
from support import processes_of  # noqa: E402

DISK_BYTES: Final = 256 << 20
#: What the recording that lasts all the time may need more, for each minute.
_MORE_BYTES_PER_MINUTE: Final = 48 << 20
#: A recording that is not finished so long after everything came to rest never is.
PATIENCE_S: Final = 120.0
_START_AGAIN_S: Final = 2.0
_LOOK_S: Final = 1.0


class Soak:
    """Everything that goes on.

    Parameters
    ----------
    directory : Path
        Where recordings go.
    runtime : Path
    own_disk : bool
        Whether the directory is a file system of its own.
    options : argparse.Namespace
    """

    def __init__(self, directory: Path, runtime: Path, own_disk: bool, options: argparse.Namespace) -> None:
        self.directory = directory
        self.runtime = runtime
        self.options = options
        self.chance = random.Random(options.seed)
        self.accounts = Accounts()
        self.running: list[Recording] = []
        self.number = 0
        seconds = options.minutes * 60
        self.begin = time.monotonic()
        self.steady = Recording(directory / "steady", seconds, options.seed, "steady")
        self.running.append(self.steady)
        disk = directory if own_disk else None
        self.faults = Faults(runtime, disk, self.chance, {self.steady.process.pid})
        self.supervisor, self.worker = Slope("supervisor"), Slope("worker")
        self._started_s = self._looked_s = 0.0

    def run(self) -> None:
        """Record, and bring faults about, until time is up; then let everything come to rest."""
        end = self.begin + self.options.minutes * 60
        next_fault = 0.0
        while (now := time.monotonic()) < end:
            while len(self.running) < self.options.sessions + 1:
                self.number += 1
                self.running.append(recording.new(self.directory, self.number, self.chance))
            if now > next_fault:
                self.faults.strike(self.running)
                next_fault = now + self.chance.uniform(0.1, 1.5)
            self.faults.spare_daemon = now - self.begin > self.options.minutes * 20
            self._tend()
        self.faults.relent(all_of_it=True)
        deadline = time.monotonic() + PATIENCE_S
        while self.running and time.monotonic() < deadline:
            self._tend()
        for left in self.running:
            self.accounts.wrong.append(f"{left.directory} was not finished")
            left.process.kill()

    def _tend(self) -> None:
        """What is always to be done."""
        self.faults.relent()
        self._start_again()
        self._look()
        for one in list(self.running):
            if not one.listen() and one.finished:
                self.running.remove(one)
                proved = one.proved()
                self.accounts.add(proved)
                if not proved.violations:  # else somebody will want to look
                    shutil.rmtree(one.directory, ignore_errors=True)
                    one.errors.unlink()
                else:
                    print(f"violation: {proved.violations}", file=sys.stderr, flush=True)
        time.sleep(0.01)

    def _start_again(self) -> None:
        """After a death of everything, the next start is somebody's who wants to record, or this one."""
        now = time.monotonic()
        if now - self._started_s < _START_AGAIN_S:
            return
        self._started_s = now
        if not any("--foreground" in c for c in processes_of(self.runtime).values()):
            subprocess.Popen(
                [sys.executable, "-m", "recd", "start"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ).wait()

    def _look(self) -> None:
        """Note how much memory they have, once nobody is killed any more."""
        now = time.monotonic()
        if now - self._looked_s < _LOOK_S or not self.faults.spare_daemon:
            return
        self._looked_s = now
        supervisors = [p for p, c in processes_of(self.runtime).items() if "recd start --foreground" in c]
        self.supervisor.look(supervisors[0] if supervisors else None, now)
        self.worker.look(holders(self.steady.directory).get("main"), now)


def report(soak: Soak, leaks: list[str]) -> list[str]:
    """Print the table; what was not kept."""
    accounts = soak.accounts
    lost = ", ".join(f"{n} {cause}" for cause, n in sorted(accounts.lost.items()) if n) or "0"
    rows: list[tuple[str, Any]] = [
        ("duration", f"{(time.monotonic() - soak.begin) / 60:.1f} min, seed {soak.options.seed}"),
        ("recordings", f"{accounts.recordings} ({accounts.killed} killed, {accounts.refused} refused)"),
        ("files read", accounts.files),
        ("samples attempted", accounts.attempted),
        ("durable", accounts.durable),
        ("lost, by cause", lost),
        ("in flight at a kill", accounts.in_flight),
        ("attempted - durable - lost - in flight", accounts.balance),
        ("repeated", accounts.repeated),
        ("missing", accounts.missing),
        ("torn", accounts.torn),
        ("unreadable", accounts.unreadable),
        *sorted(soak.faults.count.items()),
        ("left over: shared memory, descriptors, threads, processes", ", ".join(leaks) or 0),
    ]
    violations = accounts.violations + [f"left over: {leak}" for leak in leaks]
    for slope in (soak.supervisor, soak.worker):
        growth, noise, mean = slope.fit()
        if math.isnan(growth):
            rows.append((f"memory of the {slope.name}", "too short to tell"))
            continue
        rows.append((f"memory of the {slope.name}", f"{mean:.0f} KiB, {growth:+.0f} ± {noise:.0f} KiB"))
        if slope.grows:
            violations.append(f"memory of the {slope.name} grows by {growth:.0f} KiB")
    width = max(len(name) for name, _ in rows)
    print(f"| {'what':{width}} | how many |\n|{'-' * (width + 2)}|---|")
    print("\n".join(f"| {name:{width}} | {value} |" for name, value in rows), flush=True)
    return violations


def soak_here(directory: Path, own_disk: bool, options: argparse.Namespace) -> int:
    """Soak; the exit code."""
    runtime = Path(os.environ["RECD_RUNTIME_DIR"])
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True, stdout=subprocess.DEVNULL)
    calm = Recording(directory / "calm", 1.0, 0)
    while calm.listen() or not calm.finished:
        time.sleep(0.01)
    before = Census.when_idle(runtime)
    soak = Soak(directory, runtime, own_disk, options)
    soak.accounts.add(calm.proved())
    soak.run()
    violations = report(soak, leaks_since(before, runtime))
    for violation in violations:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    if violations:
        said = Path(tempfile.gettempdir()) / f"recd-soak-{options.seed}.log"
        shutil.copyfile(runtime / "daemon.log", said)
        print(f"what the daemon said: {said}", file=sys.stderr)
    return 1 if violations else 0


def in_a_namespace(arguments: list[str]) -> int | None:
    """Run this again with a mount namespace of its own; None where the system does not let us have one."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    private = ["unshare", "--mount", *as_root]
    if not shutil.which("unshare") or subprocess.run([*private, "true"], capture_output=True).returncode:
        return None
    return subprocess.run([*private, sys.executable, __file__, "--mounted", *arguments]).returncode


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(description="Record for a long time while everything goes wrong.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=3, help="recordings at a time (default: 3)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    parser.add_argument("--dir", type=Path, help="where to record (default: a temporary one)")
    parser.add_argument("--mounted", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.mounted and (code := in_a_namespace(sys.argv[1:])) is not None:
        return code
    os.environ["RECD_COMMAND"] = f"{sys.executable} -m recd"
    with own_daemon(options.dir, quick=False) as bench, tempfile.TemporaryDirectory() as plain:
        own_disk = False
        if options.mounted:
            disk_bytes = DISK_BYTES + int(options.minutes * _MORE_BYTES_PER_MINUTE)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={disk_bytes}", "recd-soak", plain]
            own_disk = subprocess.run(mount, capture_output=True).returncode == 0
        if not own_disk:
            print("no file system of our own: the disk will not be full", file=sys.stderr)
        try:
            return soak_here(Path(plain) if own_disk else bench.directory, own_disk, options)
        finally:
            if own_disk:
                subprocess.run(["umount", "--lazy", plain], check=False)


if __name__ == "__main__":
    sys.exit(main())
