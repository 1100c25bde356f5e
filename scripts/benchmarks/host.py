"""Each way of recording in a process of its own, all of them told by one to go on in turns.

So no way pays for another one's threads, packages and memory, the memory of each can be told, and recd can be
there twice, with either core of its ring.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import recd_client

from .daemon import busy_ns, proportional_kib, resident_kib
from .kinds import FPS, FRAMES, Kind, Simulation
from .ways import RECD, BareCopy, Way

#: How long, and with how little work in it, a process is to be idle before somebody else's turn.
_QUIET_S: Final = 0.01
_QUIET_SHARE: Final = 0.15
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True)
class Outcome:
    """What was left of a way when it was over.

    Parameters
    ----------
    written, lost : int
        Samples: calls made, and those of them that the way told to be lost.
    found : int or None
        Samples counted in its file.
    disk_bytes : int
        Of all files that it left.
    own_mib, helpers_mib : float
        What the simulation's process grew by at most, and what other processes took at the end.
    """

    written: int
    found: int | None
    lost: int
    disk_bytes: int
    own_mib: float
    helpers_mib: float


class Host:
    """One way in a process of its own, as seen from outside.

    Parameters
    ----------
    way : type of Way
    kind : Kind
    directory : Path
        Empty; its own.
    step_us : float
        Length of a step of the simulation.
    backend : str, optional
        Which core recd's ring shall have.
    options
        For the way.
    """

    def __init__(
        self,
        way: type[Way],
        kind: Kind,
        directory: Path,
        step_us: float,
        *,
        backend: str | None = None,
        **options: Any,
    ) -> None:
        self.way = way
        #: Not another core than the one that is in use here.
        self.own_core = backend in (None, recd_client.BACKEND)
        self.name = way.name if self.own_core else f"{way.name} ({backend} core)"
        self.missing: str | None = None
        context = multiprocessing.get_context("spawn")
        self._line, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, way, kind, directory, step_us, options))
        with _backend(backend):
            self._process.start()
        far.close()
        self._ready = False

    def ready(self) -> bool:
        """It runs; False: something that it needs is ``missing``."""
        if not self._ready:
            verdict, value = self._line.recv()
            self._ready = True
            if verdict == "missing":
                self.missing = value
                self._process.join()
            elif verdict == "error":
                raise RuntimeError(f"{self.name}: {value}")
        return self.missing is None

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """What :class:`Stage` can do."""
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **options: Any) -> Any:
            self._line.send((method, args, options))
            verdict, value = self._line.recv()
            if verdict == "error":
                raise RuntimeError(f"{self.name}: {value}")
            return value

        return call

    def end(self) -> None:
        """Its process is gone."""
        self._line.close()
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Stage:
    """A way and its simulation, in their own process."""

    def __init__(
        self, way: type[Way], kind: Kind, directory: Path, step_us: float, options: dict[str, Any]
    ) -> None:
        self._simulation = Simulation(kind, step_us)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of memory begins here
        self._before_kib = resident_kib(os.getpid())
        self._way = way(directory, kind, **options)
        self._directory, self._kind = directory, kind
        self._written = 0

    def block(self, count: int) -> list[int]:
        """Nanoseconds of so many calls, each after a step."""
        simulation, room, dt = self._simulation, self._way.await_room, self._kind.dt

        def step() -> None:
            room()
            simulation()

        times = [(self._written + i) * dt for i in range(count)]
        took = self._way.block(simulation.data, times, step)
        self._written += count
        self.settle()
        return took

    def burst(self, count: int) -> tuple[float, Outcome]:
        """Seconds from the first of so many calls, one after the other, until all is in a complete file."""
        data, draw, write, dt = self._simulation.data, self._simulation.draw, self._way.write, self._kind.dt
        began_s = time.perf_counter()
        for i in range(count):
            draw()
            write(data, i * dt)
        self._written += count
        helpers_mib = self._helpers_mib()
        self._way.close()
        took_s = time.perf_counter() - began_s
        return took_s, self._outcome(helpers_mib)

    def loop(self, seconds: float, *, recorded: bool) -> float:
        """Steps per second; every state is recorded, but frames only so often per second of wall time."""
        simulation, data, write, dt = self._simulation, self._simulation.data, self._way.write, self._kind.dt
        frames, due_s, written, steps = self._kind.family == FRAMES, 0.0, self._written, 0
        start_s = now_s = time.perf_counter()
        while now_s - start_s < seconds:
            simulation.idle()
            steps += 1
            now_s = time.perf_counter()
            if frames:
                if now_s < due_s:
                    continue
                due_s = max(due_s + 1 / FPS, now_s - 1 / FPS)
            simulation.draw()
            if recorded:
                write(data, written * dt)
                written += 1
        self._written = written
        rate = steps / (time.perf_counter() - start_s)
        self.settle()
        return rate

    def settle(self) -> None:
        """Nobody works for this way any more."""
        self._way.settle()
        pids = [os.getpid(), *self._way.helpers()]
        end_s = time.monotonic() + _PATIENCE_S
        before = sum(map(busy_ns, pids))
        while time.monotonic() < end_s:
            time.sleep(_QUIET_S)
            after = sum(map(busy_ns, pids))
            if after - before < _QUIET_SHARE * _QUIET_S * 1e9:
                return
            before = after

    def info(self, name: str) -> Any:
        """What a method of the way says."""
        return getattr(self._way, name)()

    def finish(self) -> Outcome:
        """Close; what is left."""
        helpers_mib = self._helpers_mib()
        self._way.close()
        return self._outcome(helpers_mib)

    def _helpers_mib(self) -> float:
        return sum(map(proportional_kib, self._way.helpers())) / 1024

    def _outcome(self, helpers_mib: float) -> Outcome:
        own_mib = (_peak_kib() - self._before_kib) / 1024
        disk_bytes = sum(p.stat().st_size for p in self._directory.rglob("*") if p.is_file())
        found, lost = self._way.found(), self._way.lost()
        if found is not None and found + lost != self._written:
            raise RuntimeError(f"{self._written} samples written, {lost} lost, but {found} in the file")
        return Outcome(self._written, found, lost, disk_bytes, own_mib, helpers_mib)


def other_backend() -> str | None:
    """Another core of recd's ring that can be had here, beside the one in use; None: there is no other."""
    for backend in {"native", "python"} - {recd_client.BACKEND}:
        code = "import recd_client; print(recd_client.BACKEND)"
        with _backend(backend):
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == backend:
            return backend
    return None


@contextmanager
def _backend(backend: str | None) -> Iterator[None]:
    """Processes that are started meanwhile have this core."""
    before = os.environ.get("RECD_BACKEND")
    if backend is not None:
        os.environ["RECD_BACKEND"] = backend
    try:
        yield
    finally:
        if before is not None:
            os.environ["RECD_BACKEND"] = before
        elif backend is not None:
            del os.environ["RECD_BACKEND"]


def _serve(
    line: Any, way: type[Way], kind: Kind, directory: Path, step_us: float, options: dict[str, Any]
) -> None:
    """Do what the line says until it ends."""
    try:
        stage = Stage(way, kind, directory, step_us, options)
    except ImportError as e:
        line.send(("missing", (e.name or str(e)).partition(".")[0]))
        return
    except Exception as e:
        line.send(("error", f"{type(e).__name__}: {e}"))
        return
    line.send(("ready", None))
    while True:
        try:
            method, args, named = line.recv()
        except EOFError:
            break
        try:
            line.send(("ok", getattr(stage, method)(*args, **named)))
        except Exception as e:
            line.send(("error", f"{type(e).__name__}: {e}"))


def _peak_kib() -> int:
    """Resident memory of this process at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def open_hosts(
    ways: tuple[type[Way], ...],
    kind: Kind,
    directory: Callable[[], Path],
    step_us: float,
    notes: list[str],
    **recd_options: Any,
) -> list[Host]:
    """Those that can be had here, started side by side; what is missing is noted.

    recd is there with every core of its ring that there is, and bare copies go to memory as large as its ring.
    """
    hosts: list[Host] = []
    other = other_backend()
    for way in ways:
        if kind.family not in way.families:
            continue
        options = {}
        if way is BareCopy and hosts and hosts[0].ready():
            options["ring_bytes"] = hosts[0].info("capacity_bytes")
        elif issubclass(way, RECD):
            options = recd_options
        hosts.append(Host(way, kind, directory(), step_us, **options))
        if other is not None and issubclass(way, RECD):
            hosts.append(Host(way, kind, directory(), step_us, backend=other, **options))
    missing = {host.missing for host in hosts if not host.ready()}
    notes.extend(f"not compared: {name} is not installed" for name in sorted(map(str, missing)))
    return [host for host in hosts if host.missing is None]
