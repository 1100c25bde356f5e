"""A log that was damaged while nobody ran: the next daemon recovers the rest, and counts what is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from killed_simulation import level
from killing import Simulation, frames, kill_everything
from recd.chunks import HEADER_BYTES, ChunkInfo
from recd.cli import main
from recd.log import segment_path, segments
from recordings import csv_numbers
from support import wait_until

SAMPLES = 300


def killed(runtime: Path, directory: Path) -> int:
    """Everything of a recording is killed at once; how many samples it had published."""
    sim = Simulation(directory, SAMPLES)
    sim.lines_until("published 150")
    kill_everything(sim, runtime)
    return sim.published


def chunks_of(directory: Path, stream: str) -> tuple[Path, list[tuple[int, ChunkInfo]]]:
    """The one segment of a stream's log, offsets and headers of its chunks."""
    (log,) = directory.glob(f".recd/*/s-{stream}/log")
    path = segment_path(log, segments(log)[0])
    content, at, out = path.read_bytes(), 0, []
    while (info := ChunkInfo.unpack(content[at : at + HEADER_BYTES])) is not None:
        out.append((at, info))
        at += HEADER_BYTES + info.body_bytes
    return path, out


def finished(directory: Path) -> dict[str, Any]:
    """The manifest, once the next daemon has written it."""
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True)
    wait_until((directory / "manifest.json").exists, timeout_s=60)
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return manifest


@pytest.mark.parametrize("what", ["header", "body", "block"])
def test_what_is_whole_is_recovered_and_what_is_not_is_counted(
    runtime: Path, tmp_path: Path, what: str
) -> None:
    """One damaged chunk in the middle: NPZ and HDF5 have all others, the film has everything."""
    published = killed(runtime, tmp_path)
    path, chunks = chunks_of(tmp_path, "state")
    assert len(chunks) > 3
    offset, info = chunks[len(chunks) // 2]
    content = bytearray(path.read_bytes())
    if what == "block":
        content[offset : offset + 200] = bytes(200)
    else:
        content[offset + (40 if what == "header" else HEADER_BYTES + 70)] ^= 2
    path.write_bytes(content)
    before = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert before.exit_code == 3
    assert str(path) in before.stdout

    manifest = finished(tmp_path)
    stream = manifest["streams"]["state"]
    gone = [*range(info.first_seq, info.next_seq)]
    with np.load(tmp_path / "state.npz") as file:
        kept = file["i"].tolist()
    n = len(kept) + len(gone)
    assert published <= n <= published + 1
    assert kept == [i for i in range(n) if i not in gone]
    with h5py.File(tmp_path / "state.h5") as file:
        assert file["i"][:].tolist() == kept
    rows = csv_numbers(tmp_path / "state.csv")[:, 1].tolist()
    assert rows in (kept, [*range(n)])  # it had some of them before
    assert stream["lost"] == {"log_damaged": len(gone)}
    (gap,) = stream["gaps"]
    assert (gap["first_seq"], gap["last_seq"], gap["count"]) == (gone[0], gone[-1], len(gone))
    assert stream["attempted"] - stream["samples"] - len(gone) in (0, 1)
    assert (manifest["complete"], stream["state"]) == (False, "damaged")
    assert manifest["streams"]["film"]["complete"]
    gray = frames(tmp_path / "film.mp4")
    np.testing.assert_allclose(gray, [level(k) for k in range(len(gray))], atol=6)
    assert path.exists()  # the log is kept

    after = CliRunner().invoke(main, ["verify", "--json", str(tmp_path)])
    assert after.exit_code == 3
    bad = [f for f in json.loads(after.stdout)["findings"] if f["level"] in ("loss", "damage")]
    assert any(f"{len(gone)} log_damaged" in f["what"] for f in bad)
    assert not [f for f in bad if Path(f["path"]).suffix in (".csv", ".npz", ".h5", ".mp4")]


def test_a_recording_that_was_killed_is_sound_before_and_after(runtime: Path, tmp_path: Path) -> None:
    """Without damage, verify finds nothing wrong, neither in the working files nor in what is made of them."""
    killed(runtime, tmp_path)
    before = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert before.exit_code == 0, before.stdout
    assert finished(tmp_path)["complete"]
    after = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert after.exit_code == 0, after.stdout
