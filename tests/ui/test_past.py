"""Past recordings as the page's server tells them: their plots, their videos, and what of them cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages import asked, points, told
from reading import SESSION, Readable, listed
from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile
from recordings import numbered
from serving import serving

pytestmark = [pytest.mark.usefixtures("runtime"), pytest.mark.requires("aiohttp", "PIL")]


@pytest.mark.parametrize("sink", [CSVFile("s.csv"), NPZFile("s.npz"), HDF5File("s.h5")], ids=lambda s: s.kind)
def test_past_plots_are_what_was_recorded(tmp_path: Path, sink: Any) -> None:
    """Each format gives the values that were written, between the times that are asked for."""
    values = np.random.default_rng(0).normal(size=(100, 3))
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", sink)
        for i in range(100):
            stream.write({"label": f'a,"{i}', "q": values[i], "on": i % 2 == 0}, t=i / 10)
    with serving() as served:
        (session,) = told(served, "/past")["sessions"]
        recording = told(served, f"/past/{session['session']}")
        assert [f["name"] for f in recording["streams"][0]["fields"]] == ["q", "on"]
        _, body = asked(served, f"/past/{rec.session}/plot?id=x&stream=state&field=q&lines=2,0&width=2000")
        head, x, y = points(body)
        assert (head["oldest"], head["newest"]) == (0.0, 9.9)
        assert x.tolist() == [i / 10 for i in range(100)]
        assert np.array_equal(y, values[:, [2, 0]])
        zoomed = f"/past/{rec.session}/plot?id=x&stream=state&field=on&lines=0&width=2000&from=2&to=3"
        _, x, y = points(asked(served, zoomed)[1])
        assert (x[0], x[-1]) == (1.9, 3.1)
        assert y[:, 0].tolist() == [float(round(t * 10) % 2 == 0) for t in x]
        for wrong in (
            "field=zzz&lines=0&width=9",
            "field=q&lines=x&width=9",
            "field=q&lines=0&width=9&from=nan",
        ):
            answer, data = asked(served, f"/past/{rec.session}/plot?stream=state&{wrong}")
            assert answer.status == 404
            assert json.loads(data)["what"]


def test_a_recording_that_was_killed_is_plotted_from_its_log(tmp_path: Path) -> None:
    """Without a manifest, and without a daemon: its samples, and what there is of its files."""
    recording = Readable(tmp_path, CSVFile("rows.csv"))
    assert recording.feed.write(30) == 30
    recording.turn()
    listed(tmp_path)
    with serving() as served:
        found = told(served, f"/past/{SESSION}")
        assert (found["state"], found["started_unix_s"], found["duration_s"]) == ("unfinished", 5.0, None)
        (stream,) = found["streams"]
        assert (stream["samples"], [f["name"] for f in stream["fields"]]) == (30, ["x"])
        assert [(f["name"], f["samples"]) for f in stream["files"]] == [("rows.part.csv", None)]
        _, x, y = points(asked(served, f"/past/{SESSION}/plot?stream=rows&field=x&lines=0&width=2000")[1])
        assert (x.tolist(), y[:, 0].tolist()) == ([i / 8 for i in range(30)], [*range(30)])
        recording.feed.write(3)
        recording.track.drain()  # it was taken up again
        _, x, _ = points(asked(served, f"/past/{SESSION}/plot?stream=rows&field=x&lines=0&width=2000")[1])
        assert len(x) == 33


def test_a_page_is_told_what_of_a_past_recording_cannot_be_read(tmp_path: Path) -> None:
    """What is missing is told with the recording, what is damaged with its plot; the rest is drawn."""
    recording = Readable(tmp_path, NPZFile("rows.npz", split=10))
    for _ in range(3):
        recording.feed.write(10)
        recording.track.drain()
    recording.ended()
    listed(tmp_path)
    missing, damaged, _ = sorted(tmp_path.rglob("*.npz"))
    missing.unlink()
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with serving() as served:
        (problem,) = told(served, f"/past/{SESSION}")["problems"]
        assert missing.name in problem
        answer, body = asked(served, f"/past/{SESSION}/plot?stream=rows&field=x&lines=0&width=2000")
        head, x, _ = points(body)
        assert x.tolist() == [i / 8 for i in range(20, 30)]
        assert [damaged.name in problem for problem in head["problems"]] == [True]
        for path in tmp_path.rglob("*.npz"):
            path.write_bytes(bytes(path.stat().st_size))
        answer, body = asked(served, f"/past/{SESSION}/plot?stream=rows&field=x&lines=0&width=2000")
        assert answer.status == 404
        assert damaged.name in json.loads(body)["what"]


def test_a_video_is_sent_in_the_ranges_that_are_asked_for(tmp_path: Path) -> None:
    """A browser can seek: a range is answered with 206 and these bytes alone."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("front", VideoFile("f.mp4"))
        for i in range(10):
            stream.write(numbered(i), t=i / 30)
    film = (tmp_path / "f.mp4").read_bytes()
    with serving() as served:
        (file,) = told(served, f"/past/{rec.session}")["streams"][0]["files"]
        assert file["video"]
        address = f"/past/{rec.session}/file/{file['number']}"
        answer, data = asked(served, address)
        assert (answer.status, data, answer.getheader("Content-Type")) == (200, film, "video/mp4")
        answer, data = asked(served, address, Range="bytes=100-299")
        assert (answer.status, data) == (206, film[100:300])
        assert answer.getheader("Content-Range") == f"bytes 100-299/{len(film)}"
