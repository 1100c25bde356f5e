"""Kill sweeps: recordings that workers are killed in, at every point, and the model of what must come out.

A :class:`Take` is one recording without a daemon: the test prepares session and ring, a thread of the test is the
simulation, and workers are forked one after the other (:mod:`executioner`), each killed where it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

import recordings
from recd.registry import EXIT_LOCKED, MAIN_GROUP
from recd.session import SessionStore
from recd_client import layout, shm
from recd_client.options import SinkOptions, VideoFile
from recd_client.process import boot_id, start_ticks
from recd_client.ring import RingProducer
from recd_client.schema import FIXED, Field, Schema
from recd_client.shm import Segment
from sink_samples import fields

#: A record of it takes 192 bytes.
STATE = fields(i=(FIXED, "<i8", ()), x=(FIXED, "<f8", (12,)))
#: A record of it takes 3,136 bytes.
FILM = Schema((Field("data", "|u1", (48, 64)),), bare=True)
#: So many steps in a short run as in a long one.
SMALL = {
    "recd.track:CHUNK_BYTES": 4096,
    "recd.log_writer:SEGMENT_BYTES": 16384,
    "recd.samples:_SLICE_BYTES": 2048,
    "recd.samples:_CHECKPOINT_NS": 0,
    "recd.worker:_LOOK_EVERY_NS": 1_000_000,
    "recd.pieces:_LOOK_NS": 1_000_000,
}
SESSION = "20260101T000000-sweep"

#: What a simulation does: ``("write", n)``, ``("lose", n)``, ``("mark",)``, ``("reset",)``, ``("discard",)``.
Script = Sequence[tuple[Any, ...]]
AnyTake = TypeVar("AnyTake", bound="Take")
#: Makes a recording in a directory, and closes the one before it.
InTurn = Callable[[Callable[[Path], AnyTake]], AnyTake]


class Executioner:
    """The process that forks workers and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("executioner.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, **request: Any) -> dict[str, Any]:
        """Let a worker live until it has finished or is killed; how it ended (:class:`kill_points.Ended`)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        ended: dict[str, Any] = json.loads(self._process.stdout.readline())
        return ended

    def close(self) -> None:
        """End it."""
        assert self._process.stdout is not None
        self._process.communicate()


# --- what must come out -------------------------------------------------------------------------------


@dataclass
class Model:
    """The parts of a stream's file, told in the order of the stream."""

    split: int | None = None
    by_reset: bool = False
    film: bool = False
    done: list[list[int]] = field(default_factory=list)
    part: list[int] = field(default_factory=list)
    written: int = 0
    seq: int = 0

    def tell(self, script: Script) -> list[list[int]]:
        """Which samples are in which part; of a film -1 stands for one that was lost."""
        for what, *count in script:
            for _ in range(count[0] if count else 1):
                getattr(self, "_" + what)()
        if self.part or not (self.done or self.film):
            self._roll()
        return self.done

    def _write(self) -> None:
        self.part.append(self.seq)
        self.seq += 1
        self.written += 1
        if self.split is not None and sum(seq >= 0 for seq in self.part) == self.split:
            self._roll()

    def _lose(self) -> None:
        self.seq += 1
        if self.film:
            self.part.append(-1)

    def _mark(self) -> None:
        return

    def _reset(self) -> None:
        if self.by_reset and self.part:
            self._roll()

    def _discard(self) -> None:
        self.part = []

    def _roll(self) -> None:
        self.done.append(self.part)
        self.part = []


# --- the simulation -----------------------------------------------------------------------------------


def payload_of(schema: Schema, seq: int) -> bytes:
    """A sample that tells its number all over."""
    sample: NDArray[Any] = np.zeros((), schema.struct_dtype)
    if schema is FILM:
        sample["data"] = recordings.numbered(seq, (48, 64))
    else:
        sample["i"], sample["x"] = seq, seq / 8
    return sample.tobytes()


class Body:
    """A process whose life is the simulation's, for whoever looks at it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.pid = self._process.pid

    def die(self) -> None:
        """It is gone."""
        self._process.communicate()


class Actor(threading.Thread):
    """Plays a script into a ring, waiting for room; then the process that it stands for is gone."""

    def __init__(self, schema: Schema, segment: Segment, script: Script, *, closes: bool, body: Body) -> None:
        super().__init__(daemon=True)
        self.body = body
        self.schema = schema
        self.script = script
        self.closes = closes
        self.segment = segment
        self.producer = RingProducer(segment.memory)
        self.called_off = False

    def run(self) -> None:
        """Play."""
        for what, *count in self.script:
            for _ in range(count[0] if count else 1):
                self._wait_for_room()
                if self.called_off:
                    return
                self._do(what)
        self._end()

    def _end(self) -> None:
        if self.closes:
            self.producer.close(0.0, 0, 0)
        self.body.die()

    def _has_room(self) -> bool:
        """Whether there is, whatever comes next: a record, padding, a loss to tell, what is kept back for the end."""
        producer = self.producer
        need = 2 * layout.record_bytes(self.schema.payload_bytes) + 2 * layout.CONTROL_RESERVE_BYTES
        return producer.head - producer.word("free_pos") <= producer.capacity_bytes - need

    def _wait_for_room(self) -> None:
        while not (self._has_room() or self.called_off):
            time.sleep(0.0002)

    def _do(self, what: str) -> None:
        producer = self.producer
        seq = producer.next_seq
        when = (seq / 8, seq, seq * 1_000_000)
        if what == "write":
            payload = payload_of(self.schema, seq)
            size = layout.record_bytes(len(payload))
            at = producer.reserve(size) + layout.HEADER_BYTES
            assert at >= layout.HEADER_BYTES
            producer.buffer[at : at + len(payload)] = payload
            producer.publish(size, len(payload), *when)
        elif what == "lose":
            producer.lose("interrupted", 64, when[0], when[2])
        elif what == "mark":
            assert producer.mark("hello", {"n": seq}, *when)
        else:
            assert producer.mark(f"recd.{what}", {"envs_idx": None} if what == "reset" else {}, *when)


# --- one recording ------------------------------------------------------------------------------------


class Take:
    """One recording of one stream, from its ring to its finished files.

    Parameters
    ----------
    executioner : Executioner
    runtime, directory : Path
        Directories of its own.
    sinks : sequence of SinkOptions
    script : Script
    closes : bool
        Whether the simulation closes the stream; else it is found dead, of which nothing is lost either.
    """

    def __init__(
        self,
        executioner: Executioner,
        runtime: Path,
        directory: Path,
        sinks: Sequence[SinkOptions],
        script: Script,
        *,
        closes: bool = True,
        durability: str = "process",
    ) -> None:
        self.executioner = executioner
        self.runtime = runtime
        self.directory = directory
        self.sinks = sinks
        self.script = script
        self.errors = directory.with_suffix(".stderr")
        self.film = any(isinstance(sink, VideoFile) for sink in sinks)
        self.group = "video-s" if self.film else MAIN_GROUP
        schema = FILM if self.film else STATE
        body = Body()
        store = SessionStore(directory, SESSION)
        store.create(
            {
                "dt": None, "metadata": {}, "durability": durability, "overwrite": "error",
                "spool_limit_bytes": None, "code": {}, "cwd": str(directory), "session": SESSION, "name": "sweep",
                "clocks": {"wall_ns": 0, "mono_ns": 0}, "client_pid": body.pid, "client_ticks": start_ticks(body.pid),
                "runtime_dir": str(runtime), "boot_id": boot_id().hex(), "recd": "0",
            }
        )  # fmt: skip
        request = {
            "stream": "s", "schema": schema.to_json(), "sinks": [s.to_json() for s in sinks],
            "overflow": "block", "buffer_bytes": 16384 if not self.film else 65536,
        }  # fmt: skip
        spec = store.attach(request, shm.runtime_tag(runtime))
        self.segment = Segment.open(spec["ring"])
        self.actor = self.new_actor(schema, closes=closes, body=body)
        self.store = store
        self.where: list[str] = []

    def new_actor(self, schema: Schema, *, closes: bool, body: Body) -> Actor:
        """The simulation."""
        return Actor(schema, self.segment, self.script, closes=closes, body=body)

    def request(self) -> dict[str, Any]:
        """What the executioner is told of each worker; see there."""
        return {"constants": SMALL}

    def play(self, *kills: dict[str, Any]) -> list[dict[str, Any]]:
        """One worker after the other: each killed as told, the last one not; how each one ended.

        At every death the finished files are opened. After the last one, everything is finished.
        """
        self.actor.start()
        ends = []
        for kill in kills:
            ends.append(self._worker(self.group, **kill))
            self.where.append(ends[-1]["where"])
            assert ends[-1]["code"] == (-9 if self._died(kill, ends[-1]) else 0), self._said()
            self.check_openable()
        ends.append(self._worker(self.group))
        assert ends[-1]["code"] == 0, self._said()
        self.actor.join(60)
        assert not self.actor.is_alive(), self._said()
        if self.film:  # the session is the main worker's
            assert self._worker(MAIN_GROUP)["code"] == 0, self._said()
        return ends

    def _died(self, kill: dict[str, Any], ended: dict[str, Any]) -> bool:
        return bool(ended["where"]) if "at" in kill else ended["code"] == -9

    def _worker(self, group: str, **kill: Any) -> dict[str, Any]:
        request: dict[str, Any] = dict(
            runtime=str(self.runtime),
            directory=str(self.directory),
            session=SESSION,
            group=group,
            environment={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"], "RECD_LOG_LEVEL": "DEBUG"},
            stderr=str(self.errors),
            **self.request(),
            **kill,
        )
        while (ended := self.executioner.run(**request))["code"] == EXIT_LOCKED:
            time.sleep(0.005)  # an ffmpeg that the dead one was about to start still has its lock
        return ended

    def _said(self) -> str:
        said = self.errors.read_text() if self.errors.exists() else ""
        return f"killed at {self.where}; the workers said:\n{said}"

    # --- proving ---------------------------------------------------------------------------------
    def check_openable(self) -> None:
        """Every file under a final name opens, and is whole."""
        for path in self.directory.iterdir():
            if ".part" not in path.name and path.suffix in (".csv", ".npz", ".h5", ".mp4"):
                assert self.read(path), self._said()

    def check(self) -> None:
        """Files and manifest tell exactly what the simulation did, and nothing else is left."""
        assert not (self.directory / ".recd").exists(), self._said()
        manifest = recordings.proved(self.directory)
        stream = manifest["streams"]["s"]
        model = Model()
        for sink in self.sinks:
            limit = sink.part_limit
            split = None if limit is None else int(limit.amount)
            model = Model(split, sink.new_part_on_reset, self.film)
            parts = model.tell(self.script)
            files = [f for f in stream["files"] if f["kind"] == sink.kind]
            assert [f["part"] for f in files] == list(range(len(parts))), self._said()
            for file, part in zip(files, parts, strict=True):
                found = self.read(self.directory / file["path"])
                assert self._equal(found, part), f"{file['path']}: {found}, expected {part}; {self._said()}"
                assert file["samples"] == sum(seq >= 0 for seq in part)
        marks = sum(action[0] != "lose" and action[0] != "write" for action in self.script)
        lost = model.seq - model.written
        assert (stream["samples"], stream["attempted"]) == (model.written, model.seq), self._said()
        assert stream["lost"].get("interrupted", 0) == lost
        assert len(manifest["marks"]) == marks, self._said()
        left = {p.name for p in self.directory.iterdir()}
        assert left == {"manifest.json", *(Path(f["path"]).name for f in stream["files"])}, self._said()
        shared = [*shm.SHM_DIR.glob(f"*{shm.runtime_tag(self.runtime)}*")]
        assert not shared, self._said()

    def _equal(self, found: list[int], part: list[int]) -> bool:
        if not self.film:
            return found == part
        # What stands for a lost frame shows a neighbour; pixels tell a number modulo LEVELS.
        return len(found) == len(part) and all(
            p < 0 or p % recordings.LEVELS == f for f, p in zip(found, part, strict=True)
        )

    def read(self, path: Path) -> list[int]:
        """The numbers in a file (of frames: modulo LEVELS), each sample proved whole, by the format's own reader."""
        if path.suffix == ".mp4":
            return recordings.numbers(path)
        if path.suffix == ".csv":
            table = recordings.csv_numbers(path).reshape(-1, 14)
            i, x, t = table[:, 1], table[:, 2:], table[:, 0]
        elif path.suffix == ".npz":
            data = recordings.npz(path)
            i, x, t = data["i"], data["x"], data["timestamp"]
        else:
            with h5py.File(path) as file:
                i, x, t = file["i"][:], file["x"][:], file["timestamp"][:]
        np.testing.assert_array_equal(x, np.repeat(i[:, None] / 8, 12, axis=1))
        np.testing.assert_array_equal(t, i / 8)
        return [int(n) for n in i]

    def close(self) -> None:
        """Let go of everything, and remove what a failed test has left."""
        self.actor.called_off = True
        if self.actor.ident is not None:
            self.actor.join()
        self.actor.body.die()
        self.actor.producer.release()
        self.segment.close()
        with suppress(FileNotFoundError):
            self.errors.unlink()
        for path in shm.SHM_DIR.glob(f"*{shm.runtime_tag(self.runtime)}*"):
            path.unlink()


def strided(total: int, points: int, offset: int) -> Iterable[int]:
    """About ``points`` of the numbers from 1 to ``total``, others for every ``offset``; all of them for 0 points."""
    stride = max(1, total // points) if points else 1
    return range(1 + offset % stride, total + 1, stride)
