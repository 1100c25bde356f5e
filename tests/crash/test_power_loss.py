"""Power fails at any moment of a recording: what the next start makes of what is on the disk then.

Real runs are traced, and of each some hundred of the states are tried that the disk may be in (:mod:`crash_disk`).
``RECD_ROUNDS`` says how many: more than the everyday number is for ``make soak``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest

import powered_recording
from crash_disk import TRACED, CrashDisk, materialise
from powered_recording import story, streams
from recd import index, manifest, session, worker
from recd.link import NoLink
from recd.session import SessionStore
from recd_client import process
from recd_client.options import SinkOptions
from recordings import LEVELS, PATIENCE_S, csv_numbers, manifest_of, numbers

ROUNDS = int(os.environ.get("RECD_ROUNDS", "0"))
DURABILITY = ("process", "interval", "strict")


class Powered:
    """A recording whose disk is known at every moment.

    Parameters
    ----------
    top : Path
        Holds the disk and the runtime directory.
    durability, kind : str
        See :mod:`powered_recording`.
    """

    def __init__(self, top: Path, durability: str, kind: str) -> None:
        self.durability = durability
        self.kind = kind
        self.root = top / "disk"
        self.runtime = top / "run"
        trace = top / "trace"
        for directory in (self.root, self.runtime):
            directory.mkdir()
        command = [
            "strace",
            "-f",
            "-y",
            "-X",
            "raw",
            "-xx",
            "-s",
            "100000000",
            "-e",
            f"trace={TRACED}",
            "-o",
            str(trace),
        ]
        program = [sys.executable, powered_recording.__file__, str(self.root), durability, kind]
        done = subprocess.run(
            [*command, *program],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        self.disk = CrashDisk(self.root, trace)
        self.found = {
            str(p.relative_to(self.root)): None if p.is_dir() else p.read_bytes()
            for p in self.root.rglob("*")
        }
        trace.unlink()

    @property
    def environment(self) -> dict[str, str]:
        """Where the daemon of this recording keeps what is no recording."""
        return {"RECD_RUNTIME_DIR": str(self.runtime), "XDG_STATE_HOME": str(self.root / "state")}

    def promised(self, event: int, what: str) -> dict[str, int]:
        """For each stream the number behind the last sample of which this was said before the event."""
        found: dict[str, int] = {}
        for at, text in self.disk.notes:
            word, name, *number = text.split()
            if at <= event and word == what:
                found[name] = int(number[0]) if number else 0
        return found

    def lose_power(self, event: int, random: Random) -> None:
        """The disk is as it may be after a loss of power at this event."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        materialise(self.root, self.disk.crash(event, random))

    def start(self) -> bool:
        """Take up the session, if it is found, and finish it; whether it was found."""
        runs = self.root / "run"
        for entry in index.read_all():
            if entry["state"] == "live" and entry["runtime_dir"] == str(self.runtime):
                store = SessionStore(Path(entry["directory"]), entry["session"])
                if store.spec:
                    worker.Worker(self.runtime, store, "main", store.lock("main"), NoLink()).run()
                    return True
                manifest.has_ended(store)
        return (runs / "manifest.json").exists()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Recordings by durability and kind, each made once."""
    made: dict[tuple[str, str], Powered] = {}

    def get(durability: str, kind: str) -> Powered:
        if (durability, kind) not in made:
            made[durability, kind] = Powered(tmp_path_factory.mktemp("power"), durability, kind)
        return made[durability, kind]

    return get


@pytest.fixture
def rebooted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has booted since: rings are gone, and this process serves as the worker."""
    monkeypatch.setattr(process, "boot_id", lambda: b"another boot id.")
    monkeypatch.setattr(session, "VideoFile", type(None))
    powered_recording.hurry(monkeypatch)


# --- what may come out -----------------------------------------------------------------------------


def contents(kind: str, known: int) -> dict[str, list[list[int]]]:
    """The samples of every file of each sink, if the first ``known`` things of the story are known."""
    out: dict[str, list[list[int]]] = {}
    for sinks in streams(kind).values():
        for options in sinks:
            if options.path is None:
                continue
            parts: list[list[int]] = [[]]
            seq = 0
            for event in story(kind)[:known]:
                if event == "sample":
                    parts[-1].append(seq)
                if event in ("sample", "lose"):
                    seq += 1
                if event == "discard":
                    parts[-1].clear()
                elif parts[-1] and (
                    (event == "reset" and options.new_part_on_reset)
                    or (options.part_limit is not None and len(parts[-1]) == options.part_limit.amount)
                ):
                    parts.append([])
            out[str(options.path)] = parts if parts[-1] or len(parts) == 1 else parts[:-1]
    return out


def read(path: Path) -> list[int]:
    """The samples of a file; it must open, and they must be whole."""
    if path.suffix == ".mp4":
        return numbers(path)  # as far as a frame tells: modulo LEVELS
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            t, x = file["timestamp"][:], file["x"][:]
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            t, x = archive["timestamp"], archive["x"]
    else:
        cells = csv_numbers(path).reshape(-1, 9)
        t, x = cells[:, 0], cells[:, 1:]
    seqs = np.round(t * 8).astype(int)
    assert np.array_equal(x, seqs[:, None] + np.arange(8) % 7)
    return seqs.tolist()


def check(powered: Powered, event: int) -> None:
    """What was promised is there, and what is there is right."""
    run = powered.root / "run"
    manifest = manifest_of(run)
    for name, sinks in streams(powered.kind).items():
        stream = manifest["streams"].get(name)
        assert stream is not None or name not in powered.promised(event, "attached"), f"stream {name} is gone"
        if stream is None:
            continue
        for file in stream["files"]:
            assert hashlib.sha256((run / file["path"]).read_bytes()).hexdigest() == file["sha256"], file[
                "path"
            ]
            if "video" in file:
                check_frames(run / file["path"], file["video"]["frames"])
        if powered.durability != "process":
            told = stream["samples"] + sum(stream["lost"].values())
            assert stream["attempted"] == told, (name, stream["samples"], stream["lost"], stream["state"])
        found = {
            str(o.path): [read(run / f["path"]) for f in stream["files"] if _is_of(f, o)]
            for o in sinks
            if o.path
        }
        if stream["state"] == "failed":
            # Without a sync the log may have lost what is behind a counted sample; that is said.
            assert powered.durability == "process"
            assert stream["reason"]
            for files in found.values():
                seqs = [n for part in files for n in part]
                assert seqs == sorted(set(seqs))
        elif powered.kind == "film":
            check_film(powered, event, stream["files"])
        else:
            check_stream(powered, event, name, stream, found)
    assert not list((run / ".recd").glob("*/session.json")) or not manifest["complete"]
    assert powered.durability == "process" or not list(run.glob("*.part*"))


def _is_of(file: dict[str, Any], options: SinkOptions) -> bool:
    return (
        file["kind"] == options.kind and Path(file["path"]).stem.split("_")[0] == Path(str(options.path)).stem
    )


def check_frames(path: Path, table: dict[str, Any]) -> None:
    """Each frame is the one that the manifest says."""
    shown, seqs = numbers(path), table["seq"]
    assert len(shown) == len(seqs)
    assert seqs == [*range(seqs[0], seqs[0] + len(seqs))]
    known = [i for i, t in enumerate(table["t"]) if t is not None and i not in table["repeated"]]
    wrong = [i for i in known if shown[i] != seqs[i] % LEVELS]
    assert not wrong, (wrong, shown, seqs, table["repeated"])


def check_film(powered: Powered, event: int, files: list[dict[str, Any]]) -> None:
    """Every frame that was promised is in the film, unless it was thrown away."""
    least = promised_number(powered, event, "film")
    tables = [f["video"]["frames"] for f in files]
    real = {n for table in tables for i, n in enumerate(table["seq"]) if i not in table["repeated"]}
    tale = story("film")
    numbers_known = np.cumsum([0] + [e in ("sample", "lose") for e in tale])
    possible = [
        {n for part in contents("film", k)["film.mp4"] for n in part if n < least}
        for k in range(len(tale) + 1)
        if numbers_known[k] >= least
    ]
    assert any(wanted <= real for wanted in possible), f"{sorted(real)}, promised {least}"


def promised_number(powered: Powered, event: int, name: str) -> int:
    """The number behind the last sample of a stream that was promised to survive."""
    flushed = powered.promised(event, "flushed").get(name, 0)
    if powered.durability == "process":
        return flushed
    return max(flushed, powered.promised(event, "durable").get(name, 0))


def check_stream(
    powered: Powered, event: int, name: str, stream: dict[str, Any], found: dict[str, list[list[int]]]
) -> None:
    """Each file is what it would be, had the simulation ended earlier; but not before what was promised."""
    tale = story(powered.kind)
    seqs = np.cumsum([0] + [e in ("sample", "lose") for e in tale])
    least = promised_number(powered, event, name)
    missing = {
        n
        for g in stream["gaps"]
        if g["cause"] == "log_damaged"
        for n in range(g["first_seq"], g["last_seq"] + 1)
    }
    assert not missing or min(missing) >= least, f"{name}: lost {missing}, promised {least}"
    for path, files in found.items():
        every = [n for part in files for n in part]
        assert every == sorted(set(every))
        stories = [contents(powered.kind, k)[path] for k in range(len(tale) + 1)]
        if (
            powered.durability == "process"
        ):  # only what was flushed is promised: of the rest, resets may be lost, too
            files = [[n for n in every if n < least]]
            stories = [[[n for part in parts for n in part if n < least]] for parts in stories]
        known = [k for k, told in enumerate(stories) if without(told, missing) == without(files, missing)]
        assert known, f"{path}: {files}, missing {missing}"
        assert seqs[known[-1]] >= least, f"{path}: {files}, promised {least}"


def without(parts: list[list[int]], missing: set[int]) -> list[list[int]]:
    """The parts of a file, but not these samples."""
    return [found for part in parts if (found := [n for n in part if n not in missing])] if missing else parts


@pytest.mark.requires("strace")
@pytest.mark.parametrize("kind", ["arrays", "film"])
@pytest.mark.parametrize("durability", DURABILITY)
def test_the_trace_tells_everything(recorded: Any, durability: str, kind: str) -> None:
    """The disk that the trace describes is, at the end, the one that there is."""
    powered = recorded(durability, kind)
    assert powered.disk.tree() == powered.found


@pytest.mark.requires("strace")
@pytest.mark.parametrize(("kind", "rounds"), [("arrays", 40), ("film", 10)])
@pytest.mark.parametrize("durability", DURABILITY)
def test_after_a_loss_of_power_what_was_promised_is_there(
    recorded: Any, rebooted: None, monkeypatch: pytest.MonkeyPatch, durability: str, kind: str, rounds: int
) -> None:
    """Every output opens, has the samples that were durable, in order, each once, and nothing else."""
    powered = recorded(durability, kind)
    for name, value in powered.environment.items():
        monkeypatch.setenv(name, value)
    for seed in range(ROUNDS or rounds):
        random = Random(f"{durability} {seed}")
        event = random.randrange(1, powered.disk.events + 1)
        powered.lose_power(event, random)
        try:
            found = powered.start()
            promised = powered.promised(event, "attached")
            assert found or not promised, "the session was not found"
            if found:
                check(powered, event)
        except BaseException:
            print(f"{durability}: seed {seed}, event {event} of {powered.disk.events}")
            raise
