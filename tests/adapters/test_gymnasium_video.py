"""RecordVideo beside Gymnasium's own: the same files, names, frame counts and pictures."""

from __future__ import annotations

import gc
import inspect
import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import Counting, several
from killing import wait_for_manifest
from recd_client import MissingLibraryError, OptionError, Recorder, VideoFile
from recordings import decoded, manifest_of, npz, numbers, proved, shown_at
from support import FIND, wait_until

if find_spec("gymnasium"):
    import gymnasium

    from recd_client.gymnasium import RecordEpisode, RecordVideo, VectorRecordVideo

pytestmark = [
    pytest.mark.requires("gymnasium"),
    pytest.mark.filterwarnings("default"),  # Gymnasium warns of much, and MoviePy's syntax is old
    pytest.mark.filterwarnings("error::recd_client.DataLossWarning"),
    pytest.mark.usefixtures("shared_runtime"),
]

LENGTHS = (4, 2, 5)


def films(folder: Path) -> dict[str, list[int]]:
    """The videos in a folder: what the frames of each tell."""
    return {p.name: numbers(p) for p in sorted(folder.glob("*.mp4")) if ".part" not in p.name}


def play(env: Any, episodes: int) -> None:
    """Play some episodes, and close."""
    for _ in range(episodes):
        env.reset()
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    env.close()


# --- one environment ----------------------------------------------------------------------------------


@pytest.mark.requires("moviepy")
@pytest.mark.parametrize(
    ("episodes", "options"),
    [
        (10, {}),
        (6, {"episode_trigger": lambda e: e % 2 == 1}),
        (6, {"step_trigger": lambda s: s % 7 == 3}),
        (6, {"step_trigger": lambda s: s % 6 == 0, "video_length": 3}),
        (6, {"episode_trigger": lambda e: e == 1, "video_length": 8, "name_prefix": "long"}),
        (5, {"episode_trigger": lambda e: True, "step_trigger": lambda s: s == 8, "fps": 8}),
        (4, {"video_length": 1000}),
    ],
    ids=["default", "episodes", "steps", "snippets", "over-episodes", "both", "cut-by-close"],
)
def test_it_leaves_the_files_that_gymnasiums_own_wrapper_leaves(
    tmp_path: Path, episodes: int, options: dict[str, Any]
) -> None:
    """Around the same environment both make videos of the same names, lengths and pictures, at the same pace."""
    theirs = gymnasium.wrappers.RecordVideo(Counting(LENGTHS), str(tmp_path / "theirs"), **options)
    play(RecordVideo(theirs, str(tmp_path / "ours"), overflow="block", **options), episodes)

    expected = films(tmp_path / "theirs")
    assert expected
    assert films(tmp_path / "ours") == expected
    for name in expected:
        ours, others = decoded(tmp_path / "ours" / name), decoded(tmp_path / "theirs" / name)
        assert np.abs(ours.astype(int) - others.astype(int)).mean() < 3
    assert speed(tmp_path / "ours") == speed(tmp_path / "theirs")
    proved(tmp_path / "ours")


def speed(folder: Path) -> dict[str, float]:
    """Frames per second of each video."""
    times = {p.name: sorted(shown_at(p)) for p in folder.glob("*.mp4")}
    return {name: round(1 / (t[1] - t[0]), 3) for name, t in times.items() if len(t) > 1}


@pytest.mark.requires("moviepy")
def test_a_list_of_frames_is_recorded_as_gymnasium_does(tmp_path: Path) -> None:
    """With rgb_array_list the last frame of each list counts, and what render() hands out belongs to the video."""
    seen = []
    for wrapper, name in ((gymnasium.wrappers.RecordVideo, "theirs"), (RecordVideo, "ours")):
        env = wrapper(Counting(LENGTHS, render_mode="rgb_array_list"), str(tmp_path / name))
        env.reset()
        env.step(env.action_space.sample())
        seen.append(len(env.render()))
        env.step(env.action_space.sample())
        env.close()
    assert seen[0] == seen[1]
    assert films(tmp_path / "ours") == films(tmp_path / "theirs")


@pytest.mark.requires("moviepy")
def test_recording_by_hand_goes_as_with_gymnasiums_own(tmp_path: Path) -> None:
    """start_recording begins a video and ends one that runs; a name may come again, and the newer one stays."""
    for wrapper, name in ((gymnasium.wrappers.RecordVideo, "theirs"), (RecordVideo, "ours")):
        env = wrapper(Counting((30,)), str(tmp_path / name), episode_trigger=lambda e: False)
        env.reset()
        for step in range(12):
            if step in (2, 5, 9):
                env.start_recording("first" if step != 5 else "second")
            if step == 7:
                env.stop_recording()
            env.step(env.action_space.sample())
        assert env.recording
        env.close()
        assert not env.recording
    assert films(tmp_path / "ours") == films(tmp_path / "theirs")
    assert len(films(tmp_path / "ours")) == 2


def test_it_takes_what_gymnasiums_own_takes() -> None:
    """The same arguments in the same places with the same defaults; garbage is not collected unless asked for."""
    pairs = (
        (gymnasium.wrappers.RecordVideo, RecordVideo),
        (gymnasium.wrappers.vector.RecordVideo, VectorRecordVideo),
    )
    for theirs, ours in pairs:
        expected = [*inspect.signature(theirs.__init__).parameters.values()]
        found = [*inspect.signature(ours.__init__).parameters.values()]
        assert [p.name for p in found[: len(expected)]] == [p.name for p in expected]
        defaults = {p.name: (p.default, o.default) for p, o in zip(expected, found, strict=False)}
        assert defaults.pop("gc_trigger")[1] is None
        assert all(their == our for their, our in defaults.values())
        assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :])


def test_triggers_are_asked_as_gymnasium_asks_them(tmp_path: Path) -> None:
    """Each episode and each step once, in order; garbage is collected behind the videos for which it is wanted."""
    asked: dict[str, list[int]] = {"episode": [], "step": [], "gc": []}

    def trigger(kind: str, answer: bool) -> Any:
        return lambda n: asked[kind].append(n) or answer

    env = RecordVideo(
        Counting(LENGTHS),
        tmp_path,
        trigger("episode", True),
        trigger("step", False),
        gc_trigger=trigger("gc", False),
    )
    play(env, 3)
    assert asked == {
        "episode": [0, 1, 2],
        "step": [*range(sum(LENGTHS))],
        "gc": [1, 2, 2],
    }  # behind an episode's video the next one has begun
    assert env.episode_id == 2
    assert env.step_id == sum(LENGTHS) - 1


def test_an_old_video_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    """As with Gymnasium's own, the folder is used again, with a warning; the old file stays until then."""
    play(RecordVideo(Counting((9,)), str(tmp_path)), 1)
    old = films(tmp_path)
    with pytest.warns(UserWarning, match="Overwriting existing videos"):
        env = RecordVideo(Counting((3,)), str(tmp_path))
    env.reset()
    env.step(env.action_space.sample())
    assert films(tmp_path) == old
    env.close()
    assert films(tmp_path) == {"rl-video-episode-0.mp4": [0, 1]}


def test_the_manifest_tells_which_step_each_frame_is(tmp_path: Path) -> None:
    """A frame's step is that of the whole run, so that states of the same run can be laid beside it."""
    play(RecordVideo(Counting(LENGTHS), str(tmp_path), episode_trigger=lambda e: e == 1), 3)
    manifest = proved(tmp_path)
    (stream,) = manifest["streams"].values()
    assert stream["samples"] == 1 + LENGTHS[1]
    assert (stream["step_first"], stream["step_last"]) == (3, 5)


def test_quality_and_codec_can_be_chosen(tmp_path: Path) -> None:
    """Options of the video are taken from a VideoFile; its own frame rate counts where none is given."""
    options = VideoFile(codec="h264", crf=10, fps=7)
    play(RecordVideo(Counting((3,)), str(tmp_path), options=options), 1)
    assert speed(tmp_path) == {"rl-video-episode-0.mp4": 7.0}


def test_videos_can_go_into_a_recording_of_ones_own(tmp_path: Path) -> None:
    """The recorder is left open for its owner, and one manifest has it all."""
    with Recorder("mine", dir=tmp_path) as rec:
        play(RecordVideo(Counting(LENGTHS), str(tmp_path / "videos"), recorder=rec), 2)
        play(RecordVideo(Counting(LENGTHS), str(tmp_path / "more"), recorder=rec), 1)
        rec.log("after", 1.0)
    assert films(tmp_path / "videos").keys() == {"rl-video-episode-0.mp4", "rl-video-episode-1.mp4"}
    assert films(tmp_path / "more").keys() == {"rl-video-episode-0.mp4"}
    assert proved(tmp_path)["streams"].keys() == {
        "rl-video-episode-0", "rl-video-episode-1", "rl-video-episode-0_2", "after",
    }  # fmt: skip


def test_more_videos_than_a_recording_takes_streams_are_several_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long training is not ended by the daemon's limit of streams; every video is there."""
    monkeypatch.setattr("recd_client.gymnasium.home._MOST_STREAMS", 2)
    play(RecordVideo(Counting((2,)), str(tmp_path), episode_trigger=lambda e: True), 5)
    assert len(films(tmp_path)) == 5
    assert len([*tmp_path.glob("manifest*.json")]) == 3


@pytest.mark.parametrize("wrapper", ["RecordVideo", "RecordEpisode"])
def test_a_full_recording_goes_on_as_long_as_a_sub_environment_records_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapper: str
) -> None:
    """Sub-environments that a recording has no room for begin another; nobody's running file ends with it."""
    monkeypatch.setattr("recd_client.gymnasium.home._MOST_STREAMS", 2)
    if wrapper == "RecordVideo":
        options: dict[str, Any] = {
            "layout": "separate",
            "episode_trigger": lambda e: True,
            "overflow": "block",
        }
        run(RecordVideo(vector(3, "NextStep"), str(tmp_path), **options), 13, masked=False)
        assert films(tmp_path) == {
            f"rl-video-env-{i}-episode-{episode}.mp4": frames
            for i in range(3)
            for episode, frames in enumerate(shown((3 + i, 2, 4), 13, "NextStep"))
        }
    else:
        run(RecordEpisode(vector(3, "NextStep"), str(tmp_path), overflow="block"), 13, masked=False)
        for i in range(3):
            lengths = [len(frames) for frames in shown((3 + i, 2, 4), 13, "NextStep")]
            files = [tmp_path / f"episode-env-{i}_{n}.npz" for n in range(len(lengths))]
            assert [len(npz(file)["reward"]) for file in files] == lengths
    assert len([*tmp_path.glob("manifest*.json")]) > 1
    proved(tmp_path)


# --- ends ---------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from environments import Counting, several
import gymnasium
from recd_client.gymnasium import RecordEpisode, RecordVideo
folder, how = sys.argv[1:]
env = RecordVideo(RecordEpisode(Counting((50,)), folder + "/rows"), folder + "/films", overflow="block")
env.reset(seed=0)
for _ in range(30):
    env.step(env.action_space.sample())
print("stepped", flush=True)
if how == "raise":
    raise SystemExit(3)
if how == "forget":
    del env
    import gc
    gc.collect()
sys.stdin.read()
"""


def child(folder: Path, how: str) -> subprocess.Popen[str]:
    """A run in the middle of its first episode."""
    command = [sys.executable, "-W", "ignore", "-c", FIND + SCRIPT, str(folder), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "stepped\n"
    return process


@pytest.mark.parametrize("how", ["kill", "raise", "forget"])
def test_however_a_run_ends_its_video_and_its_rows_are_there(tmp_path: Path, how: str) -> None:
    """SIGKILL in mid-episode, an exception, and a wrapper that was forgotten: 31 frames and 31 rows."""
    process = child(tmp_path, how)
    if how == "kill":
        process.send_signal(signal.SIGKILL)
    states = [wait_for_manifest(tmp_path / part)["state"] for part in ("rows", "films")]
    process.communicate()
    assert process.returncode == {"kill": -signal.SIGKILL, "raise": 3, "forget": 0}[how]
    assert states == ["client died" if how == "kill" else "complete"] * 2
    assert films(tmp_path / "films") == {"rl-video-episode-0.mp4": [i % 10 for i in range(31)]}
    with np.load(tmp_path / "rows" / "episode_0.npz") as rows:
        np.testing.assert_array_equal(rows["observation"][:, 1], np.arange(31))


def test_a_wrapper_that_nobody_has_any_more_lets_its_recording_be_finished(tmp_path: Path) -> None:
    """Without close(), garbage collection is enough, in a process that goes on."""
    env: Any = RecordVideo(Counting((9,)), str(tmp_path), overflow="block")
    env.reset()
    env.step(env.action_space.sample())
    del env
    gc.collect()
    wait_until(lambda: (tmp_path / "manifest.json").exists())
    assert films(tmp_path) == {"rl-video-episode-0.mp4": [0, 1]}


def test_closing_twice_and_without_an_episode_is_fine(tmp_path: Path) -> None:
    """Nothing was recorded, so nothing is left; a second close changes nothing."""
    env = RecordVideo(Counting(), str(tmp_path / "a"))
    env.close()
    env.close()
    assert [*(tmp_path / "a").iterdir()] == []


# --- vector environments ------------------------------------------------------------------------------


def vector(count: int, mode: str, **options: Any) -> Any:
    """A vector environment whose sub-environments end at different times."""
    return gymnasium.vector.SyncVectorEnv(several(count, **options), autoreset_mode=mode)


def run(envs: Any, steps: int, masked: bool = False) -> None:
    """Step through a vector environment, and close it; with ``masked`` its user resets what is over."""
    envs.reset(seed=5)
    for _ in range(steps):
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        over = np.logical_or(terminated, truncated)
        if masked and over.any():
            envs.reset(options={"reset_mask": over})
    envs.close()


@pytest.mark.requires("moviepy")
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize(
    "options",
    [
        {"episode_trigger": lambda e: True},
        {"video_aspect_ratio": (16, 9)},
        {"record_first_only": True, "step_trigger": lambda s: s == 4, "video_length": 6},
    ],
    ids=["episodes", "wide", "first"],
)
def test_tiled_videos_are_those_of_gymnasiums_own_wrapper(tmp_path: Path, mode: str, options: Any) -> None:
    """In each autoreset mode both make videos of the same names, lengths, sizes and pictures."""
    theirs = gymnasium.wrappers.vector.RecordVideo(vector(6, mode), str(tmp_path / "theirs"), **options)
    run(
        RecordVideo(theirs, str(tmp_path / "ours"), overflow="block", **options),
        14,
        masked=mode == "Disabled",
    )
    names = {p.name for p in (tmp_path / "theirs").glob("*.mp4")}
    assert names == {p.name for p in (tmp_path / "ours").glob("*.mp4")} != set()
    for name in names:
        ours, others = decoded(tmp_path / "ours" / name), decoded(tmp_path / "theirs" / name)
        assert ours.shape == others.shape
        assert np.abs(ours.astype(int) - others.astype(int)).mean() < 3
    proved(tmp_path / "ours")


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_separate_videos_are_those_of_each_sub_environment(tmp_path: Path, mode: str) -> None:
    """Each shows its own episodes, from reset to last frame; in same-step mode the last one cannot be seen."""
    options: dict[str, Any] = {"layout": "separate", "episode_trigger": lambda e: e > 0, "overflow": "block"}
    steps = 13
    run(RecordVideo(vector(3, mode), str(tmp_path), **options), steps, masked=mode == "Disabled")
    expected = {}
    for i in range(3):
        for episode, frames in enumerate(shown((3 + i, 2, 4), steps, mode)):
            if episode > 0:
                expected[f"rl-video-env-{i}-episode-{episode}.mp4"] = frames
    assert films(tmp_path) == expected


def shown(lengths: tuple[int, ...], steps: int, mode: str) -> list[list[int]]:
    """What the video of each episode of one sub-environment shows, found out by hand."""
    videos, count, over = [[0]], 0, False
    for _ in range(steps):
        begins = over and mode == "NextStep"
        if not begins:
            count += 1
            over = count >= lengths[(len(videos) - 1) % 3]
            begins = over and mode != "NextStep"
            if not (begins and mode == "SameStep"):
                videos[-1].append(10 * ((len(videos) - 1) % 4) + count % 10)
        if begins:
            videos.append([10 * (len(videos) % 4)])
            count, over = 0, False
    return videos


def test_one_name_serves_both_kinds_of_environment(tmp_path: Path) -> None:
    """RecordVideo around a vector environment is the vector wrapper."""
    envs = RecordVideo(vector(2, "NextStep"), str(tmp_path))
    assert isinstance(envs, VectorRecordVideo)
    assert isinstance(envs, gymnasium.vector.VectorEnv)
    envs.close()


def test_a_vector_environment_of_processes_is_recorded(tmp_path: Path) -> None:
    """Frames come from other processes; wrappers inside those record there as well."""
    inside = str(tmp_path / "inside")
    makers = [lambda i=i: RecordVideo(Counting((4,)), f"{inside}-{i}", overflow="block") for i in range(2)]
    envs = gymnasium.vector.AsyncVectorEnv(makers)
    run(RecordVideo(envs, str(tmp_path / "outside"), overflow="block"), 7)
    assert [len(f) for f in films(tmp_path / "outside").values()] == [5, 3]
    for i in range(2):
        wait_for_manifest(Path(f"{inside}-{i}"))
        assert films(Path(f"{inside}-{i}")) == {
            "rl-video-episode-0.mp4": [0, 1, 2, 3, 4], "rl-video-episode-1.mp4": [10, 11, 12],
        }  # fmt: skip


# --- bad input ----------------------------------------------------------------------------------------


def test_what_is_not_allowed_is_refused_when_the_wrapper_is_made(tmp_path: Path) -> None:
    """A render mode without images, as Gymnasium has it; and errors that name the argument for the rest."""
    with pytest.raises(ValueError, match="Render mode is None"):
        RecordVideo(Counting(render_mode=None), str(tmp_path))
    with pytest.raises(OptionError, match="recorder='me'"):
        RecordVideo(Counting(), str(tmp_path), recorder="me")
    with pytest.raises(OptionError, match="without a filename"):
        RecordVideo(Counting(), str(tmp_path), options=VideoFile("mine.mp4"))
    with pytest.raises(OptionError, match="layout='grid'"):
        RecordVideo(vector(2, "NextStep"), str(tmp_path), layout="grid")
    for ratio in ((1, 0), 2, (1, 2, 3)):
        with pytest.raises(OptionError, match="video_aspect_ratio"):
            RecordVideo(vector(2, "NextStep"), str(tmp_path), video_aspect_ratio=ratio)
    with pytest.raises(OptionError, match="no video is being recorded"):
        RecordVideo(Counting(), str(tmp_path)).stop_recording()


def test_a_frame_that_is_no_picture_ends_the_video(tmp_path: Path) -> None:
    """As with Gymnasium's own there is a warning, and the environment goes on."""
    env = RecordVideo(Counting(), str(tmp_path))
    env.unwrapped.render = lambda: "text"
    with pytest.warns(UserWarning, match="expected type of frame"):
        env.reset()
    env.step(env.action_space.sample())
    assert not env.recording
    env.close()


def test_without_gymnasium_the_import_says_what_is_missing() -> None:
    """The error is recd's, an ImportError too, and ends with what to install."""
    code = (
        "import sys, json; sys.modules['gymnasium'] = None\n"
        "import recd_client\n"
        "try:\n    import recd_client.gymnasium\n"
        "except recd_client.MissingLibraryError as e:\n"
        "    print(json.dumps([e.what, e.do, isinstance(e, ImportError)]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    what, do, is_import_error = json.loads(ran.stdout)
    assert "gymnasium, which is not installed" in what
    assert do.startswith("pip install")
    assert is_import_error
    assert issubclass(MissingLibraryError, ImportError)


def test_metadata_names_the_environment(tmp_path: Path) -> None:
    """The manifest tells whose videos these are."""
    play(RecordVideo(Counting((2,)), str(tmp_path)), 1)
    assert "Counting" in manifest_of(tmp_path)["metadata"]["env"]
