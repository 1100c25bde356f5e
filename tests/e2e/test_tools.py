"""Tools on real recordings: films to the frame, killed simulations, ranks, and everything that can be wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from converting import record_walk
from recd.tools import compare, cut, merge
from recd.verify import DAMAGE, Verification
from recd_client import CSVFile, NPZFile, Recorder, VideoFile
from recd_client.errors import NoSuchNameError, OptionError, OutputExistsError
from recordings import LEVELS, numbered, numbers

FRAMES = 130
FPS = 25


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command line says."""
    command = [sys.executable, "-m", "recd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def undamaged(directory: Path) -> None:
    """``recd verify`` finds nothing."""
    assert [f for f in Verification(directory).findings() if f.level == DAMAGE] == []


@pytest.fixture(scope="module")
def filmed(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of several keyframes whose frames tell their number, beside a table and marks."""
    top = tmp_path_factory.mktemp("filmed")
    with Recorder("filmed", dir=top, dt=1 / FPS) as rec:
        front = rec.stream("front", VideoFile("front.mp4", fps=FPS))
        state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
        for i in range(FRAMES):
            front.write(numbered(i), step=i)
            state.write({"i": i, "x": np.full(3, i / 3)}, step=i)
            if i % 40 == 20:
                rec.mark("m", i=i)
    return top


@pytest.fixture(scope="module")
def walked(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, with a camera."""
    top = tmp_path_factory.mktemp("walked")
    record_walk(top)
    return top


@pytest.mark.parametrize(("low", "high"), [(0, 50), (50, 130), (7, 111), (60, 61), (129, 130)])
def test_films_are_cut_to_the_frame(filmed: Path, tmp_path: Path, low: int, high: int) -> None:
    """Every frame of the stretch, in order, with its number, step and time; steps and wall times stay known."""
    made = cut(filmed, tmp_path / "c", start=(low - 0.5) / FPS, stop=(high - 0.5) / FPS)
    undamaged(tmp_path / "c")
    assert made.streams == {"front": high - low, "state": high - low}
    assert made.encoded_again < 50  # all behind the first keyframe within is copied
    with recd.open(tmp_path / "c") as some, recd.open(filmed) as whole:
        assert numbers(some["front"].path) == [i % LEVELS for i in range(low, high)]
        for name in ("front", "state"):
            for of in ("seq", "step", "t"):
                expected = getattr(whole[name], of)[low:high]
                assert np.array_equal(getattr(some[name], of), expected), (name, of)
        assert np.array_equal(some["front"].wall, whole["front"].wall[low:high])
        assert some["state"].known == whole["state"].known
        assert some["state"]["i"][:].tolist() == list(range(low, high))
        marks = [m.fields["i"] for m in some.marks]
        assert marks == [i for i in (20, 60, 100) if low <= i < high]


def test_cuts_of_a_film_make_the_whole_again(filmed: Path, tmp_path: Path) -> None:
    """Three cuts, merged in any order: all frames, values, marks; frames that were encoded twice look alike."""
    for name, ends in (("a", (None, 1.5)), ("b", (1.5, 3.1)), ("c", (3.1, None))):
        cut(filmed, tmp_path / name, start=ends[0], stop=ends[1])
    merge([tmp_path / name for name in "cab"], tmp_path / "all")
    undamaged(tmp_path / "all")
    found = compare(filmed, tmp_path / "all", psnr=40)
    assert found.equal, found.differences
    with recd.open(tmp_path / "all") as run:
        shown = [round(float((frame.mean() - 10) / 6)) for frame in run["front"]]
    assert shown == [i % LEVELS for i in range(FRAMES)]


def test_by_the_clock_on_the_wall(filmed: Path, tmp_path: Path) -> None:
    """The frames that were written between two points of time, given as Unix seconds or as a date."""
    with recd.open(filmed) as whole:
        wall = whole["front"].wall
    cut(filmed, tmp_path / "c", start=wall[30], stop=wall[60], clock="wall", streams=["front"])
    with recd.open(tmp_path / "c") as some:
        assert some["front"].seq.tolist() == list(range(30, 60))
    untold = json.loads((filmed / "manifest.json").read_text())
    del untold["streams"]["state"]["clock"]
    shutil.copytree(filmed, tmp_path / "old")
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(untold))
    with pytest.raises(OptionError, match="nobody knows when"):
        cut(tmp_path / "old", tmp_path / "d", start=wall[30], clock="wall")
    done = run("cut", filmed, tmp_path / "e", "--clock", "wall", "--to", "2020-01-01", "--streams", "front")
    assert done.returncode == 2
    assert "no sample lies before" in done.stderr


def test_samples_of_simulated_time_are_cut_by_the_line_of_their_recording(
    filmed: Path, tmp_path: Path
) -> None:
    """By wall time, too; what is cut keeps its stretch of the line, also once more, and merged again."""
    with recd.open(filmed) as whole:
        state = whole["state"]
        wall, mono = state.wall, state.mono_ns
        assert "wall" not in state.known
    cut(filmed, tmp_path / "c", start=wall[30], stop=wall[60], clock="wall", streams=["state"])
    chosen = np.flatnonzero((wall >= wall[30]) & (wall < wall[60]))
    cut(filmed, tmp_path / "rest", start=wall[60], clock="wall", streams=["state"])
    merge([tmp_path / "rest", tmp_path / "c"], tmp_path / "m")
    with recd.open(tmp_path / "c") as some, recd.open(tmp_path / "m") as both:
        assert some["state"].seq.tolist() == chosen.tolist()
        assert np.abs(some["state"].mono_ns - mono[chosen]).max() <= 1  # ns: ends are rounded
        assert np.abs(both["state"].mono_ns - mono[chosen[0] :]).max() <= 1


def test_episodes_are_cut_with_their_resets(walked: Path, tmp_path: Path) -> None:
    """Episodes that do not lie side by side become parts, and stay the episodes that they were."""
    cut(walked, tmp_path / "c", episodes="0,2")
    undamaged(tmp_path / "c")
    with recd.open(tmp_path / "c") as some, recd.open(walked) as whole:
        assert some["state"].seq.tolist() == [*range(40), *range(80, 120)]
        found = some.episodes()
        assert [e.count("front") for e in found] == [20, 20]
        assert [e.success for e in found] == [True, True]
        for mine, theirs in zip(found, [whole.episodes()[i] for i in (0, 2)], strict=True):
            assert np.array_equal(
                some["state"]["qpos"][mine["state"]], whole["state"]["qpos"][theirs["state"]]
            )
    made = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert [f["path"] for f in made["streams"]["front"]["files"]] == ["front_0000.mp4", "front_0001.mp4"]


def test_ranks_become_one_recording(shared_runtime: Path, tmp_path: Path) -> None:
    """Two ranks in step: streams keep apart under their ranks' names; overlapping without a prefix is an error."""
    for rank in (0, 1):
        with Recorder("sim", dir=tmp_path / f"{rank}", dt=0.1, metadata={"rank": rank, "seed": 7}) as rec:
            stream = rec.stream("state", NPZFile("state.npz"))
            for i in range(10):
                stream.write(i + 100 * rank)
            rec.mark("end", rank=rank)
    with pytest.raises(OptionError, match=r"overlaps: 0\.0 to 0\.9"):
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "x")
    merge([tmp_path / "0", tmp_path / "1"], tmp_path / "all", prefix="auto")
    undamaged(tmp_path / "all")
    with recd.open(tmp_path / "all") as run:
        assert list(run) == ["rank0_state", "rank1_state"]
        assert run["rank1_state"]["data"][:].tolist() == list(range(100, 110))
        assert run["rank1_state"].t.tolist() == run["rank0_state"].t.tolist()
        assert run["rank1_state"].step.tolist() == list(range(10))
        assert run.metadata == {"seed": 7}
        assert [(m.fields["rank"], dict(m.seq)) for m in run.marks] == [
            (0, {"rank0_state": 10}), (1, {"rank1_state": 10}),
        ]  # fmt: skip
    for name, prefix in (("one", "a"), ("twice", "a,a")):
        assert run_fails("merge", tmp_path / "0", tmp_path / "1", tmp_path / name, "--prefix", prefix)


def run_fails(*arguments: object) -> bool:
    """Whether the command line refuses, with what to do."""
    done = run(*arguments)
    return done.returncode == 2 and "->" in done.stderr


def test_clients_are_aligned_by_the_monotonic_clock(shared_runtime: Path, tmp_path: Path) -> None:
    """Stream times become seconds since the first one began, and prove each sample's wall time to the nanosecond."""
    for name in ("first", "second"):
        with Recorder(name, dir=tmp_path / name) as rec:
            stream = rec.stream(name, NPZFile("s.npz"))
            for i in range(20):
                stream.write(i)
    made = merge([tmp_path / "second", tmp_path / "first"], tmp_path / "both")
    undamaged(tmp_path / "both")
    with (
        recd.open(tmp_path / "first") as a,
        recd.open(tmp_path / "second") as b,
        recd.open(tmp_path / "both") as both,
    ):
        later = (b.start_mono_ns - a.start_mono_ns) / 1e9
        assert made.offsets_s == [later, 0.0]
        assert "wall" in both["second"].known
        assert np.array_equal(both["second"].mono_ns, b["second"].mono_ns)
        assert np.array_equal(both["second"].t, (b["second"].mono_ns - a.start_mono_ns) * 1e-9)
        assert np.array_equal(both["first"].t, a["first"].t)


def test_what_is_missing_in_a_source_is_named(filmed: Path, tmp_path: Path) -> None:
    """A file that is gone: the other format of its stream is taken; a stream without any is left out, and named."""
    shutil.copytree(filmed, tmp_path / "half")
    (tmp_path / "half" / "state.npz").unlink()
    (tmp_path / "half" / "front.mp4").write_bytes(b"no film")
    with pytest.warns(UserWarning, match="missing|changed"):
        made = cut(tmp_path / "half", tmp_path / "c", stop=2)
    undamaged(tmp_path / "c")
    assert made.streams["state"] == 50
    assert any("state.npz is missing" in problem for problem in made.problems)
    assert any("front" in problem for problem in made.problems)
    told = json.loads(run("info", tmp_path / "c", "--json").stdout)["provenance"]
    assert told["problems"] == made.problems
    assert told["sources"][0]["session"] == recd.open(filmed).session


def test_bad_input_leaves_nothing(filmed: Path, walked: Path, tmp_path: Path) -> None:
    """Each is refused by name, and neither the destination nor anything beside it is made."""
    out = tmp_path / "out"
    refused: list[tuple[Any, str]] = [
        ({"start": 99}, "no sample lies from 99.0 s on; stream 'front' is from 0.0 to"),
        ({"start": 2, "stop": 2}, "nothing lies between"),
        ({"start": "noon"}, "--from 'noon'"),
        ({"stop": float("nan")}, "expected a finite time"),
        ({"streams": ["side"]}, "has no stream 'side'"),
        ({"episodes": "7"}, "there is no episode 7"),
        ({"clock": "sun"}, "expected sim or wall"),
    ]
    for arguments, text in refused:
        with pytest.raises(OptionError) as error:
            cut(filmed, out, **arguments)
        assert text in str(error.value)
    with pytest.raises(OptionError, match="given twice"):
        merge([filmed, filmed], out)
    with pytest.raises(OptionError, match="stream 'state' is"):
        merge([filmed, walked], out)
    shutil.copy(filmed / "state.npz", tmp_path / "alone.npz")
    with pytest.raises(OptionError, match="no manifest tells"):
        cut(tmp_path / "alone.npz", out)
    (tmp_path / "alone.npz").unlink()
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(OutputExistsError):
        cut(filmed, out, stop=1)
    assert list(out.iterdir()) == []
    with pytest.raises(OptionError, match="holds the source"):
        cut(filmed, filmed, stop=1, overwrite=True)
    cut(filmed, out, stop=1, overwrite=True)
    undamaged(out)


def test_compare_says_what_differs(filmed: Path, walked: Path, tmp_path: Path) -> None:
    """Exit code 1 and the places: a stretch against the whole, another film; formats and single files may differ."""
    cut(filmed, tmp_path / "c", stop=4)
    done = run("compare", filmed, tmp_path / "c", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["equal"]) == (1, False)
    whats = {(d["stream"], d["what"]) for d in told["differences"]}
    assert {("front", "count"), ("state", "count")} <= whats
    assert ("state", "values") not in whats
    assert run("compare", filmed / "state.csv", filmed / "state.npz").returncode == 0
    assert run("compare", filmed, filmed).returncode == 0
    assert run("compare", filmed, walked, "--streams", "nothing").returncode == 2
    with recd.open(filmed) as run_:
        frames = list(run_["front"])
    with Recorder("other", dir=tmp_path / "o", dt=1 / FPS) as rec:
        stream = rec.stream("front", VideoFile("front.mp4", fps=FPS))
        for i in range(FRAMES):
            stream.write(numbered(i + (i == 77)), step=i)
    (found,) = compare(filmed, tmp_path / "o", streams=["front"], psnr=38).differences
    assert (found.what, found.index, found.seq, found.count, found.t) == ("frames", 77, 77, 1, 77 / FPS)
    assert len(frames) == FRAMES


def test_what_is_missing_in_one_shifts_nothing_in_a_comparison(filmed: Path, tmp_path: Path) -> None:
    """Samples are found by their numbers: a stretch out of the middle differs in nothing but its ends."""
    cut(filmed, tmp_path / "c", start=1, stop=3)
    for a, b, which in ((filmed, tmp_path / "c", "first"), (tmp_path / "c", filmed, "second")):
        found = compare(a, b, streams=["state", "front"], psnr=40)
        assert found.samples == {"state": 50, "front": 50}
        assert {(d.stream, d.what) for d in found.differences} == {("state", "count"), ("front", "count")}
        assert all(f"80 only in the {which}, from number 0 on" in d.text for d in found.differences)
    (values,) = compare(filmed, tmp_path / "c", streams=["state"], align="place").differences[-1:]
    assert values.what == "values"
    done = run("compare", filmed, tmp_path / "c", "--align", "place", "--streams", "state", "--json")
    assert {d["what"] for d in json.loads(done.stdout)["differences"]} == {"count", "values"}
    with pytest.raises(OptionError, match="align='time'"):
        compare(filmed, filmed, align="time")


@pytest.mark.requires("PIL")
def test_a_sheet_shows_the_frames_that_it_tells(filmed: Path, tmp_path: Path) -> None:
    """The middle of each thumb has the frame's gray; the file is whole or not there, and tells where it is from."""
    from PIL import Image

    out = tmp_path / "sheet.png"
    done = run("thumbs", filmed, "-o", out, "--at", "0,1.0,2.02", "--columns", 2, "--width", 64, "--json")
    told = json.loads(done.stdout)
    assert told["samples"] == [0, 25, 51] or told["samples"] == [0, 25, 50]
    with Image.open(out) as image:
        assert image.size == (told["width"], told["height"])
        source = json.loads(image.text["recd_provenance"])["sources"][0]  # type: ignore[attr-defined]
        pixels = np.asarray(image.convert("L"), np.int64)
    assert source["session"] == recd.open(filmed).session
    row = 48 + 10 + 3 * 4
    for k, i in enumerate(told["samples"]):
        x, y = 4 + k % 2 * 68, 4 + k // 2 * row
        assert abs(int(pixels[y + 24, x + 32]) - int(numbered(i)[0, 0, 0])) <= 3
    assert run("thumbs", filmed, "-o", out).returncode == 1
    for wrong in (["--at", "99"], ["--at", "x"], ["--count", "0"], ["state"]):
        assert run_fails("thumbs", filmed, *wrong, "-o", tmp_path / "no.png"), wrong
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
    with pytest.raises(NoSuchNameError):
        recd.tools.thumbs(filmed, tmp_path / "no.png", stream="side")
