"""One recording of a soak: its simulation, what that said of each write, and the proof that the files agree."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

import recordings
from soaking.simulation import HEIGHT, LEVELS, WIDTH

SCRIPT: Final = Path(__file__).with_name("simulation.py")
STREAMS: Final = ("state", "film")
REFUSED: Final = 3


@dataclass
class Accounts:
    """Everything that was attempted, and what became of it; of one recording, or of all.

    ``attempted = durable + lost + in_flight`` must hold; the rest must be zero.
    """

    recordings: int = 0
    refused: int = 0
    killed: int = 0
    attempted: int = 0
    durable: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    files: int = 0
    repeated: int = 0
    missing: int = 0
    torn: int = 0
    unreadable: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Accounts) -> None:
        """Count another one in."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)

    @property
    def balance(self) -> int:
        """What the identity is off by."""
        return self.attempted - self.durable - sum(self.lost.values()) - self.in_flight

    @property
    def violations(self) -> list[str]:
        """What was promised and is not so."""
        counts = {k: getattr(self, k) for k in ("balance", "repeated", "missing", "torn", "unreadable")}
        return [f"{name}: {n}" for name, n in counts.items() if n] + self.wrong


class Recording:
    """A simulation that runs, or has ended.

    Parameters
    ----------
    directory : Path
        Where it records to; made by recd.
    seconds : float
        How long it writes.
    seed : int
    *how : str
        ``"steady"``, perhaps.
    """

    def __init__(self, directory: Path, seconds: float, seed: int, *how: str) -> None:
        self.directory = directory
        self.seconds = seconds
        self.errors = Path(tempfile.mkstemp(prefix="recd-soak-")[1])  # not on the disk that gets full
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(directory), str(seconds), str(seed), *how],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._said = bytearray()

    def listen(self) -> bool:
        """Take what it said; whether it is still there."""
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(1 << 16):
            self._said += chunk
        if self.process.poll() is None:
            return True
        while chunk := self.process.stdout.read(1 << 16):
            self._said += chunk
        return False

    @property
    def finished(self) -> bool:
        """Whether recd has nothing left to do for it."""
        hidden = self.directory / ".recd"
        return not hidden.exists() and ((self.directory / "manifest.json").exists() or not self._said)

    def written(self, stream: int) -> list[bool]:
        """For each attempt, whether ``write`` returned true."""
        said = np.frombuffer(bytes(self._said[: len(self._said) // 2 * 2]), np.uint8).reshape(-1, 2)
        return [bool(w) for w in said[said[:, 0] == stream, 1]]

    # --- proving ---------------------------------------------------------------------------------
    def proved(self) -> Accounts:
        """The accounts of a finished recording."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        code = self.process.returncode
        accounts = Accounts(recordings=1, refused=code == REFUSED, killed=code < 0)
        if code > 0 and code != REFUSED:
            accounts.wrong.append(f"{self.directory}: exit code {code}: {self.errors.read_text()[-2000:]}")
        if not (self.directory / "manifest.json").exists():
            return accounts
        manifest = json.loads((self.directory / "manifest.json").read_text())
        for number, name in enumerate(STREAMS):
            if name in manifest["streams"]:
                self._prove_stream(accounts, manifest["streams"][name], name, self.written(number), code < 0)
        left = [p.name for p in self.directory.iterdir() if ".part" in p.name or p.name.startswith(".")]
        accounts.wrong += [f"{self.directory}: {name} was left behind" for name in left]
        return accounts

    def _prove_stream(
        self, accounts: Accounts, told: dict[str, Any], name: str, written: list[bool], killed: bool
    ) -> None:
        """One stream against what its simulation said."""
        where = f"{self.directory}: {name}"
        if told["state"] != "complete":
            accounts.wrong.append(f"{where} is {told['state']}: {told['reason']}")
        attempted, lost = int(told["attempted"]), sum(told["lost"].values())
        accounts.attempted += attempted
        accounts.durable += told["samples"]
        accounts.lost.update(told["lost"])
        in_flight = attempted - told["samples"] - lost
        accounts.in_flight += in_flight if killed and in_flight == 1 else 0
        if not len(written) <= attempted <= len(written) + killed:
            accounts.wrong.append(f"{where}: {len(written)} attempts were made, {attempted} are told")
        expected = [i for i, ok in enumerate(written) if ok]
        for kind in sorted({file["kind"] for file in told["files"]}):
            files = [file for file in told["files"] if file["kind"] == kind]
            accounts.files += len(files)
            found = [i for file in files for i in self._read(accounts, file)]
            # What was written before the kill, but not told yet.
            more = [len(written)] if killed and found[-1:] == [len(written)] else []
            self._compare(accounts, f"{where}, {kind}", found, expected + more)

    def _compare(self, accounts: Accounts, where: str, found: list[int], expected: list[int]) -> None:
        if found == expected:
            return
        repeated, missing = len(found) - len(set(found)), len(set(expected) - set(found))
        accounts.repeated += repeated
        accounts.missing += missing
        accounts.wrong.append(
            f"{where}: {len(found)} samples, expected {len(expected)}; {repeated} twice, {missing} missing, "
            f"{len(set(found) - set(expected))} that were not written"
        )

    def _read(self, accounts: Accounts, file: dict[str, Any]) -> Iterator[int]:
        """The numbers in a file, by the format's own reader; what is not whole is counted."""
        path = self.directory / file["path"]
        try:
            numbers, torn = _frames(path, file) if path.suffix == ".mp4" else _samples(path)
        except (OSError, ValueError, KeyError, AssertionError) as e:
            accounts.unreadable += 1
            accounts.wrong.append(f"{path}: {type(e).__name__}: {e}")
            return
        accounts.torn += torn
        yield from numbers


def _samples(path: Path) -> tuple[list[int], int]:
    """The numbers of the samples, and how many samples are not whole."""
    if path.suffix == ".csv":
        table = recordings.csv_numbers(path).reshape(-1, 22)
        t, i, x = table[:, 0], table[:, 1], table[:, 2:]
    elif path.suffix == ".npz":
        data = recordings.npz(path)
        t, i, x = data["timestamp"], data["i"], data["x"]
    else:
        with h5py.File(path) as file:
            t, i, x = file["timestamp"][:], file["i"][:], file["x"][:]
    whole: NDArray[np.bool_] = (t == i / 8) & (x == i[:, None] / 8).all(axis=1)
    return [int(n) for n in i], int(np.count_nonzero(~whole))


def _frames(path: Path, file: dict[str, Any]) -> tuple[list[int], int]:
    """The same of a video, whose manifest says which sample each frame is; repeated ones stand for lost ones."""
    table = file["video"]["frames"]
    seqs, repeated = table["seq"], set(table["repeated"])
    gray = recordings.decoded(path).reshape(-1, HEIGHT * WIDTH * 3).mean(axis=1)
    assert len(gray) == len(seqs), f"{len(gray)} frames, {len(seqs)} in the manifest"
    shown = [(seq, float(g)) for k, (seq, g) in enumerate(zip(seqs, gray, strict=True)) if k not in repeated]
    torn = sum(round((g - 10) / 6) != seq % LEVELS for seq, g in shown)
    return [seq for seq, _ in shown], torn


def new(parent: Path, number: int, chance: random.Random) -> Recording:
    """Another recording, of some seconds."""
    return Recording(parent / f"{number}", chance.uniform(1.0, 8.0), chance.randrange(1 << 30))
