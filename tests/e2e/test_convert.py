"""Conversions from end to end: training sets, choices, interruptions of every kind, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import toy_target
from converting import lines_of, record_walk
from disks import small_disk
from recd.cli import main
from recd.converter import Converted, convert, targets, windows, work
from recd.converter.choosing import numbers_of
from recd.converter.targets import recorded
from recd.reader.npz import NPZTable
from recd_client import CSVFile, HDF5File, NPZFile, Ragged, Recorder
from recd_client.errors import MissingLibraryError, OptionError, OutputError, OutputExistsError
from recordings import PATIENCE_S, npz
from support import exit_code_of_child

pytestmark = pytest.mark.usefixtures("shared_runtime")


@pytest.fixture(scope="module")
def walk(
    shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[np.ndarray]]]:
    """A recording of three episodes, of which the second was no success, and what was written."""
    directory = tmp_path_factory.mktemp("walk")
    return directory, record_walk(directory)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The format ``toy`` is there."""
    classes = {**targets._CLASSES, "toy": ("toy", "ToyTarget")}
    monkeypatch.setattr(targets, "_CLASSES", classes)
    monkeypatch.setitem(sys.modules, "recd.converter.targets.toy", toy_target)
    yield
    toy_target.before.clear()


def recd(*arguments: object) -> Result:
    """The command line, as a user calls it."""
    return CliRunner().invoke(main, ["convert", *map(str, arguments)])


def told(path: Path) -> dict[str, Any]:
    """What the toy wrote about an episode."""
    found: dict[str, Any] = json.loads(str(npz(path)["told"]))
    return found


# --- training sets -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy")
def test_episodes_have_all_features_on_one_time_axis(tmp_path: Path, walk: Any) -> None:
    """Three episodes with what was written, bit for bit; each frame of the slower camera stands for two rows."""
    directory, written = walk
    made = convert(directory, tmp_path / "set", to="toy")
    assert (made.episodes, made.samples, made.problems) == (3, 120, [])
    for episode in range(3):
        found = npz(tmp_path / "set" / f"{episode}.npz")
        for name, feature in (("qpos", "observation.qpos"), ("ctrl", "action"), ("reward", "reward")):
            np.testing.assert_array_equal(found[feature], written[name][episode])
        shown = np.round((found["observation.images.front"].mean((1, 2, 3)) - 10) / 6) % 40
        assert shown.tolist() == [(20 * episode + i // 2) % 40 for i in range(40)]
        about = told(tmp_path / "set" / f"{episode}.npz")
        assert (about["fps"], about["success"], about["length"]) == (50.0, episode != 1, 40)


@pytest.mark.usefixtures("toy")
def test_episodes_are_chosen_over_several_sources(tmp_path: Path, walk: Any, shared_runtime: Path) -> None:
    """Two recordings make one set; numbers count over both, and only successes may be wanted."""
    directory, written = walk
    other = record_walk(tmp_path / "other", episodes=2, video=False, seed=1)
    map_file = tmp_path / "map.toml"
    map_file.write_text('task_from = "task"\n[features.action]\nfrom = "state/ctrl"\n')
    made = convert(
        [directory, tmp_path / "other"],
        tmp_path / "set",
        to="toy",
        map=map_file,
        episodes="1-3",
        success=True,
    )
    assert made.episodes == 2  # episode 1 was none
    np.testing.assert_array_equal(npz(tmp_path / "set" / "0.npz")["action"], written["ctrl"][2])
    np.testing.assert_array_equal(npz(tmp_path / "set" / "1.npz")["action"], other["ctrl"][0])
    assert [told(tmp_path / "set" / f"{i}.npz")["task"] for i in range(2)] == ["walk", "walk"]
    sources = json.loads((tmp_path / "set" / "recd-provenance.json").read_text())["sources"]
    assert [s["path"] for s in sources] == [str(directory), str(tmp_path / "other")]


def test_several_streams_become_one_table(tmp_path: Path, walk: Any) -> None:
    """A format of tables with --fps: one file of all features, with the number of the episode."""
    directory, written = walk
    made = convert(directory, tmp_path / "all.npz", to="npz", fps=25)
    found = npz(tmp_path / "all.npz")
    assert found["episode"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    np.testing.assert_array_equal(found["action"], np.concatenate([ctrl[::2] for ctrl in written["ctrl"]]))
    assert any("holds no images" in problem for problem in made.problems)


def test_several_sources_get_directories_of_their_own(tmp_path: Path, walk: Any) -> None:
    """Streams of one name do not collide: below the destination each recording has its name."""
    directory, _ = walk
    other = tmp_path / "again"
    shutil.copytree(directory, other)
    convert([directory, other], tmp_path / "out", to="csv")
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.csv"))
    assert names == ["again/state.csv", f"{directory.name}/state.csv"]


# --- interruptions -----------------------------------------------------------------------------------


def many_streams(directory: Path, count: int = 5) -> Path:
    """A recording of several streams."""
    with Recorder(dir=directory) as rec:
        for k in range(count):
            stream = rec.stream(f"s{k}", NPZFile(f"s{k}.npz"))
            for i in range(100):
                stream.write(np.full(3, 100.0 * k + i))
    return directory


def test_a_killed_conversion_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 in the third of five files: two stay as they are, the others are made, all as without the kill."""
    source = many_streams(tmp_path / "run")
    write = recorded.NPZTarget.write

    def killed(self: Any, path: Path, streams: Any, progress: Any) -> None:
        if streams[0].name == "s2":
            path.write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path, streams, progress)

    monkeypatch.setattr(recorded.NPZTarget, "write", killed)
    assert exit_code_of_child(lambda: print(convert(source, tmp_path / "out", to="npz"))) == -signal.SIGKILL
    monkeypatch.setattr(recorded.NPZTarget, "write", write)
    assert not (tmp_path / "out").exists()
    part = tmp_path / "out.part" / "output"
    before = {p.name: p.stat().st_ino for p in part.glob("s?.npz")}
    assert set(before) == {"s0.npz", "s1.npz"}
    made = convert(source, tmp_path / "out", to="npz")
    fresh = convert(source, tmp_path / "fresh", to="npz")
    assert (made.resumed, fresh.resumed) == (2, 0)
    assert {name: (tmp_path / "out" / name).stat().st_ino for name in before} == before
    for k in range(5):
        a, b = npz(tmp_path / "out" / f"s{k}.npz"), npz(tmp_path / "fresh" / f"s{k}.npz")
        assert [*a] == [*b]
        assert all(np.array_equal(a[name], b[name]) for name in a)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh", "out", "run"]


def test_a_kill_behind_the_last_step_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output has its name, what it was made in is still there: the next call says so, and removes that."""
    source = many_streams(tmp_path / "run", 1)
    with monkeypatch.context() as patch:
        patch.setattr(work.shutil, "rmtree", lambda path: os.kill(os.getpid(), signal.SIGKILL))
        assert (
            exit_code_of_child(lambda: print(convert(source, tmp_path / "out", to="npz"))) == -signal.SIGKILL
        )
    assert (tmp_path / "out" / "s0.npz").exists()
    assert (tmp_path / "out.part").exists()
    with pytest.raises(OutputExistsError, match="out exists already"):
        convert(source, tmp_path / "out", to="npz")
    assert not (tmp_path / "out.part").exists()


@pytest.mark.usefixtures("toy")
def test_a_file_is_read_once_however_many_episodes_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed archive can be read from the front alone: one pass for all episodes of a feature, or a table."""
    written = record_walk(tmp_path / "run", episodes=12, steps=10, video=False)
    passes = []
    scan = NPZTable.scan

    def counted(self: NPZTable, names: Any, rows: int, start: int, stop: int) -> Any:
        passes.append((start, stop))
        return scan(self, names, rows, start, stop)

    monkeypatch.setattr(NPZTable, "scan", counted)
    convert(tmp_path / "run", tmp_path / "set", to="toy", episodes="1,3-11")
    assert passes == [(10, 120)] * 3  # qpos, ctrl, reward
    for i, episode in enumerate([1, *range(3, 12)]):
        found = npz(tmp_path / "set" / f"{i}.npz")
        np.testing.assert_array_equal(found["observation.qpos"], written["qpos"][episode])
        np.testing.assert_array_equal(found["action"], written["ctrl"][episode])
    passes.clear()
    convert(tmp_path / "run", tmp_path / "s.csv", to="csv", episodes="1,3-11")
    assert passes == [(10, 120)]


@pytest.mark.parametrize("file", [NPZFile("s.npz"), HDF5File("s.h5"), CSVFile("s.csv")])
def test_some_episodes_are_those_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Any) -> None:
    """Of each format that is read, however episodes lie to each other and to batches: none more, none less."""
    monkeypatch.setattr(windows, "_NEAR", 5)
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("s", file, like={"n": 0, "text": "", "r": Ragged()})
        for episode in range(8):
            rec.reset()
            for i in range(4):
                stream.write({"n": 4 * episode + i, "text": "x" * i, "r": np.arange(float(i))}, t=float(i))
    for wanted in ("0", "7", "0-7", "0,2,3,7", "1,6"):
        chosen = [4 * e + i for e in range(8) if e in numbers_of(wanted) for i in range(4)]
        made = convert(tmp_path / "run", tmp_path / f"{wanted}.npz", to="npz", episodes=wanted)
        found = npz(made.destination)
        assert found["n"].tolist() == chosen, wanted
        assert found["episode"].tolist() == [n // 4 for n in chosen]
        assert found["text"].tolist() == ["x" * (n % 4) for n in chosen]
        assert np.diff(found["r_offsets"]).tolist() == [n % 4 for n in chosen]


def test_a_session_that_is_still_running_is_converted_as_it_is(tmp_path: Path) -> None:
    """Nothing is waited for: what was flushed is in the table."""
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for i in range(50):
            stream.write(float(i))
        rec.flush()
        made = convert(tmp_path / "run", tmp_path / "s.npz", to="npz")
        stream.write(50.0)
    assert npz(made.destination)["data"].tolist() == [float(i) for i in range(50)]


@pytest.mark.usefixtures("toy")
def test_a_set_of_episodes_is_gone_on_with(tmp_path: Path, walk: Any) -> None:
    """Kill -9 in the second episode: the first one stays, and the set is as without the kill."""
    directory, written = walk
    toy_target.before.append(lambda index: os.kill(os.getpid(), signal.SIGKILL) if index == 1 else None)
    assert (
        exit_code_of_child(lambda: print(convert(directory, tmp_path / "set", to="toy"))) == -signal.SIGKILL
    )
    toy_target.before.clear()
    first = (tmp_path / "set.part" / "output" / "0.npz").stat().st_ino
    made = convert(directory, tmp_path / "set", to="toy")
    assert made.resumed == 1
    assert (tmp_path / "set" / "0.npz").stat().st_ino == first
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [
        "0.npz", "1.npz", "2.npz", "done", "recd-provenance.json",
    ]  # fmt: skip
    np.testing.assert_array_equal(npz(tmp_path / "set" / "2.npz")["action"], written["ctrl"][2])


@pytest.mark.usefixtures("toy")
def test_an_unfinished_one_of_other_choices_is_not_gone_on_with(tmp_path: Path, walk: Any) -> None:
    """The same destination with another --fps: refused, what differs is named; --overwrite begins anew."""
    directory, _ = walk
    toy_target.before.append(lambda index: os.kill(os.getpid(), signal.SIGKILL) if index == 1 else None)
    exit_code_of_child(lambda: print(convert(directory, tmp_path / "set", to="toy")))
    toy_target.before.clear()
    with pytest.raises(OutputExistsError, match="with other fps"):
        convert(directory, tmp_path / "set", to="toy", fps=25)
    made = convert(directory, tmp_path / "set", to="toy", fps=25, overwrite=True)
    assert (made.resumed, made.samples) == (0, 60)


@pytest.mark.usefixtures("toy")
def test_an_error_keeps_what_is_done(tmp_path: Path, walk: Any) -> None:
    """Whatever a target raises: the episode before it is not done again."""
    directory, _ = walk

    def fail(index: int) -> None:
        if index == 2:
            raise RuntimeError("no")

    toy_target.before.append(fail)
    with pytest.raises(RuntimeError, match="no"):
        convert(directory, tmp_path / "set", to="toy")
    toy_target.before.clear()
    assert convert(directory, tmp_path / "set", to="toy").resumed == 2


@pytest.mark.parametrize(
    "form",
    [
        "csv",
        "npz",
        "hdf5",
        pytest.param("parquet", marks=pytest.mark.requires("pyarrow")),
        pytest.param("zarr", marks=pytest.mark.requires("zarr")),
    ],
)
def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path, form: str) -> None:
    """There is no room for the rest: an error says so and what to do; with room, the same call completes it."""
    source = tmp_path / "run"
    with Recorder(dir=source) as rec:
        for name in ("a", "b"):
            stream = rec.stream(name, NPZFile(f"{name}.npz"), overflow="block")
            for i in range(100):
                stream.write(np.full(5000, float(i)))  # 4 MB together
    with small_disk() as disk:

        def fill(done: int, total: int, what: str) -> None:
            if done == total // 2 and what == "b":
                disk.fill()

        with pytest.raises(OutputError, match="no room left on the disk") as error:
            convert(source, disk.path / "out", to=form, progress=fill)
        assert "out.part" in error.value.do
        disk.free()
        made = convert(source, disk.path / "out", to=form)
        assert (made.resumed, made.samples) == (1, 200)
        assert sorted(p.stem for p in (disk.path / "out").iterdir()) == ["a", "b", "recd-provenance"]


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    """SIGINT in the third file: exit code 130, where the rest is, and the same command completes it."""
    source = many_streams(tmp_path / "run")
    code = """
import os, signal, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from recd.cli import main
from recd.converter.targets import recorded
write = recorded.CSVTarget.write
def stopped(self, path, streams, progress):
    if streams[0].name == "s2":
        signal.raise_signal(signal.SIGINT)
    write(self, path, streams, progress)
recorded.CSVTarget.write = stopped
signal.signal(signal.SIGINT, signal.default_int_handler)
main(sys.argv[2:])
"""
    line = ["convert", str(source), str(tmp_path / "out"), "--to", "csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, os.pathsep.join(p for p in sys.path if p), *line],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 130
    said, do = lines_of(done.stderr)
    assert said == f"error: interrupted: what is done is kept in {tmp_path / 'out.part'}"
    assert do == "  -> run the same command again to go on"
    again = recd(*line[1:])
    assert again.exit_code == 0
    assert "2 units had been done before" in again.stdout


def test_two_conversions_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one works, a second one to the same destination is refused."""
    source = many_streams(tmp_path / "run", 1)
    write = recorded.CSVTarget.write

    def second(self: Any, path: Path, streams: Any, progress: Any) -> None:
        with pytest.raises(OutputError, match="being made by another process"):
            convert(source, tmp_path / "out", to="csv")
        write(self, path, streams, progress)

    monkeypatch.setattr(recorded.CSVTarget, "write", second)
    convert(source, tmp_path / "out", to="csv")


# --- destinations and choices ------------------------------------------------------------------------


def test_a_destination_that_exists_is_replaced_only_if_asked_for(tmp_path: Path, walk: Any) -> None:
    """An error before anything is read; with overwrite the old one stays until the new one is complete."""
    directory, _ = walk
    (tmp_path / "state.csv").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"state\.csv exists already"):
        convert(directory, tmp_path / "state.csv", to="csv", streams=["state"])
    assert (tmp_path / "state.csv").read_text() == "mine"
    seen = []
    convert(
        directory, tmp_path / "state.csv", to="csv", streams=["state"], overwrite=True,
        progress=lambda done, total, what: seen.append((done, total, (tmp_path / "state.csv").read_text())),
    )  # fmt: skip
    assert {text for _, _, text in seen} == {"mine"}
    assert (seen[0][:2], seen[-1][:2]) == ((0, 120), (120, 120))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert (tmp_path / "state.csv").read_text().startswith("timestamp,seq,episode,qpos_0")


def test_no_source_is_ever_replaced(tmp_path: Path) -> None:
    """The destination is the source, or holds it: refused, with overwrite too."""
    source = many_streams(tmp_path / "top" / "run", 1)
    for destination in (source, source.parent, source / "s0.npz"):
        for given in (source, source / "s0.npz"):
            with pytest.raises(OptionError, match="which it would replace"):
                convert(given, destination, to="npz", overwrite=True)
    assert (source / "s0.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"to": "excel"}, "format 'excel': expected one of csv, npz"),
        ({"to": "csv", "streams": ["stat"]}, "no stream 'stat', only state, front"),
        ({"to": "csv", "streams": ["front"]}, "stream 'front': csv holds no video"),
        ({"to": "mp4", "streams": ["state"]}, "samples are no pictures"),
        ({"to": "csv", "episodes": "0-x"}, "'0-x' is no number or range"),
        ({"to": "csv", "episodes": "2,5"}, "no episode 5; there are 3"),
        ({"to": "csv", "align": "nearest"}, "streams keep their own times"),
        ({"to": "csv", "fps": 0}, "--fps 0: expected rows per second"),
        ({"to": "csv", "fps": float("nan")}, "--fps nan: expected rows per second"),
        ({"to": "mp4", "fps": 10}, "mp4 keeps each stream at its own rate"),
    ],
)
def test_a_wrong_choice_is_named_before_anything_is_written(
    tmp_path: Path, walk: Any, arguments: dict[str, Any], what: str
) -> None:
    """What was asked for, and what there is."""
    directory, _ = walk
    with pytest.raises(OptionError, match=what):
        convert(directory, tmp_path / "out", **arguments)
    assert not [*tmp_path.iterdir()]


def test_a_name_that_does_not_fit_the_format_is_refused(tmp_path: Path, walk: Any) -> None:
    """A file for several streams, or the suffix of another format."""
    directory, _ = walk
    source = many_streams(tmp_path / "run", 2)
    with pytest.raises(OptionError, match=r"out\.csv is one file, but there are 2 streams: s0, s1"):
        convert(source, tmp_path / "out.csv", to="csv")
    with pytest.raises(OptionError, match=r"out\.csv ends with \.csv, but npz is \.npz"):
        convert(directory, tmp_path / "out.csv", to="npz")


def test_success_must_be_told_by_somebody(tmp_path: Path) -> None:
    """Neither a mark nor a field says which episodes succeeded: said how to record it."""
    source = many_streams(tmp_path / "run", 1)
    with pytest.raises(OptionError, match="neither a mark nor a field"):
        convert(source, tmp_path / "out", to="csv", success=True)


def test_an_option_of_the_format_is_checked(tmp_path: Path, walk: Any) -> None:
    """[target] has the choices of one format: unknown ones and other values are refused."""
    directory, _ = walk
    for line, what in (
        ("sheet = 1", "sheet: npz knows compression"),
        ("compression = 'xz'", "expected 'none', 'deflate'"),
    ):
        (tmp_path / "m.toml").write_text(f"[target]\n{line}\n")
        with pytest.raises(OptionError, match=what):
            convert(directory, tmp_path / "out", to="npz", map=tmp_path / "m.toml")


def test_a_library_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, walk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install, before anything is written."""
    from recd.converter.targets.parquet import ParquetTarget

    monkeypatch.setattr(ParquetTarget, "libraries", ("no_such_library",))
    with pytest.raises(
        MissingLibraryError, match=r"needs no_such_library.*\n.*pip install 'recd\[convert\]'"
    ):
        convert(walk[0], tmp_path / "out", to="parquet")


def test_a_target_that_cannot_even_be_loaded_names_what_is_missing(
    tmp_path: Path, walk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LeRobot's sets are built around pyarrow: without it nothing of them can be imported."""
    for name in [n for n in sys.modules if n.startswith("recd.converter.targets.lerobot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingLibraryError, match=r"needs pyarrow.*\n.*pip install 'recd\[lerobot\]'"):
        convert(walk[0], tmp_path / "out", to="lerobot")


def test_a_part_that_is_missing_is_named_and_the_rest_is_converted(tmp_path: Path, walk: Any) -> None:
    """The film, or the states, were deleted: the rest is converted, and what is missing is told."""
    directory, _ = walk
    for missing, to, samples in (
        ("front.mp4", "npz", 120),
        ("state.npz", "mp4", 60),
        ("state.npz", "png", 60),
    ):
        run = tmp_path / to
        shutil.copytree(directory, run)
        (run / missing).unlink()
        with pytest.warns(UserWarning, match=f"{missing} is missing"):
            made = convert(run, tmp_path / f"{to} out", to=to)
        assert made.samples == samples
        assert any(f"{missing} is missing" in problem for problem in made.problems)


# --- the command line --------------------------------------------------------------------------------


def test_the_guessed_map_is_written_and_used(tmp_path: Path, walk: Any) -> None:
    """--map-out writes what --map reads; a map that exists is not overwritten."""
    directory, written = walk
    first = recd(directory, "--map-out", tmp_path / "m.toml")
    assert first.exit_code == 0, first.stderr
    assert recd(directory, "--map-out", tmp_path / "m.toml").exit_code == 1
    text = (tmp_path / "m.toml").read_text().replace('from = "state/qpos"', 'from = "state/qpos[0:2]"')
    (tmp_path / "m.toml").write_text(text)
    made = recd(
        directory,
        tmp_path / "a.npz",
        "--to",
        "npz",
        "--map",
        tmp_path / "m.toml",
        "--episodes",
        "0",
        "--json",
    )
    assert made.exit_code == 0, made.stderr
    answer = json.loads(made.stdout)
    assert (answer["samples"], answer["episodes"], answer["files"]) == (40, 0, [""])
    np.testing.assert_array_equal(npz(tmp_path / "a.npz")["observation.qpos"], written["qpos"][0][:, :2])


@pytest.mark.parametrize(
    ("line", "code", "what"),
    [
        (["{}"], 2, "expected SRC... DST"),
        ([], 2, "expected SRC... DST"),
        (["{}", "out"], 2, "no --to"),
        (["{}", "out", "--to", "cvs"], 2, "format 'cvs'"),
        (["nowhere", "out", "--to", "csv"], 1, "nowhere"),
        (["{}", "out", "--to", "csv", "--map", "nothing.toml"], 1, "nothing.toml cannot be read"),
    ],
)
def test_errors_go_to_stderr(
    tmp_path: Path, walk: Any, monkeypatch: pytest.MonkeyPatch, line: list[str], code: int, what: str
) -> None:
    """With a code that is not 0, and what to do."""
    monkeypatch.chdir(tmp_path)
    done = recd(*(part.format(walk[0]) for part in line))
    assert (done.exit_code, done.stdout) == (code, "")
    assert what in done.stderr
    assert "->" in done.stderr


def test_what_was_made_is_told(tmp_path: Path, walk: Any) -> None:
    """Where, how many, how large; and what was left out."""
    done = recd(walk[0], tmp_path / "out", "--to", "csv")
    assert done.exit_code == 0
    first, *rest = lines_of(done.stdout)
    assert first.startswith(f"{tmp_path / 'out'}: 1 file, 120 samples, ")
    assert rest == ["  left out: stream front: csv holds no video"]


def test_a_converted_set_is_told_in_python(tmp_path: Path, walk: Any) -> None:
    """The result names the files and counts what is in them."""
    made = convert(walk[0], tmp_path / "out", to="csv", episodes=[0, 2])
    assert isinstance(made, Converted)
    assert (made.files, made.samples, made.resumed) == (["state.csv"], 80, 0)
    assert made.bytes == (tmp_path / "out" / "state.csv").stat().st_size


# --- recordings of Gymnasium -------------------------------------------------------------------------


@pytest.mark.requires("gymnasium")
@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("environments", [1, 2])
def test_gymnasium_episodes_become_what_load_episode_gives(tmp_path: Path, environments: int) -> None:
    """Observations with the actions taken at them; of several environments each has its own episodes."""
    import gymnasium

    from recd_client.gymnasium import RecordEpisode, load_episode

    if environments == 1:
        env: Any = RecordEpisode(gymnasium.make("CartPole-v1"), str(tmp_path / "run"))
    else:
        env = RecordEpisode(gymnasium.make_vec("CartPole-v1", num_envs=environments), str(tmp_path / "run"))
    env.action_space.seed(3)
    env.reset(seed=5)
    for _ in range(120):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if environments == 1 and (terminated or truncated):
            env.reset()
    env.close()
    stream = "episode" if environments == 1 else "episode-env-1"
    files = sorted((tmp_path / "run").glob(f"{stream}_*.npz"), key=lambda p: int(p.stem.rpartition("_")[2]))
    made = convert(tmp_path / "run", tmp_path / "set", to="toy", streams=[stream])
    whole = [load_episode(path) for path in files]
    whole = [one for one in whole if len(one.actions)]
    assert made.episodes == len(whole) > 2
    for i, expected in enumerate(whole):
        found = npz(tmp_path / "set" / f"{i}.npz")
        np.testing.assert_array_equal(found["observation.state"], expected.observations[:-1])
        np.testing.assert_array_equal(found["action"], expected.actions)
        np.testing.assert_array_equal(found["reward"], expected.rewards)
        np.testing.assert_array_equal(found["terminated"], expected.terminations)
