"""Client and daemon with a backend each: what one side writes the other reads, whichever they are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from backends import EACH_PAIR
from recordings import csv_numbers, npz, numbers, proved, run_python

TESTS = Path(__file__).parents[1]
#: Writes, claims, marks, loses; says which backend either side has.
PROGRAM = """
import sys, warnings
from pathlib import Path
import numpy as np
import recd_client
from recd_client import CSVFile, NPZFile, Recorder, VideoFile
sys.path.insert(0, sys.argv[2])
from recordings import numbered, worker_of

warnings.simplefilter("ignore")
with Recorder("mixed", dir=sys.argv[1], dt=0.01) as rec:
    state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
    image = rec.stream("image", VideoFile("image.mp4", fps=50))
    slow = rec.stream("slow", NPZFile("slow.npz"), hz=10)
    small = rec.stream("small", NPZFile("small.npz"), buffer_bytes=1 << 14)
    kept = 0
    for i in range(300):
        sample = {"q": np.arange(14.0)[::2] + i, "n": i, "ok": i % 2 == 0}
        if i % 3 != 1:
            state.write(sample, t=i / 4)
        else:
            with state.claim(i / 4) as place:
                place["q"][:], place["n"][...], place["ok"][...] = sample["q"], i, i % 2 == 0
        if i < 30:
            image.write(numbered(i)[:, ::-1])
        slow.write(float(i), t=i / 100)
        for j in range(3):
            kept += small.write(np.full(200, 3.0 * i + j))
        if i == 150:
            rec.mark("half", where=i)
    maps = Path(f"/proc/{worker_of(rec)}/maps").read_text()
    print(recd_client.BACKEND, "native" if "/_ring." in maps else "python", kept)
"""


@pytest.mark.parametrize("names", EACH_PAIR)
def test_a_client_and_a_daemon_of_any_backend_record_together(
    names: tuple[str, str], runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples, claims, marks, losses and frames stand in the files as they were written."""
    client, daemon = names
    python = shlex.quote(sys.executable)
    monkeypatch.setenv("RECD_COMMAND", f"env RECD_BACKEND={daemon} {python} -m recd")
    monkeypatch.setenv("RECD_BACKEND", client)
    said = run_python(PROGRAM, tmp_path / "out", TESTS).split()
    assert said[:2] == [client, daemon]

    out = tmp_path / "out"
    manifest = proved(out)
    state = npz(out / "state.npz")
    i = np.arange(300)
    np.testing.assert_array_equal(state["q"], np.arange(14.0)[::2] + i[:, None])
    np.testing.assert_array_equal(state["n"], i)
    np.testing.assert_array_equal(state["ok"], i % 2 == 0)
    np.testing.assert_array_equal(csv_numbers(out / "state.csv")[:, 0], i / 4)
    np.testing.assert_array_equal(npz(out / "slow.npz")["data"], i[::10])
    assert numbers(out / "image.mp4") == list(range(30))
    small = manifest["streams"]["small"]
    assert (small["attempted"], small["samples"]) == (900, int(said[2]))
    values = npz(out / "small.npz")["data"]
    assert values.shape == (int(said[2]), 200)
    assert (np.diff(values[:, 0]) > 0).all()
    assert (values == values[:, :1]).all()
